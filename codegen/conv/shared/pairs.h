/* Backward data and backward weights of one convolution in one kernel: which values pair up, and what all such kernels share.
 *
 *     image by image:  stage dY (prologue), with the halo that backward data wants ─┬─► backward data: epilogue, sums ─► dX
 *                                                   stage x (prologue) ─────────────┴─► backward weights ─► partial dW
 *
 * If a convolution's backward data stores its computed dY, and the same convolution's backward weights read it, both can be done
 * together. Apart they would store dY and read it and the forward input again: three of about eight passes over feature maps.
 * Together, dY is staged once and stored only if others read it too, and the forward input is mostly the map that the epilogue's
 * ReLU mask has just read. A piece is an image group of the weights' kernel, so that the sums, and the bits, are those of the two
 * kernels apart. */
#ifndef NETC_CODEGEN_CONV_PAIRS_H
#define NETC_CODEGEN_CONV_PAIRS_H
#include "codegen/conv/shared/kernel.h"

/* The weights' value that could be computed along with backward data `data`, as far as the graph goes, or NO_VAL. */
Val pair_weights(const Graph *g, Val data);
/* Does anybody but `weights` read its dY? */
bool pair_keeps_dy(const Graph *g, Val weights);

/* For the kernel of both: the weights' buffers, their partials `workspace` bytes into data's workspace; the places of both; the
 * bytes that it moves; its key. */
ConvKernel pair_kernel(Lowering *l, const ConvKernel *data, Val weights, uint64_t workspace);
Place *pair_places(const ConvKernel *data, const ConvKernel *weights);
double pair_bytes(const ConvKernel *data, const ConvKernel *weights);
char *pair_key(const ConvKernel *data, Val weights);
#endif
