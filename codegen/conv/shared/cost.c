/* The cost model (cost.h). */
#include "codegen/conv/shared/cost.h"

static const double clock_rate = 4e9;                 /* nominal: it scales all alike */
static const double copy_rate = 40, memory_rate = 10; /* bytes a cycle */

double cost_seconds(const ConvWork *w, double memory) {
    return (w->fma_cycles + w->transforms / 2 + w->copied / copy_rate + memory / memory_rate) / clock_rate;
}

/* Not quite two: their staging rounds. */
double cost_pair_rate(int64_t pair) { return pair == 2 ? 1.8 : 1; }

double cost_vector_fmas(const ConvShape *s) {
    return (double)(s->N * s->out[0] * s->out[1] * s->kernel[0] * s->kernel[1]) * (double)(s->I / s->groups) *
           (double)s->out_blocks;
}

double cost_filters(const ConvShape *s) { return (double)(s->in_blocks * s->out_blocks * s->V); }

static double map_bytes(const Target *t, Type type) {
    return type.rank == 4 && type.dtype == DT_F32 ? (double)layout_bytes(t, LAYOUT_FEATURE, type) : 0;
}

double cost_memory(const ConvProblem *p, const bool *read) {
    const Target *t = p->t;
    const Graph *g = p->g;
    const Value *value = p->v;
    const Val v = p->id;
    double total = 0;
    for (uint32_t i = 0; i < value->nargs; i++) {
        LayoutKind kind = layout_of(g, value->args[i]);
        if (kind == LAYOUT_FEATURE) total += map_bytes(t, g->value[value->args[i]].type);
        if (kind == LAYOUT_IMAGES) total += (double)layout_bytes(t, kind, g->value[value->args[i]].type);
    }
    if (read[v] && layout_of(g, v) == LAYOUT_FEATURE) total += map_bytes(t, value->type);
    for (Val r = value->results; r; r = g->value[r].results)
        if (read[r] && layout_of(g, r) == LAYOUT_FEATURE) total += map_bytes(t, g->value[r].type);
    return total;
}

static bool has_argument(const Value *v, Val argument) {
    for (uint32_t i = 0; i < v->nargs; i++)
        if (v->args[i] == argument) return true;
    return false;
}

/* dY is staged once and stored only for others, and the forward input is read once. */
double cost_pair_memory(const ConvProblem *data, const ConvProblem *weights, const bool *read, bool keeps_dy) {
    const Graph *g = data->g;
    const Value *v = weights->v;
    double dy = map_bytes(data->t, g->value[v->args[1]].type) * (keeps_dy ? 1 : 2);
    double total = cost_memory(data, read) + cost_memory(weights, read) - dy;
    for (uint32_t i = 0; i < v->nargs; i++)
        if (i != 1 && has_argument(data->v, v->args[i]) && layout_of(g, v->args[i]) == LAYOUT_FEATURE)
            total -= map_bytes(data->t, g->value[v->args[i]].type);
    return total;
}
