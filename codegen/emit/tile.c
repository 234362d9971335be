/* The register tile of a matrix product (tile.h). */
#include "codegen/emit/tile.h"
#include "codegen/emit/arith.h"
#include "codegen/emit/loop.h"
#include "codegen/emit/memory.h"

enum {
    MAX_ROWS = 12,
    MAX_COLUMNS = 4,
    TURN_FMAS = 32, /* of a turn of the loop over k, at least */
    WHOLE_FMAS = 96 /* as few in all have no loop: two turns of 48 take Zen 3 up to a third longer than 96 in a row */
};
static const double turn = 0.5; /* cycles that a k costs besides: with it larger tiles win ties */

static double at_least(double a, double b) { return a > b ? a : b; }

static double cycles_of(const Target *t, int64_t rows, int64_t columns) {
    double multiply_adds = (double)(rows * columns) / 2, loads = (double)(rows + columns) / 2, latency = t->fma ? 4 : 8;
    return at_least(at_least(multiply_adds, loads), latency) + turn;
}

double tile_step_cycles(const Target *t, const ProductTile *tile, int64_t rows, int64_t columns) {
    int64_t parts = (rows + tile->rows - 1) / tile->rows, height = (rows + parts - 1) / parts, rest = columns % tile->columns;
    double whole = (double)(columns / tile->columns) * cycles_of(t, height, tile->columns);
    return (double)parts * (whole + (rest ? cycles_of(t, height, rest) : 0));
}

ProductTile tile_best(const Target *t, int64_t rows, int64_t columns, int divide) {
    ProductTile best = {1, 1, 0, 0, 0, 0};
    double best_cost = 0;
    for (int c = 1; c <= MAX_COLUMNS && c <= columns; c++) {
        int most = t->registers - t->registers / 8 - c; /* accumulators: vectors of b and a few broadcasts stand beside them */
        for (int r = 1; r <= MAX_ROWS && r <= rows; r++) {
            if (r * c > most || (divide & TILE_ROWS && rows % r) || (divide & TILE_COLUMNS && columns % c)) continue;
            ProductTile tile = {.rows = r, .columns = c};
            double cost = tile_step_cycles(t, &tile, rows, columns);
            if (best_cost != 0 && cost >= best_cost) continue;
            best = tile;
            best_cost = cost;
        }
    }
    return best;
}

static void step(Emitter *e, const ProductTile *t, LLVMValueRef a, LLVMValueRef b, int64_t k, LLVMValueRef *acc) {
    LLVMValueRef vector[MAX_COLUMNS];
    for (int c = 0; c < t->columns; c++) vector[c] = emit_load(e, b, emit_int(e, k * t->b_step + c * t->b_column));
    for (int r = 0; r < t->rows; r++) {
        LLVMValueRef splat = emit_load_splat(e, a, emit_int(e, k * t->a_step + r * t->a_row));
        for (int c = 0; c < t->columns; c++, acc++) *acc = emit_fma(e, splat, vector[c], *acc);
    }
}

void tile_multiply(Emitter *e, const ProductTile *t, LLVMValueRef a, LLVMValueRef b, int64_t count, LLVMValueRef *acc) {
    int n = t->rows * t->columns;
    int64_t unroll = count * n <= WHOLE_FMAS ? count : 1;
    while (unroll * n < TURN_FMAS && count % (unroll * 2) == 0) unroll *= 2;
    LLVMValueRef next[LOOP_MAX_CARRY];
    Loop k = loop_begin(e, emit_int(e, 0), emit_int(e, count), unroll, n, acc);
    LLVMValueRef ak = emit_address(e, a, emit_mul_int(e, k.iv, t->a_step));
    LLVMValueRef bk = emit_address(e, b, emit_mul_int(e, k.iv, t->b_step));
    for (int i = 0; i < n; i++) next[i] = k.carry[i];
    for (int64_t u = 0; u < unroll; u++) step(e, t, ak, bk, u, next);
    loop_end(e, &k, next);
    for (int i = 0; i < n; i++) acc[i] = k.carry[i];
}
