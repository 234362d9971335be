/* See needed.h: one walk from the outputs back to what they are made of. */
#include "codegen/lower/needed.h"
#include "codegen/conv/shared/pairs.h"
#include "codegen/conv/shared/sites.h"
#include <math.h>

static const RtTensor *frozen_later(const Lowering *l, const Output *out) {
    const RtTensor *t = out->kind == OUT_GRAD ? program_find_tensor(&l->p->params, out->name) : NULL;
    return t && t->until > 0 ? t : NULL;
}

static void need(double *until, Val v, double epoch) {
    if (epoch > until[v]) until[v] = epoch;
}

void needed_find(Lowering *l) {
    const Graph *g = l->g;
    bool any = false;
    for (uint32_t i = 0; i < l->p->params.count; i++) any |= l->p->params.tensor[i].until > 0;
    if (!any || g->mode != MODE_TRAIN || l->whole) return;
    double *until = ARENA_ARRAY(l->p->arena, double, g->count);
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const RtTensor *t = frozen_later(l, &g->output[i]);
        need(until, g->output[i].value, t ? t->until : INFINITY);
    }
    for (Val v = g->count; v-- > 0;) {
        const Value *value = &g->value[v];
        Val pair = l->site[v] && value->op == OP_CONV2D_BWD_DATA ? pair_weights(g, v) : NO_VAL;
        if (pair != NO_VAL && l->site[pair] && l->site[pair]->choice.pair) need(until, v, until[pair]);
        for (uint32_t i = 0; i < value->nargs; i++) need(until, value->args[i], until[v]);
    }
    l->needed = until;
}

static double as_call(double epoch) { return isinf(epoch) ? 0 : epoch; }

double needed_until(const Lowering *l, Val v) { return l->needed ? as_call(l->needed[v]) : 0; }

double needed_until_output(const Lowering *l, const Output *out) {
    const RtTensor *t = l->needed ? frozen_later(l, out) : NULL;
    return t ? t->until : 0;
}
