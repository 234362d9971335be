/* Gradient of depthwise filters: dW[c][ky][kx] = sum over images and pixels of x[c][s*y + d*ky - pad][…] * dy[c][y][…].
 *
 * A tile of filter rows x columns accumulators, V channels each, is swept over the pixels of a slab of rows that fits L1, several
 * columns at a time, so that a column of x serves all the taps that meet it. A slab's sum is made from zero and added to the
 * partial gradient once, which keeps the rounding error down; the partial gradients of image groups are added up by a second
 * kernel.
 */
#include "codegen/conv/depthwise/depthwise.h"
#include "codegen/conv/shared/partials.h"
#include "codegen/emit/pieces.h"

enum { COLUMNS = 4 };

/* Where the kernel stands. */
typedef struct Gradient {
    ConvKernel *k;
    const DepthWeightsPlan *p;
    LLVMValueRef x, dy;    /* staged operands at the slab's first row */
    LLVMValueRef partial;  /* of this group and block */
    LLVMValueRef rows;     /* of the slab */
    LLVMValueRef at[2];    /* first tap of the tile */
    int64_t size[2], sets; /* taps of the tile; accumulators per tap */
} Gradient;

/* `count` pixels of a row from `x` and `dy` on: every accumulator of the tile. */
static void tile_pixels(const Gradient *d, LLVMValueRef x, LLVMValueRef dy, int64_t count, LLVMValueRef *acc) {
    Emitter *e = d->k->e;
    const ConvShape *s = &d->p->s;
    LLVMValueRef y[COLUMNS];
    for (int64_t u = 0; u < count; u++) y[u] = emit_load(e, dy, emit_int(e, u * s->V));
    for (int64_t a = 0; a < d->size[0]; a++)
        for (int64_t j = 0; j <= (d->size[1] - 1) * s->dilation[1] + (count - 1) * s->stride[1]; j++) {
            LLVMValueRef value = NULL;
            for (int64_t u = 0; u < count; u++) {
                int64_t distance = j - u * s->stride[1], b = distance / s->dilation[1];
                if (distance < 0 || distance % s->dilation[1] || b >= d->size[1]) continue;
                if (!value) value = emit_load(e, x, emit_int(e, a * s->dilation[0] * d->p->x.row_stride + j * s->V));
                LLVMValueRef *one = &acc[(a * d->size[1] + b) * d->sets + u % d->sets];
                *one = emit_fma(e, value, y[u], *one);
            }
        }
}

static void emit_tile(Gradient *d) {
    Emitter *e = d->k->e;
    const DepthWeightsPlan *p = d->p;
    const ConvShape *s = &p->s;
    int64_t taps = d->size[0] * d->size[1], whole = s->out[1] / COLUMNS * COLUMNS;
    d->sets = taps * 2 <= (e->target->registers >= 32 ? 24 : 10) && s->out[1] > 1 ? 2 : 1;
    int n = (int)(taps * d->sets);
    LLVMValueRef sum[LOOP_MAX_CARRY], next[LOOP_MAX_CARRY];
    for (int i = 0; i < n; i++) sum[i] = emit_vec(e, 0);
    LLVMValueRef corner =
        emit_offset(e, d->at[0], s->dilation[0] * p->x.row_stride, emit_mul_int(e, d->at[1], s->dilation[1] * s->V));
    LLVMValueRef x = emit_address(e, d->x, corner);
    Loop row = loop_begin(e, emit_int(e, 0), d->rows, 1, n, sum);
    LLVMValueRef x_row = emit_address(e, x, emit_mul_int(e, row.iv, s->stride[0] * p->x.row_stride));
    LLVMValueRef dy_row = emit_address(e, d->dy, emit_mul_int(e, row.iv, p->dy.row_stride));
    for (int i = 0; i < n; i++) next[i] = row.carry[i];
    if (whole) {
        Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, whole), COLUMNS, n, next);
        for (int i = 0; i < n; i++) next[i] = column.carry[i];
        tile_pixels(d, emit_address(e, x_row, emit_mul_int(e, column.iv, s->stride[1] * s->V)),
                    emit_address(e, dy_row, emit_mul_int(e, column.iv, s->V)), COLUMNS, next);
        loop_end(e, &column, next);
        for (int i = 0; i < n; i++) next[i] = column.carry[i];
    }
    if (s->out[1] > whole)
        tile_pixels(d, emit_address(e, x_row, emit_int(e, whole * s->stride[1] * s->V)),
                    emit_address(e, dy_row, emit_int(e, whole * s->V)), s->out[1] - whole, next);
    loop_end(e, &row, next);
    LLVMValueRef to = emit_address(e, d->partial, emit_mul_int(e, emit_offset(e, d->at[0], s->kernel[1], d->at[1]), s->V));
    for (int64_t i = 0; i < taps; i++) {
        LLVMValueRef element = emit_int(e, (i / d->size[1] * s->kernel[1] + i % d->size[1]) * s->V);
        LLVMValueRef one = row.carry[i * d->sets];
        if (d->sets == 2) one = emit_add(e, one, row.carry[i * d->sets + 1]);
        emit_store(e, emit_add(e, emit_load(e, to, element), one), to, element);
    }
}

/* Cuts one axis of the filters after the other into whole tiles and a rest. */
static void emit_axis(Gradient *d, int axis) {
    Emitter *e = d->k->e;
    if (axis == 2) {
        emit_tile(d);
        return;
    }
    int64_t chunk = axis == 0 ? d->p->tap_rows : d->p->tap_columns, total = d->p->s.kernel[axis], whole = total / chunk;
    Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, whole), 1, 0, NULL);
    d->at[axis] = emit_mul_int(e, loop.iv, chunk);
    d->size[axis] = chunk;
    emit_axis(d, axis + 1);
    loop_end(e, &loop, NULL);
    if (total % chunk == 0) return;
    d->at[axis] = emit_int(e, whole * chunk);
    d->size[axis] = total % chunk;
    emit_axis(d, axis + 1);
}

/* A slab of a band: its first row, the row behind its last. */
typedef struct Slab {
    LLVMValueRef row, end, is_last; /* of the band */
} Slab;

/* Lines of an operand that the slab is the first to read, `stride` of them for a row, which reaches up to line `reach`; the
 * band's last slab stages the rest. */
static void stage_slab(const Gradient *d, const Staging *s, LLVMValueRef cb, const Slab *slab, int64_t stride, int64_t reach) {
    Emitter *e = d->k->e;
    LLVMValueRef lines = emit_int(e, s->plan->lines[0]), is_first = LLVMBuildICmp(e->b, LLVMIntEQ, slab->row, emit_int(e, 0), "");
    LLVMValueRef before = emit_min_int(e, emit_offset(e, slab->row, stride, emit_int(e, reach - stride)), lines);
    LLVMValueRef next = emit_min_int(e, emit_offset(e, slab->end, stride, emit_int(e, reach - stride)), lines);
    LLVMValueRef from = LLVMBuildSelect(e->b, is_first, emit_int(e, 0), before, "");
    stage_block_lines(d->k, s, cb, from, LLVMBuildSelect(e->b, slab->is_last, lines, next, ""), NULL);
}

static void emit_band(Gradient *d, LLVMValueRef n, LLVMValueRef cb, LLVMValueRef band) {
    Emitter *e = d->k->e;
    const DepthWeightsPlan *p = d->p;
    const ConvShape *s = &p->s;
    Staging stage_x = {&p->x, 0, n, band, e->scratch}, stage_dy = {&p->dy, 1, n, band, NULL};
    stage_dy.scratch = emit_address(e, e->scratch, emit_int(e, (int64_t)(stage_block_bytes(&p->x) / sizeof(float))));
    LLVMValueRef x = stage_block(d->k, &stage_x, cb), dy = stage_block(d->k, &stage_dy, cb);
    int64_t origin = (-s->pad[0] - p->x.origin[0]) * p->x.row_stride + (-s->pad[1] - p->x.origin[1]) * s->V;
    int64_t reach = (s->kernel[0] - 1) * s->dilation[0] + 1 - s->pad[0] - p->x.origin[0];
    LLVMValueRef rows = depthwise_weights_rows(e, p, band);
    Loop loop = loop_begin(e, emit_int(e, 0), rows, p->slab_rows, 0, NULL);
    Slab slab = {.row = loop.iv, .end = emit_min_int(e, emit_add_int(e, loop.iv, emit_int(e, p->slab_rows)), rows)};
    slab.is_last = LLVMBuildICmp(e->b, LLVMIntEQ, slab.end, rows, "");
    stage_slab(d, &stage_x, cb, &slab, s->stride[0], reach);
    stage_slab(d, &stage_dy, cb, &slab, 1, 1);
    d->rows = LLVMBuildSub(e->b, slab.end, slab.row, "");
    d->x = emit_address(e, x, emit_offset(e, slab.row, s->stride[0] * p->x.row_stride, emit_int(e, origin)));
    d->dy = emit_address(e, dy, emit_mul_int(e, slab.row, p->dy.row_stride));
    emit_axis(d, 0);
    loop_end(e, &loop, NULL);
}

LLVMValueRef depthwise_weights_rows(Emitter *e, const DepthWeightsPlan *p, LLVMValueRef band) {
    LLVMValueRef rows = emit_int(e, p->band_rows);
    if (p->s.out[0] % p->band_rows == 0) return rows;
    return emit_min_int(e, rows, LLVMBuildSub(e->b, emit_int(e, p->s.out[0]), emit_mul_int(e, band, p->band_rows), ""));
}

DepthWeightsPiece depthwise_weights_piece(Emitter *e, const DepthWeightsPlan *p) {
    LLVMValueRef group = LLVMBuildUDiv(e->b, e->piece, emit_int(e, p->splits), ""), one = emit_int(e, 1);
    LLVMValueRef lo = emit_mul_int(e, LLVMBuildURem(e->b, e->piece, emit_int(e, p->splits), ""), p->blocks);
    return (DepthWeightsPiece){.group = group,
                               .first = emit_share(e, group, p->s.N, p->image_groups),
                               .end = emit_share(e, emit_add_int(e, group, one), p->s.N, p->image_groups),
                               .lo = lo,
                               .hi = emit_min_int(e, emit_add_int(e, lo, emit_int(e, p->blocks)), emit_int(e, p->s.in_blocks))};
}

static void emit_weights(ConvKernel *k, const DepthWeightsPlan *p) {
    Emitter *e = k->e;
    const ConvShape *s = &p->s;
    int64_t taps = s->kernel[0] * s->kernel[1];
    DepthWeightsPiece at = depthwise_weights_piece(e, p);
    Gradient d = {.k = k, .p = p};
    Loop block = loop_begin(e, at.lo, at.hi, 1, 0, NULL);
    LLVMValueRef first = emit_mul_int(e, emit_offset(e, at.group, s->in_blocks, block.iv), taps * s->V);
    d.partial = emit_address(e, emit_buffer(e, k->workspace_buffer), first);
    weights_clear(k, d.partial, emit_int(e, 0), emit_int(e, taps * s->V));
    Loop image = loop_begin(e, at.first, at.end, 1, 0, NULL);
    Loop band = loop_begin(e, emit_int(e, 0), emit_int(e, p->bands), 1, 0, NULL);
    emit_band(&d, image.iv, block.iv, band.iv);
    loop_end(e, &band, NULL);
    loop_end(e, &image, NULL);
    loop_end(e, &block, NULL);
}

/* The image groups' sums into filters as they are stored, [block][tap][V in][V out], of whose rows only the first is used. A
 * block a piece. */
static void lower_sums(ConvKernel *k, const DepthWeightsPlan *p) {
    Emitter *e = k->e;
    const ConvShape *s = &p->s;
    int64_t taps = s->kernel[0] * s->kernel[1];
    Kernel *kernel;
    char *key = arena_printf(lowering_arena(k->l), "sum-depthwise %lld of %lld blocks, %lld taps", (long long)p->image_groups,
                             (long long)s->in_blocks, (long long)taps);
    if (kernel_begin(k->l, RT_KIND_REDUCTION, "conv_sum_depthwise", key, 2, &kernel)) {
        LLVMValueRef zero = emit_vec(e, 0);
        Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, taps), 1, 0, NULL);
        LLVMValueRef at = emit_mul_int(e, emit_offset(e, e->piece, taps, tap.iv), s->V);
        Loop group = loop_begin(e, emit_int(e, 0), emit_int(e, p->image_groups), 1, 1, &zero);
        LLVMValueRef part = emit_load(e, emit_buffer(e, 0), emit_offset(e, group.iv, s->in_blocks * taps * s->V, at));
        LLVMValueRef next = emit_add(e, group.carry[0], part);
        loop_end(e, &group, &next);
        LLVMValueRef to = emit_address(e, emit_buffer(e, 1), emit_mul_int(e, at, s->V));
        emit_store(e, group.carry[0], to, emit_int(e, 0));
        for (int64_t row = 1; row < s->V; row++) emit_store(e, zero, to, emit_int(e, row * s->V));
        loop_end(e, &tap, NULL);
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[k->workspace_buffer], k->places[k->result_buffer[0]]};
    kernel_call(k->l, kernel, k->id, places, 2, s->in_blocks, (KernelCost){0, (double)p->partial_bytes});
}

void depthwise_lower_weights(Lowering *l, Val v, const void *plan) {
    const DepthWeightsPlan *p = plan;
    ConvKernel k = conv_kernel(l, v, true);
    Kernel *kernel;
    if (kernel_begin(l, conv_kind(&k), conv_name(&k, &p->s, "_depthwise"), conv_key(&k, "depthwise weights"), k.nplaces,
                     &kernel)) {
        conv_kernel_bind(&k);
        emit_weights(&k, p);
        kernel_end(l, stage_block_bytes(&p->x) + stage_block_bytes(&p->dy));
    }
    kernel_call(l, kernel, v, k.places, k.nplaces, p->image_groups * p->splits, (KernelCost){conv_flops(&p->s), conv_bytes(&k)});
    if (k.result_buffer[0] != NO_BUFFER) lower_sums(&k, p);
}
