/* The frame of a correlation kernel that takes its output row by row: how images are cut into pieces, what a piece means, and
 * the call. Piece = (image group * bands + band) * splits + split; groups of more than one image come with one band and one
 * split only. */
#ifndef NETC_CODEGEN_CONV_FRAME_H
#define NETC_CODEGEN_CONV_FRAME_H
#include "codegen/conv/shared/finish.h"
#include "codegen/conv/shared/stage.h"

typedef struct CorrelationPlan {
    ConvShape s;
    Correlation c;
    int64_t pair;                     /* channels in a 32-bit word: 1 (f32), or 2 (bf16) */
    int64_t together;                 /* blocks side by side in a staged pixel: 0 or 1, or 2 */
    bool copy;                        /* staged even where it could be read in place */
    int64_t first[2], last[2];        /* correlation_reach */
    int64_t columns, row_bytes;       /* staged, of a row of all channels */
    int64_t images;                   /* per piece, one after the other */
    int64_t band_rows, bands, splits; /* rows of a phase per band; pieces per band, each a range of output blocks */
    StagePlan stage;
    uint64_t sums_bytes, packed_bytes; /* workspace: the bands' sums, then packed filters if they are made at every run */
} CorrelationPlan;

enum { FRAME_MAX_IMAGES = 8 }; /* of a piece */

/* ---- planning: open, bands, perhaps pieces or narrow, stage ---- */
CorrelationPlan frame_open(const ConvProblem *p, int64_t pair); /* an image a piece, whole */
/* Bands of as many rows as `bytes` of scratch hold, when a row of output takes `row_extra` beside its staged input. */
void frame_bands(CorrelationPlan *f, int64_t bytes, int64_t row_extra);
/* After the bands: pieces of several images where there are enough of them. Few are cut further, so that two cores find work in
 * one: into ranges of output blocks (splits, of which a method may have to make fewer) where the filters, so many bytes, outweigh
 * the image, else into narrower bands. */
void frame_pieces(CorrelationPlan *f, const ConvProblem *p, int64_t filters);
/* Narrower bands, so that each becomes `parts`. */
void frame_narrow(CorrelationPlan *f, int64_t parts);
void frame_stage(CorrelationPlan *f, const ConvProblem *p);
/* How many parts a band must be cut into to make pieces enough; 1: none. */
int64_t frame_wanted(const CorrelationPlan *f, const ConvProblem *p);

/* ---- emitting ---- */
/* What the piece means. */
typedef struct CorrelationPiece {
    LLVMValueRef n, band, split, sums_row;
} CorrelationPiece;
CorrelationPiece correlation_piece(Emitter *e, const CorrelationPlan *p, LLVMValueRef image); /* image-th of the piece */
LLVMValueRef correlation_images(Emitter *e, const CorrelationPlan *p);                        /* of the piece */
/* Of the phase in the band; 0 if its rows end above it. */
LLVMValueRef correlation_rows(Emitter *e, const CorrelationPlan *p, const CorrelationPiece *s, int64_t phase);
int64_t correlation_pieces(const CorrelationPlan *p);
/* Pixel of the output that (row of the band, column) of a phase is. */
LLVMValueRef correlation_pixel(Emitter *e, const CorrelationPlan *p, const CorrelationPiece *s, const int64_t phase[2],
                               LLVMValueRef row, LLVMValueRef column);
Finish correlation_finish(const CorrelationPlan *p, const CorrelationPiece *s, LLVMValueRef cb);
void correlation_call(ConvKernel *k, Kernel *kernel, const CorrelationPlan *p);
#endif
