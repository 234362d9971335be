/* Pools, and ops that only move data: channel padding with subsampling, concatenation, slices, reshapes. */
#include "ir/eval_rules.h"
#include <math.h>
#include <string.h>

/* Calls visit(context, output index, input index) for every pair of output and tap inside the image, taps of one output in
 * row-major order. x and y are the types on the input and output side. */
typedef void (*VisitTap)(void *context, int64_t y, int64_t x);

static void visit_taps(const Attrs *a, Type x, Type y, VisitTap visit, void *context) {
    const int64_t H = x.dim[2], W = x.dim[3], OH = y.dim[2], OW = y.dim[3];
    for (int64_t i = 0, n = type_elements(y); i < n; i++) {
        int64_t plane = i / (OH * OW), oh = i / OW % OH, ow = i % OW;
        for (int64_t k = 0; k < a->window.kernel[0] * a->window.kernel[1]; k++) {
            int64_t h = oh * a->window.stride[0] - a->window.pad[0] + k / a->window.kernel[1] * a->window.dilation[0];
            int64_t w = ow * a->window.stride[1] - a->window.pad[1] + k % a->window.kernel[1] * a->window.dilation[1];
            if (h >= 0 && h < H && w >= 0 && w < W) visit(context, i, (plane * H + h) * W + w);
        }
    }
}

/* The input index of each output's first maximum, or of the last NaN if there are any, as in PyTorch; -1 where a window (a
 * dilated one) holds nothing but padding. */
typedef struct ArgMax {
    const double *x;
    double *index; /* a Tensor's data: indices below 2^40 are exact */
} ArgMax;

static void visit_max(void *context, int64_t y, int64_t x) {
    ArgMax *m = context;
    if (m->index[y] < 0 || m->x[x] > m->x[(int64_t)m->index[y]] || isnan(m->x[x])) m->index[y] = (double)x;
}

static Tensor arg_max(const Attrs *a, const Tensor *x, Type y) {
    Tensor index = tensor_new(y);
    for (int64_t i = 0, n = type_elements(y); i < n; i++) index.data[i] = -1;
    visit_taps(a, x->type, y, visit_max, &(ArgMax){x->data, index.data});
    return index;
}

bool eval_MAX_POOL(const EvalOp *op) {
    Tensor index = arg_max(&op->v->attrs, op->arg[0], op->v->type);
    for (int64_t i = 0, n = type_elements(op->v->type); i < n; i++) {
        op->result[0].data[i] = index.data[i] < 0 ? -__builtin_inf() : op->arg[0]->data[(int64_t)index.data[i]];
    }
    tensor_free(&index);
    return true;
}

bool eval_MAX_POOL_BWD(const EvalOp *op) {
    const Tensor *dy = op->arg[1];
    Tensor index = arg_max(&op->v->attrs, op->arg[0], dy->type);
    for (int64_t i = 0, n = type_elements(dy->type); i < n; i++) {
        if (index.data[i] >= 0) op->result[0].data[(int64_t)index.data[i]] += dy->data[i];
    }
    tensor_free(&index);
    return true;
}

typedef struct Average {
    double *x, *y, scale;
} Average;

static void visit_average(void *context, int64_t y, int64_t x) {
    Average *a = context;
    a->y[y] += a->x[x] * a->scale;
}

static void visit_spread(void *context, int64_t y, int64_t x) {
    Average *a = context;
    a->x[x] += a->y[y] * a->scale;
}

static double window_scale(const Attrs *a) { return 1 / ((double)a->window.kernel[0] * (double)a->window.kernel[1]); }

bool eval_AVG_POOL(const EvalOp *op) {
    Average average = {op->arg[0]->data, op->result[0].data, window_scale(&op->v->attrs)};
    visit_taps(&op->v->attrs, op->arg[0]->type, op->v->type, visit_average, &average);
    return true;
}

bool eval_AVG_POOL_BWD(const EvalOp *op) {
    Average average = {op->result[0].data, op->arg[0]->data, window_scale(&op->v->attrs)};
    visit_taps(&op->v->attrs, op->v->type, op->arg[0]->type, visit_spread, &average);
    return true;
}

/* ---- moving data ---- */

/* small[n,c,h,w] <-> large[n,c,h*stride,w*stride] for the channels that both have. */
static void subsample(const EvalOp *op, Tensor *large, Tensor *small, bool forward) {
    const int64_t stride = op->v->attrs.channels.stride, C = large->type.dim[1], H = large->type.dim[2], W = large->type.dim[3];
    const int64_t count = small->type.dim[1], h = small->type.dim[2], w = small->type.dim[3];
    for (int64_t i = 0, n = type_elements(small->type); i < n; i++) {
        int64_t image = i / (count * h * w), c = i / (h * w) % count, row = i / w % h, column = i % w;
        if (c >= C) continue;
        double *at = &large->data[((image * C + c) * H + row * stride) * W + column * stride];
        if (forward)
            small->data[i] = *at;
        else
            *at = small->data[i];
    }
}

bool eval_PAD_CHANNELS(const EvalOp *op) {
    Tensor x = *op->arg[0];
    subsample(op, &x, &op->result[0], true);
    return true;
}

bool eval_PAD_CHANNELS_BWD(const EvalOp *op) {
    Tensor dy = *op->arg[0];
    subsample(op, &op->result[0], &dy, false);
    return true;
}

/* Copies `count` channels of every image, from channel `at_from` of one tensor to channel `at_to` of the other. */
static void copy_channels(const Tensor *from, int64_t at_from, Tensor *to, int64_t at_to, int64_t count) {
    Space f = space_of(from->type), t = space_of(to->type);
    for (int64_t n = 0; n < f.n; n++) {
        memcpy(to->data + (n * t.c + at_to) * t.p, from->data + (n * f.c + at_from) * f.p,
               (size_t)(count * f.p) * sizeof *to->data);
    }
}

bool eval_CONCAT(const EvalOp *op) {
    int64_t at = 0;
    for (uint32_t i = 0; i < op->v->nargs; i++) {
        copy_channels(op->arg[i], 0, &op->result[0], at, op->arg[i]->type.dim[1]);
        at += op->arg[i]->type.dim[1];
    }
    return true;
}

bool eval_SLICE_CHANNELS(const EvalOp *op) {
    copy_channels(op->arg[0], op->v->attrs.index, &op->result[0], 0, op->v->type.dim[1]);
    return true;
}

bool eval_PLACE_CHANNELS(const EvalOp *op) {
    copy_channels(op->arg[0], 0, &op->result[0], op->v->attrs.index, op->arg[0]->type.dim[1]);
    return true;
}

bool eval_CHANNEL_SHUFFLE(const EvalOp *op) {
    int64_t groups = op->v->attrs.index, C = op->v->type.dim[1], size = C / groups;
    for (int64_t c = 0; c < C; c++) {
        Space s = space_of(op->v->type);
        for (int64_t n = 0; n < s.n; n++) {
            memcpy(op->result[0].data + (n * C + c % size * groups + c / size) * s.p, op->arg[0]->data + (n * C + c) * s.p,
                   (size_t)s.p * sizeof(double));
        }
    }
    return true;
}

bool eval_UPSAMPLE(const EvalOp *op) {
    Type x = op->arg[0]->type, y = op->v->type;
    int64_t times = op->v->attrs.index;
    for (int64_t i = 0, n = type_elements(y); i < n; i++) {
        int64_t plane = i / (y.dim[2] * y.dim[3]), row = i / y.dim[3] % y.dim[2] / times, column = i % y.dim[3] / times;
        op->result[0].data[i] = op->arg[0]->data[(plane * x.dim[2] + row) * x.dim[3] + column];
    }
    return true;
}

bool eval_PAD(const EvalOp *op) {
    Type x = op->arg[0]->type, y = op->v->type;
    for (int64_t i = 0, n = type_elements(y); i < n; i++) {
        int64_t row = i / y.dim[3] % y.dim[2] - op->v->attrs.window.pad[0], column = i % y.dim[3] - op->v->attrs.window.pad[1];
        bool inside = row >= 0 && row < x.dim[2] && column >= 0 && column < x.dim[3];
        if (inside) op->result[0].data[i] = op->arg[0]->data[(i / (y.dim[2] * y.dim[3]) * x.dim[2] + row) * x.dim[3] + column];
    }
    return true;
}

static bool reshape(const EvalOp *op) {
    memcpy(op->result[0].data, op->arg[0]->data, (size_t)type_elements(op->v->type) * sizeof(double));
    return true;
}

bool eval_FLATTEN(const EvalOp *op) { return reshape(op); }
bool eval_UNFLATTEN(const EvalOp *op) { return reshape(op); }
