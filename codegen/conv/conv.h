/* Convolutions: what the conv_*.c files share. Private to them (and to the Winograd kernels, which reuse staging and finish).
 *
 * Everything is said in terms of a *correlation*: forward convolution, and backward data as the correlation of dy with the
 * transposed filters, once for each phase of the output when the stride is above one (dx[s*t + p] only meets the filter taps
 * k with (p + pad - k*dilation) divisible by s). A line t of output phase p and tap m meet in input line
 *
 *     in_stride * t + taps.offset + m * taps.offset_step        filter line  taps.index + m * taps.index_step
 *
 * independently for rows and columns. Forward has one phase and in_stride = s; backward data s phases and in_stride = 1.
 *
 * Axis 0 is rows, axis 1 columns. V channels make a block; feature maps are [N][blocks][H][W][V].
 */
#ifndef NETC_CODEGEN_CONV_H
#define NETC_CODEGEN_CONV_H
#include "codegen/emit/emit.h"

/* ---- shape of one convolution and of its correlations (conv/shape.c) ---- */
typedef struct ConvShape {
    int64_t N, I, O, groups;
    int64_t in[2], out[2];                             /* H, W of x and of y */
    int64_t kernel[2], stride[2], pad[2], dilation[2]; /* pad: before the first line */
    int64_t V, in_blocks, out_blocks;                  /* of the whole tensors */
} ConvShape;

typedef struct Taps {
    int64_t count, index, index_step, offset, offset_step;
} Taps;

typedef struct Correlation {
    int64_t N, channels_in, channels_out, groups; /* whole tensors */
    int64_t in[2], out[2], kernel[2];
    int64_t in_stride[2], phases[2]; /* lines of output phase p: p, p + phases, p + 2*phases, … */
    int64_t pad[2], dilation[2];
    bool transposed;                                                     /* backward data */
    int64_t V, in_blocks, out_blocks, group_in_blocks, group_out_blocks; /* the last two rounded up */
} Correlation;

ConvShape conv_shape(const Graph *g, const Value *v, int64_t V);
Correlation correlation_forward(const ConvShape *s);
Correlation correlation_data(const ConvShape *s);
Taps correlation_taps(const Correlation *c, int axis, int64_t phase);
int64_t correlation_lines(const Correlation *c, int axis, int64_t phase); /* output lines of a phase */
/* First and last input line, relative to in_stride * t, that any tap of any phase reads. */
void correlation_reach(const Correlation *c, int axis, int64_t *first, int64_t *last);

static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- staging an operand (conv/stage.c) ----
 * The operand's rows that a band of output rows needs, with its prologue applied and its padding written out as zeros, copied
 * to scratch as [block][row][column][V]. Without padding and prologue the tensor is read in place. */
typedef enum StageForm {
    STAGE_AS_IS,    /* f32 if copied, in place whatever the tensor's elements are */
    STAGE_COPY,     /* f32, always copied */
    STAGE_CHANNELS, /* bf16: 32-bit words of two channels; in place if the tensor need not be copied */
    STAGE_IMAGES    /* 32-bit words of the bf16 of two images, the second of which is zero if there is none; always copied */
} StageForm;
typedef struct StagePlan {
    bool copied, store, planar; /* planar: LAYOUT_IMAGES */
    StageForm form;
    int64_t channels, blocks, in[2];
    int64_t origin[2]; /* line of the tensor that staged line 0 of band 0 is; negative in the padding */
    int64_t lines[2];  /* staged rows and columns */
    int64_t advance;   /* rows of the tensor from one band to the next */
    int64_t bands;
    int64_t row_stride, block_stride; /* elements of the copy or of the tensor */
    uint64_t bytes;                   /* of scratch */
} StagePlan;
/* What the loops read of the operand: `lines` lines from `first` on in band 0, `advance` rows further in each next band;
 * last_row is the last row that any band reads. */
typedef struct StageWindow {
    int64_t first[2], lines[2], last_row, advance, bands;
    StageForm form;
} StageWindow;
StagePlan stage_plan(const Graph *g, const Value *v, int operand, int64_t V, const StageWindow *w);

/* ---- a kernel being emitted: its value and buffers (conv/kernel.c) ---- */
typedef struct ConvKernel {
    Lowering *l;
    Emitter *e;
    const Value *v;
    Val id;
    Place *places; /* buffer i of the kernel: arguments, wanted results, workspace */
    uint32_t nplaces;
    uint32_t *result_buffer; /* of result r; NO_BUFFER if nobody reads it */
    uint32_t workspace_buffer;
    uint32_t filters_buffer; /* of filters in the kernel's own order; NO_BUFFER: as they are stored */
    uint32_t first_buffer;   /* of the kernel: above 0 where two values share it */
    Type *arg_type;
    LLVMValueRef *arg_base;
    LLVMValueRef *preloaded;
} ConvKernel;
#define NO_BUFFER UINT32_MAX

/* Lists the buffers of v; `bind` fetches them once the kernel is open. */
ConvKernel conv_kernel(Lowering *l, Val v, bool workspace);
void conv_kernel_bind(ConvKernel *k);
/* Adds the buffer of filters in another order. The calls up to lowering_resume make them: once where the filters are fixed, else
 * at every run into the workspace from `offset` on. */
void conv_kernel_filters(ConvKernel *k, uint64_t offset, uint64_t bytes);
/* The same value's buffers behind `first` others of a kernel that two values share: for emission only, places stay as they are.
 */
ConvKernel conv_kernel_behind(ConvKernel k, uint32_t first);
char *conv_key(const ConvKernel *k, const char *what); /* value_key and which of the value's kernels */
char *conv_name(const ConvKernel *k, const ConvShape *s, const char *suffix);
double conv_flops(const ConvShape *s);
double conv_bytes(const ConvKernel *k); /* arguments and wanted results once */
ElementSite conv_site(const ConvKernel *k, Type space);

/* Emits the copy for image n (STAGE_IMAGES: and n + 1), band b into scratch and returns the address of staged element 0. If the
 * prologue's value is also stored, it is so where `store_if` holds (NULL: always). */
LLVMValueRef stage_emit(ConvKernel *k, const StagePlan *p, int operand, LLVMValueRef n, LLVMValueRef band, LLVMValueRef scratch,
                        LLVMValueRef store_if);
/* The same for the lines from <= line < to of the copy only. */
LLVMValueRef stage_lines(ConvKernel *k, const StagePlan *p, int operand, LLVMValueRef n, LLVMValueRef band, LLVMValueRef from,
                         LLVMValueRef to, LLVMValueRef scratch, LLVMValueRef store_if);

/* A vector of a whole feature map of type t to memory: past the caches if the map is larger than a core's share of them. */
void conv_store(ConvKernel *k, Type t, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);

/* ---- fetching ahead (conv/kernel.c) ----
 * The caches' own prefetchers do not see that the next image follows; asking for its lines while this one is computed, a few
 * at each step of the loops, hides the memory's latency. */
/* Lines of 64 bytes that the feature maps among the arguments have per image. */
int64_t prefetch_lines(const ConvKernel *k);
/* Step `step` of `steps` while image n is computed: its share of the lines of image n + 1, of each feature map that is read. */
void prefetch_step(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps);
/* Cores drop requests that come in long bursts. Is a step's share one? Then the loops of the step spread it over `parts`. */
bool prefetch_bursts(const ConvKernel *k, int64_t steps);
void prefetch_part(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps, LLVMValueRef part, int64_t parts);
/* Step `step` of `steps`: its share of `rows` rows of image n from `row` on, counted in rows of the first argument; of maps that
 * have half as many, half as many. */
void prefetch_rows(ConvKernel *k, LLVMValueRef n, LLVMValueRef row, int64_t rows, LLVMValueRef step, int64_t steps);

/* ---- finishing accumulators (conv/finish.c) ---- */
/* Where finished vectors go: image n and channel block cb of result 0's type. Reductions add to a row of sums [rows][C]: of the
 * image, or, where images are cut into bands, of the band, at the start of the workspace. */
typedef struct Finish {
    LLVMValueRef n, cb, sums_row;
    int64_t channels;
    bool banded;
    int64_t sums_rows; /* in all */
} Finish;
/* Accumulator acc[i] belongs to pixel[i] = y*W + x. */
void finish_emit(ConvKernel *k, const Finish *f, int count, const LLVMValueRef *acc, const LLVMValueRef *pixel);
void finish_clear_sums(ConvKernel *k, const Finish *f);
/* The call that adds the bands' sums up in order, one piece per image. */
void finish_combine_sums(ConvKernel *k, int64_t N, int64_t channels, int64_t bands);

/* ---- plans of the correlation kernels (conv/plan.c) ---- */
/* A register tile of rows x columns pixels x `blocks` output blocks; `hold` filter columns are kept in registers at a time. */
typedef struct TileShape {
    int64_t rows, columns, blocks, hold;
} TileShape;
typedef struct CorrelationPlan {
    ConvShape s;
    Correlation c;
    bool gemm;
    int64_t pair; /* channels in a 32-bit word: 1 (f32), or 2 (bf16) */
    TileShape tile;
    int64_t images;                   /* per piece, one after the other */
    int64_t band_rows, bands, splits; /* rows of a phase per band; pieces per band, each a range of output blocks */
    StagePlan stage;
    uint64_t sums_bytes, packed_bytes; /* workspace: the bands' sums, then packed filters if they are made at every run */
} CorrelationPlan;
/* The least pieces worth having: an inference graph of several images is run by one thread (runtime/abi.h). */
int64_t conv_few_pieces(const Graph *g, const ConvShape *s);
CorrelationPlan correlation_plan(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v);
/* The direct kernels need groups that fill channel blocks. */
bool conv_direct_applies(const ConvShape *s);
/* The `most` (up to MAX_TILES) cheapest tiles for rows of `width` pixels and bands of band_rows rows, cheapest first. */
enum { MAX_TILES = 8 };
int tile_shapes(const Target *t, const Correlation *c, int64_t width, int64_t band_rows, TileShape *best, int most);
StageForm stage_form(const Target *t); /* for loops that want f32 */

/* ---- the frame of a correlation kernel (conv/frame.c) ---- */
/* What the piece means. */
typedef struct CorrelationSite {
    LLVMValueRef n, band, split, sums_row;
} CorrelationSite;
CorrelationSite correlation_site(Emitter *e, const CorrelationPlan *p, LLVMValueRef image); /* image-th of the piece */
LLVMValueRef correlation_images(Emitter *e, const CorrelationPlan *p);                      /* of the piece */
LLVMValueRef emit_cut(Emitter *e, LLVMValueRef part, int64_t total, int64_t parts);         /* part * total / parts */
/* Of the phase in the band; 0 if its rows end above it. */
LLVMValueRef correlation_rows(Emitter *e, const CorrelationPlan *p, const CorrelationSite *s, int64_t phase);
int64_t correlation_pieces(const CorrelationPlan *p);
/* Pixel of the output that (row of the band, column) of a phase is. */
LLVMValueRef correlation_pixel(Emitter *e, const CorrelationPlan *p, const CorrelationSite *s, const int64_t phase[2],
                               LLVMValueRef row, LLVMValueRef column);
Finish correlation_finish(const CorrelationPlan *p, const CorrelationSite *s, LLVMValueRef cb);
void correlation_call(ConvKernel *k, Kernel *kernel, const CorrelationPlan *p);

/* What of one image `site` says: stages it into scratch, computes and finishes; returns the address of staged element 0. Direct.
 */
LLVMValueRef correlation_image(ConvKernel *k, const CorrelationPlan *p, const CorrelationSite *site, LLVMValueRef scratch);

/* ---- the kernels ---- */
void lower_correlation(ConvKernel *k, const CorrelationPlan *p);      /* conv/direct/tile.c */
void lower_correlation_gemm(ConvKernel *k, const CorrelationPlan *p); /* conv/gemm/gemm.c */

/* ---- gradient of the filters (conv/direct/weights.c, conv/gemm/gemm.c) ---- */
typedef struct WeightsPlan {
    ConvShape s;
    bool gemm;
    int64_t pair;                       /* images in a 32-bit word: 1 (f32), or 2 (bf16) */
    int64_t image_groups, block_groups; /* pieces: image groups x ranges of output blocks */
    int64_t band_rows, bands, slab_rows;
    StagePlan x, dy;
    int64_t dw_floats;      /* of one partial gradient */
    uint64_t partial_bytes; /* workspace: one partial gradient per image group */
} WeightsPlan;
WeightsPlan weights_plan(const Target *t, const ConvChoice *choice, const Graph *g, const Value *v);
void weights_clear(ConvKernel *k, LLVMValueRef partial, LLVMValueRef lo, LLVMValueRef hi);
LLVMValueRef weights_rows(Emitter *e, const WeightsPlan *p, LLVMValueRef band); /* output rows of the band */
/* Adds image n's gradient to `partial`; dy: element 0 of its dY, which lies as p->dy says. Direct, of one band. */
void weights_image(ConvKernel *k, const WeightsPlan *p, LLVMValueRef n, LLVMValueRef dy, LLVMValueRef partial,
                   LLVMValueRef scratch);
void lower_weights(ConvKernel *k, const WeightsPlan *p);
/* Adds the partial gradients in the workspace up in a fixed tree, into result 0. */
void lower_sum_partials(ConvKernel *k, const WeightsPlan *p);
void lower_weights_gemm(ConvKernel *k, const WeightsPlan *p);

/* ---- backward data and weights in a single sweep (conv/direct/backward.c) ----
 * If a convolution's backward data stores its computed dY, and the same convolution's backward weights read it, both are done
 * together: dY is staged once and stored only for others, and the forward input is read while the epilogue has it in cache. */
/* The weights' value that can be computed along with backward data `data` by this choice, or NO_VAL. */
Val conv_backward_partner(const Target *t, const ConvChoice *choice, const Graph *g, Val data);
/* For the kernel of both: the weights' buffers, their partials `workspace` bytes into data's workspace; the places of both; the
 * bytes that it moves. */
ConvKernel conv_backward_weights(Lowering *l, const ConvKernel *data, Val weights, uint64_t workspace);
Place *conv_backward_places(const ConvKernel *data, const ConvKernel *weights);
double conv_backward_bytes(const ConvKernel *data, const ConvKernel *weights);

/* ---- filters in other orders (conv/pack.c) ---- */
/* Tile by tile: transposed for backward data, in pairs for bf16. */
void lower_pack_tiles(ConvKernel *k, const CorrelationPlan *p, Place to);
/* As dense matrices [group][tap row][tap column][channel in][channel out] for one phase after the other, into the
 * kernel's filters. */
void lower_pack_dense(ConvKernel *k, const CorrelationPlan *p);
int64_t packed_phase_floats(const Correlation *c, const int64_t phase[2]);
/* Adds dense partial gradients up and scatters them into filters. */
void lower_scatter_dense(ConvKernel *k, const WeightsPlan *p);
#endif
