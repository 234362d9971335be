/* Shape inference: graph_infer checks what holds for every op (arity, arguments, limits), then asks the op's own rule, then
 * checks regions. Rules never trust their input: the textual reader and its fuzzer come through here. Windowed ops are in
 * shape_window.c. Refusals are sentences that the frontend shows to users. */
#include "ir/shape.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool infer_refuse(const Infer *in, const char *format, ...) {
    int at = snprintf(in->why, in->why_size, "%s: ", op_text(in->spec->op));
    va_list args;
    va_start(args, format);
    if ((size_t)at < in->why_size) vsnprintf(in->why + at, in->why_size - (size_t)at, format, args);
    va_end(args);
    return false;
}

Type infer_arg(const Infer *in, uint32_t i) { return in->g->value[in->spec->args[i]].type; }

bool infer_accept(const Infer *in, Type type) {
    if (!type_valid(type)) {
        for (int i = 0; i < type.rank && i < MAX_RANK; i++) {
            if (type.dim[i] < 1) return infer_refuse(in, "the result %s would be empty", TEXT(type));
        }
        return infer_refuse(in, "the result %s has more than 2^40 elements", TEXT(type));
    }
    *in->type = type;
    return true;
}

static const char *rank_text(int rank) {
    static const char *const text[] = {"a scalar f32[]", "a vector f32[C]", "a matrix f32[N,C]", "f32 of rank 3",
                                       "a feature map f32[N,C,H,W]"};
    return text[rank];
}

bool infer_need_rank(const Infer *in, uint32_t arg, int rank, const char *what) {
    Type t = infer_arg(in, arg);
    if (t.rank == rank && t.dtype == DT_F32) return true;
    return infer_refuse(in, "%s must be %s, found %s", what, rank_text(rank), TEXT(t));
}

static bool need_f32(const Infer *in, uint32_t arg, const char *what) {
    Type t = infer_arg(in, arg);
    return t.dtype == DT_F32 || infer_refuse(in, "%s must be f32, found %s", what, TEXT(t));
}

static bool need_equal(const Infer *in, uint32_t arg, Type expected, const char *what) {
    Type t = infer_arg(in, arg);
    return type_equal(t, expected) || infer_refuse(in, "%s must be %s, found %s", what, TEXT(expected), TEXT(t));
}

static bool declared_valid(const Infer *in) {
    Type t = in->spec->declared;
    if (t.rank < 0 || t.rank > MAX_RANK) return infer_refuse(in, "the declared rank %d is outside 0 to %d", t.rank, MAX_RANK);
    return infer_accept(in, t);
}

static bool declared_f32(const Infer *in) {
    if (!declared_valid(in)) return false;
    return in->type->dtype == DT_F32 || infer_refuse(in, "must be f32, declared %s", TEXT(*in->type));
}

/* ---- leaves ---- */

static bool named_leaf(const Infer *in) {
    const char *name = in->spec->attrs.param.name;
    return (name && *name) || infer_refuse(in, "needs a name");
}

bool shape_INPUT(const Infer *in) { return named_leaf(in) && declared_valid(in); }

/* Those of filters alone; whitening is of so many axes that their eigenvectors can be computed. */
static bool filters_init(const Infer *in, Init init) {
    const int64_t *dim = in->type->dim;
    if (in->type->rank != 4) return infer_refuse(in, "dirac and whiten are for filters, declared %s", TEXT(*in->type));
    if (init.kind == INIT_DIRAC) return true;
    int64_t axes = dim[1] * dim[2] * dim[3]; /* of a valid type */
    if (!(init.value > 0)) return infer_refuse(in, "what whiten adds to variances must be above 0, found %g", init.value);
    if (axes > MAX_WHITENED) return infer_refuse(in, "whiten is for at most %d weights a filter", MAX_WHITENED);
    return dim[0] == axes || dim[0] == 2 * axes ||
           infer_refuse(in, "whiten is for as many filters as one has weights, or twice as many, declared %s", TEXT(*in->type));
}

bool shape_PARAM(const Infer *in) {
    if (!named_leaf(in) || !declared_f32(in)) return false;
    Init init = in->spec->attrs.param.init;
    if ((unsigned)init.kind > INIT_WHITEN) return infer_refuse(in, "unknown initialiser");
    if (!isfinite(init.value)) return infer_refuse(in, "the initialiser's value must be finite");
    return (init.kind != INIT_DIRAC && init.kind != INIT_WHITEN) || filters_init(in, init);
}

bool shape_STATE(const Infer *in) { return shape_PARAM(in); }

bool shape_CONSTANT(const Infer *in) { return infer_accept(in, type_scalar()); }

static bool dropout_rate(const Infer *in) {
    double rate = in->spec->attrs.dropout.rate;
    return (rate >= 0 && rate < 1) || infer_refuse(in, "the rate must be at least 0 and below 1, found %g", rate);
}

bool shape_DROPOUT_MASK(const Infer *in) { return dropout_rate(in) && declared_f32(in); }

/* ---- elementwise ---- */

static bool same_as_operand(const Infer *in) { return need_f32(in, 0, "the input") && infer_accept(in, infer_arg(in, 0)); }

bool shape_RELU(const Infer *in) { return same_as_operand(in); }
bool shape_SIGMOID(const Infer *in) { return same_as_operand(in); }
bool shape_TANH(const Infer *in) { return same_as_operand(in); }
bool shape_HARD_SIGMOID(const Infer *in) { return same_as_operand(in); }
bool shape_HARD_SWISH(const Infer *in) { return same_as_operand(in); }
bool shape_SILU(const Infer *in) { return same_as_operand(in); }
bool shape_IDENTITY(const Infer *in) { return same_as_operand(in); }
bool shape_DROPOUT(const Infer *in) { return dropout_rate(in) && same_as_operand(in); }

/* The operand of higher rank is the iteration space; the other one must be readable at each of its elements. */
static bool broadcast_pair(const Infer *in) {
    if (!need_f32(in, 0, "the left side") || !need_f32(in, 1, "the right side")) return false;
    Type a = infer_arg(in, 0), b = infer_arg(in, 1);
    if (a.rank >= b.rank && type_broadcasts(b, a)) return infer_accept(in, a);
    if (b.rank >= a.rank && type_broadcasts(a, b)) return infer_accept(in, b);
    return infer_refuse(in,
                        "needs equal shapes, or a [N,C] gate, a [C] vector or a scalar that fits the other side; left is %s, "
                        "right is %s",
                        TEXT(a), TEXT(b));
}

bool shape_ADD(const Infer *in) { return broadcast_pair(in); }
bool shape_SUB(const Infer *in) { return broadcast_pair(in); }
bool shape_MUL(const Infer *in) { return broadcast_pair(in); }
bool shape_DIV(const Infer *in) { return broadcast_pair(in); }

bool shape_MAP(const Infer *in) {
    if (!declared_f32(in)) return false;
    if (in->spec->nregions == 0) return infer_refuse(in, "needs at least one region");
    Type space = *in->type;
    const Region *first = &in->spec->regions[0];
    if ((region_sums(first->role) || region_reduces(first->role)) && space.rank != 4)
        return infer_refuse(in, "a sum or a maximum of elements needs an iteration space of rank 4, found %s", TEXT(space));
    return infer_accept(in, region_type(first, space));
}

bool shape_RESULT(const Infer *in) {
    Val v = in->spec->args[0];
    int64_t index = in->spec->attrs.index;
    uint32_t results = value_results(in->g, v);
    if (index < 1 || index >= results)
        return infer_refuse(in, "%s has %u result%s, there is no result %lld", op_text(in->g->value[v].op), results,
                            results == 1 ? "" : "s", (long long)index);
    return infer_accept(in, value_result_type(in->g, v, (uint32_t)index));
}

/* ---- dense layers, normalisation, loss ---- */

bool shape_DENSE(const Infer *in) {
    if (!infer_need_rank(in, 0, 2, "the input") || !infer_need_rank(in, 1, 2, "the weight")) return false;
    Type x = infer_arg(in, 0), w = infer_arg(in, 1);
    if (x.dim[1] != w.dim[1])
        return infer_refuse(in, "the weight %s is for %lld inputs, the input %s has %lld", TEXT(w), (long long)w.dim[1], TEXT(x),
                            (long long)x.dim[1]);
    return infer_accept(in, type_matrix(x.dim[0], w.dim[0]));
}

bool shape_DENSE_BWD_DATA(const Infer *in) {
    if (!infer_need_rank(in, 0, 2, "the gradient") || !infer_need_rank(in, 1, 2, "the weight")) return false;
    Type dy = infer_arg(in, 0), w = infer_arg(in, 1);
    if (dy.dim[1] != w.dim[0])
        return infer_refuse(in, "the weight %s makes %lld outputs, the gradient %s has %lld", TEXT(w), (long long)w.dim[0],
                            TEXT(dy), (long long)dy.dim[1]);
    return infer_accept(in, type_matrix(dy.dim[0], w.dim[1]));
}

bool shape_DENSE_BWD_WEIGHTS(const Infer *in) {
    if (!infer_need_rank(in, 0, 2, "the input") || !infer_need_rank(in, 1, 2, "the gradient")) return false;
    Type x = infer_arg(in, 0), dy = infer_arg(in, 1);
    if (x.dim[0] != dy.dim[0])
        return infer_refuse(in, "the input %s and the gradient %s differ in batch size", TEXT(x), TEXT(dy));
    return infer_accept(in, type_matrix(dy.dim[1], x.dim[1]));
}

bool shape_BATCH_NORM(const Infer *in) {
    static const char *const what[] = {"the input", "gamma", "beta", "the running mean", "the running variance"};
    if (!infer_need_rank(in, 0, 4, what[0])) return false;
    Type x = infer_arg(in, 0);
    for (uint32_t i = 1; i < 5; i++) {
        Type t = infer_arg(in, i);
        bool absent = i < 3 && in->g->value[in->spec->args[i]].op == OP_CONSTANT; /* a norm without scale or shift */
        if (!absent && !type_equal(t, type_vector(x.dim[1])))
            return infer_refuse(in, "%s must be %s for the input %s, found %s", what[i], TEXT(type_vector(x.dim[1])), TEXT(x),
                                TEXT(t));
    }
    double eps = in->spec->attrs.norm.eps, momentum = in->spec->attrs.norm.momentum;
    if (!(eps >= 0) || !isfinite(eps)) return infer_refuse(in, "eps must be finite and at least 0, found %g", eps);
    if (!(momentum >= 0 && momentum <= 1)) return infer_refuse(in, "momentum must be between 0 and 1, found %g", momentum);
    return infer_accept(in, x);
}

bool shape_SOFTMAX(const Infer *in) { return infer_need_rank(in, 0, 2, "the input") && infer_accept(in, infer_arg(in, 0)); }

bool shape_SOFTMAX_BWD(const Infer *in) {
    return infer_need_rank(in, 0, 2, "the output") && need_equal(in, 1, infer_arg(in, 0), "the gradient") &&
           infer_accept(in, infer_arg(in, 0));
}

static bool logits_and_labels(const Infer *in) {
    if (!infer_need_rank(in, 0, 2, "the logits")) return false;
    Type logits = infer_arg(in, 0), labels = infer_arg(in, 1);
    if (labels.dtype == DT_I32 && labels.rank == 1 && labels.dim[0] == logits.dim[0]) return true;
    return infer_refuse(in, "the labels must be i32[%lld] for the logits %s, found %s", (long long)logits.dim[0], TEXT(logits),
                        TEXT(labels));
}

static bool smoothing_valid(const Infer *in) {
    double s = in->spec->attrs.loss.smoothing;
    return (s >= 0 && s < 1) || infer_refuse(in, "label smoothing must be at least 0 and below 1, found %g", s);
}

bool shape_CROSS_ENTROPY(const Infer *in) {
    return logits_and_labels(in) && smoothing_valid(in) && infer_accept(in, type_scalar());
}

bool shape_CROSS_ENTROPY_BWD(const Infer *in) {
    return logits_and_labels(in) && smoothing_valid(in) && need_equal(in, 2, type_scalar(), "the loss gradient") &&
           infer_accept(in, infer_arg(in, 0));
}

bool shape_CORRECT(const Infer *in) { return logits_and_labels(in) && infer_accept(in, type_scalar()); }

/* ---- sums ---- */

static bool image_sum(const Infer *in) {
    if (!infer_need_rank(in, 0, 4, "the input")) return false;
    Type x = infer_arg(in, 0);
    return infer_accept(in, type_matrix(x.dim[0], x.dim[1]));
}

bool shape_IMAGE_SUM(const Infer *in) { return image_sum(in); }
bool shape_GLOBAL_AVG_POOL(const Infer *in) { return image_sum(in); }

bool shape_BATCH_SUM(const Infer *in) {
    return infer_need_rank(in, 0, 2, "the input") && infer_accept(in, type_vector(infer_arg(in, 0).dim[1]));
}

bool shape_CHANNEL_SUM(const Infer *in) { return infer_need_rank(in, 0, 1, "the input") && infer_accept(in, type_scalar()); }

/* Is y what x is reduced to? */
static bool is_reduced(const Infer *in, Type x, Type y) {
    bool fits = y.rank == 4 && y.dim[0] == x.dim[0];
    for (int i = 1; fits && i < 4; i++) fits = y.dim[i] == x.dim[i] || y.dim[i] == 1;
    return fits || infer_refuse(in, "the result is the input %s with 1 in place of C, H or W, found %s", TEXT(x), TEXT(y));
}

static bool reduced(const Infer *in) {
    return infer_need_rank(in, 0, 4, "the input") && declared_f32(in) && is_reduced(in, infer_arg(in, 0), *in->type);
}

bool shape_SUM_TO(const Infer *in) { return reduced(in); }
bool shape_MAX_TO(const Infer *in) { return reduced(in); }

bool shape_POSITION(const Infer *in) {
    if (!declared_f32(in)) return false;
    int64_t along = in->spec->attrs.index;
    Type t = *in->type;
    bool fits = along == 1 && t.rank == 1;
    if (along == 2 || along == 3) fits = t.rank == 4 && t.dim[1] == 1 && t.dim[5 - along] == 1;
    return fits || infer_refuse(in, "is [C] along 1, [N,1,H,1] along 2 and [N,1,1,W] along 3, found %s along %lld", TEXT(t),
                                (long long)along);
}

bool shape_MOMENTS(const Infer *in) {
    Type sums = infer_arg(in, 0);
    double count = in->spec->attrs.constant;
    if (sums.dtype != DT_F64 || sums.rank != 2 || sums.dim[0] % 2)
        return infer_refuse(in, "needs the sums f64[2N,C] of a region 'moments', found %s", TEXT(sums));
    if (!(count >= 1) || !isfinite(count)) return infer_refuse(in, "the count must be finite and at least 1, found %g", count);
    return infer_accept(in, type_vector(sums.dim[1]));
}

bool shape_IMAGE_MOMENTS(const Infer *in) {
    Type sums = infer_arg(in, 0), images = type_matrix(sums.dim[0] / 2, sums.dim[1]);
    double count = in->spec->attrs.constant;
    if (sums.dtype != DT_F64 || sums.rank != 2 || sums.dim[0] % 2)
        return infer_refuse(in, "needs the sums f64[2N,C] of a region 'moments', found %s", TEXT(sums));
    if (in->spec->nargs == 2 && !type_equal(infer_arg(in, 1), images))
        return infer_refuse(in, "the centre must be %s, found %s", TEXT(images), TEXT(infer_arg(in, 1)));
    if (!(count >= 1) || !isfinite(count)) return infer_refuse(in, "the count must be finite and at least 1, found %g", count);
    return infer_accept(in, images);
}

/* ---- rearranging channels ---- */

bool shape_CONCAT(const Infer *in) {
    Type first = infer_arg(in, 0), sum = first;
    for (uint32_t i = 0; i < in->spec->nargs; i++) {
        Type t = infer_arg(in, i);
        if ((t.rank != 4 && t.rank != 2) || t.dtype != DT_F32)
            return infer_refuse(in, "operand %u must be a feature map f32[N,C,H,W] or a matrix f32[N,C], found %s", i + 1,
                                TEXT(t));
        Type rest = t;
        rest.dim[1] = first.dim[1];
        if (!type_equal(rest, first))
            return infer_refuse(in, "operands must agree in all but channels; operand 1 is %s, operand %u is %s", TEXT(first),
                                i + 1, TEXT(t));
        if (i > 0) sum.dim[1] += t.dim[1]; /* 64 * 2^40 at most */
    }
    return infer_accept(in, sum);
}

bool shape_SLICE_CHANNELS(const Infer *in) {
    if (!declared_f32(in)) return false;
    Type x = infer_arg(in, 0), part = *in->type, rest = x;
    int64_t from = in->spec->attrs.index;
    if (x.rank != 4 && x.rank != 2)
        return infer_refuse(in, "the input must be a feature map f32[N,C,H,W] or a matrix f32[N,C], found %s", TEXT(x));
    rest.dim[1] = part.dim[1];
    if (!type_equal(part, rest))
        return infer_refuse(in, "input and result must agree in all but channels; input is %s, result is %s", TEXT(x),
                            TEXT(part));
    if (from < 0 || from > x.dim[1] - part.dim[1])
        return infer_refuse(in, "%lld channels from %lld on reach outside the input %s", (long long)part.dim[1], (long long)from,
                            TEXT(x));
    return true;
}

/* What slice_channels took out, back in its place. */
bool shape_PLACE_CHANNELS(const Infer *in) {
    if (!declared_f32(in)) return false;
    Type part = infer_arg(in, 0), whole = *in->type, rest = whole;
    int64_t from = in->spec->attrs.index;
    if (part.rank != 4 && part.rank != 2)
        return infer_refuse(in, "the input must be a feature map f32[N,C,H,W] or a matrix f32[N,C], found %s", TEXT(part));
    rest.dim[1] = part.dim[1];
    if (!type_equal(part, rest))
        return infer_refuse(in, "input and result must agree in all but channels; input is %s, result is %s", TEXT(part),
                            TEXT(whole));
    if (from < 0 || from > whole.dim[1] - part.dim[1])
        return infer_refuse(in, "%lld channels from %lld on reach outside the result %s", (long long)part.dim[1], (long long)from,
                            TEXT(whole));
    return true;
}

bool shape_CHANNEL_SHUFFLE(const Infer *in) {
    Type x = infer_arg(in, 0);
    int64_t groups = in->spec->attrs.index;
    if ((x.rank != 4 && x.rank != 2) || x.dtype != DT_F32)
        return infer_refuse(in, "the input must be a feature map f32[N,C,H,W] or a matrix f32[N,C], found %s", TEXT(x));
    if (groups < 1 || x.dim[1] % groups)
        return infer_refuse(in, "%lld groups do not divide the %lld channels of the input %s", (long long)groups,
                            (long long)x.dim[1], TEXT(x));
    return infer_accept(in, x);
}

bool shape_UPSAMPLE(const Infer *in) {
    int64_t times = in->spec->attrs.index;
    if (!infer_need_rank(in, 0, 4, "the input")) return false;
    if (times < 1 || times > 1 << 16) return infer_refuse(in, "the factor must be from 1 to 65536, found %lld", (long long)times);
    Type x = infer_arg(in, 0);
    if (x.dim[2] > MAX_ELEMENTS / times || x.dim[3] > MAX_ELEMENTS / times)
        return infer_refuse(in, "the result would have more than 2^40 elements");
    return infer_accept(in, type_feature(x.dim[0], x.dim[1], x.dim[2] * times, x.dim[3] * times));
}

bool shape_FLATTEN(const Infer *in) {
    if (!infer_need_rank(in, 0, 4, "the input")) return false;
    Type x = infer_arg(in, 0);
    return infer_accept(in, type_matrix(x.dim[0], x.dim[1] * x.dim[2] * x.dim[3]));
}

bool shape_UNFLATTEN(const Infer *in) {
    if (!infer_need_rank(in, 0, 2, "the input") || !declared_f32(in)) return false;
    Type x = infer_arg(in, 0), y = *in->type;
    if (y.rank != 4 || y.dim[0] != x.dim[0] || y.dim[1] * y.dim[2] * y.dim[3] != x.dim[1])
        return infer_refuse(in, "the input %s does not hold the elements of %s", TEXT(x), TEXT(y));
    return true;
}

static bool eps_valid(const Infer *in) {
    double eps = in->spec->attrs.constant;
    return (eps > 0 && eps <= 1) || infer_refuse(in, "eps must be above 0, at most 1");
}

bool shape_STANDARDIZE(const Infer *in) {
    return infer_need_rank(in, 0, 4, "the weight") && eps_valid(in) && infer_accept(in, infer_arg(in, 0));
}

bool shape_STANDARDIZE_BWD(const Infer *in) {
    if (!infer_need_rank(in, 0, 4, "the weight") || !eps_valid(in)) return false;
    Type w = infer_arg(in, 0), dy = infer_arg(in, 1);
    if (!type_equal(w, dy)) return infer_refuse(in, "the weight is %s, the gradient of what is made of it %s", TEXT(w), TEXT(dy));
    return infer_accept(in, w);
}

bool shape_SCALE_FILTERS(const Infer *in) {
    if (!infer_need_rank(in, 0, 4, "the weight") || !infer_need_rank(in, 1, 1, "the scale")) return false;
    Type w = infer_arg(in, 0), a = infer_arg(in, 1);
    if (w.dim[0] != a.dim[0])
        return infer_refuse(in, "the weight %s has %lld filters, the scale %s has %lld", TEXT(w), (long long)w.dim[0], TEXT(a),
                            (long long)a.dim[0]);
    return infer_accept(in, w);
}

/* ---- all of it ---- */

static bool (*const shape_rule[OP_COUNT])(const Infer *) = {
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) shape_##ID,
#include "ir/ops.def"
#undef OP
};

static bool arguments_valid(const Infer *in) {
    const ValueSpec *s = in->spec;
    uint32_t lo = op_operands(s->op), hi = op_max_args(s->op);
    if (s->nargs < lo || s->nargs > hi) {
        if (lo == hi) return infer_refuse(in, "needs %u argument%s, found %u", lo, lo == 1 ? "" : "s", s->nargs);
        return infer_refuse(in, "needs %u to %u arguments, found %u", lo, hi, s->nargs);
    }
    for (uint32_t i = 0; i < s->nargs; i++) {
        if (s->args[i] >= in->g->count) return infer_refuse(in, "argument %u is not an earlier value", i + 1);
    }
    return true;
}

bool graph_infer(const Graph *g, const ValueSpec *spec, Type *type, char *why, size_t why_size) {
    char unused[1];
    Type result = {0};
    Infer in = {g, spec, &result, why ? why : unused, why ? why_size : sizeof unused};
    if ((unsigned)spec->op >= OP_COUNT) {
        snprintf(in.why, in.why_size, "there is no op number %d", (int)spec->op);
        return false;
    }
    if (!arguments_valid(&in) || !shape_rule[spec->op](&in)) return false;
    if (!infer_regions(&in, spec->op == OP_MAP ? spec->declared : result)) return false;
    *type = result;
    return true;
}

uint32_t value_results(const Graph *g, Val v) {
    const Value *value = &g->value[v];
    if (op_takes_regions(value->op)) return region_results(value->op, value->regions, value->nregions);
    return op_results(value->op);
}

Type value_result_type(const Graph *g, Val v, uint32_t result) {
    const Value *value = &g->value[v];
    if (result == 0) return value->type;
    if (op_takes_regions(value->op)) return region_result_type(g, value, result);
    if (value->op == OP_BATCH_NORM) return type_vector(value->type.dim[1]); /* the running statistics */
    if (value->op == OP_MOMENTS && result == 2) {                           /* what the images deviate; 1 is the variance */
        Type sums = g->value[value->args[0]].type;
        return type_matrix(sums.dim[0] / 2, sums.dim[1]);
    }
    return value->type;
}
