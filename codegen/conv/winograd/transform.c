/* Winograd F(4x4, 3x3): tile transforms and batched products. See winograd.h for the algebra and the layout of planes.
 *
 * A transform holds one tile of V channels in registers. The 6x6 input transform is done in two halves of three rows, since
 * its 36 intermediates and 6 inputs would not fit 32 registers; the halves read the tile again, which is in L1.
 */
#include "codegen/conv/winograd/winograd.h"

static LLVMValueRef load(Emitter *e, LLVMValueRef p, int64_t element) { return emit_load(e, p, emit_int(e, element)); }
static void store(Emitter *e, LLVMValueRef v, LLVMValueRef p, int64_t element) { emit_store(e, v, p, emit_int(e, element)); }

int64_t wino_plane(const Target *t, int64_t channel_blocks, int64_t tiles) {
    int64_t line = 64 / (int64_t)sizeof(float);
    return channel_blocks * tiles * t->lanes + (t->lanes > line ? t->lanes : line);
}

int64_t wino_filter_plane(const Target *t, int64_t in_blocks, int64_t out_blocks) {
    return wino_plane(t, in_blocks * out_blocks, t->lanes);
}

/* Rows 0..2 of B' applied to d0..d4. */
static void input_low(Emitter *e, const LLVMValueRef d[6], LLVMValueRef o[3]) {
    LLVMValueRef a = wino_axpy(e, -4, d[2], d[4]), b = wino_axpy(e, -4, d[1], d[3]);
    o[0] = wino_axpy(e, 4, emit_sub(e, d[0], d[2]), emit_sub(e, d[4], d[2]));
    o[1] = emit_add(e, a, b);
    o[2] = emit_sub(e, a, b);
}

/* Rows 3..5 of B' applied to d1..d5. */
static void input_high(Emitter *e, const LLVMValueRef d[6], LLVMValueRef o[3]) {
    LLVMValueRef c = emit_sub(e, d[4], d[2]), f = emit_sub(e, d[3], d[1]);
    o[0] = wino_axpy(e, 2, f, c);
    o[1] = wino_axpy(e, -2, f, c);
    o[2] = wino_axpy(e, -4, f, emit_sub(e, d[5], d[3]));
}

WinoTileSource wino_source(Emitter *e, LLVMValueRef src, int64_t row_stride, int64_t side) {
    WinoTileSource tile = {.end = side};
    for (int64_t i = 0; i < side; i++) tile.line[i] = emit_address(e, src, emit_int(e, i * row_stride));
    return tile;
}

LLVMValueRef wino_pixel(Emitter *e, const WinoTileSource *tile, int64_t i, int64_t j) {
    return j < tile->first || j >= tile->end ? emit_vec(e, 0) : load(e, tile->line[i], (j - tile->first) * e->V);
}

void wino_transform_input(Emitter *e, const WinoTileSource *tile, LLVMValueRef dst, int64_t plane) {
    for (int half = 0; half < 2; half++) {
        LLVMValueRef t[3][6];
        for (int j = 0; j < 6; j++) {
            LLVMValueRef d[6] = {0}, o[3];
            for (int i = half; i < 5 + half; i++) d[i] = wino_pixel(e, tile, i, j);
            half == 0 ? input_low(e, d, o) : input_high(e, d, o);
            for (int i = 0; i < 3; i++) t[i][j] = o[i];
        }
        for (int i = 0; i < 3; i++) {
            LLVMValueRef o[6];
            input_low(e, t[i], o);
            input_high(e, t[i], o + 3);
            for (int j = 0; j < 6; j++) store(e, o[j], dst, ((half * 3 + i) * 6 + j) * plane);
        }
    }
}

/* A' m: six to four. */
static void output_line(Emitter *e, const LLVMValueRef m[6], LLVMValueRef o[4]) {
    LLVMValueRef s1 = emit_add(e, m[1], m[2]), d1 = emit_sub(e, m[1], m[2]), s2 = emit_add(e, m[3], m[4]),
                 d2 = emit_sub(e, m[3], m[4]);
    o[0] = emit_add(e, emit_add(e, m[0], s1), s2);
    o[1] = wino_axpy(e, 2, d2, d1);
    o[2] = wino_axpy(e, 4, s2, s1);
    o[3] = emit_add(e, wino_axpy(e, 8, d2, d1), m[5]);
}

static void transform_output(Emitter *e, LLVMValueRef src, int64_t plane, LLVMValueRef out[16]) {
    LLVMValueRef t[4][6];
    for (int j = 0; j < 6; j++) {
        LLVMValueRef m[6], o[4];
        for (int i = 0; i < 6; i++) m[i] = load(e, src, (i * 6 + j) * plane);
        output_line(e, m, o);
        for (int i = 0; i < 4; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < 4; i++) output_line(e, t[i], out + i * 4);
}

/* A y: four to six. */
static void gradient_line(Emitter *e, const LLVMValueRef y[4], LLVMValueRef o[6]) {
    LLVMValueRef s = emit_add(e, y[0], y[2]), d = emit_add(e, y[1], y[3]), u = wino_axpy(e, 4, y[2], y[0]),
                 w = wino_axpy(e, 4, y[3], y[1]);
    o[0] = y[0];
    o[1] = emit_add(e, s, d);
    o[2] = emit_sub(e, s, d);
    o[3] = wino_axpy(e, 2, w, u);
    o[4] = wino_axpy(e, -2, w, u);
    o[5] = y[3];
}

void wino_transform_gradient(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    LLVMValueRef t[6][4];
    for (int j = 0; j < 4; j++) {
        LLVMValueRef y[4], o[6];
        for (int i = 0; i < 4; i++) y[i] = load(e, src, i * row_stride + (int64_t)j * e->V);
        gradient_line(e, y, o);
        for (int i = 0; i < 6; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < 6; i++) {
        LLVMValueRef o[6];
        gradient_line(e, t[i], o);
        for (int j = 0; j < 6; j++) store(e, o[j], dst, (i * 6 + j) * plane);
    }
}

/* G g: three to six. G = [1/4 0 0; -1/6 -1/6 -1/6; -1/6 1/6 -1/6; 1/24 1/12 1/6; 1/24 -1/12 1/6; 0 0 1]. */
static void filter_line(Emitter *e, LLVMValueRef g0, LLVMValueRef g1, LLVMValueRef g2, LLVMValueRef o[6]) {
    LLVMValueRef even = wino_scale(e, -1.0 / 6, emit_add(e, g0, g2)),
                 wide = wino_axpy(e, 1.0 / 24, g0, wino_scale(e, 1.0 / 6, g2));
    o[0] = wino_scale(e, 0.25, g0);
    o[1] = wino_axpy(e, -1.0 / 6, g1, even);
    o[2] = wino_axpy(e, 1.0 / 6, g1, even);
    o[3] = wino_axpy(e, 1.0 / 12, g1, wide);
    o[4] = wino_axpy(e, -1.0 / 12, g1, wide);
    o[5] = g2;
}

void wino_transform_filter(Emitter *e, const WinoForm *form, const LLVMValueRef g[9], LLVMValueRef out[WINO_FILTERS]) {
    LLVMValueRef t[6][3];
    for (int j = 0; j < 3; j++) {
        LLVMValueRef o[6];
        form->filter_line(e, g[j], g[3 + j], g[6 + j], o);
        for (int i = 0; i < 6; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < 6; i++) form->filter_line(e, t[i][0], t[i][1], t[i][2], out + i * 6);
}

const WinoForm wino_plain = {.side = WINO_IN,
                             .lines = WINO_OUT,
                             .input_cost = 180,
                             .output_cost = 150,
                             .input = wino_transform_input,
                             .output = transform_output,
                             .filter_line = filter_line};

/* G' u: six to three. */
static void filter_gradient_line(Emitter *e, const LLVMValueRef u[6], LLVMValueRef o[3]) {
    LLVMValueRef s12 = emit_add(e, u[1], u[2]), d21 = emit_sub(e, u[2], u[1]), s34 = emit_add(e, u[3], u[4]),
                 d34 = emit_sub(e, u[3], u[4]);
    LLVMValueRef even = wino_scale(e, -1.0 / 6, s12);
    o[0] = wino_axpy(e, 0.25, u[0], wino_axpy(e, 1.0 / 24, s34, even));
    o[1] = wino_axpy(e, 1.0 / 12, d34, wino_scale(e, 1.0 / 6, d21));
    o[2] = emit_add(e, wino_axpy(e, 1.0 / 6, s34, even), u[5]);
}

void wino_transform_filter_gradient(Emitter *e, const LLVMValueRef u[36], LLVMValueRef out[9]) {
    LLVMValueRef t[3][6];
    for (int j = 0; j < 6; j++) {
        LLVMValueRef column[6], o[3];
        for (int i = 0; i < 6; i++) column[i] = u[i * 6 + j];
        filter_gradient_line(e, column, o);
        for (int i = 0; i < 3; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < 3; i++) filter_gradient_line(e, t[i], out + i * 3);
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

/* At the start of a register tile: row `row` of `rows`, in steps of `stride`, of sweep `sweep` of `sweeps`. */
static void run_aside(Emitter *e, WinoAside aside, LLVMValueRef sweep, int64_t sweeps, const Loop *row, int64_t rows,
                      int64_t stride) {
    if (!aside.run) return;
    LLVMValueRef turn = LLVMBuildUDiv(e->b, row->iv, emit_int(e, stride), "");
    aside.run(aside.context, emit_offset(e, sweep, rows / stride, turn), sweeps * (rows / stride));
}

/* The filter that plane `point` meets. */
static LLVMValueRef filter_of(Emitter *e, const WinoForm *form, LLVMValueRef point) {
    if (form->side == WINO_IN) return point;
    LLVMValueRef side = emit_int(e, form->side), last = emit_int(e, WINO_IN - 1);
    LLVMValueRef row = emit_min_int(e, LLVMBuildUDiv(e->b, point, side, ""), last);
    return emit_offset(e, row, WINO_IN, emit_min_int(e, LLVMBuildURem(e->b, point, side, ""), last));
}

void wino_multiply(Emitter *e, const WinoForm *form, WinoTile tile, int64_t plane, LLVMValueRef w, LLVMValueRef u, LLVMValueRef m,
                   int64_t tiles, int64_t in_blocks, int64_t in_channels, int64_t out_blocks, WinoAside aside) {
    const int64_t points = wino_points(form);
    int64_t V = e->V, n = tile.planes * tile.rows * tile.columns, groups = out_blocks / tile.columns;
    int64_t u_block = V * tile.columns * V, u_plane = wino_filter_plane(e->target, in_blocks, out_blocks);
    Loop point = loop_begin(e, emit_int(e, 0), emit_int(e, points), tile.planes, 0, NULL);
    LLVMValueRef filter[WINO_MAX_PLANES], turn = LLVMBuildUDiv(e->b, point.iv, emit_int(e, tile.planes), "");
    for (int p = 0; p < tile.planes; p++) filter[p] = filter_of(e, form, emit_add_int(e, point.iv, emit_int(e, p)));
    Loop group = loop_begin(e, emit_int(e, 0), emit_int(e, groups), 1, 0, NULL);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, tiles), tile.rows, 0, NULL);
    run_aside(e, aside, emit_offset(e, turn, groups, group.iv), points / tile.planes * groups, &row, tiles, tile.rows);
    Operands first;
    for (int p = 0; p < tile.planes; p++) {
        LLVMValueRef at = emit_add_int(e, point.iv, emit_int(e, p));
        first.w[p] = emit_address(e, w, emit_offset(e, at, plane, emit_mul_int(e, row.iv, V)));
        first.u[p] = emit_address(e, u, emit_offset(e, filter[p], u_plane, emit_mul_int(e, group.iv, in_blocks * u_block)));
    }
    LLVMValueRef acc[LOOP_MAX_CARRY];
    for (int i = 0; i < n; i++) acc[i] = emit_vec(e, 0);
    int64_t full = in_channels / V, rest = in_channels % V;
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
        e, m, emit_offset(e, point.iv, plane, emit_offset(e, group.iv, tile.columns * tiles * V, emit_mul_int(e, row.iv, V))));
    for (int p = 0, i = 0; p < tile.planes; p++)
        for (int r = 0; r < tile.rows; r++)
            for (int c = 0; c < tile.columns; c++) store(e, acc[i++], m0, p * plane + (c * tiles + r) * V);
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
