/* Convolutions and their gradients: the way to the chosen algorithm (choose.c), and its workspace. The algorithms are in the
 * other conv_*.c files:
 *
 *     conv/shape.c        windows as correlations       conv/direct/tile.c         direct forward and data
 *     conv/plan.c         tiles, bands, pieces          conv/direct/weights.c  direct weights
 *     conv/stage.c        operands into scratch         conv/gemm/gemm.c         all three by matrix products
 *     conv/finish.c       epilogues and sums            conv/pack.c         filters in other orders
 *     winograd.c          Winograd transforms, products conv/winograd/strided.c  Winograd transforms of stride 2
 *     conv/winograd/forward.c     Winograd forward and data     conv/winograd/weights.c  Winograd weights
 *     conv/winograd/backward.c data and weights in one sweep  conv/winograd/blocks.c  tiles in blocks
 *     conv/direct/backward.c     the same by direct kernels
 */
#include "codegen/conv/winograd/winograd.h"

static void lower_forward_or_data(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const ConvChoice *choice = lowering_choice(l, id);
    if (choice->algorithm == CONV_WINOGRAD) {
        WinoPlan w = wino_plan(lowering_target(l), choice, g, &g->value[id]);
        ConvKernel wk = conv_kernel(l, id, w.sums_bytes > 0);
        lower_winograd(&wk, &w);
        return;
    }
    CorrelationPlan p = correlation_plan(lowering_target(l), choice, g, &g->value[id]);
    ConvKernel k = conv_kernel(l, id, p.sums_bytes > 0);
    if (p.gemm)
        lower_correlation_gemm(&k, &p);
    else
        lower_correlation(&k, &p);
}

void lower_conv2d(Lowering *l, Val v) { lower_forward_or_data(l, v); }
void lower_conv2d_bwd_data(Lowering *l, Val v) { lower_forward_or_data(l, v); }

void lower_conv2d_bwd_weights(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const ConvChoice *choice = lowering_choice(l, id);
    if (choice->algorithm == CONV_WINOGRAD) {
        WinoWeightsPlan w = wino_weights_plan(lowering_target(l), choice, g, &g->value[id]);
        ConvKernel wk = conv_kernel(l, id, true);
        lower_winograd_weights(&wk, &w);
        return;
    }
    WeightsPlan p = weights_plan(lowering_target(l), choice, g, &g->value[id]);
    ConvKernel k = conv_kernel(l, id, true);
    if (p.gemm)
        lower_weights_gemm(&k, &p);
    else
        lower_weights(&k, &p);
}

uint64_t workspace_conv(const Target *t, const ConvChoice *choice, const Graph *g, Val id, bool fixed_filters) {
    const Value *v = &g->value[id];
    if (v->op == OP_CONV2D_BWD_WEIGHTS) return weights_plan(t, choice, g, v).partial_bytes; /* Winograd's partials are the same */
    if (choice->algorithm == CONV_WINOGRAD) {
        WinoPlan w = wino_plan(t, choice, g, v);
        return fixed_filters ? w.sums_bytes : wino_workspace(&w);
    }
    CorrelationPlan p = correlation_plan(t, choice, g, v);
    return p.sums_bytes + (fixed_filters ? 0 : p.packed_bytes);
}
