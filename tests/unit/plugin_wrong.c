/* Passes that keep every interface and are wrong: each changes what is computed in one place. Only lists name them, but for
 * `autodiff`, which stands for netc's. */
#include "passes/plugin.h"
#include <stdlib.h>
#include <string.h>

/* The last node of this op in the last Expr that has one; a copy's Exprs are its own. */
static ExprNode *find_node(Graph *g, ExprOp op) {
    for (Val v = g->count; v-- > 0;) {
        for (uint32_t r = 0; r < g->value[v].nregions; r++) {
            const Expr *e = g->value[v].regions[r].expr;
            for (uint32_t i = e ? e->count : 0; i-- > 0;)
                if (e->node[i].op == op) return &e->node[i];
        }
    }
    return NULL;
}

static Graph *change_op(const Graph *in, PassContext *context, ExprOp from, ExprOp to) {
    Graph *out = graph_copy(in);
    ExprNode *node = find_node(out, from);
    if (node && pass_allowed(context)) node->op = (uint8_t)to;
    return out;
}

static Graph *swap_operands(const Graph *in, PassContext *context, ExprOp op, int a, int b) {
    Graph *out = graph_copy(in);
    ExprNode *node = find_node(out, op);
    if (!node || !pass_allowed(context)) return out;
    uint16_t other = node->arg[a];
    node->arg[a] = node->arg[b];
    node->arg[b] = other;
    return out;
}

static Graph *wrong_sign(const Graph *in, PassContext *c) { return change_op(in, c, X_ADD, X_SUB); }
static Graph *wrong_maximum(const Graph *in, PassContext *c) { return change_op(in, c, X_MAX, X_MIN); }
static Graph *wrong_mask(const Graph *in, PassContext *c) { return swap_operands(in, c, X_SELECT, 1, 2); }
static Graph *wrong_side(const Graph *in, PassContext *c) { return swap_operands(in, c, X_SUB, 0, 1); }

/* Right behind fusion, wrong before it. */
static Graph *wrong_early(const Graph *in, PassContext *context) {
    for (Val v = 0; v < in->count; v++)
        if (in->value[v].nregions && in->value[v].op != OP_MAP) return graph_copy(in);
    return wrong_side(in, context);
}

/* A term is read twice, and the other not at all. */
static Graph *wrong_term(const Graph *in, PassContext *context) {
    Graph *out = graph_copy(in);
    ExprNode *node = find_node(out, X_ADD);
    if (node && pass_allowed(context)) node->arg[0] = node->arg[1];
    return out;
}

/* Every sum a + b of an OUTPUT becomes b + a, which is right; but the rewrites of these numbers (of the pass) are not. */
static Graph *turn_sums(const Graph *in, PassContext *context, const int *wrong, int count, bool crash) {
    Graph *out = graph_copy(in);
    int number = 0;
    for (Val v = 0; v < out->count; v++) {
        Value *value = &out->value[v];
        const Expr *e = value->nregions ? value->regions[0].expr : NULL;
        ExprNode *node = e ? &e->node[e->count - 1] : NULL;
        if (!node || node->op != X_ADD || value->regions[0].role != REGION_OUTPUT) continue;
        number++;
        if (!pass_allowed_for(context, value->name ? value->name : "map", v)) continue;
        uint16_t other = node->arg[0];
        node->arg[0] = node->arg[1];
        node->arg[1] = other;
        for (int i = 0; i < count; i++)
            if (wrong[i] == number) {
                if (crash) abort();
                node->op = X_SUB;
            }
        pass_remark(context, true, value->span, "the sum %d of %s is turned round", number, value->name ? value->name : "a map");
    }
    return out;
}

static Graph *wrong_third(const Graph *in, PassContext *c) { return turn_sums(in, c, (const int[]){3}, 1, false); }
static Graph *wrong_twice(const Graph *in, PassContext *c) { return turn_sums(in, c, (const int[]){2, 5}, 2, false); }
static Graph *wrong_always(const Graph *in, PassContext *c) { return turn_sums(in, c, (const int[]){1, 2, 3, 4, 5}, 5, false); }
static Graph *wrong_crash(const Graph *in, PassContext *c) { return turn_sums(in, c, (const int[]){4}, 1, true); }

/* Two parameters of one shape have each other's gradients. */
static Graph *wrong_user(const Graph *in, PassContext *context) {
    Graph *out = graph_copy(in);
    for (uint32_t i = 0; i < out->noutputs; i++) {
        for (uint32_t k = 0; k < i; k++) {
            Output *a = &out->output[i], *b = &out->output[k];
            if (a->kind != OUT_GRAD || b->kind != OUT_GRAD || a->value == b->value) continue;
            if (!type_equal(out->value[a->value].type, out->value[b->value].type) || !pass_allowed(context)) continue;
            Val other = a->value;
            a->value = b->value;
            b->value = other;
            return out;
        }
    }
    return out;
}

/* Gradients as they are, but for one, which is some thousandths too long. */
static Graph *wrong_gradient(const Graph *in, PassContext *context) {
    Graph *out = pass_autodiff(in, context);
    for (uint32_t i = out->noutputs; i-- > 0;) {
        Output *o = &out->output[i];
        Type t = out->value[o->value].type;
        if (o->kind != OUT_GRAD || t.rank != 1) continue;
        ExprBuilder b = expr_builder(out->arena);
        const Expr *longer =
            expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0),
                                        expr_const(&b, 1 + 1e-3 * (double)pass_parameter(context, "thousandths"))));
        Val map = graph_map(out, t, &o->value, 1, longer, (Span){0}, NULL);
        out->output[i].value = map;
        break;
    }
    return out;
}

/* What is right, whatever is copied. */
static Graph *right(const Graph *in, PassContext *context) {
    (void)context;
    return graph_copy(in);
}

#define ROW(NAME) {#NAME, NAME, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = ""}
static const Pass passes[] = {ROW(wrong_sign),
                              ROW(wrong_maximum),
                              ROW(wrong_mask),
                              ROW(wrong_side),
                              ROW(wrong_term),
                              ROW(wrong_user),
                              ROW(wrong_early),
                              ROW(wrong_third),
                              ROW(wrong_twice),
                              ROW(wrong_always),
                              ROW(wrong_crash),
                              ROW(right),
                              {"autodiff", wrong_gradient, .required = true, .modes = PASS_TRAIN, .replaces = true,
                               .accepts = TIER_NET | PASS_UNFUSED, .leaves = PASS_ANY & ~TIER_SOURCE, .adds = 1u << OUT_GRAD,
                               .parameters = {{"thousandths", 1, 0, 1000, "what is added to one gradient"}}, .summary = ""}};
#ifdef WRONG_AUTODIFF
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes + 12, 1, NULL};
#else
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, 12, NULL};
#endif
