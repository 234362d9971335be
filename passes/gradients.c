/* The gradient rules, one per op with gradient = 1 in ir/ops.def; an op without its rule fails to compile. Notation: y is
 * the value, dy its adjoint, x and w its operands. A map needs one rule for all elementwise ops: the symbolic derivative of
 * its Expr times dy, summed over the dimensions that the argument lacks. */
#include "passes/autodiff.h"
#include <stdio.h>
#include <stdlib.h>

/* dy as a whole tensor of y's type. */
static Val whole(Autodiff *a, Val y, Val dy) { return autodiff_spread(a, dy, a->g->value[y].type, a->g->value[y].span); }

/* A backward op that takes over y's attributes; `like` gives the declared type. */
static Val backward(Autodiff *a, Op op, Val y, const Val *args, uint32_t nargs, Type like) {
    const Value *v = &a->g->value[y];
    return graph_add(
        a->g, &(ValueSpec){
                  .op = op, .args = args, .nargs = nargs, .attrs = v->attrs, .declared = like, .span = v->span, .name = v->name});
}

static Type type_of(const Autodiff *a, Val v) { return a->g->value[v].type; }

static void grad_nothing(Autodiff *a, Val y, Val dy) { (void)a, (void)y, (void)dy; }
#define grad_INPUT grad_nothing
#define grad_PARAM grad_nothing
#define grad_STATE grad_nothing
#define grad_CONSTANT grad_nothing
#define grad_DROPOUT_MASK grad_nothing
#define grad_RESULT grad_nothing /* the value whose result it is asks for its adjoint */

/* ---- linear layers ---- */

static void grad_CONV2D(Autodiff *a, Val y, Val dy) {
    Val x = a->g->value[y].args[0], w = a->g->value[y].args[1];
    dy = whole(a, y, dy);
    if (autodiff_wants(a, w)) autodiff_give(a, w, backward(a, OP_CONV2D_BWD_WEIGHTS, y, (Val[]){x, dy}, 2, type_of(a, w)));
    if (autodiff_wants(a, x)) autodiff_give(a, x, backward(a, OP_CONV2D_BWD_DATA, y, (Val[]){dy, w}, 2, type_of(a, x)));
}

static void grad_STANDARDIZE(Autodiff *a, Val y, Val dy) {
    Val w = a->g->value[y].args[0];
    autodiff_give(a, w, backward(a, OP_STANDARDIZE_BWD, y, (Val[]){w, whole(a, y, dy)}, 2, type_of(a, w)));
}

static void grad_DENSE(Autodiff *a, Val y, Val dy) {
    Val x = a->g->value[y].args[0], w = a->g->value[y].args[1];
    dy = whole(a, y, dy);
    if (autodiff_wants(a, w)) autodiff_give(a, w, backward(a, OP_DENSE_BWD_WEIGHTS, y, (Val[]){x, dy}, 2, type_of(a, w)));
    if (autodiff_wants(a, x)) autodiff_give(a, x, backward(a, OP_DENSE_BWD_DATA, y, (Val[]){dy, w}, 2, type_of(a, x)));
}

/* ---- maps ---- */

/* factor * dy, with dy moved into the arms of a select: (x > 0 ? 1 : 0) * dy becomes x > 0 ? dy : 0, one operation, and
 * what is masked stays out even if it is infinite. */
static uint16_t times(ExprBuilder *b, uint16_t factor, uint16_t dy) {
    ExprNode n = b->node[factor];
    if (n.op == X_CONST && n.value == 0) return factor;
    if (n.op != X_SELECT) return expr_binary(b, X_MUL, factor, dy);
    uint16_t yes = times(b, n.arg[1], dy);
    return expr_select(b, n.arg[0], yes, times(b, n.arg[2], dy));
}

/* The adjoint of `to`, which is read by rank in an iteration over space: the sum of root over the dimensions it lacks.
 * Dimensions over which root is constant are a factor; the rest is summed by the ops for it, from the innermost outwards. */
static void give_summed(Autodiff *a, Val to, MapBuilder *m, uint16_t root, Type space, const Value *y) {
    Type target = type_of(a, to);
    if (target.rank == 4 && !type_equal(target, space)) { /* with 1 in place of C, H or W */
        Val d = map_finish(m, root, space, y->span, y->name);
        autodiff_give(
            a, to, graph_add(a->g, &(ValueSpec){.op = OP_SUM_TO, .args = &d, .nargs = 1, .declared = target, .span = y->span}));
        return;
    }
    Type computed = type_summed(space, map_rank(m, root));
    Type reached = computed.rank > target.rank ? computed : target;
    double copies = (double)(type_elements(space) / type_elements(reached));
    root = expr_binary(&m->expr, X_MUL, root, expr_const(&m->expr, copies));
    Val d = map_finish(m, root, computed, y->span, y->name);
    for (int rank = computed.rank; rank > target.rank; rank = type_of(a, d).rank) {
        Op op = rank == 4 ? OP_IMAGE_SUM : rank == 2 ? OP_BATCH_SUM : OP_CHANNEL_SUM;
        d = graph_unary(a->g, op, d, y->span);
    }
    autodiff_give(a, to, d);
}

static void grad_SUM_TO(Autodiff *a, Val y, Val dy) {
    Val x = a->g->value[y].args[0];
    autodiff_give(a, x, autodiff_spread(a, whole(a, y, dy), type_of(a, x), a->g->value[y].span));
}

static void grad_region(Autodiff *a, const Value *y, const Expr *body, Val dy) {
    for (uint32_t i = 0; i < y->nargs; i++) {
        if (!autodiff_wants(a, y->args[i]) || !expr_uses_arg(body, i)) continue;
        MapBuilder m = map_begin(a->g);
        uint16_t leaf[MAX_ARGS];
        for (uint32_t k = 0; k < y->nargs; k++) leaf[k] = map_read(&m, y->args[k]);
        uint16_t root = expr_derivative(&m.expr, body, i, leaf);
        if (m.nargs == MAX_ARGS && m.expr.node[root].op != X_CONST) { /* no room for dy: the derivative is a map of its own */
            Val slope = map_finish(&m, root, y->space, y->span, y->name);
            m = map_begin(a->g);
            root = map_read(&m, slope);
        }
        root = times(&m.expr, root, map_read(&m, dy));
        bool zero = m.expr.node[root].op == X_CONST && m.expr.node[root].value == 0;
        if (!zero) give_summed(a, y->args[i], &m, root, y->space, y);
    }
}

/* Result i of a value with more than one: the RESULT that reads it, NO_VAL if nobody does. */
static Val find_result(const Autodiff *a, Val y, uint32_t i) {
    if (i == 0) return y;
    for (Val r = a->g->value[y].results; r; r = a->g->value[r].results) {
        if (a->g->value[r].attrs.index == (int64_t)i) return r;
    }
    return NO_VAL;
}

static Val result_adjoint(Autodiff *a, Val y, uint32_t i) {
    Val r = find_result(a, y, i);
    return r == NO_VAL || r >= a->forward ? NO_VAL : autodiff_adjoint(a, r);
}

/* An OUTPUT's adjoint is per element; that of a REDUCE is per image and channel, which broadcasts over the pixels. */
static void grad_MAP(Autodiff *a, Val y, Val dy) {
    (void)dy;
    Value v = a->g->value[y]; /* adding values may move the array */
    for (uint32_t r = 0; r < v.nregions; r++) {
        Val d = result_adjoint(a, y, r);
        if (d != NO_VAL) grad_region(a, &v, v.regions[r].expr, d);
    }
}

/* ---- sums: the adjoint is the same for every term ---- */

static void grad_IMAGE_SUM(Autodiff *a, Val y, Val dy) { autodiff_give(a, a->g->value[y].args[0], dy); }
static void grad_BATCH_SUM(Autodiff *a, Val y, Val dy) { autodiff_give(a, a->g->value[y].args[0], dy); }
static void grad_CHANNEL_SUM(Autodiff *a, Val y, Val dy) { autodiff_give(a, a->g->value[y].args[0], dy); }

/* The adjoint of e, of which y is the moments: mean = Σe/M, var = Σ(e - mean)²/M and the images' sums of e - mean, so
 *
 *     de = dmean/M + 2/M * dvar * (e - mean) + dsum[image],    and dmean -= H*W * Σ dsum over images
 *
 * As a gradient of Σe and Σe*e it would be a difference of large terms wherever |mean| is large. */
static Val moments_adjoint(Autodiff *a, Val y, const Value *sums, const Expr *e) {
    Graph *g = a->g;
    Value v = g->value[y];
    Val dmean = result_adjoint(a, y, 0), dvar = result_adjoint(a, y, 1), dsum = result_adjoint(a, y, 2);
    Val batch = dsum == NO_VAL ? NO_VAL : graph_unary(g, OP_BATCH_SUM, dsum, v.span);
    double share = 1 / v.attrs.constant, pixels = (double)(sums->space.dim[2] * sums->space.dim[3]);
    MapBuilder m = map_begin(g);
    ExprBuilder *b = &m.expr;
    uint16_t leaf[MAX_ARGS], de = expr_const(b, 0);
    for (uint32_t i = 0; i < sums->nargs; i++) leaf[i] = map_read(&m, sums->args[i]);
    if (dmean != NO_VAL) de = expr_binary(b, X_MUL, map_read(&m, dmean), expr_const(b, share));
    if (dvar != NO_VAL) {
        uint16_t deviation = expr_binary(b, X_SUB, expr_inline(b, e, leaf, 0, 0), map_read(&m, y));
        uint16_t weight = expr_binary(b, X_MUL, map_read(&m, dvar), expr_const(b, 2 * share));
        de = expr_binary(b, X_ADD, expr_binary(b, X_MUL, deviation, weight), de);
    }
    if (dsum != NO_VAL) {
        uint16_t spread = expr_binary(b, X_MUL, map_read(&m, batch), expr_const(b, pixels * share));
        de = expr_binary(b, X_ADD, de, expr_binary(b, X_SUB, map_read(&m, dsum), spread));
    }
    return map_finish(&m, de, type_summed(sums->space, map_rank(&m, de)), v.span, v.name);
}

/* Goes past the sums, which have no adjoint of their own, to what they are sums of. */
static void grad_MOMENTS(Autodiff *a, Val y, Val dy) {
    (void)dy;
    uint32_t result = 0;
    Value sums = a->g->value[value_source(a->g, a->g->value[y].args[0], &result)];
    const Expr *e = sums.regions[result].expr;
    grad_region(a, &sums, e, moments_adjoint(a, y, &sums, e));
}

/* ---- the head ---- */

static void grad_SOFTMAX(Autodiff *a, Val y, Val dy) {
    autodiff_give(a, a->g->value[y].args[0], backward(a, OP_SOFTMAX_BWD, y, (Val[]){y, whole(a, y, dy)}, 2, type_of(a, y)));
}

static void grad_CROSS_ENTROPY(Autodiff *a, Val y, Val dy) {
    Val logits = a->g->value[y].args[0], labels = a->g->value[y].args[1];
    autodiff_give(a, logits, backward(a, OP_CROSS_ENTROPY_BWD, y, (Val[]){logits, labels, dy}, 3, type_of(a, logits)));
}

/* ---- pools and rearrangements ---- */

static void grad_MAX_POOL(Autodiff *a, Val y, Val dy) {
    Val x = a->g->value[y].args[0];
    autodiff_give(a, x, backward(a, OP_MAX_POOL_BWD, y, (Val[]){x, whole(a, y, dy)}, 2, type_of(a, x)));
}

/* Where each element of x is along what is 1 in y, line by line, as the indices of a region INDEX_TO count. */
static uint16_t read_position(MapBuilder *m, Type x, int mask, const Value *y) {
    uint16_t place = 0;
    bool begun = false;
    for (int along = 1; along < 4; along++) {
        if (!(mask >> (along - 1) & 1)) continue;
        Type type =
            along == 1 ? type_vector(x.dim[1]) : type_feature(x.dim[0], 1, along == 2 ? x.dim[2] : 1, along == 3 ? x.dim[3] : 1);
        Val position = graph_add(
            m->g, &(ValueSpec){.op = OP_POSITION, .attrs.index = along, .declared = type, .span = y->span, .name = y->name});
        uint16_t here = map_read(m, position);
        if (begun) place = expr_binary(&m->expr, X_MUL, place, expr_const(&m->expr, (double)x.dim[along]));
        place = begun ? expr_binary(&m->expr, X_ADD, place, here) : here;
        begun = true;
    }
    return place;
}

/* dx of the maxima of x of type `most`: dy where they are. Of the first of equal ones, whose index forward finds: what is
 * computed again of x and rounds otherwise need not equal the maximum. */
static Val at_maximum(Autodiff *a, Val x, Type most, Val dy, const Value *y) {
    Type space = type_of(a, x);
    int mask = type_mask(space, most);
    ExprBuilder b = expr_builder(a->g->arena);
    Region region = {REGION_INDEX_TO, mask, expr_finish(&b, expr_arg(&b, 0))};
    Val index = graph_add(a->g, &(ValueSpec){.op = OP_MAP,
                                             .args = &x,
                                             .nargs = 1,
                                             .declared = space,
                                             .regions = &region,
                                             .nregions = 1,
                                             .span = y->span,
                                             .name = y->name});
    MapBuilder m = map_begin(a->g);
    uint16_t here = expr_binary(&m.expr, X_EQUAL, read_position(&m, space, mask, y), map_read(&m, index));
    return map_finish(&m, expr_select(&m.expr, here, map_read(&m, dy), expr_const(&m.expr, 0)), space, y->span, y->name);
}

/* Does f32 tell all the pixels of x apart that a maximum is over? */
static bool has_indices(Type x, Type most) {
    return most.dim[2] == x.dim[2] || most.dim[3] == x.dim[3] || x.dim[2] * x.dim[3] <= INT64_C(1) << 24;
}

/* dx of the maxima of x of type `most`. Over channels and lines or columns they are the maxima of those over channels, and over
 * more pixels than have indices the maxima of those over columns. */
static Val of_maxima(Autodiff *a, Val x, Type most, Val dy, const Value *y) {
    Type type = type_of(a, x), first = type;
    first.dim[1] = most.dim[1];
    if (type_equal(most, type)) return dy;
    if (type_equal(first, type) || type_equal(first, most)) {
        if (has_indices(type, most)) return at_maximum(a, x, most, dy, y);
        first.dim[3] = 1;
    }
    Val across = graph_add(
        a->g, &(ValueSpec){.op = OP_MAX_TO, .args = &x, .nargs = 1, .declared = first, .span = y->span, .name = y->name});
    return at_maximum(a, x, first, of_maxima(a, across, most, dy, y), y);
}

static void grad_MAX_TO(Autodiff *a, Val y, Val dy) {
    Value v = a->g->value[y];
    autodiff_give(a, v.args[0], of_maxima(a, v.args[0], v.type, whole(a, y, dy), &v));
}

/* dy alone determines dx. */
static void grad_linear(Autodiff *a, Val y, Val dy, Op op) {
    Val x = a->g->value[y].args[0];
    dy = whole(a, y, dy);
    autodiff_give(a, x, backward(a, op, y, &dy, 1, type_of(a, x)));
}
static void grad_AVG_POOL(Autodiff *a, Val y, Val dy) { grad_linear(a, y, dy, OP_AVG_POOL_BWD); }
static void grad_PAD_CHANNELS(Autodiff *a, Val y, Val dy) { grad_linear(a, y, dy, OP_PAD_CHANNELS_BWD); }
static void grad_UNFLATTEN(Autodiff *a, Val y, Val dy) { grad_linear(a, y, dy, OP_FLATTEN); }
static void grad_AVG_POOL_BWD(Autodiff *a, Val y, Val dy) { grad_linear(a, y, dy, OP_AVG_POOL); }
static void grad_SLICE_CHANNELS(Autodiff *a, Val y, Val dy) { grad_linear(a, y, dy, OP_PLACE_CHANNELS); }

/* The inverse of a shuffle of g groups is one of C/g. */
static void grad_CHANNEL_SHUFFLE(Autodiff *a, Val y, Val dy) {
    Value v = a->g->value[y];
    dy = whole(a, y, dy);
    autodiff_give(a, v.args[0],
                  graph_add(a->g, &(ValueSpec){.op = OP_CHANNEL_SHUFFLE,
                                               .args = &dy,
                                               .nargs = 1,
                                               .attrs.index = v.type.dim[1] / v.attrs.index,
                                               .span = v.span,
                                               .name = v.name}));
}

static void grad_FLATTEN(Autodiff *a, Val y, Val dy) { grad_linear(a, y, dy, OP_UNFLATTEN); }

static void grad_CONCAT(Autodiff *a, Val y, Val dy) {
    Value v = a->g->value[y];
    int64_t from = 0;
    dy = whole(a, y, dy);
    for (uint32_t i = 0; i < v.nargs; i++) {
        Type part = type_of(a, v.args[i]);
        if (autodiff_wants(a, v.args[i]))
            autodiff_give(a, v.args[i],
                          graph_add(a->g, &(ValueSpec){.op = OP_SLICE_CHANNELS,
                                                       .args = &dy,
                                                       .nargs = 1,
                                                       .attrs.index = from,
                                                       .declared = part,
                                                       .span = v.span,
                                                       .name = v.name}));
        from += part.dim[1];
    }
}

/* ---- the table ---- */

typedef void GradientRule(Autodiff *a, Val y, Val dy);
#define RULE_0(ID) NULL
#define RULE_1(ID) grad_##ID
static GradientRule *const rule[OP_COUNT] = {
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) RULE_##grad(ID),
#include "ir/ops.def"
#undef OP
};

/* A value of several results may have an adjoint although result 0 has none. */
static bool has_adjoint(const Autodiff *a, Val y) {
    if (a->received[y].count) return true;
    for (Val r = a->g->value[y].results; r; r = a->g->value[r].results) {
        if (r < a->forward && a->received[r].count) return true;
    }
    return false;
}

void autodiff_rule(Autodiff *a, Val y) {
    const Value *v = &a->g->value[y];
    if (!has_adjoint(a, y)) return;
    if (!rule[v->op] || (v->nregions && v->op != OP_MAP)) {
        fprintf(stderr, "netc: internal error: %s reached autodiff, which has no rule for it\n", op_text(v->op));
        exit(70);
    }
    rule[v->op](a, y, autodiff_adjoint(a, y));
}
