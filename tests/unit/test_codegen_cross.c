/* Code for another machine: the nets of train_reference.h as AArch64 objects, linked by the cross compiler with that machine's
 * runtime and cross_train.c, and run by qemu. Losses, first gradients, weights and statistics after twenty steps, and scores
 * are the reference evaluator's, with the tolerances that this machine's own code is held to in test_codegen_train.c; the bits
 * are the same on one and two threads. */
#include "train_reference.h"
#include <stdarg.h>

#ifdef NETC_CROSS_CC

typedef struct Cross {
    Net train, infer;
    char directory[32];
    Trajectory want;
    int steps, starts, gradients, ends, scores; /* lines seen */
} Cross;

static void run(const char *format, ...) {
    char command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

static void build(const Cross *c) {
    Diag *diag = diag_new();
    PassResult fused = optimise(c->train.model.graph, NULL, 0), folded = optimise(c->infer.model.graph, NULL, 0);
    CodegenInput input = {.name = "small",
                          .train = fused.graph,
                          .infer = folded.graph,
                          .recipe = &c->train.model.recipe,
                          .recipe_text = c->train.model.recipe_text};
    CodegenOptions options = {.target = "aarch64-linux-gnu"};
    char object[64];
    GemmUse gemm;
    snprintf(object, sizeof object, "%s/program.o", c->directory);
    must(codegen_object(&input, &options, "netc_program_0", object, &gemm, diag), diag);
    diag_free(diag);
    passes_result_free(&fused);
    passes_result_free(&folded);
    run(NETC_CROSS_CC " -static -O1 -D_GNU_SOURCE -I" NETC_SOURCE_DIR " " NETC_SOURCE_DIR
                      "/tests/unit/cross_train.c %s " NETC_CROSS_ARCHIVE " -lm -pthread -o %s/train",
        object, c->directory);
}

/* ---- what the other machine printed ---- */

static void check_gradient(Cross *c, const char *name, const float *got) {
    const Graph *g = c->train.reference.graph;
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (c->want.gradient[i].data && !strcmp(g->output[i].name, name)) {
            check_norm(name, got, &c->want.gradient[i], 1e-3, "gradient");
            c->gradients++;
        }
}

/* The reference's, from the weights that the other machine ended with. */
static void check_scores(Cross *c, const float *got) {
    const Graph *g = c->infer.reference.graph;
    Tensor out[MAX_TENSORS];
    char why[400];
    EvalOptions options = {0};
    set_inputs(g, &c->want.leaves, EVAL_BATCH);
    ck_assert_msg(graph_eval(g, find_leaf, &c->want.leaves, &options, out, NULL, why, sizeof why), "%s", why);
    check_norm("logits", got, &out[0], 1e-4, "inference");
    tensor_free(&out[0]);
    c->scores++;
}

static void check_step(Cross *c, const float *got) {
    if (c->steps == 0) run_reference(&c->train, &c->want);
    double want = c->want.loss[c->steps];
    ck_assert_msg(fabs(got[0] - want) <= 1e-4 * fabs(want), "step %d: loss %.7g, should be %.7g", c->steps, got[0], want);
    ck_assert_msg(got[1] == c->want.correct[c->steps], "step %d: %g correct, should be %g", c->steps, got[1],
                  c->want.correct[c->steps]);
    c->steps++;
}

static void set_leaf(Tensor *leaf, const float *from) {
    for (int64_t i = 0, n = type_elements(leaf->type); i < n; i++) leaf->data[i] = from[i];
}

static void check_line(Cross *c, const char *what, const char *name, const float *got) {
    if (!strcmp(what, "start")) {
        set_leaf(leaf_named(&c->want.leaves, name), got);
        c->starts++;
    } else if (!strcmp(what, "step")) {
        check_step(c, got);
    } else if (!strcmp(what, "gradient")) {
        check_gradient(c, name, got);
    } else if (!strcmp(what, "end")) {
        check_norm(name, got, leaf_named(&c->want.leaves, name), 1e-3, "end");
        set_leaf(leaf_named(&c->want.leaves, name), got);
        c->ends++;
    } else {
        check_scores(c, got);
    }
}

static void check_output(Cross *c) {
    char path[64], what[32], name[64];
    long long count;
    snprintf(path, sizeof path, "%s/1", c->directory);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fscanf(file, "%31s %63s %lld", what, name, &count) == 3) {
        float *got = malloc((size_t)count * sizeof *got);
        for (long long i = 0; i < count; i++) ck_assert_int_eq(fscanf(file, "%f", &got[i]), 1);
        check_line(c, what, name, got);
        free(got);
    }
    fclose(file);
}

/* ---- the test ---- */

static void add_leaves(const Graph *g, Leaves *leaves) {
    for (Val v = 0; v < g->count; v++) {
        Op op = g->value[v].op;
        if (op == OP_INPUT || op == OP_PARAM || op == OP_STATE)
            leaves_add(leaves, g->value[v].attrs.param.name, g->value[v].type);
    }
}

START_TEST(trains_as_the_reference_on_aarch64) {
    Cross c = {.train = net_open(_i, MODE_TRAIN), .infer = net_open(_i, MODE_INFER), .directory = "/tmp/netc-cross-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(c.directory));
    add_leaves(c.train.reference.graph, &c.want.leaves);
    build(&c);
    for (int threads = 1; threads <= 2; threads++)
        run(NETC_CROSS_RUN " %s/train %d > %s/%d", c.directory, threads, c.directory, threads);
    run("cmp %s/1 %s/2", c.directory, c.directory);
    check_output(&c);
    int leaves = c.want.leaves.count - 2; /* less images and labels */
    ck_assert_int_eq(c.steps, STEPS);
    ck_assert_int_eq(c.starts, leaves);
    ck_assert_int_eq(c.ends, leaves);
    ck_assert_int_gt(c.gradients, 0);
    ck_assert_int_eq(c.scores, 1);
    run("rm -r %s", c.directory);
    trajectory_free(&c.want);
    net_close(&c.train);
    net_close(&c.infer);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("cross");
    tcase_add_loop_test(tests, trains_as_the_reference_on_aarch64, 0, (int)(sizeof nets / sizeof nets[0]));
    return run_cases("codegen_cross", tests);
}

#else

int main(void) {
    printf("skipped: it takes gcc-aarch64-linux-gnu, when netc is configured, and qemu-user-static\n");
    return 77;
}
#endif
