/* The gradient of the filters as partial gradients of groups of images, and their sum in a fixed tree. */
#ifndef NETC_CODEGEN_CONV_PARTIALS_H
#define NETC_CODEGEN_CONV_PARTIALS_H
#include "codegen/conv/shared/stage.h"

typedef struct WeightsPlan {
    ConvShape s;
    int64_t pair;                       /* images in a 32-bit word: 1 (f32), or 2 (bf16) */
    int64_t image_groups, block_groups; /* pieces: image groups x ranges of output blocks */
    int64_t band_rows, bands;
    StagePlan x, dy;
    int64_t dw_floats;      /* of one partial gradient */
    uint64_t partial_bytes; /* workspace: one partial gradient per image group */
} WeightsPlan;

/* What a method wants of the plan. */
typedef struct WeightsNeeds {
    int64_t pair;        /* as above */
    int64_t dw_floats;   /* 0: those of the stored filters */
    int64_t stage_bytes; /* of scratch */
    int64_t row_extra;   /* bytes that a row of output takes of it beside the staged operands */
    int64_t most_groups; /* of images; 0: as many as 16 or 8 */
    int64_t columns;     /* of dY that are staged, zeros behind the last, and of x what they meet; 0: dY's */
    int64_t rows_more;   /* likewise, behind the last row of a single band */
} WeightsNeeds;
WeightsPlan weights_plan(const ConvProblem *p, const WeightsNeeds *way);
int64_t weights_columns(const ConvShape *s);                     /* of x that a row of the output reads */
int64_t weights_columns_of(const ConvShape *s, int64_t columns); /* that so many columns of the output read */

/* What the piece is of: pairs of images (or images), of output blocks a range that is a multiple of `blocks`, and its partial
 * gradient, where those blocks' are cleared. first_split: is it the first of its images? NULL: there are no others. */
typedef struct WeightsPiece {
    LLVMValueRef first, end, first_block, end_block, partial, first_split;
} WeightsPiece;
WeightsPiece weights_piece(ConvKernel *k, const WeightsPlan *p, int64_t blocks);

void weights_clear(ConvKernel *k, LLVMValueRef partial, LLVMValueRef lo, LLVMValueRef hi);
LLVMValueRef weights_rows(Emitter *e, const WeightsPlan *p, LLVMValueRef band); /* output rows of the band */
/* Adds the partial gradients in the workspace up: into result 0, if it is read; or to where it is said, which may be the first of
 * them. */
void lower_sum_partials(ConvKernel *k, const WeightsPlan *p);
void lower_sum_partials_to(ConvKernel *k, const WeightsPlan *p, Place to);
#endif
