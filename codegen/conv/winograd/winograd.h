/* Winograd's convolution, F(4x4, 3x3): 3x3 filters with padding 1 and stride 1, and forward with stride 2. transform.h has the
 * algebra. */
#ifndef NETC_CODEGEN_WINOGRAD_H
#define NETC_CODEGEN_WINOGRAD_H
#include "codegen/conv/shared/finish.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/partials.h"
#include "codegen/conv/winograd/blocks.h"
#include "codegen/conv/winograd/product.h"

extern const ConvMethod conv_winograd;

/* ---- private to winograd/ ---- */
/* Forward and backward data. */
typedef struct WinoPlan {
    ConvShape s;
    Correlation c;
    int64_t repeat, bands; /* groups of images per piece; or bands per image */
    WinoBlocks tiles;      /* of a group of images, or of a band */
    WinoTile tile;
    int64_t plane, nplanes; /* from one plane to the next; those of input and output, which share most, together */
    bool in_place;          /* tiles are read from the feature map */
    StagePlan stage;        /* of one image, if they are not */
    uint64_t staged_bytes;  /* of scratch: the group's staged images, or a line of zeros, for above and below the map */
    uint64_t scratch_bytes, sums_bytes, packed_bytes, filter_bytes; /* the last three in the workspace, in this order */
} WinoPlan;

/* Backward weights. */
typedef struct WinoWeightsPlan {
    WeightsPlan partials; /* of image groups, summed as the direct kernel's are */
    WinoBlocks tiles;     /* of a group of images */
    int64_t in_plane, out_plane;
    StagePlan x, dy;
    uint64_t scratch_bytes;
} WinoWeightsPlan;

typedef struct WinoPair {
    WinoPlan data;
    WinoWeightsPlan weights; /* its dY lies as data stages it; scratch is that of both */
} WinoPair;
extern const ConvPairMethod wino_pair_method;

/* winograd.c */
bool wino_block_fits(const ConvChoice *choice);
uint32_t wino_candidates(const ConvProblem *p, int64_t own, ConvChoice *out); /* own: the block by its own rule */
ConvWork wino_work(const ConvProblem *p, const WinoPlan *plan);
ConvWork wino_weights_work(const ConvProblem *p, const WinoWeightsPlan *plan);

/* forward.c */
bool wino_applies(const ConvProblem *p); /* weights, too, as far as the shape goes */
WinoPlan wino_plan(const ConvProblem *p, const ConvChoice *choice);
uint64_t wino_workspace(const WinoPlan *p);
/* What piece e->piece is: groups of images, from first_image on, or a band of one. */
typedef struct WinoPiece {
    LLVMValueRef band, first_image, end_image;
} WinoPiece;
int64_t wino_pieces(const WinoPlan *p);
WinoPiece wino_piece(Emitter *e, const WinoPlan *p);
LLVMValueRef wino_images(Emitter *e, const WinoPlan *p, LLVMValueRef first_image); /* of the group that starts there */
LLVMValueRef wino_rows(Emitter *e, const WinoPlan *p, LLVMValueRef band);          /* rows of tiles of the band */
void wino_lower(Lowering *l, Val v, const void *plan);
/* The 4x4 pixels out[i*4 + j] of the tile whose first is (y, x), `spread` apart, finished where they are inside the output. */
void wino_finish_tile(ConvKernel *k, const Correlation *c, const Finish *f, LLVMValueRef y, LLVMValueRef x, int64_t spread,
                      LLVMValueRef *out);
/* What the kernels share while they are emitted. */
typedef struct WinoKernel {
    ConvKernel *k;
    const WinoPlan *p;
    WinoAt at;
    LLVMValueRef band;
    LLVMValueRef staged, planes_in, planes_out;
    LLVMValueRef count;  /* of the block */
    int64_t fetch_parts; /* products that share the fetching ahead, this one being the first; 0 for none */
} WinoKernel;
void wino_lower_filters(ConvKernel *k, const WinoPlan *p);
void wino_begin_group(const WinoKernel *s, LLVMValueRef images); /* clears the sums, stages what is not staged by the block */
void wino_kernel_block(WinoKernel *s);

/* weights.c */
bool wino_weights_applies(const ConvProblem *p);
WinoWeightsPlan wino_weights_plan(const ConvProblem *p, const ConvChoice *choice);
void wino_lower_weights(Lowering *l, Val v, const void *plan);
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
