/* A map in the making: what its loop nests share (map.c, map_reduce.c). */
#ifndef NETC_CODEGEN_OPS_MAP_KERNEL_H
#define NETC_CODEGEN_OPS_MAP_KERNEL_H
#include "codegen/emit/pieces.h"
#include "codegen/ops/ops.h"

typedef struct MapKernel {
    Lowering *l;
    Emitter *e;
    const Value *v;
    LayoutKind layout;
    int64_t channels, blocks, pixels; /* of the iteration space */
    uint32_t buffer[MAX_REGIONS];     /* of each wanted region; NO_BUFFER */
    int nsums, unroll;                /* sums of all REDUCE and MOMENTS; partial ones of each */
    Split split;
    Type arg_type[MAX_ARGS];
    LLVMValueRef arg_base[MAX_ARGS], preloaded[MAX_ARGS];
} MapKernel;

static inline bool map_wants(const MapKernel *k, uint32_t r) { return k->buffer[r] != NO_BUFFER; }

static inline ElementSite map_site(MapKernel *k) {
    for (uint32_t i = 0; i < k->v->nargs; i++) k->preloaded[i] = NULL;
    return (ElementSite){.channels = k->channels,
                         .channel_blocks = k->blocks,
                         .pixels = k->pixels,
                         .arg_type = k->arg_type,
                         .arg_base = k->arg_base,
                         .preloaded = k->preloaded};
}

/* Operands per channel or per image, at a site's image and block. */
static inline void map_preload(MapKernel *k, ElementSite *site) {
    for (uint32_t r = 0; r < k->v->nregions; r++)
        if (map_wants(k, r)) emit_preload(k->e, k->v->regions[r].expr, site, k->v->nargs);
}

/* The wanted regions at a site. */
static inline void map_evaluate(MapKernel *k, const ElementSite *site, LLVMValueRef *value) {
    for (uint32_t r = 0; r < k->v->nregions; r++)
        value[r] = map_wants(k, r) ? emit_expr(k->e, k->v->regions[r].expr, site) : NULL;
}

/* An OUTPUT's element at a site of a feature map. */
static inline void map_store(MapKernel *k, const ElementSite *site, uint32_t r, LLVMValueRef value) {
    Emitter *e = k->e;
    LLVMValueRef plane = emit_offset(e, site->n, k->blocks, site->cb);
    LLVMValueRef at = emit_mul_int(e, emit_offset(e, plane, k->pixels, site->pixel), e->V);
    emit_store(e, emit_mask_channels(e, value, site->cb, k->channels), emit_buffer(e, k->buffer[r]), at);
}

#endif
