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

static Graph *optimised(const char *path, const FrontendOptions *options) {
    Model model;
    Diag *diag = diag_new();
    bool ok = frontend_compile(path, options, diag, &model);
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
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
    return t.rank == 4 && g->value[v].op != OP_PARAM && t.dim[1] > 2 && t.dim[2] > 1 && t.dim[3] > 1;
}

/* Values that read or make a feature map, but for convolutions. (Two channels are what spatial attention puts side by side.) */
static int count_sweeps(Graph *g) {
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

static int sweeps(const char *norm, const char *bias, Mode mode) {
    char path[] = "/tmp/netc-sweeps-XXXXXX.net";
    int fd = mkstemps(path, 4);
    ck_assert_int_ge(fd, 0);
    FILE *file = fdopen(fd, "w");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    fprintf(file, net_text, bias, bias, norm);
#pragma GCC diagnostic pop
    fclose(file);
    Graph *g = optimised(path, &(FrontendOptions){.mode = mode, .batch = 3});
    unlink(path);
    return count_sweeps(g);
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

/* Of ResNet-20 with a gate in each of nine blocks, how many more than with squeeze and excitation. A gate of an image's means
 * adds none. For each of the others, in turn, and what of it the algebra forces:
 *
 *   ca    forward 1 (lines and columns in one loop over the convolution's result, nothing stored): forced as long as
 *         convolutions make sums of whole images only. Backward 1: the gradients of both gates in one loop over dr and x - mean,
 *         forced likewise; batch norm's two sums, with these known, follow from those and forward's along lines (squeeze.c). One
 *         less in the last block, whose output, a sweep of squeeze and excitation too, shares the loop of its gradient.
 *   cbam  forward 2: each channel's maximum, of which the gate over channels is; and behind that gate the mean and the maximum
 *         over channels, in one loop. No loop can be both: an element of the second is a product with a gate that waits for the
 *         last element of the first. (The first is forced as long as convolutions make sums only: the maximum of a*c + b is a
 *         times that of c, or of its minimum, + b.) Backward 3: the sum over channels that the spatial gate's gradient is, which
 *         finds where the maxima over channels are besides; the sums over pixels that the other gate's is, of terms with the
 *         gradient that comes back through the spatial gate's 7x7 convolution, which waits for the first sum's neighbours; and
 *         batch norm's, of terms with the gradients of each channel's mean and maximum, which wait for the second sums. Both
 *         maxima's own gradients are part of these loops, and nothing is stored for them but indices.
 *   gct, srm  forward 1: squares of what batch norm makes, which are not multiplied out, since they would cancel (linear.c);
 *         backward 1: their gradient beside the map's own. Left, not forced: Σ (a*(c - mean) + b)² is arithmetic on Σ c and Σ c²,
 *         and sound in double alone, which would take an op like image_moments that knows batch norm's a and b.
 *
 * In inference those of forward, of which gct and srm have none there. A number that falls is to be written here. */
START_TEST(gates_add_what_they_reduce) {
    static const struct {
        const char *attention;
        int train, infer;
    } gates[] = {{"se", 0, 0}, {"eca", 0, 0}, {"ge", 0, 0}, {"gct", 18, 0}, {"srm", 18, 0}, {"ca", 17, 9}, {"cbam", 45, 18}};
    int base[2] = {0};
    for (size_t i = 0; i < sizeof gates / sizeof *gates; i++) {
        char set[40];
        snprintf(set, sizeof set, "attention=\"%s\"", gates[i].attention);
        const char *sets[] = {"depth=20", set};
        for (int mode = MODE_TRAIN; mode <= MODE_INFER; mode++) {
            FrontendOptions options = {.mode = (Mode)mode, .batch = 3, .sets = sets, .nsets = 2};
            int found = count_sweeps(optimised("models/attention_resnet.net", &options));
            if (i == 0) base[mode == MODE_INFER] = found;
            int more = mode == MODE_TRAIN ? gates[i].train : gates[i].infer;
            ck_assert_msg(found - base[mode == MODE_INFER] == more, "%s, %s: %d sweeps more", gates[i].attention,
                          mode == MODE_TRAIN ? "training" : "inference", found - base[mode == MODE_INFER]);
        }
    }
}
END_TEST

int main(void) {
    TCase *t = tcase_create("sweeps");
    tcase_add_test(t, norms_by_image_add_none);
    tcase_add_test(t, gates_add_what_they_reduce);
    return run_cases("passes_sweeps", t);
}
