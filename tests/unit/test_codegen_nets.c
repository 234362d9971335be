/* Small nets whose values meet in unusual places, after all passes, compiled for 16, 8 and 4 lanes, against the evaluator on the
 * graph as the language says it: outputs, statistics and gradients. Every access is checked. */
#include "codegen_nets.h"

static const double tolerance = 2e-4;

/* Bodies of nets; the image is [C, 12, 10], the output what the last line leaves in x. */
typedef struct Body {
    int channels;
    const char *text;
} Body;

/* The image read by a convolution, which may leave its planes apart (layout.c), and by something else. */
static const Body images[] = {
    {3, "x = relu(conv2d(image, 3, 3) + image)"},
    {3, "x = relu(batch_norm(conv2d(image, 3, 3)) + image)"},
    {3, "x = image + conv2d(image, 3, 1, bias = false)"},
    {3, "x = conv2d(image, 3, 3, groups = 3) * image"},
    {4, "x = tanh(conv2d(image, 4, 3)) + image * 0.5"},
    {1, "x = conv2d(image, 1, [3, 1]) - image"},
    {5, "x = relu(conv2d(image, 5, 3) + image)"},
    {3, "a = conv2d(image, 8, 3)\nb = conv2d(image, 8, 5)\nx = relu(a) + b"},
    {3, "a = conv2d(image, 3, 3)\nx = conv2d(tanh(a + image), 8, 3) + conv2d(image, 8, 1)"},
    {3, "a = conv2d(image, 8, 3, stride = 2)\nx = concat(a, avg_pool(image, 2))"},
    {3, "a = conv2d(image, 8, 3, stride = 2)\nx = concat(a, max_pool(image, 3, stride = 2, pad = 1))"},
    {3, "x = image * sigmoid(dense(global_avg_pool(conv2d(image, 8, 3)), 3))"},
    {3, "x = conv2d(image, 8, 3) * sigmoid(dense(flatten(image), 8))"},
    {2, "x = conv2d(image * 2 - 1, 2, 3) + image"},
    {3, "x = conv2d(dropout(image, 0.25), 3, 3) + image"},
    {3, "x = conv2d(image, 8, 3) + pad_channels(image, 8)"},
    {3, "x = concat(image, conv2d(image, 3, 3))"},
};

/* Values that do not depend on what they are made from. */
static const Body constants[] = {
    {3, "x = conv2d(image, 8, 3)\nx = x - x"},
    {3, "x = conv2d(image, 8, 3)\nx = x * 0"},
    {3, "x = conv2d(image, 8, 3)\nx = -x + x"},
    {3, "x = conv2d(image - image, 8, 3)"},
    {3, "x = conv2d(image, 8, 3)\nx = conv2d(x - x, 4, 3) + conv2d(x, 4, 1)"},
    {3, "x = batch_norm(conv2d(image, 8, 3))\nx = conv2d(x * 0 + 1, 4, 3, groups = 2)"},
    {3, "x = conv2d(image, 8, 3)\nx = batch_norm(x - x)"},
    {3, "x = batch_norm(conv2d(image, 8, 3) * 0) + 3"},
    {3, "x = relu(conv2d(image, 8, 3))\nx = max_pool(x - x, 2) + avg_pool(x, 2)"},
    {3, "x = conv2d(image, 8, 3)\nx = concat(x - x, x)"},
    {3, "x = conv2d(image, 8, 3)\nx = dropout(x - x + 1, 0.5)"},
    {3, "x = conv2d(image, 8, 3)\ng = dense(global_avg_pool(x), 8)\nx = x * (g - g)"},
    {3, "x = conv2d(image, 8, 3)\ng = dense(global_avg_pool(x), 8)\nx = x + sigmoid(0 * g)"},
    {3, "x = conv2d(image, 8, 3)\ng = global_avg_pool(x - x)\nx = x * (g + 1)"},
    {3, "x = conv2d(image, 8, 3)\nx = relu(x - x) + relu(0 * x) + pad_channels(image * 0, 8)"},
    {3, "a = conv2d(image, 8, 3)\nb = a - a\nx = b * a + b"},
    {3, "x = conv2d(image, 8, 3)\nx = (x - x) / (x * 0 + 2)"},
    {3, "x = silu(conv2d(image, 8, 3))\ny = x + x\nx = y - x - x"},
};

/* Ops that differ in one attribute alone, and in no shape: none may run the other's kernel. */
static const Body alike[] = {
    {3,
     "x = conv2d(image, 8, 3)\nx = conv2d(x, 8, 3, stride = [4, 5]) + conv2d(x, 8, 3, stride = [4, 5], pad = 1, dilation = 2)"},
    {3, "x = conv2d(image, 8, 3)\nx = conv2d(x, 8, 3, stride = [4, 5], pad = 0) + conv2d(x, 8, 3, stride = [4, 5], pad = 1)"},
    {3, "x = conv2d(image, 8, 3)\nx = max_pool(x, 3, stride = [5, 6], pad = 1) + max_pool(x, 2, stride = [5, 6], pad = 1)"},
    {3, "x = conv2d(image, 8, 3)\nx = avg_pool(x, 2, stride = [6, 5]) + avg_pool(x, 2, stride = [7, 6])"},
    {3, "x = conv2d(image, 8, 3)\nx = batch_norm(x, eps = 1e-5) + batch_norm(x, eps = 0.5)"},
    {3, "x = conv2d(image, 8, 3)\nx = dropout(x, 0.25) + dropout(x, 0.5) + dropout(x, 0.5)"},
};

static const char *cpu_of(int which) {
#if defined(__x86_64__)
    bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return which % 3 == 0 ? "native" : which % 3 == 1 && wide ? "x86-64-v3" : "x86-64";
#else
    (void)which;
    return "native";
#endif
}

static void check_body(const Body *body, int which, bool flat) {
    char text[1000];
    snprintf(text, sizeof text, "net n() {\n    input image: f32[%d, 12, 10]\n%s\n    output dense(%s(x), 4)\n}\n",
             body->channels, body->text, flat ? "flatten" : "global_avg_pool");
    CodegenOptions o = {.cpu = cpu_of(which), .conv = which % 2 ? conv_method("direct") : NULL, .check_bounds = true};
    net_check(text, MODE_TRAIN, 3, &o, tolerance);
    o = (CodegenOptions){.cpu = cpu_of(which + 1), .check_bounds = true};
    net_check(text, MODE_INFER, 1 + which % 2, &o, tolerance);
}

START_TEST(image_read_twice) { check_body(&images[_i], _i, _i % 2); }
END_TEST
START_TEST(kernels_of_others) { check_body(&alike[_i], _i, _i % 2); }
END_TEST
START_TEST(constant_values) { check_body(&constants[_i], _i, _i % 2); }
END_TEST
/* A value that depends on nothing as what the net puts out. */
START_TEST(constant_outputs) {
    static const char *const outputs[] = {"global_avg_pool(x - x)", "flatten(avg_pool(x * 0, 12, stride = 12))",
                                          "softmax(dense(global_avg_pool(x), 4)) * 0"};
    for (int i = 0; i < 3; i++) {
        char text[1000];
        snprintf(text, sizeof text, "net n() {\n    input image: f32[3, 12, 12]\n    x = conv2d(image, 4, 3)\n    output %s\n}\n",
                 outputs[i]);
        CodegenOptions o = {.cpu = cpu_of(i), .check_bounds = true};
        net_check(text, MODE_TRAIN, 3, &o, tolerance);
        net_check(text, MODE_INFER, 2, &o, tolerance);
    }
}
END_TEST

/* A NaN in one pixel of one image: after all passes it is where the evaluator has it, in logits, loss and gradients, and nowhere
 * else. (Winograd's tiles share their inputs: there it may be in more pixels, but not in other images.) */
static const char *const diverged[] = {
    "x = max_pool(conv2d(image, 16, 3), 3, stride = 2, pad = 1)\nx = relu(x)",
    "x = relu(conv2d(relu(conv2d(image, 8, 3)), 8, 3) + conv2d(image, 8, 1))",
    "x = relu(batch_norm(conv2d(image, 8, 3)))\nx = x * sigmoid(dense(relu(dense(global_avg_pool(x), 4)), 8))",
    "x = hard_swish(conv2d(image, 8, 3, stride = 2))\nx = avg_pool(silu(x), 2)",
    "x = dropout(tanh(conv2d(image, 8, 3)), 0.5)\nx = hard_sigmoid(x) - x",
    "x = conv2d(image, 8, 3)\nx = x - x + x * 0",
};

static void check_diverged(const char *body, const CodegenOptions *options) {
    char text[1000], why[400];
    snprintf(text, sizeof text, "net n() {\n    input image: f32[3, 12, 10]\n%s\n    output dense(flatten(x), 4)\n}\n", body);
    Graph *plain = net_graph(text, MODE_TRAIN, 3, false), *fused = net_graph(text, MODE_TRAIN, 3, true);
    Both both = {.g = fused};
    add_variances(plain, &both.leaves);
    leaves_add(&both.leaves, "image", type_feature(3, 3, 12, 10))->data[360 + 47] = NAN;
    EvalOptions eval = {.seed = 11, .step = 3};
    ck_assert_msg(graph_eval(plain, both_tensor, &both, &eval, both.want, NULL, why, sizeof why), "%s", why);
    both_compile(&both, options, 1);
    int found = 0;
    for (uint32_t i = 0; i < fused->noutputs; i++)
        for (int64_t k = 0, n = output_elements(fused, i); k < n; k++) {
            bool want = isnan(both.want[i].data[k]), got = isnan(both.got[i][k]);
            found += want;
            if (want != got)
                ck_abort_msg("%s: output %u (%s), element %lld: got %g, want %g", text, i, fused->output[i].name, (long long)k,
                             both.got[i][k], both.want[i].data[k]);
        }
    ck_assert_int_gt(found, 0);
    both_free(&both);
    graph_free(plain);
    graph_free(fused);
}

START_TEST(nan_stays_where_it_is) {
    CodegenOptions ways[] = {{.conv = conv_method("direct")}, {.conv = conv_method("gemm")}, {.conv = NULL}};
    for (int i = 0; i < 3; i++) {
        ways[i].cpu = cpu_of(_i + i);
        check_diverged(diverged[_i], &ways[i]);
    }
}
END_TEST

/* hard_sigmoid(x) is small just above -3: it must be as exact there as elsewhere, gradients of gates hang on it. */
START_TEST(hard_functions_at_their_foot) {
    static const char *const functions[] = {"hard_sigmoid", "hard_swish"};
    for (int i = 0; i < 6; i++) {
        char text[300], why[400];
        snprintf(text, sizeof text, "net n() {\n    input image: f32[1, 1, 20]\n    output flatten(%s(image))\n}\n",
                 functions[i % 2]);
        Graph *plain = net_graph(text, MODE_INFER, 1, false), *fused = net_graph(text, MODE_INFER, 1, true);
        Both both = {.g = fused};
        Tensor *image = leaves_add(&both.leaves, "image", type_feature(1, 1, 1, 20));
        for (int k = 0; k < 20; k++) image->data[k] = ldexp(1 + 0.7 * leaf_element("image", DT_F32, k), -k) - 3;
        EvalOptions eval = {0};
        ck_assert_msg(graph_eval(plain, both_tensor, &both, &eval, both.want, NULL, why, sizeof why), "%s", why);
        both_compile(&both, &(CodegenOptions){.cpu = cpu_of(i / 2)}, 1);
        for (int k = 0; k < 20; k++) {
            double want = both.want[0].data[k], got = both.got[0][k];
            ck_assert_msg(fabs(got - want) <= 4 * 0x1p-24 * fabs(want), "%s(%.9g) on %s: got %.9g, want %.9g", functions[i % 2],
                          image->data[k], cpu_of(i / 2), got, want);
        }
        both_free(&both);
        graph_free(plain);
        graph_free(fused);
    }
}
END_TEST

/* Sums of thousands of nearly equal numbers, each of which rounds the same way: in one chain they would be off by its length. The
 * gradient of silu where its sigmoid is nearly 1, whose s * (1 - s) would cancel as s - s*s. */
static const struct {
    const char *body;
    double tolerance;
} long_sums[] = {
    {"x = max_pool(image * 0.001 + 1.1, 2)\n output global_avg_pool(x)", 4e-7},
    {"x = max_pool(image * 0.001 + 100.1, 2)\n output dense(global_avg_pool(x * sigmoid(x)), 3)", 4e-7},
    {"x = silu(conv2d(image * 0.1 + 30, 5, 3))\n output dense(global_avg_pool(x), 3)", 8e-7},
};
START_TEST(sums_do_not_drift) {
    char text[400];
    snprintf(text, sizeof text, "net sums() {\n input image: f32[3, 128, 96]\n %s\n}\n", long_sums[_i].body);
    for (int cpu = 0; cpu < 2; cpu++) {
        CodegenOptions o = {.cpu = cpu_of(cpu)};
        net_check(text, MODE_TRAIN, 2, &o, long_sums[_i].tolerance);
        net_check(text, MODE_INFER, 1, &o, long_sums[_i].tolerance);
    }
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("nets");
    tcase_add_loop_test(tests, sums_do_not_drift, 0, (int)(sizeof long_sums / sizeof long_sums[0]));
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, hard_functions_at_their_foot);
    tcase_add_loop_test(tests, image_read_twice, 0, (int)(sizeof images / sizeof images[0]));
    tcase_add_loop_test(tests, kernels_of_others, 0, sizeof alike / sizeof *alike);
    tcase_add_loop_test(tests, constant_values, 0, (int)(sizeof constants / sizeof constants[0]));
    tcase_add_test(tests, constant_outputs);
    tcase_add_loop_test(tests, nan_stays_where_it_is, 0, (int)(sizeof diverged / sizeof diverged[0]));
    return run_cases("codegen_nets", tests);
}
