/* The graph's builder and readers. Arrays grow by doubling inside the graph's arena: a pointer to a
 * value taken before graph_add stays readable, but may be an old copy. */
#include "ir/ir.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- building ---- */

Graph *graph_new(const char *name, Mode mode) {
    Arena *arena = arena_new();
    Graph *g = ARENA_NEW(arena, Graph);
    g->arena = arena;
    g->name = arena_strdup(arena, name ? name : "");
    g->mode = mode;
    return g;
}

void graph_free(Graph *g) {
    if (g) arena_free(g->arena);
}

static const Expr *copy_expr(Arena *arena, const Expr *e) {
    if (!e) return NULL;
    Expr *copy = ARENA_NEW(arena, Expr);
    copy->count = e->count;
    copy->node = arena_copy(arena, e->node, e->count * sizeof *e->node);
    return copy;
}

static Region *copy_regions(Arena *arena, const Region *regions, uint32_t n) {
    Region *copy = ARENA_ARRAY(arena, Region, n);
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = regions[i];
        copy[i].expr = copy_expr(arena, regions[i].expr);
    }
    return copy;
}

Val graph_add(Graph *g, const ValueSpec *spec) {
    Type type;
    char why[512];
    if (!graph_infer(g, spec, &type, why, sizeof why)) {
        fprintf(stderr, "netc: internal error: a value was built that breaks its shape rule: %s\n", why);
        abort();
    }
    ARENA_GROW(g->arena, g->value, g->count, &g->capacity);
    Val id = g->count++;
    Value *v = &g->value[id];
    *v = (Value){
        .op = spec->op, .type = type, .span = spec->span, .nargs = spec->nargs, .nregions = spec->nregions, .attrs = spec->attrs};
    v->args = arena_copy(g->arena, spec->args, spec->nargs * sizeof *spec->args);
    v->regions = copy_regions(g->arena, spec->regions, spec->nregions);
    v->name = spec->name ? arena_strdup(g->arena, spec->name) : NULL;
    if (op_attr_kind(spec->op) == ATTR_WINDOW && !op_takes_regions(spec->op)) v->attrs.window.groups = 1; /* a pool has none */
    if (spec->op == OP_MAP) v->space = spec->declared;
    if (op_attr_kind(spec->op) == ATTR_PARAM) v->attrs.param.name = arena_strdup(g->arena, spec->attrs.param.name);
    if (spec->op == OP_PARAM || spec->op == OP_STATE) {
        uint32_t place = ++*(spec->op == OP_PARAM ? &g->nparams : &g->nstates);
        if (v->attrs.param.position == 0) v->attrs.param.position = place;
    }
    if (spec->op == OP_RESULT) {
        v->results = g->value[v->args[0]].results;
        g->value[v->args[0]].results = id;
    }
    return id;
}

void graph_output(Graph *g, OutputKind kind, Val value, const char *name) {
    ARENA_GROW(g->arena, g->output, g->noutputs, &g->output_capacity);
    g->output[g->noutputs++] = (Output){kind, value, name ? arena_strdup(g->arena, name) : NULL};
}

Val graph_unary(Graph *g, Op op, Val a, Span span) {
    return graph_add(g, &(ValueSpec){.op = op, .args = &a, .nargs = 1, .span = span});
}

Val graph_binary(Graph *g, Op op, Val a, Val b, Span span) {
    return graph_add(g, &(ValueSpec){.op = op, .args = (Val[]){a, b}, .nargs = 2, .span = span});
}

Val graph_constant(Graph *g, double value, Span span) {
    return graph_add(g, &(ValueSpec){.op = OP_CONSTANT, .attrs.constant = value, .span = span});
}

static Val find_result(const Graph *g, Val v, int64_t index) {
    for (Val r = g->value[v].results; r; r = g->value[r].results) {
        if (g->value[r].attrs.index == index) return r;
    }
    return NO_VAL;
}

Val graph_result(Graph *g, Val v, uint32_t i) {
    if (i == 0) return v;
    Val found = find_result(g, v, i);
    if (found != NO_VAL) return found;
    const Value *source = &g->value[v];
    return graph_add(
        g, &(ValueSpec){.op = OP_RESULT, .args = &v, .nargs = 1, .attrs.index = i, .span = source->span, .name = source->name});
}

Val graph_map(Graph *g, Type space, const Val *args, uint32_t nargs, const Expr *body, Span span, const char *name) {
    Region region = {.role = REGION_OUTPUT, .expr = body};
    return graph_add(g, &(ValueSpec){.op = OP_MAP,
                                     .args = args,
                                     .nargs = nargs,
                                     .declared = space,
                                     .span = span,
                                     .name = name,
                                     .regions = &region,
                                     .nregions = 1});
}

ValueSpec value_spec(const Value *v, const Val *args) {
    return (ValueSpec){.op = v->op,
                       .args = args,
                       .nargs = v->nargs,
                       .attrs = v->attrs,
                       .declared = v->op == OP_MAP ? v->space : v->type,
                       .span = v->span,
                       .name = v->name,
                       .regions = v->regions,
                       .nregions = v->nregions};
}

Val graph_copy_value(Graph *g, const Graph *from, Val v, const Val *map) {
    const Value *source = &from->value[v];
    Val args[MAX_ARGS];
    for (uint32_t i = 0; i < source->nargs; i++) args[i] = map[source->args[i]];
    Val found = source->op == OP_RESULT ? find_result(g, args[0], source->attrs.index) : NO_VAL;
    if (found != NO_VAL) return found;
    ValueSpec spec = value_spec(source, args);
    return graph_add(g, &spec);
}

Graph *graph_copy(const Graph *from) {
    Graph *g = graph_new(from->name, from->mode);
    Val *map = ARENA_ARRAY(g->arena, Val, from->count);
    for (Val v = 0; v < from->count; v++) map[v] = graph_copy_value(g, from, v, map);
    for (uint32_t i = 0; i < from->noutputs; i++)
        graph_output(g, from->output[i].kind, map[from->output[i].value], from->output[i].name);
    return g;
}

/* ---- reading ---- */

Val value_source(const Graph *g, Val v, uint32_t *result) {
    const Value *value = &g->value[v];
    if (result) *result = value->op == OP_RESULT ? (uint32_t)value->attrs.index : 0;
    return value->op == OP_RESULT ? value->args[0] : v;
}

bool value_is_index(const Graph *g, Val v) {
    uint32_t result;
    const Value *made = &g->value[value_source(g, v, &result)];
    if (made->op == OP_POSITION) return true;
    return made->op == OP_MAP && made->regions[result].role == REGION_INDEX_TO;
}

const Region *value_region(const Value *v, RegionRole role, int operand) {
    for (uint32_t i = 0; i < v->nregions; i++) {
        if (v->regions[i].role == role && v->regions[i].operand == operand) return &v->regions[i];
    }
    return NULL;
}

uint32_t *graph_use_counts(const Graph *g) {
    uint32_t *uses = calloc(g->count ? g->count : 1, sizeof *uses);
    if (!uses) out_of_memory("no room for the use counts of %u values", g->count);
    for (Val v = 0; v < g->count; v++) {
        for (uint32_t i = 0; i < g->value[v].nargs; i++) uses[g->value[v].args[i]]++;
    }
    for (uint32_t i = 0; i < g->noutputs; i++) uses[g->output[i].value]++;
    return uses;
}

Val graph_find_output(const Graph *g, OutputKind kind, const char *name) {
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->output[i];
        if (o->kind == kind && (!name || (o->name && strcmp(o->name, name) == 0))) return o->value;
    }
    return NO_VAL;
}

bool *graph_reads(Arena *arena, const Graph *g) {
    bool *read = ARENA_ARRAY(arena, bool, g->count);
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        for (uint32_t i = 0; i < value->nargs; i++)
            if (value->op != OP_RESULT) read[value->args[i]] = true;
    }
    for (uint32_t i = 0; i < g->noutputs; i++) read[g->output[i].value] = true;
    return read;
}
