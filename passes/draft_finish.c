/* Finishing a draft: what is alive, in order, as a new Graph. */
#include "passes/draft.h"
#include "passes/events.h"

/* Is it the sum or the maximum of a value as it stands? Of the whole space: the sum of what is read along a dimension that it
 * lacks counts it more than once. *op is then that reduction. */
static bool is_reduction(const Draft *d, const Node *n, Op *op) {
    if (n->op != OP_MAP || n->nargs != 1 || !type_equal(draft_type(d, n->args[0]), n->space) || n->nregions != 1) return false;
    RegionRole role = n->regions[0].role;
    *op = role == REGION_REDUCE ? OP_IMAGE_SUM : role == REGION_SUM_TO ? OP_SUM_TO : OP_MAX_TO;
    bool reduces = role == REGION_REDUCE || (region_reduces(role) && role != REGION_INDEX_TO);
    return reduces && n->regions[0].expr->count == 1 && n->regions[0].expr->node[0].op == X_ARG;
}

/* Removes what the edits left without a reader, users before producers. */
static void prune_all(Draft *d) {
    uint32_t n, *order = draft_walk(d, &n);
    while (n-- > 0) draft_prune(d, order[n]);
}

/* The regions that are left, in order, so that results are numbered by them. */
static void close_regions(Node *n, uint32_t *slot_to_result) {
    uint32_t kept = 0, result = n->op == OP_MAP ? 0 : 1;
    for (uint32_t r = 0; r < n->nregions; r++) {
        if (n->regions[r].gone) continue;
        RegionRole role = n->regions[r].role;
        if (region_makes_result(role)) slot_to_result[n->op == OP_MAP ? r : r + 1] = result++;
        n->regions[kept++] = n->regions[r];
    }
    n->nregions = kept;
}

/* A map that reads nothing, its Exprs being constants, reads the first of them as a value. */
static Val emit_constant_map(Draft *d, Graph *g, const Node *n) {
    Region *regions = ARENA_ARRAY(d->arena, Region, n->nregions);
    Val constant = graph_constant(g, n->regions[0].expr->node[0].value, n->span);
    ExprBuilder b = expr_builder(d->arena);
    const Expr *read = expr_finish(&b, expr_arg(&b, 0));
    for (uint32_t r = 0; r < n->nregions; r++)
        regions[r] = (Region){n->regions[r].role, n->regions[r].operand, r ? n->regions[r].expr : read};
    return graph_add(g, &(ValueSpec){.op = OP_MAP,
                                     .args = &constant,
                                     .nargs = 1,
                                     .declared = n->space,
                                     .span = n->span,
                                     .name = n->name,
                                     .regions = regions,
                                     .nregions = n->nregions});
}

static Val emit(Draft *d, Graph *g, const Node *n, const Val *args) {
    if (n->op == OP_MAP && n->nargs == 0) return emit_constant_map(d, g, n);
    Op op;
    if (is_reduction(d, n, &op)) {
        Type declared = type_of_region(n->regions[0].role, n->regions[0].operand, n->space);
        return graph_add(
            g, &(ValueSpec){.op = op, .args = args, .nargs = 1, .declared = declared, .span = n->span, .name = n->name});
    }
    Region *regions = ARENA_ARRAY(d->arena, Region, n->nregions);
    for (uint32_t r = 0; r < n->nregions; r++) {
        regions[r] = (Region){n->regions[r].role, n->regions[r].operand, n->regions[r].expr};
    }
    return graph_add(g, &(ValueSpec){.op = n->op,
                                     .args = args,
                                     .nargs = n->nargs,
                                     .attrs = n->attrs,
                                     .declared = n->op == OP_MAP ? n->space : n->type,
                                     .span = n->span,
                                     .name = n->name,
                                     .regions = regions,
                                     .nregions = n->nregions});
}

/* base: the value of each node; result: of a node's slots; NULL: the slot is the result. */
static Val value_of(Graph *g, Ref ref, const Val *base, uint32_t *const *result) {
    return graph_result(g, base[ref.node], result[ref.node] ? result[ref.node][ref.slot] : ref.slot);
}

Graph *draft_finish(Draft *d) {
    event_close(d->context);
    prune_all(d);
    Graph *g = graph_new(d->in->name, d->in->mode);
    uint32_t n, *order = draft_walk(d, &n);
    Val *base = ARENA_ARRAY(d->arena, Val, d->count);
    uint32_t **result = ARENA_ARRAY(d->arena, uint32_t *, d->count);
    for (uint32_t i = 0; i < d->count; i++) base[i] = NO_VAL;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = order[i];
        Node *node = &d->node[id];
        Val *args = ARENA_ARRAY(d->arena, Val, node->nargs);
        for (uint32_t k = 0; k < node->nargs; k++) args[k] = value_of(g, node->args[k], base, result);
        if (node->nregions) {
            result[id] = ARENA_ARRAY(d->arena, uint32_t, node->nregions + 1);
            close_regions(node, result[id]);
        }
        base[id] = emit(d, g, node, args);
    }
    for (uint32_t i = 0; i < d->in->noutputs; i++) {
        const Output *o = &d->in->output[i];
        graph_output(g, o->kind, value_of(g, d->node[d->sink + i].args[0], base, result), o->name);
    }
    Val *before = ARENA_ARRAY(d->arena, Val, d->count);
    for (uint32_t i = 0; i < d->count; i++) before[i] = i < d->sink ? d->node[i].key : NO_VAL;
    event_resolve(d->context, d->first_event, before, base);
    arena_free(d->arena);
    return g;
}
