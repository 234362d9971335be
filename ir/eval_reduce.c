/* Sums, batch normalisation, softmax and the loss. */
#include "ir/eval_rules.h"
#include <math.h>

/* ---- sums ---- */

static void image_sums(const Tensor *x, double scale, Tensor *y) {
    Space s = space_of(x->type);
    for (int64_t i = 0; i < s.n * s.c; i++) {
        double sum = 0;
        for (int64_t p = 0; p < s.p; p++) sum += x->data[i * s.p + p];
        y->data[i] = sum * scale;
    }
}

bool eval_IMAGE_SUM(const EvalOp *op) {
    image_sums(op->arg[0], 1, &op->result[0]);
    return true;
}

bool eval_GLOBAL_AVG_POOL(const EvalOp *op) {
    image_sums(op->arg[0], 1 / (double)space_of(op->arg[0]->type).p, &op->result[0]);
    return true;
}

/* Of rows first, first + step, … */
static double batch_sum(const Tensor *x, int64_t channel, int64_t first, int64_t step) {
    Space s = space_of(x->type);
    double sum = 0;
    for (int64_t n = first; n < s.n; n += step) sum += x->data[n * s.c + channel];
    return sum;
}

bool eval_BATCH_SUM(const EvalOp *op) {
    for (int64_t c = 0; c < op->v->type.dim[0]; c++) op->result[0].data[c] = batch_sum(op->arg[0], c, 0, 1);
    return true;
}

bool eval_CHANNEL_SUM(const EvalOp *op) {
    for (int64_t c = 0; c < op->arg[0]->type.dim[0]; c++) op->result[0].data[0] += op->arg[0]->data[c];
    return true;
}

/* Where the element of y lies that element i of x is read beside. */
static int64_t place_beside(const Tensor *x, const Tensor *y, int64_t i) {
    Space s = space_of(x->type);
    View to = view_of(y, x->type);
    int64_t p = i % s.p;
    return i / s.p / s.c * to.n + i / s.p % s.c * to.c + p / to.width * to.y + p % to.width * to.x;
}

void eval_sum_to(const Tensor *x, Tensor *y) {
    for (int64_t i = 0, n = type_elements(x->type); i < n; i++) y->data[place_beside(x, y, i)] += x->data[i];
}

bool eval_SUM_TO(const EvalOp *op) {
    eval_sum_to(op->arg[0], &op->result[0]);
    return true;
}

void eval_max_to(const Tensor *x, Tensor *y) {
    for (int64_t i = 0, n = type_elements(y->type); i < n; i++) y->data[i] = -INFINITY;
    for (int64_t i = 0, n = type_elements(x->type); i < n; i++) {
        double *at = &y->data[place_beside(x, y, i)];
        *at = *at > x->data[i] || isnan(*at) ? *at : x->data[i];
    }
}

bool eval_MAX_TO(const EvalOp *op) {
    eval_max_to(op->arg[0], &op->result[0]);
    return true;
}

/* Where element i is along the dimensions of a mask, line by line; of none, that is of such as are 1 anyway, at 0. */
static double index_along(const Tensor *x, int mask, int64_t i) {
    Space s = space_of(x->type);
    int64_t width = x->type.dim[3], p = i % s.p;
    if (!mask) return 0;
    if (mask == OVER_CHANNELS) return (double)(i / s.p % s.c);
    return (double)(mask == OVER_HEIGHT ? p / width : mask == OVER_WIDTH ? p % width : p);
}

void eval_index_to(const Tensor *x, Tensor *y) {
    Tensor most = tensor_new(y->type);
    int mask = type_mask(x->type, y->type);
    for (int64_t i = 0, n = type_elements(y->type); i < n; i++) most.data[i] = -INFINITY;
    for (int64_t i = 0, n = type_elements(x->type); i < n; i++) {
        int64_t at = place_beside(x, y, i);
        if (!(x->data[i] > most.data[at]) && !isnan(x->data[i])) continue;
        most.data[at] = x->data[i];
        y->data[at] = index_along(x, mask, i);
    }
    tensor_free(&most);
}

bool eval_POSITION(const EvalOp *op) {
    Tensor *y = &op->result[0];
    for (int64_t i = 0, n = type_elements(y->type); i < n; i++)
        y->data[i] = (double)(op->v->attrs.index == 1 ? i : i % y->type.dim[op->v->attrs.index]);
    return true;
}

bool eval_MOMENTS(const EvalOp *op) {
    const Tensor *sums = op->arg[0];
    int64_t C = op->v->type.dim[0], N = sums->type.dim[0] / 2;
    double count = op->v->attrs.constant;
    for (int64_t c = 0; c < C; c++) {
        double mean = batch_sum(sums, c, 0, 2) / count, var = batch_sum(sums, c, 1, 2) / count - mean * mean;
        op->result[0].data[c] = mean;
        op->result[1].data[c] = var < 0 ? 0 : var;      /* rounding of a constant channel; a NaN stays */
        if (op->options->round_f32) mean = (float)mean; /* deviations are those from the mean that others read */
        for (int64_t n = 0; n < N; n++) op->result[2].data[n * C + c] = sums->data[2 * n * C + c] - count / (double)N * mean;
    }
    return true;
}

bool eval_IMAGE_MOMENTS(const EvalOp *op) {
    const Tensor *sums = op->arg[0], *centre = op->v->nargs == 2 ? op->arg[1] : NULL;
    int64_t C = op->v->type.dim[1];
    double count = op->v->attrs.constant;
    for (int64_t i = 0, n = type_elements(op->v->type); i < n; i++) {
        double sum = sums->data[2 * (i / C) * C + i % C], squares = sums->data[(2 * (i / C) + 1) * C + i % C],
               k = centre ? centre->data[i] : 0;
        double deviation = sum - count * k, spread = squares - k * (sum + deviation);
        op->result[0].data[i] = spread < 0 ? 0 : spread; /* rounding of a constant channel; a NaN stays */
        op->result[1].data[i] = deviation;
    }
    return true;
}

/* ---- batch normalisation (Ioffe, Szegedy 2015; running statistics as PyTorch keeps them) ---- */

/* Mean and biased variance of one channel over images and pixels, in two passes. */
static void channel_statistics(const Tensor *x, int64_t channel, double *mean, double *var) {
    Space s = space_of(x->type);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < s.n * s.p; i++) sum += x->data[(i / s.p * s.c + channel) * s.p + i % s.p];
    *mean = sum / (double)(s.n * s.p);
    for (int64_t i = 0; i < s.n * s.p; i++) {
        double d = x->data[(i / s.p * s.c + channel) * s.p + i % s.p] - *mean;
        squares += d * d;
    }
    *var = squares / (double)(s.n * s.p);
}

bool eval_BATCH_NORM(const EvalOp *op) {
    const Tensor *x = op->arg[0];
    const double *gamma = op->arg[1]->data, *beta = op->arg[2]->data, *running_mean = op->arg[3]->data,
                 *running_var = op->arg[4]->data;
    bool scaled = op->arg[1]->type.rank == 1, shifted = op->arg[2]->type.rank == 1;
    Space s = space_of(x->type);
    double momentum = op->v->attrs.norm.momentum, count = (double)(s.n * s.p);
    for (int64_t c = 0; c < s.c; c++) {
        double mean = running_mean[c], var = running_var[c], next_mean = mean, next_var = var;
        if (op->g->mode == MODE_TRAIN) {
            channel_statistics(x, c, &mean, &var);
            double unbiased = count > 1 ? var * count / (count - 1) : var;
            next_mean = (1 - momentum) * running_mean[c] + momentum * mean;
            next_var = (1 - momentum) * running_var[c] + momentum * unbiased;
        }
        double scale = gamma[scaled ? c : 0] / sqrt(var + op->v->attrs.norm.eps);
        for (int64_t i = 0; i < s.n * s.p; i++) {
            int64_t at = (i / s.p * s.c + c) * s.p + i % s.p;
            op->result[0].data[at] = (x->data[at] - mean) * scale + beta[shifted ? c : 0];
        }
        op->result[1].data[c] = next_mean;
        op->result[2].data[c] = next_var;
    }
    return true;
}

/* ---- softmax and the loss ---- */

/* log(sum(exp(x))) without overflow. */
static double log_sum_exp(const double *x, int64_t count) {
    double largest = x[0], sum = 0;
    for (int64_t k = 1; k < count; k++) largest = fmax(largest, x[k]);
    for (int64_t k = 0; k < count; k++) sum += exp(x[k] - largest);
    return largest + log(sum);
}

bool eval_SOFTMAX(const EvalOp *op) {
    int64_t N = op->v->type.dim[0], K = op->v->type.dim[1];
    for (int64_t n = 0; n < N; n++) {
        const double *x = op->arg[0]->data + n * K;
        double total = log_sum_exp(x, K);
        for (int64_t k = 0; k < K; k++) op->result[0].data[n * K + k] = exp(x[k] - total);
    }
    return true;
}

bool eval_SOFTMAX_BWD(const EvalOp *op) {
    int64_t N = op->v->type.dim[0], K = op->v->type.dim[1];
    for (int64_t n = 0; n < N; n++) {
        const double *y = op->arg[0]->data + n * K, *dy = op->arg[1]->data + n * K;
        double dot = 0;
        for (int64_t k = 0; k < K; k++) dot += y[k] * dy[k];
        for (int64_t k = 0; k < K; k++) op->result[0].data[n * K + k] = y[k] * (dy[k] - dot);
    }
    return true;
}

static bool labels_valid(const EvalOp *op) {
    int64_t N = op->arg[0]->type.dim[0], K = op->arg[0]->type.dim[1];
    for (int64_t n = 0; n < N; n++) {
        double label = op->arg[1]->data[n];
        if (!(label >= 0 && label < (double)K) || label != floor(label))
            return eval_refuse(op, "%s: label %g of image %lld is not a class of 0 to %lld", op_text(op->v->op), label,
                               (long long)n, (long long)K - 1);
    }
    return true;
}

/* The smoothed target: 1 - s on the label, and s spread evenly over all classes. */
static double target(const EvalOp *op, int64_t n, int64_t k) {
    double s = op->v->attrs.loss.smoothing;
    return s / (double)op->arg[0]->type.dim[1] + (op->arg[1]->data[n] == (double)k ? 1 - s : 0);
}

bool eval_CROSS_ENTROPY(const EvalOp *op) {
    if (!labels_valid(op)) return false;
    int64_t N = op->arg[0]->type.dim[0], K = op->arg[0]->type.dim[1];
    double loss = 0;
    for (int64_t n = 0; n < N; n++) {
        const double *x = op->arg[0]->data + n * K;
        double total = log_sum_exp(x, K);
        for (int64_t k = 0; k < K; k++) {
            double t = target(op, n, k);
            if (t != 0) loss += t * (total - x[k]);
        }
    }
    op->result[0].data[0] = loss / (double)N;
    return true;
}

bool eval_CROSS_ENTROPY_BWD(const EvalOp *op) {
    if (!labels_valid(op)) return false;
    int64_t N = op->arg[0]->type.dim[0], K = op->arg[0]->type.dim[1];
    double scale = op->arg[2]->data[0] / (double)N;
    for (int64_t n = 0; n < N; n++) {
        const double *x = op->arg[0]->data + n * K;
        double total = log_sum_exp(x, K), others = 0, *dx = op->result[0].data + n * K;
        int64_t label = (int64_t)op->arg[1]->data[n];
        for (int64_t k = 0; k < K; k++) {
            double p = exp(x[k] - total);
            if (k != label) others += p;
            dx[k] = scale * (p - target(op, n, k));
        }
        /* p - 1, of which little is left where p is nearly 1 */
        dx[label] = scale * (1 - target(op, n, label) - others);
    }
    return true;
}

bool eval_CORRECT(const EvalOp *op) {
    if (!labels_valid(op)) return false;
    int64_t N = op->arg[0]->type.dim[0], K = op->arg[0]->type.dim[1];
    for (int64_t n = 0; n < N; n++) {
        const double *x = op->arg[0]->data + n * K;
        int64_t best = 0;
        bool nan = false;
        for (int64_t k = 0; k < K; k++) {
            nan |= isnan(x[k]);
            if (x[k] > x[best]) best = k;
        }
        op->result[0].data[0] += !nan && (double)best == op->arg[1]->data[n];
    }
    return true;
}
