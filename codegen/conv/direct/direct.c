/* The row of the direct method (direct.h).
 *
 * Pieces are groups of images, so that the next one can be fetched while one is computed. Few images are cut further, so that two
 * cores find work in one: into ranges of output blocks where the filters outweigh the image, else into bands of rows. Images too
 * large for L2 are cut into bands too.
 */
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/shared/cost.h"
#include "codegen/conv/shared/pack.h"

enum {
    TILES = 3,    /* worth trying */
    AHEAD = 2048, /* words: 128 lines, each of which serves eight cycles or more */
    FEW_TILES = 4 /* of an image: more find the filters in the cache, and asking for them costs a tenth of the time */
};
static const double weights_rate = 1.75; /* multiply-adds a cycle, of two */
static const double phases_cost = 1.2;   /* of backward data with stride: phase by phase, in tiles of fewer pixels and taps */
static const double slab_cost = 4;       /* cycles of a vector of a partial gradient, read, added to and written */
/* Filters, or their gradient, that outgrow a core's cache by so many bytes come from the last one with every image anew; each of
 * those costs so many bytes copied within a core's. */
static const double kept_filters = 1 << 20, filter_cost = 4;

static double filters_again(double bytes, const ConvShape *s) {
    return bytes > kept_filters ? filter_cost * (bytes - kept_filters) * (double)s->N : 0;
}

bool direct_applies(const ConvProblem *p) { return conv_fills_blocks(&p->s) || bundle_groups(&p->s); }

int64_t direct_pair(const ConvProblem *p) { return !bundle_groups(&p->s) && p->t->map_bytes == 2 && p->t->bf16 ? 2 : 1; }

/* ---- forward and data ---- */

static void plan_pieces(DirectPlan *d, const ConvProblem *p, const ConvChoice *choice) {
    CorrelationPlan *f = &d->frame;
    const Correlation *c = &f->c;
    frame_bands(f, STAGE_BYTES, 0);
    frame_pieces(f, p, (int64_t)pack_tiles_bytes(c, f->pair));
    d->tile = tile_of(p->t, choice, c, f->band_rows);
    f->splits = min_i64(f->splits, c->out_blocks / d->tile.blocks);
}

/* Filters come from memory or the last cache if one image reads them, or if they outgrow a core's for each image anew. The caches
 * themselves see the way through rows of taps late. With phases a tile's next filters are not those behind, and at the end of a
 * short stream, an output block's, they are another's. */
static int64_t filters_ahead(const DirectPlan *d) {
    const Correlation *c = &d->frame.c;
    int64_t bytes = (int64_t)pack_tiles_bytes(c, d->frame.pair),
            ahead = AHEAD / d->tile.blocks / CACHE_LINE_FLOATS * CACHE_LINE_FLOATS;
    int64_t tiles = divide_up(correlation_lines(c, 0, 0), d->tile.rows) * divide_up(correlation_lines(c, 1, 0), d->tile.columns);
    bool far = c->N == 1 || (double)bytes > kept_filters, in_order = c->phases[0] * c->phases[1] == 1;
    bool is_long = bytes / c->out_blocks >= 2 * ahead * (int64_t)sizeof(float);
    return far && in_order && is_long && tiles <= FEW_TILES ? ahead : 0;
}

/* A tile that does not fit would be replaced by one that does. */
static bool has_tile(const DirectPlan *plan, const ConvChoice *choice) {
    const TileShape *tile = &plan->tile;
    return !choice->sizes[0] ||
           (tile->rows == choice->sizes[0] && tile->columns == choice->sizes[1] && tile->blocks == choice->sizes[2]);
}

bool direct_plan(const ConvProblem *p, const ConvChoice *choice, DirectPlan *plan) {
    ConvProblem widened = bundle_widened(p);
    *plan = (DirectPlan){.frame = frame_open(&widened, direct_pair(p)), .bundled = bundle_groups(&p->s) > 0};
    CorrelationPlan *f = &plan->frame;
    f->s = p->s;
    f->c.channels_out = p->direction == CONV_DATA ? p->s.I : p->s.O;
    plan_pieces(plan, p, choice);
    plan->ahead = filters_ahead(plan);
    frame_stage(f, p);
    if (direct_packs(plan)) f->packed_bytes = pack_tiles_bytes(&f->c, f->pair);
    return has_tile(plan, choice);
}

uint32_t direct_candidates(const ConvProblem *p, const DirectPlan *own, ConvChoice *out) {
    const Correlation *c = &own->frame.c;
    TileShape tile[TILES];
    int n = tile_shapes(p->t, c, correlation_lines(c, 1, 0), own->frame.band_rows, tile, TILES);
    for (int i = 0; i < n; i++)
        out[i].sizes[0] = tile[i].rows, out[i].sizes[1] = tile[i].columns, out[i].sizes[2] = tile[i].blocks;
    return (uint32_t)n;
}

ConvWork direct_work(const ConvProblem *p, const DirectPlan *plan) {
    const CorrelationPlan *f = &plan->frame;
    double pieces = (double)(f->c.N * f->bands);
    bool in_phases = f->c.phases[0] * f->c.phases[1] > 1 && p->s.kernel[0] * p->s.kernel[1] > 1;
    return (ConvWork){.fma_cycles = tile_cycles(p->t, plan) / cost_pair_rate(f->pair) * (in_phases ? phases_cost : 1),
                      .copied = (f->stage.copied ? 2 * pieces * (double)f->stage.bytes : 0) + 2 * (double)f->packed_bytes +
                                filters_again((double)pack_tiles_bytes(&f->c, f->pair), &p->s) * (double)f->bands};
}

/* ---- weights ---- */

/* A slab's sums are added to the partial gradient, which outgrows L1: a 1x1 filter has only the slab's pixels to make up for it,
 * of larger ones `weights_rate` has it in. */
static double slab_cycles(const DirectWeights *plan) {
    const WeightsPlan *w = &plan->w;
    if (w->s.kernel[0] * w->s.kernel[1] > 1) return 0;
    double slabs = (double)(w->s.N * w->bands * divide_up(w->band_rows, plan->slab_rows));
    return slab_cost * slabs * (double)(w->dw_floats / w->s.V);
}

ConvWork direct_weights_work(const ConvProblem *p, const DirectWeights *plan) {
    const WeightsPlan *w = &plan->w;
    return (ConvWork){.fma_cycles = cost_vector_fmas(&w->s) / (weights_rate * cost_pair_rate(w->pair)) + slab_cycles(plan),
                      .copied = 2 * (double)(p->s.N * w->bands) * (double)(w->x.bytes + w->dy.bytes) +
                                2 * (double)w->partial_bytes + (plan->bundled ? 2 * (double)w->dw_floats * sizeof(float) : 0) +
                                2 * filters_again((double)w->dw_floats * sizeof(float), &p->s) * (double)w->bands / w->pair};
}

/* ---- the row ---- */

static const void *correlation_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    DirectPlan plan;
    return direct_plan(p, choice, &plan) ? CONV_PLAN(arena, plan) : NULL;
}

static uint32_t candidates(const ConvProblem *p, const void *own, ConvChoice *out) { return direct_candidates(p, own, out); }
static ConvWork work(const ConvProblem *p, const void *plan) { return direct_work(p, plan); }

static uint64_t workspace(const void *plan, bool fixed_filters) {
    const CorrelationPlan *f = &((const DirectPlan *)plan)->frame;
    return f->sums_bytes + (fixed_filters ? 0 : f->packed_bytes);
}

static const void *gradient_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    DirectWeights plan = direct_weights_plan(p);
    return choice->sizes[0] ? NULL : CONV_PLAN(arena, plan);
}

static ConvWork gradient_work(const ConvProblem *p, const void *plan) { return direct_weights_work(p, plan); }

static uint64_t gradient_workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const DirectWeights *)plan)->w.partial_bytes;
}

const ConvMethod conv_direct = {.name = "direct",
                                .sizes = "tile",
                                .nsizes = 3,
                                .correlation = {.applies = direct_applies,
                                                .plan = correlation_plan,
                                                .candidates = candidates,
                                                .work = work,
                                                .workspace = workspace,
                                                .lower = direct_lower},
                                .weights = {.applies = direct_applies,
                                            .plan = gradient_plan,
                                            .work = gradient_work,
                                            .workspace = gradient_workspace,
                                            .lower = direct_lower_weights},
                                .pair = &direct_pair_method};
