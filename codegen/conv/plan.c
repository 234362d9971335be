/* Plans of the correlation kernels: algorithm, register tile, bands, pieces. Everything follows from the problem and the
 * target, nothing from the number of threads.
 *
 * Pieces are groups of images, so that the next one can be fetched while one is computed. Few images are cut further, so that two
 * cores find work in one: into ranges of output blocks where the filters outweigh the image, else into bands of rows. Images too
 * large for L2 are cut into bands too.
 */
#include "codegen/conv/conv.h"

enum {
    STEP_OVERHEAD = 2,
    MIN_PIECES = 16,
    MAX_IMAGES = 8,           /* of a piece */
    FEW_PIECES = 4,           /* two cores, two pieces each */
    STAGE_BYTES = 384 * 1024, /* of a 1 MB L2 */
    GEMM_BYTES = 2048 * 1024
};

bool conv_direct_applies(const ConvShape *s) {
    return s->groups == 1 || (s->I / s->groups % s->V == 0 && s->O / s->groups % s->V == 0);
}

/* Half cycles per output row and block with this tile: two FMAs and two loads go in a cycle, an accumulator is ready again after
 * four, and a step has an overhead of its own, so that larger tiles win ties. */
static int64_t tile_cost(const Target *t, const Correlation *c, const TileShape *s, int64_t width) {
    int64_t taps = c->kernel[1], acc = s->rows * s->columns * s->blocks;
    bool shared = s->hold >= taps && c->in_stride[1] == 1 && c->dilation[1] == 1; /* a broadcast serves all taps */
    int64_t splats = s->rows * (shared ? s->columns + taps - 1 : s->columns * taps);
    int64_t fma = acc * taps, loads = splats + taps * s->blocks, latency = taps * (t->fma ? 8 : 16);
    return divide_up(width, s->columns) * (max_i64(max_i64(fma, loads), latency) + STEP_OVERHEAD) * 1000 / (s->rows * s->blocks);
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

/* The chosen tile, or the cheapest where none is chosen or it does not fit the bands. */
static TileShape tile_of(const Target *t, const ConvChoice *choice, const Correlation *c, int64_t band_rows) {
    TileShape s = {choice->tile[0], choice->tile[1], choice->tile[2], 1}, best[1];
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

/* All numbers of rows per band equal but the last. */
static int64_t balanced(int64_t rows, int64_t most) { return divide_up(rows, divide_up(rows, most)); }

/* Bytes of scratch per band: `fixed` for the halo and per row of a phase `row`. */
typedef struct BandBytes {
    int64_t fixed, row;
} BandBytes;

static BandBytes band_bytes(const CorrelationPlan *p, int64_t row_bytes, int64_t halo) {
    const Correlation *c = &p->c;
    BandBytes b = {.fixed = max_i64(0, halo + 1 - c->in_stride[0]) * row_bytes, .row = c->in_stride[0] * row_bytes};
    if (p->gemm) { /* columns and the matrix of outputs */
        int64_t depth = c->kernel[0] * c->kernel[1] * (c->channels_in / c->groups), outs = c->out_blocks * c->V;
        b.row += correlation_lines(c, 1, 0) * (depth + outs) * (int64_t)sizeof(float);
    }
    return b;
}

static void plan_pieces(CorrelationPlan *p, const Target *t, const ConvChoice *choice, int64_t rows, int64_t row_bytes,
                        int64_t halo, int64_t filter_bytes, int64_t few_pieces) {
    const Correlation *c = &p->c;
    BandBytes bytes = band_bytes(p, row_bytes, halo);
    int64_t fit = ((p->gemm ? GEMM_BYTES : STAGE_BYTES) - bytes.fixed) / bytes.row;
    p->band_rows = balanced(rows, max_i64(1, min_i64(rows, fit)));
    p->bands = divide_up(rows, p->band_rows);
    p->splits = 1;
    p->tile = tile_of(t, choice, c, p->band_rows);
    p->images = p->gemm || p->bands > 1 ? 1 : max_i64(1, min_i64(MAX_IMAGES, c->N / MIN_PIECES));
    int64_t wanted = divide_up(few_pieces, c->N * p->bands);
    if (wanted <= 1) return;
    int64_t groups = c->out_blocks / p->tile.blocks, image_bytes = row_bytes * c->in[0];
    if (!p->gemm && (filter_bytes > image_bytes || rows < wanted)) {
        p->splits = min_i64(wanted, groups);
    } else if (rows >= 2) {
        p->band_rows = balanced(rows, divide_up(p->band_rows, min_i64(wanted, p->band_rows)));
        p->bands = divide_up(rows, p->band_rows);
        p->tile = tile_of(t, choice, c, p->band_rows);
    }
}

int64_t conv_few_pieces(const Graph *g, const ConvShape *s) { return g->mode == MODE_INFER && s->N > 1 ? 1 : FEW_PIECES; }

CorrelationPlan correlation_plan(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v) {
    ConvShape s = conv_shape(g, v, t->lanes);
    CorrelationPlan p = {
        .s = s, .c = v->op == OP_CONV2D ? correlation_forward(&s) : correlation_data(&s), .gemm = choice->algorithm == CONV_GEMM};
    const Correlation *c = &p.c;
    p.pair = choice->algorithm == CONV_DIRECT && t->map_bytes == 2 && t->bf16 ? 2 : 1;
    int64_t first[2], last[2], rows = correlation_lines(c, 0, 0), columns = correlation_lines(c, 1, 0);
    for (int axis = 0; axis < 2; axis++) correlation_reach(c, axis, &first[axis], &last[axis]);
    int64_t staged_columns = (columns - 1) * c->in_stride[1] + last[1] - first[1] + 1;
    int64_t row_bytes = c->in_blocks * staged_columns * c->V * (int64_t)sizeof(float) / p.pair;
    int64_t taps = c->kernel[0] * c->kernel[1], filter_floats = c->out_blocks * c->group_in_blocks * taps * c->V * c->V / p.pair;
    plan_pieces(&p, t, choice, rows, row_bytes, last[0] - first[0], filter_floats * (int64_t)sizeof(float),
                conv_few_pieces(g, &s));
    StageWindow w = {.first = {first[0], first[1]},
                     .lines = {(p.band_rows - 1) * c->in_stride[0] + last[0] - first[0] + 1, staged_columns},
                     .last_row = (rows - 1) * c->in_stride[0] + last[0],
                     .advance = p.band_rows * c->in_stride[0],
                     .bands = p.bands,
                     .form = p.pair == 2 ? STAGE_CHANNELS : stage_form(t)};
    p.stage = stage_plan(g, v, 0, c->V, &w);
    if (p.gemm)
        p.packed_bytes = (uint64_t)(c->channels_in / c->groups * c->channels_out * taps) * sizeof(float);
    else if (c->transposed || p.pair == 2)
        p.packed_bytes = (uint64_t)filter_floats * sizeof(float);
    p.packed_bytes = (p.packed_bytes + 63) / 64 * 64;
    if (p.bands > 1) {
        for (uint32_t i = 0; i < v->nregions; i++)
            if (v->regions[i].role == REGION_REDUCE)
                p.sums_bytes += (uint64_t)(c->N * p.bands * c->out_blocks * c->V) * sizeof(float);
    }
    return p;
}
