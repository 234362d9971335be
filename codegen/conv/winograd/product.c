/* Winograd's products (product.h). */
#include "codegen/conv/winograd/product.h"

static LLVMValueRef load(Emitter *e, LLVMValueRef p, int64_t element) { return emit_load(e, p, emit_int(e, element)); }
static void store(Emitter *e, LLVMValueRef v, LLVMValueRef p, int64_t element) { emit_store(e, v, p, emit_int(e, element)); }

int64_t wino_plane(const Target *t, int64_t channel_blocks, int64_t tiles) {
    int64_t line = CACHE_LINE_FLOATS;
    return channel_blocks * tiles * t->lanes + (t->lanes > line ? t->lanes : line);
}

int64_t wino_filter_plane(const Target *t, int64_t in_blocks, int64_t out_blocks) {
    return wino_plane(t, in_blocks * out_blocks, t->lanes);
}

/* Accumulators fill half the register file, as rows x columns: a second column halves the broadcasts. Few rows are taken of
 * several planes, so that there are still enough of them for the latency of a multiply-add. */
WinoTile wino_tile(const Target *t, int64_t points, int64_t out_blocks, int64_t rows) {
    int accumulators = t->registers / 2;
    WinoTile tile = {.planes = 1, .columns = out_blocks % 2 == 0 ? 2 : 1};
    tile.rows = accumulators / tile.columns;
    while (rows % tile.rows) tile.rows--;
    for (int p = 2; p <= WINO_MAX_PLANES; p++)
        if (points % p == 0 && p * tile.rows * tile.columns <= accumulators) tile.planes = p;
    return tile;
}

enum { PRODUCT_UNROLL = 4 };

/* The operands of a register tile, of each of its planes. */
typedef struct Operands {
    LLVMValueRef w[WINO_MAX_PLANES], u[WINO_MAX_PLANES];
} Operands;

static Operands advance(Emitter *e, WinoTile tile, const Operands *from, LLVMValueRef w, LLVMValueRef u) {
    Operands o = {{0}};
    for (int p = 0; p < tile.planes; p++) {
        o.w[p] = emit_address(e, from->w[p], w);
        o.u[p] = emit_address(e, from->u[p], u);
    }
    return o;
}

/* One step of the product's inner loop: acc[p][r][c] += w[p][r * row_stride + k] * u[p][k][c]. */
static void product_step(Emitter *e, WinoTile tile, const Operands *o, int64_t row_stride, int64_t k, LLVMValueRef *acc) {
    for (int p = 0; p < tile.planes; p++) {
        LLVMValueRef column[LOOP_MAX_CARRY];
        for (int c = 0; c < tile.columns; c++) column[c] = load(e, o->u[p], (k * tile.columns + c) * e->V);
        for (int r = 0; r < tile.rows; r++) {
            LLVMValueRef x = emit_load_splat(e, o->w[p], emit_int(e, r * row_stride + k));
            for (int c = 0; c < tile.columns; c++, acc++) *acc = emit_fma(e, x, column[c], *acc);
        }
    }
}

/* acc over one input block of `channels` channels: w walks the channels of a tile, u the filters. */
static void product_block(Emitter *e, WinoTile tile, const Operands *o, int64_t channels, LLVMValueRef *acc) {
    int n = tile.planes * tile.rows * tile.columns;
    int64_t whole = channels - channels % PRODUCT_UNROLL;
    if (whole) {
        Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, whole), PRODUCT_UNROLL, n, acc);
        LLVMValueRef next[LOOP_MAX_CARRY];
        for (int i = 0; i < n; i++) next[i] = loop.carry[i];
        Operands at = advance(e, tile, o, loop.iv, emit_mul_int(e, loop.iv, tile.columns * e->V));
        for (int k = 0; k < PRODUCT_UNROLL; k++) product_step(e, tile, &at, e->V, k, next);
        loop_end(e, &loop, next);
        for (int i = 0; i < n; i++) acc[i] = loop.carry[i];
    }
    for (int64_t k = whole; k < channels; k++) product_step(e, tile, o, e->V, k, acc);
}

/* At the start of a register tile: row `row` of `rows`, in steps of `stride`, of round `round` of `rounds`. */
static void run_aside(Emitter *e, WinoAside aside, LLVMValueRef round, int64_t rounds, const Loop *row, int64_t rows,
                      int64_t stride) {
    if (!aside.run) return;
    LLVMValueRef turn = LLVMBuildUDiv(e->b, row->iv, emit_int(e, stride), "");
    aside.run(aside.context, emit_offset(e, round, rows / stride, turn), rounds * (rows / stride));
}

/* The filter that plane `point` meets. */
static LLVMValueRef filter_of(Emitter *e, const WinoForm *form, LLVMValueRef point) {
    if (form->side == WINO_IN) return point;
    LLVMValueRef side = emit_int(e, form->side), last = emit_int(e, WINO_IN - 1);
    LLVMValueRef row = emit_min_int(e, LLVMBuildUDiv(e->b, point, side, ""), last);
    return emit_offset(e, row, WINO_IN, emit_min_int(e, LLVMBuildURem(e->b, point, side, ""), last));
}

void wino_multiply(Emitter *e, const WinoProduct *p) {
    const WinoTile tile = p->tile;
    const int64_t points = wino_points(p->form), plane = p->plane, tiles = p->tiles, in_blocks = p->in_blocks;
    int64_t V = e->V, n = tile.planes * tile.rows * tile.columns, groups = p->out_blocks / tile.columns;
    int64_t u_block = V * tile.columns * V, u_plane = wino_filter_plane(e->target, in_blocks, p->out_blocks);
    Loop point = loop_begin(e, emit_int(e, 0), emit_int(e, points), tile.planes, 0, NULL);
    LLVMValueRef filter[WINO_MAX_PLANES], turn = LLVMBuildUDiv(e->b, point.iv, emit_int(e, tile.planes), "");
    for (int i = 0; i < tile.planes; i++) filter[i] = filter_of(e, p->form, emit_add_int(e, point.iv, emit_int(e, i)));
    Loop group = loop_begin(e, emit_int(e, 0), emit_int(e, groups), 1, 0, NULL);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, tiles), tile.rows, 0, NULL);
    run_aside(e, p->aside, emit_offset(e, turn, groups, group.iv), points / tile.planes * groups, &row, tiles, tile.rows);
    Operands first;
    for (int i = 0; i < tile.planes; i++) {
        LLVMValueRef at = emit_add_int(e, point.iv, emit_int(e, i));
        first.w[i] = emit_address(e, p->w, emit_offset(e, at, plane, emit_mul_int(e, row.iv, V)));
        first.u[i] = emit_address(e, p->u, emit_offset(e, filter[i], u_plane, emit_mul_int(e, group.iv, in_blocks * u_block)));
    }
    LLVMValueRef acc[LOOP_MAX_CARRY];
    for (int i = 0; i < n; i++) acc[i] = emit_vec(e, 0);
    int64_t full = p->in_channels / V, rest = p->in_channels % V;
    if (full) {
        Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, full), 1, (int)n, acc);
        LLVMValueRef next[LOOP_MAX_CARRY];
        for (int i = 0; i < n; i++) next[i] = block.carry[i];
        Operands at = advance(e, tile, &first, emit_mul_int(e, block.iv, tiles * V), emit_mul_int(e, block.iv, u_block));
        product_block(e, tile, &at, V, next);
        loop_end(e, &block, next);
        for (int i = 0; i < n; i++) acc[i] = block.carry[i];
    }
    if (rest) {
        Operands at = advance(e, tile, &first, emit_int(e, full * tiles * V), emit_int(e, full * u_block));
        product_block(e, tile, &at, rest, acc);
    }
    LLVMValueRef m0 = emit_address(
        e, p->m, emit_offset(e, point.iv, plane, emit_offset(e, group.iv, tile.columns * tiles * V, emit_mul_int(e, row.iv, V))));
    for (int j = 0, i = 0; j < tile.planes; j++)
        for (int r = 0; r < tile.rows; r++)
            for (int c = 0; c < tile.columns; c++) store(e, acc[i++], m0, j * plane + (c * tiles + r) * V);
    loop_end(e, &row, NULL);
    loop_end(e, &group, NULL);
    loop_end(e, &point, NULL);
}

void wino_multiply_gradient(Emitter *e, LLVMValueRef w, LLVMValueRef d, LLVMValueRef du, int64_t tiles, int64_t in_blocks,
                            int64_t out_blocks, WinoAside aside) {
    WinoTile tile = wino_tile(e->target, 1, out_blocks, e->V);
    int64_t V = e->V, n = tile.rows * tile.columns, groups = out_blocks / tile.columns;
    int64_t w_plane = wino_plane(e->target, in_blocks, tiles), d_plane = wino_plane(e->target, out_blocks, tiles);
    Loop point = loop_begin(e, emit_int(e, 0), emit_int(e, WINO_POINTS), 1, 0, NULL);
    Loop group = loop_begin(e, emit_int(e, 0), emit_int(e, groups), 1, 0, NULL);
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, in_blocks), 1, 0, NULL);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, V), tile.rows, 0, NULL);
    run_aside(e, aside, emit_offset(e, emit_offset(e, point.iv, groups, group.iv), in_blocks, block.iv),
              WINO_POINTS * groups * in_blocks, &row, V, tile.rows);
    /* dU as [point][ob][ib][i][V] */
    LLVMValueRef du_index = emit_offset(
        e, point.iv, out_blocks * in_blocks * V * V,
        emit_offset(e, group.iv, tile.columns * in_blocks * V * V, emit_offset(e, block.iv, V * V, emit_mul_int(e, row.iv, V))));
    LLVMValueRef du0 = emit_address(e, du, du_index);
    LLVMValueRef w0 = emit_address(e, w, emit_offset(e, point.iv, w_plane, emit_offset(e, block.iv, tiles * V, row.iv)));
    LLVMValueRef d0 = emit_address(e, d, emit_offset(e, point.iv, d_plane, emit_mul_int(e, group.iv, tile.columns * tiles * V)));
    LLVMValueRef acc[LOOP_MAX_CARRY], next[LOOP_MAX_CARRY];
    for (int r = 0; r < tile.rows; r++)
        for (int c = 0; c < tile.columns; c++) acc[r * tile.columns + c] = load(e, du0, c * in_blocks * V * V + r * V);
    int64_t unroll = tiles % 2 == 0 ? 2 : 1;
    Loop sum = loop_begin(e, emit_int(e, 0), emit_int(e, tiles), unroll, (int)n, acc);
    for (int i = 0; i < n; i++) next[i] = sum.carry[i];
    for (int64_t k = 0; k < unroll; k++) {
        LLVMValueRef wt = emit_address(e, w0, emit_offset(e, sum.iv, V, emit_int(e, k * V)));
        LLVMValueRef dt = emit_address(e, d0, emit_offset(e, sum.iv, V, emit_int(e, k * V)));
        LLVMValueRef column[LOOP_MAX_CARRY];
        for (int c = 0; c < tile.columns; c++) column[c] = load(e, dt, c * tiles * V);
        for (int r = 0; r < tile.rows; r++) {
            LLVMValueRef x = emit_load_splat(e, wt, emit_int(e, r));
            for (int c = 0; c < tile.columns; c++)
                next[r * tile.columns + c] = emit_fma(e, x, column[c], next[r * tile.columns + c]);
        }
    }
    loop_end(e, &sum, next);
    for (int r = 0; r < tile.rows; r++)
        for (int c = 0; c < tile.columns; c++) store(e, sum.carry[r * tile.columns + c], du0, c * in_blocks * V * V + r * V);
    loop_end(e, &row, NULL);
    loop_end(e, &block, NULL);
    loop_end(e, &group, NULL);
    loop_end(e, &point, NULL);
}
