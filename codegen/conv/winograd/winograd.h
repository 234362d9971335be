/* Winograd F(4x4, 3x3) building blocks (Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, eqs. 8, 12,
 * with the interpolation points 0, 1, -1, 2, -2, infinity): the transforms of one tile over V channels, and the two batched
 * matrix products. The kernels around them are in conv/winograd/forward.c, conv/winograd/weights.c and conv/winograd/backward.c.
 *
 *     Y = A' [ (G g G') o (B' d B) ] A         d 6x6 input, g 3x3 filter, Y 4x4 output, o elementwise, summed over channels
 *
 * and its adjoint in g, for the gradient of the weights: dg = G' [ sum over tiles (B' d B) o (A dY A') ] G.
 *
 * Convolutions with stride 2 have transforms of their own, with 9x9 points (conv/winograd/strided.c); a WinoForm says which ones.
 *
 * Transformed tensors lie as 36 (or 81) planes, one per point of the tile, each plane
 *     [channel block][tile of the block][V]
 * padded by one cache line: planes 4 KB apart would all fall into one L1 set. A product may write its planes a few places
 * before those that it reads, as many as it takes together: plane p of the result then lies where plane p - 1 was, say, which
 * nobody reads any more and L1 still holds.
 */
#ifndef NETC_CODEGEN_WINOGRAD_H
#define NETC_CODEGEN_WINOGRAD_H
#include "codegen/conv/conv.h"

enum { WINO_OUT = 4, WINO_IN = 6, WINO_POINTS = 36, WINO_FILTERS = 36 };

/* Floats from one plane of tiles, or of filters, to the next: one line more than they are, since planes that lie powers of two
 * apart would share a set of the cache, and a transform writes all of them in turn. */
int64_t wino_plane(const Target *t, int64_t channel_blocks, int64_t tiles);
int64_t wino_filter_plane(const Target *t, int64_t in_blocks, int64_t out_blocks);

/* An input tile: addresses of its lines' pixel `first`, pixels being V floats apart; those not in first <= j < end are zero. */
enum { WINO_MAX_SIDE = 9 };
typedef struct WinoTileSource {
    LLVMValueRef line[WINO_MAX_SIDE];
    int64_t first, end;
} WinoTileSource;
/* The tile of so many lines whose corner is src[0], rows row_stride floats apart. */
WinoTileSource wino_source(Emitter *e, LLVMValueRef src, int64_t row_stride, int64_t side);
LLVMValueRef wino_pixel(Emitter *e, const WinoTileSource *tile, int64_t i, int64_t j);

/* B' d B of a 6x6 tile, into 36 planes at dst. */
void wino_transform_input(Emitter *e, const WinoTileSource *tile, LLVMValueRef dst, int64_t plane);
/* A y A' of the 4x4 tile at src into 36 planes at dst. */
void wino_transform_gradient(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane);
/* G' u G of the 36 vectors u: out[ky*3 + kx]. */
void wino_transform_filter_gradient(Emitter *e, const LLVMValueRef u[36], LLVMValueRef out[9]);

/* a * x + y, and a * x. */
static inline LLVMValueRef wino_axpy(Emitter *e, double a, LLVMValueRef x, LLVMValueRef y) {
    return emit_fma(e, emit_vec(e, a), x, y);
}
static inline LLVMValueRef wino_scale(Emitter *e, double a, LLVMValueRef x) { return LLVMBuildFMul(e->b, emit_vec(e, a), x, ""); }

/* ---- the transforms of one stride: winograd.c has those of 1, conv/winograd/strided.c those of 2 ---- */
typedef struct WinoForm {
    int64_t side, lines;         /* of an input tile, and as many points; input lines from one tile to the next */
    int input_cost, output_cost; /* vector instructions to transform one channel block of a tile */
    /* A tile into side*side planes at dst. */
    void (*input)(Emitter *e, const WinoTileSource *tile, LLVMValueRef dst, int64_t plane);
    /* The planes at src into the output tile, out[i*4 + j]. */
    void (*output)(Emitter *e, LLVMValueRef src, int64_t plane, LLVMValueRef out[16]);
    /* Three taps into six points, along one axis. Points behind the sixth meet the sixth filter. */
    void (*filter_line)(Emitter *e, LLVMValueRef g0, LLVMValueRef g1, LLVMValueRef g2, LLVMValueRef o[6]);
} WinoForm;
extern const WinoForm wino_plain, wino_strided;
static inline int64_t wino_points(const WinoForm *f) { return f->side * f->side; }
/* The nine vectors g[ky*3 + kx] into 36 filters, row by row. */
void wino_transform_filter(Emitter *e, const WinoForm *form, const LLVMValueRef g[9], LLVMValueRef out[WINO_FILTERS]);

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
 * U being that plane's filter. Planes of W and M are `plane` floats apart. W has in_blocks, M out_blocks channel blocks;
 * `in_channels` skips the padding of the last input block. */
void wino_multiply(Emitter *e, const WinoForm *form, WinoTile tile, int64_t plane, LLVMValueRef w, LLVMValueRef u, LLVMValueRef m,
                   int64_t tiles, int64_t in_blocks, int64_t in_channels, int64_t out_blocks, WinoAside aside);
/* For each plane: dU[ob][ib][i][V] += sum over tiles of W[ib][tile][i] * D[ob][tile][V]. */
void wino_multiply_gradient(Emitter *e, LLVMValueRef w, LLVMValueRef d, LLVMValueRef du, int64_t tiles, int64_t in_blocks,
                            int64_t out_blocks, WinoAside aside);

/* ---- the tiles of a group of images, or of a band, in blocks (conv/winograd/blocks.c) ---- */
typedef struct WinoBlocks {
    int64_t images, tile_rows, tile_columns; /* of the group; of an image or band; of a tile row */
    const WinoForm *form;
    int64_t block; /* tiles transformed and multiplied together */
    int64_t rows;  /* tile rows of a block if an image is several blocks of whole rows, else 0 */
} WinoBlocks;
/* Tiles of a block: the chosen number, or, where weights' gradients are summed per block, what suits the channels. */
int64_t wino_block(const ConvChoice *choice, int64_t channels);
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
/* Stages the lines of an image that the block needs and the blocks before it did not. For blocks of rows only. */
void wino_stage_block(ConvKernel *k, const WinoBlocks *b, const StagePlan *stage, int operand, const WinoAt *at,
                      LLVMValueRef band, LLVMValueRef scratch);
/* Step `step` of `steps` of this block: asks for its share of what the next block, or else the next group of images, reads. */
void wino_fetch(ConvKernel *k, const WinoBlocks *b, const WinoAt *at, LLVMValueRef step, int64_t steps);

/* ---- the kernels (conv/winograd/forward.c, conv/winograd/weights.c) ---- */
bool wino_applies(const ConvShape *s, Op op); /* op: forward, or backward data, which wants stride 1 */

/* Forward and backward data. */
typedef struct WinoPlan {
    CorrelationPlan direct; /* the shape, and how filters are transposed */
    int64_t repeat, bands;  /* groups of images per piece; or bands per image */
    WinoBlocks tiles;       /* of a group of images, or of a band */
    WinoTile tile;
    int64_t plane, nplanes; /* from one plane to the next; those of input and output, which share most, together */
    bool in_place;          /* tiles are read from the feature map */
    StagePlan stage;        /* of one image, if they are not */
    uint64_t staged_bytes;  /* of scratch: the group's staged images, or a line of zeros, for above and below the map */
    uint64_t scratch_bytes, sums_bytes, packed_bytes, filter_bytes; /* the last three in the workspace, in this order */
} WinoPlan;
WinoPlan wino_plan(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v);
uint64_t wino_workspace(const WinoPlan *p);
/* What piece e->piece is: groups of images, from first_image on, or a band of one. */
typedef struct WinoPiece {
    LLVMValueRef band, first_image, end_image;
} WinoPiece;
int64_t wino_pieces(const WinoPlan *p);
WinoPiece wino_piece(Emitter *e, const WinoPlan *p);
LLVMValueRef wino_images(Emitter *e, const WinoPlan *p, LLVMValueRef first_image); /* of the group that starts there */
LLVMValueRef wino_rows(Emitter *e, const WinoPlan *p, LLVMValueRef band);          /* rows of tiles of the band */
void lower_winograd(ConvKernel *k, const WinoPlan *p);

/* Backward weights: partial gradients of image groups, summed as the direct kernel's are. */
typedef struct WinoWeightsPlan {
    WeightsPlan direct;
    WinoBlocks tiles; /* of a group of images */
    int64_t in_plane, out_plane;
    StagePlan x, dy;
    uint64_t scratch_bytes;
} WinoWeightsPlan;
bool wino_weights_applies(const ConvShape *s);
WinoWeightsPlan wino_weights_plan(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v);
void lower_winograd_weights(ConvKernel *k, const WinoWeightsPlan *p);

/* ---- the two as one: backward data and weights in a single sweep (conv/winograd/backward.c) ---- */
bool wino_backward_applies(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights);
uint64_t wino_backward_workspace(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights);
void lower_winograd_backward(Lowering *l, Val data, Val weights);

/* What the kernels share while they are emitted. */
typedef struct WinoSweep {
    ConvKernel *k;
    const WinoPlan *p;
    WinoAt at;
    LLVMValueRef band;
    LLVMValueRef staged, planes_in, planes_out;
    LLVMValueRef count;  /* of the block */
    int64_t fetch_parts; /* products that share the fetching ahead, this one being the first; 0 for none */
} WinoSweep;
void wino_lower_filters(ConvKernel *k, const WinoPlan *p);
void wino_begin_group(const WinoSweep *s, LLVMValueRef images); /* clears the sums, stages what is not staged by the block */
void wino_sweep_block(WinoSweep *s);

typedef struct WinoGradient {
    ConvKernel *k;
    const WinoWeightsPlan *p;
    LLVMValueRef x, dy, planes_x, planes_dy, sum;
    WinoAt at;
    LLVMValueRef images; /* of the group */
} WinoGradient;
uint64_t wino_sum_bytes(const ConvShape *s);
void wino_gradient_block(WinoGradient *s, LLVMValueRef count, bool whole, WinoAside aside);
/* dg = G' u G of every filter, into the piece's partial gradient [ob][ib][3][3][i][V]. */
void wino_finish_gradient(const WinoGradient *s, LLVMValueRef partial);
#endif
