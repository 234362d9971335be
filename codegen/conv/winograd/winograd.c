/* The row of Winograd's method (winograd.h). */
#include "codegen/conv/winograd/winograd.h"
#include "codegen/conv/shared/cost.h"

static const int64_t blocks[] = {16, 8, 32}; /* worth trying, in tiles */
enum { BLOCKS = sizeof blocks / sizeof blocks[0], MAX_BLOCK = 256 };
static const double rate = 1.7; /* multiply-adds a cycle, of two */
/* Vector instructions to transform a tile of one channel block of dY for the weights' gradient; one filter. */
enum { GRADIENT_TRANSFORM = 150, FILTER_TRANSFORM = 120 };

bool wino_block_fits(const ConvChoice *choice) { return choice->sizes[0] <= MAX_BLOCK; }

uint32_t wino_candidates(const ConvProblem *p, int64_t own, ConvChoice *out) {
    (void)p;
    uint32_t n = 0;
    out[n++].sizes[0] = own;
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i] != own) out[n++].sizes[0] = blocks[i];
    return n;
}

/* Of a byte of transformed filters, more where they outgrow L2. */
static double filter_cost(double bytes) { return bytes <= 2 << 20 ? 0.5 : 4; }

/* In inference all layers' filters go by between one call and the next: of a byte that transformed ones have more than plain
 * ones, which come from the last cache the first time. */
static const double fetched_cost = 3;

/* Of a byte of the transformed gradient, added to: written, and read, once, more where it outgrows L1. */
static double sum_cost(double bytes) { return bytes <= 48 << 10 ? 1 : 2.5; }

static double tiles_of(const ConvShape *s, const int64_t out[2]) {
    return (double)(s->N * divide_up(out[0], WINO_OUT) * divide_up(out[1], WINO_OUT));
}

ConvWork wino_work(const ConvProblem *problem, const WinoPlan *p) {
    const Correlation *c = &p->c;
    const WinoForm *form = p->tiles.form;
    double tiles = tiles_of(&problem->s, c->out), filter_bytes = (double)p->filter_bytes;
    ConvWork w = {.copied = p->in_place ? 0 : 2 * (double)(c->N * p->bands) * (double)p->stage.bytes};
    w.fma_cycles = (double)wino_points(form) * tiles * (double)c->channels_in * (double)c->out_blocks / rate;
    w.transforms = tiles * (double)(form->input_cost * c->in_blocks + form->output_cost * c->out_blocks) +
                   FILTER_TRANSFORM * cost_filters(&p->s);
    w.copied +=
        filter_cost(filter_bytes) * filter_bytes * (tiles / (double)p->tiles.block); /* read anew for each block of tiles */
    if (problem->g->mode == MODE_TRAIN)
        w.copied += 2 * filter_cost(filter_bytes) * filter_bytes; /* made at every step */
    else if (filter_cost(filter_bytes) < fetched_cost)
        w.copied += fetched_cost * filter_bytes * (1 - 9.0 / WINO_FILTERS);
    return w;
}

ConvWork wino_weights_work(const ConvProblem *problem, const WinoWeightsPlan *plan) {
    const ConvShape *s = &problem->s;
    const WeightsPlan *p = &plan->partials;
    double tiles = tiles_of(s, s->out);
    ConvWork w = {.copied = 2 * (double)(s->N * p->bands) * (double)(p->x.bytes + p->dy.bytes) + 2 * (double)p->partial_bytes};
    w.fma_cycles = WINO_POINTS * tiles * (double)s->I * (double)s->out_blocks / rate;
    w.transforms = tiles * (double)(wino_plain.input_cost * s->in_blocks + GRADIENT_TRANSFORM * s->out_blocks) +
                   FILTER_TRANSFORM * cost_filters(s) * (double)p->image_groups;
    /* Read and written for each block of tiles; cleared, and read at the end, for each group of images. */
    double sum = (double)wino_sum_bytes(s), groups = (double)p->image_groups;
    w.copied += sum * (sum_cost(sum) * (tiles / (double)plan->tiles.block + groups) + groups);
    return w;
}

/* ---- the row ---- */

static const void *correlation_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    if (!wino_block_fits(choice)) return NULL;
    WinoPlan plan = wino_plan(p, choice);
    return CONV_PLAN(arena, plan);
}

static uint32_t candidates(const ConvProblem *p, const void *own, ConvChoice *out) {
    return wino_candidates(p, ((const WinoPlan *)own)->tiles.block, out);
}

static ConvWork work(const ConvProblem *p, const void *plan) { return wino_work(p, plan); }

static uint64_t workspace(const void *plan, bool fixed_filters) {
    return fixed_filters ? ((const WinoPlan *)plan)->sums_bytes : wino_workspace(plan);
}

static const void *gradient_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    if (!wino_block_fits(choice)) return NULL;
    WinoWeightsPlan plan = wino_weights_plan(p, choice);
    return CONV_PLAN(arena, plan);
}

static uint32_t gradient_candidates(const ConvProblem *p, const void *own, ConvChoice *out) {
    return wino_candidates(p, ((const WinoWeightsPlan *)own)->tiles.block, out);
}

static ConvWork gradient_work(const ConvProblem *p, const void *plan) { return wino_weights_work(p, plan); }

static uint64_t gradient_workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const WinoWeightsPlan *)plan)->partials.partial_bytes;
}

const ConvMethod conv_winograd = {.name = "winograd",
                                  .sizes = "block",
                                  .nsizes = 1,
                                  .correlation = {.applies = wino_applies,
                                                  .plan = correlation_plan,
                                                  .candidates = candidates,
                                                  .work = work,
                                                  .workspace = workspace,
                                                  .lower = wino_lower},
                                  .weights = {.applies = wino_weights_applies,
                                              .plan = gradient_plan,
                                              .candidates = gradient_candidates,
                                              .work = gradient_work,
                                              .workspace = gradient_workspace,
                                              .lower = wino_lower_weights},
                                  .pair = &wino_pair_method};
