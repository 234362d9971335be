/* 1x1 convolutions as products of matrices: pixels by channels times channels by channels, and for the gradient of the filters
 * channels by pixels times pixels by channels.
 *
 * The direct kernels take one image after the other, so that filters, or their partial gradient, come from the last cache anew
 * with each: right where a map has many pixels and few channels. Here pixels of several images, a *chunk*, lie together in L2
 * while a few output blocks at a time go by, and a piece of the gradient owns its filters and adds up over the batch.
 *
 *     forward, data   piece = some chunks x a range of output blocks      stage the chunk; for each few output blocks: its pixels
 *                                                                         (of very many input channels: a part of them at a time)
 *     weights         piece = input blocks x output blocks x some chunks  stage the chunk's x; for each few output blocks: stage
 *                                                                         their dY; for each input block: its pixels
 *
 * Operands are packed by being staged: feature maps and filters have the vectors of a register tile side by side already.
 */
#ifndef NETC_CODEGEN_CONV_PRODUCT_H
#define NETC_CODEGEN_CONV_PRODUCT_H
#include "codegen/conv/shared/finish.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/stage.h"
#include "codegen/emit/tile.h"

extern const ConvMethod conv_product;

/* ---- private to product/ ---- */
/* The pixels of a batch: a chunk is several whole images, or a band of rows of one. */
typedef struct ProductChunks {
    int64_t N, images;        /* of the batch; of a chunk, the last of which may have fewer */
    int64_t bands, band_rows; /* of an image, all alike */
    int64_t pixels;           /* of an image in a chunk, which lie together */
    int64_t count;            /* of chunks */
} ProductChunks;
ProductChunks product_chunks(const ConvShape *s, int64_t most); /* of at most `most` pixels where a row has no more */
typedef struct ProductChunk {
    LLVMValueRef first, images, band;
} ProductChunk;
ProductChunk product_chunk(Emitter *e, const ProductChunks *c, LLVMValueRef index);
/* Where an operand's pixels of a chunk lie: in scratch, or in the tensor if it is not copied. */
typedef struct ProductOperand {
    LLVMValueRef base;    /* block 0 of the first image */
    int64_t image, block; /* elements from one to the next */
} ProductOperand;

enum { PRODUCT_KEPT_FILTERS = 512 * 1024 }; /* bytes of all filters that stay in a core's cache beside a chunk */
/* Forward and backward data. */
typedef struct ProductPlan {
    ConvShape s;
    Correlation c;
    ProductChunks chunks;
    int64_t turns, splits; /* chunks of a piece; pieces that share them, each a range of output blocks */
    ProductTile tile;      /* pixels x output blocks */
    int64_t part, parts;   /* input blocks that are multiplied at a time, the last time the rest; parts == 1: all of them */
    int64_t held;          /* groups of output blocks, a tile's columns each, whose sums wait for the next part */
    StagePlan stage;       /* of one image */
    uint64_t sums_bytes, packed_bytes;
} ProductPlan;
ProductPlan product_plan(const ConvProblem *p);
/* What piece e->piece is: chunks lo..hi - 1, output blocks in groups of tile.columns. */
typedef struct ProductPiece {
    LLVMValueRef split, lo, hi, first_group, end_group;
} ProductPiece;
int64_t product_pieces(const ProductPlan *p);
ProductPiece product_piece(Emitter *e, const ProductPlan *p);
void product_lower(Lowering *l, Val v, const void *plan); /* forward.c */

/* Gradient of the filters. */
typedef struct ProductWeightsPlan {
    ConvShape s;
    ProductChunks chunks;
    ProductTile tile;     /* input channels x output blocks */
    int64_t image_groups; /* partial gradients, added up in the order of the groups; 1: none, a piece stores what it owns */
    int64_t ranges, parts, part; /* of output blocks; of a group's input blocks; how many of those at most */
    StagePlan x, dy;             /* of one image */
    int64_t dw_floats;
    uint64_t partial_bytes;
} ProductWeightsPlan;
ProductWeightsPlan product_weights_plan(const ConvProblem *p);
/* What piece e->piece is: chunks lo..hi - 1, output blocks in groups of tile.columns, input blocks of the group of channels. */
typedef struct ProductWeightsPiece {
    LLVMValueRef images, range, part;
    LLVMValueRef lo, hi, first_group, end_group, first_in, end_in;
} ProductWeightsPiece;
int64_t product_weights_pieces(const ProductWeightsPlan *p);
ProductWeightsPiece product_weights_piece(Emitter *e, const ProductWeightsPlan *p);
void product_lower_weights(Lowering *l, Val v, const void *plan); /* weights.c */
#endif
