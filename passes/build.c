/* See build.h. */
#include "passes/build.h"
#include <stdio.h>
#include <stdlib.h>

static const char *site(const PassContext *context, const Graph *g, Val v, int depth) {
    const Value *value = &g->value[v];
    if (value->name || value->op == OP_PARAM) return value->name ? value->name : value->attrs.param.name;
    if (value->nargs == 0 || depth == 0) return op_text(value->op);
    return arena_printf(context->arena, "%s/%s", site(context, g, value->args[0], depth - 1), op_text(value->op));
}

const char *value_site(const PassContext *context, const Graph *g, Val v) { return site(context, g, v, 3); }

Graph *rebuild_begin(const Graph *in) { return graph_new(in->name, in->mode); }

void rebuild_outputs(const Graph *in, Graph *out, const Val *map) {
    for (uint32_t i = 0; i < in->noutputs; i++) {
        const Output *o = &in->output[i];
        graph_output(out, o->kind, map[o->value], o->name);
    }
}

MapBuilder map_begin(Graph *g) { return (MapBuilder){.g = g, .expr = expr_builder(g->arena)}; }

static void append(MapBuilder *m, Val v) {
    ARENA_GROW(m->g->arena, m->args, m->nargs, &m->capacity);
    m->args[m->nargs++] = v;
}

uint16_t map_read(MapBuilder *m, Val v) {
    const Value *value = &m->g->value[v];
    if (value->op == OP_CONSTANT) return expr_const(&m->expr, value->attrs.constant);
    uint32_t i = 0;
    while (i < m->nargs && m->args[i] != v) i++;
    if (i == m->nargs) append(m, v);
    return expr_arg(&m->expr, i);
}

int map_rank(const MapBuilder *m, uint16_t root) {
    ExprBuilder copy = m->expr;
    const Expr *e = expr_finish(&copy, root);
    int rank = 0;
    for (uint32_t i = 0; i < m->nargs; i++) {
        int r = m->g->value[m->args[i]].type.rank;
        if (r > rank && expr_uses_arg(e, i)) rank = r;
    }
    return rank;
}

/* The used arguments, sorted by id; place[i] is where args[i] went. */
static void sort_arguments(const MapBuilder *m, const bool *used, MapDraft *draft, uint32_t *place) {
    for (uint32_t i = 0; i < m->nargs; i++) {
        if (!used[i]) continue;
        if (draft->nargs == MAX_ARGS) {
            fprintf(stderr, "netc: internal error: a map was built that reads more than %d values\n", MAX_ARGS);
            abort();
        }
        uint32_t at = draft->nargs++;
        for (; at > 0 && draft->args[at - 1] > m->args[i]; at--) draft->args[at] = draft->args[at - 1];
        draft->args[at] = m->args[i];
    }
    for (uint32_t i = 0; i < m->nargs; i++) {
        for (uint32_t at = 0; at < draft->nargs; at++) {
            if (draft->args[at] == m->args[i]) place[i] = at;
        }
    }
}

void map_draft(MapBuilder *m, const Region *like, const uint16_t *root, uint32_t nroots, MapDraft *draft) {
    bool *used = ARENA_ARRAY(m->g->arena, bool, m->nargs);
    uint32_t *place = ARENA_ARRAY(m->g->arena, uint32_t, m->nargs);
    *draft = (MapDraft){.nregions = nroots};
    for (uint32_t r = 0; r < nroots; r++) {
        draft->regions[r] = (Region){like[r].role, like[r].operand, expr_finish(&m->expr, root[r])};
        for (uint32_t i = 0; i < m->nargs; i++) used[i] |= expr_uses_arg(draft->regions[r].expr, i);
    }
    sort_arguments(m, used, draft, place);
    /* Commutative operands stand in node order, so the leaves come first, in the order of the arguments. */
    for (uint32_t r = 0; r < nroots; r++) {
        ExprBuilder b = expr_builder(m->g->arena);
        uint16_t *leaf = ARENA_ARRAY(m->g->arena, uint16_t, m->nargs);
        for (uint32_t i = 0; i < draft->nargs; i++) expr_arg(&b, i);
        for (uint32_t i = 0; i < m->nargs; i++) leaf[i] = used[i] ? expr_arg(&b, place[i]) : 0;
        draft->regions[r].expr = expr_finish(&b, expr_inline(&b, draft->regions[r].expr, leaf, 0, 0));
    }
}

Val map_finish(MapBuilder *m, uint16_t root, Type space, Span span, const char *name) {
    const ExprNode *node = &m->expr.node[root];
    if (node->op == X_ARG && type_equal(m->g->value[m->args[node->arg[0]]].type, space)) return m->args[node->arg[0]];
    MapDraft draft;
    map_draft(m, &(Region){.role = REGION_OUTPUT}, &root, 1, &draft);
    const Expr *body = draft.regions[0].expr;
    if (draft.nargs == 0) { /* then folding has left one constant, which a map reads as its argument */
        draft.args[draft.nargs++] = graph_constant(m->g, body->node[body->count - 1].value, span);
        if (space.rank == 0) return draft.args[0];
        ExprBuilder b = expr_builder(m->g->arena);
        body = expr_finish(&b, expr_arg(&b, 0));
    }
    return graph_map(m->g, space, draft.args, draft.nargs, body, span, name);
}

Type type_summed(Type space, int rank) {
    if (space.rank <= rank) return space;
    switch (rank) {
    case 0: return type_scalar();
    case 1: return type_vector(space.dim[1]);
    default: return type_matrix(space.dim[0], space.dim[1]);
    }
}

bool is_plain_map(const Value *v) { return v->op == OP_MAP && v->nregions == 1 && v->regions[0].role == REGION_OUTPUT; }
