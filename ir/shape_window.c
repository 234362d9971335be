/* Shape rules of windowed ops: convolutions, pools, and subsampling with channel padding. N images, I and O channels.
 * Sizes are bounded first, so that no product below can overflow. */
#include "ir/shape.h"

static const int64_t LARGEST = INT64_C(1) << 20; /* of a kernel's side, stride, dilation or padding */

/* A window of a single pixel that averages moves the map: padding adds lines of zeros, and below 0 cuts lines off. */
static bool window_moves(const Infer *in) {
    const Attrs *a = &in->spec->attrs;
    return (in->spec->op == OP_AVG_POOL || in->spec->op == OP_AVG_POOL_BWD) && a->window.kernel[0] == 1 &&
           a->window.kernel[1] == 1;
}

static bool window_valid(const Infer *in) {
    static const char *const side[] = {"height", "width"};
    const Attrs *a = &in->spec->attrs;
    for (int i = 0; i < 2; i++) {
        if (a->window.kernel[i] < 1 || a->window.kernel[i] > LARGEST)
            return infer_refuse(in, "the kernel's %s must be between 1 and 2^20, found %lld", side[i],
                                (long long)a->window.kernel[i]);
        if (a->window.stride[i] < 1 || a->window.stride[i] > LARGEST)
            return infer_refuse(in, "the stride must be between 1 and 2^20, found %lld", (long long)a->window.stride[i]);
        if (a->window.dilation[i] < 1 || a->window.dilation[i] > LARGEST)
            return infer_refuse(in, "the dilation must be between 1 and 2^20, found %lld", (long long)a->window.dilation[i]);
    }
    for (int i = 0; i < 4; i++) {
        if (a->window.pad[i] < (window_moves(in) ? -LARGEST : 0) || a->window.pad[i] > LARGEST)
            return infer_refuse(in, "the padding must be between %s and 2^20, found %lld", window_moves(in) ? "-2^20" : "0",
                                (long long)a->window.pad[i]);
    }
    return true;
}

static int64_t window_extent(const Infer *in, int i) {
    return in->spec->attrs.window.dilation[i] * (in->spec->attrs.window.kernel[i] - 1) + 1;
}

bool window_output(const Infer *in, Type x, int64_t *height, int64_t *width) {
    if (!window_valid(in)) return false;
    const Attrs *a = &in->spec->attrs;
    int64_t *out[2] = {height, width};
    for (int i = 0; i < 2; i++) {
        int64_t padded = x.dim[2 + i] + a->window.pad[i] + a->window.pad[i + 2];
        if (padded < window_extent(in, i))
            return infer_refuse(in, "the window of %lldx%lld reaches outside the padded input %s",
                                (long long)window_extent(in, 0), (long long)window_extent(in, 1), TEXT(x));
        *out[i] = (padded - window_extent(in, i)) / a->window.stride[i] + 1;
    }
    return true;
}

/* ---- convolution ---- */

/* conv2d's own rule on types, wherever x, w and y come from in the spec. */
static bool conv_output(const Infer *in, Type x, Type w, Type *y) {
    const Attrs *a = &in->spec->attrs;
    int64_t groups = a->window.groups, I = x.dim[1], O = w.dim[0];
    if (groups < 1) return infer_refuse(in, "groups must be at least 1, found %lld", (long long)groups);
    if (I % groups || O % groups)
        return infer_refuse(in, "%lld groups do not divide %lld input and %lld output channels", (long long)groups, (long long)I,
                            (long long)O);
    if (w.dim[1] != I / groups) {
        if (groups > 1)
            return infer_refuse(in, "the weight %s is for %lld input channels per group, the input %s has %lld", TEXT(w),
                                (long long)w.dim[1], TEXT(x), (long long)(I / groups));
        return infer_refuse(in, "the weight %s is for %lld input channels, the input %s has %lld", TEXT(w), (long long)w.dim[1],
                            TEXT(x), (long long)I);
    }
    if (w.dim[2] != a->window.kernel[0] || w.dim[3] != a->window.kernel[1])
        return infer_refuse(in, "the weight %s does not have the kernel's size %lldx%lld", TEXT(w),
                            (long long)a->window.kernel[0], (long long)a->window.kernel[1]);
    *y = type_feature(x.dim[0], O, 0, 0);
    return window_output(in, x, &y->dim[2], &y->dim[3]);
}

static bool gradient_fits(const Infer *in, Type dy, Type y) {
    return type_equal(dy, y) || infer_refuse(in, "the gradient must be %s, found %s", TEXT(y), TEXT(dy));
}

/* The declared type of a gradient stands in for an operand of the forward op. */
static bool declared_operand(const Infer *in, const char *what) {
    Type t = in->spec->declared;
    if (t.rank != 4 || t.dtype != DT_F32) return infer_refuse(in, "%s must be f32 of rank 4, declared %s", what, TEXT(t));
    return infer_accept(in, t);
}

bool shape_CONV2D(const Infer *in) {
    Type y;
    return infer_need_rank(in, 0, 4, "the input") && infer_need_rank(in, 1, 4, "the weight") &&
           conv_output(in, infer_arg(in, 0), infer_arg(in, 1), &y) && infer_accept(in, y);
}

bool shape_CONV2D_BWD_DATA(const Infer *in) {
    Type y, x = in->spec->declared;
    return infer_need_rank(in, 0, 4, "the gradient") && infer_need_rank(in, 1, 4, "the weight") &&
           declared_operand(in, "the input's gradient") && conv_output(in, x, infer_arg(in, 1), &y) &&
           gradient_fits(in, infer_arg(in, 0), y);
}

bool shape_CONV2D_BWD_WEIGHTS(const Infer *in) {
    Type y, w = in->spec->declared;
    return infer_need_rank(in, 0, 4, "the input") && infer_need_rank(in, 1, 4, "the gradient") &&
           declared_operand(in, "the weight's gradient") && conv_output(in, infer_arg(in, 0), w, &y) &&
           gradient_fits(in, infer_arg(in, 1), y);
}

/* ---- pools ---- */

/* Padding as large as the window would make windows of nothing but padding. */
static bool pool_output(const Infer *in, Type x, Type *y) {
    const Attrs *a = &in->spec->attrs;
    *y = x;
    if (!window_output(in, x, &y->dim[2], &y->dim[3])) return false;
    for (int i = 0; i < 4; i++) {
        if (a->window.pad[i] >= window_extent(in, i % 2) && !window_moves(in))
            return infer_refuse(in, "the padding %lld must be smaller than the window %lldx%lld", (long long)a->window.pad[i],
                                (long long)window_extent(in, 0), (long long)window_extent(in, 1));
    }
    return true;
}

static bool pool(const Infer *in) {
    Type y;
    return infer_need_rank(in, 0, 4, "the input") && pool_output(in, infer_arg(in, 0), &y) && infer_accept(in, y);
}

bool shape_MAX_POOL(const Infer *in) { return pool(in); }
bool shape_AVG_POOL(const Infer *in) { return pool(in); }

bool shape_MAX_POOL_BWD(const Infer *in) {
    Type y;
    return infer_need_rank(in, 0, 4, "the input") && pool_output(in, infer_arg(in, 0), &y) &&
           gradient_fits(in, infer_arg(in, 1), y) && infer_accept(in, infer_arg(in, 0));
}

bool shape_AVG_POOL_BWD(const Infer *in) {
    Type y;
    return infer_need_rank(in, 0, 4, "the gradient") && declared_operand(in, "the input's gradient") &&
           pool_output(in, in->spec->declared, &y) && gradient_fits(in, infer_arg(in, 0), y);
}

/* ---- lines added and cut off ---- */

bool shape_PAD(const Infer *in) {
    static const char *const side[] = {"top", "left", "bottom", "right"};
    if (!infer_need_rank(in, 0, 4, "the input")) return false;
    Type x = infer_arg(in, 0);
    const int64_t *pad = in->spec->attrs.window.pad;
    for (int i = 0; i < 4; i++)
        if (pad[i] < -LARGEST || pad[i] > LARGEST)
            return infer_refuse(in, "the padding at the %s must be between -2^20 and 2^20, found %lld", side[i],
                                (long long)pad[i]);
    for (int i = 0; i < 2; i++) {
        int64_t cut = (pad[i] < 0 ? -pad[i] : 0) + (pad[i + 2] < 0 ? -pad[i + 2] : 0);
        if (cut >= x.dim[2 + i])
            return infer_refuse(in, "%lld lines cut off leave nothing of the %s of the input %s", (long long)cut,
                                i ? "width" : "height", TEXT(x));
        x.dim[2 + i] += pad[i] + pad[i + 2];
    }
    return infer_accept(in, x);
}

/* ---- the parameter-free shortcut ---- */

static bool pad_channels_output(const Infer *in, Type x, Type *y) {
    int64_t count = in->spec->attrs.channels.count, stride = in->spec->attrs.channels.stride;
    if (stride < 1 || stride > LARGEST)
        return infer_refuse(in, "the stride must be between 1 and 2^20, found %lld", (long long)stride);
    if (count < x.dim[1])
        return infer_refuse(in, "cannot pad to %lld channels, the input %s has %lld", (long long)count, TEXT(x),
                            (long long)x.dim[1]);
    *y = type_feature(x.dim[0], count, (x.dim[2] - 1) / stride + 1, (x.dim[3] - 1) / stride + 1);
    return true;
}

bool shape_PAD_CHANNELS(const Infer *in) {
    Type y;
    return infer_need_rank(in, 0, 4, "the input") && pad_channels_output(in, infer_arg(in, 0), &y) && infer_accept(in, y);
}

bool shape_PAD_CHANNELS_BWD(const Infer *in) {
    Type y;
    return infer_need_rank(in, 0, 4, "the gradient") && declared_operand(in, "the input's gradient") &&
           pad_channels_output(in, in->spec->declared, &y) && gradient_fits(in, infer_arg(in, 0), y);
}
