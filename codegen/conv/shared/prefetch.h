/* Fetching ahead. The caches' own prefetchers do not see that the next image follows; asking for its lines while this one is
 * computed, a few at each step of the loops, hides the memory's latency. */
#ifndef NETC_CODEGEN_CONV_PREFETCH_H
#define NETC_CODEGEN_CONV_PREFETCH_H
#include "codegen/conv/shared/kernel.h"

/* Step `step` of `steps` while image n is computed: its share of the lines of image n + 1, of each feature map that is read. */
void prefetch_step(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps);
/* Cores drop requests that come in long bursts. Is a step's share one? Then the loops of the step spread it over `parts`. */
bool prefetch_bursts(const ConvKernel *k, int64_t steps);
void prefetch_part(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps, LLVMValueRef part, int64_t parts);
/* Step `step` of `steps`: its share of `rows` rows of image n from `row` on, counted in rows of the first argument; of maps that
 * have half as many, half as many. */
void prefetch_rows(ConvKernel *k, LLVMValueRef n, LLVMValueRef row, int64_t rows, LLVMValueRef step, int64_t steps);
/* Pixels of feature maps: `pixels` from `first` on of each of `images` images from n on, in `blocks` channel blocks from `block`
 * on; blocks 0: in all. */
typedef struct PixelRun {
    LLVMValueRef n, first, block;
    int64_t images, pixels, blocks;
} PixelRun;
/* Step `step` of `steps`: its share of the run's lines, of each feature map that staging operand `operand` reads. */
void prefetch_staged(ConvKernel *k, uint32_t operand, const PixelRun *run, LLVMValueRef step, int64_t steps);
#endif
