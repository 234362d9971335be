/* Convolutions, pools and data movement over a table of shapes. Forward is held against the definition, output by output;
 * a gradient is held against forward by being its adjoint: <f(x), dy> = <x, f'(dy)> for every x and dy. And a kernel with
 * regions must say what the same graph says without fusion. */
#include "ir_helpers.h"

typedef struct Shape {
    int64_t n, channels, height, width, filters;
    int64_t kernel[2], stride[2], pad[4], dilation[2], groups;
} Shape;

static const Shape table[] = {
    /* n  I   H   W   O   kernel  stride  pad           dil     groups */
    {2, 3, 8, 8, 16, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},   {1, 16, 5, 5, 17, {1, 1}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
    {2, 17, 7, 5, 3, {1, 1}, {2, 2}, {0, 0, 0, 0}, {1, 1}, 1},   {1, 33, 4, 6, 16, {2, 2}, {1, 1}, {0, 0, 0, 0}, {1, 1}, 1},
    {2, 1, 9, 9, 1, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 1},    {1, 16, 9, 8, 33, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 1},
    {2, 3, 11, 7, 4, {4, 4}, {3, 3}, {1, 2, 2, 1}, {1, 1}, 1},   {1, 3, 13, 13, 5, {5, 5}, {1, 1}, {2, 2, 2, 2}, {1, 1}, 1},
    {1, 4, 12, 10, 3, {5, 3}, {3, 2}, {2, 0, 1, 1}, {1, 1}, 1},  {2, 6, 9, 9, 4, {3, 3}, {1, 1}, {2, 2, 2, 2}, {2, 2}, 1},
    {1, 3, 12, 11, 2, {3, 2}, {2, 1}, {3, 1, 0, 2}, {3, 2}, 1},  {2, 6, 7, 7, 4, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 2},
    {1, 16, 6, 6, 16, {3, 3}, {2, 2}, {1, 1, 1, 1}, {1, 1}, 16}, {1, 3, 8, 8, 33, {3, 3}, {1, 1}, {0, 1, 1, 0}, {1, 1}, 3},
    {1, 2, 1, 1, 2, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, 1},    {1, 2, 3, 3, 2, {3, 3}, {1, 1}, {4, 4, 4, 4}, {1, 1}, 1},
    {1, 2, 3, 4, 2, {1, 1}, {3, 3}, {2, 0, 2, 0}, {1, 1}, 1},
};
enum { SHAPES = sizeof table / sizeof *table };

static Val leaf(Graph *g, const char *name, Type type) {
    return graph_add(g, &(ValueSpec){.op = OP_INPUT, .declared = type, .attrs.param.name = name});
}

static Attrs window(const Shape *s) {
    Attrs a = {0};
    memcpy(a.window.kernel, s->kernel, sizeof s->kernel);
    memcpy(a.window.stride, s->stride, sizeof s->stride);
    memcpy(a.window.pad, s->pad, sizeof s->pad);
    memcpy(a.window.dilation, s->dilation, sizeof s->dilation);
    a.window.groups = s->groups;
    return a;
}

static Val windowed(Graph *g, Op op, Val a, Val b, Type declared, const Shape *s) {
    return graph_add(
        g, &(ValueSpec){.op = op, .args = (Val[]){a, b}, .nargs = b == NO_VAL ? 1 : 2, .declared = declared, .attrs = window(s)});
}

static double dot(const Tensor *a, const Tensor *b) {
    ck_assert(type_equal(a->type, b->type));
    double sum = 0;
    for (int64_t i = 0, n = type_elements(a->type); i < n; i++) sum += a->data[i] * b->data[i];
    return sum;
}

static int64_t output_size(const Shape *s, int i, int64_t size) {
    return (int64_t)floor((double)(size + s->pad[i] + s->pad[i + 2] - s->dilation[i] * (s->kernel[i] - 1) - 1) /
                          (double)s->stride[i]) +
           1;
}

static double conv_at(const Shape *s, const Tensor *x, const Tensor *w, int64_t n, int64_t o, int64_t oh, int64_t ow) {
    int64_t per_group = s->channels / s->groups, group = o / (s->filters / s->groups);
    double sum = 0;
    for (int64_t i = 0; i < per_group; i++) {
        for (int64_t kh = 0; kh < s->kernel[0]; kh++) {
            for (int64_t kw = 0; kw < s->kernel[1]; kw++) {
                int64_t h = oh * s->stride[0] + kh * s->dilation[0] - s->pad[0], c = group * per_group + i;
                int64_t v = ow * s->stride[1] + kw * s->dilation[1] - s->pad[1];
                if (h < 0 || h >= s->height || v < 0 || v >= s->width) continue;
                sum += x->data[((n * s->channels + c) * s->height + h) * s->width + v] *
                       w->data[((o * per_group + i) * s->kernel[0] + kh) * s->kernel[1] + kw];
            }
        }
    }
    return sum;
}

START_TEST(conv2d_and_its_gradients) {
    const Shape *s = &table[_i];
    Graph *g = graph_new("t", MODE_TRAIN);
    Val x = leaf(g, "x", type_feature(s->n, s->channels, s->height, s->width));
    Val w = leaf(g, "w", type_feature(s->filters, s->channels / s->groups, s->kernel[0], s->kernel[1]));
    Val y = windowed(g, OP_CONV2D, x, w, (Type){0}, s);
    Type type = type_feature(s->n, s->filters, output_size(s, 0, s->height), output_size(s, 1, s->width));
    ck_assert(type_equal(g->value[y].type, type));
    Val dy = leaf(g, "dy", type);
    Val dx = windowed(g, OP_CONV2D_BWD_DATA, dy, w, g->value[x].type, s);
    Val dw = windowed(g, OP_CONV2D_BWD_WEIGHTS, x, dy, g->value[w].type, s);
    Tensor *t = eval_all(g, NULL);
    for (int64_t e = 0, n = type_elements(type); e < n; e++) {
        int64_t plane = type.dim[2] * type.dim[3];
        double expected = conv_at(s, &t[x], &t[w], e / plane / s->filters, e / plane % s->filters, e / type.dim[3] % type.dim[2],
                                  e % type.dim[3]);
        assert_near(t[y].data[e], expected, 1e-12, "conv2d", e);
    }
    assert_near(dot(&t[x], &t[dx]), dot(&t[y], &t[dy]), 1e-11, "<x, bwd_data>", _i);
    assert_near(dot(&t[w], &t[dw]), dot(&t[y], &t[dy]), 1e-11, "<w, bwd_weights>", _i);
    free_all(g, t);
    graph_free(g);
}
END_TEST

/* max_pool is linear in x as long as the maxima stay where they are, so its gradient is an adjoint too. */
START_TEST(pools_and_their_gradients) {
    Shape s = table[_i];
    for (int i = 0; i < 4; i++) { /* a pool's padding is smaller than its window */
        int64_t extent = s.dilation[i % 2] * (s.kernel[i % 2] - 1) + 1;
        if (s.pad[i] >= extent) s.pad[i] = extent - 1;
    }
    if (output_size(&s, 0, s.height) < 1 || output_size(&s, 1, s.width) < 1) return;
    Graph *g = graph_new("t", MODE_TRAIN);
    Val x = leaf(g, "x", type_feature(s.n, s.channels, s.height, s.width));
    Val max = windowed(g, OP_MAX_POOL, x, NO_VAL, (Type){0}, &s), avg = windowed(g, OP_AVG_POOL, x, NO_VAL, (Type){0}, &s);
    Val dy = leaf(g, "dy", g->value[max].type);
    Val max_dx = windowed(g, OP_MAX_POOL_BWD, x, dy, (Type){0}, &s);
    Val avg_dx = windowed(g, OP_AVG_POOL_BWD, dy, NO_VAL, g->value[x].type, &s);
    Tensor *t = eval_all(g, NULL);
    for (int64_t e = 0, n = type_elements(t[max].type); e < n; e++) { /* a dilated window of nothing but padding */
        if (isinf(t[max].data[e])) t[max].data[e] = 0;
    }
    assert_near(dot(&t[x], &t[max_dx]), dot(&t[max], &t[dy]), 1e-11, "<x, max_pool_bwd>", _i);
    assert_near(dot(&t[x], &t[avg_dx]), dot(&t[avg], &t[dy]), 1e-11, "<x, avg_pool_bwd>", _i);
    free_all(g, t);
    graph_free(g);
}
END_TEST

START_TEST(channel_moves_and_their_gradients) {
    const Shape *s = &table[_i];
    Graph *g = graph_new("t", MODE_TRAIN);
    Type type = type_feature(s->n, s->channels, s->height, s->width), part = type;
    part.dim[1] = (s->channels + 1) / 2;
    Val x = leaf(g, "x", type), flat = graph_unary(g, OP_FLATTEN, x, (Span){0, 0, 0});
    Attrs pad = {.channels = {s->channels + 3, s->stride[0]}}, slice = {.index = s->channels / 2};
    Val padded = graph_add(g, &(ValueSpec){.op = OP_PAD_CHANNELS, .args = &x, .nargs = 1, .attrs = pad});
    Val sliced = graph_add(g, &(ValueSpec){.op = OP_SLICE_CHANNELS, .args = &x, .nargs = 1, .attrs = slice, .declared = part});
    Val joined = graph_add(g, &(ValueSpec){.op = OP_CONCAT, .args = (Val[]){sliced, x}, .nargs = 2});
    Val dpadded = leaf(g, "dpadded", g->value[padded].type), dflat = leaf(g, "dflat", g->value[flat].type);
    Val djoined = leaf(g, "djoined", g->value[joined].type);
    Val bwd = graph_add(g, &(ValueSpec){.op = OP_PAD_CHANNELS_BWD, .args = &dpadded, .nargs = 1, .attrs = pad, .declared = type});
    Val shaped = graph_add(g, &(ValueSpec){.op = OP_UNFLATTEN, .args = &dflat, .nargs = 1, .declared = type});
    Val left = graph_add(g, &(ValueSpec){.op = OP_SLICE_CHANNELS, .args = &djoined, .nargs = 1, .declared = part});
    Attrs behind = {.index = part.dim[1]};
    Val right =
        graph_add(g, &(ValueSpec){.op = OP_SLICE_CHANNELS, .args = &djoined, .nargs = 1, .attrs = behind, .declared = type});
    Tensor *t = eval_all(g, NULL);
    assert_near(dot(&t[x], &t[bwd]), dot(&t[padded], &t[dpadded]), 1e-11, "<x, pad_channels_bwd>", _i);
    assert_near(dot(&t[x], &t[shaped]), dot(&t[flat], &t[dflat]), 1e-11, "<x, unflatten>", _i);
    assert_near(dot(&t[sliced], &t[left]) + dot(&t[x], &t[right]), dot(&t[joined], &t[djoined]), 1e-11, "<x, slice of concat>",
                _i);
    free_all(g, t);
    graph_free(g);
}
END_TEST

/* ---- regions ---- */

#define LEAVES                                                                                                                   \
    "graph \"t\" train\n%0 = input {name=\"x\"} : f32[2,3,7,6]\n%1 = input {name=\"w\"} : f32[4,3,3,3]\n"                        \
    "%2 = input {name=\"dy\"} : f32[2,4,4,6]\n%3 = input {name=\"gate\"} : f32[2,3]\n%4 = input {name=\"shift\"} : f32[3]\n"     \
    "%5 = input {name=\"scale\"} : f32[4]\n%6 = input {name=\"skip\"} : f32[2,4,4,6]\n%7 = input {name=\"other\"} : "            \
    "f32[2,3,7,6]\n"                                                                                                             \
    "%8 = input {name=\"s\"} : f32[]\n"
#define CONV "{kernel=[3,3], stride=[2,1], pad=[1,1,1,1], dilation=[1,1], groups=1}"
#define PROLOGUE(x, gate, shift) "{ t0 = mul a" x ", a" gate "; t1 = add t0, a" shift "; t2 = max t1, 0; t2 }"

/* Pairs of graphs whose outputs, marked as gradients of leaves of the same types, must be equal. */
static const struct {
    const char *fused, *plain;
} pairs[] = {
    {LEAVES "%9 = conv2d %0, %1, %3, %4, %5, %6, %8 " CONV " : f32[2,4,4,6]\n"
            "  prologue 0 " PROLOGUE(
                "0", "2",
                "3") "\n  store 0\n"
                     "  epilogue { t0 = mul acc, a4; t1 = add t0, a5; t2 = tanh t1; t2 }\n"
                     "  reduce { t0 = mul acc, a5; t0 }\n  output { t0 = sub out, acc; t1 = mul t0, a6; t1 }\n  reduce { out }\n"
                     "%10 = result %9 {index=1} : f32[2,3,7,6]\n%11 = result %9 {index=2} : f32[2,4]\n"
                     "%12 = result %9 {index=3} : f32[2,4,4,6]\n%13 = result %9 {index=4} : f32[2,4]\n"
                     "%14 = input {name=\"a\"} : f32[2,4]\n%15 = input {name=\"b\"} : f32[2,4]\n"
                     "return grad \"dy\" %9\nreturn grad \"x\" %10\nreturn grad \"a\" %11\nreturn grad \"skip\" %12\nreturn grad "
                     "\"b\" %13\n",
     LEAVES
     "%9 = mul %0, %3 : f32[2,3,7,6]\n%10 = add %9, %4 : f32[2,3,7,6]\n%11 = relu %10 : f32[2,3,7,6]\n"
     "%12 = conv2d %11, %1 " CONV " : f32[2,4,4,6]\n%13 = mul %12, %5 : f32[2,4,4,6]\n%14 = add %13, %6 : f32[2,4,4,6]\n"
     "%15 = tanh %14 : f32[2,4,4,6]\n%16 = mul %12, %6 : f32[2,4,4,6]\n%17 = image_sum %16 : f32[2,4]\n"
     "%18 = sub %15, %12 : f32[2,4,4,6]\n%19 = mul %18, %8 : f32[2,4,4,6]\n%20 = image_sum %15 : f32[2,4]\n"
     "%21 = input {name=\"a\"} : f32[2,4]\n%22 = input {name=\"b\"} : f32[2,4]\n"
     "return grad \"dy\" %15\nreturn grad \"x\" %11\nreturn grad \"a\" %17\nreturn grad \"skip\" %19\nreturn grad \"b\" %20\n"},
    {LEAVES "%9 = conv2d_bwd_data %2, %1, %5, %6, %7, %3 " CONV " : f32[2,3,7,6]\n"
            "  prologue 0 { t0 = mul a0, a2; t1 = sub t0, a3; t1 }\n  epilogue { t0 = select a4, acc, 0; t0 }\n"
            "  reduce { t0 = mul out, a5; t0 }\n  store 0\n"
            "%10 = result %9 {index=1} : f32[2,3]\n%11 = result %9 {index=2} : f32[2,4,4,6]\n"
            "return grad \"x\" %9\nreturn grad \"gate\" %10\nreturn grad \"dy\" %11\n",
     LEAVES "%9 = mul %2, %5 : f32[2,4,4,6]\n%10 = sub %9, %6 : f32[2,4,4,6]\n"
            "%11 = conv2d_bwd_data %10, %1 " CONV " : f32[2,3,7,6]\n"
            "%12 = map %7, %11 : f32[2,3,7,6]\n  output { t0 = select a0, a1, 0; t0 }\n"
            "%13 = mul %12, %3 : f32[2,3,7,6]\n%14 = image_sum %13 : f32[2,3]\n"
            "return grad \"x\" %12\nreturn grad \"gate\" %14\nreturn grad \"dy\" %10\n"},
    {LEAVES "%9 = conv2d_bwd_weights %0, %2, %3, %4, %5 " CONV " : f32[4,3,3,3]\n"
            "  prologue 1 { t0 = mul a1, a4; t0 }\n  store 1\n  prologue 0 " PROLOGUE(
                "0", "2", "3") "\n  store 0\n"
                               "%10 = result %9 {index=1} : f32[2,4,4,6]\n%11 = result %9 {index=2} : f32[2,3,7,6]\n"
                               "return grad \"w\" %9\nreturn grad \"dy\" %10\nreturn grad \"x\" %11\n",
     LEAVES "%9 = mul %0, %3 : f32[2,3,7,6]\n%10 = add %9, %4 : f32[2,3,7,6]\n%11 = relu %10 : f32[2,3,7,6]\n"
            "%12 = mul %2, %5 : f32[2,4,4,6]\n%13 = conv2d_bwd_weights %11, %12 " CONV " : f32[4,3,3,3]\n"
            "return grad \"w\" %13\nreturn grad \"dy\" %12\nreturn grad \"x\" %11\n"},
};

static void eval_outputs(const Graph *g, Tensor *out) {
    Leaves leaves = {.count = 0};
    char why[200];
    ck_assert_msg(graph_eval(g, leaves_lookup, &leaves, NULL, out, NULL, why, sizeof why), "%s", why);
    leaves_free(&leaves);
}

START_TEST(regions_say_what_the_plain_graph_says) {
    Graph *fused = must_read(pairs[_i].fused), *plain = must_read(pairs[_i].plain);
    Tensor a[8], b[8];
    ck_assert_uint_eq(fused->noutputs, plain->noutputs);
    eval_outputs(fused, a);
    eval_outputs(plain, b);
    for (uint32_t i = 0; i < fused->noutputs; i++) {
        ck_assert(type_equal(a[i].type, b[i].type));
        for (int64_t e = 0, n = type_elements(a[i].type); e < n; e++)
            assert_near(a[i].data[e], b[i].data[e], 1e-12, fused->output[i].name, e);
        tensor_free(&a[i]);
        tensor_free(&b[i]);
    }
    graph_free(fused);
    graph_free(plain);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("eval conv");
    tcase_add_loop_test(cases, conv2d_and_its_gradients, 0, SHAPES);
    tcase_add_loop_test(cases, pools_and_their_gradients, 0, SHAPES);
    tcase_add_loop_test(cases, channel_moves_and_their_gradients, 0, SHAPES);
    tcase_add_loop_test(cases, regions_say_what_the_plain_graph_says, 0, sizeof pairs / sizeof *pairs);
    return run_cases("ir eval conv", cases);
}
