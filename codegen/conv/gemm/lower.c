/* Convolution as matrix products (im2col), by gemm.h: the baseline, and the fallback for groups that neither fill channel
 * blocks nor share a few. It serves every shape; depthwise filters slowly (one product of one column per channel).
 *
 *     forward, data   out[pixel][cout] = columns[pixel][tap, cin] * packed[tap, cin][cout]      per band of rows, phase and group
 *     weights         dW[tap, cin][cout] += columns[pixel][tap, cin]' * dy[pixel][cout]
 *
 * The operand is staged first, as for the direct kernels, so that prologues and padding are dealt with and the gather needs no
 * bounds checks. Scratch: staged operands, columns, matrix of outputs or of dy.
 */
#include "codegen/conv/gemm/gemm.h"
#include "codegen/emit/pieces.h"
#include "codegen/emit/product.h"

enum { MAX_PIXEL_UNIT = 8 };

/* The gather of one group's columns: pixels of `rows` x width, taps as given, out of a staged operand. */
typedef struct Gather {
    const StagePlan *stage;
    LLVMValueRef staged, columns; /* source and destination */
    LLVMValueRef rows, group;
    Taps taps[2];
    int64_t width, stride[2], group_channels, groups, V;
} Gather;

static int64_t gather_depth(const Gather *g) { return g->taps[0].count * g->taps[1].count * g->group_channels; }

static void store_unaligned(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    LLVMSetAlignment(LLVMBuildStore(e->b, value, emit_address(e, base, element)), sizeof(float));
}

/* All channels of one tap at one pixel. Whole blocks may write past the end: what follows is written later, or is slack. */
static void gather_channels(Emitter *e, const Gather *g, LLVMValueRef from, LLVMValueRef to) {
    bool blocks = g->groups == 1 || g->group_channels % g->V == 0;
    int64_t count = blocks ? divide_up(g->group_channels, g->V) : g->group_channels;
    Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, count), 1, 0, NULL);
    if (blocks) {
        LLVMValueRef block = emit_offset(e, g->group, g->group_channels / g->V, loop.iv);
        LLVMValueRef value = emit_load(e, g->staged, emit_offset(e, block, g->stage->block_stride, from));
        store_unaligned(e, value, g->columns, emit_offset(e, loop.iv, g->V, to));
    } else {
        LLVMValueRef channel = emit_offset(e, g->group, g->group_channels, loop.iv), lanes = emit_int(e, g->V);
        LLVMValueRef lane = LLVMBuildURem(e->b, channel, lanes, ""), block = LLVMBuildUDiv(e->b, channel, lanes, "");
        LLVMValueRef at = emit_add_int(e, emit_offset(e, block, g->stage->block_stride, from), lane);
        emit_store_scalar(e, emit_load_scalar(e, g->staged, at), g->columns, emit_add_int(e, to, loop.iv));
    }
    loop_end(e, &loop, NULL);
}

static void emit_gather(Emitter *e, const Gather *g) {
    LLVMValueRef zero = emit_int(e, 0);
    Loop row = loop_begin(e, zero, g->rows, 1, 0, NULL);
    Loop column = loop_begin(e, zero, emit_int(e, g->width), 1, 0, NULL);
    Loop ky = loop_begin(e, zero, emit_int(e, g->taps[0].count), 1, 0, NULL);
    Loop kx = loop_begin(e, zero, emit_int(e, g->taps[1].count), 1, 0, NULL);
    LLVMValueRef line = emit_offset(e, row.iv, g->stride[0], emit_int(e, g->taps[0].offset - g->stage->origin[0]));
    line = emit_offset(e, ky.iv, g->taps[0].offset_step, line);
    LLVMValueRef x = emit_offset(e, column.iv, g->stride[1], emit_int(e, g->taps[1].offset - g->stage->origin[1]));
    x = emit_offset(e, kx.iv, g->taps[1].offset_step, x);
    LLVMValueRef from = emit_offset(e, line, g->stage->row_stride, emit_mul_int(e, x, g->V));
    LLVMValueRef to = emit_offset(e, emit_offset(e, row.iv, g->width, column.iv), gather_depth(g),
                                  emit_mul_int(e, emit_offset(e, ky.iv, g->taps[1].count, kx.iv), g->group_channels));
    gather_channels(e, g, from, to);
    loop_end(e, &kx, NULL);
    loop_end(e, &ky, NULL);
    loop_end(e, &column, NULL);
    loop_end(e, &row, NULL);
}

static int64_t align_floats(int64_t n) { return divide_up(n, 16) * 16; }

/* ---- forward and data ---- */

/* Floats of scratch behind the staged operand: columns, then the matrix of outputs. */
static void correlation_scratch(const CorrelationPlan *p, int64_t *columns, int64_t *matrix) {
    const Correlation *c = &p->c;
    int64_t pixels = p->band_rows * correlation_lines(c, 1, 0);
    *columns = align_floats(pixels * c->kernel[0] * c->kernel[1] * (c->channels_in / c->groups) + c->V);
    *matrix = align_floats(pixels * c->out_blocks * c->V);
}

/* Pixels of the output matrix through the epilogue, a few at a time. */
static void finish_matrix(ConvKernel *k, const CorrelationPlan *p, const CorrelationPiece *site, const int64_t phase[2],
                          LLVMValueRef matrix, LLVMValueRef rows, int64_t width) {
    Emitter *e = k->e;
    const Correlation *c = &p->c;
    int64_t unit = MAX_PIXEL_UNIT;
    while (width % unit) unit--;
    Loop cb = loop_begin(e, emit_int(e, 0), emit_int(e, c->out_blocks), 1, 0, NULL);
    Finish f = correlation_finish(p, site, cb.iv);
    Loop row = loop_begin(e, emit_int(e, 0), rows, 1, 0, NULL);
    Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, width), unit, 0, NULL);
    LLVMValueRef acc[MAX_PIXEL_UNIT], pixel[MAX_PIXEL_UNIT];
    for (int64_t i = 0; i < unit; i++) {
        LLVMValueRef x = emit_add_int(e, column.iv, emit_int(e, i)), at = emit_offset(e, row.iv, width, x);
        acc[i] = emit_load(e, matrix, emit_mul_int(e, emit_offset(e, at, c->out_blocks, cb.iv), c->V));
        pixel[i] = correlation_pixel(e, p, site, phase, row.iv, x);
    }
    finish_emit(k, &f, (int)unit, acc, pixel);
    loop_end(e, &column, NULL);
    loop_end(e, &row, NULL);
    loop_end(e, &cb, NULL);
}

static void clear_matrix(Emitter *e, LLVMValueRef matrix, int64_t count) {
    Loop clear = loop_begin(e, emit_int(e, 0), emit_int(e, count), e->V, 0, NULL);
    emit_store(e, emit_vec(e, 0), matrix, clear.iv);
    loop_end(e, &clear, NULL);
}

static void emit_phase(ConvKernel *k, const CorrelationPlan *p, const CorrelationPiece *site, LLVMValueRef staged,
                       const int64_t phase[2], int64_t packed_base) {
    Emitter *e = k->e;
    const Correlation *c = &p->c;
    int64_t column_floats, matrix_floats, width = correlation_lines(c, 1, phase[1]), outs = c->channels_out / c->groups;
    if (width == 0) return;
    correlation_scratch(p, &column_floats, &matrix_floats);
    LLVMValueRef columns = emit_address(e, e->scratch, emit_int(e, (int64_t)(p->stage.bytes / sizeof(float))));
    LLVMValueRef matrix = emit_address(e, columns, emit_int(e, column_floats)), rows = correlation_rows(e, p, site, phase[0]);
    LLVMValueRef zero = emit_int(e, 0);
    Gather g = {.stage = &p->stage,
                .staged = staged,
                .columns = columns,
                .rows = rows,
                .width = width,
                .V = c->V,
                .groups = c->groups,
                .group_channels = c->channels_in / c->groups};
    for (int axis = 0; axis < 2; axis++) {
        g.taps[axis] = correlation_taps(c, axis, phase[axis]);
        g.stride[axis] = c->in_stride[axis];
    }
    int64_t depth = gather_depth(&g);
    /* a band beyond the phase's last row has none */
    Guard some = guard_begin(e, LLVMBuildICmp(e->b, LLVMIntSGT, rows, zero, ""));
    if (depth == 0) clear_matrix(e, matrix, matrix_floats);
    Loop group = loop_begin(e, zero, emit_int(e, depth ? c->groups : 0), 1, 0, NULL);
    g.group = group.iv;
    emit_gather(e, &g);
    LLVMValueRef filters = emit_offset(e, group.iv, depth * outs, emit_int(e, packed_base));
    Product product = {.m = emit_mul_int(e, rows, width),
                       .n = emit_int(e, outs),
                       .k = emit_int(e, depth),
                       .a = columns,
                       .b = emit_address(e, emit_buffer(e, k->filters_buffer), filters),
                       .c = emit_address(e, matrix, emit_mul_int(e, group.iv, outs)),
                       .lda = max_i64(1, depth),
                       .ldb = outs,
                       .ldc = c->out_blocks * c->V};
    emit_product(e, &product);
    loop_end(e, &group, NULL);
    finish_matrix(k, p, site, phase, matrix, rows, width);
    guard_end(e, &some);
}

void gemm_lower(Lowering *l, Val v, const void *plan) {
    const CorrelationPlan *p = plan;
    ConvKernel kernel_of = conv_kernel(l, v, p->sums_bytes > 0), *k = &kernel_of;
    Emitter *e = k->e;
    const Correlation *c = &p->c;
    Kernel *kernel;
    conv_kernel_filters(k, p->sums_bytes, p->packed_bytes);
    gemm_pack(k, p);
    lowering_resume(k->l);
    if (kernel_begin(k->l, conv_kind(k), conv_name(k, &p->s, "_gemm"), conv_key(k, "gemm"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        CorrelationPiece site = correlation_piece(e, p, emit_int(e, 0));
        LLVMValueRef staged = stage_emit(k, &(Staging){&p->stage, 0, site.n, site.band, e->scratch}, NULL);
        Loop cb = loop_begin(e, emit_int(e, 0), emit_int(e, c->out_blocks), 1, 0, NULL);
        Finish f = correlation_finish(p, &site, cb.iv);
        finish_clear_sums(k, &f);
        loop_end(e, &cb, NULL);
        int64_t phase[2], packed_base = 0, columns, matrix;
        for (phase[0] = 0; phase[0] < c->phases[0]; phase[0]++)
            for (phase[1] = 0; phase[1] < c->phases[1]; phase[1]++) {
                emit_phase(k, p, &site, staged, phase, packed_base);
                packed_base += gemm_phase_floats(c, phase);
            }
        correlation_scratch(p, &columns, &matrix);
        kernel_end(k->l, p->stage.bytes + (uint64_t)(columns + matrix) * sizeof(float));
    }
    correlation_call(k, kernel, p);
}

/* ---- weights ---- */

/* dy's blocks side by side: matrix[pixel][all output channels, padded]. */
static void gather_dy(Emitter *e, const WeightsPlan *p, LLVMValueRef dy, LLVMValueRef matrix, LLVMValueRef rows) {
    const ConvShape *s = &p->s;
    LLVMValueRef zero = emit_int(e, 0);
    Loop block = loop_begin(e, zero, emit_int(e, s->out_blocks), 1, 0, NULL);
    Loop row = loop_begin(e, zero, rows, 1, 0, NULL);
    Loop column = loop_begin(e, zero, emit_int(e, s->out[1]), 1, 0, NULL);
    LLVMValueRef from = emit_offset(e, block.iv, p->dy.block_stride, emit_mul_int(e, row.iv, p->dy.row_stride));
    LLVMValueRef to = emit_offset(e, emit_offset(e, row.iv, s->out[1], column.iv), s->out_blocks, block.iv);
    emit_store(e, emit_load(e, dy, emit_offset(e, column.iv, s->V, from)), matrix, emit_mul_int(e, to, s->V));
    loop_end(e, &column, NULL);
    loop_end(e, &row, NULL);
    loop_end(e, &block, NULL);
}

static void weights_scratch(const WeightsPlan *p, int64_t *columns, int64_t *matrix) {
    const ConvShape *s = &p->s;
    int64_t pixels = p->band_rows * s->out[1];
    *columns = align_floats(pixels * s->kernel[0] * s->kernel[1] * (s->I / s->groups) + s->V);
    *matrix = align_floats(pixels * s->out_blocks * s->V);
}

static void emit_weights_band(ConvKernel *k, const WeightsPlan *p, LLVMValueRef n, LLVMValueRef band, LLVMValueRef partial) {
    Emitter *e = k->e;
    const ConvShape *s = &p->s;
    int64_t column_floats, matrix_floats;
    weights_scratch(p, &column_floats, &matrix_floats);
    LLVMValueRef dy_scratch = emit_address(e, e->scratch, emit_int(e, (int64_t)(p->x.bytes / sizeof(float))));
    LLVMValueRef columns = emit_address(e, dy_scratch, emit_int(e, (int64_t)(p->dy.bytes / sizeof(float))));
    LLVMValueRef matrix = emit_address(e, columns, emit_int(e, column_floats)), rows = weights_rows(e, p, band);
    LLVMValueRef x = stage_emit(k, &(Staging){&p->x, 0, n, band, e->scratch}, NULL);
    LLVMValueRef dy = stage_emit(k, &(Staging){&p->dy, 1, n, band, dy_scratch}, NULL);
    Correlation c = correlation_forward(s);
    Gather g = {.stage = &p->x,
                .staged = x,
                .columns = columns,
                .rows = rows,
                .width = s->out[1],
                .V = s->V,
                .groups = s->groups,
                .group_channels = s->I / s->groups};
    for (int axis = 0; axis < 2; axis++) {
        g.taps[axis] = correlation_taps(&c, axis, 0);
        g.stride[axis] = s->stride[axis];
    }
    gather_dy(e, p, dy, matrix, rows);
    int64_t depth = gather_depth(&g), outs = s->O / s->groups;
    Loop group = loop_begin(e, emit_int(e, 0), emit_int(e, s->groups), 1, 0, NULL);
    g.group = group.iv;
    emit_gather(e, &g);
    Product product = {.transpose_a = true,
                       .m = emit_int(e, depth),
                       .n = emit_int(e, outs),
                       .k = emit_mul_int(e, rows, s->out[1]),
                       .a = columns,
                       .b = emit_address(e, matrix, emit_mul_int(e, group.iv, outs)),
                       .c = emit_address(e, partial, emit_mul_int(e, group.iv, depth * outs)),
                       .lda = depth,
                       .ldb = s->out_blocks * s->V,
                       .ldc = outs,
                       .beta = 1};
    emit_product(e, &product);
    loop_end(e, &group, NULL);
}

void gemm_lower_weights(Lowering *l, Val v, const void *plan) {
    const WeightsPlan *p = plan;
    ConvKernel kernel_of = conv_kernel(l, v, true), *k = &kernel_of;
    Emitter *e = k->e;
    const ConvShape *s = &p->s;
    Kernel *kernel;
    if (kernel_begin(k->l, conv_kind(k), conv_name(k, s, "_gemm"), conv_key(k, "weights-gemm"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        LLVMValueRef partial = emit_address(e, emit_buffer(e, k->workspace_buffer), emit_mul_int(e, e->piece, p->dw_floats));
        weights_clear(k, partial, emit_int(e, 0), emit_int(e, p->dw_floats));
        LLVMValueRef hi = emit_share(e, emit_add_int(e, e->piece, emit_int(e, 1)), s->N, p->image_groups);
        Loop image = loop_begin(e, emit_share(e, e->piece, s->N, p->image_groups), hi, 1, 0, NULL);
        Loop band = loop_begin(e, emit_int(e, 0), emit_int(e, p->bands), 1, 0, NULL);
        emit_weights_band(k, p, image.iv, band.iv, partial);
        loop_end(e, &band, NULL);
        loop_end(e, &image, NULL);
        int64_t columns, matrix;
        weights_scratch(p, &columns, &matrix);
        kernel_end(k->l, p->x.bytes + p->dy.bytes + (uint64_t)(columns + matrix) * sizeof(float));
    }
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, p->image_groups, (KernelCost){conv_flops(s), conv_bytes(k)});
    if (k->result_buffer[0] != NO_BUFFER) gemm_scatter(k, p);
}
