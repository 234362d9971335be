/* Backward data and weights in one kernel (pairs.h). */
#include "codegen/conv/shared/pairs.h"
#include <string.h>

/* ---- which values ---- */

/* The RESULT value of the STORE region of operand 0, or NO_VAL. */
static Val stored_operand(const Graph *g, Val data) {
    const Value *v = &g->value[data];
    for (uint32_t i = 0; i < v->nregions; i++) {
        if (v->regions[i].role != REGION_STORE || v->regions[i].operand != 0) continue;
        for (Val r = v->results; r; r = g->value[r].results)
            if (g->value[r].attrs.index == (int64_t)region_result(v, i)) return r;
    }
    return NO_VAL;
}

/* Could `weights` be computed from the dY that backward data `data` stores, while it is staged? */
static bool reads_staged_dy(const Graph *g, Val weights, Val data, Val dy) {
    const Value *w = &g->value[weights], *d = &g->value[data];
    if (w->op != OP_CONV2D_BWD_WEIGHTS || w->args[1] != dy) return false;
    if (!type_equal(g->value[w->args[0]].type, d->type) || !type_equal(w->type, g->value[d->args[1]].type) ||
        memcmp(&w->attrs.window, &d->attrs.window, sizeof w->attrs.window))
        return false; /* of another convolution with the same dY */
    if (value_region(w, REGION_PROLOGUE, 1) || value_region(w, REGION_STORE, 0) || value_region(w, REGION_STORE, 1)) return false;
    for (uint32_t i = 0; i < w->nargs; i++) /* all there before backward data is computed */
        if (i != 1 && (w->args[i] == dy || value_source(g, w->args[i], NULL) >= data)) return false;
    return true;
}

Val pair_weights(const Graph *g, Val data) {
    Val dy = stored_operand(g, data);
    for (Val w = data + 1; w < g->count && dy != NO_VAL; w++)
        if (reads_staged_dy(g, w, data, dy)) return w;
    return NO_VAL;
}

bool pair_keeps_dy(const Graph *g, Val weights) {
    Val dy = g->value[weights].args[1];
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].value == dy) return true;
    for (Val v = dy + 1; v < g->count; v++)
        for (uint32_t i = 0; i < g->value[v].nargs; i++)
            if (g->value[v].args[i] == dy && v != weights && g->value[v].op != OP_RESULT) return true;
    return false;
}

/* ---- their kernel ---- */

/* What both read is read once, and dY from scratch. */
double pair_bytes(const ConvKernel *d, const ConvKernel *w) {
    double total = conv_bytes(d) + conv_bytes(w);
    for (uint32_t i = 0; i < w->v->nargs; i++) {
        bool shared = i == 1;
        for (uint32_t j = 0; j < d->v->nargs; j++) shared |= d->v->args[j] == w->v->args[i];
        if (shared) total -= place_bytes(w->places[i], w->arg_type[i]);
    }
    return total;
}

ConvKernel pair_kernel(Lowering *l, const ConvKernel *data, Val weights, uint64_t workspace) {
    ConvKernel w = conv_kernel(l, weights, true);
    w.places[1] = data->places[0]; /* dY is staged, and need not be in memory: nothing reads this buffer */
    w.places[w.workspace_buffer] = place_behind(lowering_workspace(l, data->id), workspace);
    return w;
}

Place *pair_places(const ConvKernel *d, const ConvKernel *w) {
    Place *places = ARENA_ARRAY(lowering_arena(d->l), Place, d->nplaces + w->nplaces);
    for (uint32_t i = 0; i < d->nplaces + w->nplaces; i++) places[i] = i < d->nplaces ? d->places[i] : w->places[i - d->nplaces];
    return places;
}

char *pair_key(const ConvKernel *d, Val weights) {
    return arena_printf(lowering_arena(d->l), "%s|%s", conv_key(d, "backward"), value_key(d->l, weights));
}
