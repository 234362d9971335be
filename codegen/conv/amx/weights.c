/* The gradient of the filters by tiles of AMX. Words are of two images, staged as the direct method's.
 *
 *     for as many pairs of images as a core's cache holds, each band of rows:
 *         stage x and dY; transpose x: [input block][filter column][row modulo stride][channel][row / stride][column]
 *         for each group of C's (input blocks or filter columns, by output blocks):
 *             load the C's: partial gradients of one tap and block each, [channel in][channel out]
 *             for each pair, each part of a row (or of the map):
 *                 A: x, a row a channel, `words` pixels at the tap;  B: dY, a row a pixel;  C += A . B
 *             store the C's
 *
 * x is there once for each column of a filter, so that what a tap meets lies one pixel behind the other, over rows, and in whole
 * cache lines where rows are. Behind the end of a row, or of the map, dY has zeros, and x what is staged for them. */
#include "codegen/conv/amx/amx.h"
#include "codegen/emit/amx.h"
#include "codegen/emit/transpose.h"

enum {
    OPERANDS_BYTES = 1024 * 1024, /* of both, staged and transposed, of a core's 2 MB */
    LARGE_GRADIENT = 256 * 1024,  /* which passes through the caches with each group of images: */
    LARGE_GROUPS = 2
};

static WeightsPlan operands_plan(const ConvProblem *p, const AmxWeights *a, int64_t rows_more) {
    const ConvShape *s = &p->s;
    const int64_t F = (int64_t)sizeof(float);
    int64_t filters = s->out_blocks * (s->in_blocks / s->groups) * s->kernel[0] * s->kernel[1] * AMX_TILE_FLOATS * F;
    int64_t turned_row = s->in_blocks * s->kernel[1] * s->V * a->columns * F; /* of x */
    return weights_plan(p, &(WeightsNeeds){.pair = 2,
                                           .stage_bytes = OPERANDS_BYTES,
                                           .row_extra = s->stride[0] * turned_row,
                                           .columns = a->columns,
                                           .rows_more = rows_more,
                                           .most_groups = filters > LARGE_GRADIENT ? LARGE_GROUPS : 0});
}

/* A map that is one band in 16 words or nearly as many at a time; else each of its rows. */
static void plan_words(AmxWeights *a, const ConvProblem *p) {
    const ConvShape *s = &p->s;
    int64_t pixels = s->out[0] * s->out[1], parts = divide_up(pixels, AMX_WORDS);
    int64_t words = divide_up(pixels, parts), rows_more = divide_up(parts * words - pixels, s->out[1]);
    *a = (AmxWeights){.words = words, .parts = parts, .flat = true, .columns = s->out[1]};
    a->w = operands_plan(p, a, rows_more);
    if (a->w.bands > 1) {
        parts = divide_up(s->out[1], AMX_WORDS);
        words = divide_up(s->out[1], parts);
        rows_more = 0;
        *a = (AmxWeights){.words = words, .parts = parts, .columns = words * parts};
        a->w = operands_plan(p, a, rows_more);
    }
    a->lines = (a->w.band_rows + rows_more - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] + 1;
}

/* An odd number of cache lines, and room for a vector behind the last pixel. */
static int64_t line_words(int64_t pixels) { return (divide_up(pixels + AMX_WORDS, AMX_WORDS) | 1) * AMX_WORDS; }

AmxWeights amx_weights_plan(const ConvProblem *p) {
    const ConvShape *s = &p->s;
    const int64_t F = (int64_t)sizeof(float), group_in = s->in_blocks / s->groups, group_out = s->out_blocks / s->groups;
    AmxWeights a;
    plan_words(&a, p);
    a.in = a.taps = 1;
    a.out = group_out % 2 == 0 ? 2 : 1;
    if (group_in % 2 == 0)
        a.in = 2;
    else
        for (int64_t taps = 2; taps <= AMX_NC / a.out; taps++)
            if (s->kernel[1] % taps == 0) a.taps = taps;
    a.w.block_groups = min_i64(a.w.block_groups, s->out_blocks / a.out);
    a.line = line_words(divide_up(a.lines, s->stride[0]) * a.columns);
    a.turn_words = divide_up(divide_up(weights_columns_of(s, a.columns), s->stride[1]), AMX_WORDS) * AMX_WORDS + AMX_WORDS;
    a.turned_bytes = (uint64_t)(s->in_blocks * s->kernel[1] * s->stride[0] * s->V * a.line * F);
    int64_t pair_bytes = (int64_t)(a.w.dy.bytes + a.turned_bytes), pairs = divide_up(divide_up(s->N, a.w.pair), a.w.image_groups);
    a.pairs = a.w.bands > 1 ? 1 : max_i64(1, min_i64(pairs, (OPERANDS_BYTES - (int64_t)a.w.x.bytes) / pair_bytes));
    a.pairs = divide_up(pairs, divide_up(pairs, a.pairs));
    a.scratch_bytes = a.w.x.bytes + (uint64_t)(s->stride[1] * s->V * a.turn_words * F) + (uint64_t)(a.pairs * pair_bytes);
    return a;
}

/* The kernel while it is emitted. */
typedef struct Gradient {
    ConvKernel *k;
    const AmxWeights *a;
    LLVMValueRef row;                 /* of x, on its way */
    LLVMValueRef turned, dy, partial; /* x transposed; dY's pixel 0, of the first pair of images; the piece's partial gradient */
    LLVMValueRef pairs;               /* of images that are staged */
    LLVMValueRef rows;                /* of the output in the band */
    LLVMValueRef ob, ib, group_ib;    /* first output block; first input block in the group; the group's first */
} Gradient;

static int64_t pair_words(const AmxWeights *a) { return (int64_t)((a->w.dy.bytes + a->turned_bytes) / sizeof(float)); }
static int64_t group_blocks(const ConvShape *s) { return divide_up(s->I / s->groups, s->V); }
static int64_t phase_words(const AmxWeights *a) { return a->w.s.V * a->line; } /* of x transposed, of every stride-th row */
static int64_t column_words(const AmxWeights *a) { return a->w.s.stride[0] * phase_words(a); }
static int64_t block_words(const AmxWeights *a) { return a->w.s.kernel[1] * column_words(a); }

/* Does a filter column meet the columns of x that are so many behind a multiple of the stride? */
static bool has_phase(const ConvShape *s, int64_t phase) {
    bool has = false;
    for (int64_t b = 0; b < s->kernel[1]; b++) has |= b * s->dilation[1] % s->stride[1] == phase;
    return has;
}

/* A row of a block of x, at `from`, to d->row: [column modulo stride][channel][column / stride]. What the last vectors have
 * behind the row's end is whatever follows in scratch, and stays behind the end of what is copied from there. */
static void transpose_row(const Gradient *d, LLVMValueRef from) {
    Emitter *e = d->k->e;
    const AmxWeights *a = d->a;
    const ConvShape *s = &a->w.s;
    Loop part = loop_begin(e, emit_int(e, 0), emit_int(e, a->turn_words / AMX_WORDS - 1), 1, 0, NULL);
    for (int64_t phase = 0; phase < s->stride[1]; phase++) {
        if (!has_phase(s, phase)) continue;
        LLVMValueRef word[AMX_WORDS];
        LLVMValueRef source = emit_address(e, from, emit_mul_int(e, part.iv, AMX_WORDS * s->stride[1] * s->V));
        LLVMValueRef target = emit_address(e, d->row, emit_mul_int(e, part.iv, AMX_WORDS));
        for (int64_t i = 0; i < AMX_WORDS; i++) word[i] = emit_load(e, source, emit_int(e, (i * s->stride[1] + phase) * s->V));
        emit_transpose(e, word);
        for (int64_t i = 0; i < AMX_WORDS; i++) emit_store(e, word[i], target, emit_int(e, (phase * s->V + i) * a->turn_words));
    }
    loop_end(e, &part, NULL);
}

/* d->row to `to`, where filter column 0's first channel has the row: once for each filter column. A vector may go on behind the
 * row's end, where the next one, or nothing, will stand. */
static void spread_row(const Gradient *d, LLVMValueRef to) {
    Emitter *e = d->k->e;
    const AmxWeights *a = d->a;
    const ConvShape *s = &a->w.s;
    Loop channel = loop_begin(e, emit_int(e, 0), emit_int(e, s->V), 1, 0, NULL);
    LLVMValueRef from_line = emit_address(e, d->row, emit_mul_int(e, channel.iv, a->turn_words));
    LLVMValueRef to_line = emit_address(e, to, emit_mul_int(e, channel.iv, a->line));
    for (int64_t b = 0; b < s->kernel[1]; b++) {
        int64_t column = b * s->dilation[1], from = column % s->stride[1] * s->V * a->turn_words + column / s->stride[1];
        for (int64_t i = 0; i < a->columns; i += AMX_WORDS) {
            LLVMValueRef words = emit_load_unaligned(e, from_line, emit_int(e, from + i));
            emit_store_unaligned(e, words, to_line, emit_int(e, b * column_words(a) + i));
        }
    }
    loop_end(e, &channel, NULL);
}

/* x: staged element of the first column that tap 0 of pixel 0 reads. */
static void transpose_x(const Gradient *d, LLVMValueRef x, LLVMValueRef turned) {
    Emitter *e = d->k->e;
    const AmxWeights *a = d->a;
    const ConvShape *s = &a->w.s;
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, s->in_blocks), 1, 0, NULL);
    int64_t step = s->kernel[0] == 1 ? s->stride[0] : 1; /* a single filter row reads no others */
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, a->lines), step, 0, NULL);
    LLVMValueRef from = emit_offset(e, row.iv, a->w.x.row_stride, emit_mul_int(e, block.iv, a->w.x.block_stride));
    transpose_row(d, emit_address(e, x, from));
    LLVMValueRef stride = emit_int(e, s->stride[0]);
    LLVMValueRef phase = LLVMBuildURem(e->b, row.iv, stride, ""), line = LLVMBuildUDiv(e->b, row.iv, stride, "");
    LLVMValueRef to = emit_offset(e, phase, phase_words(a), emit_mul_int(e, block.iv, block_words(a)));
    spread_row(d, emit_address(e, turned, emit_offset(e, line, a->columns, to)));
    loop_end(e, &row, NULL);
    loop_end(e, &block, NULL);
}

/* C i of in (or taps) and q of out, at filter row `row`, columns from `tap` on. */
static LLVMValueRef c_at(const Gradient *d, int64_t i, int64_t q, LLVMValueRef row, int64_t tap) {
    Emitter *e = d->k->e;
    const ConvShape *s = &d->a->w.s;
    LLVMValueRef in = emit_add_int(e, d->ib, emit_int(e, d->a->in > 1 ? i : 0));
    LLVMValueRef block = emit_offset(e, emit_add_int(e, d->ob, emit_int(e, q)), group_blocks(s), in);
    LLVMValueRef filter =
        emit_offset(e, emit_offset(e, block, s->kernel[0], row), s->kernel[1], emit_int(e, tap + (d->a->in > 1 ? 0 : i)));
    return emit_address(e, d->partial, emit_mul_int(e, filter, AMX_TILE_FLOATS));
}

/* `words` pixels: x and dy point at the first, x at the first of the C's taps. */
static void multiply_part(const Gradient *d, LLVMValueRef x, LLVMValueRef dy) {
    Emitter *e = d->k->e;
    const AmxWeights *a = d->a;
    const ConvShape *s = &a->w.s;
    for (int64_t q = 0; q < a->out; q++)
        amx_load(e, AMX_B + (int)q, emit_address(e, dy, emit_int(e, q * a->w.dy.block_stride)), s->V);
    for (int64_t i = 0; i < a->in * a->taps; i++) {
        int tile = AMX_A + (int)(i % AMX_NA);
        amx_load(e, tile, emit_address(e, x, emit_int(e, i * (a->in > 1 ? block_words(a) : column_words(a)))), a->line);
        for (int64_t q = 0; q < a->out; q++) amx_dot(e, AMX_C + (int)(i * a->out + q), tile, AMX_B + (int)q);
    }
}

/* The C's of filter row `filter_row` and columns from `tap` on: all that is staged. */
static void emit_group(const Gradient *d, LLVMValueRef filter_row, int64_t tap) {
    Emitter *e = d->k->e;
    const AmxWeights *a = d->a;
    const ConvShape *s = &a->w.s;
    int64_t count = a->in * a->taps * a->out;
    for (int64_t i = 0; i < count; i++) amx_load(e, AMX_C + (int)i, c_at(d, i / a->out, i % a->out, filter_row, tap), s->V);
    LLVMValueRef input = emit_mul_int(e, filter_row, s->dilation[0]), stride = emit_int(e, s->stride[0]);
    LLVMValueRef phase = LLVMBuildURem(e->b, input, stride, ""), line = LLVMBuildUDiv(e->b, input, stride, "");
    LLVMValueRef first = emit_offset(e, line, a->columns, emit_int(e, tap * column_words(a)));
    first = emit_offset(e, emit_add_int(e, d->group_ib, d->ib), block_words(a), emit_offset(e, phase, phase_words(a), first));
    Loop pair = loop_begin(e, emit_int(e, 0), d->pairs, 1, 0, NULL);
    LLVMValueRef x_pair = emit_address(e, d->turned, emit_offset(e, pair.iv, pair_words(a), first));
    LLVMValueRef dy_pair = emit_offset(e, pair.iv, pair_words(a), emit_mul_int(e, d->ob, a->w.dy.block_stride));
    dy_pair = emit_address(e, d->dy, dy_pair);
    Loop row = loop_begin(e, emit_int(e, 0), a->flat ? emit_int(e, 1) : d->rows, 1, 0, NULL);
    LLVMValueRef x = emit_address(e, x_pair, emit_mul_int(e, row.iv, a->columns));
    LLVMValueRef dy = emit_address(e, dy_pair, emit_mul_int(e, row.iv, a->w.dy.row_stride));
    Loop part = loop_begin(e, emit_int(e, 0), emit_int(e, a->parts), 1, 0, NULL);
    multiply_part(d, emit_address(e, x, emit_mul_int(e, part.iv, a->words)),
                  emit_address(e, dy, emit_mul_int(e, part.iv, a->words * s->V)));
    loop_end(e, &part, NULL);
    loop_end(e, &row, NULL);
    loop_end(e, &pair, NULL);
    for (int64_t i = 0; i < count; i++) amx_store(e, AMX_C + (int)i, c_at(d, i / a->out, i % a->out, filter_row, tap), s->V);
}

static void emit_blocks(Gradient *d, LLVMValueRef first_ob, LLVMValueRef end_ob) {
    Emitter *e = d->k->e;
    const AmxWeights *a = d->a;
    const ConvShape *s = &a->w.s;
    Loop ob = loop_begin(e, first_ob, end_ob, a->out, 0, NULL);
    d->ob = ob.iv;
    d->group_ib = emit_int(e, 0);
    if (s->groups > 1)
        d->group_ib = emit_mul_int(e, LLVMBuildUDiv(e->b, ob.iv, emit_int(e, s->out_blocks / s->groups), ""), group_blocks(s));
    Loop ib = loop_begin(e, emit_int(e, 0), emit_int(e, group_blocks(s)), a->in, 0, NULL);
    d->ib = ib.iv;
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, s->kernel[0]), 1, 0, NULL);
    for (int64_t tap = 0; tap < s->kernel[1]; tap += a->taps) emit_group(d, row.iv, tap);
    loop_end(e, &row, NULL);
    loop_end(e, &ib, NULL);
    loop_end(e, &ob, NULL);
}

/* Band `band` of images n and n + 1, to the place of the pair-th that is staged. */
static void stage_pair(const Gradient *d, LLVMValueRef n, LLVMValueRef band, LLVMValueRef pair, LLVMValueRef first_split) {
    Emitter *e = d->k->e;
    const WeightsPlan *p = &d->a->w;
    const ConvShape *s = &p->s;
    LLVMValueRef offset = emit_mul_int(e, pair, pair_words(d->a));
    LLVMValueRef x = stage_emit(d->k, &(Staging){&p->x, 0, n, band, e->scratch}, first_split);
    stage_emit(d->k, &(Staging){&p->dy, 1, n, band, emit_address(e, d->dy, offset)}, first_split);
    x = emit_address(e, x, emit_int(e, (-s->pad[0] - p->x.origin[0]) * p->x.row_stride + (-s->pad[1] - p->x.origin[1]) * s->V));
    transpose_x(d, x, emit_address(e, d->turned, offset));
}

static void emit_weights(ConvKernel *k, const AmxWeights *a) {
    Emitter *e = k->e;
    const WeightsPlan *p = &a->w;
    const ConvShape *s = &p->s;
    Gradient d = {.k = k, .a = a};
    d.row = emit_address(e, e->scratch, emit_int(e, (int64_t)(p->x.bytes / sizeof(float))));
    d.dy = emit_address(e, d.row, emit_int(e, s->stride[1] * s->V * a->turn_words));
    d.turned = emit_address(e, d.dy, emit_int(e, (int64_t)(p->dy.bytes / sizeof(float))));
    amx_begin(e, s->V, a->words, e->scratch);
    WeightsPiece piece = weights_piece(k, p, a->out);
    d.partial = piece.partial;
    Loop chunk = loop_begin(e, piece.first, piece.end, a->pairs, 0, NULL);
    d.pairs = emit_min_int(e, emit_int(e, a->pairs), LLVMBuildSub(e->b, piece.end, chunk.iv, ""));
    Loop band = loop_begin(e, emit_int(e, 0), emit_int(e, p->bands), 1, 0, NULL);
    Loop pair = loop_begin(e, emit_int(e, 0), d.pairs, 1, 0, NULL);
    LLVMValueRef n = emit_mul_int(e, emit_add_int(e, chunk.iv, pair.iv), p->pair);
    stage_pair(&d, n, band.iv, pair.iv, piece.first_split);
    loop_end(e, &pair, NULL);
    d.rows = weights_rows(e, p, band.iv);
    emit_blocks(&d, piece.first_block, piece.end_block);
    loop_end(e, &band, NULL);
    loop_end(e, &chunk, NULL);
    amx_end(e);
}

void amx_lower_weights(Lowering *l, Val v, const void *plan) {
    const AmxWeights *a = plan;
    const WeightsPlan *p = &a->w;
    ConvKernel kernel_of = conv_kernel(l, v, true), *k = &kernel_of;
    Kernel *kernel;
    lowering_uses_tiles(l);
    if (kernel_begin(l, RT_KIND_BACKWARD_WEIGHTS, conv_name(k, &p->s, "_amx"), conv_key(k, "amx weights"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        emit_weights(k, a);
        kernel_end(l, a->scratch_bytes);
    }
    kernel_call(l, kernel, k->id, k->places, k->nplaces, p->image_groups * p->block_groups,
                (KernelCost){conv_flops(&p->s), conv_bytes(k)});
    lower_sum_partials(k, p);
}
