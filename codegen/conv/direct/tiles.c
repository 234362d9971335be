/* Register tiles of the direct kernel: what one costs, and the best ones for a shape. */
#include "codegen/conv/direct/direct.h"

enum { STEP_OVERHEAD = 2 };

/* Half cycles of one input channel and tap row of `taps` taps for a tile: two multiply-adds and not quite two loads
 * go in a cycle, an accumulator is ready again after four. */
static int64_t step_cost(const Target *t, const Correlation *c, const TileShape *s, int64_t taps) {
    int64_t acc = s->rows * s->columns * s->blocks;
    bool shared = s->hold >= c->kernel[1] && c->in_stride[1] == 1 && c->dilation[1] == 1; /* a broadcast serves all taps */
    int64_t splats = s->rows * (shared ? s->columns + taps - 1 : s->columns * taps);
    int64_t fma = acc * taps, loads = splats + taps * s->blocks, latency = taps * (t->fma ? 8 : 16);
    return max_i64(max_i64(fma, loads + loads / 8), latency);
}

/* Of a row of output pixels and a block, to rank tiles: a step has an overhead of its own, so that larger tiles win ties. */
static int64_t tile_cost(const Target *t, const Correlation *c, const TileShape *s, int64_t width) {
    return divide_up(width, s->columns) * (step_cost(t, c, s, c->kernel[1]) + STEP_OVERHEAD) * 1000 / (s->rows * s->blocks);
}

/* Tiles of several rows need every phase and band to be a multiple of them. */
static bool rows_divide(const Correlation *c, int64_t band_rows, int64_t rows) {
    for (int64_t phase = 0; phase < c->phases[0]; phase++)
        if (correlation_lines(c, 0, phase) % rows) return false;
    return band_rows % rows == 0;
}

/* Puts a tile into the list of the `most` cheapest, ties in the order of arrival. */
static int rank_tile(TileShape *best, int64_t *best_cost, int count, int most, TileShape tile, int64_t cost) {
    int at = count;
    while (at > 0 && cost < best_cost[at - 1]) at--;
    if (at == most) return count;
    if (count < most) count++;
    for (int i = count - 1; i > at; i--) best[i] = best[i - 1], best_cost[i] = best_cost[i - 1];
    best[at] = tile;
    best_cost[at] = cost;
    return count;
}

static int64_t held_columns(const Target *t, const Correlation *c, int64_t accumulators, int64_t blocks) {
    return max_i64(1, min_i64(c->kernel[1], (t->registers - accumulators - 3) / blocks));
}

int tile_shapes(const Target *t, const Correlation *c, int64_t width, int64_t band_rows, TileShape *best, int most) {
    int64_t limit = t->registers >= 32 ? (c->kernel[1] == 1 ? 24 : 16) : 12, best_cost[MAX_TILES];
    int count = 0;
    for (int64_t blocks = 1; blocks <= 4; blocks++) {
        if (c->group_out_blocks % blocks) continue;
        for (int64_t parts = divide_up(width, limit); parts <= width; parts++) {
            int64_t columns = divide_up(width, parts);
            for (int64_t r = 1; r <= 8; r++) {
                if (r * columns * blocks > limit || (r > 1 && parts > 1) || !rows_divide(c, band_rows, r)) continue;
                TileShape s = {r, columns, blocks, held_columns(t, c, r * columns * blocks, blocks)};
                count = rank_tile(best, best_cost, count, most, s, tile_cost(t, c, &s, width));
            }
            if (columns * 2 < limit / blocks && parts > 2) break; /* narrower ones only lose */
        }
    }
    if (count == 0) best[count++] = (TileShape){1, 1, 1, 1};
    return count;
}

TileShape tile_of(const Target *t, const ConvChoice *choice, const Correlation *c, int64_t band_rows) {
    TileShape s = {choice->sizes[0], choice->sizes[1], choice->sizes[2], 1}, best[1];
    int64_t width = correlation_lines(c, 1, 0), accumulators = s.rows * s.columns * s.blocks;
    bool fits = accumulators > 0 && accumulators < t->registers - 4 && s.columns <= width &&
                c->group_out_blocks % s.blocks == 0 && (s.rows == 1 || s.columns == width) && rows_divide(c, band_rows, s.rows);
    if (fits) {
        s.hold = held_columns(t, c, accumulators, s.blocks);
        return s;
    }
    tile_shapes(t, c, width, band_rows, best, 1);
    return best[0];
}

double tile_cycles(const Target *t, const DirectPlan *p) {
    const Correlation *c = &p->frame.c;
    double channels = (double)(c->channels_in / c->groups), total = 0;
    for (int64_t y = 0; y < c->phases[0]; y++)
        for (int64_t x = 0; x < c->phases[1]; x++) {
            Taps rows = correlation_taps(c, 0, y), columns = correlation_taps(c, 1, x);
            double tiles = (double)(divide_up(correlation_lines(c, 0, y), p->tile.rows) *
                                    divide_up(correlation_lines(c, 1, x), p->tile.columns));
            double step = 0.5 * (double)step_cost(t, c, &p->tile, columns.count) * 1.05 + 1; /* with its overhead */
            if (rows.count && columns.count) total += tiles * (double)rows.count * step;
        }
    return total * channels * (double)(c->N * c->out_blocks) / (double)p->tile.blocks;
}
