/* The row of the AMX method (amx.h). */
#include "codegen/conv/amx/amx.h"
#include "codegen/conv/shared/pack.h"
#include "codegen/emit/amx.h"

enum {
    GATHERED_PIECES = 8,
    KEPT_FILTERS = 512 * 1024,
    GATHERED_BYTES = 768 * 1024, /* of a core's 2 MB */
    TILES = 3,                   /* worth trying */
    LOAD_CYCLES = 10
};
static const double finish_cost = 4; /* vector instructions by which an accumulator goes through memory */
static const double turn_cost = 128; /* of 16 x 16 words transposed: loads, shuffles, stores */

static bool applies(const ConvProblem *p) { return p->t->amx && conv_fills_blocks(&p->s); }

/* ---- tiles ---- */

/* Cycles of a dot, with its share of the loads. */
static double dot_cycles(const AmxTile *t) {
    double pixels = (double)(t->rows * t->columns), blocks = (double)t->blocks;
    double rounds = (double)divide_up(t->blocks, AMX_NB); /* of A's, while so many B's stay */
    double dots = pixels * blocks * AMX_DOT_CYCLES, loads = (rounds * pixels + blocks) * LOAD_CYCLES;
    return (dots > loads ? dots : loads) / (pixels * blocks);
}

static bool fits(const AmxPlan *plan, const AmxTile *t) {
    const Correlation *c = &plan->frame.c;
    int64_t pixels = t->rows * t->columns, parts = divide_up(correlation_lines(c, 1, 0), plan->width);
    if (plan->flat_pixels) parts = plan->flat_pixels / plan->width;
    if (plan->flat_pixels && t->rows > 1) return false;
    return t->rows > 0 && t->columns > 0 && t->blocks > 0 && t->columns <= parts && pixels * t->blocks <= AMX_NC &&
           c->group_out_blocks % t->blocks == 0 && correlation_rows_divide(c, plan->frame.band_rows, t->rows);
}

/* The TILES cheapest that fit, cheapest first, ties in favour of rows, then columns. */
static uint32_t list_tiles(const AmxPlan *plan, AmxTile out[TILES]) {
    uint32_t n = 0;
    for (int64_t rows = AMX_NC; rows >= 1; rows--)
        for (int64_t columns = AMX_NC; columns >= 1; columns--)
            for (int64_t blocks = 1; blocks <= AMX_NC; blocks++) {
                AmxTile t = {rows, columns, blocks};
                uint32_t at = n;
                while (at > 0 && dot_cycles(&out[at - 1]) > dot_cycles(&t)) at--;
                if (at == TILES || !fits(plan, &t)) continue;
                if (n < TILES) n++;
                for (uint32_t i = n - 1; i > at; i--) out[i] = out[i - 1];
                out[at] = t;
            }
    return n;
}

/* ---- forward and data ---- */

/* Filters that outgrow a core's cache come once for images that are gathered, of whole ones. */
static void plan_pieces(AmxPlan *a, const ConvProblem *p) {
    CorrelationPlan *f = &a->frame;
    const Correlation *c = &f->c;
    int64_t image_bytes = f->row_bytes * (c->in[0] + c->kernel[0]), filters = (int64_t)pack_tiles_bytes(c, f->pair);
    int64_t together = min_i64(min_i64(FRAME_MAX_IMAGES, c->N / GATHERED_PIECES), GATHERED_BYTES / image_bytes);
    frame_bands(f, STAGE_BYTES, 0);
    frame_pieces(f, p, filters);
    a->gathered = filters > KEPT_FILTERS && f->bands == 1 && f->splits == 1 && together > 1;
    if (a->gathered) f->images = together;
}

/* Rows that lie behind each other as they do when staged, so that a tile may go on in the next. */
static bool runs_on(const Correlation *c) {
    return c->in_stride[0] == 1 && c->in_stride[1] == 1 && c->phases[0] == 1 && c->phases[1] == 1;
}

/* As a row of pixels, or, where that takes fewer, as one of all the band's rows. */
static void plan_width(AmxPlan *a) {
    CorrelationPlan *f = &a->frame;
    int64_t lines = correlation_lines(&f->c, 1, 0), tiles = divide_up(lines, AMX_ROWS);
    a->width = divide_up(lines, tiles);
    int64_t all = (f->band_rows - 1) * f->stage.lines[1] + lines, parts = divide_up(all, AMX_ROWS);
    if (!runs_on(&f->c) || lines > AMX_ROWS || parts >= f->band_rows * tiles) return;
    a->width = divide_up(all, parts);
    a->flat_pixels = parts * a->width;
}

static const void *correlation_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    AmxPlan a = {.frame = frame_open(p, 2)};
    CorrelationPlan *f = &a.frame;
    const Correlation *c = &f->c;
    AmxTile tile[TILES] = {{0}};
    f->together = c->group_in_blocks % 2 == 0 ? 2 : 1;
    plan_pieces(&a, p);
    frame_stage(f, p);
    plan_width(&a);
    list_tiles(&a, tile);
    a.tile = tile[0];
    if (choice->sizes[0]) a.tile = (AmxTile){choice->sizes[0], choice->sizes[1], choice->sizes[2]};
    if (!fits(&a, &a.tile)) return NULL;
    f->splits = min_i64(f->splits, c->out_blocks / a.tile.blocks);
    /* The last tile's surplus rows would read behind the tensor, flat rows follow each other in the copy. */
    f->copy = a.gathered || a.flat_pixels || correlation_lines(c, 1, 0) % a.width != 0;
    frame_stage(f, p);
    f->packed_bytes = pack_tiles_bytes(c, f->pair);
    int64_t surplus = a.width * c->in_stride[1] + a.flat_pixels / a.width; /* pixels */
    uint64_t behind = (uint64_t)(surplus * f->together * c->V) * 2;
    int64_t sums = max_i64(AMX_NC * AMX_TILE_FLOATS, a.flat_pixels * a.tile.blocks * c->V);
    a.staged_bytes = f->stage.bytes * (uint64_t)(a.gathered ? f->images : 1);
    a.scratch_bytes = a.staged_bytes + align_bytes((uint64_t)sums * sizeof(float)) + align_bytes(behind);
    return CONV_PLAN(arena, a);
}

static uint32_t candidates(const ConvProblem *p, const void *own, ConvChoice *out) {
    (void)p;
    AmxTile tile[TILES] = {{0}};
    uint32_t n = list_tiles(own, tile);
    for (uint32_t i = 0; i < n; i++)
        out[i].sizes[0] = tile[i].rows, out[i].sizes[1] = tile[i].columns, out[i].sizes[2] = tile[i].blocks;
    return n;
}

static ConvWork work(const ConvProblem *p, const void *plan) {
    const AmxPlan *a = plan;
    const CorrelationPlan *f = &a->frame;
    const Correlation *c = &f->c;
    double dots = 0, vectors = (double)(c->N * c->out_blocks * c->out[0] * c->out[1]);
    for (int64_t y = 0; y < c->phases[0]; y++)
        for (int64_t x = 0; x < c->phases[1]; x++) {
            int64_t tiles = correlation_lines(c, 0, y) * divide_up(correlation_lines(c, 1, x), a->width);
            if (a->flat_pixels) tiles = f->bands * (a->flat_pixels / a->width);
            int64_t taps = correlation_taps(c, 0, y).count * correlation_taps(c, 1, x).count;
            dots += (double)(tiles * taps * c->N * c->out_blocks) * (double)divide_up(c->group_in_blocks, f->together);
        }
    (void)p;
    return (ConvWork){.fma_cycles = dots * dot_cycles(&a->tile),
                      .transforms = finish_cost * vectors,
                      .copied = (f->stage.copied ? 2 * (double)(c->N * f->bands * f->splits) * (double)f->stage.bytes : 0) +
                                2 * (double)f->packed_bytes};
}

static uint64_t workspace(const void *plan, bool fixed_filters) {
    const CorrelationPlan *f = &((const AmxPlan *)plan)->frame;
    return f->sums_bytes + (fixed_filters ? 0 : f->packed_bytes);
}

/* ---- weights ---- */

static const void *gradient_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    AmxWeights plan = amx_weights_plan(p);
    return choice->sizes[0] ? NULL : CONV_PLAN(arena, plan);
}

static ConvWork gradient_work(const ConvProblem *p, const void *plan) {
    const AmxWeights *a = plan;
    const WeightsPlan *w = &a->w;
    const ConvShape *s = &w->s;
    double images = (double)divide_up(s->N, w->pair), filters = (double)w->dw_floats / AMX_TILE_FLOATS;
    AmxTile tile = {1, a->in * a->taps, a->out};
    double lines = images * (double)(w->bands * w->block_groups * a->lines * s->in_blocks);
    double turned = lines * (double)(s->stride[1] * (a->turn_words / AMX_WORDS - 1));
    double spread = lines * (double)(s->kernel[1] * divide_up(a->columns, AMX_WORDS));
    double sums = images / (double)a->pairs * (double)w->bands * filters; /* C's that go through memory */
    (void)p;
    return (ConvWork){.fma_cycles = images * (double)((a->flat ? 1 : s->out[0]) * a->parts) * filters * dot_cycles(&tile),
                      .transforms = turn_cost * turned + 2 * AMX_ROWS * (spread + sums),
                      .copied = 2 * images * (double)(w->bands * w->block_groups) * (double)(w->x.bytes + w->dy.bytes) +
                                2 * (double)w->partial_bytes};
}

static uint64_t gradient_workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const AmxWeights *)plan)->w.partial_bytes;
}

const ConvMethod conv_amx = {.name = "amx",
                             .sizes = "tile",
                             .nsizes = 3,
                             .correlation = {.applies = applies,
                                             .plan = correlation_plan,
                                             .candidates = candidates,
                                             .work = work,
                                             .workspace = workspace,
                                             .lower = amx_lower},
                             .weights = {.applies = applies,
                                         .plan = gradient_plan,
                                         .work = gradient_work,
                                         .workspace = gradient_workspace,
                                         .lower = amx_lower_weights}};
