/* Gradients against central differences, both on the evaluator: every differentiable op, and every op that lowering turns into
 * one, over a table of shapes. The loss is a weighted sum of the op's result with fixed random weights. A leaf is moved along
 * random directions, so that every element of its gradient counts. The source graph is the oracle: what is differentiated has
 * been through lower and split_batch_norm. The last test fails if the op table has an op that no case reached. */
#include "run_cases.h"
#include "tests/unit/fusion_run.h"
#include "tests/unit/fusion_zoo.h"

typedef struct Shape {
    int64_t n, c, h, w;
} Shape;

typedef struct Case {
    const char *name;
    Val (*build)(Zoo *z, const struct Case *c);
    Op op;
    Shape x;
    int64_t out;                  /* channels, units, or further channels of a concatenation */
    int64_t kernel[2], stride[2]; /* zeros: ones */
    int64_t pad[4], dilation[2];  /* dilation zeros: ones */
    int64_t groups;               /* 0: 1 */
    int rank;                     /* of the second operand of a binary op */
    double rate;                  /* dropout, label smoothing */
} Case;

static int64_t or_one(int64_t value) { return value ? value : 1; }

static Attrs window(const Case *c) {
    Attrs a = {.window = {.kernel = {or_one(c->kernel[0]), or_one(c->kernel[1])},
                          .stride = {or_one(c->stride[0]), or_one(c->stride[1])},
                          .dilation = {or_one(c->dilation[0]), or_one(c->dilation[1])},
                          .groups = or_one(c->groups)}};
    memcpy(a.window.pad, c->pad, sizeof c->pad);
    return a;
}

static Val feature(Zoo *z, const Case *c) {
    return zoo_leaf(z, OP_INPUT, "x", type_feature(c->x.n, c->x.c, c->x.h, c->x.w), false);
}

static Val matrix(Zoo *z, const Case *c) { return zoo_leaf(z, OP_INPUT, "x", type_matrix(c->x.n, c->x.c), false); }

/* Rank 4 if the case gives a height, else rank 2. */
static Val operand(Zoo *z, const Case *c) { return c->x.h ? feature(z, c) : matrix(z, c); }

/* ---- one op each ---- */

static Val build_conv(Zoo *z, const Case *c) {
    Attrs a = window(c);
    int64_t dim[] = {c->out, c->x.c / a.window.groups, a.window.kernel[0], a.window.kernel[1]};
    Val w = zoo_leaf(z, OP_PARAM, "weight", type_make(DT_F32, 4, dim), true);
    return zoo_op(z, OP_CONV2D, "conv", (Val[]){feature(z, c), w}, 2, a);
}

static Val build_standardize(Zoo *z, const Case *c) {
    Attrs a = window(c);
    int64_t dim[] = {c->out, c->x.c / a.window.groups, a.window.kernel[0], a.window.kernel[1]};
    Val w = zoo_leaf(z, OP_PARAM, "weight", type_make(DT_F32, 4, dim), true);
    w = zoo_op(z, OP_STANDARDIZE, "standardize", &w, 1, (Attrs){.constant = 1e-3});
    return zoo_op(z, OP_CONV2D, "conv", (Val[]){feature(z, c), w}, 2, a);
}

static Val build_dense(Zoo *z, const Case *c) {
    Val w = zoo_leaf(z, OP_PARAM, "weight", type_matrix(c->out, c->x.c), true);
    return zoo_binary(z, OP_DENSE, matrix(z, c), w);
}

static Val build_batch_norm(Zoo *z, const Case *c) { return zoo_batch_norm(z, feature(z, c)); }

static Val build_unary(Zoo *z, const Case *c) { return zoo_unary(z, c->op, operand(z, c)); }

static Type second_type(const Case *c) {
    switch (c->rank) {
    case 0: return type_scalar();
    case 1: return type_vector(c->x.c);
    case 2: return type_matrix(c->x.n, c->x.c);
    default: return type_feature(c->x.n, c->x.c, c->x.h, c->x.w);
    }
}

/* "var": between 0.5 and 1.5, since div divides by it. `out` swaps the operands. */
static Val build_binary(Zoo *z, const Case *c) {
    Val x = operand(z, c), y = zoo_leaf(z, OP_PARAM, "var", second_type(c), false);
    return c->out ? zoo_binary(z, c->op, zoo_unary(z, OP_SIGMOID, y), zoo_unary(z, OP_SIGMOID, x)) : zoo_binary(z, c->op, x, y);
}

static Val build_square(Zoo *z, const Case *c) {
    Val x = operand(z, c);
    return zoo_binary(z, OP_MUL, x, x);
}

static Val build_constant(Zoo *z, const Case *c) {
    return zoo_binary(z, OP_MUL, operand(z, c), graph_constant(z->g, -2.5, (Span){0}));
}

static Val build_pool(Zoo *z, const Case *c) {
    Val x = feature(z, c);
    return zoo_op(z, c->op, "pool", &x, 1, window(c));
}

static Val build_concat(Zoo *z, const Case *c) {
    Case other = *c;
    other.x.c = c->out;
    Val x = operand(z, c), y = operand(z, &other);
    return zoo_op(z, OP_CONCAT, "concat", (Val[]){x, y, x}, 3, (Attrs){0});
}

static Val build_pad_channels(Zoo *z, const Case *c) {
    Val x = feature(z, c);
    return zoo_op(z, OP_PAD_CHANNELS, "pad", &x, 1, (Attrs){.channels = {.count = c->out, .stride = or_one(c->stride[0])}});
}

static Val build_unflatten(Zoo *z, const Case *c) {
    Val x = matrix(z, c);
    Type to = type_feature(c->x.n, c->x.c / 4, 2, 2);
    return graph_add(z->g, &(ValueSpec){.op = OP_UNFLATTEN, .args = &x, .nargs = 1, .declared = to});
}

/* Slices that make up the whole, one of them shuffled, and one that overlaps; `out` leaves that away. */
static Val build_slices(Zoo *z, const Case *c) {
    Val x = operand(z, c), part[3];
    int64_t from[3] = {0, c->x.c / 2, 1}, size[3] = {c->x.c / 2, c->x.c - c->x.c / 2, c->x.c / 2};
    for (int i = 0; i < 3; i++) {
        Type type = zoo_type(z, x);
        type.dim[1] = size[i];
        part[i] = graph_add(
            z->g, &(ValueSpec){.op = OP_SLICE_CHANNELS, .args = &x, .nargs = 1, .attrs.index = from[i], .declared = type});
    }
    Val first = zoo_op(z, OP_CHANNEL_SHUFFLE, "shuffle", part, 1, (Attrs){.index = 2});
    return zoo_op(z, OP_CONCAT, "concat", (Val[]){zoo_unary(z, OP_TANH, part[1]), first, part[2]}, c->out ? 2 : 3, (Attrs){0});
}

/* x and its sum or maximum over the dimensions of the bits of `out` (channels, height, width), side by side. */
static Val build_reduced(Zoo *z, const Case *c) {
    Val x = feature(z, c);
    Type to = zoo_type(z, x);
    for (int i = 0; i < 3; i++) to.dim[i + 1] = c->out >> i & 1 ? 1 : to.dim[i + 1];
    Val y = graph_add(z->g, &(ValueSpec){.op = c->op, .args = &x, .nargs = 1, .declared = to});
    return zoo_binary(z, OP_MUL, x, zoo_unary(z, OP_TANH, y));
}

static Val build_upsample(Zoo *z, const Case *c) {
    Val x = feature(z, c);
    return zoo_op(z, OP_UPSAMPLE, "upsample", &x, 1, (Attrs){.index = c->out});
}

/* Lines cut off at the top and left, zeros at the bottom and right. */
static Val build_pad(Zoo *z, const Case *c) {
    Val x = feature(z, c);
    return zoo_op(z, OP_PAD, "pad", &x, 1, (Attrs){.window = {.pad = {-1, -c->out, 2, 1}}});
}

static Val build_dropout(Zoo *z, const Case *c) {
    Val x = operand(z, c);
    return zoo_op(z, OP_DROPOUT, "dropout", &x, 1, (Attrs){.dropout = {.rate = c->rate, .stream = 3}});
}

static Val build_cross_entropy(Zoo *z, const Case *c) {
    Val labels = zoo_leaf(z, OP_INPUT, "labels", type_make(DT_I32, 1, &c->x.n), false);
    return zoo_op(z, OP_CROSS_ENTROPY, "loss", (Val[]){matrix(z, c), labels}, 2, (Attrs){.loss = {.smoothing = c->rate}});
}

/* What only passes make: a map with an OUTPUT and a REDUCE of its own. */
static Val build_two_results(Zoo *z, const Case *c) {
    Val x = feature(z, c), gate = zoo_leaf(z, OP_PARAM, "gate", type_matrix(c->x.n, c->x.c), false);
    ExprBuilder b = expr_builder(z->g->arena);
    uint16_t product = expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_arg(&b, 1));
    Region regions[] = {{.role = REGION_OUTPUT, .expr = expr_finish(&b, product)},
                        {.role = REGION_REDUCE, .expr = expr_finish(&b, expr_binary(&b, X_MUL, product, expr_arg(&b, 0)))}};
    Val y = graph_add(
        z->g,
        &(ValueSpec){
            .op = OP_MAP, .args = (Val[]){x, gate}, .nargs = 2, .declared = zoo_type(z, x), .regions = regions, .nregions = 2});
    return zoo_binary(z, OP_MUL, y, graph_result(z->g, y, 1));
}

/* Moments of which one result alone is read; of an Expr that is more than its argument. */
static Val build_moment(Zoo *z, const Case *c) {
    Val x = feature(z, c);
    ExprBuilder b = expr_builder(z->g->arena);
    uint16_t square = expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_arg(&b, 0));
    Region region = {.role = REGION_MOMENTS, .expr = expr_finish(&b, expr_binary(&b, X_ADD, square, expr_arg(&b, 0)))};
    Val sums = graph_add(
        z->g, &(ValueSpec){.op = OP_MAP, .args = &x, .nargs = 1, .declared = zoo_type(z, x), .regions = &region, .nregions = 1});
    Val m = zoo_op(z, OP_MOMENTS, "moments", &sums, 1, (Attrs){.constant = (double)(c->x.n * c->x.h * c->x.w)});
    return zoo_binary(z, OP_MUL, x, graph_result(z->g, m, (uint32_t)c->out));
}

/* A sum over pixels of what is added to each of them: a factor, no sum. */
static Val build_pooled_sum(Zoo *z, const Case *c) {
    Val y = zoo_leaf(z, OP_PARAM, "shift", second_type(c), false);
    return zoo_unary(z, OP_GLOBAL_AVG_POOL, zoo_binary(z, OP_ADD, feature(z, c), zoo_unary(z, OP_TANH, y)));
}

/* An SE block behind batch norm with the gate on both branches: many paths meet. */
static Val build_block(Zoo *z, const Case *c) {
    Val x = feature(z, c), y = zoo_basic(z, x, c->out, or_one(c->stride[0]), true);
    return zoo_binary(z, OP_ADD, y, zoo_unary(z, OP_GLOBAL_AVG_POOL, y));
}

/* ---- the table ---- */

#define CONV(N, I, O, H, W, KH, KW, ...)                                                                                         \
    {.name = "conv", .build = build_conv, .op = OP_CONV2D, .x = {N, I, H, W}, .out = O, .kernel = {KH, KW}, __VA_ARGS__}
#define UNARY(OP, ...)                                                                                                           \
    {                                                                                                                            \
        .name = #OP, .build = build_unary, .op = OP_##OP, .x = { __VA_ARGS__ }                                                   \
    }
#define BINARY(OP, SWAPPED, RANK, ...)                                                                                           \
    {                                                                                                                            \
        .name = #OP, .build = build_binary, .op = OP_##OP, .out = SWAPPED, .rank = RANK, .x = { __VA_ARGS__ }                    \
    }
#define BINARIES(OP)                                                                                                             \
    BINARY(OP, 0, 4, 2, 3, 3, 5), BINARY(OP, 0, 2, 2, 3, 3, 5), BINARY(OP, 0, 1, 2, 17, 3, 2), BINARY(OP, 0, 0, 2, 3, 3, 2),     \
        BINARY(OP, 1, 2, 2, 3, 3, 5), BINARY(OP, 1, 0, 2, 3, 3, 2), BINARY(OP, 0, 2, 4, 5), BINARY(OP, 0, 1, 4, 5),              \
        BINARY(OP, 1, 1, 4, 5), BINARY(OP, 0, 0, 4, 5)
#define POOL(OP, ...) {.name = #OP, .build = build_pool, .op = OP_##OP, __VA_ARGS__}
#define POOLS(OP)                                                                                                                \
    POOL(OP, .x = {2, 3, 6, 6}, .kernel = {2, 2}, .stride = {2, 2}),                                                             \
        POOL(OP, .x = {1, 17, 7, 5}, .kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1, 1, 1}),                                   \
        POOL(OP, .x = {2, 1, 5, 7}, .kernel = {3, 2}, .stride = {1, 3}, .pad = {0, 1, 1, 0}),                                    \
        POOL(OP, .x = {1, 2, 9, 9}, .kernel = {3, 3}, .stride = {2, 1}, .dilation = {2, 3}), POOL(OP, .x = {2, 3, 4, 4})

static const Case cases[] = {
    CONV(2, 1, 1, 3, 3, 1, 1),
    CONV(1, 3, 16, 5, 5, 3, 3, .pad = {1, 1, 1, 1}),
    CONV(2, 16, 17, 5, 4, 3, 3, .pad = {1, 1, 1, 1}, .stride = {2, 2}),
    CONV(1, 17, 33, 4, 4, 1, 1, .stride = {2, 2}),
    CONV(1, 33, 3, 5, 7, 5, 5, .pad = {2, 2, 2, 2}),
    CONV(2, 3, 1, 9, 8, 4, 2, .stride = {3, 1}, .pad = {1, 0, 2, 1}),
    CONV(1, 1, 17, 7, 7, 2, 5, .stride = {1, 3}, .pad = {0, 2, 1, 2}),
    CONV(2, 4, 6, 5, 5, 3, 3, .pad = {1, 1, 1, 1}, .groups = 2),
    CONV(1, 6, 6, 7, 5, 3, 3, .pad = {1, 1, 1, 1}, .groups = 6, .stride = {2, 2}),
    CONV(1, 3, 6, 6, 6, 5, 1, .groups = 3, .stride = {3, 3}, .pad = {2, 0, 2, 0}),
    CONV(1, 3, 4, 9, 9, 3, 3, .dilation = {2, 3}, .pad = {2, 3, 2, 3}),
    CONV(1, 2, 3, 10, 7, 3, 2, .dilation = {3, 2}, .stride = {2, 1}, .pad = {0, 1, 3, 0}),
    CONV(1, 2, 2, 3, 3, 5, 5, .pad = {4, 4, 4, 4}, .stride = {3, 2}),
    CONV(1, 2, 2, 8, 8, 2, 2, .stride = {3, 3}), /* pixels that no window sees */
    {.name = "dense", .build = build_dense, .x = {4, 17}, .out = 3},
    {.name = "dense", .build = build_dense, .x = {1, 1}, .out = 33},
    {.name = "batch_norm", .build = build_batch_norm, .x = {2, 3, 4, 4}},
    {.name = "batch_norm", .build = build_batch_norm, .x = {5, 17, 1, 1}},
    {.name = "batch_norm", .build = build_batch_norm, .x = {1, 1, 5, 3}},
    UNARY(RELU, 2, 3, 4, 5),
    UNARY(RELU, 4, 7),
    UNARY(SIGMOID, 2, 3, 4, 5),
    UNARY(SIGMOID, 4, 7),
    UNARY(TANH, 2, 3, 4, 5),
    UNARY(HARD_SIGMOID, 2, 3, 4, 5),
    UNARY(HARD_SWISH, 2, 3, 4, 5),
    UNARY(SILU, 2, 3, 4, 5),
    UNARY(SILU, 3, 33),
    UNARY(IDENTITY, 2, 3, 4, 5),
    UNARY(SOFTMAX, 4, 7),
    UNARY(SOFTMAX, 1, 33),
    UNARY(GLOBAL_AVG_POOL, 2, 3, 4, 5),
    UNARY(GLOBAL_AVG_POOL, 2, 17, 1, 1),
    UNARY(FLATTEN, 2, 3, 4, 5),
    UNARY(IMAGE_SUM, 2, 3, 4, 5),
    UNARY(BATCH_SUM, 4, 7),
    BINARIES(ADD),
    BINARIES(SUB),
    BINARIES(MUL),
    BINARIES(DIV),
    POOLS(MAX_POOL),
    POOLS(AVG_POOL),
    {.name = "square", .build = build_square, .x = {2, 3, 4, 4}},
    {.name = "square", .build = build_square, .x = {2, 3}},
    {.name = "constant", .build = build_constant, .x = {2, 3, 4, 4}},
    {.name = "concat", .build = build_concat, .x = {2, 3, 4, 5}, .out = 17},
    {.name = "concat", .build = build_concat, .x = {2, 16}, .out = 1},
    {.name = "pad_channels", .build = build_pad_channels, .x = {2, 3, 5, 7}, .out = 17, .stride = {2}},
    {.name = "pad_channels", .build = build_pad_channels, .x = {1, 3, 7, 7}, .out = 3, .stride = {3}},
    {.name = "unflatten", .build = build_unflatten, .x = {2, 12}},
    {.name = "slices", .build = build_slices, .x = {2, 12, 3, 2}},
    {.name = "slices", .build = build_slices, .x = {2, 9}, .out = 1},
    {.name = "sum_to", .build = build_reduced, .op = OP_SUM_TO, .x = {2, 3, 4, 5}, .out = 1},
    {.name = "sum_to", .build = build_reduced, .op = OP_SUM_TO, .x = {2, 3, 4, 5}, .out = 2},
    {.name = "sum_to", .build = build_reduced, .op = OP_SUM_TO, .x = {2, 3, 4, 5}, .out = 5},
    {.name = "max_to", .build = build_reduced, .op = OP_MAX_TO, .x = {2, 3, 4, 5}, .out = 1},
    {.name = "max_to", .build = build_reduced, .op = OP_MAX_TO, .x = {2, 3, 4, 5}, .out = 4},
    {.name = "max_to", .build = build_reduced, .op = OP_MAX_TO, .x = {2, 3, 4, 5}, .out = 7},
    {.name = "standardize", .build = build_standardize, .op = OP_STANDARDIZE, .x = {2, 3, 4, 5}, .out = 4, .kernel = {3, 2}},
    {.name = "standardize", .build = build_standardize, .op = OP_STANDARDIZE, .x = {1, 2, 3, 3}, .out = 3, .kernel = {1, 1}},
    {.name = "upsample", .build = build_upsample, .x = {2, 3, 3, 2}, .out = 2},
    {.name = "upsample", .build = build_upsample, .x = {1, 2, 2, 4}, .out = 3},
    {.name = "pad", .build = build_pad, .x = {2, 3, 4, 5}, .out = 2},
    {.name = "pad", .build = build_pad, .x = {1, 17, 3, 3}, .out = 0},
    {.name = "dropout", .build = build_dropout, .x = {2, 3, 4, 4}, .rate = 0.4},
    {.name = "dropout", .build = build_dropout, .x = {4, 9}, .rate = 0},
    {.name = "cross_entropy", .build = build_cross_entropy, .x = {5, 3}},
    {.name = "cross_entropy", .build = build_cross_entropy, .x = {3, 33}, .rate = 0.1},
    {.name = "two_results", .build = build_two_results, .x = {2, 3, 4, 4}},
    {.name = "pooled_sum", .build = build_pooled_sum, .x = {2, 3, 4, 5}, .rank = 2},
    {.name = "pooled_sum", .build = build_pooled_sum, .x = {2, 3, 4, 5}, .rank = 1},
    {.name = "pooled_sum", .build = build_pooled_sum, .x = {2, 3, 4, 5}, .rank = 0},
    {.name = "mean", .build = build_moment, .x = {3, 2, 4, 4}, .out = 0},
    {.name = "variance", .build = build_moment, .x = {3, 2, 4, 4}, .out = 1},
    {.name = "deviations", .build = build_moment, .x = {3, 2, 4, 4}, .out = 2},
    {.name = "block", .build = build_block, .x = {2, 3, 6, 6}, .out = 5, .stride = {2}},
    {.name = "block", .build = build_block, .x = {2, 4, 4, 4}, .out = 4},
};
enum { CASES = sizeof cases / sizeof *cases };

/* ---- the loss of a case ---- */

/* Mean against a moment of the wrong rank: results [C] are spread over the space first. */
static Val summed(Zoo *z, Val y) {
    if (zoo_type(z, y).rank == 0) return y;
    Val weight = zoo_leaf(z, OP_INPUT, "weights", zoo_type(z, y), false);
    y = zoo_binary(z, OP_MUL, y, weight);
    if (zoo_type(z, y).rank == 4) y = zoo_unary(z, OP_IMAGE_SUM, y);
    if (zoo_type(z, y).rank == 2) y = zoo_unary(z, OP_BATCH_SUM, y);
    return zoo_unary(z, OP_CHANNEL_SUM, y);
}

static Graph *source(const Case *c) {
    Zoo z = zoo_begin(c->name, MODE_TRAIN);
    graph_output(z.g, OUT_LOSS, summed(&z, c->build(&z, c)), NULL);
    return z.g;
}

static Graph *differentiate(const Case *c) {
    PassContext context = new_context(-1);
    Graph *g = run(source(c), "lower", pass_lower, &context);
    g = run(g, "split_batch_norm", pass_split_batch_norm, &context);
    Graph *d = autodiff_graph(g, GRADIENT_PARAMS_AND_INPUTS);
    char *wrong = graph_verify(d, 0);
    ck_assert_msg(!wrong, "%s: after autodiff: %s", c->name, wrong);
    graph_free(g);
    arena_free(context.arena);
    return d;
}

static double loss(const Graph *g, Leaves *leaves) {
    Tensor *out = evaluate(g, leaves, false);
    double value = NAN;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        if (g->output[i].kind == OUT_LOSS) value = out[i].data[0];
    }
    free_outputs(g, out);
    return value;
}

/* ---- central differences ---- */

/* Element i of direction k; direction 0 is one element alone. */
static double direction(int k, int64_t i, int64_t elements) {
    uint32_t out[4];
    if (k == 0) return i == elements / 2;
    philox4x32((uint32_t[]){(uint32_t)i, (uint32_t)k, 0, 0}, (uint32_t[]){17, 4}, out);
    return out[0] & 1 ? 1 : -1;
}

static void move(Tensor *leaf, int k, double step) {
    int64_t n = type_elements(leaf->type);
    for (int64_t i = 0; i < n; i++) leaf->data[i] += step * direction(k, i, n);
}

static void check_leaf(const Case *c, const Graph *g, Leaves *leaves, Tensor *leaf, const Tensor *gradient, const char *name) {
    const double step = 1e-6;
    int64_t n = type_elements(leaf->type);
    for (int k = 0; k < 3; k++) {
        double slope = 0, size = 0;
        for (int64_t i = 0; i < n; i++) {
            slope += gradient->data[i] * direction(k, i, n);
            size += fabs(gradient->data[i]);
        }
        move(leaf, k, step);
        double up = loss(g, leaves);
        move(leaf, k, -2 * step);
        double down = loss(g, leaves), found = (up - down) / (2 * step);
        move(leaf, k, step);
        ck_assert_msg(fabs(found - slope) <= 1e-6 * (1 + size),
                      "%s (case %d), gradient of %s along direction %d: %.12g, by differences %.12g", c->name, (int)(c - cases),
                      name, k, slope, found);
    }
}

START_TEST(central_differences) {
    const Case *c = &cases[_i];
    Graph *g = source(c), *d = differentiate(c);
    Leaves leaves = {.count = 0};
    Tensor *out = evaluate(d, &leaves, false);
    int checked = 0;
    for (uint32_t i = 0; i < d->noutputs; i++) {
        if (d->output[i].kind != OUT_GRAD) continue;
        for (int k = 0; k < leaves.count; k++) {
            if (strcmp(leaves.name[k], d->output[i].name) != 0) continue;
            check_leaf(c, g, &leaves, &leaves.tensor[k], &out[i], leaves.name[k]);
            checked++;
        }
    }
    ck_assert_int_ge(checked, 1);
    free_outputs(d, out);
    free_leaves(&leaves);
    graph_free(d);
    graph_free(g);
}
END_TEST

/* ---- properties ---- */

START_TEST(nothing_for_inputs) {
    Case c = cases[1];
    Graph *g = source(&c);
    PassContext context = new_context(-1);
    g = run(g, "lower", pass_lower, &context);
    g = run(g, "autodiff", pass_autodiff, &context);
    for (Val v = 0; v < g->count; v++) ck_assert_int_ne(g->value[v].op, OP_CONV2D_BWD_DATA);
    ck_assert_uint_eq(g->noutputs, 2); /* the loss and the weight's gradient */
    graph_free(g);
    arena_free(context.arena);
}
END_TEST

START_TEST(unused_parameter_has_gradient_zero) {
    Zoo z = zoo_begin("unused", MODE_TRAIN);
    Case c = {.x = {2, 3}};
    Val unused[] = {zoo_leaf(&z, OP_PARAM, "matrix", type_matrix(3, 4), true),
                    zoo_leaf(&z, OP_PARAM, "scalar", type_scalar(), true)};
    (void)unused;
    graph_output(z.g, OUT_LOSS, summed(&z, matrix(&z, &c)), NULL);
    PassContext context = new_context(-1);
    Graph *g = run(z.g, "lower", pass_lower, &context);
    g = run(g, "autodiff", pass_autodiff, &context);
    Leaves leaves = {.count = 0};
    Tensor *out = evaluate(g, &leaves, false);
    ck_assert_uint_eq(g->noutputs, 3);
    for (uint32_t i = 1; i < 3; i++) {
        for (int64_t k = 0; k < type_elements(out[i].type); k++) ck_assert(out[i].data[k] == 0);
    }
    free_outputs(g, out);
    free_leaves(&leaves);
    graph_free(g);
    arena_free(context.arena);
}
END_TEST

/* More users than one map can add up. */
START_TEST(many_users) {
    Zoo z = zoo_begin("many", MODE_TRAIN);
    Val w = zoo_leaf(&z, OP_PARAM, "w", type_matrix(2, 3), true), sum = w;
    for (int i = 0; i < 100; i++) sum = zoo_binary(&z, OP_ADD, sum, zoo_unary(&z, OP_SIGMOID, w));
    graph_output(z.g, OUT_LOSS, summed(&z, sum), NULL);
    PassContext context = new_context(-1);
    Graph *g = run(z.g, "lower", pass_lower, &context);
    g = run(g, "autodiff", pass_autodiff, &context);
    Leaves leaves = {.count = 0};
    Tensor *out = evaluate(g, &leaves, false);
    for (int64_t k = 0; k < 6; k++) {
        double x = leaves.tensor[0].data[k], s = 1 / (1 + exp(-x)), weight = leaves.tensor[1].data[k];
        ck_assert_double_eq_tol(out[1].data[k], weight * (1 + 100 * s * (1 - s)), 1e-12);
    }
    free_outputs(g, out);
    free_leaves(&leaves);
    graph_free(g);
    arena_free(context.arena);
}
END_TEST

/* ---- coverage ---- */

static const bool differentiable[OP_COUNT] = {
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) grad,
#include "ir/ops.def"
#undef OP
};

START_TEST(every_op_has_a_case) {
    bool reached[OP_COUNT] = {false};
    for (int i = 0; i < CASES; i++) {
        Graph *graphs[] = {source(&cases[i]), differentiate(&cases[i])};
        for (int k = 0; k < 2; k++) {
            for (Val v = 0; v < graphs[k]->count; v++) reached[graphs[k]->value[v].op] = true;
            graph_free(graphs[k]);
        }
    }
    for (int op = 0; op < OP_COUNT; op++) {
        bool needed = differentiable[op] || op_tier((Op)op) == TIER_SOURCE || op_tier((Op)op) == TIER_BACKWARD;
        ck_assert_msg(!needed || reached[op], "no gradient is checked through '%s'", op_text((Op)op));
    }
}
END_TEST

int main(void) {
    TCase *t = tcase_create("gradient");
    tcase_add_loop_test(t, central_differences, 0, CASES);
    tcase_add_test(t, nothing_for_inputs);
    tcase_add_test(t, unused_parameter_has_gradient_zero);
    tcase_add_test(t, many_users);
    tcase_add_test(t, every_op_has_a_case);
    return run_cases("passes_gradient", t);
}
