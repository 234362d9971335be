/* Computing activations again: whatever number of them, the values are those of the graph that keeps them, before and after
 * fusion, and what a step keeps shrinks. */
#include "tests/unit/fusion_run.h"
#include "tests/unit/fusion_zoo.h"
#include "tests/unit/run_cases.h"

static Graph *resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 3, false); }
static Graph *se_resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 3, true); }
static Graph *preact(Mode mode) { return zoo_preact_resnet(mode, false); }
static Graph *se_preact(Mode mode) { return zoo_preact_resnet(mode, true); }

/* A dropout mask of feature maps, read by backward. */
static Graph *dropout(Mode mode) {
    Zoo z = zoo_begin("dropout", mode);
    Val x = zoo_unary(&z, OP_RELU, zoo_conv_bn(&z, zoo_image(&z, 2, 3, 6), 4, 3, 1));
    for (int64_t i = 0; i < 2; i++) {
        x = zoo_op(&z, OP_DROPOUT, "dropout", &x, 1, (Attrs){.dropout = {.rate = 0.25, .stream = i}});
        x = zoo_basic(&z, x, 4, 1, false);
    }
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 3));
}

static Graph *(*const zoo[])(Mode mode) = {resnet, se_resnet, preact, se_preact, zoo_mixed, zoo_plain, zoo_biased, dropout};
enum { NETS = sizeof zoo / sizeof *zoo };

/* The graph of training up to where recompute runs, and through it; with the passes behind it if `fused`. */
static Graph *recomputed(Graph *source, int64_t count, bool fused, uint32_t *recomputable, int64_t *rewrites) {
    PassContext context = new_context(-1);
    context.recompute = count;
    Graph *g = run(prepare(source), "squeeze", pass_squeeze, &context);
    g = run(g, "fuse_maps", pass_fuse_maps, &context);
    int64_t before = context.rewrites;
    g = run(g, "recompute", pass_recompute, &context);
    if (rewrites) *rewrites = context.rewrites - before;
    if (fused) {
        g = run(g, "fuse_epilogues", pass_fuse_epilogues, &context);
        g = run(g, "fuse_prologues", pass_fuse_prologues, &context);
        g = run(g, "share_sweeps", pass_share_sweeps, &context);
        g = run(g, "dce", pass_dce, &context);
    }
    if (recomputable) *recomputable = context.recomputable;
    arena_free(context.arena);
    return g;
}

START_TEST(same_values) {
    Leaves leaves = {.count = 0};
    uint32_t all;
    Graph *kept = prepare(zoo[_i](MODE_TRAIN));
    Tensor *expected = evaluate(kept, &leaves, false);
    graph_free(recomputed(zoo[_i](MODE_TRAIN), 0, false, &all, NULL));
    ck_assert_uint_gt(all, 0);
    for (int64_t count = RECOMPUTE_CHEAP; count <= all; count++)
        for (int fused = 0; fused < 2; fused++) {
            Graph *g = recomputed(zoo[_i](MODE_TRAIN), count, fused, NULL, NULL);
            char what[64];
            snprintf(what, sizeof what, "net %d, %lld recomputed", _i, (long long)count);
            expect_outputs(kept, g, expected, &leaves, what);
            graph_free(g);
        }
    free_outputs(kept, expected);
    free_leaves(&leaves);
    graph_free(kept);
}
END_TEST

/* ---- what is kept ---- */

static uint64_t bytes_of(void *context, const Graph *g, Val v) {
    (void)context;
    return 4 * (uint64_t)type_elements(g->value[v].type);
}
static uint64_t no_workspace(void *context, const Graph *g, Val v) {
    (void)context, (void)g, (void)v;
    return 0;
}
static bool is_outside(void *context, const Graph *g, Val v, uint32_t result) {
    (void)context, (void)result;
    return op_attr_kind(g->value[v].op) == ATTR_PARAM;
}

static uint64_t kept_bytes(Graph *source, int64_t count, uint32_t *recomputable) {
    PlanTarget target = {NULL, bytes_of, no_workspace, is_outside};
    Graph *g = recomputed(source, count, true, recomputable, NULL);
    Plan plan = plan_memory(g, &target);
    uint64_t bytes = plan.bytes;
    plan_free(&plan);
    graph_free(g);
    return bytes;
}

/* ResNet-20 and its SE variant at their true widths: half of the candidates give a third back. (Without code generation's sweeps,
 * which never store dY, that is all there is to gain.) */
START_TEST(keeps_less) {
    uint32_t all;
    uint64_t none = kept_bytes(zoo_resnet(MODE_TRAIN, 8, 16, 32, 3, 3, _i), 0, &all);
    ck_assert_uint_eq(all, 4 + 19); /* every other block's output; the 3x3 convolutions, all of which batch norm reads again */
    uint64_t half = kept_bytes(zoo_resnet(MODE_TRAIN, 8, 16, 32, 3, 3, _i), all / 2, NULL);
    uint64_t least = kept_bytes(zoo_resnet(MODE_TRAIN, 8, 16, 32, 3, 3, _i), all, NULL);
    ck_assert_msg(3 * half <= 2 * none && least <= half, "kept %llu, half recomputed %llu, all recomputed %llu bytes",
                  (unsigned long long)none, (unsigned long long)half, (unsigned long long)least);
}
END_TEST

/* What costs next to nothing: every other block's output, and at these widths one convolution of 10, which is 1/60 of the step.
 */
START_TEST(cheap_ones) {
    int64_t rewrites;
    graph_free(recomputed(zoo_resnet(MODE_TRAIN, 8, 16, 32, 3, 3, _i), RECOMPUTE_CHEAP, false, NULL, &rewrites));
    ck_assert_int_eq(rewrites, 4 + 1);
    uint64_t none = kept_bytes(zoo_resnet(MODE_TRAIN, 8, 16, 32, 3, 3, _i), 0, NULL);
    uint64_t cheap = kept_bytes(zoo_resnet(MODE_TRAIN, 8, 16, 32, 3, 3, _i), RECOMPUTE_CHEAP, NULL);
    ck_assert_msg(100 * cheap <= 85 * none, "kept %llu, cheap ones recomputed %llu bytes", (unsigned long long)none,
                  (unsigned long long)cheap);
}
END_TEST

/* x + sigmoid(batch_norm(1x1(x))): what each reader would have to compute again are exponentials. */
static Graph *costly(Mode mode, Op activation) {
    Zoo z = zoo_begin("costly", mode);
    Val x = zoo_unary(&z, OP_RELU, zoo_conv_bn(&z, zoo_image(&z, 2, 3, 16), 8, 3, 1));
    for (int i = 0; i < 4; i++) x = zoo_binary(&z, OP_ADD, x, zoo_unary(&z, activation, zoo_conv_bn(&z, x, 8, 1, 1)));
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 4));
}

START_TEST(functions_count) {
    int64_t relus, sigmoids;
    graph_free(recomputed(costly(MODE_TRAIN, OP_RELU), RECOMPUTE_CHEAP, false, NULL, &relus));
    graph_free(recomputed(costly(MODE_TRAIN, OP_SIGMOID), RECOMPUTE_CHEAP, false, NULL, &sigmoids));
    ck_assert_int_lt(sigmoids, relus);
}
END_TEST

/* A net without blocks: were all of it computed again, that would happen before backward, and everything be kept once more. */
static Graph *row(Mode mode, int convolutions) {
    Zoo z = zoo_begin("row", mode);
    Val x = zoo_image(&z, 2, 3, 16);
    for (int i = 0; i < convolutions; i++) x = zoo_unary(&z, OP_RELU, zoo_conv_bn(&z, x, 8, 3, 1));
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 4));
}

START_TEST(rows_end) {
    uint64_t none = kept_bytes(row(MODE_TRAIN, 32), 0, NULL);
    uint64_t all = kept_bytes(row(MODE_TRAIN, 32), UINT32_MAX, NULL);
    ck_assert_msg(2 * all <= none, "kept %llu, recomputed %llu bytes", (unsigned long long)none, (unsigned long long)all);
}
END_TEST

/* Without being asked, and in inference, nothing is rewritten. */
START_TEST(only_if_asked) {
    int64_t rewrites;
    uint32_t recomputable;
    graph_free(recomputed(resnet(MODE_TRAIN), 0, false, NULL, &rewrites));
    ck_assert_int_eq(rewrites, 0);
    graph_free(recomputed(resnet(MODE_INFER), 99, false, &recomputable, &rewrites));
    ck_assert_int_eq(rewrites, 0);
    ck_assert_uint_eq(recomputable, 0);
    graph_free(recomputed(resnet(MODE_TRAIN), 3, false, &recomputable, &rewrites));
    ck_assert_int_eq(rewrites, 3);
    ck_assert_uint_gt(recomputable, 3);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("recompute");
    tcase_add_loop_test(t, same_values, 0, NETS);
    tcase_add_loop_test(t, keeps_less, 0, 2);
    tcase_add_loop_test(t, cheap_ones, 0, 2);
    tcase_add_test(t, functions_count);
    tcase_add_test(t, rows_end);
    tcase_add_test(t, only_if_asked);
    return run_cases("passes_recompute", t);
}
