/* Convolutions and dense layers. conv2d and its two gradients are one loop nest: the three tensors meet in rows
 *
 *     y[n,o,oh,lo..hi)  <->  w[o,i,kh,kw]  <->  x[n,i,ih, every stride-th]
 *
 * and whichever of them is the result takes the product of the other two. Padding never enters the loops: lo..hi are the
 * output columns whose tap lies inside the image. */
#include "ir/eval_rules.h"
#include <math.h>

typedef enum Role { RESULT_Y, RESULT_X, RESULT_W } Role;

typedef struct Conv {
    Type x, w, y;
    const Attrs *attrs;
    double *px, *pw, *py;
    Role role;
} Conv;

/* The outputs whose tap k along one side lies inside [0, size): at*stride - pad + k*dilation. */
static void tap_range(int64_t outputs, int64_t size, int64_t stride, int64_t shift, int64_t *lo, int64_t *hi) {
    *lo = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
    *hi = size - 1 - shift < 0 ? 0 : (size - 1 - shift) / stride + 1;
    if (*hi > outputs) *hi = outputs;
}

static void conv_row(Role role, double *x, double *w, double *y, int64_t count, int64_t stride) {
    const double factor = *w;
    double sum = 0;
    switch (role) {
    case RESULT_Y:
        for (int64_t j = 0; j < count; j++) y[j] += factor * x[j * stride];
        break;
    case RESULT_X:
        for (int64_t j = 0; j < count; j++) x[j * stride] += factor * y[j];
        break;
    case RESULT_W:
        for (int64_t j = 0; j < count; j++) sum += y[j] * x[j * stride];
        *w += sum;
        break;
    }
}

/* One tap of a pair of channel planes: rows of `count` outputs, and where the first of x and of y is. */
typedef struct Tap {
    int64_t rows, count, x, y;
} Tap;

static Tap conv_tap(const Conv *c, int64_t kh, int64_t kw) {
    const int64_t H = c->x.dim[2], W = c->x.dim[3], OH = c->y.dim[2], OW = c->y.dim[3];
    const int64_t *stride = c->attrs->window.stride, *pad = c->attrs->window.pad, *dilation = c->attrs->window.dilation;
    int64_t top = kh * dilation[0] - pad[0], left = kw * dilation[1] - pad[1], first, last, lo, hi;
    tap_range(OH, H, stride[0], top, &first, &last);
    tap_range(OW, W, stride[1], left, &lo, &hi);
    Tap tap = {last - first, hi - lo, (first * stride[0] + top) * W + lo * stride[1] + left, first * OW + lo};
    if (tap.rows < 0 || tap.count < 0) tap.rows = 0;
    /* Rows that lie behind one another are one; but each row of a filter's gradient is a sum. */
    if (c->role != RESULT_W && stride[0] == 1 && stride[1] == 1 && tap.count == W && W == OW)
        tap.count *= tap.rows, tap.rows = tap.rows > 0;
    return tap;
}

static void conv_run(const Conv *c) {
    const int64_t N = c->x.dim[0], I = c->x.dim[1], O = c->w.dim[0], per_group = c->w.dim[1];
    const int64_t KH = c->w.dim[2], KW = c->w.dim[3], filters = O / c->attrs->window.groups;
    const int64_t x_plane = c->x.dim[2] * c->x.dim[3], y_plane = c->y.dim[2] * c->y.dim[3];
    const int64_t stride = c->attrs->window.stride[1], x_line = c->attrs->window.stride[0] * c->x.dim[3], y_line = c->y.dim[3];
    Arena *arena = arena_new();
    Tap *tap = ARENA_ARRAY(arena, Tap, (size_t)(KH * KW));
    for (int64_t k = 0; k < KH * KW; k++) tap[k] = conv_tap(c, k / KW, k % KW);
    for (int64_t n = 0; n < N; n++) {
        for (int64_t o = 0; o < O; o++) {
            double *y = c->py + (n * O + o) * y_plane;
            for (int64_t i = 0; i < per_group; i++) {
                double *x = c->px + (n * I + o / filters * per_group + i) * x_plane;
                double *w = c->pw + (o * per_group + i) * KH * KW;
                for (int64_t k = 0; k < KH * KW; k++)
                    for (int64_t row = 0; row < tap[k].rows; row++)
                        conv_row(c->role, x + tap[k].x + row * x_line, w + k, y + tap[k].y + row * y_line, tap[k].count, stride);
            }
        }
    }
    arena_free(arena);
}

bool eval_CONV2D(const EvalOp *op) {
    Tensor x = eval_prologue(op, 0), *y = &op->result[0];
    const Tensor *w = op->arg[1];
    conv_run(&(Conv){x.type, w->type, y->type, &op->v->attrs, x.data, w->data, y->data, RESULT_Y});
    tensor_free(&x);
    eval_epilogue(op);
    return true;
}

bool eval_CONV2D_BWD_DATA(const EvalOp *op) {
    Tensor dy = eval_prologue(op, 0), *dx = &op->result[0];
    const Tensor *w = op->arg[1];
    conv_run(&(Conv){dx->type, w->type, dy.type, &op->v->attrs, dx->data, w->data, dy.data, RESULT_X});
    tensor_free(&dy);
    eval_epilogue(op);
    return true;
}

bool eval_CONV2D_BWD_WEIGHTS(const EvalOp *op) {
    Tensor x = eval_prologue(op, 0), dy = eval_prologue(op, 1), *dw = &op->result[0];
    conv_run(&(Conv){x.type, dw->type, dy.type, &op->v->attrs, x.data, dw->data, dy.data, RESULT_W});
    tensor_free(&x);
    tensor_free(&dy);
    return true;
}

bool eval_SCALE_FILTERS(const EvalOp *op) {
    Type w = op->v->type;
    int64_t filter = w.dim[1] * w.dim[2] * w.dim[3];
    for (int64_t i = 0, n = type_elements(w); i < n; i++) {
        op->result[0].data[i] = op->arg[0]->data[i] * op->arg[1]->data[i / filter];
    }
    return true;
}

/* Mean of one filter, and one over its deviation. */
static void filter_statistics(const double *w, int64_t n, double eps, double *mean, double *scale) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += w[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (w[i] - *mean) * (w[i] - *mean);
    *scale = 1 / sqrt(squares / (double)n + eps);
}

bool eval_STANDARDIZE(const EvalOp *op) {
    Type type = op->v->type;
    int64_t n = type.dim[1] * type.dim[2] * type.dim[3];
    for (int64_t o = 0; o < type.dim[0]; o++) {
        const double *w = op->arg[0]->data + o * n;
        double mean, scale;
        filter_statistics(w, n, op->v->attrs.constant, &mean, &scale);
        for (int64_t i = 0; i < n; i++) op->result[0].data[o * n + i] = (w[i] - mean) * scale;
    }
    return true;
}

/* With y = (w - mean) * scale: dw = scale * (dy - mean of dy - y * mean of dy*y). */
bool eval_STANDARDIZE_BWD(const EvalOp *op) {
    Type type = op->v->type;
    int64_t n = type.dim[1] * type.dim[2] * type.dim[3];
    for (int64_t o = 0; o < type.dim[0]; o++) {
        const double *w = op->arg[0]->data + o * n, *dy = op->arg[1]->data + o * n;
        double mean, scale, sum = 0, product = 0;
        filter_statistics(w, n, op->v->attrs.constant, &mean, &scale);
        for (int64_t i = 0; i < n; i++) {
            sum += dy[i];
            product += dy[i] * (w[i] - mean) * scale;
        }
        for (int64_t i = 0; i < n; i++)
            op->result[0].data[o * n + i] = scale * (dy[i] - sum / (double)n - (w[i] - mean) * scale * product / (double)n);
    }
    return true;
}

/* ---- dense layers: x[N,K], w[O,K], y[N,O] ---- */

bool eval_DENSE(const EvalOp *op) {
    int64_t N = op->v->type.dim[0], O = op->v->type.dim[1], K = op->arg[0]->type.dim[1];
    const double *x = op->arg[0]->data, *w = op->arg[1]->data;
    for (int64_t i = 0; i < N * O; i++) {
        double sum = 0;
        for (int64_t k = 0; k < K; k++) sum += x[i / O * K + k] * w[i % O * K + k];
        op->result[0].data[i] = sum;
    }
    return true;
}

bool eval_DENSE_BWD_DATA(const EvalOp *op) {
    int64_t N = op->v->type.dim[0], K = op->v->type.dim[1], O = op->arg[0]->type.dim[1];
    const double *dy = op->arg[0]->data, *w = op->arg[1]->data;
    for (int64_t i = 0; i < N * O; i++) {
        for (int64_t k = 0; k < K; k++) op->result[0].data[i / O * K + k] += dy[i] * w[i % O * K + k];
    }
    return true;
}

bool eval_DENSE_BWD_WEIGHTS(const EvalOp *op) {
    int64_t O = op->v->type.dim[0], K = op->v->type.dim[1], N = op->arg[0]->type.dim[0];
    const double *x = op->arg[0]->data, *dy = op->arg[1]->data;
    for (int64_t i = 0; i < N * O; i++) {
        for (int64_t k = 0; k < K; k++) op->result[0].data[i % O * K + k] += dy[i] * x[i / O * K + k];
    }
    return true;
}
