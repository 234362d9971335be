/* Every op that code is generated for, against the reference evaluator, over a table of shapes; on one, two and four threads,
 * which must agree to the bit. All cases of a shape are one graph, so that places, plans and shared kernels are exercised too. */
#include "codegen_helpers.h"
#include "run_cases.h"

typedef struct Shape {
    int64_t n, c, h, w;
} Shape;

static const Shape shapes[] = {
    {1, 1, 1, 1},  {2, 3, 5, 7},  {1, 16, 8, 8}, {5, 17, 3, 4},  {2, 33, 4, 4},  {5, 3, 9, 2}, {2, 16, 13, 1},
    {5, 16, 2, 3}, {1, 33, 7, 5}, {3, 40, 1, 1}, {1, 3, 19, 31}, {1, 300, 2, 1}, /* more pixels, and channels, than bf16 counts */
};

/* ---- graphs ---- */

static Val leaf(Graph *g, Op op, const char *name, Type type) {
    for (Val v = 0; v < g->count; v++) /* cases share leaves of equal name and type */
        if (op_attr_kind(g->value[v].op) == ATTR_PARAM && !strcmp(g->value[v].attrs.param.name, name)) return v;
    return graph_add(g, &(ValueSpec){.op = op, .declared = type, .attrs.param.name = arena_strdup(g->arena, name)});
}

static Type feature(Shape s) { return type_feature(s.n, s.c, s.h, s.w); }
static Val map_x(Graph *g, Shape s) { return leaf(g, OP_INPUT, "x", feature(s)); }
static Val rows_x(Graph *g, Shape s) { return leaf(g, OP_INPUT, "rows", type_matrix(s.n, s.c)); }
static Val labels(Graph *g, Shape s) { return leaf(g, OP_INPUT, "labels", type_make(DT_I32, 1, (int64_t[]){s.n})); }

static Val add(Graph *g, Op op, const Val *args, uint32_t nargs, Attrs attrs, Type declared) {
    return graph_add(g, &(ValueSpec){.op = op, .args = args, .nargs = nargs, .attrs = attrs, .declared = declared});
}

static void out(Graph *g, Op op, Val v) {
    for (uint32_t r = 0; r < value_results(g, v); r++) graph_output(g, OUT_GRAD, graph_result(g, v, r), op_text(op));
}

static Attrs window(int64_t kernel, int64_t stride, int64_t pad) {
    return (Attrs){.window = {{kernel, kernel}, {stride, stride}, {pad, pad, pad, pad}, {1, 1}, 1}};
}

static const Type none = {0};

typedef void (*CaseFunction)(Graph *g, Shape s, Op op);

static void case_leaf(Graph *g, Shape s, Op op) {
    Type type = op == OP_PARAM ? type_feature(s.c, s.n, 3, s.w) : op == OP_STATE ? type_vector(s.c) : feature(s);
    if (op == OP_CONSTANT)
        graph_output(g, OUT_GRAD, graph_constant(g, 0.75, (Span){0}), "constant");
    else
        out(g, op, leaf(g, op, op == OP_INPUT ? "x" : op_text(op), type));
}

static void case_conv(Graph *g, Shape s, Op op) { /* test_codegen_conv.c has the real table */
    Val w = leaf(g, OP_PARAM, "conv.w", type_feature(s.c + 1, s.c, 1, 1)), x = map_x(g, s);
    Val dy = leaf(g, OP_INPUT, "conv.dy", type_feature(s.n, s.c + 1, s.h, s.w));
    Type declared = op == OP_CONV2D_BWD_DATA ? feature(s) : type_feature(s.c + 1, s.c, 1, 1);
    Val args[2] = {op == OP_CONV2D_BWD_DATA ? dy : x, op == OP_CONV2D_BWD_WEIGHTS ? dy : w};
    out(g, op, add(g, op, args, 2, window(1, 1, 0), op == OP_CONV2D ? none : declared));
}

static void case_dense(Graph *g, Shape s, Op op) {
    static const int64_t sizes[][2] = {{1, 4}, {10, 64}, {17, 3}, {32, 33}, {5, 1}};
    for (int i = 0; i < 5; i++) {
        int64_t O = sizes[i][0], K = sizes[i][1];
        char name[3][32];
        for (int k = 0; k < 3; k++) snprintf(name[k], sizeof name[k], "dense%d.%d", k, i);
        Val x = leaf(g, OP_INPUT, name[0], type_matrix(s.n, K)), w = leaf(g, OP_PARAM, name[1], type_matrix(O, K));
        Val dy = leaf(g, OP_INPUT, name[2], type_matrix(s.n, O));
        Val args[2] = {op == OP_DENSE_BWD_DATA ? dy : x, op == OP_DENSE_BWD_WEIGHTS ? dy : w};
        out(g, op, add(g, op, args, 2, (Attrs){0}, none));
    }
}

/* The moments of what `sums` are the sums of. A single image's deviations are what rounding leaves of zero. */
static void out_moments(Graph *g, Op op, Shape s, Val sums) {
    Val m = add(g, OP_MOMENTS, &sums, 1, (Attrs){.constant = (double)(s.n * s.h * s.w)}, none);
    for (uint32_t r = 0; r < (s.n > 1 ? 3 : 2); r++) graph_output(g, OUT_GRAD, graph_result(g, m, r), op_text(op));
}

/* relu(x * vector + rows) * scalar: OUTPUT, two REDUCE and MOMENTS; maps of every lower rank; a map over filters. */
static void case_reducing_map(Graph *g, Shape s);

static void case_map(Graph *g, Shape s, Op op) {
    case_reducing_map(g, s);
    Val args[4] = {map_x(g, s), leaf(g, OP_INPUT, "vector", type_vector(s.c)), rows_x(g, s),
                   leaf(g, OP_PARAM, "scalar", type_scalar())};
    ExprBuilder b = expr_builder(g->arena);
    uint16_t affine = expr_binary(&b, X_ADD, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_arg(&b, 1)), expr_arg(&b, 2));
    uint16_t y = expr_binary(&b, X_MUL, expr_binary(&b, X_MAX, affine, expr_const(&b, 0)), expr_arg(&b, 3));
    const Expr *body = expr_finish(&b, y), *shifted = expr_finish(&b, expr_binary(&b, X_ADD, y, expr_const(&b, 1.5)));
    Region regions[] = {
        {REGION_REDUCE, 0, body}, {REGION_OUTPUT, 0, shifted}, {REGION_REDUCE, 0, shifted}, {REGION_MOMENTS, 0, shifted}};
    ValueSpec spec = {.op = op, .args = args, .nargs = 4, .declared = feature(s), .regions = regions, .nregions = 3};
    out(g, op, graph_add(g, &spec));
    spec.nregions = 4;
    out_moments(g, op, s, graph_result(g, graph_add(g, &spec), 3));
    ExprBuilder c = expr_builder(g->arena);
    const Expr *affine2 = expr_finish(&c, expr_binary(&c, X_ADD, expr_unary(&c, X_EXP, expr_arg(&c, 0)), expr_arg(&c, 1)));
    Val w = leaf(g, OP_PARAM, "filters", type_feature(s.c, s.n, 3, 2));
    Val pairs[][2] = {{args[2], args[1]}, {args[1], args[3]}, {args[3], args[3]}, {w, args[3]}, {args[2], args[2]}};
    for (int i = 0; i < 5; i++) out(g, op, graph_map(g, g->value[pairs[i][0]].type, pairs[i], 2, affine2, (Span){0}, NULL));
}

/* Where x is the greatest of its channels, and of the image: what reads indices, which bf16 would round. */
static void at_greatest(Graph *g, Val x) {
    Type type = g->value[x].type;
    for (int of_image = 0; of_image < 2; of_image++) {
        ExprBuilder b = expr_builder(g->arena), c = expr_builder(g->arena);
        Region region = {REGION_INDEX_TO, of_image ? 6 : 1, expr_finish(&b, expr_arg(&b, 0))};
        ValueSpec spec = {.op = OP_MAP, .args = &x, .nargs = 1, .declared = type, .regions = &region, .nregions = 1};
        Val args[4] = {x, graph_add(g, &spec)};
        uint16_t place;
        if (of_image) {
            args[2] = add(g, OP_POSITION, NULL, 0, (Attrs){.index = 2}, type_feature(type.dim[0], 1, type.dim[2], 1));
            args[3] = add(g, OP_POSITION, NULL, 0, (Attrs){.index = 3}, type_feature(type.dim[0], 1, 1, type.dim[3]));
            place = expr_binary(&c, X_MUL, expr_arg(&c, 2), expr_const(&c, (double)type.dim[3]));
            place = expr_binary(&c, X_ADD, place, expr_arg(&c, 3));
        } else {
            args[2] = add(g, OP_POSITION, NULL, 0, (Attrs){.index = 1}, type_vector(type.dim[1]));
            place = expr_arg(&c, 2);
        }
        uint16_t here = expr_binary(&c, X_EQUAL, place, expr_arg(&c, 1));
        const Expr *body = expr_finish(&c, expr_select(&c, here, expr_arg(&c, 0), expr_const(&c, 0)));
        out(g, OP_MAP, graph_map(g, type, args, of_image ? 4 : 3, body, (Span){0}, NULL));
    }
}

/* exp(x) * vector + x by regions over channels, and over lines, columns and both beside sums of the image, with an OUTPUT each;
 * the exp is not 0 in lanes that are no channels. And where the first of many equal maxima is. */
static void case_reducing_map(Graph *g, Shape s) {
    static const struct {
        int nregions;
        RegionRole role[8];
        int mask[8];
    } kinds[] = {{4, {REGION_SUM_TO, REGION_INDEX_TO, REGION_OUTPUT, REGION_MAX_TO}, {1, 1, 0, 1}},
                 {1, {REGION_MAX_TO}, {6}},
                 {1, {REGION_INDEX_TO}, {6}},
                 {1, {REGION_INDEX_TO}, {1}},
                 {3, {REGION_INDEX_TO, REGION_INDEX_TO, REGION_INDEX_TO}, {2, 6, 4}},
                 {8,
                  {REGION_MAX_TO, REGION_INDEX_TO, REGION_SUM_TO, REGION_OUTPUT, REGION_REDUCE, REGION_SUM_TO, REGION_INDEX_TO,
                   REGION_MAX_TO},
                  {2, 2, 4, 0, 0, 6, 4, 4}}};
    Val args[2] = {map_x(g, s), leaf(g, OP_INPUT, "vector", type_vector(s.c))};
    ExprBuilder b = expr_builder(g->arena);
    uint16_t product = expr_binary(&b, X_MUL, expr_unary(&b, X_EXP, expr_arg(&b, 0)), expr_arg(&b, 1));
    const Expr *body = expr_finish(&b, expr_binary(&b, X_ADD, product, expr_arg(&b, 0)));
    const Expr *equal = expr_finish(&b, expr_binary(&b, X_LESS, expr_const(&b, 0), expr_arg(&b, 0)));
    for (int k = 0; k < 6; k++) {
        bool ties = k == 3 || k == 4;
        Region regions[8];
        for (int i = 0; i < kinds[k].nregions; i++)
            regions[i] = (Region){kinds[k].role[i], kinds[k].mask[i], ties ? equal : body};
        ValueSpec spec = {.op = OP_MAP,
                          .args = args,
                          .nargs = 2,
                          .declared = feature(s),
                          .regions = regions,
                          .nregions = (uint32_t)kinds[k].nregions};
        out(g, OP_MAP, graph_add(g, &spec));
    }
    at_greatest(g, args[0]);
}

static void case_reduce(Graph *g, Shape s, Op op) {
    Val vector = leaf(g, OP_INPUT, "vector", type_vector(s.c));
    Val args[1] = {op == OP_IMAGE_SUM ? map_x(g, s) : op == OP_CHANNEL_SUM ? vector : rows_x(g, s)};
    out(g, op, add(g, op, args, 1, (Attrs){0}, none));
}

/* Over channels, height, width and some of their combinations; and read back beside the whole. */
static void case_reduce_to(Graph *g, Shape s, Op op) {
    static const int some[] = {1, 4, 6};
    for (int k = 0; k < 3; k++) {
        int over = some[k];
        Type to = feature(s);
        for (int i = 0; i < 3; i++) to.dim[i + 1] = over >> i & 1 ? 1 : to.dim[i + 1];
        char name[16];
        snprintf(name, sizeof name, "part%d", over);
        Val x = map_x(g, s), args[2] = {x, leaf(g, OP_INPUT, name, to)};
        out(g, op, add(g, op, &x, 1, (Attrs){0}, to));
        if (op != OP_SUM_TO) continue;
        ExprBuilder b = expr_builder(g->arena);
        const Expr *sum = expr_finish(&b, expr_binary(&b, X_ADD, expr_arg(&b, 0), expr_arg(&b, 1)));
        out(g, op, graph_map(g, feature(s), args, 2, sum, (Span){0}, NULL));
    }
}

static Val moments_of(Graph *g, Shape s, Val x) {
    ExprBuilder b = expr_builder(g->arena);
    Region region = {REGION_MOMENTS, 0, expr_finish(&b, expr_arg(&b, 0))};
    return graph_add(
        g, &(ValueSpec){.op = OP_MAP, .args = &x, .nargs = 1, .declared = feature(s), .regions = &region, .nregions = 1});
}

/* About each image's first pixel or so: what is close to its values. */
static void case_image_moments(Graph *g, Shape s, Op op) {
    Val args[2] = {moments_of(g, s, map_x(g, s)), rows_x(g, s)};
    Val m = add(g, op, args, 2, (Attrs){.constant = (double)(s.h * s.w)}, none);
    out(g, op, m);
    out(g, op, graph_result(g, m, 1));
    m = add(g, op, args, 1, (Attrs){.constant = (double)(s.h * s.w)}, none);
    out(g, op, m);
    out(g, op, graph_result(g, m, 1));
}

static void case_moments(Graph *g, Shape s, Op op) { out_moments(g, op, s, moments_of(g, s, map_x(g, s))); }

static void case_softmax(Graph *g, Shape s, Op op) {
    Val args[2] = {rows_x(g, s), leaf(g, OP_INPUT, "other", type_matrix(s.n, s.c))};
    out(g, op, add(g, op, args, op == OP_SOFTMAX ? 1 : 2, (Attrs){0}, none));
}

static void case_loss(Graph *g, Shape s, Op op) {
    s.c += 4; /* labels reach from 0 to 3 */
    Val args[3] = {leaf(g, OP_INPUT, "logits", type_matrix(s.n, s.c)), labels(g, s), leaf(g, OP_PARAM, "scalar", type_scalar())};
    for (int smooth = 0; smooth < (op == OP_CORRECT ? 1 : 2); smooth++)
        out(g, op, add(g, op, args, op == OP_CROSS_ENTROPY_BWD ? 3 : 2, (Attrs){.loss.smoothing = 0.1 * smooth}, none));
}

/* Square windows; two whose sides have nothing in common; those that tile the map, and that leave lines between them; and two
 * dilated without padding; and two with more taps than straight-line code has. None holds nothing but padding. */
static const Attrs pools[] = {
    {.window = {{1, 1}, {1, 1}, {0}, {1, 1}, 1}},          {.window = {{2, 2}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 1}},
    {.window = {{3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 1}}, {.window = {{3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1}},
    {.window = {{2, 3}, {1, 2}, {0, 2, 3, 2}, {3, 2}, 1}}, {.window = {{2, 2}, {2, 2}, {0}, {1, 1}, 1}},
    {.window = {{2, 1}, {3, 2}, {0}, {1, 1}, 1}},          {.window = {{3, 2}, {2, 2}, {0}, {1, 1}, 1}},
    {.window = {{2, 2}, {1, 1}, {0}, {2, 3}, 1}},          {.window = {{2, 2}, {3, 3}, {0}, {2, 2}, 1}},
    {.window = {{6, 5}, {6, 5}, {0}, {1, 1}, 1}},          {.window = {{6, 7}, {2, 3}, {5, 3, 4, 6}, {1, 1}, 1}},
};
enum { POOLS = sizeof pools / sizeof pools[0] };

/* Nothing if the map is too small for the window. */
static void out_pool(Graph *g, Shape s, Op op, Attrs attrs) {
    bool maximum = op == OP_MAX_POOL || op == OP_MAX_POOL_BWD, forward = op == OP_MAX_POOL || op == OP_AVG_POOL;
    ValueSpec spec = {.op = maximum ? OP_MAX_POOL : OP_AVG_POOL, .args = (Val[]){map_x(g, s)}, .nargs = 1, .attrs = attrs};
    Type y;
    char why[200], name[48];
    bool fits = true;
    for (int i = 0; i < 2; i++)
        fits = fits && (attrs.window.kernel[i] - 1) * attrs.window.dilation[i] + 1 <=
                           (i ? s.w : s.h) + attrs.window.pad[i] + attrs.window.pad[i + 2];
    if (!fits) return;
    ck_assert_msg(graph_infer(g, &spec, &y, why, sizeof why), "%s", why);
    snprintf(name, sizeof name, "pool.dy%dx%d", (int)y.dim[2], (int)y.dim[3]);
    Val dy = leaf(g, OP_INPUT, name, y), args[2] = {maximum ? map_x(g, s) : dy, dy};
    out(g, op, forward ? graph_add(g, &spec) : add(g, op, args, maximum ? 2 : 1, attrs, maximum ? none : feature(s)));
}

static void case_pool(Graph *g, Shape s, Op op) {
    for (int i = 0; i < POOLS; i++) out_pool(g, s, op, pools[i]);
    if (op == OP_MAX_POOL || op == OP_MAX_POOL_BWD) return;
    /* What pad becomes: lines cut off and added. */
    out_pool(g, s, op, (Attrs){.window = {{1, 1}, {1, 1}, {-(s.h > 1), 2, 1, -(s.w > 1)}, {1, 1}, 1}});
}

static void case_channels(Graph *g, Shape s, Op op) {
    Shape wide = s;
    wide.c += 5;
    Val args[3] = {map_x(g, s), leaf(g, OP_INPUT, "wide", feature(wide)), map_x(g, s)};
    Val flat[2] = {rows_x(g, s), leaf(g, OP_INPUT, "wide_rows", type_matrix(s.n, s.c + 5))};
    if (op == OP_CONCAT) {
        out(g, op, add(g, op, args, 3, (Attrs){0}, none));
        out(g, op, add(g, op, flat, 2, (Attrs){0}, none));
    } else if (op == OP_PLACE_CHANNELS) {
        for (int64_t from = 0; from <= 5; from += 5) out(g, op, add(g, op, args, 1, (Attrs){.index = from}, feature(wide)));
        out(g, op, add(g, op, flat, 1, (Attrs){.index = 3}, type_matrix(s.n, s.c + 5)));
    } else {
        for (int64_t from = 0; from <= 5; from += 5) out(g, op, add(g, op, &args[1], 1, (Attrs){.index = from}, feature(s)));
        out(g, op, add(g, op, &flat[1], 1, (Attrs){.index = 3}, type_matrix(s.n, s.c)));
    }
}

static void case_shuffle(Graph *g, Shape s, Op op) {
    static const int64_t groups[] = {2, 3};
    Shape wide = s;
    wide.c *= 6;
    Val x = leaf(g, OP_INPUT, "shuffled", feature(wide)), flat = leaf(g, OP_INPUT, "shuffled_rows", type_matrix(s.n, wide.c));
    for (int i = 0; i < 2; i++) {
        out(g, op, add(g, op, &x, 1, (Attrs){.index = groups[i]}, none));
        out(g, op, add(g, op, &flat, 1, (Attrs){.index = wide.c / groups[i]}, none));
    }
}

static void case_pad_channels(Graph *g, Shape s, Op op) {
    for (int64_t stride = 1; stride <= 2; stride++) {
        Attrs attrs = {.channels = {2 * s.c, stride}};
        Val x = map_x(g, s), dy;
        char name[32];
        snprintf(name, sizeof name, "pad.dy%d", (int)stride);
        dy = leaf(g, OP_INPUT, name, type_feature(s.n, 2 * s.c, (s.h + stride - 1) / stride, (s.w + stride - 1) / stride));
        out(g, op, op == OP_PAD_CHANNELS ? add(g, op, &x, 1, attrs, none) : add(g, op, &dy, 1, attrs, feature(s)));
    }
}

static void case_flatten(Graph *g, Shape s, Op op) { /* a row is read by a kernel that multiplies its padding too */
    int64_t K = s.c * s.h * s.w;
    Val x = map_x(g, s), flat = leaf(g, OP_INPUT, "flat", type_matrix(s.n, K));
    Val y = op == OP_FLATTEN ? add(g, op, &x, 1, (Attrs){0}, none) : add(g, op, &flat, 1, (Attrs){0}, feature(s));
    out(g, op, y);
    if (op == OP_FLATTEN)
        out(g, OP_DENSE, add(g, OP_DENSE, (Val[]){y, leaf(g, OP_PARAM, "few", type_matrix(3, K))}, 2, (Attrs){0}, none));
}

static void case_dropout_mask(Graph *g, Shape s, Op op) {
    for (int i = 0; i < 2; i++) {
        Attrs attrs = {.dropout = {i ? 0.5 : 0.2, 7 + i}};
        out(g, op, add(g, op, NULL, 0, attrs, feature(s)));
        out(g, op, add(g, op, NULL, 0, attrs, type_matrix(s.n, s.c)));
        out(g, op, add(g, op, NULL, 0, attrs, i ? type_scalar() : type_feature(s.n, 1, 1, 1)));
    }
}

static void case_position(Graph *g, Shape s, Op op) {
    out(g, op, add(g, op, NULL, 0, (Attrs){.index = 1}, type_vector(s.c)));
    out(g, op, add(g, op, NULL, 0, (Attrs){.index = 2}, type_feature(s.n, 1, s.h, 1)));
    out(g, op, add(g, op, NULL, 0, (Attrs){.index = 3}, type_feature(s.n, 1, 1, s.w)));
}

static void case_result(Graph *g, Shape s, Op op) { /* of three results, only the second is read */
    Val sums = moments_of(g, s, map_x(g, s));
    Val moments = add(g, OP_MOMENTS, &sums, 1, (Attrs){.constant = (double)(s.n * s.h * s.w)}, none);
    graph_output(g, OUT_GRAD, graph_result(g, moments, 1), op_text(op));
}

static void case_scale_filters(Graph *g, Shape s, Op op) {
    Val args[2] = {leaf(g, OP_PARAM, "scaled", type_feature(s.c, s.n, 3, 2)), leaf(g, OP_INPUT, "vector", type_vector(s.c))};
    out(g, op, add(g, op, args, 2, (Attrs){0}, none));
}

static void case_standardize(Graph *g, Shape s, Op op) {
    Type type = type_feature(s.c, s.n, 3, 2);
    Val args[2] = {leaf(g, OP_PARAM, "standardized", type), leaf(g, OP_PARAM, "standardized_dy", type)};
    out(g, op, add(g, op, args, op == OP_STANDARDIZE ? 1 : 2, (Attrs){.constant = 1e-3}, none));
}

static const CaseFunction cases[OP_COUNT] = {
    [OP_INPUT] = case_leaf,
    [OP_PARAM] = case_leaf,
    [OP_STATE] = case_leaf,
    [OP_CONSTANT] = case_leaf,
    [OP_CONV2D] = case_conv,
    [OP_CONV2D_BWD_DATA] = case_conv,
    [OP_CONV2D_BWD_WEIGHTS] = case_conv,
    [OP_DENSE] = case_dense,
    [OP_DENSE_BWD_DATA] = case_dense,
    [OP_DENSE_BWD_WEIGHTS] = case_dense,
    [OP_MAP] = case_map,
    [OP_RESULT] = case_result,
    [OP_IMAGE_SUM] = case_reduce,
    [OP_SUM_TO] = case_reduce_to,
    [OP_MAX_TO] = case_reduce_to,
    [OP_BATCH_SUM] = case_reduce,
    [OP_CHANNEL_SUM] = case_reduce,
    [OP_MOMENTS] = case_moments,
    [OP_IMAGE_MOMENTS] = case_image_moments,
    [OP_SOFTMAX] = case_softmax,
    [OP_SOFTMAX_BWD] = case_softmax,
    [OP_CROSS_ENTROPY] = case_loss,
    [OP_CROSS_ENTROPY_BWD] = case_loss,
    [OP_CORRECT] = case_loss,
    [OP_MAX_POOL] = case_pool,
    [OP_MAX_POOL_BWD] = case_pool,
    [OP_AVG_POOL] = case_pool,
    [OP_AVG_POOL_BWD] = case_pool,
    [OP_CONCAT] = case_channels,
    [OP_SLICE_CHANNELS] = case_channels,
    [OP_PLACE_CHANNELS] = case_channels,
    [OP_CHANNEL_SHUFFLE] = case_shuffle,
    [OP_PAD_CHANNELS] = case_pad_channels,
    [OP_PAD_CHANNELS_BWD] = case_pad_channels,
    [OP_FLATTEN] = case_flatten,
    [OP_UNFLATTEN] = case_flatten,
    [OP_DROPOUT_MASK] = case_dropout_mask,
    [OP_POSITION] = case_position,
    [OP_SCALE_FILTERS] = case_scale_filters,
    [OP_STANDARDIZE] = case_standardize,
    [OP_STANDARDIZE_BWD] = case_standardize,
};

/* ---- tests ---- */

START_TEST(every_op_has_a_case) {
    for (int op = 0; op < OP_COUNT; op++)
        ck_assert_msg((cases[op] != NULL) != (op_tier((Op)op) == TIER_SOURCE), "op '%s' has no test case", op_text((Op)op));
}
END_TEST

static Graph *shape_graph(Shape s) {
    Graph *g = graph_new("ops", MODE_TRAIN);
    for (int op = 0; op < OP_COUNT; op++)
        if (cases[op]) cases[op](g, s, (Op)op);
    return g;
}

/* Sums of n terms in float: a few units, growing with the root of n. */
static double tolerance(Shape s) { return 0x1p-24 * (16 + 2 * sqrt((double)(s.n * s.c * s.h * s.w))); }

/* With bf16 the leaves are bf16 too, so that what differs is the rounding of the feature maps that are made. */
static void check_shape(Shape s, const char *cpu, Precision precision) {
    Graph *g = shape_graph(s);
    CodegenOptions options = {.cpu = cpu, .precision = precision};
    Both both = {.bf16 = precision == PRECISION_BF16};
    both_run(&both, g, &options);
    char what[100];
    snprintf(what, sizeof what, "[%d,%d,%d,%d] on %s%s", (int)s.n, (int)s.c, (int)s.h, (int)s.w, cpu, both.bf16 ? ", bf16" : "");
    for (uint32_t i = 0; i < g->noutputs; i++) {
        Val v = g->output[i].value;
        bool stored = both.bf16 && g->value[v].type.rank == 4 && !value_is_index(g, v);
        both_check(&both, i, tolerance(s) + (stored ? bf16_unit : 0), what);
    }
    both_free(&both);
    graph_free(g);
}

START_TEST(agrees_with_the_evaluator) {
    check_shape(shapes[_i], "native", PRECISION_F32);
    check_shape(shapes[_i], "native", PRECISION_BF16);
}
END_TEST

/* Eight and four lanes, where this machine runs them. */
START_TEST(agrees_with_fewer_lanes) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        check_shape(shapes[_i], "x86-64-v3", PRECISION_F32);
        check_shape(shapes[_i], "x86-64-v3", PRECISION_BF16);
    }
    check_shape(shapes[_i], "x86-64-v2", PRECISION_F32);
    check_shape(shapes[_i], "x86-64-v2", PRECISION_BF16);
#endif
}
END_TEST

/* Dense layers too large for the kernels of small ones. */
static const int64_t large[][3] = {
    /* images, inputs, outputs */
    {37, 701, 403},  /* nothing is whole */
    {128, 512, 100}, /* whole panels */
    {20, 1100, 130}, /* sums of several runs, the last one shorter */
    {600, 70, 90},   /* likewise of images; narrower last panels */
    {3, 1500, 700},  /* backward panels that are read once */
    {2, 1500, 801},  /* forward as dot products, in pieces of outputs */
    {1, 4100, 33},   /* few outputs a piece, one in the last */
    {1, 300, 1001},  /* many; the last vector is padded */
    {9, 530, 450},   /* half a vector of images */
    {130, 33, 500},  {64, 1024, 48},
};

static Graph *large_graph(const int64_t *shape) {
    Graph *g = graph_new("large", MODE_TRAIN);
    const int64_t N = shape[0], K = shape[1], O = shape[2];
    Val x = leaf(g, OP_INPUT, "x", type_matrix(N, K)), w = leaf(g, OP_PARAM, "w", type_matrix(O, K));
    Val dy = leaf(g, OP_INPUT, "dy", type_matrix(N, O));
    static const Op ops[] = {OP_DENSE, OP_DENSE_BWD_DATA, OP_DENSE_BWD_WEIGHTS};
    Val inner[3];
    for (int i = 0; i < 3; i++) {
        Op op = ops[i];
        Val args[2] = {op == OP_DENSE_BWD_DATA ? dy : x, op == OP_DENSE_BWD_WEIGHTS ? dy : w};
        out(g, op, add(g, op, args, 2, (Attrs){0}, none));
        inner[i] = add(g, op, args, 2, (Attrs){0}, none);
    }
    /* Readers of all three within the arena, small enough for the kernels that multiply the padding too. */
    Val few = leaf(g, OP_PARAM, "few", type_matrix(3, K)), outputs = leaf(g, OP_PARAM, "outputs", type_matrix(3, O));
    out(g, OP_DENSE, add(g, OP_DENSE, (Val[]){inner[0], outputs}, 2, (Attrs){0}, none));
    out(g, OP_DENSE, add(g, OP_DENSE, (Val[]){inner[1], few}, 2, (Attrs){0}, none));
    out(g, OP_DENSE, add(g, OP_DENSE, (Val[]){inner[2], few}, 2, (Attrs){0}, none));
    return g;
}

static void check_large(Graph *g, const int64_t *shape, const CodegenOptions *options) {
    int64_t terms = shape[0];
    for (int i = 1; i < 3; i++) terms = shape[i] > terms ? shape[i] : terms;
    Both both = {0};
    char what[100];
    snprintf(what, sizeof what, "dense %d images, %d to %d, %s%s", (int)shape[0], (int)shape[1], (int)shape[2],
             options->cpu ? options->cpu : "native", options->openblas ? ", OpenBLAS" : "");
    both_run(&both, g, options);
    for (uint32_t k = 0; k < g->noutputs; k++) both_check(&both, k, 0x1p-24 * (16 + 2 * sqrt((double)terms)), what);
    both_free(&both);
}

/* By products of our own, of 16 lanes or what there is, 8 and 4, and by OpenBLAS. */
START_TEST(large_dense) {
    Graph *g = large_graph(large[_i]);
    check_large(g, large[_i], &(CodegenOptions){0});
    check_large(g, large[_i], &(CodegenOptions){.openblas = true});
    check_large(g, large[_i], &(CodegenOptions){.cpu = "generic"});
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        check_large(g, large[_i], &(CodegenOptions){.cpu = "x86-64-v3"});
#endif
    graph_free(g);
}
END_TEST

static void check_threads(Graph *g, const CodegenOptions *options) {
    Both both = {.g = g}, other = {.g = g};
    CompiledGraph *compiled = compiled_new(g, options);
    both_execute(&both, compiled, 1);
    for (int threads = 2; threads <= 4; threads += 2) {
        both_execute(&other, compiled, threads);
        for (uint32_t i = 0; i < g->noutputs; i++)
            ck_assert_msg(!memcmp(both.got[i], other.got[i], (size_t)output_elements(g, i) * sizeof(float)),
                          "%s differs on %d threads", g->output[i].name, threads);
    }
    codegen_graph_free(compiled);
    both_free(&both);
    both_free(&other);
    graph_free(g);
}

START_TEST(threads_do_not_change_a_bit) {
    check_threads(shape_graph((Shape){5, 33, 16, 16}), &(CodegenOptions){.precision = _i ? PRECISION_BF16 : PRECISION_F32});
}
END_TEST

static Graph *moves_graph(Shape s) {
    static const Op moves[] = {OP_CONCAT,          OP_SLICE_CHANNELS, OP_PLACE_CHANNELS,
                               OP_CHANNEL_SHUFFLE, OP_PAD_CHANNELS,   OP_PAD_CHANNELS_BWD};
    Graph *g = graph_new("moves", MODE_TRAIN);
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) cases[moves[i]](g, s, moves[i]);
    return g;
}

/* Of few images with much to move each is cut into bands of rows. */
START_TEST(few_images_are_cut) {
    static const Shape few[] = {{1, 48, 33, 19}, {3, 33, 33, 19}, {2, 40, 3, 300}};
    Graph *g = moves_graph(few[_i]);
    Both both = {0};
    both_run(&both, g, &(CodegenOptions){0});
    for (uint32_t i = 0; i < g->noutputs; i++) both_check(&both, i, 0, "few images");
    both_free(&both);
    check_threads(g, &(CodegenOptions){0});
}
END_TEST

START_TEST(threads_do_not_change_a_dense_layer) { check_threads(large_graph(large[_i]), &(CodegenOptions){0}); }
END_TEST

/* What rounding leaves of the variance of a constant channel may lie on either side of zero, which depends on the count and on
 * the value; below it, it is zero: a square root of it and eps = 1e-5 would be NaN. */
START_TEST(no_variance_is_negative) {
    static const Shape of[] = {{3, 40, 3, 5}, {3, 40, 7, 7}, {1, 40, 15, 7}, {3, 40, 11, 5}};
    Shape s = of[_i];
    Graph *g = graph_new("constant", MODE_TRAIN);
    case_moments(g, s, OP_MOMENTS);
    Both both = {0};
    Tensor *x = leaves_add(&both.leaves, "x", feature(s));
    int64_t pixels = s.h * s.w;
    for (int64_t i = 0; i < type_elements(x->type); i++) x->data[i] = (float)(1e5 + 321.7 * (double)(i / pixels % s.c));
    both_run(&both, g, NULL);
    for (int64_t c = 0; c < s.c; c++) {
        double variance = both.got[1][c];
        ck_assert_msg(variance >= 0 && variance < 1e-4, "channel %d has the variance %g", (int)c, variance);
    }
    both_free(&both);
    graph_free(g);
}
END_TEST

/* Of equal scores the first wins, so a label counts only if no earlier class has as much; in any lane, beside any neighbour. */
START_TEST(ties_are_the_first_class) {
    const int64_t K = 19, N = K * K;
    CodegenOptions options = {.cpu = both_cpu(_i)};
    if (!options.cpu) return;
    Graph *g = graph_new("ties", MODE_TRAIN);
    Val args[2] = {leaf(g, OP_INPUT, "logits", type_matrix(N, K)), labels(g, (Shape){.n = N})};
    out(g, OP_CORRECT, add(g, OP_CORRECT, args, 2, (Attrs){0}, none));
    Both both = {0};
    Tensor *z = leaves_add(&both.leaves, "logits", type_matrix(N, K));
    Tensor *y = leaves_add(&both.leaves, "labels", type_make(DT_I32, 1, (int64_t[]){N}));
    for (int64_t n = 0; n < N; n++) { /* row a*K + b: classes a and b lead alike, and b is the label */
        for (int64_t k = 0; k < K; k++) z->data[n * K + k] = k == n / K || k == n % K ? 2 : -1;
        y->data[n] = (double)(n % K);
    }
    both_run(&both, g, &options);
    ck_assert_double_eq(both.want[0].data[0], (double)(K * (K + 1) / 2)); /* where b is not behind a */
    ck_assert_double_eq(both.got[0][0], both.want[0].data[0]);
    both_free(&both);
    graph_free(g);
}
END_TEST

/* Rows whose label leads by 4, 8, ... 40: what is left of the gradient is as exact as elsewhere; but for z - max, whose rounding
 * e to the power of it turns into a relative error. */
START_TEST(confident_rows) {
    const int64_t N = 10, K = 5;
    CodegenOptions options = {.cpu = both_cpu(_i / 2)};
    if (!options.cpu) return;
    Graph *g = graph_new("confident", MODE_TRAIN);
    Val args[3] = {leaf(g, OP_INPUT, "logits", type_matrix(N, K)), labels(g, (Shape){.n = N}),
                   leaf(g, OP_PARAM, "scalar", type_scalar())};
    Attrs attrs = {.loss.smoothing = _i % 2 ? 1e-3 : 0};
    out(g, OP_CROSS_ENTROPY_BWD, add(g, OP_CROSS_ENTROPY_BWD, args, 3, attrs, none));
    out(g, OP_CROSS_ENTROPY, add(g, OP_CROSS_ENTROPY, args, 2, attrs, none));
    Both both = {0};
    Tensor *z = leaves_add(&both.leaves, "logits", type_matrix(N, K));
    Tensor *y = leaves_add(&both.leaves, "labels", type_make(DT_I32, 1, (int64_t[]){N}));
    for (int64_t n = 0; n < N; n++) z->data[n * K + (int64_t)y->data[n]] += 4 * (double)(n + 1);
    both_run(&both, g, &options);
    for (int64_t i = 0; i < N * K; i++) {
        double want = both.want[0].data[i], got = both.got[0][i], q = attrs.loss.smoothing;
        ck_assert_msg(fabs(got - want) <= 0x1p-24 * (64 * fabs(want) + 4 * q), "dz[%d] on %s: got %.9g, want %.9g", (int)i,
                      options.cpu, got, want);
    }
    ck_assert_double_le(fabs(both.got[1][0] - both.want[1].data[0]), 0x1p-22); /* log(1 + what is below f32's 1) */
    both_free(&both);
    graph_free(g);
}
END_TEST

/* ---- NaN and infinity: one leaf's element at a time, through every op ---- */

static void check_class(const Both *both, const char *what) {
    const Graph *g = both->g;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        double largest = 0;
        int64_t n = output_elements(g, i);
        for (int64_t k = 0; k < n; k++)
            if (isfinite(both->want[i].data[k])) largest = fmax(largest, fabs(both->want[i].data[k]));
        for (int64_t k = 0; k < n; k++) {
            double want = both->want[i].data[k], got = both->got[i][k];
            bool same = isnan(want)   ? isnan(got)
                        : isinf(want) ? got == want
                                      : fabs(got - want) <= 0x1p-24 * 32 * (fabs(want) + largest);
            if (!same)
                ck_abort_msg("%s: output %u (%s), element %lld: got %g, want %g", what, i, g->output[i].name, (long long)k, got,
                             want);
        }
    }
}

/* Every leaf of the graph with `value` at one place, and nowhere else. */
static void poison_leaves(const Graph *g, double value, int place, const CompiledGraph *compiled, const char *what) {
    for (int leaf = 0, leaves = 1; leaf < leaves; leaf++) {
        Both both = {.g = g};
        for (Val v = 0; v < g->count; v++)
            if (op_attr_kind(g->value[v].op) == ATTR_PARAM && g->value[v].op != OP_CONSTANT)
                leaves_add(&both.leaves, g->value[v].attrs.param.name, g->value[v].type);
        leaves = both.leaves.count;
        if (leaf < leaves && both.leaves.tensor[leaf].type.dtype == DT_F32) {
            Tensor *t = &both.leaves.tensor[leaf];
            int64_t n = type_elements(t->type);
            t->data[place == 0 ? 0 : place == 1 ? n / 2 : n - 1] = value;
            both_evaluate(&both, g);
            both_execute(&both, compiled, 1);
            char text[200];
            snprintf(text, sizeof text, "%s, %g in '%s', place %d", what, value, both.leaves.name[leaf], place);
            check_class(&both, text);
        }
        both_free(&both);
    }
}

START_TEST(nan_and_infinity) {
    static const double values[] = {NAN, INFINITY, -INFINITY};
    if (!cases[_i]) return;
    Graph *g = graph_new("op", MODE_TRAIN);
    cases[_i](g, (Shape){2, 17, 4, 3}, (Op)_i);
    for (int c = 0; c < BOTH_CPUS; c++) {
        CodegenOptions options = {.cpu = both_cpu(c)};
        if (!options.cpu) continue;
        CompiledGraph *compiled = compiled_new(g, &options);
        char what[100];
        snprintf(what, sizeof what, "%s on %s", op_text((Op)_i), options.cpu);
        for (int k = 0; k < 3; k++) poison_leaves(g, values[k], (k + c) % 3, compiled, what);
        codegen_graph_free(compiled);
    }
    graph_free(g);
}
END_TEST

/* Maps of few values, so that windows have ties, none but minus infinity, and several NaNs: which tap has the maximum. One of
 * the pools has windows of nothing but padding. */
START_TEST(which_is_the_maximum) {
    static const double values[] = {-INFINITY, -INFINITY, -1, 2, 2, NAN};
    CodegenOptions options = {.cpu = both_cpu(_i)};
    if (!options.cpu) return;
    const Attrs padding_alone = {.window = {{2, 2}, {1, 1}, {4, 0, 5, 1}, {12, 1}, 1}};
    Shape s = {3, 17, 9, 8};
    Graph *g = graph_new("maximum", MODE_TRAIN);
    for (int backward = 0; backward < 2; backward++) {
        Op op = backward ? OP_MAX_POOL_BWD : OP_MAX_POOL;
        case_pool(g, s, op);
        out_pool(g, s, op, padding_alone);
    }
    Both both = {0};
    Tensor *x = leaves_add(&both.leaves, "x", feature(s));
    uint32_t random = 1;
    for (int64_t i = 0, n = type_elements(x->type); i < n; i++) {
        random = random * 1664525 + 1013904223;
        x->data[i] = values[(random >> 24) % (uint32_t)(1 + i * 6 / n)]; /* the first image is minus infinity alone */
    }
    both_run(&both, g, &options);
    check_class(&both, options.cpu);
    both_free(&both);
    graph_free(g);
}
END_TEST

/* ---- bf16: any f32 as a vector's element, times a feature map of ones, is stored to the nearest, ties to even ---- */

static const uint32_t bf16_words[] = {
    0x00000000, 0x80000000, 0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x3f817fff, /* 1 and its ties */
    0xbf808000, 0xbf818000, 0x3fffffff, 0x3fff8000, 0x3fff7fff, 0x7f7f0000, 0x7f7f7fff, 0x7f7f8000, /* carries, to infinity */
    0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff, 0x7fffffff, /* infinities, NaNs */
    0x00800000, 0x00808000, 0x00818000, 0x42f6e979, 0xc2f6e979, 0x0da24260, 0x5e6da7b4, 0x3eaaaaab};
enum { BF16_WORDS = sizeof bf16_words / sizeof bf16_words[0] };

static const float *bf16_leaf(void *context, const Value *leaf) {
    float *values = context;
    return leaf->type.rank == 4 ? values : values + BF16_WORDS;
}

static void check_rounding(const char *cpu) {
    Graph *g = graph_new("round", MODE_TRAIN);
    Type type = type_feature(1, BF16_WORDS, 1, 1);
    Val args[2] = {leaf(g, OP_INPUT, "x", type), leaf(g, OP_INPUT, "vector", type_vector(BF16_WORDS))};
    ExprBuilder b = expr_builder(g->arena);
    const Expr *product = expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_arg(&b, 1)));
    graph_output(g, OUT_GRAD, graph_map(g, type, args, 2, product, (Span){0}, NULL), "y");
    float values[2 * BF16_WORDS], got[BF16_WORDS], *out = got;
    for (int i = 0; i < BF16_WORDS; i++) values[i] = 1;
    memcpy(values + BF16_WORDS, bf16_words, sizeof bf16_words);
    CodegenOptions options = {.cpu = cpu, .precision = PRECISION_BF16};
    char why[400] = "";
    ck_assert_msg(codegen_run_graph(g, &options, &(GraphRun){bf16_leaf, values, 0, 0, 1}, &out, why, sizeof why), "%s", why);
    for (int i = 0; i < BF16_WORDS; i++) {
        uint32_t word;
        memcpy(&word, &got[i], sizeof word);
        if (isnan(values[BF16_WORDS + i])) {
            ck_assert_msg(isnan(got[i]), "%08x is %08x on %s, should be a NaN", bf16_words[i], word, cpu);
            continue;
        }
        uint32_t below = bf16_words[i] & 0xffff0000, rest = bf16_words[i] & 0xffff;
        uint32_t want = rest > 0x8000 || (rest == 0x8000 && (below & 0x10000)) ? below + 0x10000 : below;
        ck_assert_msg(word == want, "%08x is %08x on %s, should be %08x", bf16_words[i], word, cpu, want);
    }
    graph_free(g);
}

START_TEST(bf16_is_the_nearest) {
    check_rounding("native");
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) check_rounding("x86-64-v3");
    check_rounding("x86-64-v2");
#endif
}
END_TEST

START_TEST(unknown_cpu_is_refused) {
    Graph *g = shape_graph(shapes[0]);
    Both both = {.g = g};
    char why[400] = "";
    CodegenOptions options = {.cpu = "pentium_hundred"};
    ck_assert(!codegen_run_graph(g, &options, &(GraphRun){both_floats, &both, 0, 0, 1}, both.got, why, sizeof why));
    ck_assert_msg(strstr(why, "unknown CPU 'pentium_hundred'") && strstr(why, "-mcpu=help"), "%s", why);
    graph_free(g);
}
END_TEST

START_TEST(op_that_should_be_gone_is_refused) {
    Graph *g = graph_new("g", MODE_TRAIN);
    graph_output(g, OUT_GRAD, graph_unary(g, OP_RELU, map_x(g, shapes[1]), (Span){0}), "x");
    Both both = {.g = g};
    char why[400] = "";
    ck_assert(!codegen_run_graph(g, NULL, &(GraphRun){both_floats, &both, 0, 0, 1}, both.got, why, sizeof why));
    ck_assert_msg(strstr(why, "'relu' should have been lowered"), "%s", why);
    graph_free(g);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("ops");
    const int count = (int)(sizeof shapes / sizeof shapes[0]);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_op_has_a_case);
    tcase_add_loop_test(tests, agrees_with_the_evaluator, 0, count);
    tcase_add_loop_test(tests, agrees_with_fewer_lanes, 3, 5);
    tcase_add_loop_test(tests, large_dense, 0, (int)(sizeof large / sizeof large[0]));
    tcase_add_loop_test(tests, threads_do_not_change_a_bit, 0, 2);
    tcase_add_loop_test(tests, few_images_are_cut, 0, 3);
    tcase_add_loop_test(tests, threads_do_not_change_a_dense_layer, 0, (int)(sizeof large / sizeof large[0]));
    tcase_add_loop_test(tests, no_variance_is_negative, 0, 4);
    tcase_add_loop_test(tests, ties_are_the_first_class, 0, 3);
    tcase_add_loop_test(tests, confident_rows, 0, 6);
    tcase_add_loop_test(tests, nan_and_infinity, 0, OP_COUNT);
    tcase_add_loop_test(tests, which_is_the_maximum, 0, 3);
    tcase_add_test(tests, bf16_is_the_nearest);
    tcase_add_test(tests, unknown_cpu_is_refused);
    tcase_add_test(tests, op_that_should_be_gone_is_refused);
    return run_cases("codegen_ops", tests);
}
