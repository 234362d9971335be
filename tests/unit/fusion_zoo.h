/* Small networks, built through the graph API, that the tests of the fusing passes share. */
#ifndef NETC_TESTS_FUSION_ZOO_H
#define NETC_TESTS_FUSION_ZOO_H
#include "ir/ir.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Zoo {
    Graph *g;
    int serial; /* names parameters */
} Zoo;

static inline const char *zoo_name(Zoo *z, const char *what) { return arena_printf(z->g->arena, "%s%d", what, z->serial++); }

static inline Val zoo_leaf(Zoo *z, Op op, const char *what, Type type, bool decay) {
    ValueSpec s = {.op = op, .declared = type};
    s.attrs.param.name = strcmp(what, "image") == 0 || strcmp(what, "labels") == 0 ? what : zoo_name(z, what);
    s.attrs.param.decay = decay;
    return graph_add(z->g, &s);
}

static inline Val zoo_op(Zoo *z, Op op, const char *name, const Val *args, uint32_t nargs, Attrs attrs) {
    return graph_add(z->g, &(ValueSpec){.op = op, .args = args, .nargs = nargs, .attrs = attrs, .name = name});
}

static inline Type zoo_type(const Zoo *z, Val v) { return z->g->value[v].type; }

static inline Val zoo_conv(Zoo *z, Val x, int64_t filters, int64_t kernel, int64_t stride, bool bias) {
    int64_t dim[] = {filters, zoo_type(z, x).dim[1], kernel, kernel}, pad = kernel / 2;
    Val w = zoo_leaf(z, OP_PARAM, "conv.weight", type_make(DT_F32, 4, dim), true);
    Attrs a = {.window = {.kernel = {kernel, kernel},
                          .stride = {stride, stride},
                          .pad = {pad, pad, pad, pad},
                          .dilation = {1, 1},
                          .groups = 1}};
    Val y = zoo_op(z, OP_CONV2D, zoo_name(z, "conv"), (Val[]){x, w}, 2, a);
    if (!bias) return y;
    Val b = zoo_leaf(z, OP_PARAM, "conv.bias", type_vector(filters), false);
    return zoo_op(z, OP_ADD, zoo_name(z, "bias"), (Val[]){y, b}, 2, (Attrs){0});
}

static inline Val zoo_batch_norm(Zoo *z, Val x) {
    Type c = type_vector(zoo_type(z, x).dim[1]);
    Val args[5] = {x, zoo_leaf(z, OP_PARAM, "gamma", c, false), zoo_leaf(z, OP_PARAM, "beta", c, false)};
    const char *mean = zoo_name(z, "mean"), *var = zoo_name(z, "var");
    for (int i = 0; i < 2; i++) {
        ValueSpec s = {.op = OP_STATE, .declared = c};
        s.attrs.param.name = i ? var : mean;
        args[3 + i] = graph_add(z->g, &s);
    }
    Val y = zoo_op(z, OP_BATCH_NORM, zoo_name(z, "bn"), args, 5, (Attrs){.norm = {.eps = 1e-5, .momentum = 0.1}});
    graph_output(z->g, OUT_STATE, graph_result(z->g, y, 1), mean);
    graph_output(z->g, OUT_STATE, graph_result(z->g, y, 2), var);
    return y;
}

static inline Val zoo_unary(Zoo *z, Op op, Val x) { return zoo_op(z, op, zoo_name(z, op_text(op)), &x, 1, (Attrs){0}); }
static inline Val zoo_binary(Zoo *z, Op op, Val x, Val y) {
    return zoo_op(z, op, zoo_name(z, op_text(op)), (Val[]){x, y}, 2, (Attrs){0});
}

static inline Val zoo_dense(Zoo *z, Val x, int64_t units) {
    Val w = zoo_leaf(z, OP_PARAM, "dense.weight", type_matrix(units, zoo_type(z, x).dim[1]), true);
    Val b = zoo_leaf(z, OP_PARAM, "dense.bias", type_vector(units), false);
    return zoo_binary(z, OP_ADD, zoo_binary(z, OP_DENSE, x, w), b);
}

static inline Val zoo_squeeze_excite(Zoo *z, Val x, int64_t ratio) {
    int64_t channels = zoo_type(z, x).dim[1], inner = channels / ratio > 1 ? channels / ratio : 1;
    Val s = zoo_unary(z, OP_RELU, zoo_dense(z, zoo_unary(z, OP_GLOBAL_AVG_POOL, x), inner));
    return zoo_binary(z, OP_MUL, x, zoo_unary(z, OP_SIGMOID, zoo_dense(z, s, channels)));
}

static inline Val zoo_conv_bn(Zoo *z, Val x, int64_t filters, int64_t kernel, int64_t stride) {
    return zoo_batch_norm(z, zoo_conv(z, x, filters, kernel, stride, false));
}

static inline Val zoo_basic(Zoo *z, Val x, int64_t filters, int64_t stride, bool se) {
    Val y = zoo_unary(z, OP_RELU, zoo_conv_bn(z, x, filters, 3, stride));
    y = zoo_conv_bn(z, y, filters, 3, 1);
    if (se) y = zoo_squeeze_excite(z, y, 16);
    if (stride != 1 || zoo_type(z, x).dim[1] != filters) x = zoo_conv(z, x, filters, 1, stride, false);
    return zoo_unary(z, OP_RELU, zoo_binary(z, OP_ADD, x, y));
}

static inline Val zoo_preact(Zoo *z, Val x, int64_t filters, int64_t stride, bool se) {
    Val r = zoo_unary(z, OP_RELU, zoo_batch_norm(z, x));
    Val shortcut = stride == 1 && zoo_type(z, x).dim[1] == filters ? x : zoo_conv(z, r, filters, 1, stride, false);
    Val y = zoo_conv(z, zoo_unary(z, OP_RELU, zoo_conv_bn(z, r, filters, 3, stride)), filters, 3, 1, false);
    if (se) y = zoo_squeeze_excite(z, y, 4);
    return zoo_binary(z, OP_ADD, shortcut, y);
}

static inline Zoo zoo_begin(const char *name, Mode mode) { return (Zoo){.g = graph_new(name, mode)}; }

static inline Val zoo_image(Zoo *z, int64_t n, int64_t c, int64_t size) {
    return zoo_leaf(z, OP_INPUT, "image", type_feature(n, c, size, size), false);
}

/* Wider than high, so that a side taken for the other shows. */
static inline Val zoo_wide_image(Zoo *z, int64_t n, int64_t c, int64_t height) {
    return zoo_leaf(z, OP_INPUT, "image", type_feature(n, c, height, height + 2), false);
}

/* The head: logits, and the loss in training. */
static inline Graph *zoo_end(Zoo *z, Val logits) {
    graph_output(z->g, OUT_LOGITS, logits, NULL);
    if (z->g->mode == MODE_INFER) return z->g;
    int64_t n = zoo_type(z, logits).dim[0];
    Val labels = zoo_leaf(z, OP_INPUT, "labels", type_make(DT_I32, 1, &n), false);
    graph_output(z->g, OUT_LOSS, zoo_binary(z, OP_CROSS_ENTROPY, logits, labels), NULL);
    return z->g;
}

/* ResNet-20 of CIFAR has width 16, three stages of three blocks, 32x32 images. */
static inline Graph *zoo_resnet(Mode mode, int64_t n, int64_t width, int64_t size, int stages, int blocks, bool se) {
    Zoo z = zoo_begin(se ? "se_resnet" : "resnet", mode);
    Val x = zoo_unary(&z, OP_RELU, zoo_conv_bn(&z, zoo_wide_image(&z, n, 3, size), width, 3, 1));
    for (int s = 0; s < stages; s++) {
        for (int i = 0; i < blocks; i++) x = zoo_basic(&z, x, width << s, s > 0 && i == 0 ? 2 : 1, se);
    }
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 4));
}

static inline Graph *zoo_preact_resnet(Mode mode, bool se) {
    Zoo z = zoo_begin("preact", mode);
    Val x = zoo_conv(&z, zoo_wide_image(&z, 2, 3, 6), 4, 3, 1, false);
    x = zoo_preact(&z, x, 4, 1, se);
    x = zoo_preact(&z, x, 6, 2, se);
    x = zoo_preact(&z, x, 6, 1, se);
    x = zoo_unary(&z, OP_RELU, zoo_batch_norm(&z, x));
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 4));
}

/* Biased convolutions before batch norm, pools, other activations, concatenation. */
static inline Graph *zoo_mixed(Mode mode) {
    Zoo z = zoo_begin("mixed", mode);
    Val x = zoo_batch_norm(&z, zoo_conv(&z, zoo_wide_image(&z, 2, 2, 8), 4, 3, 1, true));
    x = zoo_unary(&z, OP_HARD_SWISH, x);
    Attrs pool = {.window = {.kernel = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1}};
    x = zoo_op(&z, OP_MAX_POOL, "pool", &x, 1, pool);
    Val a = zoo_unary(&z, OP_SILU, zoo_conv(&z, x, 3, 3, 1, true));
    Val b = zoo_unary(&z, OP_TANH, zoo_conv_bn(&z, x, 3, 5, 1));
    Val c = zoo_op(&z, OP_CONCAT, "concat", (Val[]){a, b}, 2, (Attrs){0});
    c = zoo_squeeze_excite(&z, zoo_unary(&z, OP_RELU, zoo_conv(&z, c, 5, 1, 1, true)), 2);
    c = zoo_binary(&z, OP_ADD, c, zoo_conv(&z, c, 5, 3, 1, true));
    Val f = zoo_unary(&z, OP_FLATTEN, zoo_unary(&z, OP_RELU, c));
    return zoo_end(&z, zoo_dense(&z, f, 3));
}

/* As in the replication with Keras: biased convolutions before batch norm, the gate on the shortcut; dropout at the end. */
static inline Graph *zoo_biased(Mode mode) {
    Zoo z = zoo_begin("biased", mode);
    Val x = zoo_unary(&z, OP_RELU, zoo_batch_norm(&z, zoo_conv(&z, zoo_wide_image(&z, 2, 3, 6), 4, 3, 1, true)));
    for (int i = 0; i < 2; i++) {
        int64_t filters = i ? 6 : 4;
        Val y = zoo_unary(&z, OP_RELU, zoo_batch_norm(&z, zoo_conv(&z, x, filters, 3, 1 + i, true)));
        y = zoo_batch_norm(&z, zoo_conv(&z, y, filters, 3, 1, true));
        if (i) x = zoo_conv(&z, x, filters, 1, 2, true);
        x = zoo_unary(&z, OP_RELU, zoo_binary(&z, OP_ADD, zoo_squeeze_excite(&z, x, 2), y));
    }
    x = zoo_op(&z, OP_DROPOUT, "dropout", &x, 1, (Attrs){.dropout = {.rate = 0.25, .stream = 1}});
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 3));
}

/* Nothing but an activation between convolutions; the gate on the shortcut. */
static inline Graph *zoo_plain(Mode mode) {
    Zoo z = zoo_begin("plain", mode);
    Val x = zoo_unary(&z, OP_RELU, zoo_conv(&z, zoo_wide_image(&z, 2, 3, 5), 4, 3, 1, true));
    Val y = zoo_conv_bn(&z, x, 4, 3, 1);
    x = zoo_unary(&z, OP_RELU, zoo_binary(&z, OP_ADD, zoo_squeeze_excite(&z, x, 2), y));
    x = zoo_unary(&z, OP_RELU, zoo_conv(&z, zoo_conv(&z, x, 5, 3, 2, true), 4, 1, 1, false));
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 3));
}
#endif
