/* The row of the matrix-product method (gemm.h): its plans, bands of an image a piece, and what they cost. */
#include "codegen/conv/gemm/gemm.h"
#include "codegen/conv/shared/cost.h"

enum { BAND_BYTES = 2048 * 1024 };     /* of scratch: staged rows, columns and the matrix */
static const double rate = 0.88;       /* multiply-adds a cycle, of two */
static const int64_t narrow_outs = 16; /* products of fewer columns leave most of the library's tile empty */

static const void *correlation_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    CorrelationPlan f = frame_open(p, 1);
    const Correlation *c = &f.c;
    int64_t taps = c->kernel[0] * c->kernel[1], depth = taps * (c->channels_in / c->groups), outs = c->out_blocks * c->V;
    frame_bands(&f, BAND_BYTES, correlation_lines(c, 1, 0) * (depth + outs) * (int64_t)sizeof(float));
    int64_t wanted = frame_wanted(&f, p);
    if (wanted > 1 && correlation_lines(c, 0, 0) >= 2) frame_narrow(&f, wanted);
    frame_stage(&f, p);
    f.packed_bytes = align_bytes((uint64_t)(depth * c->channels_out) * sizeof(float));
    return CONV_PLAN(arena, f);
}

static const void *gradient_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    const ConvShape *s = &p->s;
    const int64_t F = (int64_t)sizeof(float), depth = s->kernel[0] * s->kernel[1] * (s->I / s->groups);
    WeightsNeeds needs = {.pair = 1,
                          .dw_floats = s->O * depth,
                          .stage_bytes = BAND_BYTES,
                          .row_extra = s->out[1] * (depth + s->out_blocks * s->V) * F};
    WeightsPlan w = weights_plan(p, &needs);
    w.block_groups = 1;
    return CONV_PLAN(arena, w);
}

/* Columns and the matrix are written and read, beside what is staged. */
static ConvWork correlation_work(const ConvProblem *p, const void *plan) {
    (void)p;
    const CorrelationPlan *f = plan;
    const Correlation *c = &f->c;
    double vector = (double)(c->V * (int64_t)sizeof(float)), pieces = (double)(c->N * f->bands);
    double outs = (double)(c->channels_out / c->groups), narrow = outs < (double)narrow_outs ? (double)narrow_outs / outs : 1;
    double taps = (double)(c->kernel[0] * c->kernel[1]), pixels = (double)(c->N * c->out[0] * c->out[1]);
    ConvWork w = {.copied = (f->stage.copied ? 2 * pieces * (double)f->stage.bytes : 0) + 2 * (double)f->packed_bytes};
    w.fma_cycles = cost_vector_fmas(&f->s) * narrow / rate;
    w.copied +=
        vector * pixels * (2 * taps / (double)(c->phases[0] * c->phases[1]) * (double)c->in_blocks + 4 * (double)c->out_blocks);
    return w;
}

static ConvWork gradient_work(const ConvProblem *problem, const void *plan) {
    const ConvShape *s = &problem->s;
    const WeightsPlan *p = plan;
    double vector = (double)(s->V * (int64_t)sizeof(float)), pixels = (double)(s->N * s->out[0] * s->out[1]);
    ConvWork w = {.copied = 2 * (double)(s->N * p->bands) * (double)(p->x.bytes + p->dy.bytes) + 2 * (double)p->partial_bytes};
    w.fma_cycles = cost_vector_fmas(s) / rate;
    w.copied += vector * pixels * (2 * (double)(s->kernel[0] * s->kernel[1]) * (double)s->in_blocks + 2 * (double)s->out_blocks);
    return w;
}

static uint64_t workspace(const void *plan, bool fixed_filters) {
    const CorrelationPlan *f = plan;
    return f->sums_bytes + (fixed_filters ? 0 : f->packed_bytes);
}

static uint64_t gradient_workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const WeightsPlan *)plan)->partial_bytes;
}

/* Left to convolutions that nothing else computes, and to who asks or measures: gathering columns takes longer than what its
 * predictions say, and with --gemm=openblas it needs a library. */
const ConvMethod conv_gemm = {
    .name = "gemm",
    .last_resort = true,
    .correlation = {.plan = correlation_plan, .work = correlation_work, .workspace = workspace, .lower = gemm_lower},
    .weights = {.plan = gradient_plan, .work = gradient_work, .workspace = gradient_workspace, .lower = gemm_lower_weights}};
