/* Backward data and backward weights of one convolution in one kernel: which pairs can be, and the direct kernels' way.
 *
 *     image by image:  stage dY (prologue), with the halo that backward data wants ─┬─► backward data: epilogue, sums ─► dX
 *                                                   stage x (prologue) ─────────────┴─► backward weights ─► partial dW
 *
 * Apart they would store dY and read it and the forward input again: three of about eight passes over feature maps. Here dY is
 * staged once, and stored only if others read it too, and the forward input is mostly the map that the epilogue's ReLU mask has
 * just read. A piece is an image group of the weights' kernel, so that the sums, and the bits, are those of the two kernels
 * apart. Winograd's way is in conv/winograd/backward.c.
 */
#include "codegen/conv/winograd/winograd.h"
#include <string.h>

/* ---- which pairs ---- */

/* The RESULT value of the STORE region of operand 0, or NO_VAL. */
static Val stored_operand(const Graph *g, Val data) {
    const Value *v = &g->value[data];
    for (uint32_t i = 0; i < v->nregions; i++) {
        if (v->regions[i].role != REGION_STORE || v->regions[i].operand != 0) continue;
        for (Val r = v->results; r; r = g->value[r].results)
            if (g->value[r].attrs.index == (int64_t)region_result(v, i)) return r;
    }
    return NO_VAL;
}

/* Could `weights` be computed from the dY that backward data `data` stores, while it is staged? */
static bool reads_staged_dy(const Graph *g, Val weights, Val data, Val dy) {
    const Value *w = &g->value[weights], *d = &g->value[data];
    if (w->op != OP_CONV2D_BWD_WEIGHTS || w->args[1] != dy) return false;
    if (!type_equal(g->value[w->args[0]].type, d->type) || !type_equal(w->type, g->value[d->args[1]].type) ||
        memcmp(&w->attrs.window, &d->attrs.window, sizeof w->attrs.window))
        return false; /* of another convolution with the same dY */
    if (value_region(w, REGION_PROLOGUE, 1) || value_region(w, REGION_STORE, 0) || value_region(w, REGION_STORE, 1)) return false;
    for (uint32_t i = 0; i < w->nargs; i++) /* all there before backward data is computed */
        if (i != 1 && (w->args[i] == dy || value_source(g, w->args[i], NULL) >= data)) return false;
    return true;
}

static Val reader_of_dy(const Graph *g, Val data) {
    if (g->value[data].op != OP_CONV2D_BWD_DATA) return NO_VAL;
    Val dy = stored_operand(g, data);
    for (Val w = data + 1; w < g->count && dy != NO_VAL; w++)
        if (reads_staged_dy(g, w, data, dy)) return w;
    return NO_VAL;
}

bool conv_backward_keeps_dy(const Graph *g, Val weights) {
    Val dy = g->value[weights].args[1];
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].value == dy) return true;
    for (Val v = dy + 1; v < g->count; v++)
        for (uint32_t i = 0; i < g->value[v].nargs; i++)
            if (g->value[v].args[i] == dy && v != weights && g->value[v].op != OP_RESULT) return true;
    return false;
}

typedef struct Plans {
    CorrelationPlan data;
    WeightsPlan weights;
} Plans;

static Plans plans_of(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights) {
    Plans p = {correlation_plan(t, choice, g, &g->value[data]), weights_plan(t, choice, g, &g->value[weights])};
    p.weights.dy = p.data.stage;
    return p;
}

/* A piece has whole images, and both read dY in one form: pairs of bf16 are channels for the one, images for the other. */
static bool direct_applies(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights) {
    ConvShape s = conv_shape(g, &g->value[weights], t->lanes);
    if (!conv_direct_applies(&s)) return false;
    Plans p = plans_of(t, choice, g, data, weights);
    return p.data.bands == 1 && p.data.splits == 1 && p.data.pair == 1 && p.weights.bands == 1 && p.weights.block_groups == 1 &&
           p.weights.pair == 1;
}

Val conv_backward_partner(const Target *t, const ConvChoice *choice, const Graph *g, Val data) {
    Val weights = reader_of_dy(g, data);
    if (weights == NO_VAL || choice->algorithm == CONV_GEMM) return NO_VAL;
    bool applies = choice->algorithm == CONV_WINOGRAD ? wino_backward_applies(t, choice, g, data, weights)
                                                      : direct_applies(t, choice, g, data, weights);
    return applies ? weights : NO_VAL;
}

uint64_t conv_backward_workspace(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights) {
    if (choice->algorithm == CONV_WINOGRAD) return wino_backward_workspace(t, choice, g, data, weights);
    Plans p = plans_of(t, choice, g, data, weights);
    return p.data.packed_bytes + p.weights.partial_bytes;
}

/* What both read is read once, and dY from scratch. */
double conv_backward_bytes(const ConvKernel *d, const ConvKernel *w) {
    double total = conv_bytes(d) + conv_bytes(w);
    for (uint32_t i = 0; i < w->v->nargs; i++) {
        bool shared = i == 1;
        for (uint32_t j = 0; j < d->v->nargs; j++) shared |= d->v->args[j] == w->v->args[i];
        if (shared) total -= place_bytes(w->places[i], w->arg_type[i]);
    }
    return total;
}

ConvKernel conv_backward_weights(Lowering *l, const ConvKernel *data, Val weights, uint64_t workspace) {
    ConvKernel w = conv_kernel(l, weights, true);
    w.places[1] = data->places[0]; /* dY is staged, and need not be in memory: nothing reads this buffer */
    w.places[w.workspace_buffer] = lowering_workspace(l, data->id);
    w.places[w.workspace_buffer] = place_behind(w.places[w.workspace_buffer], workspace);
    return w;
}

Place *conv_backward_places(const ConvKernel *d, const ConvKernel *w) {
    Place *places = ARENA_ARRAY(lowering_graph(d->l)->arena, Place, d->nplaces + w->nplaces);
    for (uint32_t i = 0; i < d->nplaces + w->nplaces; i++) places[i] = i < d->nplaces ? d->places[i] : w->places[i - d->nplaces];
    return places;
}

/* ---- the direct kernel ---- */

static void emit_direct(ConvKernel *d, ConvKernel *w, const Plans *p) {
    Emitter *e = d->e;
    const StagePlan *stage = &p->data.stage;
    LLVMValueRef zero = emit_int(e, 0),
                 scratch_x = emit_address(e, e->scratch, emit_int(e, (int64_t)(stage->bytes / sizeof(float))));
    LLVMValueRef partial = emit_address(e, emit_buffer(e, w->workspace_buffer), emit_mul_int(e, e->piece, p->weights.dw_floats));
    weights_clear(w, partial, zero, emit_int(e, p->weights.dw_floats));
    LLVMValueRef lo = emit_cut(e, e->piece, p->weights.s.N, p->weights.image_groups);
    LLVMValueRef hi = emit_cut(e, emit_add_int(e, e->piece, emit_int(e, 1)), p->weights.s.N, p->weights.image_groups);
    Loop image = loop_begin(e, lo, hi, 1, 0, NULL);
    CorrelationSite site = {.n = image.iv, .band = zero, .split = zero, .sums_row = image.iv};
    LLVMValueRef staged = correlation_image(d, &p->data, &site, e->scratch);
    int64_t first = -stage->origin[0] * stage->row_stride - stage->origin[1] * e->V;
    weights_image(w, &p->weights, image.iv, emit_address(e, staged, emit_int(e, first)), partial, scratch_x);
    loop_end(e, &image, NULL);
}

static void lower_direct(Lowering *l, Val data, Val weights) {
    const Graph *g = lowering_graph(l);
    Plans p = plans_of(lowering_target(l), lowering_choice(l, data), g, data, weights);
    ConvKernel d = conv_kernel(l, data, false), w = conv_backward_weights(l, &d, weights, p.data.packed_bytes);
    const ConvShape *s = &p.data.s;
    conv_kernel_filters(&d, 0, p.data.packed_bytes);
    lower_pack_tiles(&d, &p.data, d.places[d.filters_buffer]);
    lowering_resume(l);
    Place *places = conv_backward_places(&d, &w);
    Kernel *kernel;
    char *key = arena_printf(g->arena, "%s|%s", conv_key(&d, "backward"), value_key(l, weights));
    char *name = arena_printf(g->arena, "conv2d_bwd_%dx%d_c%d_%d", (int)s->kernel[0], (int)s->kernel[1], (int)s->I, (int)s->O);
    if (kernel_begin(l, name, key, d.nplaces + w.nplaces, &kernel)) {
        ConvKernel behind = conv_kernel_behind(w, d.nplaces);
        conv_kernel_bind(&d);
        conv_kernel_bind(&behind);
        emit_direct(&d, &behind, &p);
        kernel_end(l, p.data.stage.bytes + p.weights.x.bytes);
    }
    kernel_call(l, kernel, data, places, d.nplaces + w.nplaces, p.weights.image_groups, 2 * conv_flops(s),
                conv_backward_bytes(&d, &w));
    if (w.result_buffer[0] != NO_BUFFER) lower_sum_partials(&w, &p.weights);
}

void lower_conv2d_backward(Lowering *l, Val data, Val weights) {
    if (lowering_choice(l, data)->algorithm == CONV_WINOGRAD)
        lower_winograd_backward(l, data, weights);
    else
        lower_direct(l, data, weights);
}
