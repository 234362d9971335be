/* The row of the wide method (wide.h), and its plans. */
#include "codegen/conv/winograd/wide/wide.h"
#include "codegen/conv/shared/cost.h"
#include "codegen/conv/winograd/transform.h"

enum {
    FILTER_BYTES = 640 * 1024, /* transformed filters of a piece, in L2 */
    SUM_BYTES = 320 * 1024,    /* sums of a chunk, beside them */
    MIN_PIECES = 16,
    GRADIENT_TILES = 128,  /* of a chunk, for the gradient of the filters */
    GRADIENT_BLOCKS = 4,   /* input blocks of its pieces */
    FILTER_TRANSFORM = 120 /* vector instructions per filter */
};
static const double rate = 1.5, gradient_rate = 1.3; /* multiply-adds a cycle, of two */
static const double planes_cost = 4;                 /* a byte of planes, from the last cache, in bytes copied within a core's */

static bool applies(const ConvProblem *p) {
    const ConvShape *s = &p->s;
    for (int axis = 0; axis < 2; axis++)
        if (s->kernel[axis] != 3 || s->stride[axis] != s->stride[0] || s->stride[axis] > 2 || s->dilation[axis] != 1 ||
            s->pad[axis] != 1 || s->out[axis] != divide_up(s->in[axis], s->stride[axis]) || s->out[axis] < 2)
            return false;
    int64_t in = s->I / s->groups, out = s->O / s->groups;
    return in >= s->V && out >= s->V && (s->groups == 1 || (in % s->V == 0 && out % s->V == 0));
}

/* Rows of a register tile, of at most `most`, that waste least of `tiles` tiles: a step multiplies rows x columns and loads rows
 * + columns operands. */
static int64_t rows_of(int64_t tiles, int64_t most) {
    int64_t best = 1, best_cost = INT64_MAX;
    for (int64_t rows = min_i64(most, tiles); rows >= 1; rows--) {
        int64_t cost = divide_up(tiles, rows) * (4 * max_i64(rows, 4) + 3);
        if (cost < best_cost) best = rows, best_cost = cost;
    }
    return best;
}

WidePlan wide_plan(const ConvProblem *problem) {
    const Target *t = problem->t;
    WidePlan p = {.s = problem->s, .c = correlation_of(problem)};
    const Correlation *c = &p.c;
    const int64_t V = c->V, F = (int64_t)sizeof(float);
    p.columns = c->group_out_blocks % 2 == 0 ? 2 : 1;
    int64_t accumulators = t->registers - t->registers / 4;
    const WideForm *form = wide_form(problem);
    p.tiles = wide_tiles(problem, SUM_BYTES / (max_i64(WINO_POINTS, form->side * form->side) * p.columns * V * F));
    p.tile_rows = rows_of(p.tiles.tiles, accumulators / p.columns);
    p.tiles.tiles = divide_up(p.tiles.tiles, p.tile_rows) * p.tile_rows;
    p.in = wide_planes(problem, 0, false, &p.tiles, p.tile_rows, 0);
    wide_cut_slabs(&p.tiles, problem->t, p.in.chunk_bytes);
    p.part = max_i64(1, min_i64(c->group_in_blocks, FILTER_BYTES / (wide_filters(form) * V * p.columns * V * F)));
    p.part = divide_up(c->group_in_blocks, divide_up(c->group_in_blocks, p.part));
    p.splits = min_i64(p.tiles.slab, divide_up(MIN_PIECES, c->out_blocks / p.columns));
    p.workspace = (uint64_t)p.tiles.slab * p.in.chunk_bytes;
    p.scratch = (uint64_t)((wide_filters(form) * wide_filter_plane(&p) + p.tiles.points * wide_sum_plane(&p) + 9 * V * V) * F);
    return p;
}

WideWeightsPlan wide_weights_plan(const ConvProblem *problem) {
    WideWeightsPlan p = {.s = problem->s};
    const ConvShape *s = &p.s;
    p.tiles = wide_tiles(problem, GRADIENT_TILES);
    p.x = wide_planes(problem, 0, false, &p.tiles, p.tiles.tiles, 0);
    p.dy = wide_planes(problem, 1, true, &p.tiles, p.tiles.tiles, 0);
    wide_cut_slabs(&p.tiles, problem->t, p.x.chunk_bytes + p.dy.chunk_bytes);
    p.dy.offset = (uint64_t)p.tiles.slab * p.x.chunk_bytes;
    p.columns = divide_up(s->O / s->groups, s->V) % 2 == 0 ? 2 : 1;
    p.part = min_i64(wide_group_blocks(s), GRADIENT_BLOCKS);
    p.workspace = p.dy.offset + (uint64_t)p.tiles.slab * p.dy.chunk_bytes;
    p.scratch = (uint64_t)(wide_filters(p.tiles.form) * wide_gradient_plane(&p)) * sizeof(float);
    return p;
}

/* ---- the row ---- */

static const void *correlation_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    WidePlan plan = wide_plan(p);
    return CONV_PLAN(arena, plan);
}

static const void *gradient_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    WideWeightsPlan plan = wide_weights_plan(p);
    return CONV_PLAN(arena, plan);
}

/* Planes are written once and read anew for each few output blocks, half of it while multiplying. Transformed filters go to L2
 * and back, which with few tiles is most of the time. */
static ConvWork correlation_work(const ConvProblem *problem, const void *plan) {
    (void)problem;
    const WidePlan *p = plan;
    const Correlation *c = &p->c;
    const WideTiles *t = &p->tiles;
    double tiles = (double)(t->N * t->rows * t->columns), padded = (double)(t->chunks * t->tiles);
    double turns =
        (double)(p->part == c->group_in_blocks ? p->splits * wide_slabs(t) : t->chunks); /* filters are transformed so often */
    double filters = cost_filters(&p->s) / (double)c->groups * turns;
    ConvWork w = {.copied = 2 * (double)t->N * (double)p->in.stage.bytes};
    w.fma_cycles = (double)t->points * padded * (double)(c->group_in_blocks * c->V) * (double)c->out_blocks / rate;
    w.transforms = tiles * (double)(t->form->input_cost * c->in_blocks + t->form->output_cost * c->out_blocks) +
                   (c->transposed ? 2 : 1) * FILTER_TRANSFORM * filters;
    w.copied +=
        2 * filters * (double)(wide_filters(t->form) * c->V * (int64_t)sizeof(float)) +
        (double)(t->chunks * (int64_t)p->in.chunk_bytes) * planes_cost * (1 + 0.5 * (double)(c->group_out_blocks / p->columns));
    return w;
}

static ConvWork gradient_work(const ConvProblem *problem, const void *plan) {
    (void)problem;
    const WideWeightsPlan *p = plan;
    const ConvShape *s = &p->s;
    const WideTiles *t = &p->tiles;
    double tiles = (double)(t->N * t->rows * t->columns);
    ConvWork w = {.copied = 2 * (double)s->N * (double)(p->x.stage.bytes + p->dy.stage.bytes)};
    w.fma_cycles = (double)t->points * tiles * (double)(wide_group_blocks(s) * s->V) * (double)s->out_blocks / gradient_rate;
    w.transforms = tiles * (double)(t->form->input_cost * s->in_blocks + t->form->output_cost * s->out_blocks) +
                   FILTER_TRANSFORM * cost_filters(s) / (double)s->groups * (double)wide_slabs(t);
    w.copied +=
        planes_cost * (double)t->chunks *
        ((double)p->x.chunk_bytes * (1 + (double)(s->out_blocks / s->groups / p->columns)) + 2 * (double)p->dy.chunk_bytes);
    return w;
}

static uint64_t workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const WidePlan *)plan)->workspace;
}

static uint64_t gradient_workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const WideWeightsPlan *)plan)->workspace;
}

const ConvMethod conv_wide = {.name = "wide",
                              .correlation = {.applies = applies,
                                              .plan = correlation_plan,
                                              .work = correlation_work,
                                              .workspace = workspace,
                                              .lower = wide_lower},
                              .weights = {.applies = applies,
                                          .plan = gradient_plan,
                                          .work = gradient_work,
                                          .workspace = gradient_workspace,
                                          .lower = wide_lower_weights}};
