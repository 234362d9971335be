/* Groups of fewer channels than a vector has, several of which share one: the direct kernels take the vector for a group, with
 * filters that are zero between channels of different groups. Stored and block-diagonal filters are of one size, since a block of
 * V output channels has V rows of input channels in either:
 *
 *     stored     row r of V, of which channels-per-group are used: of each output channel, the r-th input channel of its group
 *     diagonal   row i of V: of each output channel, input channel i of the vector; zero where that is of another group
 *
 * The multiply-adds with zeros leave channels-per-group of V of the machine's peak. */
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/shared/pack.h"
#include "codegen/emit/transpose.h"

int64_t narrow_channels(const ConvShape *s) {
    int64_t channels = s->I / s->groups;
    return s->groups > 1 && s->I == s->O && channels > 1 && channels < s->V && s->V % channels == 0 ? channels : 0;
}

/* The same convolution with a group for each vector. */
ConvProblem narrow_widened(const ConvProblem *p) {
    ConvProblem widened = *p;
    if (narrow_channels(&p->s)) {
        widened.s.groups = p->s.in_blocks;
        widened.s.I = widened.s.O = p->s.in_blocks * p->s.V;
    }
    return widened;
}

/* Lanes of group `group` of b, the others of a. */
static LLVMValueRef of_group(Emitter *e, LLVMValueRef a, LLVMValueRef b, int64_t group, int64_t channels) {
    LLVMValueRef lane[MAX_LANES];
    for (int i = 0; i < e->V; i++) lane[i] = LLVMConstInt(e->i32, (uint64_t)(i / channels == group ? e->V + i : i), false);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(lane, (unsigned)e->V), "");
}

/* Every tap of every block: a piece. */
static void pack_diagonal(ConvKernel *k, const Correlation *c, int64_t channels, Place to) {
    Emitter *e = k->e;
    int64_t taps = c->kernel[0] * c->kernel[1], tile = c->V * c->V;
    Kernel *kernel;
    char *key = arena_printf(lowering_arena(k->l), "pack-diagonal %s %lld taps, %lld channels",
                             c->transposed ? "transposed" : "plain", (long long)taps, (long long)channels);
    if (kernel_begin(k->l, RT_KIND_FILTERS, "conv_pack_diagonal", key, 2, &kernel)) {
        Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, taps), 1, 0, NULL);
        LLVMValueRef at = emit_mul_int(e, emit_offset(e, e->piece, taps, tap.iv), tile), row[MAX_LANES];
        LLVMValueRef from = emit_address(e, emit_buffer(e, 0), at), dst = emit_address(e, emit_buffer(e, 1), at);
        for (int i = 0; i < e->V; i++)
            row[i] = of_group(e, emit_vec(e, 0), emit_load(e, from, emit_int(e, i % channels * e->V)), i / channels, channels);
        if (c->transposed) emit_transpose(e, row);
        for (int i = 0; i < e->V; i++) emit_store(e, row[i], dst, emit_int(e, i * e->V));
        loop_end(e, &tap, NULL);
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[1], to};
    double bytes = 2.0 * (double)(c->out_blocks * taps * tile) * sizeof(float);
    kernel_call(k->l, kernel, k->id, places, 2, c->out_blocks, (KernelCost){0, bytes});
}

bool direct_packs(const DirectPlan *p) { return p->frame.c.transposed || p->frame.pair == 2 || p->narrow; }

void direct_pack(ConvKernel *k, const DirectPlan *p) {
    Place to = k->places[k->filters_buffer];
    if (p->narrow)
        pack_diagonal(k, &p->frame.c, p->narrow, to);
    else
        lower_pack_tiles(k, &p->frame.c, p->frame.pair, to);
}

void narrow_gather(Emitter *e, const DirectWeights *p, LLVMValueRef partial, LLVMValueRef lo, LLVMValueRef hi) {
    int64_t taps = p->s.kernel[0] * p->s.kernel[1], V = e->V;
    if (!p->narrow) return;
    Loop tile = loop_begin(e, emit_mul_int(e, lo, taps), emit_mul_int(e, hi, taps), 1, 0, NULL);
    LLVMValueRef at = emit_address(e, partial, emit_mul_int(e, tile.iv, V * V)), row[MAX_LANES];
    for (int64_t i = 0; i < V; i++) row[i] = emit_load(e, at, emit_int(e, i * V));
    for (int64_t i = p->narrow; i < V; i++) {
        row[i % p->narrow] = of_group(e, row[i % p->narrow], row[i], i / p->narrow, p->narrow);
        row[i] = emit_vec(e, 0);
    }
    for (int64_t i = 0; i < V; i++) emit_store(e, row[i], at, emit_int(e, i * V));
    loop_end(e, &tile, NULL);
}
