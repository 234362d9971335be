/* Fused graphs compute what unfused graphs compute: a zoo of small networks in both modes, with every fusing pass, without each
 * one alone, with each one alone, and stopped after a number of single rewrites, against the evaluator in double. Only sums are
 * reassociated, so outputs agree to 1e-9. And fusion reaches what it is for: how many sweeps over feature maps are left. */
#include "ir/eval.h"
#include "ir/text.h"
#include "passes/autodiff.h"
#include "passes/passes.h"
#include "tests/unit/fusion_zoo.h"
#include <check.h>
#include <math.h>

/* ---- the zoo ---- */

static Graph *resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 2, false); }
static Graph *se_resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 2, true); }
static Graph *preact(Mode mode) { return zoo_preact_resnet(mode, false); }
static Graph *se_preact(Mode mode) { return zoo_preact_resnet(mode, true); }

static const struct {
    const char *name;
    Graph *(*build)(Mode mode);
} zoo[] = {{"resnet", resnet}, {"se_resnet", se_resnet}, {"preact", preact},
           {"se_preact", se_preact}, {"mixed", zoo_mixed}, {"plain", zoo_plain},
           {"biased", zoo_biased}};
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

/* ---- running passes ---- */

static Graph *run(Graph *g, const char *name, PassFunction pass, PassContext *context) {
    context->pass = name;
    Graph *next = pass(g, context);
    graph_free(g);
    char *wrong = graph_verify(next, 0);
    ck_assert_msg(!wrong, "after %s: %s", name, wrong);
    return next;
}

static PassContext new_context(int64_t limit) { return (PassContext){.arena = arena_new(), .bisect_limit = limit}; }

static Graph *prepare(Graph *g) {
    PassContext context = new_context(-1);
    g = run(g, "lower", pass_lower, &context);
    g = run(g, "split_batch_norm", pass_split_batch_norm, &context);
    if (g->mode == MODE_TRAIN) g = run(g, "autodiff", pass_autodiff, &context);
    arena_free(context.arena);
    return g;
}

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

/* ---- evaluating ---- */

typedef struct Leaves {
    Tensor tensor[256];
    const char *name[256];
    int count;
} Leaves;

/* Values that depend on the name only, in the range where each kind of leaf makes sense. */
static const Tensor *look_up(void *context, const Value *leaf) {
    Leaves *leaves = context;
    const char *name = leaf->attrs.param.name;
    for (int i = 0; i < leaves->count; i++) {
        if (strcmp(leaves->name[i], name) == 0) return &leaves->tensor[i];
    }
    ck_assert_int_lt(leaves->count, 256);
    Tensor t = tensor_new(leaf->type);
    uint32_t key[2] = {0, 7};
    for (const char *c = name; *c; c++) key[0] = key[0] * 31 + (uint32_t)*c;
    for (int64_t i = 0; i < type_elements(leaf->type); i++) {
        uint32_t out[4];
        philox4x32((uint32_t[]){(uint32_t)i, 0, 0, 0}, key, out);
        double u = out[0] * 0x1p-32;
        t.data[i] = strncmp(name, "gamma", 5) == 0 || strncmp(name, "var", 3) == 0 ? 0.5 + u
                    : leaf->type.dtype == DT_I32                                  ? floor(3 * u)
                                                                                  : 2 * u - 1;
    }
    leaves->tensor[leaves->count] = t;
    leaves->name[leaves->count] = strdup(name);
    return &leaves->tensor[leaves->count++];
}

static void free_leaves(Leaves *leaves) {
    for (int i = 0; i < leaves->count; i++) {
        tensor_free(&leaves->tensor[i]);
        free((char *)leaves->name[i]);
    }
}

static Tensor *evaluate(const Graph *g, Leaves *leaves) {
    Tensor *out = calloc(g->noutputs, sizeof *out);
    char why[256] = "";
    bool ok = graph_eval(g, look_up, leaves, &(EvalOptions){.seed = 1}, out, NULL, why, sizeof why);
    ck_assert_msg(ok, "%s", why);
    return out;
}

static void free_outputs(const Graph *g, Tensor *out) {
    for (uint32_t i = 0; i < g->noutputs; i++) tensor_free(&out[i]);
    free(out);
}

static void expect_same(const Graph *g, const Graph *fused, const Tensor *expected, Leaves *leaves, const char *what) {
    ck_assert_uint_eq(g->noutputs, fused->noutputs);
    Tensor *found = evaluate(fused, leaves);
    for (uint32_t i = 0; i < g->noutputs; i++) {
        double scale = 0;
        for (int64_t k = 0; k < type_elements(expected[i].type); k++) scale = fmax(scale, fabs(expected[i].data[k]));
        for (int64_t k = 0; k < type_elements(expected[i].type); k++) {
            double a = expected[i].data[k], b = found[i].data[k];
            ck_assert_msg(fabs(a - b) <= 1e-9 * scale + 1e-11, "%s: output %u (%s) element %lld is %.17g, unfused %.17g", what, i,
                          g->output[i].name ? g->output[i].name : "", (long long)k, b, a);
        }
    }
    free_outputs(fused, found);
}

static Graph *build(int net, Mode mode) { return prepare(zoo[net].build(mode)); }

/* ---- same values ---- */

START_TEST(same_values) {
    int net = _i / 2;
    Mode mode = _i % 2 ? MODE_INFER : MODE_TRAIN;
    Graph *plain = build(net, mode);
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(plain, &leaves);
    for (unsigned variant = 0; variant < 1 + 2 * PASSES; variant++) {
        unsigned bit = variant ? 1u << (variant - 1) / 2 : 0, mask = variant == 0 ? ALL : variant % 2 ? ALL & ~bit : bit;
        Graph *fused = fuse(build(net, mode), mask, -1, NULL);
        char what[96];
        snprintf(what, sizeof what, "%s, mode %d, passes %x", zoo[net].name, mode, mask);
        expect_same(plain, fused, expected, &leaves, what);
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
    Tensor *expected = evaluate(plain, &leaves);
    int64_t all, made;
    graph_free(fuse(build(net, mode), ALL, -1, &all));
    for (int64_t limit = 0; limit < all; limit += 1 + all / 23) {
        Graph *fused = fuse(build(net, mode), ALL, limit, &made);
        ck_assert_int_eq(made, limit);
        char what[96];
        snprintf(what, sizeof what, "%s, mode %d, limit %lld", zoo[net].name, mode, (long long)limit);
        expect_same(plain, fused, expected, &leaves, what);
        graph_free(fused);
    }
    free_outputs(plain, expected);
    free_leaves(&leaves);
    graph_free(plain);
}
END_TEST

/* Fusing a fused graph finds nothing that is wrong, and keeps its values. */
START_TEST(again) {
    Graph *plain = build(_i, MODE_TRAIN);
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(plain, &leaves);
    Graph *fused = fuse(fuse(build(_i, MODE_TRAIN), ALL, -1, NULL), ALL, -1, NULL);
    expect_same(plain, fused, expected, &leaves, zoo[_i].name);
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
        for (uint32_t r = 0; r < v->nregions; r++) sums &= v->regions[r].role == REGION_REDUCE;
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
