/* Winograd for wide convolutions, cut by output channels instead of by images.
 *
 * The kernels of forward.c keep all transformed filters in memory, 36 values a filter, and read them once per block of tiles:
 * right where they fit the caches. With hundreds of channels they are tens of megabytes. Here the tiles of the whole batch are
 * transformed first, into planes in the workspace, and a piece then takes a few blocks of output channels: it transforms their
 * filters where it uses them, a part of the input channels at a time, and multiplies them with all the tiles. No transformed
 * filter ever goes to memory.
 *
 * Planes are 2.25 times their map, and every few output blocks read them anew: a large batch's would come from memory each time.
 * So batches whose planes exceed Target.last_cache go slab by slab, each of whole chunks: transform, multiply, next, through one
 * workspace.
 *
 *     transform ─► planes [chunk of images][point][tiles][in block][tile][V]    a piece an image
 *     multiply  ─► U of a few output blocks in L2, sums in L2, transform back, finish      a piece a few output blocks
 *
 * The gradient of the filters likewise: a piece owns some filters, sums over the tiles of the slab, transforms back, and adds
 * that to the slabs' before.
 */
#ifndef NETC_CODEGEN_WINOGRAD_WIDE_H
#define NETC_CODEGEN_WINOGRAD_WIDE_H
#include "codegen/conv/shared/finish.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/stage.h"

extern const ConvMethod conv_wide;

/* ---- private to wide/ ---- */
/* The transforms of one size of tile: F(4x4, 3x3), or F(2x2, 3x3) where the map has no more; with stride 2 those of strided.c.
 * Everything along one axis. */
typedef struct WideForm {
    int64_t out;                   /* of a tile: pixels of y, or of backward data's dY */
    int64_t first, reach, advance; /* of the input: line where the first tile begins; lines of a tile; lines to the next tile */
    int64_t side, filters;         /* points; filters that they meet: points behind the last filter meet the last */
    int64_t spread; /* out x out pixels of the output are so many apart, and its tile spread x spread such phases */
    int input_cost, output_cost;
    void (*input)(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane);    /* into planes at dst */
    void (*gradient)(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane); /* dY likewise */
    /* Planes into the phase's out[i*out + j]. */
    void (*output)(Emitter *e, LLVMValueRef src, int64_t plane, const int64_t phase[2], LLVMValueRef *out);
    void (*filter)(Emitter *e, const LLVMValueRef g[9], LLVMValueRef *filters);
    void (*filter_gradient)(Emitter *e, const LLVMValueRef *filters, LLVMValueRef g[9]);
} WideForm;
extern const WideForm wide_small, wide_strided, wide_spread;
static inline int64_t wide_filters(const WideForm *f) { return f->filters * f->filters; }
enum { WIDE_MAX_FILTERS = 36 };

/* The tiles of a batch, chunk by chunk of whole images. */
typedef struct WideTiles {
    const WideForm *form;
    int64_t points;
    int64_t N, rows, columns; /* images; tiles of an image */
    int64_t images, chunks;   /* of a chunk, the last of which may have fewer; in all */
    int64_t tiles;            /* of a chunk, rounded up to whole register tiles */
    int64_t slab;             /* chunks whose planes the workspace has at a time; 0 while it is being planned */
} WideTiles;

/* One operand's planes in the workspace. */
typedef struct WidePlanes {
    bool gradient; /* tiles of dY for the gradient of the filters rather than of the input */
    int operand;
    int64_t blocks;                /* channel blocks */
    int64_t cuts;                  /* pieces that share an image, each some of its blocks */
    int64_t plane;                 /* floats from one point to the next */
    int64_t group;                 /* tiles that lie together: a point is [tile / group][block][tile % group][V] */
    int64_t first, reach, advance; /* along an axis, as the form's */
    StagePlan stage;               /* of all blocks; scratch holds one */
    uint64_t chunk_bytes, offset;  /* in the workspace */
} WidePlanes;

/* ---- planes.c ---- */
const WideForm *wide_form(const ConvProblem *p);
/* Chunks of at most `most` tiles where an image has no more. */
WideTiles wide_tiles(const ConvProblem *p, int64_t most);
LLVMValueRef wide_filter_of(Emitter *e, const WideForm *form, LLVMValueRef point);
WidePlanes wide_planes(const ConvProblem *problem, int operand, bool gradient, const WideTiles *tiles, int64_t group,
                       uint64_t offset);
/* Cuts the batch into slabs that stay in the target's last cache, a chunk of all planes taking `bytes`. */
void wide_cut_slabs(WideTiles *t, const Target *target, uint64_t bytes);
/* A key for the kernel that meets the planes. */
char *wide_key(const ConvKernel *k, const char *what, const WideTiles *t);
static inline int64_t wide_slabs(const WideTiles *t) { return divide_up(t->chunks, t->slab); }
/* The chunk's place in its slab. */
LLVMValueRef wide_chunk_in_slab(Emitter *e, const WideTiles *t, LLVMValueRef chunk);
LLVMValueRef wide_chunk_images(Emitter *e, const WideTiles *t, LLVMValueRef chunk);
Kernel *wide_planes_kernel(ConvKernel *k, const WideTiles *tiles, const WidePlanes *p);
/* The slab that piece e->piece is of; *piece is which of the slab's `pieces` it is. */
LLVMValueRef wide_slab_of(Emitter *e, const WideTiles *t, int64_t pieces, LLVMValueRef *piece);
typedef struct WideFill {
    Kernel *kernel; /* of wide_planes_kernel */
    const WidePlanes *planes;
} WideFill;
/* Calls, slab by slab, what fills its planes, then its `pieces` of the kernel that meets them. */
void wide_call_slabs(ConvKernel *k, Kernel *kernel, const ConvShape *s, const WideTiles *t, int64_t pieces, const WideFill *fill,
                     int nfill);

/* ---- the two kernels ---- */
/* Forward and backward data. */
typedef struct WidePlan {
    ConvShape s;
    Correlation c;
    WideTiles tiles;
    WidePlanes in;
    int64_t tile_rows, columns; /* of a register tile: tiles, and output blocks, which a piece has too */
    int64_t part;               /* input blocks of a group whose filters are transformed at a time */
    int64_t splits;             /* pieces of a slab that share output blocks, each a range of chunks */
    uint64_t workspace, scratch;
} WidePlan;
WidePlan wide_plan(const ConvProblem *problem);
/* Floats from one point to the next in scratch, a line away from powers of two: of transformed filters, of sums. */
static inline int64_t wide_filter_plane(const WidePlan *p) { return p->part * p->c.V * p->columns * p->c.V + CACHE_LINE_FLOATS; }
static inline int64_t wide_sum_plane(const WidePlan *p) { return p->columns * p->tiles.tiles * p->c.V + CACHE_LINE_FLOATS; }
/* What piece e->piece is: output blocks from group * columns on, chunks lo..hi - 1. */
typedef struct WidePiece {
    LLVMValueRef group, lo, hi;
} WidePiece;
int64_t wide_pieces(const WidePlan *p); /* of a slab */
WidePiece wide_piece(Emitter *e, const WidePlan *p);
void wide_lower(Lowering *l, Val v, const void *plan); /* multiply.c */

typedef struct WideWeightsPlan {
    ConvShape s;
    WideTiles tiles;
    WidePlanes x, dy;
    int64_t columns; /* output blocks of a piece */
    int64_t part;    /* input blocks of a piece, at most */
    uint64_t workspace, scratch;
} WideWeightsPlan;
WideWeightsPlan wide_weights_plan(const ConvProblem *problem);
static inline int64_t wide_group_blocks(const ConvShape *s) { return divide_up(s->I / s->groups, s->V); } /* of the input */
static inline int64_t wide_gradient_plane(const WideWeightsPlan *p) {
    return p->part * p->s.V * p->columns * p->s.V + CACHE_LINE_FLOATS;
}
void wide_lower_weights(Lowering *l, Val v, const void *plan); /* gradient.c */
#endif
