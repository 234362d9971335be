/* Batch statistics, and the gradients that go through them, where the mean is 10 to 10000 times the deviation: compiled code
 * in f32 against the reference evaluator, whose batch norm takes two passes in double. In f32 Σx*x - M * mean² leaves
 * nothing of a variance there, and neither do Σ dr*x or k*x - k*mean of a gradient.
 *
 * What f32 must lose: a value is stored to 2^-24 of its mean, that is ratio * 2^-24 of its deviation. Gradients lose some ten
 * times that, since batch norm takes two sums out of them that are as large as they, and so do statistics further on. */
#include "codegen_helpers.h"
#include "fusion_zoo.h"
#include "passes/passes.h"
#include "run_cases.h"

static const double ratios[] = {10, 100, 1000, 10000};
enum { RATIOS = sizeof ratios / sizeof *ratios };

/* ---- nets: something with a large mean, batch norm, and what makes all gradients differ from zero ---- */

static Val smooth(Zoo *z, Val x) { return zoo_unary(z, OP_SILU, x); }

static Val point(Zoo *z) { return zoo_batch_norm(z, zoo_conv(z, zoo_image(z, 5, 3, 9), 17, 1, 1, true)); }
static Val square(Zoo *z) { return zoo_batch_norm(z, zoo_conv(z, zoo_image(z, 4, 16, 16), 16, 3, 1, true)); }
static Val ragged(Zoo *z) { return zoo_batch_norm(z, zoo_conv(z, zoo_image(z, 3, 20, 14), 24, 3, 1, true)); }
static Val strided(Zoo *z) { return zoo_batch_norm(z, zoo_conv(z, zoo_image(z, 6, 16, 15), 32, 3, 2, true)); }
static Val banded(Zoo *z) { return zoo_batch_norm(z, zoo_conv(z, zoo_image(z, 2, 8, 96), 20, 3, 1, true)); }
static Val input(Zoo *z) { return zoo_batch_norm(z, zoo_image(z, 4, 5, 7)); }
static Val pooled(Zoo *z) {
    Attrs window = {.window = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1}};
    Val x = zoo_conv(z, zoo_image(z, 3, 4, 12), 12, 1, 1, true);
    return zoo_batch_norm(z, zoo_op(z, OP_MAX_POOL, "pool", &x, 1, window));
}
static Val joined(Zoo *z) {
    Val x = zoo_image(z, 3, 4, 8), parts[] = {zoo_conv(z, x, 9, 3, 1, true), zoo_conv(z, x, 10, 1, 1, true)};
    return zoo_batch_norm(z, zoo_op(z, OP_CONCAT, "concat", parts, 2, (Attrs){0}));
}
static Val added(Zoo *z) {
    Val x = zoo_image(z, 3, 4, 8);
    return zoo_batch_norm(z, zoo_binary(z, OP_ADD, zoo_conv(z, x, 16, 3, 1, true), zoo_conv(z, x, 16, 1, 1, true)));
}
/* Squeeze and excitation without a ReLU, on one side of which rounding would decide. */
static Val gate(Zoo *z, Val x) {
    Val inner = smooth(z, zoo_dense(z, zoo_unary(z, OP_GLOBAL_AVG_POOL, x), 4));
    return zoo_binary(z, OP_MUL, x, zoo_unary(z, OP_SIGMOID, zoo_dense(z, inner, zoo_type(z, x).dim[1])));
}
static Val gated(Zoo *z) { return gate(z, square(z)); }
static Val twice(Zoo *z) {
    Val x = smooth(z, zoo_batch_norm(z, zoo_conv(z, zoo_image(z, 4, 8, 8), 16, 3, 1, true)));
    return zoo_binary(z, OP_ADD, x, gate(z, zoo_batch_norm(z, zoo_conv(z, x, 16, 3, 1, true))));
}

/* Instance norm without scale and shift: what group norm is, over groups of one channel. */
static Val instance_norm(Zoo *z, Val x) {
    Val d = zoo_binary(z, OP_SUB, x, zoo_unary(z, OP_GLOBAL_AVG_POOL, x));
    Val variance = zoo_unary(z, OP_GLOBAL_AVG_POOL, zoo_binary(z, OP_MUL, d, d));
    ExprBuilder b = expr_builder(z->g->arena);
    uint16_t root = expr_unary(&b, X_SQRT, expr_binary(&b, X_ADD, expr_arg(&b, 0), expr_const(&b, 1e-5)));
    Val deviation = graph_map(z->g, zoo_type(z, variance), &variance, 1, expr_finish(&b, root), (Span){0}, "deviation");
    return zoo_binary(z, OP_DIV, d, deviation);
}
static Val each_image(Zoo *z) { return instance_norm(z, zoo_conv(z, zoo_image(z, 4, 16, 16), 16, 3, 1, true)); }

static const struct {
    const char *name;
    Val (*build)(Zoo *z);
} nets[] = {{"point", point},   {"square", square}, {"ragged", ragged}, {"strided", strided},
            {"banded", banded}, {"input", input},   {"pooled", pooled}, {"joined", joined},
            {"added", added},   {"gated", gated},   {"twice", twice},   {"image", each_image}};
enum { NETS = sizeof nets / sizeof *nets };

static Graph *build(int net) {
    Zoo z = zoo_begin(nets[net].name, MODE_TRAIN);
    Val y = smooth(&z, nets[net].build(&z));
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, y), 4));
}

static PassResult optimise(const Graph *g, bool required_only) {
    const char *names[32];
    uint32_t n = 0;
    for (uint32_t i = 0; i < pass_count() && required_only; i++)
        if (!pass_at(i)->required) names[n++] = pass_at(i)->name;
    Diag *diag = diag_new();
    PassResult result;
    PassOptions options = {.disable = names, .ndisable = n, .bisect_limit = -1};
    ck_assert(passes_run(g, &options, diag, &result));
    diag_free(diag);
    return result;
}

/* ---- leaves ---- */

static bool starts(const char *name, const char *with) { return strncmp(name, with, strlen(with)) == 0; }

/* Biases of convolutions, or the images if there are none, make the mean; running statistics are those of a fresh net. */
static void fill(Leaves *leaves, const Graph *g, double ratio) {
    double inputs = 1; /* of one output: the deviation is about their root / 3, leaves being uniform in -1 .. 1 */
    bool biased = false;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (op_attr_kind(value->op) != ATTR_PARAM) continue;
        const char *name = value->attrs.param.name;
        Tensor *t = leaves_add(leaves, name, value->type);
        int64_t n = type_elements(t->type);
        if (starts(name, "conv.weight")) inputs = (double)(t->type.dim[1] * t->type.dim[2] * t->type.dim[3]);
        biased |= starts(name, "conv.bias");
        for (int64_t i = 0; i < n; i++) {
            if (starts(name, "conv.bias")) t->data[i] = (i % 2 ? -ratio : ratio) * sqrt(inputs) / 3;
            if (value->op == OP_STATE) t->data[i] = starts(name, "var");
        }
    }
    Tensor *image = &leaves->tensor[0];
    for (int64_t i = 0, n = type_elements(image->type); i < n && !biased; i++) image->data[i] += ratio / sqrt(3);
}

/* ---- comparing ---- */

static double norm(const Tensor *t) {
    double sum = 0;
    for (int64_t i = 0, n = type_elements(t->type); i < n; i++) sum += t->data[i] * t->data[i];
    return sqrt(sum);
}

static double error_norm(const Both *b, uint32_t i) {
    double sum = 0;
    for (int64_t k = 0, n = output_elements(b->g, i); k < n; k++) sum += pow(b->got[i][k] - b->want[i].data[k], 2);
    return sqrt(sum);
}

/* From a running variance of one, the batch's within 1e-4 up to a ratio of 10000; running means to rounding. The output before a
 * variance is its mean. */
static void check_state(const Both *b, uint32_t i, bool first, const char *what) {
    bool variance = starts(b->g->output[i].name, "var");
    for (int64_t k = 0, n = output_elements(b->g, i); k < n; k++) {
        double want = b->want[i].data[k], got = b->got[i][k], allowed = 4e-7 * fabs(want) + 1e-6;
        if (variance) {
            double batch = (want - 0.9) / 0.1, ratio = fabs(b->want[i - 1].data[k] / 0.1) / sqrt(batch);
            allowed = 0.1 * batch * 1e-4 * fmax(1, (first ? 1e-4 : 1e-3) * ratio) + 0x1p-23;
        }
        ck_assert_msg(fabs(got - want) <= allowed, "%s, %s[%d] is %.9g, should be %.9g", what, b->g->output[i].name, (int)k, got,
                      want);
    }
}

static void check_outputs(const Both *b, double ratio, const char *what) {
    double tolerance = 4e-5 + 16 * ratio * 0x1p-24, largest = 0;
    uint32_t states = 0;
    for (uint32_t i = 0; i < b->g->noutputs; i++)
        if (b->g->output[i].kind == OUT_GRAD) largest = fmax(largest, norm(&b->want[i]));
    for (uint32_t i = 0; i < b->g->noutputs; i++) {
        const Output *o = &b->g->output[i];
        if (o->kind == OUT_STATE) {
            check_state(b, i, states++ < 2, what);
            continue;
        }
        /* In front of batch norm a bias has the gradient zero: what is left of it is measured by the others'. */
        double size = o->kind == OUT_GRAD && starts(o->name, "conv.bias") ? largest : norm(&b->want[i]);
        ck_assert_msg(error_norm(b, i) <= tolerance * size, "%s, output %u (%s) differs by %g of norm %g", what, i,
                      o->name ? o->name : "loss, logits", error_norm(b, i), size);
    }
}

static void check_net(int net, double ratio, const CodegenOptions *options, bool required_only) {
    Graph *source = build(net);
    PassResult reference = optimise(source, true), fused = optimise(source, required_only);
    Both both = {0};
    char what[120], why[400];
    snprintf(what, sizeof what, "%s, ratio %g, %s%s", nets[net].name, ratio, options->cpu,
             required_only ? ", no optional pass" : "");
    fill(&both.leaves, source, ratio);
    both_run(&both, fused.graph, options);
    for (uint32_t i = 0; i < fused.graph->noutputs; i++) tensor_free(&both.want[i]);
    ck_assert_msg(graph_eval(reference.graph, both_tensor, &both, NULL, both.want, NULL, why, sizeof why), "%s", why);
    check_outputs(&both, ratio, what);
    both_free(&both);
    passes_result_free(&reference);
    passes_result_free(&fused);
    graph_free(source);
}

START_TEST(as_exact_as_the_values) { check_net(_i / RATIOS, ratios[_i % RATIOS], &(CodegenOptions){.cpu = "native"}, false); }
END_TEST

START_TEST(by_every_algorithm_and_width) {
    static const char *const methods[] = {"direct", "gemm", "winograd"};
    for (int i = 0; i < 3; i++) check_net(_i, 1000, &(CodegenOptions){.cpu = "native", .conv = conv_method(methods[i])}, false);
    check_net(_i, 1000, &(CodegenOptions){.cpu = "native"}, true);
#if defined(__x86_64__)
    bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    check_net(_i, 1000, &(CodegenOptions){.cpu = wide && _i % 2 ? "x86-64-v3" : "x86-64-v2"}, false);
#endif
}
END_TEST

/* The evaluator on the split form, which is the oracle above, against its own batch norm. */
START_TEST(split_is_batch_norm) {
    Graph *source = build(_i);
    PassResult split = optimise(source, true);
    Both both = {0};
    fill(&both.leaves, source, 10000);
    Tensor want[16], got[64];
    char why[400];
    ck_assert(graph_eval(source, both_tensor, &both, NULL, want, NULL, why, sizeof why));
    ck_assert(graph_eval(split.graph, both_tensor, &both, NULL, got, NULL, why, sizeof why));
    for (uint32_t i = 0; i < source->noutputs; i++)
        for (int64_t k = 0, n = output_elements(source, i); k < n; k++)
            assert_near(got[i].data[k], want[i].data[k], 1e-7, nets[_i].name, k);
    for (uint32_t i = 0; i < source->noutputs; i++) tensor_free(&want[i]);
    for (uint32_t i = 0; i < split.graph->noutputs; i++) tensor_free(&got[i]);
    leaves_free(&both.leaves);
    passes_result_free(&split);
    graph_free(source);
}
END_TEST

/* ---- single values, constants, infinities: a convolution's moments against their definition ---- */

typedef struct Extreme {
    const char *name;
    int64_t n, size;
    double pixel, first, last; /* all pixels; the first and the last of image 0, channel 0 */
    double mean[2], variance[2];
} Extreme;

static const Extreme extremes[] = {
    {"one value", 1, 1, 3, 3, 3, {3, 6}, {0, 0}},
    {"constant", 3, 8, 1000, 1000, 1000, {1000, 2000}, {0, 0}},
    {"infinite first", 2, 8, 1, INFINITY, 1, {INFINITY, INFINITY}, {NAN, NAN}},
    {"infinite last", 2, 8, 1, 1, -INFINITY, {-INFINITY, -INFINITY}, {NAN, NAN}},
    {"both infinite", 2, 8, 1, INFINITY, -INFINITY, {NAN, NAN}, {NAN, NAN}},
    {"NaN first", 2, 8, 1, NAN, 1, {NAN, NAN}, {NAN, NAN}},
    {"NaN last", 2, 8, 1, 1, NAN, {NAN, NAN}, {NAN, NAN}},
    {"an outlier", 2, 8, 1, 129, 1, {2, 4}, {127, 508}},
};
enum { EXTREMES = sizeof extremes / sizeof *extremes };

/* Two filters, of one and of two. */
static void check_extreme(const Extreme *x, bool convolution, const ConvMethod *method) {
    Zoo z = zoo_begin("extreme", MODE_TRAIN);
    Val image = zoo_image(&z, x->n, 1, x->size), y = image;
    if (convolution) y = zoo_conv(&z, image, 2, 1, 1, false);
    ExprBuilder b = expr_builder(z.g->arena);
    Region region = {REGION_MOMENTS, 0, expr_finish(&b, convolution ? expr_leaf(&b, X_ACC) : expr_arg(&b, 0))};
    Val args[] = {image, convolution ? z.g->value[y].args[1] : 0};
    ValueSpec spec = {.op = convolution ? OP_CONV2D : OP_MAP,
                      .args = args,
                      .nargs = convolution ? 2 : 1,
                      .attrs = z.g->value[y].attrs,
                      .declared = zoo_type(&z, image),
                      .regions = &region,
                      .nregions = 1};
    Val sums = graph_result(z.g, graph_add(z.g, &spec), convolution ? 1 : 0);
    Val m = zoo_op(&z, OP_MOMENTS, "m", &sums, 1, (Attrs){.constant = (double)(x->n * x->size * x->size)});
    graph_output(z.g, OUT_GRAD, m, "mean");
    graph_output(z.g, OUT_GRAD, graph_result(z.g, m, 1), "variance");
    Both both = {.g = z.g};
    for (Val v = 0; v < z.g->count; v++) {
        if (op_attr_kind(z.g->value[v].op) != ATTR_PARAM) continue;
        Tensor *t = leaves_add(&both.leaves, z.g->value[v].attrs.param.name, z.g->value[v].type);
        for (int64_t i = 0, n = type_elements(t->type); i < n; i++) t->data[i] = v == image ? x->pixel : (double)(1 + i);
        if (v != image) continue;
        t->data[0] = x->first;
        if (x->size > 1) t->data[x->size * x->size - 1] = x->last;
    }
    both_run(&both, z.g, &(CodegenOptions){.conv = method});
    for (int c = 0; c < (convolution ? 2 : 1); c++) {
        assert_near(both.got[0][c], x->mean[c], 1e-6, x->name, c);
        assert_near(both.got[1][c], x->variance[c], 1e-6, x->name, c);
        assert_near(both.want[0].data[c], x->mean[c], 1e-12, x->name, c);
        assert_near(both.want[1].data[c], x->variance[c], 1e-9, x->name, c);
    }
    both_free(&both);
    graph_free(z.g);
}

START_TEST(extreme_values) {
    check_extreme(&extremes[_i], true, conv_method("direct"));
    check_extreme(&extremes[_i], true, conv_method("gemm"));
    check_extreme(&extremes[_i], false, NULL);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("statistics");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, as_exact_as_the_values, 0, NETS * RATIOS);
    tcase_add_loop_test(tests, by_every_algorithm_and_width, 0, NETS);
    tcase_add_loop_test(tests, split_is_batch_norm, 0, NETS);
    tcase_add_loop_test(tests, extreme_values, 0, EXTREMES);
    return run_cases("codegen_statistics", tests);
}
