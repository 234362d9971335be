/* The row of the depthwise method (depthwise.h), and its plans. */
#include "codegen/conv/depthwise/depthwise.h"
#include "codegen/emit/pieces.h"

enum {
    SLAB_BYTES = 24 * 1024, /* of L1 */
    WEIGHTS_PIECES = 64,
    LATENCY = 8 /* multiply-adds that have to be on their way: two a cycle, four cycles each */
};

static const double rate = 1.2; /* multiply-adds a cycle, of two */

/* A filter per channel. */
static bool applies(const ConvProblem *p) { return p->s.groups == p->s.I && p->s.O == p->s.I && p->s.I > 1; }

static int64_t held(const Target *t) { return t->registers >= 32 ? 12 : 3; }

/* Accumulators that leave room for filters and an operand. */
static int64_t column_limit(const Target *t, const Correlation *c) {
    int64_t taps = c->kernel[0] * c->kernel[1], filters = taps <= held(t) ? taps : min_i64(c->kernel[1], held(t));
    return min_i64(t->registers - filters - 3, 14);
}

/* Backward data of filters as large as the map. */
static bool fills_map(const ConvProblem *p) {
    bool fills = p->direction == CONV_DATA;
    for (int axis = 0; axis < 2; axis++)
        fills &= p->s.out[axis] == 1 && p->s.in[axis] == p->s.kernel[axis] && p->s.pad[axis] == 0 && p->s.dilation[axis] == 1;
    return fills;
}

DepthPlan depthwise_plan(const ConvProblem *problem) {
    const Target *t = problem->t;
    const ConvShape s = problem->s;
    ConvProblem one_pixel = *problem; /* of dY: the stride says nothing, and no pixel of dX belongs to another phase */
    one_pixel.s.stride[0] = one_pixel.s.stride[1] = 1;
    bool spread = fills_map(problem);
    DepthPlan p = {.s = s, .c = correlation_of(spread ? &one_pixel : problem), .spread = spread, .chains = 1};
    const Correlation *c = &p.c;
    int64_t first[2], last[2], rows = correlation_lines(c, 0, 0), width = correlation_lines(c, 1, 0);
    for (int axis = 0; axis < 2; axis++) correlation_reach(c, axis, &first[axis], &last[axis]);
    int64_t staged_columns = (width - 1) * c->in_stride[1] + last[1] - first[1] + 1;
    int64_t row_bytes = staged_columns * c->V * (int64_t)sizeof(float), halo = last[0] - first[0] + 1 - c->in_stride[0];
    int64_t fit = max_i64(1, (STAGE_BOTH_BYTES / row_bytes - max_i64(0, halo)) / c->in_stride[0]);
    p.bands = divide_up(rows, min_i64(rows, fit));
    p.band_rows = divide_up(rows, p.bands);
    p.bands = divide_up(rows, p.band_rows);
    StageWindow w = {.first = {first[0], first[1]},
                     .lines = {(p.band_rows - 1) * c->in_stride[0] + last[0] - first[0] + 1, staged_columns},
                     .last_row = (rows - 1) * c->in_stride[0] + last[0],
                     .advance = p.band_rows * c->in_stride[0],
                     .bands = p.bands,
                     .form = stage_form(t)};
    if (p.spread) { /* the one pixel of dY */
        p.band_rows = rows;
        p.bands = 1;
        w = (StageWindow){.lines = {1, 1}, .advance = 1, .bands = 1, .form = stage_form(t)};
    }
    p.stage = stage_plan(problem, 0, &w);
    p.columns = min_i64(width, column_limit(t, c));
    p.columns = divide_up(width, divide_up(width, p.columns));
    while (p.columns * p.chains < LATENCY && p.chains * 2 <= c->kernel[1]) p.chains *= 2;
    int64_t block_bytes = max_i64(c->in[0] * c->in[1], c->out[0] * c->out[1]) * c->V * t->map_bytes;
    p.blocks = max_i64(1, min_i64(c->out_blocks, PIECE_BYTES / block_bytes));
    p.splits = divide_up(c->out_blocks, p.blocks);
    return p;
}

DepthWeightsPlan depthwise_weights_plan(const ConvProblem *problem) {
    const Target *t = problem->t;
    DepthWeightsPlan p = {.s = problem->s};
    const ConvShape *s = &p.s;
    const int64_t F = (int64_t)sizeof(float), V = s->V;
    int64_t reach[2], limit = t->registers >= 32 ? 26 : 11;
    for (int axis = 0; axis < 2; axis++) reach[axis] = (s->kernel[axis] - 1) * s->dilation[axis] + 1;
    int64_t columns = (s->out[1] - 1) * s->stride[1] + reach[1], x_row = columns * V * F, dy_row = s->out[1] * V * F;
    int64_t row_bytes = s->stride[0] * x_row + dy_row, halo = max_i64(0, reach[0] - s->stride[0]) * x_row;
    int64_t most = max_i64(1, min_i64(s->out[0], (STAGE_BOTH_BYTES - halo) / row_bytes));
    p.bands = divide_up(s->out[0], most);
    p.band_rows = divide_up(s->out[0], p.bands);
    p.bands = divide_up(s->out[0], p.band_rows);
    p.slab_rows = max_i64(1, min_i64(p.band_rows, (SLAB_BYTES - halo) / row_bytes));
    p.slab_rows = divide_up(p.band_rows, divide_up(p.band_rows, p.slab_rows));
    StageWindow xw = {.first = {-s->pad[0], -s->pad[1]},
                      .lines = {(p.band_rows - 1) * s->stride[0] + reach[0], columns},
                      .last_row = (s->out[0] - 1) * s->stride[0] + reach[0] - 1 - s->pad[0],
                      .advance = p.band_rows * s->stride[0],
                      .bands = p.bands,
                      .form = stage_form(t)};
    StageWindow dw = {.lines = {p.band_rows, s->out[1]},
                      .last_row = s->out[0] - 1,
                      .advance = p.band_rows,
                      .bands = p.bands,
                      .form = stage_form(t)};
    p.x = stage_plan(problem, 0, &xw);
    p.dy = stage_plan(problem, 1, &dw);
    p.tap_columns = divide_up(s->kernel[1], divide_up(s->kernel[1], limit));
    p.tap_rows = max_i64(1, min_i64(s->kernel[0], limit / p.tap_columns));
    p.tap_rows = divide_up(s->kernel[0], divide_up(s->kernel[0], p.tap_rows));
    p.image_groups = min_i64(s->N, divide_up(WEIGHTS_PIECES, s->in_blocks));
    p.blocks = max_i64(1, s->in_blocks * p.image_groups / WEIGHTS_PIECES);
    p.splits = divide_up(s->in_blocks, p.blocks);
    p.partial_bytes = (uint64_t)(p.image_groups * s->in_blocks * s->kernel[0] * s->kernel[1] * V * F);
    return p;
}

/* ---- the row ---- */

static double fma_cycles(const ConvShape *s) {
    return (double)(s->N * s->out[0] * s->out[1] * s->kernel[0] * s->kernel[1] * s->out_blocks) / rate;
}

static const void *correlation_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    DepthPlan plan = depthwise_plan(p);
    return CONV_PLAN(arena, plan);
}

static ConvWork work(const ConvProblem *p, const void *plan) {
    const DepthPlan *d = plan;
    return (ConvWork){.fma_cycles = fma_cycles(&p->s), .copied = 2 * (double)(p->s.N * d->bands) * (double)d->stage.bytes};
}

static const void *gradient_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    DepthWeightsPlan plan = depthwise_weights_plan(p);
    return CONV_PLAN(arena, plan);
}

static ConvWork gradient_work(const ConvProblem *p, const void *plan) {
    const DepthWeightsPlan *d = plan;
    double staged = (double)(d->x.bytes + d->dy.bytes);
    return (ConvWork){.fma_cycles = fma_cycles(&p->s), .copied = 2 * (double)(p->s.N * d->bands) * staged};
}

static uint64_t gradient_workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const DepthWeightsPlan *)plan)->partial_bytes;
}

const ConvMethod conv_depthwise = {
    .name = "depthwise",
    .correlation = {.applies = applies, .plan = correlation_plan, .work = work, .lower = depthwise_lower},
    .weights = {.applies = applies,
                .plan = gradient_plan,
                .work = gradient_work,
                .workspace = gradient_workspace,
                .lower = depthwise_lower_weights}};
