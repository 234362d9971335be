/* Backward data and backward weights of one convolution in one direct kernel (shared/pairs.h: why, and which). */
#include "codegen/conv/direct/direct.h"
#include "codegen/conv/shared/pairs.h"
#include "codegen/emit/pieces.h"

/* A piece has whole images, and both read dY in one form: pairs of bf16 are channels for the one, images for the other. */
static const void *plan(Arena *arena, const ConvProblem *data, const ConvProblem *weights, const ConvChoice *choice) {
    DirectPair p = {.weights = direct_weights_plan(weights)};
    if (!direct_applies(weights) || !direct_plan(data, choice, &p.data)) return NULL;
    const CorrelationPlan *d = &p.data.frame;
    const WeightsPlan *w = &p.weights.w;
    if (d->bands > 1 || d->splits > 1 || d->pair > 1 || w->bands > 1 || w->block_groups > 1 || w->pair > 1) return NULL;
    p.apart = p.weights.w.dy;
    p.weights.w.dy = d->stage;
    return CONV_PLAN(arena, p);
}

static uint32_t candidates(const ConvProblem *data, const void *own, ConvChoice *out) {
    return direct_candidates(data, &((const DirectPair *)own)->data, out);
}

static ConvWork work(const ConvProblem *data, const ConvProblem *weights, const void *plan) {
    const DirectPair *p = plan;
    DirectWeights alone = p->weights;
    alone.w.dy = p->apart;
    ConvWork w = direct_work(data, &p->data), more = direct_weights_work(weights, &alone);
    w.fma_cycles += more.fma_cycles;
    w.copied += more.copied - 2 * (double)(weights->s.N * alone.w.bands) * (double)p->apart.bytes;
    return w;
}

static uint64_t workspace(const void *plan) {
    const DirectPair *p = plan;
    return p->data.frame.packed_bytes + p->weights.w.partial_bytes;
}

static void emit_pair(ConvKernel *d, ConvKernel *w, const DirectPair *p) {
    Emitter *e = d->e;
    const StagePlan *stage = &p->data.frame.stage;
    LLVMValueRef zero = emit_int(e, 0),
                 scratch_x = emit_address(e, e->scratch, emit_int(e, (int64_t)(stage->bytes / sizeof(float))));
    LLVMValueRef partial =
        emit_address(e, emit_buffer(e, w->workspace_buffer), emit_mul_int(e, e->piece, p->weights.w.dw_floats));
    weights_clear(w, partial, zero, emit_int(e, p->weights.w.dw_floats));
    LLVMValueRef lo = emit_share(e, e->piece, p->weights.w.s.N, p->weights.w.image_groups);
    LLVMValueRef hi = emit_share(e, emit_add_int(e, e->piece, emit_int(e, 1)), p->weights.w.s.N, p->weights.w.image_groups);
    Loop image = loop_begin(e, lo, hi, 1, 0, NULL);
    CorrelationPiece site = {.n = image.iv, .band = zero, .split = zero, .sums_row = image.iv};
    LLVMValueRef staged = direct_image(d, &p->data, &site, e->scratch);
    int64_t first = -stage->origin[0] * stage->row_stride - stage->origin[1] * e->V;
    direct_weights_image(w, &p->weights, image.iv, emit_address(e, staged, emit_int(e, first)), partial, scratch_x);
    loop_end(e, &image, NULL);
}

static void lower(Lowering *l, Val data, Val weights, const void *plan) {
    const DirectPair *p = plan;
    const CorrelationPlan *f = &p->data.frame;
    ConvKernel d = conv_kernel(l, data, false), w = pair_kernel(l, &d, weights, f->packed_bytes);
    const ConvShape *s = &f->s;
    conv_kernel_filters(&d, 0, f->packed_bytes);
    direct_pack(&d, &p->data);
    lowering_resume(l);
    Place *places = pair_places(&d, &w);
    Kernel *kernel;
    char *name =
        arena_printf(lowering_arena(l), "conv2d_bwd_%dx%d_c%d_%d", (int)s->kernel[0], (int)s->kernel[1], (int)s->I, (int)s->O);
    if (kernel_begin(l, RT_KIND_BACKWARD, name, pair_key(&d, weights), d.nplaces + w.nplaces, &kernel)) {
        ConvKernel behind = conv_kernel_behind(w, d.nplaces);
        conv_kernel_bind(&d);
        conv_kernel_bind(&behind);
        emit_pair(&d, &behind, p);
        kernel_end(l, f->stage.bytes + p->weights.w.x.bytes);
    }
    kernel_call(l, kernel, data, places, d.nplaces + w.nplaces, p->weights.w.image_groups,
                (KernelCost){2 * conv_flops(s), pair_bytes(&d, &w)});
    direct_sum_weights(&w, &p->weights);
}

const ConvPairMethod direct_pair_method = {
    .plan = plan, .candidates = candidates, .work = work, .workspace = workspace, .lower = lower};
