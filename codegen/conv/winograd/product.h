/* The two batched matrix products of Winograd's kernels.
 *
 * Transformed tensors lie as 36 (or 81) planes, one per point of the tile, each plane
 *     [channel block][tile of the block][V]
 * padded by one cache line: planes 4 KB apart would all fall into one L1 set. A product may write its planes a few places
 * before those that it reads, as many as it takes together: plane p of the result then lies where plane p - 1 was, say, which
 * nobody reads any more and L1 still holds.
 */
#ifndef NETC_CODEGEN_WINOGRAD_PRODUCT_H
#define NETC_CODEGEN_WINOGRAD_PRODUCT_H
#include "codegen/conv/winograd/transform.h"

/* Floats from one plane of tiles, or of filters, to the next: one line more than they are, since planes that lie powers of two
 * apart would share a set of the cache, and a transform writes all of them in turn. */
int64_t wino_plane(const Target *t, int64_t channel_blocks, int64_t tiles);
int64_t wino_filter_plane(const Target *t, int64_t in_blocks, int64_t out_blocks);

/* Register tiles of the two products: planes x rows x columns of accumulators, columns being channel blocks of the output. */
enum { WINO_MAX_PLANES = 4 };
typedef struct WinoTile {
    int planes, rows, columns;
} WinoTile;
WinoTile wino_tile(const Target *t, int64_t points, int64_t out_blocks, int64_t rows); /* points: planes there are */

/* Work put between the register tiles of a product, such as fetching ahead: step `step` of `steps`. run may be NULL. */
typedef struct WinoAside {
    void (*run)(void *context, LLVMValueRef step, int64_t steps);
    void *context;
} WinoAside;
/* For each plane of the form's: M[ob][tile][V] = sum over (ib, i) of W[ib][tile][i] * U[ob / columns][ib][i][ob % columns][V],
 * U being that plane's filter. */
typedef struct WinoProduct {
    const WinoForm *form;
    WinoTile tile;
    int64_t plane; /* floats from one plane of W, or of M, to the next */
    LLVMValueRef w, u, m;
    int64_t tiles, in_blocks, out_blocks; /* channel blocks of W and M */
    int64_t in_channels;                  /* skips the padding of the last input block */
    WinoAside aside;
} WinoProduct;
void wino_multiply(Emitter *e, const WinoProduct *p);
/* For each plane: dU[ob][ib][i][V] += sum over tiles of W[ib][tile][i] * D[ob][tile][V]. */
void wino_multiply_gradient(Emitter *e, LLVMValueRef w, LLVMValueRef d, LLVMValueRef du, int64_t tiles, int64_t in_blocks,
                            int64_t out_blocks, WinoAside aside);
#endif
