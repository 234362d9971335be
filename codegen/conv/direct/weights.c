/* Gradient of the filters: dW[o][i][ky][kx] = sum over images and pixels of x[i][s*y + d*ky - pad][…] * dy[o][y][…].
 *
 * A tile of input channels x filter rows x filter columns accumulators of V output channels each is swept over the pixels of a
 * slab of rows small enough for L1: one load of dy and an FMA with broadcast x per accumulator and pixel. 24 accumulators fill
 * the 32 registers of AVX-512; LLVM's scheduler would hoist broadcasts and spill them, so there the order is pinned by inline
 * assembly (176-193 -> 236-240 GFLOP/s on one Zen 5 core).
 *
 * A piece is a group of images (times a range of output blocks when images are few) and sums into its own partial gradient;
 * a second kernel adds the partials in a fixed tree. A slab's sum is made from zero and added to the partial once, which also
 * keeps the rounding error down. With bf16 the same loops take two images at a time: an element of the staged operands is then
 * the pair of the two images' values, and a multiply-add the dot product of two pairs. Lanes of padding: dy's are zero, rows of i
 * >= I are never touched after being cleared.
 */
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/shared/prefetch.h"
#include <string.h>

enum { SLAB_BYTES = 40 * 1024 };

DirectWeights direct_weights_plan(const ConvProblem *problem) {
    ConvProblem widened = bundle_widened(problem);
    DirectWeights p = {.s = problem->s, .bundled = bundle_groups(&problem->s) > 0};
    p.w = weights_plan(&widened, &(WeightsNeeds){.pair = direct_pair(problem), .stage_bytes = STAGE_BOTH_BYTES});
    const ConvShape *s = &p.w.s;
    p.blocks =
        s->kernel[0] * s->kernel[1] == 1 && p.w.pair == 1 && s->O / s->groups % (WEIGHTS_BLOCKS * s->V) == 0 ? WEIGHTS_BLOCKS : 1;
    int64_t slab_row = (s->stride[0] * weights_columns(s) + p.blocks * s->out[1]) * s->V * (int64_t)sizeof(float);
    int64_t slab = max_i64(1, min_i64(p.w.band_rows, SLAB_BYTES / slab_row));
    p.slab_rows = divide_up(p.w.band_rows, divide_up(p.w.band_rows, slab));
    return p;
}

/* The kernel while it is emitted. Axes of a tile: filter rows, filter columns, input channels. */
typedef struct Gradient {
    ConvKernel *k;
    const WeightsPlan *p;
    int64_t slab_rows, blocks;   /* blocks: of the output, in a tile */
    LLVMValueRef x, dy, partial; /* staged operands at (slab row 0, blocks 0); the piece's partial gradient */
    LLVMValueRef n, slab;        /* image; first row of the slab */
    LLVMValueRef rows, ob;       /* rows of the slab; first output block */
    LLVMValueRef group_ib, ib;   /* first input block of its group; input block in the group */
    int64_t total[3], chunk[3], size[3];
    LLVMValueRef at[3];
} Gradient;

/* acc + x[element] * dy, x broadcast. The assembly's displacement is a constant, so that all of a pixel's share one address
 * register: LLVM's strength reduction would give each a register of its own. The clobber says that it reads memory. */
static LLVMValueRef multiply_add(const Gradient *d, LLVMValueRef x, int64_t element, LLVMValueRef dy, LLVMValueRef acc) {
    Emitter *e = d->k->e;
    const VectorLevel *v = e->target->vectors;
    if (!v->pinned_fma) return emit_fma(e, emit_load_splat(e, x, emit_int(e, element)), dy, acc);
    LLVMTypeRef params[4] = {e->vec, e->ptr, e->vec, e->i64};
    LLVMTypeRef type = LLVMFunctionType(e->vec, params, 4, false);
    if (e->check_bounds) emit_load_scalar(e, x, emit_int(e, element)); /* what the assembly reads is seen by nobody */
    const char *text = d->p->pair == 2 ? v->pinned_dot : v->pinned_fma;
    LLVMValueRef code = LLVMGetInlineAsm(type, text, strlen(text), v->pinned_constraints, strlen(v->pinned_constraints), true,
                                         false, LLVMInlineAsmDialectATT, false);
    LLVMValueRef args[4] = {dy, x, acc, emit_int(e, element * (int64_t)sizeof(float))};
    return LLVMBuildCall2(e->b, type, code, args, 4, "");
}

/* One pixel of a 1x1 filter: a broadcast serves all of the tile's output blocks. */
static void tile_pixel_of_blocks(const Gradient *d, LLVMValueRef x, LLVMValueRef dy, int64_t pixel, LLVMValueRef *acc) {
    Emitter *e = d->k->e;
    const ConvShape *s = &d->p->s;
    LLVMValueRef y[WEIGHTS_BLOCKS];
    for (int64_t q = 0; q < d->blocks; q++) y[q] = emit_load(e, dy, emit_int(e, q * d->p->dy.block_stride + pixel * s->V));
    for (int64_t c = 0; c < d->size[2]; c++) {
        LLVMValueRef splat = emit_load_splat(e, x, emit_int(e, pixel * s->stride[1] * s->V + c));
        for (int64_t q = 0; q < d->blocks; q++, acc++) *acc = emit_fma(e, splat, y[q], *acc);
    }
}

/* One pixel: every accumulator of the tile. */
static void tile_pixel(const Gradient *d, LLVMValueRef x, LLVMValueRef dy, int64_t pixel, LLVMValueRef *acc) {
    Emitter *e = d->k->e;
    const ConvShape *s = &d->p->s;
    LLVMValueRef y = emit_load(e, dy, emit_int(e, pixel * s->V));
    for (int64_t c = 0; c < d->size[2]; c++)
        for (int64_t a = 0; a < d->size[0]; a++)
            for (int64_t b = 0; b < d->size[1]; b++) {
                LLVMValueRef *one = &acc[(a * d->size[1] + b) * d->size[2] + c];
                int64_t at = a * s->dilation[0] * d->p->x.row_stride + (b * s->dilation[1] + pixel * s->stride[1]) * s->V + c;
                *one = multiply_add(d, x, at, y, *one);
            }
}

/* Fetches the next image's share: of the tile, at its start, where tiles are many, else of each of its rows, or of each of a
 * row's turns. `row` is NULL at the start, `turn` (of `turns`) at the row's. */
static void fetch_ahead(Gradient *d, LLVMValueRef row, LLVMValueRef turn, int64_t turns) {
    Emitter *e = d->k->e;
    const WeightsPlan *p = d->p;
    const ConvShape *s = &p->s;
    if (p->bands > 1 || p->block_groups > 1) return;
    int64_t chunks[3], blocks = divide_up(s->I / s->groups, s->V), slabs = divide_up(s->out[0], d->slab_rows);
    int64_t out = s->out_blocks / d->blocks;
    for (int axis = 0; axis < 3; axis++) chunks[axis] = divide_up(d->total[axis], d->chunk[axis]);
    int64_t steps = slabs * out * blocks * chunks[0] * chunks[1] * chunks[2];
    bool by_row = prefetch_bursts(d->k, steps), by_turn = prefetch_bursts(d->k, steps * d->slab_rows);
    if (by_row != (row != NULL) || by_turn != (turn != NULL)) return;
    LLVMValueRef slab = LLVMBuildUDiv(e->b, d->slab, emit_int(e, d->slab_rows), "");
    LLVMValueRef ob = LLVMBuildUDiv(e->b, d->ob, emit_int(e, d->blocks), "");
    LLVMValueRef step = emit_offset(e, emit_offset(e, slab, out, ob), blocks, d->ib);
    for (int axis = 0; axis < 3; axis++)
        step = emit_offset(e, step, chunks[axis], LLVMBuildUDiv(e->b, d->at[axis], emit_int(e, d->chunk[axis]), ""));
    if (row) step = emit_offset(e, step, d->slab_rows, row), steps *= d->slab_rows;
    for (int64_t i = 0; i < p->pair; i++)
        prefetch_part(d->k, emit_add_int(e, d->n, emit_int(e, p->pair - 1 + i)), step, steps, turn ? turn : emit_int(e, 0),
                      turns);
}

static void emit_tile(Gradient *d) {
    Emitter *e = d->k->e;
    const ConvShape *s = &d->p->s;
    const WeightsPlan *p = d->p;
    int n = (int)(d->size[0] * d->size[1] * d->size[2] * d->blocks);
    int64_t unroll = s->out[1] % 2 == 0 && (n < 16 || d->blocks > 1) ? 2 : 1;
    LLVMValueRef x = emit_offset(e, emit_add_int(e, d->group_ib, d->ib), p->x.block_stride, d->at[2]);
    x = emit_offset(e, d->at[0], s->dilation[0] * p->x.row_stride, x);
    x = emit_address(e, d->x, emit_offset(e, d->at[1], s->dilation[1] * s->V, x));
    LLVMValueRef dy = emit_address(e, d->dy, emit_mul_int(e, d->ob, p->dy.block_stride));
    LLVMValueRef zero[LOOP_MAX_CARRY], next[LOOP_MAX_CARRY];
    for (int i = 0; i < n; i++) zero[i] = emit_vec(e, 0);
    fetch_ahead(d, NULL, NULL, 1);
    Loop row = loop_begin(e, emit_int(e, 0), d->rows, 1, n, zero);
    fetch_ahead(d, row.iv, NULL, 1);
    LLVMValueRef x_row = emit_address(e, x, emit_mul_int(e, row.iv, s->stride[0] * p->x.row_stride));
    LLVMValueRef dy_row = emit_address(e, dy, emit_mul_int(e, row.iv, p->dy.row_stride));
    Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, s->out[1]), unroll, n, row.carry);
    fetch_ahead(d, row.iv, LLVMBuildUDiv(e->b, column.iv, emit_int(e, unroll), ""), s->out[1] / unroll);
    LLVMValueRef x_pixel = emit_address(e, x_row, emit_mul_int(e, column.iv, s->stride[1] * s->V));
    LLVMValueRef dy_pixel = emit_address(e, dy_row, emit_mul_int(e, column.iv, s->V));
    for (int i = 0; i < n; i++) next[i] = column.carry[i];
    for (int64_t u = 0; u < unroll; u++) (d->blocks > 1 ? tile_pixel_of_blocks : tile_pixel)(d, x_pixel, dy_pixel, u, next);
    loop_end(e, &column, next);
    loop_end(e, &row, column.carry);
    int64_t in_blocks = divide_up(s->I / s->groups, s->V), tap = s->V * s->V;
    LLVMValueRef to = emit_offset(e, emit_offset(e, d->ob, in_blocks, d->ib), s->kernel[0], d->at[0]);
    to = emit_offset(e, d->at[2], s->V, emit_mul_int(e, emit_offset(e, to, s->kernel[1], d->at[1]), tap));
    LLVMValueRef dw = emit_address(e, d->partial, to);
    for (int i = 0; i < n; i++) {
        int64_t q = i % d->blocks, tap_channel = i / d->blocks, c = tap_channel % d->size[2];
        int64_t b = tap_channel / d->size[2] % d->size[1], a = tap_channel / d->size[2] / d->size[1];
        int64_t filter = q * in_blocks * s->kernel[0] * s->kernel[1] + a * s->kernel[1] + b;
        LLVMValueRef element = emit_int(e, filter * tap + c * s->V);
        emit_store(e, LLVMBuildFAdd(e->b, emit_load(e, dw, element), row.carry[i], ""), dw, element);
    }
}

/* Cuts one axis after the other into whole chunks and a rest. */
static void emit_axis(Gradient *d, int axis) {
    Emitter *e = d->k->e;
    if (axis == 3) {
        emit_tile(d);
        return;
    }
    int64_t whole = d->total[axis] / d->chunk[axis], rest = d->total[axis] % d->chunk[axis];
    if (whole) {
        Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, whole), 1, 0, NULL);
        d->at[axis] = emit_mul_int(e, loop.iv, d->chunk[axis]);
        d->size[axis] = d->chunk[axis];
        emit_axis(d, axis + 1);
        loop_end(e, &loop, NULL);
    }
    if (rest) {
        d->at[axis] = emit_int(e, whole * d->chunk[axis]);
        d->size[axis] = rest;
        emit_axis(d, axis + 1);
    }
}

/* One input block of `channels` channels: all filter columns in a tile, then as many channels as fit, then filter rows. */
static void emit_block(Gradient *d, int64_t channels) {
    const ConvShape *s = &d->p->s;
    int64_t limit = d->k->e->target->registers >= 32 ? 24 : 12;
    limit /= d->blocks;
    if (d->blocks == 1 && d->k->e->target->registers >= 32 && channels * s->kernel[0] * s->kernel[1] <= 27) limit = 27;
    d->total[0] = s->kernel[0];
    d->total[1] = s->kernel[1];
    d->total[2] = channels;
    d->chunk[1] = divide_up(s->kernel[1], divide_up(s->kernel[1], limit));
    int64_t fit = limit / d->chunk[1];
    if (channels > fit)
        for (d->chunk[2] = 1; d->chunk[2] * 2 <= fit; d->chunk[2] *= 2) {
        }
    else
        d->chunk[2] = channels;
    d->chunk[0] = min_i64(s->kernel[0], limit / (d->chunk[1] * d->chunk[2]));
    d->chunk[0] = divide_up(s->kernel[0], divide_up(s->kernel[0], d->chunk[0]));
    emit_axis(d, 0);
}

static void emit_slab(Gradient *d, LLVMValueRef first_ob, LLVMValueRef end_ob) {
    Emitter *e = d->k->e;
    const ConvShape *s = &d->p->s;
    int64_t channels = s->I / s->groups, whole = channels / s->V;
    Loop ob = loop_begin(e, first_ob, end_ob, d->blocks, 0, NULL);
    d->ob = ob.iv;
    d->group_ib = emit_int(e, 0);
    if (s->groups > 1) d->group_ib = emit_mul_int(e, LLVMBuildUDiv(e->b, ob.iv, emit_int(e, s->O / s->groups / s->V), ""), whole);
    if (whole) {
        Loop ib = loop_begin(e, emit_int(e, 0), emit_int(e, whole), 1, 0, NULL);
        d->ib = ib.iv;
        emit_block(d, s->V);
        loop_end(e, &ib, NULL);
    }
    d->ib = emit_int(e, whole);
    if (channels % s->V) emit_block(d, channels % s->V);
    loop_end(e, &ob, NULL);
}

/* A band of image d->n (and, in pairs, the next); dy: element 0 of its dY if that is staged, else NULL. */
static void emit_band(Gradient *d, LLVMValueRef band, LLVMValueRef dy, LLVMValueRef scratch, LLVMValueRef first_split,
                      LLVMValueRef first_ob, LLVMValueRef end_ob) {
    Emitter *e = d->k->e;
    const WeightsPlan *p = d->p;
    const ConvShape *s = &p->s;
    LLVMValueRef x = stage_emit(d->k, &(Staging){&p->x, 0, d->n, band, scratch}, first_split);
    LLVMValueRef dy_scratch = emit_address(e, scratch, emit_int(e, (int64_t)(p->x.bytes / sizeof(float))));
    if (!dy) dy = stage_emit(d->k, &(Staging){&p->dy, 1, d->n, band, dy_scratch}, first_split);
    LLVMValueRef rows = weights_rows(e, p, band);
    x = emit_address(e, x, emit_int(e, (-s->pad[0] - p->x.origin[0]) * p->x.row_stride + (-s->pad[1] - p->x.origin[1]) * s->V));
    Loop slab = loop_begin(e, emit_int(e, 0), rows, d->slab_rows, 0, NULL);
    d->slab = slab.iv;
    d->x = emit_address(e, x, emit_mul_int(e, slab.iv, s->stride[0] * p->x.row_stride));
    d->dy = emit_address(e, dy, emit_mul_int(e, slab.iv, p->dy.row_stride));
    d->rows = emit_int(e, d->slab_rows);
    if (s->out[0] % p->band_rows || p->band_rows % d->slab_rows)
        d->rows = emit_min_int(e, d->rows, LLVMBuildSub(e->b, rows, slab.iv, ""));
    emit_slab(d, first_ob, end_ob);
    loop_end(e, &slab, NULL);
}

void direct_weights_image(ConvKernel *k, const DirectWeights *p, LLVMValueRef n, LLVMValueRef dy, LLVMValueRef partial,
                          LLVMValueRef scratch) {
    Gradient d = {.k = k, .p = &p->w, .slab_rows = p->slab_rows, .blocks = p->blocks, .n = n, .partial = partial};
    LLVMValueRef zero = emit_int(k->e, 0);
    emit_band(&d, zero, dy, scratch, NULL, zero, emit_int(k->e, p->w.s.out_blocks));
}

static void emit_weights(ConvKernel *k, const DirectWeights *plan) {
    Emitter *e = k->e;
    const WeightsPlan *p = &plan->w;
    WeightsPiece piece = weights_piece(k, p, plan->blocks);
    Gradient d = {.k = k, .p = p, .slab_rows = plan->slab_rows, .blocks = plan->blocks, .partial = piece.partial};
    Loop image = loop_begin(e, piece.first, piece.end, 1, 0, NULL);
    d.n = emit_mul_int(e, image.iv, p->pair);
    Loop band = loop_begin(e, emit_int(e, 0), emit_int(e, p->bands), 1, 0, NULL);
    emit_band(&d, band.iv, NULL, e->scratch, piece.first_split, piece.first_block, piece.end_block);
    loop_end(e, &band, NULL);
    loop_end(e, &image, NULL);
}

void direct_lower_weights(Lowering *l, Val v, const void *plan) {
    ConvKernel kernel_of = conv_kernel(l, v, true), *k = &kernel_of;
    const DirectWeights *d = plan;
    const WeightsPlan *p = &d->w;
    Kernel *kernel;
    if (kernel_begin(k->l, RT_KIND_BACKWARD_WEIGHTS, conv_name(k, &d->s, ""), conv_key(k, "weights"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        emit_weights(k, d);
        kernel_end(k->l, p->x.bytes + p->dy.bytes);
    }
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, p->image_groups * p->block_groups,
                (KernelCost){conv_flops(&d->s), conv_bytes(k)});
    direct_sum_weights(k, d);
}
