/* Direct convolution: a register tile of accumulators, kept while input channels and filter taps go by. Every shape whose groups
 * fill channel blocks, or share them (bundle.c). */
#ifndef NETC_CODEGEN_DIRECT_H
#define NETC_CODEGEN_DIRECT_H
#include "codegen/conv/shared/frame.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/partials.h"

extern const ConvMethod conv_direct;

/* ---- private to direct/ ---- */
/* A register tile of rows x columns pixels x `blocks` output blocks; `hold` filter columns are kept in registers at a time. */
typedef struct TileShape {
    int64_t rows, columns, blocks, hold;
} TileShape;
/* Forward and data. */
typedef struct DirectPlan {
    CorrelationPlan frame;
    TileShape tile;
    int64_t ahead; /* words by which filters are fetched before they are used, as they come from afar; 0: the caches have them */
    bool bundled;  /* groups share vectors and are taken several together (bundle.c) */
} DirectPlan;
typedef struct DirectWeights {
    WeightsPlan w;
    int64_t slab_rows; /* whose operands fit L1 */
    int64_t blocks;    /* of the output, in a register tile: two where filters are 1x1, so that a broadcast serves both */
    ConvShape s;       /* of the convolution; w's is that of bundles */
    bool bundled;      /* as above */
} DirectWeights;
enum { WEIGHTS_BLOCKS = 2 };
typedef struct DirectPair {
    DirectPlan data;
    DirectWeights weights; /* its dY lies as data stages it */
    StagePlan apart;       /* of dY, if the weights were alone */
} DirectPair;
extern const ConvPairMethod direct_pair_method;

/* direct.c */
bool direct_applies(const ConvProblem *p);
int64_t direct_pair(const ConvProblem *p); /* channels, or images, in a 32-bit word: 2 where bf16 is multiplied */
bool direct_plan(const ConvProblem *p, const ConvChoice *choice, DirectPlan *plan); /* false: its tile does not fit */
uint32_t direct_candidates(const ConvProblem *p, const DirectPlan *own, ConvChoice *out);
ConvWork direct_work(const ConvProblem *p, const DirectPlan *plan);
ConvWork direct_weights_work(const ConvProblem *p, const DirectWeights *plan);

/* bundle.c */
int64_t bundle_groups(const ConvShape *s); /* of a bundle; 0: groups fill vectors, have one input each, or none is small enough */
ConvProblem bundle_widened(const ConvProblem *p);     /* the same convolution with a group for each bundle */
bool direct_packs(const DirectPlan *p);               /* has filters in an order of its own */
void direct_pack(ConvKernel *k, const DirectPlan *p); /* to the kernel's filters */
/* The gradient, result 0, of the partial ones. */
void direct_sum_weights(ConvKernel *k, const DirectWeights *p);

/* tiles.c */
enum { MAX_TILES = 8 };
/* The `most` (up to MAX_TILES) cheapest tiles for rows of `width` pixels and bands of band_rows rows, cheapest first. */
int tile_shapes(const Target *t, const Correlation *c, int64_t width, int64_t band_rows, TileShape *best, int most);
/* The chosen tile, or the cheapest where none is chosen or it does not fit the bands. */
TileShape tile_of(const Target *t, const ConvChoice *choice, const Correlation *c, int64_t band_rows);
double tile_cycles(const Target *t, const DirectPlan *plan); /* of all tiles */

/* tile.c */
/* What of one image `site` says: stages it into scratch, computes and finishes; returns the address of staged element 0. */
LLVMValueRef direct_image(ConvKernel *k, const DirectPlan *p, const CorrelationPiece *site, LLVMValueRef scratch);
void direct_lower(Lowering *l, Val v, const void *plan); /* a DirectPlan */

/* weights.c */
DirectWeights direct_weights_plan(const ConvProblem *p);
/* Adds image n's gradient to `partial`; dy: element 0 of its dY, which lies as p->w.dy says. Of one band. */
void direct_weights_image(ConvKernel *k, const DirectWeights *p, LLVMValueRef n, LLVMValueRef dy, LLVMValueRef partial,
                          LLVMValueRef scratch);
void direct_lower_weights(Lowering *l, Val v, const void *plan); /* a DirectWeights */
#endif
