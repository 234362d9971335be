/* Filters in the orders that kernels want them. Stored: [O block][I block][kh][kw][I in V][O in V], I counted per group. */
#include "codegen/conv/shared/pack.h"
#include "codegen/emit/bf16.h"
#include "codegen/emit/transpose.h"

/* One tap of one block in and one block out. */
static void pack_tile(Emitter *e, const Correlation *c, int64_t pair, LLVMValueRef src, LLVMValueRef dst) {
    LLVMValueRef row[MAX_LANES];
    for (int i = 0; i < e->V; i++) row[i] = emit_load(e, src, emit_int(e, i * e->V));
    if (c->transposed) emit_transpose(e, row);
    for (int i = 0; i < e->V / pair; i++)
        emit_store(e, pair == 2 ? bf16_pair(e, row[2 * i], row[2 * i + 1]) : row[i], dst, emit_int(e, i * e->V));
}

/* To [block out of all groups][block in of the group, or two of them][kh][kw][channels in, or pairs of them][channels out], one
 * block out a piece. In and out are those of the correlation: for backward data every tile is transposed. */
void lower_pack_tiles(ConvKernel *k, const Correlation *c, int64_t pair, int64_t together, Place to) {
    Emitter *e = k->e;
    int64_t taps = c->kernel[0] * c->kernel[1], tile = c->V * c->V, inner = c->group_in_blocks, outer = c->group_out_blocks;
    Kernel *kernel;
    char *key = arena_printf(lowering_arena(k->l), "pack-tiles %s %lld taps, blocks %lld %lld, pairs of %lld, %lld together",
                             c->transposed ? "transposed" : "plain", (long long)taps, (long long)inner, (long long)outer,
                             (long long)pair, (long long)together);
    if (kernel_begin(k->l, RT_KIND_FILTERS, c->transposed ? "conv_pack_transposed" : "conv_pack_pairs", key, 2, &kernel)) {
        LLVMValueRef group = LLVMBuildUDiv(e->b, e->piece, emit_int(e, outer), "");
        LLVMValueRef ib = LLVMBuildURem(e->b, e->piece, emit_int(e, outer), "");
        Loop ob = loop_begin(e, emit_int(e, 0), emit_int(e, inner), 1, 0, NULL);
        Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, taps), 1, 0, NULL);
        LLVMValueRef target = emit_offset(e, e->piece, inner, ob.iv);
        LLVMValueRef from = c->transposed ? emit_offset(e, emit_offset(e, group, inner, ob.iv), outer, ib) : target;
        from = emit_mul_int(e, emit_offset(e, from, taps, tap.iv), tile);
        if (together > 1) {
            LLVMValueRef count = emit_int(e, together), first = LLVMBuildUDiv(e->b, target, count, "");
            first = emit_mul_int(e, emit_offset(e, first, taps, tap.iv), together);
            target = LLVMBuildAdd(e->b, first, LLVMBuildURem(e->b, target, count, ""), "");
        } else {
            target = emit_offset(e, target, taps, tap.iv);
        }
        target = emit_mul_int(e, target, tile / pair);
        pack_tile(e, c, pair, emit_address(e, emit_buffer(e, 0), from), emit_address(e, emit_buffer(e, 1), target));
        loop_end(e, &tap, NULL);
        loop_end(e, &ob, NULL);
        kernel_end(k->l, 0);
    }
    double bytes = 2.0 * (double)(c->out_blocks * inner * taps * tile) * sizeof(float);
    Place places[] = {k->places[1], to};
    kernel_call(k->l, kernel, k->id, places, 2, c->out_blocks, (KernelCost){0, bytes});
}

uint64_t pack_tiles_bytes(const Correlation *c, int64_t pair) {
    int64_t floats = c->out_blocks * c->group_in_blocks * c->kernel[0] * c->kernel[1] * c->V * c->V / pair;
    return align_bytes((uint64_t)floats * sizeof(float));
}
