/* Fused graphs compute what unfused graphs compute: a zoo of small networks in both modes, with every fusing pass, without each
 * one alone, with each one alone, and stopped after a number of single rewrites, against the evaluator in double. Only sums are
 * reassociated, so outputs agree to 1e-9. And fusion reaches what it is for: how many sweeps over feature maps are left. */
#include "tests/unit/fusion_run.h"
#include "tests/unit/fusion_zoo.h"

/* ---- the zoo ---- */

static Graph *resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 2, false); }
static Graph *se_resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 2, true); }
static Graph *preact(Mode mode) { return zoo_preact_resnet(mode, false); }
static Graph *se_preact(Mode mode) { return zoo_preact_resnet(mode, true); }

static const struct {
    const char *name;
    Graph *(*build)(Mode mode);
} zoo[] = {{"resnet", resnet},   {"se_resnet", se_resnet}, {"preact", preact},    {"se_preact", se_preact},
           {"mixed", zoo_mixed}, {"plain", zoo_plain},     {"biased", zoo_biased}};
enum { NETS = sizeof zoo / sizeof *zoo };

static const struct {
    const char *name;
    PassFunction run;
} fusing[] = {{"squeeze", pass_squeeze},
              {"fuse_maps", pass_fuse_maps},
              {"fuse_epilogues", pass_fuse_epilogues},
              {"fuse_prologues", pass_fuse_prologues},
              {"share_sweeps", pass_share_sweeps}};
enum { PASSES = sizeof fusing / sizeof *fusing, ALL = (1 << PASSES) - 1 };

/* Runs the passes of the mask; returns how many rewrites they made in *rewrites (may be NULL). */
static Graph *fuse(Graph *g, unsigned mask, int64_t limit, int64_t *rewrites) {
    PassContext context = new_context(limit);
    for (int p = 0; p < PASSES; p++) {
        if (mask >> p & 1) g = run(g, fusing[p].name, fusing[p].run, &context);
    }
    if (rewrites) *rewrites = context.rewrites;
    arena_free(context.arena);
    return g;
}

static Graph *build(int net, Mode mode) { return prepare(zoo[net].build(mode)); }

/* ---- same values ---- */

START_TEST(same_values) {
    int net = _i / 2;
    Mode mode = _i % 2 ? MODE_INFER : MODE_TRAIN;
    Graph *plain = build(net, mode);
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(plain, &leaves, false);
    for (unsigned variant = 0; variant < 1 + 2 * PASSES; variant++) {
        unsigned bit = variant ? 1u << (variant - 1) / 2 : 0, mask = variant == 0 ? ALL : variant % 2 ? ALL & ~bit : bit;
        Graph *fused = fuse(build(net, mode), mask, -1, NULL);
        char what[96];
        snprintf(what, sizeof what, "%s, mode %d, passes %x", zoo[net].name, mode, mask);
        expect_outputs(plain, fused, expected, &leaves, what);
        graph_free(fused);
    }
    free_outputs(plain, expected);
    free_leaves(&leaves);
    graph_free(plain);
}
END_TEST

START_TEST(same_values_at_any_bisect_limit) {
    int net = _i / 2;
    Mode mode = _i % 2 ? MODE_INFER : MODE_TRAIN;
    Graph *plain = build(net, mode);
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(plain, &leaves, false);
    int64_t all, made;
    graph_free(fuse(build(net, mode), ALL, -1, &all));
    for (int64_t limit = 0; limit < all; limit += 1 + all / 23) {
        Graph *fused = fuse(build(net, mode), ALL, limit, &made);
        ck_assert_int_eq(made, limit);
        char what[96];
        snprintf(what, sizeof what, "%s, mode %d, limit %lld", zoo[net].name, mode, (long long)limit);
        expect_outputs(plain, fused, expected, &leaves, what);
        graph_free(fused);
    }
    free_outputs(plain, expected);
    free_leaves(&leaves);
    graph_free(plain);
}
END_TEST

/* Whatever single rewrites are forbidden, what is left is right. */
START_TEST(same_values_with_rewrites_forbidden) {
    int net = _i / 2;
    Mode mode = _i % 2 ? MODE_INFER : MODE_TRAIN;
    Graph *plain = build(net, mode);
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(plain, &leaves, false);
    static PassMask masks[][5] = {{{"*[1-9]", false}, {"*/sum", false}},
                                  {{"fuse_*grad*", false}, {"share_sweeps@b*", false}},
                                  {{"*~2", false}, {"*/epilogue", false}, {"*/invariants", false}},
                                  {{"*/mask", false}, {"*/prologue", false}, {"squeeze@*", false}, {"3", false}, {"7", false}}};
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        PassContext context = new_context(-1);
        context.forbid = masks[m];
        while (context.nforbid < 5 && masks[m][context.nforbid].text) context.nforbid++;
        Graph *fused = build(net, mode);
        for (int p = 0; p < PASSES; p++) fused = run(fused, fusing[p].name, fusing[p].run, &context);
        char what[96];
        snprintf(what, sizeof what, "%s, mode %d, masks %zu", zoo[net].name, mode, m);
        expect_outputs(plain, fused, expected, &leaves, what);
        graph_free(fused);
        arena_free(context.arena);
    }
    free_outputs(plain, expected);
    free_leaves(&leaves);
    graph_free(plain);
}
END_TEST

/* Options of passes change what is fused, never what comes out: each option of each pass at its least and at its most. */
START_TEST(same_values_with_any_options) {
    int net = _i / 2;
    Mode mode = _i % 2 ? MODE_INFER : MODE_TRAIN;
    Graph *plain = build(net, mode);
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(plain, &leaves, false);
    char *texts[2];
    for (int most = 0; most < 2; most++) {
        Graph *fused = build(net, mode);
        PassContext context = new_context(-1);
        for (int p = 0; p < PASSES; p++) {
            const Pass *row = pass_find(fusing[p].name);
            int64_t value[PASS_PARAMETERS];
            for (int k = 0; k < PASS_PARAMETERS; k++) value[k] = most ? row->parameters[k].most : row->parameters[k].least;
            context.parameter = value;
            fused = run(fused, fusing[p].name, fusing[p].run, &context);
        }
        arena_free(context.arena);
        char what[96];
        snprintf(what, sizeof what, "%s, mode %d, every option at its %s", zoo[net].name, mode, most ? "most" : "least");
        expect_outputs(plain, fused, expected, &leaves, what);
        texts[most] = graph_to_string(fused);
        graph_free(fused);
    }
    ck_assert_str_ne(texts[0], texts[1]);
    free(texts[0]);
    free(texts[1]);
    free_outputs(plain, expected);
    free_leaves(&leaves);
    graph_free(plain);
}
END_TEST

/* Fusing a fused graph finds nothing that is wrong, and keeps its values. */
START_TEST(again) {
    Graph *plain = build(_i, MODE_TRAIN);
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(plain, &leaves, false);
    Graph *fused = fuse(fuse(build(_i, MODE_TRAIN), ALL, -1, NULL), ALL, -1, NULL);
    expect_outputs(plain, fused, expected, &leaves, zoo[_i].name);
    graph_free(fused);
    free_outputs(plain, expected);
    free_leaves(&leaves);
    graph_free(plain);
}
END_TEST

/* ---- sweeps ---- */

typedef struct Kernels {
    int conv2d, bwd_data, bwd_weights;
    int sweeps;    /* other values that read or make a feature map */
    int sums_only; /* of those: sweeps that exist for sums only */
} Kernels;

static bool is_feature_map(const Graph *g, Val v) { return g->value[v].type.rank == 4 && g->value[v].op != OP_PARAM; }

static Kernels count_kernels(const Graph *g) {
    Kernels k = {0};
    for (Val id = 0; id < g->count; id++) {
        const Value *v = &g->value[id];
        k.conv2d += v->op == OP_CONV2D;
        k.bwd_data += v->op == OP_CONV2D_BWD_DATA;
        k.bwd_weights += v->op == OP_CONV2D_BWD_WEIGHTS;
        bool reads = false, conv = v->op == OP_CONV2D || v->op == OP_CONV2D_BWD_DATA || v->op == OP_CONV2D_BWD_WEIGHTS;
        for (uint32_t i = 0; i < v->nargs; i++) reads |= is_feature_map(g, v->args[i]);
        if (conv || v->op == OP_RESULT || !reads) continue;
        k.sweeps++;
        bool sums = true;
        for (uint32_t r = 0; r < v->nregions; r++) sums &= region_sums(v->regions[r].role);
        k.sums_only += sums;
    }
    return k;
}

static Kernels kernels_of(Mode mode, bool se) {
    Graph *g = fuse(prepare(zoo_resnet(mode, 2, 16, 32, 3, 3, se)), ALL, -1, NULL);
    Kernels k = count_kernels(g);
    graph_free(g);
    return k;
}

/* Per convolution one kernel forward, one for its data's gradient and one for its weights'; nothing else reads a feature map but
 * the last block's output, which no convolution reads. Squeeze and excitation adds none. */
START_TEST(squeeze_costs_no_sweep_in_training) {
    for (int se = 0; se < 2; se++) {
        Kernels k = kernels_of(MODE_TRAIN, se);
        ck_assert_int_eq(k.conv2d, 21);
        ck_assert_int_eq(k.bwd_data, 20);
        ck_assert_int_eq(k.bwd_weights, 21);
        ck_assert_int_eq(k.sweeps, 1);
        ck_assert_int_eq(k.sums_only, 0);
    }
}
END_TEST

/* With a gate, the last block's output cannot be the epilogue of its convolution; it is pooled without being stored. */
START_TEST(squeeze_costs_no_sweep_in_inference) {
    Kernels plain = kernels_of(MODE_INFER, false), se = kernels_of(MODE_INFER, true);
    ck_assert_int_eq(plain.conv2d, 21);
    ck_assert_int_eq(plain.sweeps, 0);
    ck_assert_int_eq(se.conv2d, 21);
    ck_assert_int_eq(se.sweeps, 1);
}
END_TEST

/* What makes the squeeze free is the squeeze pass: without it the gates' sums wait for their blocks. */
START_TEST(without_squeeze_sweeps_are_left) {
    Graph *g = fuse(prepare(zoo_resnet(MODE_TRAIN, 2, 16, 32, 3, 3, true)), ALL & ~1u, -1, NULL);
    ck_assert_int_ge(count_kernels(g).sweeps, 1 + 9);
    graph_free(g);
}
END_TEST

/* Of nine blocks' outputs six are stored by the next block's first convolution, which is the first to read them; two are the
 * epilogue of a projection; the last is made by a map. */
START_TEST(block_outputs_are_stored_once) {
    Graph *g = fuse(prepare(zoo_resnet(MODE_TRAIN, 2, 16, 32, 3, 3, false)), ALL, -1, NULL);
    int stores = 0, epilogues = 0;
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op != OP_CONV2D) continue;
        stores += value_region(&g->value[v], REGION_STORE, 0) != NULL;
        epilogues += value_region(&g->value[v], REGION_EPILOGUE, 0) != NULL;
    }
    ck_assert_int_eq(stores, 6);
    ck_assert_int_eq(epilogues, 2);
    graph_free(g);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("passes_fuse");
    TCase *values = tcase_create("values");
    tcase_add_loop_test(values, same_values, 0, 2 * NETS);
    tcase_add_loop_test(values, same_values_at_any_bisect_limit, 0, 2 * NETS);
    tcase_add_loop_test(values, same_values_with_rewrites_forbidden, 0, 2 * NETS);
    tcase_add_loop_test(values, same_values_with_any_options, 0, 2 * NETS);
    tcase_add_loop_test(values, again, 0, NETS);
    suite_add_tcase(suite, values);
    TCase *sweeps = tcase_create("sweeps");
    tcase_add_test(sweeps, squeeze_costs_no_sweep_in_training);
    tcase_add_test(sweeps, squeeze_costs_no_sweep_in_inference);
    tcase_add_test(sweeps, without_squeeze_sweeps_are_left);
    tcase_add_test(sweeps, block_outputs_are_stored_once);
    suite_add_tcase(suite, sweeps);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
