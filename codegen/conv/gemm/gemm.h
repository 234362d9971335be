/* Convolution as matrix products (im2col): the baseline, and the last resort for groups that neither fill channel blocks nor
 * share a few (direct/bundle.c). */
#ifndef NETC_CODEGEN_CONV_GEMM_H
#define NETC_CODEGEN_CONV_GEMM_H
#include "codegen/conv/shared/frame.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/partials.h"

extern const ConvMethod conv_gemm;

/* ---- private to gemm/ ---- */
/* lower.c */
void gemm_lower(Lowering *l, Val v, const void *plan);
void gemm_lower_weights(Lowering *l, Val v, const void *plan);

/* pack.c: filters as dense matrices [group][tap row][tap column][channel in][channel out] for one phase after the other, into
 * the kernel's filters. */
void gemm_pack(ConvKernel *k, const CorrelationPlan *p);
int64_t gemm_phase_floats(const Correlation *c, const int64_t phase[2]);
/* Adds dense partial gradients up and scatters them into filters. */
void gemm_scatter(ConvKernel *k, const WeightsPlan *p);
#endif
