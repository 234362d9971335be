/* Filters in other orders. */
#ifndef NETC_CODEGEN_CONV_PACK_H
#define NETC_CODEGEN_CONV_PACK_H
#include "codegen/conv/shared/kernel.h"

/* The vectors row[0..V-1] as a V x V matrix, transposed in place. */
void pack_transpose(Emitter *e, LLVMValueRef *row);

/* Tile by tile: transposed for backward data, in pairs of channels for bf16. */
void lower_pack_tiles(ConvKernel *k, const Correlation *c, int64_t pair, Place to);
uint64_t pack_tiles_bytes(const Correlation *c, int64_t pair);
#endif
