/* Which sweeps over feature maps norms and gates add in training, beside the kernels of the convolutions: those that the algebra
 * forces and no other. Counted over a net in .net language, as a user has it. */
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "run_cases.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char net_text[] = "block unit(x, f) {\n"
                               "    y = relu(norm(conv2d(x, f, 3, bias = %s)))\n"
                               "    return relu(x + norm(conv2d(y, f, 3, bias = %s)))\n"
                               "}\n"
                               "block norm(x) { return %s }\n"
                               "net n() {\n"
                               "    input image: f32[16, 12, 12]\n"
                               "    x = unit(image, 16)\n"
                               "    x = unit(x, 16)\n"
                               "    x = unit(x, 16)\n"
                               "    output dense(global_avg_pool(x), 10)\n"
                               "}\n";

static Graph *optimised(const char *norm, const char *bias, Mode mode) {
    char path[] = "/tmp/netc-sweeps-XXXXXX.net";
    int fd = mkstemps(path, 4);
    ck_assert_int_ge(fd, 0);
    FILE *file = fdopen(fd, "w");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    fprintf(file, net_text, bias, bias, norm);
#pragma GCC diagnostic pop
    fclose(file);
    Model model;
    Diag *diag = diag_new();
    bool ok = frontend_compile(path, &(FrontendOptions){.mode = mode, .batch = 3}, diag, &model);
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
    unlink(path);
    PassResult result;
    ck_assert(passes_run(model.graph, &(PassOptions){.bisect_limit = -1}, diag, &result));
    Graph *g = result.graph;
    result.graph = NULL;
    passes_result_free(&result);
    graph_free(model.graph);
    diag_free(diag);
    return g;
}

static bool is_feature_map(const Graph *g, Val v) {
    Type t = g->value[v].type;
    return t.rank == 4 && g->value[v].op != OP_PARAM && t.dim[1] > 1 && t.dim[2] > 1 && t.dim[3] > 1;
}

/* Values that read or make a feature map, but for convolutions. */
static int sweeps(const char *norm, const char *bias, Mode mode) {
    Graph *g = optimised(norm, bias, mode);
    int count = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (op_is_convolution(value->op) || value->op == OP_RESULT || value->op == OP_INPUT || value->op == OP_SCALE_FILTERS)
            continue;
        bool reads = is_feature_map(g, v);
        for (uint32_t i = 0; i < value->nargs; i++) reads |= is_feature_map(g, value->args[i]);
        count += reads;
    }
    graph_free(g);
    return count;
}

/* The last block's output, which no convolution reads, is one. */
START_TEST(norms_by_image_add_none) {
    static const char *const norms[] = {"group_norm(x, 4)", "group_norm(x, 1, scale = false)", "instance_norm(x)",
                                        "batch_norm(x)", "x * sigmoid(global_avg_pool(x))"};
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        ck_assert_msg(sweeps(norms[i], "false", MODE_TRAIN) == 1, "%s, training: %d sweeps", norms[i],
                      sweeps(norms[i], "false", MODE_TRAIN));
        if (i < 3) ck_assert_int_eq(sweeps(norms[i], "true", MODE_TRAIN), 1);
        ck_assert_int_le(sweeps(norms[i], "false", MODE_INFER), 1);
    }
}
END_TEST

int main(void) {
    TCase *t = tcase_create("sweeps");
    tcase_add_test(t, norms_by_image_add_none);
    return run_cases("passes_sweeps", t);
}
