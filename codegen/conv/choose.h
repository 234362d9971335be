/* The pass that decides, before a graph is lowered, how each of its convolutions is computed in each direction.
 *
 * For every convolution it lists the candidates that are legal for its shape and its fused regions, plans each, asks the cost
 * model (shared/cost.h) how long it will take, and takes what is pinned, what was measured, or the cheapest, in this order.
 * Backward data and weights that one kernel could compute are decided together: the pair against the best two kernels. */
#ifndef NETC_CODEGEN_CHOOSE_H
#define NETC_CODEGEN_CHOOSE_H
#include "codegen/conv/shared/sites.h"

/* False with a diagnostic if a pinned table lacks a convolution or asks for what cannot be. */
bool choose_convolutions(Arena *arena, const Target *t, const CodegenOptions *options, const Graph *g, Diag *diag,
                         ConvSites *out);
/* The pass alone, on the machine that the options name: train's convolutions and infer's (none where there is no graph). *cpu is
 * in the arena too. False with a diagnostic. */
bool codegen_convolutions(const CodegenInput *input, const CodegenOptions *options, Arena *arena, ConvSites out[2],
                          const char **cpu, Diag *diag);
#endif
