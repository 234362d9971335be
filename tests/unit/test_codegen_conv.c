/* Compiled convolutions against the reference evaluator: forward and both gradients, direct and by matrix products, plain and
 * with every kind of fused region, over a table of shapes. All six variants of a shape are one graph.
 *
 * The bound is componentwise: every Expr here is built of add, mul and max, so evaluating the graph on the absolute values of
 * its leaves bounds the terms of each sum, and the error may be (a few + 2 sqrt(terms)) units of that.
 *
 * With bf16 the leaves are bf16. Then a computed operand may be rounded once (so a product of two by two units of bf16, and a
 * product of two sums by twice that), and a feature map once more when it is stored: five units. */
#include "bf16.h"
#include "codegen/codegen.h"
#include "ir/eval.h"
#include "ir/ir.h"
#include "run_cases.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Case {
    int64_t N, I, H, W, O, groups, kernel[2], stride[2], pad[4], dilation[2];
} Case;

static const Case cases[] = {
    /* the CIFAR nets: stem, the three stages, their transitions */
    {2, 3, 32, 32, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {5, 16, 32, 32, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 32, 16, 16, 32, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {5, 64, 8, 8, 64, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 16, 32, 32, 32, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {1, 32, 16, 16, 64, 1, {1, 1}, {2, 2}, {0, 0, 0, 0}, {1, 1}},
    /* channel counts that leave padding */
    {2, 1, 9, 7, 1, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 17, 9, 11, 33, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 33, 5, 19, 17, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {2, 3, 13, 17, 5, 1, {5, 5}, {1, 1}, {2, 2, 2, 2}, {1, 1}},
    /* windows */
    {1, 16, 17, 23, 16, 1, {2, 2}, {1, 1}, {0, 1, 1, 0}, {1, 1}},
    {1, 16, 11, 11, 16, 1, {4, 4}, {2, 2}, {1, 1, 2, 2}, {1, 1}},
    {1, 3, 37, 37, 20, 1, {7, 7}, {2, 2}, {3, 3, 3, 3}, {1, 1}},
    {1, 16, 14, 15, 16, 1, {1, 3}, {1, 1}, {0, 1, 0, 1}, {1, 1}},
    {2, 16, 14, 15, 16, 1, {3, 1}, {1, 2}, {1, 0, 1, 0}, {1, 1}},
    {1, 17, 16, 16, 16, 1, {3, 3}, {3, 3}, {1, 1, 1, 1}, {1, 1}},
    {1, 16, 15, 15, 16, 1, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}},
    {1, 16, 15, 16, 16, 1, {3, 3}, {2, 2}, {2, 1, 2, 3}, {2, 2}},
    {2, 2, 15, 14, 16, 1, {3, 3}, {1, 1}, {2, 3, 2, 3}, {2, 3}},  /* filters whose rows share a tile of the gradient */
    {2, 16, 13, 14, 16, 1, {3, 3}, {1, 1}, {1, 1, 3, 3}, {2, 2}}, /* all but the dilation is Winograd's */
    {2, 32, 12, 13, 32, 1, {3, 3}, {2, 2}, {1, 1, 2, 3}, {2, 2}},
    {2, 16, 13, 13, 16, 1, {1, 1}, {3, 3}, {0, 0, 0, 0}, {1, 1}},
    {2, 16, 1, 1, 48, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {1, 16, 10, 10, 16, 1, {3, 3}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    /* groups that fill blocks, and that do not */
    {2, 32, 9, 9, 64, 2, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 64, 8, 8, 64, 4, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {2, 6, 7, 7, 10, 2, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 17, 8, 9, 17, 17, {3, 3}, {2, 1}, {1, 1, 1, 1}, {1, 1}},
    /* pieces of several images */
    {37, 16, 6, 5, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {50, 17, 5, 6, 32, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    /* filters that outgrow a core's cache, for which images are gathered */
    {17, 176, 4, 4, 176, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    /* more padding than is staged */
    {2, 3, 3, 3, 16, 1, {1, 1}, {100, 100}, {0, 5, 0, 5}, {1, 1}},
    /* blocks of whole tile rows, the last one short and ragged */
    {9, 20, 22, 15, 24, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {9, 20, 43, 32, 24, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {3, 32, 35, 64, 48, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {2, 32, 12, 36, 64, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* nine tiles in a row: several planes, rows and groups */
    {2, 32, 16, 88, 64, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {2, 32, 16, 40, 48, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}}, /* several planes */
    {2, 32, 28, 28, 32, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* seven */
    /* too large for one band */
    {1, 32, 96, 112, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 16, 131, 65, 48, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
};

/* Depthwise: a filter per channel. */
static const Case depthwise[] = {
    {2, 32, 16, 16, 32, 32, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {5, 17, 9, 11, 17, 17, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 40, 16, 15, 40, 40, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {1, 16, 7, 8, 16, 16, {3, 3}, {2, 1}, {0, 1, 1, 0}, {1, 1}},
    {3, 48, 14, 14, 48, 48, {5, 5}, {1, 1}, {2, 2, 2, 2}, {1, 1}},
    {2, 33, 13, 13, 33, 33, {5, 5}, {2, 2}, {2, 2, 2, 2}, {1, 1}},
    {2, 16, 12, 31, 16, 16, {7, 7}, {1, 1}, {3, 3, 3, 3}, {1, 1}},
    {1, 20, 12, 10, 20, 20, {9, 9}, {1, 1}, {4, 4, 4, 4}, {1, 1}},
    {2, 16, 15, 15, 16, 16, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}},
    {2, 16, 15, 16, 16, 16, {3, 3}, {2, 2}, {2, 1, 2, 3}, {2, 3}},
    {2, 16, 14, 15, 16, 16, {1, 7}, {1, 1}, {0, 3, 0, 3}, {1, 1}},
    {2, 16, 14, 15, 16, 16, {3, 1}, {3, 2}, {1, 0, 1, 0}, {1, 1}},
    {2, 16, 13, 13, 16, 16, {1, 1}, {3, 3}, {0, 0, 0, 0}, {1, 1}},
    {2, 16, 13, 14, 16, 16, {2, 2}, {3, 3}, {0, 0, 0, 0}, {1, 1}},
    {37, 32, 6, 5, 32, 32, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {4, 3, 12, 12, 3, 3, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 16, 131, 65, 16, 16, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* too large for one band */
    {1, 16, 132, 67, 16, 16, {5, 3}, {2, 2}, {2, 1, 1, 0}, {1, 1}},
    {3, 24, 8, 8, 24, 24, {8, 8}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* as large as the map */
    {2, 16, 11, 30, 16, 16, {11, 30}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {1, 55, 3, 3, 55, 55, {3, 3}, {2, 1}, {0, 0, 0, 0}, {1, 1}}, /* whatever the stride */
    {3, 24, 8, 5, 24, 24, {8, 5}, {3, 2}, {0, 0, 0, 0}, {1, 1}},
    {2, 20, 7, 7, 20, 20, {7, 7}, {1, 1}, {3, 3, 3, 3}, {1, 1}},
};

/* Products: filters of 1x1. */
static const Case products[] = {
    {5, 32, 4, 4, 48, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {37, 48, 4, 4, 64, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* several chunks, the last with fewer images */
    {3, 17, 7, 7, 33, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},  /* channels that leave padding, tiles of two sizes */
    {131, 20, 2, 2, 24, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {3, 100, 5, 5, 112, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* a narrower tile for the last output blocks */
    {19, 64, 1, 1, 80, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {2, 3, 9, 7, 20, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {2, 1, 5, 6, 1, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {2, 160, 30, 29, 32, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* bands of rows */
    {1, 40, 67, 66, 96, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {3, 560, 4, 3, 528, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* input blocks in two parts; filters fetched ahead */
    {1, 560, 2, 2, 528, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* likewise, all of them by the only tile */
    {1, 96, 8, 8, 64, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},   /* one image: bands for all threads */
    {1, 200, 7, 7, 160, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {1, 1300, 7, 7, 48, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {1, 128, 12, 5, 96, 2, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {5, 64, 6, 5, 96, 2, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* groups */
    {3, 96, 8, 8, 192, 3, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {9, 160, 4, 4, 160, 5, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {5, 1300, 5, 5, 560, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}}, /* channels in parts, output blocks in two bands (inference) */
    {3, 33, 6, 6, 1240, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},  /* likewise backward data */
};

/* Wide: many channels, few pixels. */
static const Case wides[] = {
    {5, 32, 4, 4, 48, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {3, 48, 8, 8, 32, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {7, 17, 2, 2, 33, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 33, 7, 9, 20, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {37, 20, 9, 5, 64, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},  /* several chunks, the last with fewer images */
    {131, 16, 3, 4, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* a tile an image, and a last chunk of an odd number */
    {2, 160, 4, 4, 160, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* filters in two parts */
    {1, 64, 33, 18, 32, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 64, 28, 28, 32, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* few images, each cut by its blocks, in several chunks */
    {3, 64, 8, 8, 96, 2, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},   /* groups */
    {5, 96, 2, 2, 96, 3, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {37, 320, 5, 4, 32, 2, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {5, 32, 8, 8, 48, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}}, /* stride 2 */
    {3, 33, 16, 15, 32, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {37, 20, 13, 18, 64, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {2, 160, 7, 8, 160, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {3, 64, 8, 16, 96, 2, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {1, 32, 67, 34, 32, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
};

/* Groups that share vectors of channels. */
static const Case bundles[] = {
    {3, 32, 9, 8, 32, 4, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 24, 9, 9, 24, 3, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}}, /* the last vector is not full */
    {5, 40, 7, 6, 40, 10, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {1, 16, 13, 11, 16, 8, {5, 3}, {1, 1}, {2, 1, 2, 1}, {1, 1}},
    {17, 56, 8, 8, 56, 7, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 64, 66, 65, 64, 32, {3, 3}, {1, 1}, {1, 1, 1, 1}, {2, 2}}, /* bands */
    {3, 96, 9, 8, 96, 32, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},   /* bundles of several vectors: groups of 3 channels, */
    {2, 48, 9, 9, 48, 8, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},    /* 6, */
    {5, 96, 7, 6, 96, 8, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},    /* 12 */
    {2, 96, 5, 7, 96, 4, {3, 1}, {1, 1}, {1, 0, 1, 0}, {1, 1}},    /* and 24 */
    {2, 20, 6, 6, 20, 4, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},    /* all groups: a whole one would be 80 channels, */
    {3, 60, 5, 5, 60, 6, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},    /* 80, and they are 60, */
    {3, 50, 7, 5, 100, 2, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},   /* as many inputs as outputs or not, */
    {2, 100, 6, 9, 50, 2, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {9, 40, 5, 3, 8, 8, {3, 2}, {1, 2}, {1, 0, 1, 1}, {1, 1}},
    {2, 64, 5, 8, 16, 2, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* vectors of inputs, parts of one of outputs */
    {2, 12, 8, 5, 24, 3, {3, 3}, {1, 1}, {1, 1, 1, 1}, {2, 1}},
    {2, 96, 5, 4, 72, 24, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},   /* 4 to 3 channels, four blocks to three */
    {2, 153, 6, 4, 153, 17, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* too wide a bundle: not these */
    {2, 64, 5, 4, 48, 16, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},   /* one bundle of 4 to 3 blocks; at 8 lanes two of 4 to 3 */
    {3, 96, 4, 5, 32, 16, {3, 1}, {1, 1}, {1, 0, 1, 0}, {1, 1}},   /* 6 to 2 channels: two bundles of three blocks to one */
};

/* ---- graphs ---- */

static Attrs window_of(const Case *c) {
    Attrs attrs = {.window.groups = c->groups};
    memcpy(attrs.window.kernel, c->kernel, sizeof c->kernel);
    memcpy(attrs.window.stride, c->stride, sizeof c->stride);
    memcpy(attrs.window.pad, c->pad, sizeof c->pad);
    memcpy(attrs.window.dilation, c->dilation, sizeof c->dilation);
    return attrs;
}

static Val leaf(Graph *g, Op op, const char *name, Type type) {
    return graph_add(g, &(ValueSpec){.op = op, .declared = type, .attrs.param.name = name});
}

static uint16_t affine(ExprBuilder *b, uint16_t x, uint32_t scale, uint32_t shift) {
    return expr_binary(b, X_ADD, expr_binary(b, X_MUL, x, expr_arg(b, scale)), expr_arg(b, shift));
}

/* Arguments behind the operands, for one side: a rank-4 tensor, [N,C], [C]. */
typedef struct Side {
    Val tensor, rows, vector;
} Side;

static Side side_leaves(Graph *g, const char *const names[3], Type t) {
    return (Side){leaf(g, OP_INPUT, names[0], t), leaf(g, OP_INPUT, names[1], type_matrix(t.dim[0], t.dim[1])),
                  leaf(g, OP_INPUT, names[2], type_vector(t.dim[1]))};
}

/* max(x * vector + rows, 0) + tensor, with x leaf `x` and the side's arguments from `first` on. */
static const Expr *region_expr(Arena *arena, int x, uint32_t first) {
    ExprBuilder b = expr_builder(arena);
    uint16_t value = x < 0 ? expr_leaf(&b, X_ACC) : expr_arg(&b, (uint32_t)x);
    uint16_t relu = expr_binary(&b, X_MAX, affine(&b, value, first + 2, first + 1), expr_const(&b, 0));
    return expr_finish(&b, expr_binary(&b, X_ADD, relu, expr_arg(&b, first)));
}

static const Expr *product_expr(Arena *arena, ExprOp a, ExprOp c) {
    ExprBuilder b = expr_builder(arena);
    uint16_t left = expr_leaf(&b, a), right = expr_leaf(&b, c);
    return expr_finish(&b, expr_binary(&b, X_MUL, left, right));
}

static const Expr *out_expr(Arena *arena, uint32_t vector) {
    ExprBuilder b = expr_builder(arena);
    uint16_t out = expr_leaf(&b, X_OUT), acc = expr_leaf(&b, X_ACC);
    return expr_finish(&b, expr_binary(&b, X_ADD, expr_binary(&b, X_MUL, out, expr_arg(&b, vector)), acc));
}

/* Sums in double become mean, variance and, per image, the mean deviation. */
static void output_moments(Graph *g, Val v, uint32_t r) {
    Type y = g->value[v].type;
    double pixels = (double)(y.dim[2] * y.dim[3]);
    Val sums = graph_result(g, v, r);
    Val m = graph_add(g, &(ValueSpec){.op = OP_MOMENTS, .args = &sums, .nargs = 1, .attrs.constant = (double)y.dim[0] * pixels});
    Val deviations = graph_result(g, m, 2);
    ExprBuilder b = expr_builder(g->arena);
    const Expr *share = expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_const(&b, 1 / pixels)));
    graph_output(g, OUT_GRAD, m, "mean");
    graph_output(g, OUT_GRAD, graph_result(g, m, 1), "variance");
    graph_output(g, OUT_GRAD, graph_map(g, g->value[deviations].type, &deviations, 1, share, (Span){0}, NULL), "deviation");
}

static void output_results(Graph *g, Val v, const char *name) {
    uint32_t n = value_results(g, v);
    for (uint32_t r = 0; r < n; r++) {
        if (value_result_type(g, v, r).dtype == DT_F64)
            output_moments(g, v, r);
        else
            graph_output(g, OUT_GRAD, graph_result(g, v, r), name);
    }
}

/* Plain and fused forward, data or weights: operands a, b with their sides; `result` the side of the result (not for weights). */
static void add_variants(Graph *g, ValueSpec spec, Side a, const Side *b, const Side *result, const char *name) {
    Val args[8] = {spec.args[0], spec.args[1], a.tensor, a.rows, a.vector};
    const Side *second = b ? b : result;
    args[5] = second->tensor;
    args[6] = second->rows;
    args[7] = second->vector;
    output_results(g, graph_add(g, &spec), name);
    Region regions[8] = {{REGION_PROLOGUE, 0, region_expr(g->arena, 0, 2)}, {REGION_STORE, 0, NULL}};
    spec.args = args;
    spec.nargs = 8;
    spec.regions = regions;
    spec.nregions = 4;
    if (b) {
        regions[2] = (Region){REGION_PROLOGUE, 1, region_expr(g->arena, 1, 5)};
        regions[3] = (Region){REGION_STORE, 1, NULL};
    } else {
        regions[2] = (Region){REGION_EPILOGUE, 0, region_expr(g->arena, -1, 5)};
        regions[3] = (Region){REGION_OUTPUT, 0, out_expr(g->arena, 7)};
        regions[4] = (Region){REGION_REDUCE, 0, product_expr(g->arena, X_OUT, X_OUT)};
        regions[5] = (Region){REGION_REDUCE, 0, product_expr(g->arena, X_ACC, X_OUT)};
        regions[6] = (Region){REGION_MOMENTS, 0, out_expr(g->arena, 7)};
        spec.nregions = 7;
    }
    output_results(g, graph_add(g, &spec), name);
}

static Graph *conv_graph(const Case *c) {
    Graph *g = graph_new("conv", MODE_TRAIN);
    Attrs attrs = window_of(c);
    static const char *const x_names[3] = {"x_tensor", "x_rows", "x_vector"}, *const y_names[3] = {"y_tensor", "y_rows",
                                                                                                   "y_vector"};
    Type x_type = type_feature(c->N, c->I, c->H, c->W), w_type = type_feature(c->O, c->I / c->groups, c->kernel[0], c->kernel[1]);
    Val x = leaf(g, OP_INPUT, "x", x_type), w = leaf(g, OP_PARAM, "w", w_type);
    ValueSpec forward = {.op = OP_CONV2D, .args = (Val[]){x, w}, .nargs = 2, .attrs = attrs};
    Type y_type;
    char why[200];
    ck_assert_msg(graph_infer(g, &forward, &y_type, why, sizeof why), "%s", why);
    Val dy = leaf(g, OP_INPUT, "dy", y_type);
    Side xs = side_leaves(g, x_names, x_type), ys = side_leaves(g, y_names, y_type);
    add_variants(g, forward, xs, NULL, &ys, "forward");
    ValueSpec data = {.op = OP_CONV2D_BWD_DATA, .args = (Val[]){dy, w}, .nargs = 2, .attrs = attrs, .declared = x_type};
    add_variants(g, data, ys, NULL, &xs, "data");
    ValueSpec weights = {.op = OP_CONV2D_BWD_WEIGHTS, .args = (Val[]){x, dy}, .nargs = 2, .attrs = attrs, .declared = w_type};
    add_variants(g, weights, xs, &ys, NULL, "weights");
    return g;
}

/* Backward data that stores the dy that it computes, for its weights: both are done in one kernel (conv/shared/pairs.h). */
static const Case pairs[] = {
    {5, 16, 32, 32, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {5, 64, 8, 8, 64, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {37, 16, 6, 5, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {3, 20, 9, 7, 24, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {20, 32, 4, 4, 32, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {2, 16, 8, 8, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {9, 20, 22, 15, 24, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    /* what Winograd does not take */
    {5, 16, 32, 32, 32, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {37, 17, 8, 9, 33, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {3, 32, 11, 10, 16, 1, {1, 1}, {2, 2}, {0, 0, 0, 0}, {1, 1}},
    {18, 20, 9, 7, 12, 1, {5, 3}, {2, 1}, {2, 1, 2, 1}, {1, 2}},
    {9, 64, 8, 8, 64, 4, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {9, 40, 8, 7, 80, 10, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, /* bundles */
    {2, 16, 15, 15, 16, 1, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}},
};

/* Backward data and weights; somebody else reads dy too; the weights read what backward data computes, so that no kernel has
 * both. */
typedef enum Pair { PAIR, PAIR_DY_KEPT, PAIR_NONE, PAIRS } Pair;

static Graph *pair_graph(const Case *c, Pair pair) {
    Graph *g = graph_new("pair", MODE_TRAIN);
    Attrs attrs = window_of(c);
    static const char *const x_names[3] = {"x_tensor", "x_rows", "x_vector"}, *const y_names[3] = {"y_tensor", "y_rows",
                                                                                                   "y_vector"};
    Type x_type = type_feature(c->N, c->I, c->H, c->W), y_type;
    Type w_type = type_feature(c->O, c->I / c->groups, c->kernel[0], c->kernel[1]);
    Val x = leaf(g, OP_INPUT, "x", x_type), w = leaf(g, OP_PARAM, "w", w_type);
    char why[200];
    ValueSpec forward = {.op = OP_CONV2D, .args = (Val[]){x, w}, .nargs = 2, .attrs = attrs};
    ck_assert_msg(graph_infer(g, &forward, &y_type, why, sizeof why), "%s", why);
    Val dy = leaf(g, OP_INPUT, "dy", y_type);
    Side xs = side_leaves(g, x_names, x_type), ys = side_leaves(g, y_names, y_type);
    Region data[] = {{REGION_PROLOGUE, 0, region_expr(g->arena, 0, 2)},
                     {REGION_STORE, 0, NULL},
                     {REGION_EPILOGUE, 0, region_expr(g->arena, -1, 5)},
                     {REGION_REDUCE, 0, product_expr(g->arena, X_OUT, X_OUT)}};
    Val dx = graph_add(g, &(ValueSpec){.op = OP_CONV2D_BWD_DATA,
                                       .args = (Val[]){dy, w, ys.tensor, ys.rows, ys.vector, xs.tensor, xs.rows, xs.vector},
                                       .nargs = 8,
                                       .attrs = attrs,
                                       .declared = x_type,
                                       .regions = data,
                                       .nregions = 4});
    Region prologue = {REGION_PROLOGUE, 0, region_expr(g->arena, 0, 2)};
    Val dw = graph_add(
        g, &(ValueSpec){.op = OP_CONV2D_BWD_WEIGHTS,
                        .args = (Val[]){pair == PAIR_NONE ? dx : x, graph_result(g, dx, 1), xs.tensor, xs.rows, xs.vector},
                        .nargs = 5,
                        .attrs = attrs,
                        .declared = w_type,
                        .regions = &prologue,
                        .nregions = 1});
    graph_output(g, OUT_GRAD, dx, "data");
    graph_output(g, OUT_GRAD, graph_result(g, dx, 2), "data");
    graph_output(g, OUT_GRAD, dw, "weights");
    if (pair == PAIR_DY_KEPT) graph_output(g, OUT_GRAD, graph_result(g, dx, 1), "dy");
    return g;
}

/* Images of few channels, which convolutions alone read and copy: they stay as the runtime has them (layout.c). */
static const Case images[] = {
    {5, 3, 32, 32, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, {3, 4, 10, 9, 20, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}},
    {2, 1, 9, 7, 5, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},    {1, 2, 12, 13, 8, 1, {3, 3}, {2, 2}, {0, 0, 0, 0}, {1, 1}},
    {3, 4, 7, 6, 8, 2, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},    {1, 3, 37, 37, 20, 1, {7, 7}, {2, 2}, {3, 3, 3, 3}, {1, 1}},
    {2, 4, 9, 11, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},  {1, 3, 150, 151, 4, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {37, 3, 6, 5, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
};

/* Inference: tiles read from the feature map, blocks cut to what there is, single images cut into bands. */
static const Case inferred[] = {
    {1, 32, 16, 16, 64, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}}, {3, 32, 16, 16, 64, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}},
    {1, 64, 8, 8, 64, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},   {3, 64, 8, 8, 64, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 16, 32, 32, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}}, {3, 20, 13, 27, 24, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
    {1, 16, 31, 33, 32, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}}, {3, 3, 32, 32, 16, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}},
};

/* x goes to convolutions alone, and as it is: forward and, in training, weights. */
static Graph *plain_graph(const Case *c, Mode mode) {
    Graph *g = graph_new("plain", mode);
    Attrs attrs = window_of(c);
    static const char *const y_names[3] = {"y_tensor", "y_rows", "y_vector"};
    Type w_type = type_feature(c->O, c->I / c->groups, c->kernel[0], c->kernel[1]), y_type;
    Val x = leaf(g, OP_INPUT, "x", type_feature(c->N, c->I, c->H, c->W)), w = leaf(g, OP_PARAM, "w", w_type);
    ValueSpec forward = {.op = OP_CONV2D, .args = (Val[]){x, w}, .nargs = 2, .attrs = attrs};
    char why[200];
    ck_assert_msg(graph_infer(g, &forward, &y_type, why, sizeof why), "%s", why);
    Val dy = leaf(g, OP_INPUT, "dy", y_type);
    Side ys = side_leaves(g, y_names, y_type);
    Region epilogue[] = {{REGION_EPILOGUE, 0, region_expr(g->arena, -1, 2)},
                         {REGION_MOMENTS, 0, out_expr(g->arena, 4)},
                         {REGION_REDUCE, 0, product_expr(g->arena, X_OUT, X_OUT)}};
    forward.args = (Val[]){x, w, ys.tensor, ys.rows, ys.vector};
    forward.nargs = 5;
    forward.regions = epilogue;
    forward.nregions = 3;
    output_results(g, graph_add(g, &forward), "forward");
    if (mode == MODE_INFER) return g;
    Region prologue[] = {{REGION_PROLOGUE, 1, region_expr(g->arena, 1, 2)}, {REGION_STORE, 1, NULL}};
    ValueSpec weights = {.op = OP_CONV2D_BWD_WEIGHTS,
                         .args = (Val[]){x, dy, ys.tensor, ys.rows, ys.vector},
                         .nargs = 5,
                         .attrs = attrs,
                         .declared = w_type,
                         .regions = prologue,
                         .nregions = 2};
    output_results(g, graph_add(g, &weights), "weights");
    return g;
}

/* ---- leaves ---- */

typedef struct Leaves {
    uint32_t count;
    const char *name[16];
    Tensor value[16], absolute[16];
    float *f32[16];
    bool use_absolute;
} Leaves;

static Leaves leaves_new(const Graph *g, bool bf16) {
    Leaves l = {0};
    uint64_t state = 88172645463325252u;
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op != OP_INPUT && g->value[v].op != OP_PARAM) continue;
        uint32_t i = l.count++;
        l.name[i] = g->value[v].attrs.param.name;
        l.value[i] = tensor_new(g->value[v].type);
        l.absolute[i] = tensor_new(g->value[v].type);
        int64_t n = type_elements(g->value[v].type);
        l.f32[i] = malloc((size_t)n * sizeof(float));
        for (int64_t k = 0; k < n; k++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            l.f32[i][k] = (float)((double)(state >> 40) / (1 << 23) - 1);
            if (bf16) l.f32[i][k] = bf16_nearest(l.f32[i][k]);
            l.value[i].data[k] = l.f32[i][k];
            l.absolute[i].data[k] = fabs(l.value[i].data[k]);
        }
    }
    return l;
}

static void leaves_free(Leaves *l) {
    for (uint32_t i = 0; i < l->count; i++) {
        tensor_free(&l->value[i]);
        tensor_free(&l->absolute[i]);
        free(l->f32[i]);
    }
}

static uint32_t leaf_index(const Leaves *l, const Value *leaf) {
    uint32_t i = 0;
    while (strcmp(l->name[i], leaf->attrs.param.name)) i++;
    return i;
}
static const Tensor *eval_leaf(void *context, const Value *leaf) {
    Leaves *l = context;
    uint32_t i = leaf_index(l, leaf);
    return l->use_absolute ? &l->absolute[i] : &l->value[i];
}
static const float *run_leaf(void *context, const Value *leaf) {
    Leaves *l = context;
    return l->f32[leaf_index(l, leaf)];
}

/* ---- running and comparing ---- */

enum { MAX_OUTPUTS = 40 };

typedef struct Reference {
    Tensor value[MAX_OUTPUTS], bound[MAX_OUTPUTS];
} Reference;

static Reference reference_new(const Graph *g, Leaves *l) {
    Reference r;
    char why[200];
    EvalOptions options = {0};
    ck_assert_uint_le(g->noutputs, MAX_OUTPUTS);
    ck_assert_msg(graph_eval(g, eval_leaf, l, &options, r.value, NULL, why, sizeof why), "%s", why);
    l->use_absolute = true;
    ck_assert_msg(graph_eval(g, eval_leaf, l, &options, r.bound, NULL, why, sizeof why), "%s", why);
    return r;
}

static float **outputs_new(const Graph *g) {
    float **out = malloc(g->noutputs * sizeof *out);
    for (uint32_t i = 0; i < g->noutputs; i++)
        out[i] = malloc((size_t)type_elements(g->value[g->output[i].value].type) * sizeof(float));
    return out;
}

static void outputs_free(const Graph *g, float **out) {
    for (uint32_t i = 0; i < g->noutputs; i++) free(out[i]);
    free(out);
}

static char *case_text(const Case *c, const CodegenOptions *o) {
    static char text[200];
    snprintf(text, sizeof text, "n%d %dx%dx%d -> %d, %dx%d stride %d,%d dilation %d groups %d, %s%s on %s", (int)c->N, (int)c->I,
             (int)c->H, (int)c->W, (int)c->O, (int)c->kernel[0], (int)c->kernel[1], (int)c->stride[0], (int)c->stride[1],
             (int)c->dilation[0], (int)c->groups, o->conv ? conv_method_name(o->conv) : "auto",
             o->precision == PRECISION_BF16 ? " bf16" : "", o->cpu);
    return text;
}

/* The size of the terms that element k of output i is made of, by which its error is measured. A variance and the images'
 * deviations are differences: there the mean counts, which stands in front of them. */
static double bound_of(const Graph *g, const Reference *r, uint32_t i, int64_t k) {
    double bound = fabs(r->bound[i].data[k]);
    if (!strcmp(g->output[i].name, "variance")) return bound + pow(r->bound[i - 1].data[k], 2);
    if (!strcmp(g->output[i].name, "deviation")) return bound + r->bound[i - 2].data[k % r->value[i].type.dim[1]];
    return bound;
}

/* Winograd's bound is that of its transforms (kernels measured: with the points of transform.h F(4,3) stays within 64 units
 * componentwise, with those of Lavin & Gray within 128). */
static void compare(const Graph *g, const Case *c, const Reference *r, float *const *out, const CodegenOptions *options) {
    const double unit = 0x1p-24;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Type y = r->value[i].type;
        double terms = (double)(c->kernel[0] * c->kernel[1] * (c->I > c->O ? c->I : c->O));
        if (!strcmp(g->output[i].name, "weights")) terms = (double)(c->N * c->H * c->W);
        if (y.rank == 2) terms += (double)(c->H * c->W);
        double gate = unit * (16 + 2 * sqrt(terms));
        if (!options->conv || options->conv == conv_method("winograd") || options->conv == conv_method("wide"))
            gate = fmax(gate, 64 * unit);
        if (options->precision == PRECISION_BF16) gate += 5 * bf16_unit;
        for (int64_t k = 0, n = type_elements(y); k < n; k++) {
            double error = fabs(out[i][k] - r->value[i].data[k]);
            if (!(error <= gate * (bound_of(g, r, i, k) + 1e-6))) /* an assertion per element would take most of the time */
                ck_abort_msg("%s: output %u (%s) element %ld is %g, should be %g", case_text(c, options), i, g->output[i].name,
                             (long)k, out[i][k], r->value[i].data[k]);
        }
    }
}

/* A graph of a case and, made when first asked for, what the evaluator says of it: evaluating takes longer than compiling and
 * running, and of the values only bf16 leaves make others. */
typedef struct Subject {
    const Case *c;
    Graph *g;
    Leaves leaves[2]; /* f32, bf16 */
    Reference reference[2];
    bool evaluated[2];
} Subject;

static Subject subject_new(Graph *g, const Case *c) { return (Subject){.c = c, .g = g}; }

static void subject_free(Subject *s) {
    for (int p = 0; p < 2; p++) {
        if (!s->evaluated[p]) continue;
        for (uint32_t i = 0; i < s->g->noutputs; i++) {
            tensor_free(&s->reference[p].value[i]);
            tensor_free(&s->reference[p].bound[i]);
        }
        leaves_free(&s->leaves[p]);
    }
    graph_free(s->g);
}

static void check(Subject *s, CodegenOptions options, const int *threads) {
    const int p = options.precision == PRECISION_BF16;
    if (!s->evaluated[p]) {
        s->leaves[p] = leaves_new(s->g, p);
        s->reference[p] = reference_new(s->g, &s->leaves[p]);
        s->evaluated[p] = true;
    }
    const Reference *r = &s->reference[p];
    float **first = outputs_new(s->g), **again = outputs_new(s->g);
    char why[400];
    CompiledGraph *compiled = codegen_graph(s->g, &options, why, sizeof why);
    ck_assert_msg(compiled != NULL, "%s: %s", case_text(s->c, &options), why);
    for (int i = 0; threads[i]; i++) {
        GraphRun run = {run_leaf, &s->leaves[p], 1, 0, threads[i]};
        ck_assert_msg(codegen_graph_run(compiled, &run, i ? again : first, why, sizeof why), "%s", why);
        if (i == 0) compare(s->g, s->c, r, first, &options);
        for (uint32_t o = 0; i && o < s->g->noutputs; o++)
            ck_assert_msg(!memcmp(first[o], again[o], (size_t)type_elements(r->value[o].type) * sizeof(float)),
                          "%s: output %u differs on %d threads", case_text(s->c, &options), o, threads[i]);
    }
    codegen_graph_free(compiled);
    outputs_free(s->g, first);
    outputs_free(s->g, again);
}

static const int one_thread[] = {1, 0}, all_threads[] = {1, 2, 4, 0};

/* Eight lanes where this machine runs them, else four. */
static const char *eight_lanes(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "x86-64-v3" : "x86-64-v2";
#else
    return "native";
#endif
}
static const char *four_lanes(void) {
#if defined(__x86_64__)
    return "x86-64-v2";
#else
    return "native";
#endif
}

/* Where Winograd does not apply, its candidate is the direct one again. */
static bool winograd_applies(const Case *c) {
    return c->kernel[0] == 3 && c->kernel[1] == 3 && c->stride[0] <= 2 && c->stride[1] == c->stride[0] && c->groups == 1;
}

/* bf16 on all but the largest shapes. Four and eight lanes have no instructions for it. */
static void check_bf16(Subject *s, int i) {
    const Case *c = s->c;
    if (c->H > 90 || (c->N == 5 && c->H > 30)) return;
    CodegenOptions options = {.cpu = "native", .conv = i % 3 ? conv_method("direct") : NULL, .precision = PRECISION_BF16};
    check(s, options, i % 4 == 1 ? all_threads : one_thread);
    options.cpu = i % 2 ? eight_lanes() : four_lanes();
    if (i % 3 == 0) options.conv = conv_method("gemm");
    if (i % 4 == 0) check(s, options, one_thread);
    options = (CodegenOptions){.cpu = "native", .conv = conv_method("winograd"), .precision = PRECISION_BF16};
    if (c->kernel[0] == 3 && c->stride[0] == 2 && c->stride[1] == 2) check(s, options, one_thread);
}

/* Also with every access of a tile within its buffer. Without AMX another method's code once more. */
static void check_amx(Subject *s, const int *threads) {
    CodegenOptions options = {.cpu = "native", .conv = conv_method("amx"), .precision = PRECISION_BF16};
    check(s, options, threads);
    options.check_bounds = true;
    if (s->c->H <= 20) check(s, options, one_thread);
}

/* Direct, by Winograd, by OpenBLAS and by generated products, these in turn on 16 lanes (or what there is), 4 and 8; then 8 and 4
 * lanes in turn by Winograd, every third case directly too. */
START_TEST(every_method) {
    const Case *c = &cases[_i];
    Subject s = subject_new(conv_graph(c), c);
    check(&s, (CodegenOptions){.cpu = "native", .conv = conv_method("direct")}, _i % 4 == 1 ? all_threads : one_thread);
    if (winograd_applies(c))
        check(&s, (CodegenOptions){.cpu = "native", .conv = conv_method("winograd")}, _i % 4 == 1 ? all_threads : one_thread);
    check(&s, (CodegenOptions){.cpu = "native", .conv = conv_method("gemm"), .openblas = true},
          _i % 8 == 1 ? all_threads : one_thread);
    const char *cpu = _i % 3 == 0 ? "native" : _i % 3 == 1 ? four_lanes() : eight_lanes();
    check(&s, (CodegenOptions){.cpu = cpu, .conv = conv_method("gemm")}, _i % 8 == 0 ? all_threads : one_thread);
    cpu = _i % 2 ? eight_lanes() : four_lanes();
    if (!sanitized) check(&s, (CodegenOptions){.cpu = cpu, .conv = conv_method("winograd")}, one_thread);
    if (_i % 3 == 0) check(&s, (CodegenOptions){.cpu = cpu, .conv = conv_method("direct")}, one_thread);
    check_bf16(&s, _i);
    check_amx(&s, all_threads);
    subject_free(&s);
}
END_TEST
START_TEST(backward_in_one_kernel) {
    const Case *c = &pairs[_i];
    for (Pair kind = PAIR; kind < PAIRS; kind++) {
        Subject s = subject_new(pair_graph(c, kind), c);
        check(&s, (CodegenOptions){.cpu = "native"}, all_threads);
        check(&s, (CodegenOptions){.cpu = "native", .conv = conv_method("direct")}, all_threads);
        check(&s, (CodegenOptions){.cpu = "native", .precision = PRECISION_BF16}, all_threads);
        check(&s, (CodegenOptions){.cpu = "native", .conv = conv_method("product")}, all_threads);
        check_amx(&s, all_threads);
        check(&s, (CodegenOptions){.cpu = four_lanes(), .conv = kind ? conv_method("direct") : NULL}, one_thread);
        subject_free(&s);
    }
}
END_TEST
/* The wide method with planes that do not fit the last cache: slabs of one chunk. */
static void check_slabs(const Case *c, int i) {
    const ConvMethod *wide = conv_method("wide");
    Subject s = subject_new(conv_graph(c), c), inference = subject_new(plain_graph(c, MODE_INFER), c);
    const char *cpu = i % 3 == 0 ? "native" : i % 3 == 1 ? eight_lanes() : four_lanes();
    const Precision precision = i % 4 == 3 ? PRECISION_BF16 : PRECISION_F32;
    check(&s, (CodegenOptions){.cpu = cpu, .conv = wide, .precision = precision, .last_cache = 1}, all_threads);
    if (i % 2) check(&inference, (CodegenOptions){.cpu = "native", .conv = wide, .last_cache = 1}, one_thread);
    subject_free(&s);
    subject_free(&inference);
}

/* By one method: 16, 8 and 4 lanes, bf16, training and inference. */
static void check_method(const Case *c, const char *name, int i) {
    const ConvMethod *method = conv_method(name);
    Subject s = subject_new(conv_graph(c), c), inference = subject_new(plain_graph(c, MODE_INFER), c);
    check(&s, (CodegenOptions){.cpu = "native", .conv = method}, all_threads);
    check(&s, (CodegenOptions){.cpu = "native", .conv = method, .precision = PRECISION_BF16}, one_thread);
    if (!sanitized || i % 2) check(&s, (CodegenOptions){.cpu = eight_lanes(), .conv = method}, one_thread);
    if (!sanitized || !(i % 2)) check(&s, (CodegenOptions){.cpu = four_lanes(), .conv = method}, one_thread);
    check(&inference, (CodegenOptions){.cpu = "native", .conv = method}, all_threads);
    subject_free(&s);
    subject_free(&inference);
}

START_TEST(by_depthwise) { check_method(&depthwise[_i], "depthwise", _i); }
END_TEST
START_TEST(by_product) { check_method(&products[_i], "product", _i); }
END_TEST
START_TEST(by_direct_in_bundles) { check_method(&bundles[_i], "direct", _i); }
END_TEST
START_TEST(by_wide) { check_method(&wides[_i], "wide", _i); }
END_TEST
START_TEST(by_wide_in_slabs) { check_slabs(&wides[_i], _i); }
END_TEST
/* At 8 lanes five chunks of 20 images, the last of 19, whose planes are 0.4 MB forward, 1.1 MB for backward data and 1.5 MB for
 * the gradient of the filters: for each in turn slabs of two chunks, two, and one. */
START_TEST(by_wide_in_slabs_of_chunks) {
    static const Case c = {99, 20, 9, 5, 64, 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}};
    static const int64_t caches[] = {1050000, 2800000, 3700000};
    Subject s = subject_new(conv_graph(&c), &c);
    for (int i = 0; i < 3; i++)
        check(&s, (CodegenOptions){.cpu = eight_lanes(), .conv = conv_method("wide"), .last_cache = caches[i]}, all_threads);
    subject_free(&s);
}
END_TEST
START_TEST(inference) {
    const Case *c = &inferred[_i];
    Subject s = subject_new(plain_graph(c, MODE_INFER), c);
    check(&s, (CodegenOptions){.cpu = "native"}, all_threads);
    check(&s, (CodegenOptions){.cpu = "native", .precision = PRECISION_BF16}, one_thread);
    check_amx(&s, all_threads);
    check(&s, (CodegenOptions){.cpu = four_lanes()}, one_thread);
    subject_free(&s);
}
END_TEST
START_TEST(images_as_they_come) {
    const Case *c = &images[_i];
    const ConvMethod *const methods[] = {NULL, conv_method("direct"), conv_method("gemm")};
    Subject s = subject_new(plain_graph(c, MODE_TRAIN), c);
    for (int i = 0; i < 3; i++) {
        check(&s, (CodegenOptions){.cpu = "native", .conv = methods[i]}, all_threads);
        check(&s, (CodegenOptions){.cpu = "native", .conv = methods[i], .precision = PRECISION_BF16}, one_thread);
    }
    check_amx(&s, all_threads);
    check(&s, (CodegenOptions){.cpu = four_lanes(), .conv = conv_method("winograd")}, one_thread);
    subject_free(&s);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("conv");
    const int count = (int)(sizeof cases / sizeof cases[0]);
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, every_method, 0, count);
    tcase_add_loop_test(tests, backward_in_one_kernel, 0, (int)(sizeof pairs / sizeof pairs[0]));
    tcase_add_loop_test(tests, by_depthwise, 0, (int)(sizeof depthwise / sizeof depthwise[0]));
    tcase_add_loop_test(tests, by_product, 0, (int)(sizeof products / sizeof products[0]));
    tcase_add_loop_test(tests, by_direct_in_bundles, 0, (int)(sizeof bundles / sizeof bundles[0]));
    tcase_add_loop_test(tests, by_wide, 0, (int)(sizeof wides / sizeof wides[0]));
    tcase_add_test(tests, by_wide_in_slabs_of_chunks);
    tcase_add_loop_test(tests, by_wide_in_slabs, 0, (int)(sizeof wides / sizeof wides[0]));
    tcase_add_loop_test(tests, images_as_they_come, 0, (int)(sizeof images / sizeof images[0]));
    tcase_add_loop_test(tests, inference, 0, (int)(sizeof inferred / sizeof inferred[0]));
    return run_cases("codegen_conv", tests);
}
