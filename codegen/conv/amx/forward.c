/* Forward and backward data by tiles of AMX.
 *
 *     for each group of C's (pixels' tiles by output blocks):
 *         C = 0
 *         for each input block (or two of them), tap row, tap column:
 *             load B: the tap's filters, of each output block
 *             for each of the pixels' tiles: load A: its input at the tap; C += A . B for each output block
 *         store the C's
 *     finish their vectors as the direct kernel does its registers
 *
 * Where rows are short and follow each other in the staged operand, a tile takes pixels of several: what lies between the rows
 * is computed too, and not finished (AmxPlan.flat_pixels). */
#include "codegen/conv/amx/amx.h"
#include "codegen/conv/shared/pack.h"
#include "codegen/emit/amx.h"
#include "codegen/emit/pieces.h"

/* Where the kernel stands. */
typedef struct Amx {
    ConvKernel *k;
    const AmxPlan *a;
    const CorrelationPlan *p;
    LLVMValueRef staged, filters, sums; /* words; words; f32 of the C's */
    LLVMValueRef group;                 /* first output block / tile.blocks */
    CorrelationPiece site;
    int64_t phase[2];
} Amx;

/* C's of one row of pixels, or of a.tile.rows of them: `columns` tiles from pixel `first` on, the last of `last` pixels. */
typedef struct Group {
    LLVMValueRef row, first;
    int64_t columns, last;
} Group;

static int64_t pixel_words(const CorrelationPlan *p) { return p->together * p->c.V / 2; }
static int64_t row_words(const CorrelationPlan *p) { return p->stage.row_stride / 2; }
static int64_t block_words(const CorrelationPlan *p) { return p->stage.block_stride / 2; } /* of blocks together */
static int64_t tap_words(const CorrelationPlan *p) { return pixel_words(p) * p->c.V; }
static int64_t block_filter_words(const CorrelationPlan *p) { return p->c.kernel[0] * p->c.kernel[1] * tap_words(p); }
static int64_t steps(const CorrelationPlan *p) { return p->c.group_in_blocks / p->together; } /* of a group's input blocks */

/* One tap: x and w point at it. */
static void multiply_tap(const Amx *s, const Group *g, LLVMValueRef x, LLVMValueRef w) {
    Emitter *e = s->k->e;
    const CorrelationPlan *p = s->p;
    const AmxTile *t = &s->a->tile;
    int64_t pixels = t->rows * g->columns;
    for (int64_t q0 = 0; q0 < t->blocks; q0 += AMX_NB) { /* so many stay while A's go by */
        int64_t q1 = min_i64(q0 + AMX_NB, t->blocks);
        for (int64_t q = q0; q < q1; q++)
            amx_load(e, AMX_B + (int)(q - q0), emit_address(e, w, emit_int(e, q * steps(p) * block_filter_words(p))), p->c.V);
        for (int64_t i = 0; i < pixels; i++) {
            int64_t r = i / g->columns, j = i % g->columns;
            int64_t at = r * p->c.in_stride[0] * row_words(p) + j * s->a->width * p->c.in_stride[1] * pixel_words(p);
            int tile = AMX_A + (int)(i % AMX_NA);
            amx_load(e, tile, emit_address(e, x, emit_int(e, at)), p->c.in_stride[1] * pixel_words(p));
            for (int64_t q = q0; q < q1; q++) amx_dot(e, AMX_C + (int)(i * t->blocks + q), tile, AMX_B + (int)(q - q0));
        }
    }
}

static void multiply(const Amx *s, const Group *g) {
    Emitter *e = s->k->e;
    const CorrelationPlan *p = s->p;
    const Correlation *c = &p->c;
    Taps rows = correlation_taps(c, 0, s->phase[0]), columns = correlation_taps(c, 1, s->phase[1]);
    for (int64_t i = 0; i < s->a->tile.rows * g->columns * s->a->tile.blocks; i++) amx_zero(e, AMX_C + (int)i);
    if (rows.count == 0 || columns.count == 0) return;
    LLVMValueRef first_block = emit_mul_int(e, s->group, s->a->tile.blocks), block = emit_int(e, 0);
    if (c->groups > 1) block = emit_mul_int(e, LLVMBuildUDiv(e->b, first_block, emit_int(e, c->group_out_blocks), ""), steps(p));
    LLVMValueRef line = emit_offset(e, g->row, c->in_stride[0], emit_int(e, -p->stage.origin[0]));
    LLVMValueRef left = emit_int(e, -p->stage.origin[1] * pixel_words(p));
    LLVMValueRef start = emit_offset(e, g->first, c->in_stride[1] * pixel_words(p), left);
    LLVMValueRef x = emit_address(e, s->staged, emit_offset(e, line, row_words(p), emit_offset(e, block, block_words(p), start)));
    LLVMValueRef w = emit_address(e, s->filters, emit_mul_int(e, first_block, steps(p) * block_filter_words(p)));
    Loop in = loop_begin(e, emit_int(e, 0), emit_int(e, steps(p)), 1, 0, NULL);
    LLVMValueRef x_block = emit_address(e, x, emit_mul_int(e, in.iv, block_words(p)));
    LLVMValueRef w_block = emit_address(e, w, emit_mul_int(e, in.iv, block_filter_words(p)));
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, rows.count), 1, 0, NULL);
    LLVMValueRef input = emit_offset(e, row.iv, rows.offset_step, emit_int(e, rows.offset));
    LLVMValueRef filter = emit_offset(e, row.iv, rows.index_step, emit_int(e, rows.index));
    LLVMValueRef x_row = emit_address(e, x_block, emit_mul_int(e, input, row_words(p)));
    LLVMValueRef w_row = emit_address(e, w_block, emit_mul_int(e, filter, c->kernel[1] * tap_words(p)));
    for (int64_t m = 0; m < columns.count; m++)
        multiply_tap(s, g, emit_address(e, x_row, emit_int(e, (columns.offset + m * columns.offset_step) * pixel_words(p))),
                     emit_address(e, w_row, emit_int(e, (columns.index + m * columns.index_step) * tap_words(p))));
    loop_end(e, &row, NULL);
    loop_end(e, &in, NULL);
}

/* Finishes `count` pixels from (row, first) on, of output block `block` of the group, whose sums begin at `from`. */
static void finish_run(const Amx *s, LLVMValueRef from, LLVMValueRef row, LLVMValueRef first, LLVMValueRef block, int64_t count) {
    Emitter *e = s->k->e;
    LLVMValueRef acc[AMX_ROWS], pixel[AMX_ROWS];
    Finish f = correlation_finish(s->p, &s->site, emit_offset(e, s->group, s->a->tile.blocks, block));
    for (int64_t i = 0; i < count; i++) {
        acc[i] = emit_load(e, from, emit_int(e, i * e->V));
        pixel[i] = correlation_pixel(e, s->p, &s->site, s->phase, row, emit_add_int(e, first, emit_int(e, i)));
    }
    finish_emit(s->k, &f, (int)count, acc, pixel);
}

static void emit_group(const Amx *s, const Group *g) {
    Emitter *e = s->k->e;
    const AmxTile *t = &s->a->tile;
    multiply(s, g);
    for (int64_t i = 0; i < t->rows * g->columns * t->blocks; i++)
        amx_store(e, AMX_C + (int)i, emit_address(e, s->sums, emit_int(e, i * AMX_TILE_FLOATS)), e->V);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, t->rows), 1, 0, NULL);
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, t->blocks), 1, 0, NULL);
    LLVMValueRef from = emit_offset(e, row.iv, g->columns * t->blocks, block.iv);
    from = emit_address(e, s->sums, emit_mul_int(e, from, AMX_TILE_FLOATS));
    for (int64_t j = 0; j < g->columns; j++)
        finish_run(s, emit_address(e, from, emit_int(e, j * t->blocks * AMX_TILE_FLOATS)), emit_add_int(e, g->row, row.iv),
                   emit_add_int(e, g->first, emit_int(e, j * s->a->width)), block.iv,
                   j == g->columns - 1 ? g->last : s->a->width);
    loop_end(e, &block, NULL);
    loop_end(e, &row, NULL);
}

/* The C's of phase s->phase from `row` on: as many whole groups as there are, then what is left of the row. */
static void emit_row(const Amx *s, LLVMValueRef row) {
    Emitter *e = s->k->e;
    int64_t lines = correlation_lines(&s->p->c, 1, s->phase[1]), width = s->a->width, columns = s->a->tile.columns;
    int64_t groups = lines / (width * columns), left = lines - groups * width * columns;
    if (groups) {
        Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, groups), 1, 0, NULL);
        emit_group(s, &(Group){row, emit_mul_int(e, loop.iv, width * columns), columns, width});
        loop_end(e, &loop, NULL);
    }
    if (!left) return;
    int64_t tiles = divide_up(left, width);
    emit_group(s, &(Group){row, emit_int(e, groups * width * columns), tiles, left - (tiles - 1) * width});
}

/* C's of `columns` tiles from staged pixel `first` on, to where they are finished from: [block][staged pixel][V]. */
static void emit_flat_group(const Amx *s, LLVMValueRef first, int64_t columns) {
    Emitter *e = s->k->e;
    int64_t blocks = s->a->tile.blocks;
    multiply(s, &(Group){emit_int(e, 0), first, columns, s->a->width});
    LLVMValueRef to = emit_address(e, s->sums, emit_mul_int(e, first, e->V));
    for (int64_t j = 0; j < columns; j++)
        for (int64_t q = 0; q < blocks; q++)
            amx_store(e, AMX_C + (int)(j * blocks + q),
                      emit_address(e, to, emit_int(e, (q * s->a->flat_pixels + j * s->a->width) * e->V)), e->V);
}

/* The whole band at once: its rows are one. */
static void emit_flat(const Amx *s) {
    Emitter *e = s->k->e;
    int64_t columns = s->a->tile.columns, tiles = s->a->flat_pixels / s->a->width, whole = tiles / columns;
    if (whole) {
        Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, whole), 1, 0, NULL);
        emit_flat_group(s, emit_mul_int(e, loop.iv, s->a->width * columns), columns);
        loop_end(e, &loop, NULL);
    }
    if (tiles % columns) emit_flat_group(s, emit_int(e, whole * columns * s->a->width), tiles % columns);
    Loop row = loop_begin(e, emit_int(e, 0), correlation_rows(e, s->p, &s->site, 0), 1, 0, NULL);
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, s->a->tile.blocks), 1, 0, NULL);
    LLVMValueRef at = emit_offset(e, block.iv, s->a->flat_pixels, emit_mul_int(e, row.iv, row_words(s->p) / pixel_words(s->p)));
    finish_run(s, emit_address(e, s->sums, emit_mul_int(e, at, e->V)), row.iv, emit_int(e, 0), block.iv, s->p->c.out[1]);
    loop_end(e, &block, NULL);
    loop_end(e, &row, NULL);
}

/* Output blocks from s->group on, of the image that s->site says. */
static void emit_blocks(Amx *s) {
    Emitter *e = s->k->e;
    const Correlation *c = &s->p->c;
    for (int64_t q = 0; q < s->a->tile.blocks; q++) {
        Finish f = correlation_finish(s->p, &s->site, emit_offset(e, s->group, s->a->tile.blocks, emit_int(e, q)));
        finish_clear_sums(s->k, &f);
    }
    s->phase[0] = s->phase[1] = 0;
    if (s->a->flat_pixels) {
        emit_flat(s);
        return;
    }
    for (s->phase[0] = 0; s->phase[0] < c->phases[0]; s->phase[0]++) {
        Loop row = loop_begin(e, emit_int(e, 0), correlation_rows(e, s->p, &s->site, s->phase[0]), s->a->tile.rows, 0, NULL);
        for (s->phase[1] = 0; s->phase[1] < c->phases[1]; s->phase[1]++) emit_row(s, row.iv);
        loop_end(e, &row, NULL);
    }
}

/* Of the piece's split. */
static Loop groups_begin(const Amx *s, LLVMValueRef split) {
    Emitter *e = s->k->e;
    int64_t groups = s->p->c.out_blocks / s->a->tile.blocks;
    LLVMValueRef next = emit_add_int(e, split, emit_int(e, 1));
    return loop_begin(e, emit_share(e, split, groups, s->p->splits), emit_share(e, next, groups, s->p->splits), 1, 0, NULL);
}

static LLVMValueRef stage_image(const Amx *s, LLVMValueRef scratch) {
    Emitter *e = s->k->e;
    LLVMValueRef first_split = s->p->splits > 1 ? LLVMBuildICmp(e->b, LLVMIntEQ, s->site.split, emit_int(e, 0), "") : NULL;
    return emit_view(e, stage_emit(s->k, &(Staging){&s->p->stage, 0, s->site.n, s->site.band, scratch}, first_split), false);
}

/* Image by image. */
static void emit_images(Amx *s) {
    Emitter *e = s->k->e;
    Loop image = loop_begin(e, emit_int(e, 0), correlation_images(e, s->p), 1, 0, NULL);
    s->site = correlation_piece(e, s->p, image.iv);
    s->staged = stage_image(s, e->scratch);
    Loop group = groups_begin(s, s->site.split);
    s->group = group.iv;
    emit_blocks(s);
    loop_end(e, &group, NULL);
    loop_end(e, &image, NULL);
}

/* All images of the piece are staged before, so that filters which outgrow the core's cache come once for all of them. */
static void emit_images_together(Amx *s) {
    Emitter *e = s->k->e;
    int64_t floats = (int64_t)(s->p->stage.bytes / sizeof(float));
    Loop stage = loop_begin(e, emit_int(e, 0), correlation_images(e, s->p), 1, 0, NULL);
    s->site = correlation_piece(e, s->p, stage.iv);
    stage_image(s, emit_address(e, e->scratch, emit_mul_int(e, stage.iv, floats)));
    loop_end(e, &stage, NULL);
    Loop group = groups_begin(s, emit_int(e, 0));
    s->group = group.iv;
    Loop image = loop_begin(e, emit_int(e, 0), correlation_images(e, s->p), 1, 0, NULL);
    s->site = correlation_piece(e, s->p, image.iv);
    s->staged = emit_view(e, emit_address(e, e->scratch, emit_mul_int(e, image.iv, floats)), false);
    emit_blocks(s);
    loop_end(e, &image, NULL);
    loop_end(e, &group, NULL);
}

void amx_lower(Lowering *l, Val v, const void *plan) {
    const AmxPlan *a = plan;
    const CorrelationPlan *p = &a->frame;
    ConvKernel kernel_of = conv_kernel(l, v, p->sums_bytes > 0), *k = &kernel_of;
    Kernel *kernel;
    lowering_uses_tiles(l);
    conv_kernel_filters(k, p->sums_bytes, p->packed_bytes);
    lower_pack_tiles(k, &p->c, p->pair, p->together, k->places[k->filters_buffer]);
    lowering_resume(l);
    if (kernel_begin(l, conv_kind(k), conv_name(k, &p->s, "_amx"), conv_key(k, "amx"), k->nplaces, &kernel)) {
        Emitter *e = k->e;
        conv_kernel_bind(k);
        Amx s = {.k = k, .a = a, .p = p, .filters = emit_buffer(e, k->filters_buffer)};
        s.sums = emit_address(e, e->scratch, emit_int(e, (int64_t)(a->staged_bytes / sizeof(float))));
        amx_begin(e, a->width, pixel_words(p), s.sums);
        a->gathered ? emit_images_together(&s) : emit_images(&s);
        amx_end(e);
        kernel_end(l, a->scratch_bytes);
    }
    correlation_call(k, kernel, p);
}
