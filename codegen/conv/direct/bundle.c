/* Groups that do not fill vectors of channels, so that some meet in one: the direct kernels take as many groups as fill whole
 * vectors, a *bundle*, for a group, with filters that are zero between channels of different groups; where their number does not
 * divide the groups, all of them. 4 of 16 lanes: a bundle is four groups, one vector; 3 of 16: sixteen groups, three vectors; two
 * groups of 50 to 25: both, seven vectors to four.
 *
 *     stored     [output block][blocks of a group's inputs][tap]: of each output channel, the r-th input channel of its group
 *     diagonal   [output block][blocks of a bundle's inputs][tap]: of each output channel, input channel i of its bundle; zero
 *                where that is of another group
 *
 * each a tile of V inputs x V outputs; the diagonal form of backward data has input and output the other way round. The
 * multiply-adds with zeros leave channels-per-group of those of a bundle of the machine's peak. */
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/shared/pack.h"
#include "codegen/emit/transpose.h"

/* Wider bundles of more groups multiply by more zeros than the product of an im2col matrix loses (docs/measurements.md). */
enum { MOST_CHANNELS = 128, FEW_GROUPS = 3 };

int64_t bundle_groups(const ConvShape *s) {
    int64_t inputs = s->I / s->groups, outputs = s->O / s->groups, n = 1;
    if (s->groups == 1 || inputs == 1 || (inputs % s->V == 0 && outputs % s->V == 0)) return 0;
    while (n * inputs % s->V || n * outputs % s->V) n++;
    if (n * inputs == s->V && n * outputs == s->V) return n; /* the last vector may have fewer groups */
    if (s->groups % n) n = s->groups;
    return n <= FEW_GROUPS || n * max_i64(inputs, outputs) <= MOST_CHANNELS ? n : 0;
}

ConvProblem bundle_widened(const ConvProblem *p) {
    ConvProblem widened = *p;
    int64_t groups = bundle_groups(&p->s);
    if (groups) {
        widened.s.groups = divide_up(p->s.groups, groups);
        if (widened.s.groups > 1) {
            widened.s.I = p->s.in_blocks * p->s.V;
            widened.s.O = p->s.out_blocks * p->s.V;
        }
    }
    return widened;
}

/* Filters in both forms. */
typedef struct Bundles {
    Emitter *e;
    int64_t groups, inputs, outputs, taps;       /* of all bundles; channels of a group; of a filter */
    int64_t in_blocks, out_blocks, group_blocks; /* of a bundle; of a group's inputs */
} Bundles;

static Bundles bundles_of(Emitter *e, const ConvShape *s) {
    int64_t inputs = s->I / s->groups, outputs = s->O / s->groups, groups = bundle_groups(s);
    return (Bundles){.e = e,
                     .groups = s->groups,
                     .inputs = inputs,
                     .outputs = outputs,
                     .taps = s->kernel[0] * s->kernel[1],
                     .in_blocks = divide_up(groups * inputs, s->V),
                     .out_blocks = divide_up(groups * outputs, s->V),
                     .group_blocks = divide_up(inputs, s->V)};
}

static const char *bundles_key(Lowering *l, const char *what, const Bundles *b) {
    return arena_printf(lowering_arena(l), "%s %lld groups, %lld to %lld channels, %lld taps, bundles of %lld to %lld blocks",
                        what, (long long)b->groups, (long long)b->inputs, (long long)b->outputs, (long long)b->taps,
                        (long long)b->in_blocks, (long long)b->out_blocks);
}

static LLVMValueRef divide(const Bundles *b, LLVMValueRef i, int64_t by) {
    return LLVMBuildUDiv(b->e->b, i, emit_int(b->e, by), "");
}

static LLVMValueRef remainder_of(const Bundles *b, LLVMValueRef i, int64_t by) {
    return LLVMBuildURem(b->e->b, i, emit_int(b->e, by), "");
}

/* Row `row` of tile [first][second][tap], of `seconds`. */
static LLVMValueRef row_at(const Bundles *b, LLVMValueRef first, LLVMValueRef second, int64_t seconds, LLVMValueRef tap,
                           LLVMValueRef row) {
    Emitter *e = b->e;
    LLVMValueRef tile = emit_offset(e, emit_offset(e, first, seconds, second), b->taps, tap);
    return emit_mul_int(e, emit_offset(e, tile, e->V, row), e->V);
}

/* The groups of the output channels of block `to`, by lane. */
static LLVMValueRef groups_of_lanes(const Bundles *b, LLVMValueRef to) {
    Emitter *e = b->e;
    LLVMValueRef first = emit_index_splat(e, emit_mul_int(e, to, e->V));
    return LLVMBuildUDiv(e->b, LLVMBuildAdd(e->b, first, emit_lanes(e), ""), emit_int_vec(e, b->outputs), "");
}

/* v in the lanes that are of `group` (i64), in the others `otherwise`. */
static LLVMValueRef where_of(const Bundles *b, LLVMValueRef lanes, LLVMValueRef group, LLVMValueRef v, LLVMValueRef otherwise) {
    Emitter *e = b->e;
    LLVMValueRef same = LLVMBuildICmp(e->b, LLVMIntEQ, lanes, emit_index_splat(e, group), "");
    return LLVMBuildSelect(e->b, same, v, otherwise, "");
}

/* Input channel `in` of all, for the output channels of block `to`: a row of the diagonal form, made of the stored. */
static LLVMValueRef diagonal_row(const Bundles *b, LLVMValueRef stored, LLVMValueRef to, LLVMValueRef lanes, LLVMValueRef in,
                                 LLVMValueRef tap) {
    LLVMValueRef row = remainder_of(b, in, b->inputs), zero = emit_vec(b->e, 0);
    LLVMValueRef at = row_at(b, to, divide(b, row, b->e->V), b->group_blocks, tap, remainder_of(b, row, b->e->V));
    return where_of(b, lanes, divide(b, in, b->inputs), emit_load(b->e, stored, at), zero);
}

/* An output block: a piece. */
static void pack_diagonal(ConvKernel *k, const DirectPlan *p, Place place) {
    Emitter *e = k->e;
    bool transposed = p->frame.c.transposed;
    const Bundles b = bundles_of(e, &p->frame.s);
    Kernel *kernel;
    const char *key = bundles_key(k->l, transposed ? "pack-diagonal transposed" : "pack-diagonal", &b);
    if (kernel_begin(k->l, RT_KIND_FILTERS, "conv_pack_diagonal", key, 2, &kernel)) {
        LLVMValueRef to = e->piece, bundle = divide(&b, to, b.out_blocks), lanes = groups_of_lanes(&b, to), row[MAX_LANES];
        Loop in = loop_begin(e, emit_int(e, 0), emit_int(e, b.in_blocks), 1, 0, NULL);
        LLVMValueRef from = emit_offset(e, bundle, b.in_blocks, in.iv);
        Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, b.taps), 1, 0, NULL);
        for (int64_t i = 0; i < e->V; i++)
            row[i] = diagonal_row(&b, emit_buffer(e, 0), to, lanes, emit_offset(e, from, e->V, emit_int(e, i)), tap.iv);
        if (transposed) emit_transpose(e, row);
        LLVMValueRef zero = emit_int(e, 0);
        LLVMValueRef at = transposed ? row_at(&b, from, remainder_of(&b, to, b.out_blocks), b.out_blocks, tap.iv, zero)
                                     : row_at(&b, to, in.iv, b.in_blocks, tap.iv, zero);
        for (int64_t i = 0; i < e->V; i++) emit_store(e, row[i], emit_buffer(e, 1), emit_offset(e, emit_int(e, i), e->V, at));
        loop_end(e, &tap, NULL);
        loop_end(e, &in, NULL);
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[1], place};
    kernel_call(k->l, kernel, k->id, places, 2, p->frame.s.out_blocks, (KernelCost){0, 2.0 * (double)p->frame.packed_bytes});
}

bool direct_packs(const DirectPlan *p) { return p->frame.c.transposed || p->frame.pair == 2 || p->bundled; }

void direct_pack(ConvKernel *k, const DirectPlan *p) {
    Place to = k->places[k->filters_buffer];
    if (p->bundled)
        pack_diagonal(k, p, to);
    else
        lower_pack_tiles(k, &p->frame.c, p->frame.pair, 1, to);
}

/* Input channel `row` of each group, for the output channels of block `to`: a row of the stored form, made of the diagonal. */
static LLVMValueRef stored_row(const Bundles *b, LLVMValueRef diagonal, LLVMValueRef to, LLVMValueRef lanes, LLVMValueRef row,
                               LLVMValueRef tap) {
    Emitter *e = b->e;
    LLVMValueRef first_channel = emit_mul_int(e, to, e->V), v = emit_vec(e, 0);
    LLVMValueRef first = divide(b, first_channel, b->outputs);
    LLVMValueRef last = divide(b, emit_add_int(e, first_channel, emit_int(e, e->V - 1)), b->outputs);
    LLVMValueRef end = emit_add_int(e, emit_min_int(e, last, emit_int(e, b->groups - 1)), emit_int(e, 1));
    LLVMValueRef exists = LLVMBuildICmp(e->b, LLVMIntULT, row, emit_int(e, b->inputs), "");
    LLVMValueRef before = emit_mul_int(e, divide(b, to, b->out_blocks), b->in_blocks); /* blocks of the bundles before */
    Loop group = loop_begin(e, first, LLVMBuildSelect(e->b, exists, end, first, ""), 1, 1, &v);
    LLVMValueRef in = emit_offset(e, group.iv, b->inputs, row);
    LLVMValueRef from = LLVMBuildSub(e->b, divide(b, in, e->V), before, "");
    LLVMValueRef at = row_at(b, to, from, b->in_blocks, tap, remainder_of(b, in, e->V));
    v = where_of(b, lanes, group.iv, emit_load(e, diagonal, at), group.carry[0]);
    loop_end(e, &group, &v);
    return group.carry[0];
}

/* Of the sum of the partial gradients, which is the first of them by now, what the filters have. An output block: a piece. */
static void gather_stored(ConvKernel *k, const DirectWeights *p) {
    Emitter *e = k->e;
    const Bundles b = bundles_of(e, &p->s);
    Kernel *kernel;
    if (kernel_begin(k->l, RT_KIND_REDUCTION, "conv_gather_diagonal", bundles_key(k->l, "gather-diagonal", &b), 2, &kernel)) {
        LLVMValueRef to = e->piece, lanes = groups_of_lanes(&b, to);
        Loop in = loop_begin(e, emit_int(e, 0), emit_int(e, b.group_blocks), 1, 0, NULL);
        Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, b.taps), 1, 0, NULL);
        Loop r = loop_begin(e, emit_int(e, 0), emit_int(e, e->V), 1, 0, NULL);
        LLVMValueRef v = stored_row(&b, emit_buffer(e, 0), to, lanes, emit_offset(e, in.iv, e->V, r.iv), tap.iv);
        emit_store(e, v, emit_buffer(e, 1), row_at(&b, to, in.iv, b.group_blocks, tap.iv, r.iv));
        loop_end(e, &r, NULL);
        loop_end(e, &tap, NULL);
        loop_end(e, &in, NULL);
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[k->workspace_buffer], k->places[k->result_buffer[0]]};
    double stored = 4.0 * (double)(b.taps * p->s.O * b.inputs); /* read and written */
    kernel_call(k->l, kernel, k->id, places, 2, p->s.out_blocks, (KernelCost){0, 2 * stored});
}

void direct_sum_weights(ConvKernel *k, const DirectWeights *p) {
    if (!p->bundled) {
        lower_sum_partials(k, &p->w);
    } else if (k->result_buffer[0] != NO_BUFFER) {
        if (p->w.image_groups > 1) lower_sum_partials_to(k, &p->w, k->places[k->workspace_buffer]);
        gather_stored(k, p);
    }
}
