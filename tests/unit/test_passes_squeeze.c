/* squeeze: which sums over feature maps are left, and that what replaces the others is as accurate in f32. That it keeps the
 * values is test_passes_fuse.c's; single rewrites, fired and refused, are tests/golden/fusion/squeeze_*. */
#include "frontend/frontend.h"
#include "run_cases.h"
#include "tests/unit/fusion_run.h"
#include "tests/unit/fusion_zoo.h"
#include <unistd.h>

static Graph *squeezed(Graph *g) {
    PassContext context = new_context(-1);
    g = run(prepare(g), "squeeze", pass_squeeze, &context);
    arena_free(context.arena);
    return g;
}

static int count_sums(const Graph *g) {
    int sums = 0;
    for (Val v = 0; v < g->count; v++) {
        sums += g->value[v].op == OP_IMAGE_SUM;
        for (uint32_t r = 0; r < g->value[v].nregions; r++) sums += region_sums(g->value[v].regions[r].role);
    }
    return sums;
}

/* Per batch norm its moments forward and two sums backward; one of the last block's output, and the gradient of that pool needs
 * the two sums of its mask in place of two of dr. Gates need none of their own. */
START_TEST(a_gate_adds_no_sum) {
    Graph *plain = squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 8, 2, 2, false)),
          *se = squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 8, 2, 2, true));
    int batch_norms = 9;
    ck_assert_int_eq(count_sums(plain), 3 * batch_norms + 1);
    ck_assert_int_eq(count_sums(se), count_sums(plain));
    graph_free(plain);
    graph_free(se);
}
END_TEST

START_TEST(a_gate_adds_no_sum_in_inference) {
    Graph *plain = squeezed(zoo_resnet(MODE_INFER, 2, 4, 8, 2, 2, false)),
          *se = squeezed(zoo_resnet(MODE_INFER, 2, 4, 8, 2, 2, true));
    ck_assert_int_eq(count_sums(plain), 1);
    ck_assert_int_eq(count_sums(se), 1 + 4); /* of raw results: the squeezes themselves */
    for (Val v = 0; v < se->count; v++) {
        const Value *sum = &se->value[v];
        if (sum->op != OP_IMAGE_SUM || se->value[sum->args[0]].op == OP_CONV2D) continue;
        ck_assert_int_eq(se->value[sum->args[0]].op, OP_MAP); /* the pool at the end, behind a relu */
    }
    graph_free(plain);
    graph_free(se);
}
END_TEST

/* A second run finds nothing to do. */
START_TEST(it_ends) {
    Graph *g = squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 8, 2, 2, true));
    PassContext context = new_context(-1);
    context.row = pass_find("squeeze");
    Graph *twice = pass_squeeze(g, &context);
    ck_assert_int_eq(context.rewrites, 0);
    char *before = graph_to_string(g), *after = graph_to_string(twice);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    graph_free(g);
    graph_free(twice);
    arena_free(context.arena);
}
END_TEST

static double distance(const Tensor *a, const Tensor *b, uint32_t output) {
    double difference = 0, norm = 0;
    for (int64_t k = 0; k < type_elements(a[output].type); k++) {
        difference += pow(a[output].data[k] - b[output].data[k], 2);
        norm += pow(b[output].data[k], 2);
    }
    return norm > 0 ? sqrt(difference / norm) : 0;
}

/* With every value rounded to f32, gradients are as far from those in double as without the pass, within a small factor. */
static void holds_accuracy(Graph *plain, Graph *fast) {
    Leaves leaves = {.count = 0};
    Tensor *exact = evaluate(plain, &leaves, false), *rounded = evaluate(plain, &leaves, true),
           *ours = evaluate(fast, &leaves, true);
    for (uint32_t i = 0; i < plain->noutputs; i++) {
        double reference = distance(rounded, exact, i), found = distance(ours, exact, i);
        ck_assert_msg(found <= 8 * reference + 4e-6, "output %u: relative error %g, without squeeze %g", i, found, reference);
    }
    free_outputs(plain, exact);
    free_outputs(plain, rounded);
    free_outputs(fast, ours);
    free_leaves(&leaves);
    graph_free(plain);
    graph_free(fast);
}

START_TEST(no_accuracy_is_lost_in_f32) {
    holds_accuracy(prepare(zoo_resnet(MODE_TRAIN, 2, 4, 16, 2, 1, true)), squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 16, 2, 1, true)));
}
END_TEST

/* A net in .net language, around one line. */
static Graph *net_with(const char *line) {
    char path[] = "/tmp/netc-squeeze-XXXXXX.net";
    int fd = mkstemps(path, 4);
    ck_assert_int_ge(fd, 0);
    FILE *file = fdopen(fd, "w");
    fprintf(file,
            "net n() {\n"
            "    input image: f32[4, 6, 8]\n"
            "    x = relu(batch_norm(conv2d(image, 4, 3, bias = false)))\n"
            "    y = batch_norm(conv2d(x, 4, 3, bias = false))\n"
            "    x = relu(x + %s)\n"
            "    output dense(global_avg_pool(conv2d(x, 4, 3)), 4)\n"
            "}\n",
            line);
    fclose(file);
    Model model;
    Diag *diag = diag_new();
    bool ok = frontend_compile(path, &(FrontendOptions){.mode = MODE_TRAIN, .batch = 2}, diag, &model);
    unlink(path);
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
    diag_free(diag);
    return model.graph;
}

/* Sums along lines, and over images by those of lines; also of deviations from a mean that is large beside them. */
START_TEST(no_accuracy_is_lost_along_lines) {
    static const char *const lines[] = {
        "y * sigmoid(conv2d(mean_over(y, \"width\"), 4, 1)) * sigmoid(conv2d(mean_over(y, \"height\"), 4, 1))",
        "y * sigmoid(conv2d(mean_over(mean_over(y, \"width\"), \"height\"), 4, 1))",
        "layer_norm(y + 1000)",
        "(y + 1000 - mean_over(y + 1000, \"width\")) * (param([4], 1) as \"gamma\") * sigmoid(mean_over(y, \"width\"))",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        holds_accuracy(prepare(net_with(lines[i])), squeezed(net_with(lines[i])));
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("squeeze");
    tcase_add_test(tests, a_gate_adds_no_sum);
    tcase_add_test(tests, a_gate_adds_no_sum_in_inference);
    tcase_add_test(tests, it_ends);
    tcase_add_test(tests, no_accuracy_is_lost_in_f32);
    tcase_add_test(tests, no_accuracy_is_lost_along_lines);
    return run_cases("passes_squeeze", tests);
}
