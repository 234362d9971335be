/* Convolutions and their gradients: which algorithm, how much workspace. The algorithms are in the other conv_*.c files:
 *
 *     conv_shape.c        windows as correlations       conv_tile.c         direct forward and data
 *     conv_plan.c         tiles, bands, pieces          conv_bwd_weights.c  direct weights
 *     conv_stage.c        operands into scratch         conv_gemm.c         all three on rt_sgemm
 *     conv_finish.c       epilogues and sums            conv_pack.c         filters in other orders
 *     winograd_conv.c     Winograd forward and data     winograd_weights.c  Winograd weights
 *     winograd_backward.c data and weights in one sweep
 */
#include "codegen/winograd.h"

static bool winograd_wanted(const CodegenOptions *options) {
    return options->conv == CONV_AUTO || options->conv == CONV_WINOGRAD;
}

static bool uses_winograd(const Target *t, const CodegenOptions *options, const Graph *g, const Value *v) {
    ConvShape s = conv_shape(g, v, t->lanes);
    return winograd_wanted(options) && (v->op == OP_CONV2D_BWD_WEIGHTS ? wino_weights_applies(&s) : wino_applies(&s));
}

static void lower_forward_or_data(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    if (uses_winograd(lowering_target(l), lowering_options(l), g, &g->value[id])) {
        WinoPlan w = wino_plan(lowering_target(l), lowering_options(l), g, &g->value[id]);
        ConvKernel wk = conv_kernel(l, id, true);
        lower_winograd(&wk, &w);
        return;
    }
    CorrelationPlan p = correlation_plan(lowering_target(l), lowering_options(l), g, &g->value[id]);
    ConvKernel k = conv_kernel(l, id, p.packed_bytes + p.sums_bytes > 0);
    if (p.gemm)
        lower_correlation_gemm(&k, &p);
    else
        lower_correlation(&k, &p);
}

Val conv_backward_partner(const Target *t, const CodegenOptions *options, const Graph *g, Val data) {
    return winograd_wanted(options) ? wino_backward_partner(t, options, g, data) : NO_VAL;
}

void lower_conv2d(Lowering *l, Val v) { lower_forward_or_data(l, v); }
void lower_conv2d_bwd_data(Lowering *l, Val v) { lower_forward_or_data(l, v); }

void lower_conv2d_bwd_weights(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    if (uses_winograd(lowering_target(l), lowering_options(l), g, &g->value[id])) {
        WinoWeightsPlan w = wino_weights_plan(lowering_target(l), lowering_options(l), g, &g->value[id]);
        ConvKernel wk = conv_kernel(l, id, true);
        lower_winograd_weights(&wk, &w);
        return;
    }
    WeightsPlan p = weights_plan(lowering_target(l), lowering_options(l), g, &g->value[id]);
    ConvKernel k = conv_kernel(l, id, true);
    if (p.gemm)
        lower_weights_gemm(&k, &p);
    else
        lower_weights(&k, &p);
}

uint64_t workspace_conv(const Target *t, const CodegenOptions *options, const Graph *g, Val id) {
    const Value *v = &g->value[id];
    bool winograd = uses_winograd(t, options, g, v);
    if (v->op == OP_CONV2D_BWD_WEIGHTS)
        return weights_plan(t, options, g, v).partial_bytes; /* Winograd's partials are the same */
    if (winograd) {
        WinoPlan w = wino_plan(t, options, g, v);
        return wino_workspace(&w);
    }
    CorrelationPlan p = correlation_plan(t, options, g, v);
    return p.packed_bytes + p.sums_bytes;
}
