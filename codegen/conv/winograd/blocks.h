/* The tiles of a group of images, or of a band, in blocks: which lines a block reads, staged and fetched no earlier than that. */
#ifndef NETC_CODEGEN_WINOGRAD_BLOCKS_H
#define NETC_CODEGEN_WINOGRAD_BLOCKS_H
#include "codegen/choice.h"
#include "codegen/conv/shared/stage.h"
#include "codegen/conv/winograd/transform.h"

typedef struct WinoBlocks {
    int64_t images, tile_rows, tile_columns; /* of the group; of an image or band; of a tile row */
    const WinoForm *form;
    int64_t block; /* tiles transformed and multiplied together */
    int64_t rows;  /* tile rows of a block if an image is several blocks of whole rows, else 0 */
} WinoBlocks;
/* Tiles of a block: the chosen number; in a pair, whose two kernels take the same, what suits the channels; else `alone`. */
int64_t wino_block(const ConvChoice *choice, int64_t channels, int64_t alone);
WinoBlocks wino_blocks(int64_t images, int64_t tile_rows, int64_t tile_columns, const WinoForm *form, int64_t block);
/* Where a kernel is: image and tile that the block starts with, whether it is the group's last. */
typedef struct WinoAt {
    LLVMValueRef first_image, first_tile, last;
} WinoAt;
LLVMValueRef wino_last_block(Emitter *e, const WinoBlocks *b, LLVMValueRef first_tile, LLVMValueRef tiles);
/* A loop over the first `count` tiles of a block; over its rows and the tiles of each where a block is whole rows of tiles. */
typedef struct WinoTiles {
    LLVMValueRef tile;               /* of the block */
    LLVMValueRef image, row, column; /* image of the group; place among the tiles of the image or band */
    /* private */
    bool by_rows;
    Loop outer, inner;
} WinoTiles;
static inline bool wino_by_rows(const WinoBlocks *b) { return b->block % b->tile_columns == 0; }
WinoTiles wino_tiles_begin(Emitter *e, const WinoBlocks *b, const WinoAt *at, LLVMValueRef count);
void wino_tiles_end(Emitter *e, WinoTiles *t);
/* The outer of the two loops alone: tile, image and row are those of a row's first tile. By rows only. */
WinoTiles wino_rows_begin(Emitter *e, const WinoBlocks *b, const WinoAt *at, LLVMValueRef count);
void wino_rows_end(Emitter *e, WinoTiles *t);
/* Stages the lines of an image (s->n, the block's) that the block needs and the blocks before it did not. For blocks of rows
 * only. */
void wino_stage_block(ConvKernel *k, const WinoBlocks *b, const WinoAt *at, const Staging *s);
/* Step `step` of `steps` of this block: asks for its share of what the next block, or else the next group of images, reads. */
void wino_fetch(ConvKernel *k, const WinoBlocks *b, const WinoAt *at, LLVMValueRef step, int64_t steps);
#endif
