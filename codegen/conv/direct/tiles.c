/* Register tiles of the direct kernel: what one costs, and the best ones for a shape. */
#include "codegen/conv/direct/direct.h"

enum { STEP_OVERHEAD = 2, KEPT_FILTERS = 24 * 1024 /* bytes, of L1 */ };
static const double line_cost = 1.5; /* half cycles of a line of filters from L2, hidden by nothing */

/* Filter columns that a row of output pixels of one phase meets, at most. */
static int64_t taps_of(const Correlation *c) { return divide_up(c->kernel[1], c->phases[1]); }

/* Half cycles of one input channel and tap row of `taps` taps for a tile: two multiply-adds and hardly two loads
 * go in a cycle, an accumulator is ready again after four. */
static int64_t step_cost(const Target *t, const Correlation *c, const TileShape *s, int64_t taps) {
    int64_t acc = s->rows * s->columns * s->blocks;
    bool shared = s->hold >= taps_of(c) && c->in_stride[1] == 1 && c->dilation[1] == 1; /* a broadcast serves all taps */
    int64_t splats = s->rows * (shared ? s->columns + taps - 1 : s->columns * taps);
    int64_t fma = acc * taps, loads = splats + taps * s->blocks, latency = taps * (t->fma ? 8 : 16);
    return max_i64(max_i64(fma, loads + loads / 4), latency);
}

/* Half cycles of a step's filters, which come from L2 if L1 does not keep those of the tile's output blocks. Those of one tap lie
 * in the order in which they are read, which the caches see coming. */
static double filter_cost(const Correlation *c, int64_t blocks) {
    int64_t vector = c->V * (int64_t)sizeof(float), channels = c->channels_in / c->groups, taps = c->kernel[0] * c->kernel[1];
    if (taps == 1 || blocks * channels * taps * vector <= KEPT_FILTERS) return 0;
    return line_cost * (double)(taps_of(c) * blocks * vector) / CACHE_LINE;
}

/* Of a row of output pixels and a block, to rank tiles: a step has an overhead of its own, so that larger tiles win ties. */
static int64_t tile_cost(const Target *t, const Correlation *c, const TileShape *s, int64_t width) {
    double step = (double)(step_cost(t, c, s, taps_of(c)) + STEP_OVERHEAD) + filter_cost(c, s->blocks);
    return (int64_t)((double)(divide_up(width, s->columns) * 1000) * step) / (s->rows * s->blocks);
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

/* Filter columns that registers hold beside the accumulators and broadcasts, of which taps that follow each other take a few at a
 * time; 0: what does not fit is spilled, which costs half as much again (1x4x3 with 16 registers and 3 taps). */
static int64_t held_columns(const Target *t, const Correlation *c, int64_t accumulators, int64_t blocks) {
    int64_t taps = taps_of(c), broadcasts = taps > 1 ? 3 : 1;
    return min_i64(taps, max_i64(0, t->registers - accumulators - broadcasts) / blocks);
}

int tile_shapes(const Target *t, const Correlation *c, int64_t width, int64_t band_rows, TileShape *best, int most) {
    int64_t limit = t->registers >= 32 ? (c->kernel[1] == 1 ? 24 : 16) : 12, best_cost[MAX_TILES];
    int count = 0;
    for (int64_t blocks = 1; blocks <= 4; blocks++) {
        if (c->group_out_blocks % blocks) continue;
        for (int64_t parts = divide_up(width, limit); parts <= width; parts++) {
            int64_t columns = divide_up(width, parts);
            for (int64_t r = 1; r <= 8; r++) {
                if (r * columns * blocks > limit || (r > 1 && parts > 1) || !correlation_rows_divide(c, band_rows, r)) continue;
                TileShape s = {r, columns, blocks, held_columns(t, c, r * columns * blocks, blocks)};
                if (s.hold == 0) continue;
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
    bool fits = accumulators > 0 && accumulators <= t->registers - 4 && s.columns <= width &&
                c->group_out_blocks % s.blocks == 0 && (s.rows == 1 || s.columns == width) &&
                correlation_rows_divide(c, band_rows, s.rows);
    if (fits) { /* a choice may spill: older ones do, and their bits are wanted */
        s.hold = max_i64(1, held_columns(t, c, accumulators, s.blocks));
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
