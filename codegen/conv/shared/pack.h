/* Filters in other orders. */
#ifndef NETC_CODEGEN_CONV_PACK_H
#define NETC_CODEGEN_CONV_PACK_H
#include "codegen/conv/shared/kernel.h"

/* Tile by tile: transposed for backward data, in pairs of channels for bf16, those of `together` (1 or 2) input blocks next to
 * each other. */
void lower_pack_tiles(ConvKernel *k, const Correlation *c, int64_t pair, int64_t together, Place to);
uint64_t pack_tiles_bytes(const Correlation *c, int64_t pair);
#endif
