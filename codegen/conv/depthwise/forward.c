/* The depthwise kernel, forward and backward data: a register tile of columns of one row, each with an accumulator of V channels.
 *
 *     for each channel block, row:              stage the input rows that this row is the first to need
 *         for each tile of columns, tap row:    load each input column once, multiply it by every tap that meets a column of the
 * tile
 *
 * Backward data is the same with the flipped filters, by phases where the stride is above one (conv.h).
 */
#include "codegen/conv/depthwise/depthwise.h"

enum { TAP_CHUNK = 8, MAX_UNROLLED = 160, MAX_HELD = 12 };

/* Where the kernel stands. */
typedef struct Depth {
    ConvKernel *k;
    const DepthPlan *p;
    LLVMValueRef n, cb, band; /* image, channel block, band */
    LLVMValueRef staged;      /* element 0 of the block's staged lines */
    LLVMValueRef filters;     /* of the block */
    LLVMValueRef row;         /* of the band, counted in rows of a phase */
    int64_t phase[2];
    Taps taps[2];
    LLVMValueRef held[MAX_HELD]; /* the phase's filters, if they are few */
    bool holds;
} Depth;

static int64_t tap_floats(const DepthPlan *p) {
    return p->c.V * p->c.V;
} /* stored: a row per channel in, of which there is one */

static LLVMValueRef filter(const Depth *d, LLVMValueRef row, LLVMValueRef column) {
    Emitter *e = d->k->e;
    const Taps *rows = &d->taps[0], *columns = &d->taps[1];
    LLVMValueRef ky = emit_offset(e, row, rows->index_step, emit_int(e, rows->index));
    LLVMValueRef kx = emit_offset(e, column, columns->index_step, emit_int(e, columns->index));
    return emit_load(e, d->filters, emit_mul_int(e, emit_offset(e, ky, d->p->c.kernel[1], kx), tap_floats(d->p)));
}

/* A tile: `columns` columns whose first reads `x` at input line and column offset 0. */
typedef struct Tile {
    int64_t columns;
    LLVMValueRef x;
} Tile;

/* Taps first.. first + count - 1 of tap row `row`. */
static void tile_taps(const Depth *d, const Tile *t, LLVMValueRef row, LLVMValueRef first, int64_t count, LLVMValueRef *acc) {
    Emitter *e = d->k->e;
    const DepthPlan *p = d->p;
    const Taps *rows = &d->taps[0], *columns = &d->taps[1];
    LLVMValueRef line = emit_offset(e, row, rows->offset_step, emit_int(e, rows->offset));
    LLVMValueRef at = emit_mul_int(e, emit_offset(e, first, columns->offset_step, emit_int(e, columns->offset)), p->c.V);
    LLVMValueRef x = emit_address(e, t->x, emit_offset(e, line, p->stage.row_stride, at)), w[TAP_CHUNK];
    int64_t stride = p->c.in_stride[1], end = (count - 1) * columns->offset_step;
    for (int64_t m = 0; m < count; m++)
        w[m] = d->holds ? d->held[LLVMConstIntGetSExtValue(row) * columns->count + LLVMConstIntGetSExtValue(first) + m]
                        : filter(d, row, emit_add_int(e, first, emit_int(e, m)));
    for (int64_t j = min_i64(0, end); j <= max_i64(0, end) + (t->columns - 1) * stride; j++) {
        LLVMValueRef value = NULL;
        for (int64_t m = 0; m < count; m++) {
            int64_t distance = j - m * columns->offset_step, column = distance / stride;
            if (distance < 0 || distance % stride || column >= t->columns) continue;
            if (!value) value = emit_load(e, x, emit_int(e, j * p->c.V));
            LLVMValueRef *a = &acc[column * p->chains + m % p->chains];
            *a = emit_fma(e, value, w[m], *a);
        }
    }
}

/* All taps of a row: unrolled, or in a loop of chunks. */
static void tile_row(const Depth *d, const Tile *t, LLVMValueRef row, int n, LLVMValueRef *acc) {
    Emitter *e = d->k->e;
    int64_t count = d->taps[1].count, whole = count > TAP_CHUNK ? count / TAP_CHUNK : 0;
    if (whole) {
        Loop chunk = loop_begin(e, emit_int(e, 0), emit_int(e, whole * TAP_CHUNK), TAP_CHUNK, n, acc);
        LLVMValueRef next[LOOP_MAX_CARRY];
        for (int i = 0; i < n; i++) next[i] = chunk.carry[i];
        tile_taps(d, t, row, chunk.iv, TAP_CHUNK, next);
        loop_end(e, &chunk, next);
        for (int i = 0; i < n; i++) acc[i] = chunk.carry[i];
    }
    if (count > whole * TAP_CHUNK) tile_taps(d, t, row, emit_int(e, whole * TAP_CHUNK), count - whole * TAP_CHUNK, acc);
}

static void tile_accumulate(const Depth *d, const Tile *t, LLVMValueRef *acc) {
    Emitter *e = d->k->e;
    int n = (int)(t->columns * d->p->chains);
    for (int i = 0; i < n; i++) acc[i] = emit_vec(e, 0);
    if (d->taps[0].count == 0 || d->taps[1].count == 0) return;
    if (d->holds || d->taps[0].count * d->taps[1].count * t->columns <= MAX_UNROLLED) {
        for (int64_t m = 0; m < d->taps[0].count; m++) tile_row(d, t, emit_int(e, m), n, acc);
    } else {
        Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, d->taps[0].count), 1, n, acc);
        LLVMValueRef next[LOOP_MAX_CARRY];
        for (int i = 0; i < n; i++) next[i] = row.carry[i];
        tile_row(d, t, row.iv, n, next);
        loop_end(e, &row, next);
        for (int i = 0; i < n; i++) acc[i] = row.carry[i];
    }
    for (int64_t column = 0; column < t->columns; column++) { /* the chains of an output, in pairs */
        LLVMValueRef *a = &acc[column * d->p->chains];
        for (int64_t chains = d->p->chains; chains > 1; chains /= 2)
            for (int64_t i = 0; i < chains / 2; i++) a[i] = emit_add(e, a[i], a[i + chains / 2]);
        acc[column] = a[0];
    }
}

/* Backward data of a map as large as its filters: dY has one pixel, and dX is a multiple of the filters. */
static void tile_spread(const Depth *d, LLVMValueRef x0, int64_t columns, LLVMValueRef *acc) {
    Emitter *e = d->k->e;
    LLVMValueRef dy = emit_load(e, d->staged, emit_int(e, 0));
    for (int64_t j = 0; j < columns; j++) {
        LLVMValueRef tap = emit_offset(e, d->row, d->p->c.kernel[1], emit_add_int(e, x0, emit_int(e, j)));
        acc[j] = emit_arith(e, LLVMFMul, dy, emit_load(e, d->filters, emit_mul_int(e, tap, tap_floats(d->p))));
    }
}

/* `count` tiles of `columns` columns from column `first` of the phase on. */
static void emit_tiles(const Depth *d, int64_t first, int64_t columns, int64_t count) {
    Emitter *e = d->k->e;
    const DepthPlan *p = d->p;
    const Correlation *c = &p->c;
    Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, count), 1, 0, NULL);
    LLVMValueRef x0 = emit_offset(e, loop.iv, columns, emit_int(e, first)), acc[LOOP_MAX_CARRY], pixel[LOOP_MAX_CARRY];
    if (p->spread) {
        tile_spread(d, x0, columns, acc);
    } else {
        LLVMValueRef line = emit_offset(e, d->row, c->in_stride[0], emit_int(e, -p->stage.origin[0]));
        LLVMValueRef start = emit_offset(e, x0, c->in_stride[1] * c->V, emit_int(e, -p->stage.origin[1] * c->V));
        Tile t = {.columns = columns, .x = emit_address(e, d->staged, emit_offset(e, line, p->stage.row_stride, start))};
        tile_accumulate(d, &t, acc);
    }
    LLVMValueRef y = emit_offset(e, emit_offset(e, d->band, p->band_rows, d->row), c->phases[0], emit_int(e, d->phase[0]));
    for (int64_t j = 0; j < columns; j++) {
        LLVMValueRef x = emit_offset(e, emit_add_int(e, x0, emit_int(e, j)), c->phases[1], emit_int(e, d->phase[1]));
        pixel[j] = emit_offset(e, y, c->out[1], x);
    }
    Finish f = {.n = d->n, .cb = d->cb, .sums_row = d->n, .channels = c->channels_out};
    finish_emit(d->k, &f, (int)columns, acc, pixel);
    loop_end(e, &loop, NULL);
}

/* The row of phase d->phase. */
static void emit_phase(Depth *d) {
    Emitter *e = d->k->e;
    const Correlation *c = &d->p->c;
    int64_t width = correlation_lines(c, 1, d->phase[1]);
    if (width == 0) return;
    for (int axis = 0; axis < 2; axis++) d->taps[axis] = correlation_taps(c, axis, d->phase[axis]);
    int64_t taps = d->taps[0].count * d->taps[1].count;
    d->holds = !d->p->spread && e->target->registers >= 32 && taps <= MAX_HELD && d->taps[1].count <= TAP_CHUNK;
    for (int64_t i = 0; i < taps && d->holds; i++)
        d->held[i] = filter(d, emit_int(e, i / d->taps[1].count), emit_int(e, i % d->taps[1].count));
    int64_t tiles = divide_up(width, d->p->columns), narrow = width / tiles, wide = width % tiles;
    if (wide) emit_tiles(d, 0, narrow + 1, wide);
    emit_tiles(d, wide * (narrow + 1), narrow, tiles - wide);
}

/* Stages what row d->row of the band, of `rows`, is the first to read: nothing that was staged before it. */
static void stage_ahead(const Depth *d, LLVMValueRef rows) {
    Emitter *e = d->k->e;
    const DepthPlan *p = d->p;
    const StagePlan *s = &p->stage;
    int64_t first, last;
    correlation_reach(&p->c, 0, &first, &last);
    LLVMValueRef next = emit_offset(e, d->row, p->c.in_stride[0], emit_int(e, last - s->origin[0] + 1));
    LLVMValueRef is_first = LLVMBuildICmp(e->b, LLVMIntEQ, d->row, emit_int(e, 0), "");
    LLVMValueRef is_last =
        LLVMBuildICmp(e->b, LLVMIntEQ, d->row, LLVMBuildSub(e->b, rows, emit_int(e, 1), ""), ""); /* also what no tap reads */
    LLVMValueRef lines = emit_int(e, s->lines[0]);
    LLVMValueRef before = emit_add_int(e, next, emit_int(e, -p->c.in_stride[0]));
    LLVMValueRef from = LLVMBuildSelect(e->b, is_first, emit_int(e, 0), emit_min_int(e, before, lines), "");
    LLVMValueRef to = LLVMBuildSelect(e->b, is_last, lines, emit_min_int(e, next, lines), "");
    stage_block_lines(d->k, &(Staging){s, 0, d->n, d->band, e->scratch}, d->cb, from, to, NULL);
}

LLVMValueRef depthwise_rows(Emitter *e, const DepthPlan *p, LLVMValueRef band, int64_t phase) {
    int64_t lines = correlation_lines(&p->c, 0, phase);
    if (p->bands == 1) return emit_int(e, lines);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, lines), emit_mul_int(e, band, p->band_rows), "");
    return emit_max_int(e, emit_int(e, 0), emit_min_int(e, left, emit_int(e, p->band_rows)));
}

/* Row by row through all phases, those of the first row phase being the most rows. */
static void emit_band(Depth *d) {
    Emitter *e = d->k->e;
    const Correlation *c = &d->p->c;
    LLVMValueRef rows = depthwise_rows(e, d->p, d->band, 0);
    Staging s = {&d->p->stage, 0, d->n, d->band, e->scratch};
    d->staged = stage_block(d->k, &s, d->cb);
    if (d->p->spread) stage_block_lines(d->k, &s, d->cb, emit_int(e, 0), emit_int(e, d->p->stage.lines[0]), NULL);
    Loop row = loop_begin(e, emit_int(e, 0), rows, 1, 0, NULL);
    d->row = row.iv;
    if (!d->p->spread) stage_ahead(d, rows);
    for (d->phase[0] = 0; d->phase[0] < c->phases[0]; d->phase[0]++) {
        bool fewer = correlation_lines(c, 0, d->phase[0]) < correlation_lines(c, 0, 0);
        Guard guard;
        if (fewer)
            guard = guard_begin(e, LLVMBuildICmp(e->b, LLVMIntSLT, row.iv, depthwise_rows(e, d->p, d->band, d->phase[0]), ""));
        for (d->phase[1] = 0; d->phase[1] < c->phases[1]; d->phase[1]++) emit_phase(d);
        if (fewer) guard_end(e, &guard);
    }
    loop_end(e, &row, NULL);
}

DepthPiece depthwise_piece(Emitter *e, const DepthPlan *p) {
    DepthPiece at = {.n = e->piece, .lo = emit_int(e, 0), .hi = emit_int(e, p->c.out_blocks)};
    if (p->splits == 1) return at;
    at.lo = emit_mul_int(e, LLVMBuildURem(e->b, e->piece, emit_int(e, p->splits), ""), p->blocks);
    at.hi = emit_min_int(e, emit_add_int(e, at.lo, emit_int(e, p->blocks)), at.hi);
    at.n = LLVMBuildUDiv(e->b, e->piece, emit_int(e, p->splits), "");
    return at;
}

static void emit_depthwise(ConvKernel *k, const DepthPlan *p) {
    Emitter *e = k->e;
    DepthPiece at = depthwise_piece(e, p);
    Depth d = {.k = k, .p = p, .n = at.n};
    LLVMValueRef filters = k->arg_base[1];
    Loop block = loop_begin(e, at.lo, at.hi, 1, 0, NULL);
    d.cb = block.iv;
    d.filters = emit_address(e, filters, emit_mul_int(e, d.cb, p->c.kernel[0] * p->c.kernel[1] * tap_floats(p)));
    Finish f = {.n = d.n, .cb = d.cb, .sums_row = d.n, .channels = p->c.channels_out};
    finish_clear_sums(k, &f);
    Loop band = loop_begin(e, emit_int(e, 0), emit_int(e, p->bands), 1, 0, NULL);
    d.band = band.iv;
    emit_band(&d);
    loop_end(e, &band, NULL);
    loop_end(e, &block, NULL);
}

void depthwise_lower(Lowering *l, Val v, const void *plan) {
    const DepthPlan *p = plan;
    ConvKernel k = conv_kernel(l, v, false);
    Kernel *kernel;
    if (kernel_begin(l, conv_kind(&k), conv_name(&k, &p->s, "_depthwise"), conv_key(&k, "depthwise"), k.nplaces, &kernel)) {
        conv_kernel_bind(&k);
        emit_depthwise(&k, p);
        kernel_end(l, stage_block_bytes(&p->stage));
    }
    kernel_call(l, kernel, v, k.places, k.nplaces, p->c.N * p->splits, (KernelCost){conv_flops(&p->s), conv_bytes(&k)});
}
