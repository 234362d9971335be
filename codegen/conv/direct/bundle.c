/* Groups that do not fill vectors of channels, several of which meet in one: the direct kernels take as many groups as fill whole
 * vectors, a *bundle*, for a group, with filters that are zero between channels of different groups. 4 of 16 lanes: a bundle is
 * four groups, one vector; 3 of 16: sixteen groups, three vectors.
 *
 *     stored     [output block][blocks of a group's inputs][tap]: of each output channel, the r-th input channel of its group
 *     diagonal   [output block][blocks of a bundle][tap]: of each output channel, input channel i of its bundle; zero where that
 *                is of another group
 *
 * The multiply-adds with zeros leave channels-per-group of those of a bundle of the machine's peak. */
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/shared/pack.h"
#include "codegen/emit/transpose.h"

enum { MOST_BLOCKS = 4 }; /* of a bundle: packing is straight code for each pair of them */

int64_t bundle_blocks(const ConvShape *s) {
    int64_t channels = s->I / s->groups, wide = channels;
    if (s->groups == 1 || s->I != s->O || channels == 1 || channels % s->V == 0) return 0;
    while (wide % s->V) wide += channels;
    /* groups that share a vector may leave the last one with fewer */
    return wide == s->V || (wide <= MOST_BLOCKS * s->V && s->I % wide == 0) ? wide / s->V : 0;
}

ConvProblem bundle_widened(const ConvProblem *p) {
    ConvProblem widened = *p;
    int64_t blocks = bundle_blocks(&p->s);
    if (blocks) {
        widened.s.groups = p->s.in_blocks / blocks;
        widened.s.I = widened.s.O = p->s.in_blocks * p->s.V;
    }
    return widened;
}

/* A bundle's filters in both forms. */
typedef struct Bundle {
    Emitter *e;
    int64_t channels, blocks, group_blocks, taps; /* channels of a group; blocks of a bundle; blocks of a group's inputs */
} Bundle;

static Bundle bundle_of(Emitter *e, const ConvShape *s, int64_t blocks) {
    int64_t channels = s->I / s->groups;
    return (Bundle){e, channels, blocks, divide_up(channels, s->V), s->kernel[0] * s->kernel[1]};
}

/* The tile [V][V] of output block `to`, and input block `from` of its group or bundle, at a tap of bundle `bundle`. */
static LLVMValueRef tile_at(const Bundle *b, LLVMValueRef base, LLVMValueRef bundle, int64_t to, int64_t from, int64_t blocks,
                            LLVMValueRef tap) {
    Emitter *e = b->e;
    LLVMValueRef block = emit_offset(e, bundle, b->blocks * blocks, emit_int(e, to * blocks + from));
    return emit_address(e, base, emit_mul_int(e, emit_offset(e, block, b->taps, tap), e->V * e->V));
}

/* Lanes of b whose output channel, in block `to`, is of group `group` of the bundle, the others of a. */
static LLVMValueRef of_group(const Bundle *b, LLVMValueRef a, LLVMValueRef v, int64_t to, int64_t group) {
    Emitter *e = b->e;
    LLVMValueRef lane[MAX_LANES];
    for (int64_t i = 0; i < e->V; i++)
        lane[i] = LLVMConstInt(e->i32, (uint64_t)((to * e->V + i) / b->channels == group ? e->V + i : i), false);
    return LLVMBuildShuffleVector(e->b, a, v, LLVMConstVector(lane, (unsigned)e->V), "");
}

static bool meets(const Bundle *b, int64_t to, int64_t group) {
    return group >= to * b->e->V / b->channels && group <= ((to + 1) * b->e->V - 1) / b->channels;
}

/* Row i of input block `from` of the diagonal form, made of the stored. */
static LLVMValueRef diagonal_row(const Bundle *b, LLVMValueRef stored, LLVMValueRef bundle, int64_t to, int64_t from, int64_t i,
                                 LLVMValueRef tap) {
    Emitter *e = b->e;
    int64_t group = (from * e->V + i) / b->channels, row = (from * e->V + i) % b->channels;
    LLVMValueRef zero = emit_vec(e, 0);
    if (!meets(b, to, group)) return zero;
    LLVMValueRef at = tile_at(b, stored, bundle, to, row / e->V, b->group_blocks, tap);
    return of_group(b, zero, emit_load(e, at, emit_int(e, row % e->V * e->V)), to, group);
}

/* A bundle: a piece. */
static void pack_diagonal(ConvKernel *k, const DirectPlan *p, Place to) {
    Emitter *e = k->e;
    const Correlation *c = &p->frame.c;
    const Bundle b = bundle_of(e, &p->frame.s, p->bundle);
    Kernel *kernel;
    char *key =
        arena_printf(lowering_arena(k->l), "pack-diagonal %s %lld taps, %lld channels, %lld blocks",
                     c->transposed ? "transposed" : "plain", (long long)b.taps, (long long)b.channels, (long long)b.blocks);
    if (kernel_begin(k->l, RT_KIND_FILTERS, "conv_pack_diagonal", key, 2, &kernel)) {
        Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, b.taps), 1, 0, NULL);
        LLVMValueRef row[MAX_LANES];
        for (int64_t pair = 0; pair < b.blocks * b.blocks; pair++) {
            int64_t out = pair / b.blocks, in = pair % b.blocks;
            for (int64_t i = 0; i < e->V; i++) row[i] = diagonal_row(&b, emit_buffer(e, 0), e->piece, out, in, i, tap.iv);
            if (c->transposed) emit_transpose(e, row);
            LLVMValueRef at =
                tile_at(&b, emit_buffer(e, 1), e->piece, c->transposed ? in : out, c->transposed ? out : in, b.blocks, tap.iv);
            for (int64_t i = 0; i < e->V; i++) emit_store(e, row[i], at, emit_int(e, i * e->V));
        }
        loop_end(e, &tap, NULL);
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[1], to};
    kernel_call(k->l, kernel, k->id, places, 2, c->groups, (KernelCost){0, 2.0 * (double)p->frame.packed_bytes});
}

bool direct_packs(const DirectPlan *p) { return p->frame.c.transposed || p->frame.pair == 2 || p->bundle; }

void direct_pack(ConvKernel *k, const DirectPlan *p) {
    Place to = k->places[k->filters_buffer];
    if (p->bundle)
        pack_diagonal(k, p, to);
    else
        lower_pack_tiles(k, &p->frame.c, p->frame.pair, to);
}

/* Row r of block `from` of a group's inputs of the stored form, made of the diagonal. */
static LLVMValueRef stored_row(const Bundle *b, LLVMValueRef diagonal, LLVMValueRef bundle, int64_t to, int64_t from, int64_t r,
                               LLVMValueRef tap) {
    Emitter *e = b->e;
    int64_t row = from * e->V + r;
    LLVMValueRef v = emit_vec(e, 0);
    for (int64_t group = 0; row < b->channels && group * b->channels < b->blocks * e->V; group++) {
        if (!meets(b, to, group)) continue;
        int64_t i = group * b->channels + row;
        LLVMValueRef at = tile_at(b, diagonal, bundle, to, i / e->V, b->blocks, tap);
        v = of_group(b, v, emit_load(e, at, emit_int(e, i % e->V * e->V)), to, group);
    }
    return v;
}

/* Of the sum of the partial gradients, which is the first of them by now, what the filters have. A bundle: a piece. */
static void gather_stored(ConvKernel *k, const DirectWeights *p) {
    Emitter *e = k->e;
    const Bundle b = bundle_of(e, &p->s, p->bundle);
    Kernel *kernel;
    char *key = arena_printf(lowering_arena(k->l), "gather-diagonal %lld taps, %lld channels, %lld blocks", (long long)b.taps,
                             (long long)b.channels, (long long)b.blocks);
    if (kernel_begin(k->l, RT_KIND_REDUCTION, "conv_gather_diagonal", key, 2, &kernel)) {
        Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, b.taps), 1, 0, NULL);
        for (int64_t pair = 0; pair < b.blocks * b.group_blocks; pair++) {
            int64_t out = pair / b.group_blocks, in = pair % b.group_blocks;
            LLVMValueRef at = tile_at(&b, emit_buffer(e, 1), e->piece, out, in, b.group_blocks, tap.iv);
            for (int64_t r = 0; r < e->V; r++)
                emit_store(e, stored_row(&b, emit_buffer(e, 0), e->piece, out, in, r, tap.iv), at, emit_int(e, r * e->V));
        }
        loop_end(e, &tap, NULL);
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[k->workspace_buffer], k->places[k->result_buffer[0]]};
    double bytes = (double)p->w.dw_floats * sizeof(float);
    kernel_call(k->l, kernel, k->id, places, 2, p->w.s.groups, (KernelCost){0, 2 * bytes});
}

void direct_sum_weights(ConvKernel *k, const DirectWeights *p) {
    if (!p->bundle) {
        lower_sum_partials(k, &p->w);
    } else if (k->result_buffer[0] != NO_BUFFER) {
        if (p->w.image_groups > 1) lower_sum_partials_to(k, &p->w, k->places[k->workspace_buffer]);
        gather_stored(k, p);
    }
}
