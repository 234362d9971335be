/* Depthwise convolutions: as many groups as channels, so that a vector of V channels meets V filters and no sum crosses lanes. A
 * pixel of a channel block is then kernel rows x columns multiply-adds on whole vectors, and the kernels run at the speed of
 * memory (3x3) or of multiply-adds (7x7).
 *
 * Unlike in the other methods a piece takes one channel block of an image at a time: its map of V channels is staged row by row
 * just ahead of the loops that read it, so that rows are in L1 when they are multiplied.
 */
#ifndef NETC_CODEGEN_CONV_DEPTHWISE_H
#define NETC_CODEGEN_CONV_DEPTHWISE_H
#include "codegen/conv/shared/finish.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/stage.h"

extern const ConvMethod conv_depthwise;

/* ---- private to depthwise/ ---- */
/* Forward and backward data. */
typedef struct DepthPlan {
    ConvShape s;
    Correlation c;
    bool spread;              /* backward data of a map as large as its filters: every output pixel meets one tap */
    int64_t blocks;           /* channel blocks per piece, at most */
    int64_t splits;           /* pieces per image */
    int64_t columns;          /* of a register tile, which has one row; at most */
    int64_t chains;           /* accumulators per output, where the columns alone would wait for each other */
    int64_t band_rows, bands; /* rows of a phase; the bands of a map are done one after the other by one piece */
    StagePlan stage;          /* of all blocks; scratch holds one */
} DepthPlan;
DepthPlan depthwise_plan(const ConvProblem *p);
/* What piece e->piece is: image n, channel blocks lo..hi - 1, each band by band. */
typedef struct DepthPiece {
    LLVMValueRef n, lo, hi;
} DepthPiece;
DepthPiece depthwise_piece(Emitter *e, const DepthPlan *p);
LLVMValueRef depthwise_rows(Emitter *e, const DepthPlan *p, LLVMValueRef band, int64_t phase); /* of a phase in the band */
void depthwise_lower(Lowering *l, Val v, const void *plan);                                    /* a DepthPlan; forward.c */

/* Gradient of the filters. A piece is a group of images and a range of channel blocks; partial gradients are
 * [group][block][tap][V], added up in the order of the groups. */
typedef struct DepthWeightsPlan {
    ConvShape s;
    int64_t image_groups, blocks, splits; /* blocks per piece at most; pieces per image group */
    int64_t band_rows, bands, slab_rows;
    int64_t tap_rows, tap_columns; /* filters' rows and columns that are summed together */
    StagePlan x, dy;
    uint64_t partial_bytes;
} DepthWeightsPlan;
DepthWeightsPlan depthwise_weights_plan(const ConvProblem *p);
/* What piece e->piece is: images first..end - 1 of a group, channel blocks lo..hi - 1. */
typedef struct DepthWeightsPiece {
    LLVMValueRef group, first, end, lo, hi;
} DepthWeightsPiece;
DepthWeightsPiece depthwise_weights_piece(Emitter *e, const DepthWeightsPlan *p);
LLVMValueRef depthwise_weights_rows(Emitter *e, const DepthWeightsPlan *p, LLVMValueRef band);
void depthwise_lower_weights(Lowering *l, Val v, const void *plan); /* a DepthWeightsPlan; weights.c */
#endif
