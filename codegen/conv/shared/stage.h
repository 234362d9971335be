/* Staging an operand. The operand's rows that a band of output rows needs, with its prologue applied and its padding written out
 * as zeros, copied to scratch as [block][row][column][V], or [half the blocks][row][column][2V] (`together`). Without padding and
 * prologue the tensor is read in place. */
#ifndef NETC_CODEGEN_CONV_STAGE_H
#define NETC_CODEGEN_CONV_STAGE_H
#include "codegen/conv/shared/kernel.h"

enum {
    STAGE_BYTES = 384 * 1024,      /* what a band of one operand may take of a 1 MB L2 */
    STAGE_BOTH_BYTES = 512 * 1024, /* of two operands */
};

typedef enum StageForm {
    STAGE_AS_IS,    /* f32 if copied, in place whatever the tensor's elements are */
    STAGE_COPY,     /* f32, always copied */
    STAGE_CHANNELS, /* bf16: 32-bit words of two channels; in place if the tensor need not be copied */
    STAGE_IMAGES    /* 32-bit words of the bf16 of two images, the second of which is zero if there is none; always copied */
} StageForm;
typedef struct StagePlan {
    bool copied, store, planar; /* planar: LAYOUT_IMAGES */
    StageForm form;
    int64_t channels, blocks, in[2];
    int64_t origin[2]; /* line of the tensor that staged line 0 of band 0 is; negative in the padding */
    int64_t lines[2];  /* staged rows and columns */
    int64_t advance;   /* rows of the tensor from one band to the next */
    int64_t bands;
    int64_t together;                 /* blocks that lie side by side in a pixel of the copy: 1 or 2 */
    int64_t row_stride, block_stride; /* elements of the copy or of the tensor; of so many blocks together */
    uint64_t bytes;                   /* of scratch */
} StagePlan;
/* What the loops read of the operand: `lines` lines from `first` on in band 0, `advance` rows further in each next band;
 * last_row is the last row that any band reads. */
typedef struct StageWindow {
    int64_t first[2], lines[2], last_row, advance, bands;
    StageForm form;
    int64_t together; /* as the plan's, which then copies; 0: 1 */
    bool copy;        /* also what could be read in place */
} StageWindow;
StagePlan stage_plan(const ConvProblem *p, int operand, const StageWindow *w);
StageForm stage_form(const Target *t); /* for loops that want f32 */

/* What is staged while code is emitted: of operand `operand`, image n (STAGE_IMAGES: and n + 1), the band, into `scratch`. */
typedef struct Staging {
    const StagePlan *plan;
    int operand;
    LLVMValueRef n, band, scratch;
} Staging;
/* Emits the copy and returns the address of staged element 0. If the prologue's value is also stored, it is so where `store_if`
 * holds (NULL: always). */
LLVMValueRef stage_emit(ConvKernel *k, const Staging *s, LLVMValueRef store_if);
/* The same, always stored, for the lines from <= line < to of the copy only. */
LLVMValueRef stage_lines(ConvKernel *k, const Staging *s, LLVMValueRef from, LLVMValueRef to);

/* A single channel block at a time (f32): where its staged element 0 is, and the copy of some of its lines to there. Scratch
 * holds stage_block_bytes. */
uint64_t stage_block_bytes(const StagePlan *p);
LLVMValueRef stage_block(ConvKernel *k, const Staging *s, LLVMValueRef block);
void stage_block_lines(ConvKernel *k, const Staging *s, LLVMValueRef block, LLVMValueRef from, LLVMValueRef to,
                       LLVMValueRef store_if);
#endif
