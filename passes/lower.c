/* lower: the elementwise ops of the language become maps, so that no later stage knows them.
 *
 *     relu, sigmoid, ..., add, mul, ...   map over the operand of higher rank
 *     global_avg_pool                     image_sum, then a map that divides by H*W
 *     dropout                             map x * dropout_mask in training; vanishes in inference
 *     identity                            vanishes
 *
 * Extrema are written max(constant, x): by the definition in ir/expr.h the second operand survives if it is NaN, so a
 * network that has diverged shows it in the loss, as in PyTorch. */
#include "passes/build.h"

/* min(max(x + 3, 0), 6) / 6: x + 3 is exact near -3, where x/6 + 1/2 would be the rounding of x/6 and little else. */
static uint16_t hard_sigmoid(ExprBuilder *b, uint16_t x) {
    uint16_t line = expr_binary(b, X_ADD, x, expr_const(b, 3));
    uint16_t clamped = expr_binary(b, X_MIN, expr_const(b, 6), expr_binary(b, X_MAX, expr_const(b, 0), line));
    return expr_binary(b, X_MUL, clamped, expr_const(b, 1.0 / 6));
}

/* The body of an elementwise op; false if op is none. One with a single operand ignores y. */
static bool elementwise(ExprBuilder *b, Op op, uint16_t x, uint16_t y, uint16_t *body) {
    switch (op) {
    case OP_RELU: *body = expr_binary(b, X_MAX, expr_const(b, 0), x); return true;
    case OP_SIGMOID: *body = expr_unary(b, X_SIGMOID, x); return true;
    case OP_TANH: *body = expr_unary(b, X_TANH, x); return true;
    case OP_HARD_SIGMOID: *body = hard_sigmoid(b, x); return true;
    case OP_HARD_SWISH: *body = expr_binary(b, X_MUL, x, hard_sigmoid(b, x)); return true;
    case OP_SILU: *body = expr_binary(b, X_MUL, x, expr_unary(b, X_SIGMOID, x)); return true;
    case OP_IDENTITY: *body = x; return true;
    case OP_ADD: *body = expr_binary(b, X_ADD, x, y); return true;
    case OP_SUB: *body = expr_binary(b, X_SUB, x, y); return true;
    case OP_MUL: *body = expr_binary(b, X_MUL, x, y); return true;
    case OP_DIV: *body = expr_binary(b, X_DIV, x, y); return true;
    default: return false;
    }
}

static Val lower_global_avg_pool(Graph *out, const Value *v, Val x) {
    Val sum = graph_unary(out, OP_IMAGE_SUM, x, v->span);
    Type type = out->value[x].type;
    double share = 1.0 / ((double)type.dim[2] * (double)type.dim[3]);
    MapBuilder m = map_begin(out);
    uint16_t mean = expr_binary(&m.expr, X_MUL, map_read(&m, sum), expr_const(&m.expr, share));
    return map_finish(&m, mean, v->type, v->span, v->name);
}

static Val lower_dropout(Graph *out, const Value *v, Val x) {
    if (out->mode == MODE_INFER || v->attrs.dropout.rate == 0) return x;
    Val mask = graph_add(
        out,
        &(ValueSpec){
            .op = OP_DROPOUT_MASK, .attrs.dropout = v->attrs.dropout, .declared = v->type, .span = v->span, .name = v->name});
    MapBuilder m = map_begin(out);
    uint16_t kept = expr_binary(&m.expr, X_MUL, map_read(&m, x), map_read(&m, mask));
    return map_finish(&m, kept, v->type, v->span, v->name);
}

static Val lower_value(Graph *out, const Graph *in, Val id, const Val *map) {
    const Value *v = &in->value[id];
    if (v->op == OP_GLOBAL_AVG_POOL) return lower_global_avg_pool(out, v, map[v->args[0]]);
    if (v->op == OP_DROPOUT) return lower_dropout(out, v, map[v->args[0]]);
    if (op_tier(v->op) != TIER_SOURCE || v->nargs < 1 || v->nargs > 2) return graph_copy_value(out, in, id, map);
    MapBuilder m = map_begin(out);
    uint16_t x = map_read(&m, map[v->args[0]]), y = v->nargs == 2 ? map_read(&m, map[v->args[1]]) : x, body;
    if (!elementwise(&m.expr, v->op, x, y, &body)) return graph_copy_value(out, in, id, map);
    return map_finish(&m, body, v->type, v->span, v->name);
}

Graph *pass_lower(const Graph *in, PassContext *context) {
    (void)context; /* required, so never bisected; and there is nothing to remark */
    Graph *out = rebuild_begin(in);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) map[v] = lower_value(out, in, v, map);
    rebuild_outputs(in, out, map);
    return out;
}
