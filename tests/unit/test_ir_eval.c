/* The evaluator against the definition of every op, written once more element by element: a case is a small graph whose
 * last value is the op, and a function that says what element i of it is. Convolutions have more in test_ir_eval_conv.c. */
#include "ir_helpers.h"

#define X "%0 = input {name=\"x\"} : f32[2,3,5,4]\n"
#define CENTRE "%1 = input {name=\"centre\"} : f32[2,3]\n%2 = map %0 over f32[2,3,5,4] : f64[4,3]\n  moments { a0 }\n"
#define MOMENTS "%1 = map %0 over f32[2,3,5,4] : f64[4,3]\n  moments { a0 }\n%2 = moments %1 {count=40} : f32[3]\n"
#define POOL "{kernel=[3,2], stride=[2,1], pad=[1,0,1,1], dilation=[1,2]}"

/* t[v] is the value of %v; i the index of an element of the last value, v. */
typedef double (*Expected)(const Tensor *t, const Value *v, const int64_t *i);

static double at4(const Tensor *t, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t *dim = t->type.dim;
    return t->data[((a * dim[1] + b) * dim[2] + c) * dim[3] + d];
}
static double at2(const Tensor *t, int64_t a, int64_t b) { return t->data[a * t->type.dim[1] + b]; }
static double at(const Tensor *t, const int64_t *i) {
    return t->type.rank == 4 ? at4(t, i[0], i[1], i[2], i[3]) : t->type.rank == 2 ? at2(t, i[0], i[1]) : t->data[i[0]];
}
static double x0(const Tensor *t, const int64_t *i) { return at(&t[0], i); }

static double leaf(const Tensor *t, const Value *v, const int64_t *i) {
    (void)t;
    int64_t flat = 0;
    for (int k = 0; k < v->type.rank; k++) flat = flat * v->type.dim[k] + i[k];
    return leaf_element(v->attrs.param.name, v->type.dtype, flat);
}
#define CASE(name, expression)                                                                                                   \
    static double name(const Tensor *t, const Value *v, const int64_t *i) {                                                      \
        (void)t, (void)v, (void)i;                                                                                               \
        return expression;                                                                                                       \
    }
CASE(constant, -2.5)
CASE(relu, (x0(t, i) + fabs(x0(t, i))) / 2)
CASE(sigmoid, 0.5 + 0.5 * tanh(x0(t, i) / 2))
CASE(tangent, (exp(2 * x0(t, i)) - 1) / (exp(2 * x0(t, i)) + 1))
static double clip(double x) { return x < -3 ? 0 : x > 3 ? 1 : (x + 3) / 6; }
CASE(hard_sigmoid, clip(8 * x0(t, i)))
CASE(hard_swish, 8 * x0(t, i) * clip(8 * x0(t, i)))
CASE(silu, x0(t, i) / (1 + exp(-x0(t, i))))
CASE(add_gate, x0(t, i) + at2(&t[1], i[0], i[1]))
CASE(sub_vector, t[1].data[i[1]] - x0(t, i))
CASE(mul_scalar, x0(t, i) * t[1].data[0])
CASE(div_equal, x0(t, i) / at(&t[1], i))
CASE(identity, x0(t, i))
CASE(concat, i[1] < 3 ? x0(t, i) : at4(&t[1], i[0], i[1] - 3, i[2], i[3]))
CASE(slice, at4(&t[0], i[0], i[1] + 1, i[2], i[3]))
static double over(const Tensor *t, const int64_t *i, bool maximum, int c, int h, int w) {
    double sum = maximum ? -INFINITY : 0;
    for (int64_t k = 0; k < 60; k++) {
        int64_t at[3] = {k / 20, k / 4 % 5, k % 4};
        if ((!c && at[0] != i[1]) || (!h && at[1] != i[2]) || (!w && at[2] != i[3])) continue;
        double x = at4(&t[0], i[0], at[0], at[1], at[2]);
        sum = maximum ? fmax(sum, x) : sum + x;
    }
    return sum;
}
/* max_to over H and sum_to over W of one map. */
static double half_most(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    return over(t, i, true, 0, 1, 0) / 2;
}
static double squares(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t k = 0; k < 4; k++) sum += pow(at4(&t[0], i[0], i[1], i[2], k), 2);
    return sum;
}
CASE(sum_channels, over(t, i, false, 1, 0, 0))
CASE(sum_height, over(t, i, false, 0, 1, 0))
CASE(max_rows, over(t, i, true, 1, 0, 1))
/* index_to over pixels of what is 1 or 0, so that there are many maxima: the first. */
static double first_most(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    for (int64_t k = 0; k < 20; k++)
        if (at4(&t[0], i[0], i[1], k / 4, k % 4) > 0.1) return (double)k;
    return 0;
}
/* index_to over channels. */
static double most_channel(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    int64_t most = 0;
    for (int64_t k = 1; k < 3; k++)
        if (at4(&t[0], i[0], k, i[2], i[3]) > at4(&t[0], i[0], most, i[2], i[3])) most = k;
    return (double)most;
}
CASE(line, (double)i[2])
CASE(add_rows, x0(t, i) + at4(&t[1], i[0], i[1], i[2], 0))
CASE(add_columns, x0(t, i) - at4(&t[1], i[0], 0, 0, i[3]))
CASE(place, i[1] < 2 || i[1] == 5 ? 0 : at4(&t[0], i[0], i[1] - 2, i[2], i[3]))
CASE(shuffle, at2(&t[0], i[0], i[1] % 2 * 3 + i[1] / 2))
CASE(upsample, at4(&t[0], i[0], i[1], i[2] / 3, i[3] / 3))
CASE(pad, i[2] == 0 || i[3] == 3 ? 0 : at4(&t[0], i[0], i[1], i[2] - 1, i[3] + 1))
CASE(pad_channels, i[1] < 3 ? at4(&t[0], i[0], i[1], 2 * i[2], 2 * i[3]) : 0)
CASE(pad_channels_bwd, i[2] % 2 || i[3] % 2 ? 0 : at4(&t[0], i[0], i[1], i[2] / 2, i[3] / 2))
CASE(flatten, at4(&t[0], i[0], i[1] / 20, i[1] / 4 % 5, i[1] % 4))
CASE(unflatten, at2(&t[0], i[0], (i[1] * 5 + i[2]) * 4 + i[3]))
CASE(map_sum, exp(x0(t, i)) * t[1].data[i[1]])
CASE(scale_filters, x0(t, i) * t[1].data[i[0]])

/* The mean of a product over one filter. */
static double filter_mean(const Tensor *a, const Tensor *b, int64_t o) {
    int64_t n = type_elements(a->type) / a->type.dim[0];
    double sum = 0;
    for (int64_t k = o * n; k < (o + 1) * n; k++) sum += a->data[k] * (b ? b->data[k] : 1) / (double)n;
    return sum;
}
static double filter_scale(const Tensor *w, int64_t o) {
    return 1 / sqrt(filter_mean(w, w, o) - pow(filter_mean(w, NULL, o), 2) + 0.01);
}
CASE(standardize, (x0(t, i) - filter_mean(&t[0], NULL, i[0])) * filter_scale(&t[0], i[0]))
static double standardize_bwd(const Tensor *t, const Value *v, const int64_t *i) {
    double mean = filter_mean(&t[0], NULL, i[0]), scale = filter_scale(&t[0], i[0]), dy = filter_mean(&t[1], NULL, i[0]);
    double along = scale * (filter_mean(&t[0], &t[1], i[0]) - mean * dy);
    return scale * (at(&t[1], i) - dy - standardize(t, v, i) * along);
}

static double image_sum(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t p = 0; p < 20; p++) sum += at4(&t[0], i[0], i[1], p / 4, p % 4);
    return sum;
}
CASE(global_avg_pool, image_sum(t, v, i) / 20)
CASE(batch_sum, at2(&t[0], 0, i[0]) + at2(&t[0], 1, i[0]))
CASE(channel_sum, t[0].data[0] + t[0].data[1] + t[0].data[2])
CASE(moments_mean, (at2(&t[0], 0, i[0]) + at2(&t[0], 2, i[0])) / 40)

/* E[(x - m)^2] over the values themselves; the graph under test gives moments the sums. */
static double channel_mean(const Tensor *x, int64_t c) {
    double sum = 0;
    for (int64_t k = 0; k < 40; k++) sum += at4(x, k / 20, c, k / 4 % 5, k % 4) / 40;
    return sum;
}
static double channel_var(const Tensor *x, int64_t c) {
    double sum = 0;
    for (int64_t k = 0; k < 40; k++) sum += pow(at4(x, k / 20, c, k / 4 % 5, k % 4) - channel_mean(x, c), 2) / 40;
    return sum;
}
CASE(moments_var, channel_var(&t[0], i[0]))
CASE(deviations, image_sum(t, v, i) - 20 * channel_mean(&t[0], i[1]))
/* About t[1], over the 20 pixels of an image. */
static double image_spread(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t p = 0; p < 20; p++) sum += pow(at4(&t[0], i[0], i[1], p / 4, p % 4) - at2(&t[1], i[0], i[1]), 2);
    return sum;
}
CASE(image_deviations, image_sum(t, v, i) - 20 * at2(&t[1], i[0], i[1]))
CASE(norm_train,
     t[1].data[i[1]] * (x0(t, i) - channel_mean(&t[0], i[1])) / sqrt(channel_var(&t[0], i[1]) + 0.01) + t[2].data[i[1]])
CASE(norm_next_mean, 0.75 * t[3].data[i[0]] + 0.25 * channel_mean(&t[0], i[0]))
CASE(norm_next_var, 0.75 * t[4].data[i[0]] + 0.25 * channel_var(&t[0], i[0]) * 40 / 39)
CASE(norm_infer, t[1].data[i[1]] * (x0(t, i) - t[3].data[i[1]]) / sqrt(t[4].data[i[1]] + 0.01) + t[2].data[i[1]])
CASE(running_mean, t[3].data[i[0]])
CASE(running_var, t[4].data[i[0]])

/* Windows: calls of inside() answer whether output (oh, ow) reads input (h, w) through POOL. */
static bool inside(int64_t oh, int64_t ow, int64_t h, int64_t w) {
    int64_t kh = h + 1 - 2 * oh, kw = w - ow;
    return kh >= 0 && kh < 3 && (kw == 0 || kw == 2);
}
static double pool(const Tensor *x, const int64_t *i, bool average, int64_t *first) {
    double best = -INFINITY, sum = 0;
    for (int64_t h = 0; h < 5; h++) {
        for (int64_t w = 0; w < 4; w++) {
            if (!inside(i[2], i[3], h, w)) continue;
            double value = at4(x, i[0], i[1], h, w);
            sum += value / 6;
            if (value > best) best = value, *first = h * 4 + w;
        }
    }
    return average ? sum : best;
}
static double max_pool(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    int64_t first;
    return pool(&t[0], i, false, &first);
}
static double avg_pool(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    int64_t first;
    return pool(&t[0], i, true, &first);
}
static double max_pool_bwd(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t oh = 0; oh < 3; oh++) {
        for (int64_t ow = 0; ow < 3; ow++) {
            int64_t first = -1, o[4] = {i[0], i[1], oh, ow};
            pool(&t[0], o, false, &first);
            if (first == i[2] * 4 + i[3]) sum += at(&t[1], o);
        }
    }
    return sum;
}
static double avg_pool_bwd(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t o = 0; o < 9; o++) sum += inside(o / 3, o % 3, i[2], i[3]) ? at4(&t[0], i[0], i[1], o / 3, o % 3) / 6 : 0;
    return sum;
}

/* x[2,3,5,4], w[4,3,3,2], stride 2 and 1, pad 1,0,1,1, no dilation; y[2,4,3,4]. The tap of (oh, ow) at (h, w), or 0. */
static double weight(const Tensor *w, int64_t o, int64_t c, int64_t kh, int64_t kw) {
    return kh >= 0 && kh < 3 && kw >= 0 && kw < 2 ? at4(w, o, c, kh, kw) : 0;
}
static double conv2d(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t k = 0; k < 60; k++) {
        int64_t c = k / 20, h = k / 4 % 5, w = k % 4;
        sum += at4(&t[0], i[0], c, h, w) * weight(&t[1], i[1], c, h + 1 - 2 * i[2], w - i[3]);
    }
    return sum;
}
static double conv2d_bwd_data(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t k = 0; k < 48; k++) {
        int64_t o = k / 12, oh = k / 4 % 3, ow = k % 4;
        sum += at4(&t[0], i[0], o, oh, ow) * weight(&t[1], o, i[1], i[2] + 1 - 2 * oh, i[3] - ow);
    }
    return sum;
}
static double conv2d_bwd_weights(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t k = 0; k < 24; k++) {
        int64_t n = k / 12, oh = k / 4 % 3, ow = k % 4, h = 2 * oh - 1 + i[2], w = ow + i[3];
        if (h >= 0 && h < 5 && w < 4) sum += at4(&t[0], n, i[1], h, w) * at4(&t[1], n, i[0], oh, ow);
    }
    return sum;
}

static double dense(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t k = 0; k < 7; k++) sum += at2(&t[0], i[0], k) * at2(&t[1], i[1], k);
    return sum;
}
static double dense_bwd_data(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t o = 0; o < 5; o++) sum += at2(&t[0], i[0], o) * at2(&t[1], o, i[1]);
    return sum;
}
CASE(dense_bwd_weights, at2(&t[0], 0, i[1]) * at2(&t[1], 0, i[0]) + at2(&t[0], 1, i[1]) * at2(&t[1], 1, i[0]))

static double probability(const Tensor *logits, int64_t n, int64_t k) {
    double sum = 0;
    for (int64_t j = 0; j < 4; j++) sum += exp(at2(logits, n, j) - at2(logits, n, k));
    return 1 / sum;
}
CASE(softmax, probability(&t[0], i[0], i[1]))
/* The Jacobian diag(y) - y y^T, row by row. */
static double softmax_bwd(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v;
    double sum = 0;
    for (int64_t j = 0; j < 4; j++) sum += ((j == i[1]) - at2(&t[0], i[0], j)) * at2(&t[0], i[0], i[1]) * at2(&t[1], i[0], j);
    return sum;
}
static double cross_entropy(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v, (void)i;
    double sum = 0;
    for (int64_t k = 0; k < 12; k++) {
        double target = 0.1 / 4 + 0.9 * (t[1].data[k / 4] == (double)(k % 4));
        sum -= target * log(probability(&t[0], k / 4, k % 4)) / 3;
    }
    return sum;
}
CASE(cross_entropy_bwd, t[2].data[0] / 3 * (probability(&t[0], i[0], i[1]) - 0.1 / 4 - 0.9 * (t[1].data[i[0]] == (double)i[1])))
static double correct(const Tensor *t, const Value *v, const int64_t *i) {
    (void)v, (void)i;
    double sum = 0;
    for (int64_t n = 0; n < 3; n++) {
        bool largest = true;
        for (int64_t k = 0; k < 4; k++) largest &= at2(&t[0], n, k) <= at2(&t[0], n, (int64_t)t[1].data[n]);
        sum += largest;
    }
    return sum;
}

static const EvalOptions options = {.seed = UINT64_C(0x123456789ABCDEF0), .step = 7};
static double mask(const Tensor *t, const Value *v, const int64_t *i) {
    (void)t;
    uint32_t random[4], index = (uint32_t)(((i[0] * 3 + i[1]) * 5 + i[2]) * 4 + i[3]);
    philox4x32((uint32_t[]){index, 0, 9, 7}, (uint32_t[]){0x9ABCDEF0, 0x12345678}, random);
    return random[0] / 4294967296.0 >= v->attrs.dropout.rate ? 1.25 : 0;
}
CASE(dropout, mask(t, v, i) * x0(t, i))

#define T "graph \"t\" train\n"
#define I "graph \"t\" infer\n"
#define VECTOR "%1 = input {name=\"c\"} : f32[3]\n"
#define NORM                                                                                                                     \
    X VECTOR "%2 = input {name=\"beta\"} : f32[3]\n%3 = state {name=\"mean\", init=constant(0)} : f32[3]\n"                      \
             "%4 = state {name=\"var\", init=constant(1)} : f32[3]\n"                                                            \
             "%5 = batch_norm %0, %1, %2, %3, %4 {eps=0.01, momentum=0.25} : f32[2,3,5,4]\n"
#define LOGITS "%0 = input {name=\"logits\"} : f32[3,4]\n%1 = input {name=\"labels\"} : i32[3]\n"
#define CONV "{kernel=[3,2], stride=[2,1], pad=[1,0,1,1], dilation=[1,1], groups=1}"
#define Y "f32[2,4,3,4]\n"
#define W "f32[4,3,3,2]\n"

static const struct {
    Op op;
    Expected expected;
    const char *text;
} table[] = {
    {OP_INPUT, leaf, T "%0 = input {name=\"labels\"} : i32[5]\n"},
    {OP_PARAM, leaf, T "%0 = param {name=\"w\", init=constant(0), decay=true} : f32[2,3]\n"},
    {OP_STATE, leaf, T "%0 = state {name=\"var\", init=constant(0)} : f32[3]\n"},
    {OP_CONSTANT, constant, T "%0 = constant {value=-2.5} : f32[]\n"},
    {OP_CONV2D, conv2d, T X "%1 = input {name=\"w\"} : " W "%2 = conv2d %0, %1 " CONV " : " Y},
    {OP_DENSE, dense, T "%0 = input {name=\"x\"} : f32[2,7]\n%1 = input {name=\"w\"} : f32[5,7]\n%2 = dense %0, %1 : f32[2,5]\n"},
    {OP_BATCH_NORM, norm_train, T NORM},
    {OP_BATCH_NORM, norm_infer, I NORM},
    {OP_RESULT, norm_next_mean, T NORM "%6 = result %5 {index=1} : f32[3]\n"},
    {OP_RESULT, norm_next_var, T NORM "%6 = result %5 {index=2} : f32[3]\n"},
    {OP_RESULT, running_mean, I NORM "%6 = result %5 {index=1} : f32[3]\n"},
    {OP_RESULT, running_var, I NORM "%6 = result %5 {index=2} : f32[3]\n"},
    {OP_RELU, relu, T X "%1 = relu %0 : f32[2,3,5,4]\n"},
    {OP_SIGMOID, sigmoid, T X "%1 = sigmoid %0 : f32[2,3,5,4]\n"},
    {OP_TANH, tangent, T X "%1 = tanh %0 : f32[2,3,5,4]\n"},
    {OP_HARD_SIGMOID, hard_sigmoid,
     T X "%1 = constant {value=8} : f32[]\n%2 = mul %0, %1 : f32[2,3,5,4]\n%3 = hard_sigmoid %2 : f32[2,3,5,4]\n"},
    {OP_HARD_SWISH, hard_swish,
     T X "%1 = constant {value=8} : f32[]\n%2 = mul %0, %1 : f32[2,3,5,4]\n%3 = hard_swish %2 : f32[2,3,5,4]\n"},
    {OP_SILU, silu, T X "%1 = silu %0 : f32[2,3,5,4]\n"},
    {OP_ADD, add_gate, T X "%1 = input {name=\"g\"} : f32[2,3]\n%2 = add %0, %1 : f32[2,3,5,4]\n"},
    {OP_SUB, sub_vector, T X VECTOR "%2 = sub %1, %0 : f32[2,3,5,4]\n"},
    {OP_MUL, mul_scalar, T X "%1 = input {name=\"s\"} : f32[]\n%2 = mul %0, %1 : f32[2,3,5,4]\n"},
    {OP_DIV, div_equal, T X "%1 = input {name=\"var\"} : f32[2,3,5,4]\n%2 = div %0, %1 : f32[2,3,5,4]\n"},
    {OP_IDENTITY, identity, T X "%1 = identity %0 : f32[2,3,5,4]\n"},
    {OP_SOFTMAX, softmax, T LOGITS "%2 = softmax %0 : f32[3,4]\n"},
    {OP_MAX_POOL, max_pool, T X "%1 = max_pool %0 " POOL " : f32[2,3,3,3]\n"},
    {OP_AVG_POOL, avg_pool, T X "%1 = avg_pool %0 " POOL " : f32[2,3,3,3]\n"},
    {OP_GLOBAL_AVG_POOL, global_avg_pool, T X "%1 = global_avg_pool %0 : f32[2,3]\n"},
    {OP_CONCAT, concat, T X "%1 = input {name=\"y\"} : f32[2,2,5,4]\n%2 = concat %0, %1 : f32[2,5,5,4]\n"},
    {OP_PAD_CHANNELS, pad_channels, T X "%1 = pad_channels %0 {count=5, stride=2} : f32[2,5,3,2]\n"},
    {OP_FLATTEN, flatten, T X "%1 = flatten %0 : f32[2,60]\n"},
    {OP_DROPOUT, dropout, T X "%1 = dropout %0 {rate=0.2, stream=9} : f32[2,3,5,4]\n"},
    {OP_DROPOUT, identity, I X "%1 = dropout %0 {rate=0.2, stream=9} : f32[2,3,5,4]\n"},
    {OP_CROSS_ENTROPY, cross_entropy, T LOGITS "%2 = cross_entropy %0, %1 {smoothing=0.1} : f32[]\n"},
    {OP_CORRECT, correct, T LOGITS "%2 = correct %0, %1 : f32[]\n"},
    {OP_MAP, map_sum, T X VECTOR "%2 = map %0, %1 : f32[2,3,5,4]\n  output { t0 = exp a0; t1 = mul t0, a1; t1 }\n"},
    {OP_MAP, image_sum, T X "%1 = map %0 over f32[2,3,5,4] : f32[2,3]\n  reduce { a0 }\n"},
    {OP_IMAGE_SUM, image_sum, T X "%1 = image_sum %0 : f32[2,3]\n"},
    {OP_BATCH_SUM, batch_sum, T "%0 = input {name=\"x\"} : f32[2,3]\n%1 = batch_sum %0 : f32[3]\n"},
    {OP_CHANNEL_SUM, channel_sum, T "%0 = input {name=\"x\"} : f32[3]\n%1 = channel_sum %0 : f32[]\n"},
    {OP_MOMENTS, moments_mean, T "%0 = input {name=\"x\"} : f64[4,3]\n%1 = moments %0 {count=40} : f32[3]\n"},
    {OP_RESULT, moments_var, T X MOMENTS "%3 = result %2 {index=1} : f32[3]\n"},
    {OP_RESULT, deviations, T X MOMENTS "%3 = result %2 {index=2} : f32[2,3]\n"},
    {OP_DROPOUT_MASK, mask, T "%0 = dropout_mask {rate=0.2, stream=9} : f32[2,3,5,4]\n"},
    {OP_CONV2D_BWD_DATA, conv2d_bwd_data,
     T "%0 = input {name=\"dy\"} : " Y "%1 = input {name=\"w\"} : " W "%2 = conv2d_bwd_data %0, %1 " CONV " : f32[2,3,5,4]\n"},
    {OP_CONV2D_BWD_WEIGHTS, conv2d_bwd_weights,
     T X "%1 = input {name=\"dy\"} : " Y "%2 = conv2d_bwd_weights %0, %1 " CONV " : " W},
    {OP_DENSE_BWD_DATA, dense_bwd_data,
     T "%0 = input {name=\"dy\"} : f32[2,5]\n%1 = input {name=\"w\"} : f32[5,7]\n%2 = dense_bwd_data %0, %1 : f32[2,7]\n"},
    {OP_DENSE_BWD_WEIGHTS, dense_bwd_weights,
     T "%0 = input {name=\"x\"} : f32[2,7]\n%1 = input {name=\"dy\"} : f32[2,5]\n%2 = dense_bwd_weights %0, %1 : f32[5,7]\n"},
    {OP_SOFTMAX_BWD, softmax_bwd,
     T "%0 = input {name=\"y\"} : f32[3,4]\n%1 = input {name=\"dy\"} : f32[3,4]\n%2 = softmax_bwd %0, %1 : f32[3,4]\n"},
    {OP_MAX_POOL_BWD, max_pool_bwd,
     T X "%1 = input {name=\"dy\"} : f32[2,3,3,3]\n%2 = max_pool_bwd %0, %1 " POOL " : f32[2,3,5,4]\n"},
    {OP_AVG_POOL_BWD, avg_pool_bwd, T "%0 = input {name=\"dy\"} : f32[2,3,3,3]\n%1 = avg_pool_bwd %0 " POOL " : f32[2,3,5,4]\n"},
    {OP_SLICE_CHANNELS, slice, T X "%1 = slice_channels %0 {index=1} : f32[2,2,5,4]\n"},
    {OP_SUM_TO, sum_channels, T X "%1 = sum_to %0 : f32[2,1,5,4]\n"},
    {OP_SUM_TO, sum_height, T X "%1 = sum_to %0 : f32[2,3,1,4]\n"},
    {OP_MAX_TO, max_rows, T X "%1 = max_to %0 : f32[2,1,5,1]\n"},
    {OP_MAP, half_most, T X "%1 = map %0 over f32[2,3,5,4] : f32[2,3,1,4]\n  max_to 2 { t0 = mul a0, 0.5; t0 }\n"},
    {OP_RESULT, squares,
     T X "%1 = map %0 over f32[2,3,5,4] : f32[2,3,1,4]\n  max_to 2 { a0 }\n  sum_to 4 { t0 = mul a0, a0; t0 }\n"
         "%2 = result %1 {index=1} : f32[2,3,5,1]\n"},
    {OP_MAP, first_most, T X "%1 = map %0 over f32[2,3,5,4] : f32[2,3,1,1]\n  index_to 6 { t0 = less 0.1, a0; t0 }\n"},
    {OP_MAP, most_channel, T X "%1 = map %0 over f32[2,3,5,4] : f32[2,1,5,4]\n  index_to 1 { a0 }\n"},
    {OP_POSITION, line, T "%0 = position {index=2} : f32[2,1,5,1]\n"},
    {OP_ADD, add_rows, T X "%1 = input {name=\"y\"} : f32[2,3,5,1]\n%2 = add %0, %1 : f32[2,3,5,4]\n"},
    {OP_MAP, add_columns,
     T X "%1 = input {name=\"y\"} : f32[2,1,1,4]\n%2 = map %0, %1 : f32[2,3,5,4]\n  output { t0 = sub a0, a1; t0 }\n"},
    {OP_PLACE_CHANNELS, place, T X "%1 = place_channels %0 {index=2} : f32[2,6,5,4]\n"},
    {OP_CHANNEL_SHUFFLE, shuffle, T "%0 = input {name=\"x\"} : f32[2,6]\n%1 = channel_shuffle %0 {index=2} : f32[2,6]\n"},
    {OP_UPSAMPLE, upsample, T X "%1 = upsample %0 {index=3} : f32[2,3,15,12]\n"},
    {OP_PAD, pad, T X "%1 = pad %0 {pad=[1,-1,-2,1]} : f32[2,3,4,4]\n"},
    {OP_PAD_CHANNELS_BWD, pad_channels_bwd,
     T "%0 = input {name=\"dy\"} : f32[2,5,3,2]\n%1 = pad_channels_bwd %0 {count=5, stride=2} : f32[2,3,5,4]\n"},
    {OP_UNFLATTEN, unflatten, T "%0 = input {name=\"x\"} : f32[2,60]\n%1 = unflatten %0 : f32[2,3,5,4]\n"},
    {OP_CROSS_ENTROPY_BWD, cross_entropy_bwd,
     T LOGITS "%2 = input {name=\"d\"} : f32[]\n%3 = cross_entropy_bwd %0, %1, %2 {smoothing=0.1} : f32[3,4]\n"},
    {OP_IMAGE_MOMENTS, image_spread, T X CENTRE "%3 = image_moments %2, %1 {count=20} : f32[2,3]\n"},
    {OP_RESULT, image_deviations,
     T X CENTRE "%3 = image_moments %2, %1 {count=20} : f32[2,3]\n%4 = result %3 {index=1} : f32[2,3]\n"},
    {OP_STANDARDIZE, standardize, T "%0 = input {name=\"w\"} : " W "%1 = standardize %0 {eps=0.01} : " W},
    {OP_STANDARDIZE_BWD, standardize_bwd,
     T "%0 = input {name=\"w\"} : " W "%1 = input {name=\"dy\"} : " W "%2 = standardize_bwd %0, %1 {eps=0.01} : " W},
    {OP_SCALE_FILTERS, scale_filters,
     T "%0 = input {name=\"w\"} : " W "%1 = input {name=\"a\"} : f32[4]\n%2 = scale_filters %0, %1 : " W},
};

START_TEST(every_op_means_its_definition) {
    Graph *g = must_read(table[_i].text);
    Tensor *all = eval_all(g, &options);
    Val last = g->count - 1;
    const Value *v = &g->value[last];
    ck_assert_int_eq(v->op, table[_i].op);
    for (int64_t e = 0, n = type_elements(v->type); e < n; e++) {
        int64_t index[4] = {0}, rest = e;
        for (int k = v->type.rank - 1; k >= 0; k--) index[k] = rest % v->type.dim[k], rest /= v->type.dim[k];
        assert_near(all[last].data[e], table[_i].expected(all, v, index), 1e-12, op_text(v->op), e);
    }
    free_all(g, all);
    graph_free(g);
}
END_TEST

START_TEST(every_op_has_a_case) {
    for (int op = 0; op < OP_COUNT; op++) {
        bool found = false;
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) found |= table[i].op == (Op)op;
        ck_assert_msg(found, "op %s has no case", op_text((Op)op));
    }
}
END_TEST

/* The known-answer vectors of Random123 1.09 (kat_vectors, philox4x32 with 10 rounds). */
START_TEST(philox_known_answers) {
    static const uint32_t vector[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        philox4x32(vector[i], vector[i] + 4, out);
        ck_assert(memcmp(out, vector[i] + 6, sizeof out) == 0);
    }
}
END_TEST

START_TEST(dropout_keeps_the_right_share) {
    int64_t kept = 0, count = 100000;
    for (int64_t i = 0; i < count; i++) kept += dropout_keeps(1, 2, 3, i, 0.3);
    ck_assert_double_eq_tol((double)kept / (double)count, 0.7, 0.005);
    ck_assert(dropout_keeps(1, 2, 3, 4, 0));
    int64_t same = 0; /* streams, steps and seeds are apart */
    for (int64_t i = 0; i < 1000; i++) {
        bool keeps = dropout_keeps(1, 2, 3, i, 0.5);
        same += (keeps == dropout_keeps(1, 2, 4, i, 0.5)) + (keeps == dropout_keeps(1, 3, 3, i, 0.5)) +
                (keeps == dropout_keeps(UINT64_C(1) << 32 | 1, 2, 3, i, 0.5));
    }
    ck_assert_int_lt(llabs(same - 1500), 150);
}
END_TEST

START_TEST(special_values) {
    Graph *g = must_read(T "%0 = input {name=\"x\"} : f32[4]\n%1 = relu %0 : f32[4]\n%2 = hard_sigmoid %0 : f32[4]\n"
                           "return grad \"x\" %1\nreturn grad \"y\" %2\n%3 = input {name=\"y\"} : f32[4]\n");
    Leaves leaves = {.count = 0};
    Tensor *x = leaves_add(&leaves, "x", type_vector(4)), out[2];
    memcpy(x->data, (double[]){NAN, INFINITY, -INFINITY, 0}, 4 * sizeof(double));
    char why[200];
    ck_assert(graph_eval(g, leaves_lookup, &leaves, NULL, out, NULL, why, sizeof why));
    ck_assert(isnan(out[0].data[0]) && out[0].data[1] == INFINITY && out[0].data[2] == 0 && out[0].data[3] == 0);
    ck_assert(isnan(out[1].data[0]) && out[1].data[1] == 1 && out[1].data[2] == 0 && out[1].data[3] == 0.5);
    tensor_free(&out[0]);
    tensor_free(&out[1]);
    leaves_free(&leaves);
    graph_free(g);
}
END_TEST

/* The first maximum wins, in the pool's gradient and among the logits. */
START_TEST(ties_go_to_the_first) {
    Graph *g = must_read(T "%0 = input {name=\"x\"} : f32[1,1,2,2]\n%1 = input {name=\"dy\"} : f32[1,1,1,1]\n"
                           "%2 = max_pool_bwd %0, %1 {kernel=[2,2], stride=[2,2], pad=[0,0,0,0], dilation=[1,1]} : f32[1,1,2,2]\n"
                           "%3 = flatten %0 : f32[1,4]\n%4 = input {name=\"label\"} : i32[1]\n%5 = correct %3, %4 : f32[]\n"
                           "return grad \"x\" %2\nreturn correct %5\n");
    Leaves leaves = {.count = 0};
    Tensor *x = leaves_add(&leaves, "x", type_feature(1, 1, 2, 2)), out[2];
    Tensor *label = leaves_add(&leaves, "label", type_make(DT_I32, 1, (int64_t[]){1}));
    memcpy(x->data, (double[]){1, 5, 5, 5}, 4 * sizeof(double));
    double gradient = leaf_element("dy", DT_F32, 0);
    for (int64_t k = 0; k < 4; k++) {
        label->data[0] = (double)k;
        char why[200];
        ck_assert(graph_eval(g, leaves_lookup, &leaves, NULL, out, NULL, why, sizeof why));
        ck_assert_double_eq(out[0].data[k], k == 1 ? gradient : 0);
        ck_assert_double_eq(out[1].data[0], k == 1);
        tensor_free(&out[0]);
        tensor_free(&out[1]);
    }
    leaves_free(&leaves);
    graph_free(g);
}
END_TEST

START_TEST(rounding_mimics_storage) {
    Graph *g = must_read(T "%0 = input {name=\"x\"} : f32[2,3]\n%1 = map %0 : f32[2,3]\n  output { t0 = div a0, 3; t0 }\n");
    Tensor *exact = eval_all(g, NULL), *rounded = eval_all(g, &(EvalOptions){.round_f32 = true});
    for (int i = 0; i < 6; i++) {
        ck_assert_double_eq(rounded[0].data[i], (float)exact[0].data[i]);
        ck_assert_double_eq(rounded[1].data[i], (float)(rounded[0].data[i] / 3));
        ck_assert_double_ne(rounded[1].data[i], exact[1].data[i]);
    }
    free_all(g, exact);
    free_all(g, rounded);
    graph_free(g);
}
END_TEST

static const Tensor *no_leaf(void *context, const Value *leaf_value) {
    (void)leaf_value;
    return context;
}

START_TEST(failures_are_sentences) {
    Graph *g = must_read(T LOGITS "%2 = correct %0, %1 : f32[]\nreturn correct %2\n");
    Tensor out[1], *all;
    char why[200];
    ck_assert(!graph_eval(g, no_leaf, NULL, NULL, out, NULL, why, sizeof why));
    ck_assert_str_eq(why, "no value is given for the input \"logits\"");
    Tensor wrong = tensor_new(type_matrix(4, 3));
    ck_assert(!graph_eval(g, no_leaf, &wrong, NULL, NULL, &all, why, sizeof why));
    ck_assert_str_eq(why, "the input \"logits\" must be f32[3,4], given f32[4,3]");
    ck_assert_ptr_null(all);
    tensor_free(&wrong);
    Leaves leaves = {.count = 0};
    Tensor *labels = leaves_add(&leaves, "labels", type_make(DT_I32, 1, (int64_t[]){3}));
    static const double bad[] = {4, -1, 1.5, NAN};
    for (int i = 0; i < 4; i++) {
        labels->data[1] = bad[i];
        ck_assert(!graph_eval(g, leaves_lookup, &leaves, NULL, out, NULL, why, sizeof why));
        ck_assert(strstr(why, "of image 1 is not a class of 0 to 3"));
    }
    leaves_free(&leaves);
    graph_free(g);
    g = must_read(T "%0 = dropout_mask {rate=0, stream=0} : f32[1048576,1048576]\n");
    ck_assert(!graph_eval(g, no_leaf, NULL, NULL, NULL, NULL, why, sizeof why));
    ck_assert_str_eq(why, "f32[1048576,1048576] is too large for the reference evaluator");
    graph_free(g);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("eval");
    tcase_add_loop_test(cases, every_op_means_its_definition, 0, sizeof table / sizeof *table);
    tcase_add_test(cases, every_op_has_a_case);
    tcase_add_test(cases, philox_known_answers);
    tcase_add_test(cases, dropout_keeps_the_right_share);
    tcase_add_test(cases, special_values);
    tcase_add_test(cases, ties_go_to_the_first);
    tcase_add_test(cases, rounding_mimics_storage);
    tcase_add_test(cases, failures_are_sentences);
    return run_cases("ir eval", cases);
}
