/* Convolutions of random shapes, as graphs: what the tests of plans and of lowering share. */
#ifndef NETC_TESTS_CODEGEN_SHAPES_H
#define NETC_TESTS_CODEGEN_SHAPES_H
#include "ir/eval.h"
#include "ir/ir.h"
#include <check.h>
#include <stdio.h>

typedef struct Random {
    uint32_t seed, count;
} Random;

/* lo .. hi */
static inline int64_t draw(Random *r, int64_t lo, int64_t hi) {
    uint32_t word[4];
    philox4x32((uint32_t[]){r->count++, 0, 0, 0}, (uint32_t[]){r->seed, 24}, word);
    return lo + word[0] % (hi - lo + 1);
}

static inline int64_t pick(Random *r, const int64_t *list, int64_t count) { return list[draw(r, 0, count - 1)]; }

/* The three values of one convolution, alone or, stored, with a prologue whose value is kept too. */
typedef struct Convolution {
    Graph *g;
    Val forward, data, weights;
    char text[200];
} Convolution;

static inline Val leaf(Graph *g, Op op, const char *name, Type type) {
    return graph_add(g, &(ValueSpec){.op = op, .declared = type, .attrs.param.name = name});
}

static inline const Expr *square(Arena *arena, uint32_t arg) {
    ExprBuilder b = expr_builder(arena);
    uint16_t x = expr_arg(&b, arg);
    return expr_finish(&b, expr_binary(&b, X_MUL, x, x));
}

typedef struct ConvolutionShape {
    Mode mode;
    int64_t N, I, O, size[2];
    Attrs attrs;
    bool stored, pairs; /* pairs: weights read the dY that backward data stores, and store nothing */
} ConvolutionShape;

static inline Convolution convolution_of(const ConvolutionShape *shape) {
    int64_t N = shape->N, I = shape->I, O = shape->O;
    const int64_t *size = shape->size;
    const Attrs a = shape->attrs;
    const bool stored = shape->stored, pairs = stored && shape->pairs;
    Graph *g = graph_new("plan", shape->mode);
    Convolution result, *out = &result;
    Type x_type = type_feature(N, I, size[0], size[1]), y_type;
    Type w_type = type_feature(O, I / a.window.groups, a.window.kernel[0], a.window.kernel[1]);
    Val x = leaf(g, OP_INPUT, "x", x_type), w = leaf(g, OP_PARAM, "w", w_type);
    Region region[] = {{REGION_PROLOGUE, 0, square(g->arena, 0)}, {REGION_STORE, 0, NULL}};
    ValueSpec forward = {
        .op = OP_CONV2D, .args = (Val[]){x, w}, .nargs = 2, .attrs = a, .regions = region, .nregions = stored ? 2 : 0};
    char why[200];
    ck_assert_msg(graph_infer(g, &forward, &y_type, why, sizeof why), "%s", why);
    Val dy = leaf(g, OP_INPUT, "dy", y_type);
    ValueSpec data = forward, weights = forward;
    data.op = OP_CONV2D_BWD_DATA;
    data.args = (Val[]){dy, w};
    data.declared = x_type;
    weights.op = OP_CONV2D_BWD_WEIGHTS;
    weights.args = (Val[]){x, dy};
    weights.declared = w_type;
    *out = (Convolution){g, graph_add(g, &forward), graph_add(g, &data), 0, ""};
    Val read[] = {x, pairs ? graph_result(g, out->data, 1) : dy};
    weights.args = read;
    if (pairs) weights.nregions = 1;
    out->weights = graph_add(g, &weights);
    snprintf(out->text, sizeof out->text, "n%d %dx%dx%d -> %d, %dx%d stride %d,%d pad %d,%d,%d,%d dilation %d,%d groups %d%s",
             (int)N, (int)I, (int)size[0], (int)size[1], (int)O, (int)a.window.kernel[0], (int)a.window.kernel[1],
             (int)a.window.stride[0], (int)a.window.stride[1], (int)a.window.pad[0], (int)a.window.pad[1], (int)a.window.pad[2],
             (int)a.window.pad[3], (int)a.window.dilation[0], (int)a.window.dilation[1], (int)a.window.groups,
             g->mode == MODE_INFER ? " infer" : "");
    return result;
}

/* False where the drawn window does not fit the drawn image. */
static inline bool random_convolution(Random *r, Convolution *out) {
    static const int64_t images[] = {1, 1, 1, 2, 2, 3, 4, 5, 16, 17, 37, 64, 130}, channels[] = {1, 2, 3, 8, 16, 17, 32, 48};
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16, 17, 21, 28, 31, 32, 33, 56, 65, 112};
    enum { IMAGES = sizeof images / sizeof *images, CHANNELS = sizeof channels / sizeof *channels };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    Attrs a = {.window.groups = 1};
    int64_t N = pick(r, images, IMAGES), I = pick(r, channels, CHANNELS), O = pick(r, channels, CHANNELS), size[2];
    bool winograd = draw(r, 0, 2) == 0;
    if (draw(r, 0, 2) == 0) {
        a.window.groups = I;
        O = I * draw(r, 1, 2);
    } else if (I % 2 == 0 && O % 2 == 0 && draw(r, 0, 3) == 0) {
        a.window.groups = 2;
    }
    if (winograd && a.window.groups == 1 && draw(r, 0, 1)) O = I; /* as in blocks of nets */
    int64_t stride = draw(r, 1, 2);
    bool whole = a.window.groups == I && !winograd && draw(r, 0, 3) == 0;
    for (int axis = 0; axis < 2; axis++) {
        size[axis] = pick(r, sizes, SIZES);
        a.window.kernel[axis] = winograd ? 3 : draw(r, 1, 5);
        a.window.stride[axis] = winograd ? stride : draw(r, 1, 4);
        a.window.dilation[axis] = winograd ? 1 : draw(r, 1, 3);
        for (int end = 0; end < 2; end++) a.window.pad[axis + 2 * end] = winograd ? 1 : draw(r, 0, 3);
        if (whole && size[axis] <= 11) { /* filters as large as the map, at any stride */
            a.window.kernel[axis] = size[axis];
            a.window.dilation[axis] = 1;
            a.window.pad[axis] = a.window.pad[axis + 2] = 0;
        }
        if (size[axis] + a.window.pad[axis] + a.window.pad[axis + 2] < (a.window.kernel[axis] - 1) * a.window.dilation[axis] + 1)
            return false;
    }
    Mode mode = draw(r, 0, 3) ? MODE_TRAIN : MODE_INFER;
    bool stored = draw(r, 0, 1), pairs = draw(r, 0, 1);
    *out = convolution_of(&(ConvolutionShape){mode, N, I, O, {size[0], size[1]}, a, stored, pairs});
    return true;
}
#endif
