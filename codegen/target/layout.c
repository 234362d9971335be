/* Logical types in memory (target.h says how each kind lies). Every size is a multiple of RT_ALIGN, so that every tensor
 * starts on a cache line. */
#include "codegen/target/target.h"
#include <string.h>

static bool is_gradient_of_param(const Graph *g, Val v) {
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *out = &g->output[i];
        if (out->kind != OUT_GRAD || out->value != v || !out->name) continue;
        for (Val p = 0; p < g->count; p++)
            if (g->value[p].op == OP_PARAM && !strcmp(g->value[p].attrs.param.name, out->name)) return true;
    }
    return false;
}

/* A rank-4 map over weights works on filters: it has filters among its arguments, or, with none of rank 4, is the gradient
 * of a parameter. */
static bool map_on_filters(const Graph *g, Val v) {
    const Value *value = &g->value[v];
    for (uint32_t i = 0; i < value->nargs; i++)
        if (g->value[value->args[i]].type.rank == 4) return layout_of(g, value->args[i]) == LAYOUT_FILTERS;
    return is_gradient_of_param(g, v);
}

enum { FEW_CHANNELS = 4 };

static bool region_reads(const Value *v, uint32_t arg) {
    for (uint32_t r = 0; r < v->nregions; r++)
        if (v->regions[r].expr && expr_uses_arg(v->regions[r].expr, arg)) return true;
    return false;
}

/* Convolutions copy what they read with padding anyhow, and then take few planes apart as fast as they copy a whole channel
 * block, most of which would be zeros: a fifth of the bytes for three channels in blocks of sixteen. */
static bool only_copied(const Graph *g, Val input) {
    if (g->value[input].type.dim[1] > FEW_CHANNELS) return false;
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].value == input) return false;
    for (Val v = input + 1; v < g->count; v++) {
        const Value *value = &g->value[v];
        bool convolution = value->op == OP_CONV2D || value->op == OP_CONV2D_BWD_WEIGHTS;
        for (uint32_t i = 0; i < value->nargs; i++) {
            if (value->args[i] != input) continue;
            if (i || !convolution || value_region(value, REGION_PROLOGUE, 0) || value_region(value, REGION_STORE, 0))
                return false;
            if (region_reads(value, 0)) return false; /* an epilogue that adds the image reads blocks of channels */
        }
    }
    return true;
}

LayoutKind layout_of(const Graph *g, Val v) {
    uint32_t result = 0;
    Val source = value_source(g, v, &result);
    const Value *value = &g->value[source];
    Type type = g->value[v].type;
    if (type.dtype != DT_F32 && type.dtype != DT_F64) return LAYOUT_LABELS;
    if (type.rank < 2) return LAYOUT_VECTOR;
    if (type.rank < 4) return LAYOUT_ROWS;
    if (value->op == OP_INPUT) return only_copied(g, source) ? LAYOUT_IMAGES : LAYOUT_FEATURE;
    if (value->op == OP_PARAM || op_makes_filters(value->op))
        return result == 0 ? LAYOUT_FILTERS : LAYOUT_FEATURE; /* bwd_weights' further results are stored feature maps */
    return value->op == OP_MAP && map_on_filters(g, source) ? LAYOUT_FILTERS : LAYOUT_FEATURE;
}

int64_t layout_pad(const Target *t, int64_t channels) { return (channels + t->lanes - 1) / t->lanes * t->lanes; }

uint64_t layout_bytes(const Target *t, LayoutKind kind, Type type) {
    const int64_t *d = type.dim;
    int64_t elements = 1;
    switch (kind) {
    case LAYOUT_FEATURE: elements = d[0] * layout_pad(t, d[1]) * d[2] * d[3]; break;
    case LAYOUT_ROWS: elements = (type.rank == 3 ? d[0] * d[1] : d[0]) * layout_pad(t, d[type.rank - 1]); break;
    case LAYOUT_VECTOR: elements = layout_pad(t, type.rank ? d[0] : 1); break;
    case LAYOUT_FILTERS: elements = layout_pad(t, d[0]) * layout_pad(t, d[1]) * d[2] * d[3]; break;
    case LAYOUT_LABELS:
    case LAYOUT_IMAGES: elements = type_elements(type); break;
    }
    int64_t bytes = type.dtype == DT_F64 ? 8 : kind == LAYOUT_FEATURE ? t->map_bytes : 4;
    return align_bytes((uint64_t)(elements * bytes));
}

uint64_t layout_value_bytes(const Target *t, LayoutKind kind, const Graph *g, Val v) {
    Target as_it_is = *t;
    if (value_is_index(g, v)) as_it_is.map_bytes = sizeof(float);
    return layout_bytes(&as_it_is, kind, g->value[v].type);
}
