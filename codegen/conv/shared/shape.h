/* What a convolution is to compute, and the arithmetic of its windows. No code is emitted here.
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
#ifndef NETC_CODEGEN_CONV_SHAPE_H
#define NETC_CODEGEN_CONV_SHAPE_H
#include "codegen/target/target.h"

typedef struct ConvShape {
    int64_t N, I, O, groups;
    int64_t in[2], out[2];                             /* H, W of x and of y */
    int64_t kernel[2], stride[2], pad[2], dilation[2]; /* pad: before the first line */
    int64_t V, in_blocks, out_blocks;                  /* of the whole tensors */
} ConvShape;

typedef enum ConvDirection { CONV_FORWARD, CONV_DATA, CONV_WEIGHTS } ConvDirection;

/* One convolution in one direction: what a method is asked to compute. */
typedef struct ConvProblem {
    const Target *t;
    const Graph *g;
    Val id;
    const Value *v;
    ConvDirection direction;
    ConvShape s;
    int64_t shards; /* that the batch is cut into, of which it is one; they are computed side by side. 0: 1 */
} ConvProblem;
ConvProblem conv_problem(const Target *t, const Graph *g, Val v); /* v: a convolution */

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

Correlation correlation_forward(const ConvShape *s);
Correlation correlation_of(const ConvProblem *p); /* forward or data */
Taps correlation_taps(const Correlation *c, int axis, int64_t phase);
int64_t correlation_lines(const Correlation *c, int axis, int64_t phase); /* output lines of a phase */
/* Is every phase, and a band of band_rows rows, a multiple of `rows`? Tiles of several rows need it. */
bool correlation_rows_divide(const Correlation *c, int64_t band_rows, int64_t rows);
/* First and last input line, relative to in_stride * t, that any tap of any phase reads. */
void correlation_reach(const Correlation *c, int axis, int64_t *first, int64_t *last);

/* Do a group's channels fill whole blocks, in and out, or is there one group only? */
bool conv_fills_blocks(const ConvShape *s);
/* As few_pieces (codegen/emit/pieces.h). */
int64_t conv_few_pieces(const ConvProblem *p);
/* What is so much for the whole batch, of one shard; at least 1. */
static inline int64_t conv_share(const ConvProblem *p, int64_t whole) {
    return p->shards > 1 ? (whole + p->shards - 1) / p->shards : whole;
}

static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
#endif
