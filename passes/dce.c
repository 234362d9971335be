/* dce: what no output needs is left out: values, but also single results of maps and fused convolutions (their STORE, OUTPUT,
 * REDUCE and MOMENTS regions) and arguments that no region reads any more. Inputs, parameters and running statistics stay, since
 * they are the model's interface.
 *
 * A backward sweep decides, a forward sweep rebuilds. A value that --opt-bisect-limit keeps alive keeps all it reads. */
#include "passes/build.h"

typedef struct Dce {
    const Graph *in;
    PassContext *context;
    bool *needed; /* of value ids; for a value of several results: that result 0 is needed */
    bool *alive;  /* the op stays, for whichever of its results */
    bool **keep;  /* per value with regions: which of them stay */
} Dce;

static bool is_leaf(Op op) { return op_attr_kind(op) == ATTR_PARAM; }

static Val result_value(const Graph *g, Val v, uint32_t index) {
    if (index == 0) return v;
    for (Val r = g->value[v].results; r; r = g->value[r].results) {
        if (g->value[r].attrs.index == (int64_t)index) return r;
    }
    return NO_VAL;
}

static bool result_needed(const Dce *d, Val v, uint32_t index) {
    Val r = result_value(d->in, v, index);
    return r != NO_VAL && d->needed[r];
}

/* Operands that an op reads by itself; a map reads only through its regions. */
static uint32_t own_operands(const Value *v) {
    if (v->op == OP_MAP) return 0;
    return v->nregions ? op_operands(v->op) : v->nargs;
}

static bool region_reads(const Dce *d, Val v, uint32_t arg) {
    const Value *value = &d->in->value[v];
    for (uint32_t r = 0; r < value->nregions; r++) {
        if (d->keep[v][r] && value->regions[r].expr && expr_uses_arg(value->regions[r].expr, arg)) return true;
    }
    return false;
}

static bool reads(const Dce *d, Val v, uint32_t arg) {
    const Value *value = &d->in->value[v];
    return arg < own_operands(value) || region_reads(d, v, arg) || (value->op == OP_MAP && value->nargs == 1);
}

/* A constant map reads an argument that its Exprs do not use, since a map has at least one: then the first stays. */
static void mark_arguments(Dce *d, Val v) {
    const Value *value = &d->in->value[v];
    bool any = false;
    for (uint32_t i = 0; i < value->nargs; i++) {
        if (!reads(d, v, i)) continue;
        d->needed[value->args[i]] = any = true;
    }
    if (!any && value->nargs) d->needed[value->args[0]] = true;
}

/* May this result of v, or v itself, be left out? It is not needed. */
static bool leave_out(Dce *d, Val v, uint32_t region, bool whole) {
    const Value *value = &d->in->value[v];
    const char *site = value_site(d->context, d->in, v), *subject = site;
    if (!whole) subject = arena_printf(d->context->arena, "%s/region%u", site, region);
    if (!pass_allowed_for(d->context, subject, (uint64_t)v * (MAX_REGIONS + 1) + (whole ? 0 : region + 1))) return false;
    pass_remark(d->context, true, value->span, "no output needs %s%s", whole ? "" : "a result of ", site);
    pass_replaced(d->context, v, NO_VAL, d->in, d->in->count);
    return true;
}

static void choose_regions(Dce *d, Val v) {
    const Value *value = &d->in->value[v];
    uint32_t next = value->op == OP_MAP ? 0 : 1, kept = 0;
    d->keep[v] = ARENA_ARRAY(d->context->arena, bool, value->nregions);
    for (uint32_t r = 0; r < value->nregions; r++) {
        d->keep[v][r] = !region_makes_result(value->regions[r].role) || result_needed(d, v, next++) || !leave_out(d, v, r, false);
        kept += d->keep[v][r];
    }
    if (kept == 0) d->keep[v][0] = true; /* a map that only the bisect limit keeps */
}

static void mark(Dce *d) {
    for (Val v = d->in->count; v-- > 0;) {
        const Value *value = &d->in->value[v];
        if (value->op == OP_RESULT) {
            if (d->needed[v]) d->alive[value->args[0]] = true;
            continue;
        }
        d->alive[v] |= d->needed[v] || is_leaf(value->op) || !leave_out(d, v, 0, true);
        if (!d->alive[v]) continue;
        if (value->nregions) choose_regions(d, v);
        mark_arguments(d, v);
    }
}

/* ---- rebuilding ---- */

/* Index of result `index` once the regions before it that are dropped are gone. */
static uint32_t new_index(const Dce *d, Val v, uint32_t index) {
    const Value *value = &d->in->value[v];
    uint32_t old = value->op == OP_MAP ? 0 : 1, new = old;
    for (uint32_t r = 0; r < value->nregions; r++) {
        if (!region_makes_result(value->regions[r].role)) continue;
        if (old++ == index) return new;
        new += d->keep[v][r];
    }
    return index;
}

static const Expr *renumber(Graph *out, const Expr *e, const uint32_t *place) {
    if (!e) return NULL;
    Expr *copy = ARENA_NEW(out->arena, Expr);
    *copy = (Expr){e->count, arena_copy(out->arena, e->node, e->count * sizeof *e->node)};
    for (uint32_t i = 0; i < e->count; i++) {
        if (copy->node[i].op == X_ARG) copy->node[i].arg[0] = (uint16_t)place[copy->node[i].arg[0]];
    }
    return copy;
}

static Val rebuild_with_regions(const Dce *d, Graph *out, Val v, const Val *map) {
    const Value *value = &d->in->value[v];
    Val args[MAX_ARGS];
    uint32_t place[MAX_ARGS] = {0}, nargs = 0, nregions = 0;
    for (uint32_t i = 0; i < value->nargs; i++) {
        if (!reads(d, v, i)) continue;
        place[i] = nargs;
        args[nargs++] = map[value->args[i]];
    }
    if (nargs == 0) args[nargs++] = map[value->args[0]];
    Region regions[MAX_REGIONS];
    for (uint32_t r = 0; r < value->nregions; r++) {
        if (!d->keep[v][r]) continue;
        regions[nregions] = value->regions[r];
        regions[nregions++].expr = renumber(out, value->regions[r].expr, place);
    }
    return graph_add(out, &(ValueSpec){.op = value->op,
                                       .args = args,
                                       .nargs = nargs,
                                       .attrs = value->attrs,
                                       .declared = value->op == OP_MAP ? value->space : value->type,
                                       .span = value->span,
                                       .name = value->name,
                                       .regions = regions,
                                       .nregions = nregions});
}

static Val rebuild(const Dce *d, Graph *out, Val v, const Val *map) {
    const Value *value = &d->in->value[v];
    if (value->op == OP_RESULT) {
        if (!d->needed[v]) return NO_VAL;
        return graph_result(out, map[value->args[0]], new_index(d, value->args[0], (uint32_t)value->attrs.index));
    }
    if (!d->alive[v]) return NO_VAL;
    return value->nregions ? rebuild_with_regions(d, out, v, map) : graph_copy_value(out, d->in, v, map);
}

Graph *pass_dce(const Graph *in, PassContext *context) {
    Graph *out = rebuild_begin(in);
    Dce d = {.in = in, .context = context};
    d.needed = ARENA_ARRAY(context->arena, bool, in->count);
    d.alive = ARENA_ARRAY(context->arena, bool, in->count);
    d.keep = ARENA_ARRAY(context->arena, bool *, in->count);
    for (uint32_t i = 0; i < in->noutputs; i++) d.needed[in->output[i].value] = true;
    mark(&d);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) map[v] = rebuild(&d, out, v, map);
    rebuild_outputs(in, out, map);
    return out;
}
