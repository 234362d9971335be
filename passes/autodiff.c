/* autodiff: one reverse sweep over the forward values, appending to a copy of the graph. When the sweep reaches a value, all
 * its users have been there, so its adjoint is the sum of what they gave. Values that no parameter feeds (the images) get
 * no adjoint, so nothing is computed for them. A parameter that the loss does not depend on has the gradient zero. */
#include "passes/autodiff.h"
#include <string.h>

bool autodiff_wants(const Autodiff *a, Val v) { return a->wanted[v]; }

void autodiff_give(Autodiff *a, Val to, Val d) {
    Contributions *c = &a->received[to];
    ARENA_GROW(a->g->arena, c->item, c->count, &c->capacity);
    c->item[c->count++] = d;
}

Val autodiff_spread(Autodiff *a, Val d, Type type, Span span) {
    if (type_equal(a->g->value[d].type, type)) return d;
    MapBuilder m = map_begin(a->g);
    return map_finish(&m, map_read(&m, d), type, span, NULL);
}

/* The gradients of slices that make up the whole, each once, are its parts; NO_VAL if that is not what they are. */
static Val joined(Autodiff *a, const Val *item, uint32_t count, const Value *of) {
    Val part[MAX_ARGS];
    int64_t channels = 0;
    if (count > MAX_ARGS) return NO_VAL;
    for (uint32_t found = 0; found < count; found++) {
        Val next = NO_VAL;
        for (uint32_t i = 0; i < count && next == NO_VAL; i++) {
            const Value *v = &a->g->value[item[i]];
            if (v->op == OP_PLACE_CHANNELS && v->attrs.index == channels) next = v->args[0];
        }
        if (next == NO_VAL) return NO_VAL;
        part[found] = next;
        channels += a->g->value[next].type.dim[1];
    }
    if (channels != of->type.dim[1]) return NO_VAL;
    return graph_add(a->g, &(ValueSpec){.op = OP_CONCAT, .args = part, .nargs = count, .span = of->span, .name = of->name});
}

static Val sum(Autodiff *a, const Val *item, uint32_t count, const Value *of) {
    Type type = a->g->value[item[0]].type;
    MapBuilder m = map_begin(a->g);
    uint16_t total = map_read(&m, item[0]);
    for (uint32_t i = 1; i < count; i++) {
        total = expr_binary(&m.expr, X_ADD, total, map_read(&m, item[i]));
        if (a->g->value[item[i]].type.rank > type.rank) type = a->g->value[item[i]].type;
    }
    return map_finish(&m, total, type, of->span, of->name);
}

Val autodiff_adjoint(Autodiff *a, Val v) {
    enum { AT_ONCE = 32 }; /* terms in one map */
    Contributions *c = &a->received[v];
    if (c->count == 0) return NO_VAL;
    Value of = a->g->value[v];
    Val whole = c->count > 1 ? joined(a, c->item, c->count, &of) : NO_VAL;
    if (whole != NO_VAL) return *c->item = whole, c->count = 1, whole;
    while (c->count > 1) {
        uint32_t n = c->count < AT_ONCE ? c->count : AT_ONCE;
        c->item[c->count - n] = sum(a, c->item + c->count - n, n, &of);
        c->count -= n - 1;
    }
    return c->item[0];
}

/* A leaf that needs a gradient (a frozen parameter does not), and everything computed from one. */
static bool *find_wanted(const Graph *g, GradientOf what) {
    bool *wanted = ARENA_ARRAY(g->arena, bool, g->count);
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        wanted[v] = (value->op == OP_PARAM && !value->attrs.param.frozen) ||
                    (value->op == OP_INPUT && what == GRADIENT_PARAMS_AND_INPUTS && value->type.dtype == DT_F32);
        for (uint32_t i = 0; i < value->nargs; i++) wanted[v] |= wanted[value->args[i]];
    }
    return wanted;
}

static bool is_leaf(const Value *v) { return v->op == OP_PARAM || v->op == OP_INPUT; }

static void output_gradients(Autodiff *a) {
    for (Val v = 0; v < a->forward; v++) {
        if (!a->wanted[v] || !is_leaf(&a->g->value[v])) continue;
        Value leaf = a->g->value[v];
        Val d = autodiff_adjoint(a, v);
        if (d == NO_VAL) d = graph_constant(a->g, 0, leaf.span);
        graph_output(a->g, OUT_GRAD, autodiff_spread(a, d, leaf.type, leaf.span), leaf.attrs.param.name);
    }
}

/* What stands behind the name of a value in those of its gradient's, so that the two never share one; no name of a source has it.
 */
static void name_gradients(Autodiff *a) {
    for (Val v = a->forward; v < a->g->count; v++) {
        Value *value = &a->g->value[v];
        if (value->name) value->name = arena_printf(a->g->arena, "%s:grad", value->name);
    }
}

Graph *autodiff_graph(const Graph *in, GradientOf what) {
    Graph *g = rebuild_begin(in);
    Val *map = ARENA_ARRAY(g->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) map[v] = graph_copy_value(g, in, v, map);
    rebuild_outputs(in, g, map);
    Autodiff a = {.g = g, .forward = g->count, .wanted = find_wanted(g, what)};
    a.received = ARENA_ARRAY(g->arena, Contributions, g->count);
    Val loss = graph_find_output(g, OUT_LOSS, NULL);
    if (loss != NO_VAL && a.wanted[loss]) autodiff_give(&a, loss, graph_constant(g, 1, g->value[loss].span));
    for (Val v = a.forward; v-- > 0;) {
        if (a.wanted[v] && !is_leaf(&g->value[v])) autodiff_rule(&a, v);
    }
    output_gradients(&a);
    name_gradients(&a);
    return g;
}

Graph *pass_autodiff(const Graph *in, PassContext *context) {
    if (graph_find_output(in, OUT_LOSS, NULL) == NO_VAL)
        pass_remark(context, false, (Span){0}, "the graph has no loss, so every gradient is zero");
    return autodiff_graph(in, GRADIENT_PARAMS);
}
