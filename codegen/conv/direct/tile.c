/* The correlation kernel: a register tile of rows x columns pixels x blocks output channel blocks, its accumulators kept while
 * input channels and filter taps go by.
 *
 *     for each input block, tap row, input channel:        one tile_step
 *         hold the taps' filter vectors [tap][block]        V output channels each
 *         for each input column: broadcast x, multiply by every held tap that meets an output column there
 *
 * so that with stride 1 and a 3x3 filter a broadcast serves three FMAs per output block. Widths that the tile does not divide
 * are split into tiles of two nearly equal widths instead of a main tile and a rest.
 *
 * With bf16 the same tile takes two channels at a time: staged input and filters are then 32-bit words of a pair of channels,
 * half as many, and a multiply-add is the dot product of two pairs (vdpbf16ps).
 */
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/shared/prefetch.h"
#include "codegen/emit/bf16.h"
#include "codegen/emit/pieces.h"

enum { MIN_STEP_FMAS = 32 };

/* A tile while it is emitted. */
typedef struct Tile {
    ConvKernel *k;
    const CorrelationPlan *p;
    int64_t hold;  /* filter columns in registers */
    int64_t ahead; /* as the plan's */
    Taps taps[2];
    int64_t rows, columns, blocks;
    LLVMValueRef x; /* staged pixel (0, 0) of the tile at input line offset 0 */
    LLVMValueRef w; /* filters of its first output block */
    bool spread;    /* the loops over input channels fetch ahead: image `image`, step `step` of `steps` */
    LLVMValueRef image, step;
    int64_t steps;
} Tile;

static int64_t tile_size(const Tile *t) { return t->rows * t->columns * t->blocks; }
static int64_t block_words(const CorrelationPlan *p) { return p->c.V / p->pair; } /* of the channels of one pixel */
static int64_t row_words(const CorrelationPlan *p) { return p->stage.row_stride / p->pair; }
static int64_t block_stride_words(const CorrelationPlan *p) { return p->stage.block_stride / p->pair; }
static int64_t tap_words(const CorrelationPlan *p) { return block_words(p) * p->c.V; }
static int64_t block_filter_words(const CorrelationPlan *p) { return p->c.kernel[0] * p->c.kernel[1] * tap_words(p); }

static LLVMValueRef multiply_add(const Tile *t, LLVMValueRef x, LLVMValueRef w, LLVMValueRef acc) {
    return t->p->pair == 2 ? bf16_dot(t->k->e, x, w, acc) : emit_fma(t->k->e, x, w, acc);
}

/* One word of input channels at one tap row: x and w point at them. Filter columns first..first+count-1. */
static void tile_taps(const Tile *t, LLVMValueRef x, LLVMValueRef w, int64_t channel, int64_t first, int64_t count,
                      LLVMValueRef *acc) {
    Emitter *e = t->k->e;
    const Correlation *c = &t->p->c;
    const Taps *taps = &t->taps[1];
    LLVMValueRef held[LOOP_MAX_CARRY];
    for (int64_t m = 0; m < count; m++)
        for (int64_t q = 0; q < t->blocks; q++) {
            int64_t tap = taps->index + (first + m) * taps->index_step;
            int64_t at = q * c->group_in_blocks * block_filter_words(t->p) + tap * tap_words(t->p) + channel * c->V;
            held[m * t->blocks + q] = emit_load(e, w, emit_int(e, at));
            if (t->ahead && channel * c->V % CACHE_LINE_FLOATS == 0) emit_prefetch(e, w, emit_int(e, at + t->ahead), 3);
        }
    int64_t stride = c->in_stride[1], end_a = taps->offset + first * taps->offset_step,
            end_b = end_a + (count - 1) * taps->offset_step;
    int64_t lo = min_i64(end_a, end_b), hi = max_i64(end_a, end_b) + (t->columns - 1) * stride;
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t j = lo; j <= hi; j++) {
            LLVMValueRef splat = NULL;
            for (int64_t m = 0; m < count; m++) {
                int64_t distance = j - taps->offset - (first + m) * taps->offset_step, column = distance / stride;
                if (distance < 0 || distance % stride || column >= t->columns) continue;
                int64_t at = r * c->in_stride[0] * row_words(t->p) + j * block_words(t->p) + channel;
                if (!splat) splat = emit_load_splat(e, x, emit_int(e, at));
                LLVMValueRef *a = &acc[(r * t->columns + column) * t->blocks];
                for (int64_t q = 0; q < t->blocks; q++) a[q] = multiply_add(t, splat, held[m * t->blocks + q], a[q]);
            }
        }
}

static void tile_step(const Tile *t, LLVMValueRef x, LLVMValueRef w, int64_t channel, LLVMValueRef *acc) {
    for (int64_t first = 0; first < t->taps[1].count; first += t->hold)
        tile_taps(t, x, w, channel, first, min_i64(t->hold, t->taps[1].count - first), acc);
}

/* Input block `block` of `blocks`, of `channels` words of channels. */
static void tile_block(const Tile *t, LLVMValueRef x, LLVMValueRef w, LLVMValueRef block, int64_t blocks, int64_t channels,
                       LLVMValueRef *acc) {
    Emitter *e = t->k->e;
    const Correlation *c = &t->p->c;
    const Taps *taps = &t->taps[0];
    int n = (int)tile_size(t);
    int64_t unroll = 1;
    while (channels % (unroll * 2) == 0 && (unroll * t->taps[1].count * n < MIN_STEP_FMAS ||
                                            (t->ahead && unroll * c->V < CACHE_LINE_FLOATS))) /* a line is asked for once */
        unroll *= 2;
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, taps->count), 1, n, acc);
    LLVMValueRef line = emit_offset(e, row.iv, taps->offset_step, emit_int(e, taps->offset));
    LLVMValueRef filter = emit_offset(e, row.iv, taps->index_step, emit_int(e, taps->index));
    LLVMValueRef x_row = emit_address(e, x, emit_mul_int(e, line, row_words(t->p)));
    LLVMValueRef w_row = emit_address(e, w, emit_mul_int(e, filter, c->kernel[1] * tap_words(t->p)));
    Loop channel = loop_begin(e, emit_int(e, 0), emit_int(e, channels), unroll, n, row.carry);
    if (t->spread) {
        LLVMValueRef turn = LLVMBuildUDiv(e->b, channel.iv, emit_int(e, unroll), "");
        LLVMValueRef part = emit_offset(e, emit_offset(e, block, taps->count, row.iv), channels / unroll, turn);
        prefetch_part(t->k, t->image, t->step, t->steps, part, blocks * taps->count * (channels / unroll));
    }
    LLVMValueRef x_channel = emit_address(e, x_row, channel.iv);
    LLVMValueRef w_channel = emit_address(e, w_row, emit_mul_int(e, channel.iv, c->V));
    LLVMValueRef next[LOOP_MAX_CARRY];
    for (int i = 0; i < n; i++) next[i] = channel.carry[i];
    for (int64_t u = 0; u < unroll; u++) tile_step(t, x_channel, w_channel, u, next);
    loop_end(e, &channel, next);
    loop_end(e, &row, channel.carry);
    for (int i = 0; i < n; i++) acc[i] = row.carry[i];
}

static void tile_accumulate(const Tile *t, LLVMValueRef *acc) {
    Emitter *e = t->k->e;
    const Correlation *c = &t->p->c;
    int n = (int)tile_size(t);
    for (int i = 0; i < n; i++) acc[i] = emit_vec(e, 0);
    if (t->taps[0].count == 0 || t->taps[1].count == 0) return;
    int64_t channels = c->channels_in / c->groups, full = channels / c->V, rest = channels % c->V;
    if (full) {
        Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, full), 1, n, acc);
        LLVMValueRef next[LOOP_MAX_CARRY];
        for (int i = 0; i < n; i++) next[i] = block.carry[i];
        tile_block(t, emit_address(e, t->x, emit_mul_int(e, block.iv, block_stride_words(t->p))),
                   emit_address(e, t->w, emit_mul_int(e, block.iv, block_filter_words(t->p))), block.iv, full, block_words(t->p),
                   next);
        loop_end(e, &block, next);
        for (int i = 0; i < n; i++) acc[i] = block.carry[i];
    }
    Tile last = *t;
    last.spread &= full == 0;
    if (rest)
        tile_block(&last, emit_address(e, t->x, emit_int(e, full * block_stride_words(t->p))),
                   emit_address(e, t->w, emit_int(e, full * block_filter_words(t->p))), emit_int(e, 0), 1,
                   divide_up(rest, t->p->pair), acc);
}

/* Where the kernel stands. */
typedef struct Direct {
    ConvKernel *k;
    const CorrelationPlan *p;
    TileShape tile;
    LLVMValueRef staged, filters, group; /* group: first output block / tile.blocks */
    CorrelationPiece site;
    int64_t phase[2];
    int64_t ahead; /* as the plan's */
} Direct;

/* The next image's share of tile `tile` of the row's `parts` is fetched before the tile, or within it. */
static void fetch_ahead(const Direct *s, Tile *t, LLVMValueRef row, LLVMValueRef tile, int64_t parts) {
    Emitter *e = s->k->e;
    const CorrelationPlan *p = s->p;
    if (p->images == 1) return;
    int64_t rows = correlation_lines(&p->c, 0, 0) / s->tile.rows, groups = p->c.out_blocks / s->tile.blocks;
    int64_t phases = p->c.phases[0] * p->c.phases[1], phase = s->phase[0] * p->c.phases[1] + s->phase[1];
    LLVMValueRef line = emit_offset(e, s->group, rows, LLVMBuildUDiv(e->b, row, emit_int(e, s->tile.rows), ""));
    t->image = s->site.n;
    t->step = emit_offset(e, emit_offset(e, line, phases, emit_int(e, phase)), parts, tile);
    t->steps = groups * phases * rows * parts;
    t->spread = prefetch_bursts(s->k, t->steps) && t->taps[0].count > 0 && t->taps[1].count > 0;
    if (!t->spread) prefetch_step(s->k, t->image, t->step, t->steps);
}

/* `count` tiles of `columns` columns from column `first` on, the index-th of the row and its successors. */
typedef struct Segment {
    int64_t first, columns, count, index;
} Segment;

static void emit_segment(Direct *s, LLVMValueRef row, const Segment *g, int64_t parts) {
    Emitter *e = s->k->e;
    const CorrelationPlan *p = s->p;
    const Correlation *c = &p->c;
    Tile t = {.k = s->k,
              .p = p,
              .hold = s->tile.hold,
              .rows = s->tile.rows,
              .columns = g->columns,
              .blocks = s->tile.blocks,
              .ahead = s->ahead};
    for (int axis = 0; axis < 2; axis++) t.taps[axis] = correlation_taps(c, axis, s->phase[axis]);
    Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, g->count), 1, 0, NULL);
    LLVMValueRef x0 = emit_offset(e, loop.iv, g->columns, emit_int(e, g->first));
    LLVMValueRef line = emit_offset(e, row, c->in_stride[0], emit_int(e, -p->stage.origin[0]));
    LLVMValueRef start = emit_offset(e, x0, c->in_stride[1] * block_words(p), emit_int(e, -p->stage.origin[1] * block_words(p)));
    LLVMValueRef first_block = emit_mul_int(e, s->group, s->tile.blocks), block = emit_int(e, 0);
    if (c->groups > 1)
        block = emit_mul_int(e, LLVMBuildUDiv(e->b, first_block, emit_int(e, c->group_out_blocks), ""), c->group_in_blocks);
    t.x = emit_address(e, s->staged, emit_offset(e, line, row_words(p), emit_offset(e, block, block_stride_words(p), start)));
    t.w = emit_address(e, s->filters, emit_mul_int(e, first_block, c->group_in_blocks * block_filter_words(p)));
    fetch_ahead(s, &t, row, emit_add_int(e, loop.iv, emit_int(e, g->index)), parts);
    LLVMValueRef acc[LOOP_MAX_CARRY], one[LOOP_MAX_CARRY], pixel[LOOP_MAX_CARRY];
    tile_accumulate(&t, acc);
    int pixels = (int)(t.rows * t.columns);
    for (int i = 0; i < pixels; i++)
        pixel[i] = correlation_pixel(e, p, &s->site, s->phase, emit_add_int(e, row, emit_int(e, i / t.columns)),
                                     emit_add_int(e, x0, emit_int(e, i % t.columns)));
    for (int64_t q = 0; q < t.blocks; q++) {
        Finish f = correlation_finish(p, &s->site, emit_add_int(e, first_block, emit_int(e, q)));
        for (int i = 0; i < pixels; i++) one[i] = acc[i * t.blocks + q];
        finish_emit(s->k, &f, pixels, one, pixel);
    }
    loop_end(e, &loop, NULL);
}

/* The tiles of phase s->phase in one row. */
static void emit_row(Direct *s, LLVMValueRef row) {
    int64_t width = correlation_lines(&s->p->c, 1, s->phase[1]);
    if (width == 0) return;
    int64_t parts = divide_up(width, s->tile.columns), narrow = width / parts, wide = width % parts;
    Segment first = {0, narrow + 1, wide, 0}, rest = {wide * (narrow + 1), narrow, parts - wide, wide};
    if (wide) emit_segment(s, row, &first, parts);
    emit_segment(s, row, &rest, parts);
}

/* Row phases from..to - 1, which have equally many rows: row by row, so that neighbouring pixels of the output, which belong to
 * different phases, and what the epilogue reads there, come soon after each other. */
static void emit_phases(Direct *s, int64_t from, int64_t to) {
    Emitter *e = s->k->e;
    const Correlation *c = &s->p->c;
    Loop row = loop_begin(e, emit_int(e, 0), correlation_rows(e, s->p, &s->site, from), s->tile.rows, 0, NULL);
    for (s->phase[0] = from; s->phase[0] < to; s->phase[0]++)
        for (s->phase[1] = 0; s->phase[1] < c->phases[1]; s->phase[1]++) emit_row(s, row.iv);
    loop_end(e, &row, NULL);
}

LLVMValueRef direct_image(ConvKernel *k, const DirectPlan *plan, const CorrelationPiece *site, LLVMValueRef scratch) {
    Emitter *e = k->e;
    const CorrelationPlan *p = &plan->frame;
    const Correlation *c = &p->c;
    Direct s = {.k = k, .p = p, .tile = plan->tile, .site = *site, .ahead = plan->ahead};
    s.filters = k->filters_buffer != NO_BUFFER ? emit_buffer(e, k->filters_buffer) : k->arg_base[1];
    LLVMValueRef first_split = p->splits > 1 ? LLVMBuildICmp(e->b, LLVMIntEQ, s.site.split, emit_int(e, 0), "") : NULL;
    s.staged = stage_emit(k, &(Staging){&p->stage, 0, s.site.n, s.site.band, scratch}, first_split);
    if (p->pair == 2) s.staged = emit_view(e, s.staged, false);
    int64_t groups = c->out_blocks / plan->tile.blocks;
    Loop group = loop_begin(e, emit_share(e, s.site.split, groups, p->splits),
                            emit_share(e, emit_add_int(e, s.site.split, emit_int(e, 1)), groups, p->splits), 1, 0, NULL);
    s.group = group.iv;
    for (int64_t q = 0; q < plan->tile.blocks; q++) {
        Finish f = correlation_finish(p, &s.site, emit_offset(e, group.iv, plan->tile.blocks, emit_int(e, q)));
        finish_clear_sums(k, &f);
    }
    for (int64_t from = 0, to; from < c->phases[0]; from = to) {
        for (to = from + 1; to < c->phases[0] && correlation_lines(c, 0, to) == correlation_lines(c, 0, from);) to++;
        emit_phases(&s, from, to);
    }
    loop_end(e, &group, NULL);
    return s.staged;
}

static void emit_correlation(ConvKernel *k, const DirectPlan *p) {
    Emitter *e = k->e;
    Loop image = loop_begin(e, emit_int(e, 0), correlation_images(e, &p->frame), 1, 0, NULL);
    CorrelationPiece site = correlation_piece(e, &p->frame, image.iv);
    direct_image(k, p, &site, e->scratch);
    loop_end(e, &image, NULL);
}

void direct_lower(Lowering *l, Val v, const void *plan) {
    const CorrelationPlan *p = &((const DirectPlan *)plan)->frame;
    ConvKernel kernel_of = conv_kernel(l, v, p->sums_bytes > 0), *k = &kernel_of;
    Kernel *kernel;
    if (direct_packs(plan)) {
        conv_kernel_filters(k, p->sums_bytes, p->packed_bytes);
        direct_pack(k, plan);
        lowering_resume(k->l);
    }
    if (kernel_begin(k->l, conv_kind(k), conv_name(k, &p->s, ""), conv_key(k, "direct"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        emit_correlation(k, plan);
        kernel_end(k->l, p->stage.bytes);
    }
    correlation_call(k, kernel, p);
}
