/* Finishing accumulators: epilogue, further outputs and channel sums while the values are in registers. */
#ifndef NETC_CODEGEN_CONV_FINISH_H
#define NETC_CODEGEN_CONV_FINISH_H
#include "codegen/conv/shared/kernel.h"

/* Where finished vectors go: image n and channel block cb of result 0's type. Reductions add to a row of sums [rows][C]: of the
 * image, or, where images are cut into bands, of the band, at the start of the workspace. */
typedef struct Finish {
    LLVMValueRef n, cb, sums_row;
    int64_t channels;
    bool banded;
    int64_t sums_rows; /* in all */
} Finish;
/* Accumulator acc[i] belongs to pixel[i] = y*W + x. */
void finish_emit(ConvKernel *k, const Finish *f, int count, const LLVMValueRef *acc, const LLVMValueRef *pixel);
void finish_clear_sums(ConvKernel *k, const Finish *f);
/* The call that adds the bands' sums up in order, one piece per image. */
void finish_combine_sums(ConvKernel *k, int64_t N, int64_t channels, int64_t bands);
/* Bytes of workspace for the bands' sums: 0 where images are whole. */
uint64_t finish_sums_bytes(const Value *v, const Correlation *c, int64_t bands);
#endif
