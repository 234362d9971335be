/* What the tests of codegen/ share: a graph computed by the evaluator and by compiled code, from the same leaves. */
#ifndef NETC_TESTS_CODEGEN_HELPERS_H
#define NETC_TESTS_CODEGEN_HELPERS_H
#include "bf16.h"
#include "codegen/codegen.h"
#include "ir_helpers.h"

enum { BOTH_MAX_OUTPUTS = 200, BOTH_MAX_LEAVES = 64 };

/* With fused multiply-add on wide and on less wide vectors, and without: the name of CPU i, or NULL if it is not to be had here.
 */
enum { BOTH_CPUS = 3 };
static inline const char *both_cpu(int i) {
    static const char *const names[BOTH_CPUS] = {"native", "x86-64-v3", "x86-64"};
#if defined(__x86_64__)
    bool fits = i != 1 || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#else
    bool fits = i == 0;
#endif
    return fits ? names[i] : NULL;
}

/* Both results of every output: got by compiled code, want by the evaluator. */
typedef struct Both {
    const Graph *g;
    bool bf16; /* round the leaves to bf16 */
    Leaves leaves;
    float *f32[BOTH_MAX_LEAVES]; /* the leaves again, as compiled code takes them */
    Tensor want[BOTH_MAX_OUTPUTS];
    float *got[BOTH_MAX_OUTPUTS];
} Both;

/* Leaves are floats, so that both sides start from the same numbers. */
static inline const Tensor *both_tensor(void *context, const Value *leaf) {
    Both *both = context;
    const Tensor *t = leaves_lookup(&both->leaves, leaf);
    for (int64_t i = 0, n = type_elements(t->type); i < n; i++)
        t->data[i] = both->bf16 ? bf16_nearest(t->data[i]) : (float)t->data[i];
    return t;
}

static inline const float *both_floats(void *context, const Value *leaf) {
    Both *both = context;
    const Tensor *t = both_tensor(context, leaf);
    int at = (int)(t - both->leaves.tensor);
    int64_t n = type_elements(t->type);
    if (!both->f32[at]) both->f32[at] = malloc((size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) both->f32[at][i] = (float)t->data[i];
    return both->f32[at];
}

static inline int64_t output_elements(const Graph *g, uint32_t i) { return type_elements(g->value[g->output[i].value].type); }

/* What compiled code makes of it on so many threads. */
static inline void both_execute(Both *both, const CompiledGraph *compiled, int threads) {
    char why[2000] = "";
    for (uint32_t i = 0; i < both->g->noutputs; i++) {
        if (!both->got[i]) both->got[i] = malloc((size_t)output_elements(both->g, i) * sizeof(float));
        memset(both->got[i], 0xff, (size_t)output_elements(both->g, i) * sizeof(float)); /* NaN: what is not written shows */
    }
    bool ran = codegen_graph_run(compiled, &(GraphRun){both_floats, both, 11, 3, threads}, both->got, why, sizeof why);
    ck_assert_msg(ran, "%s", why);
}

static inline CompiledGraph *compiled_new(const Graph *g, const CodegenOptions *options) {
    char why[2000] = "";
    CompiledGraph *compiled = codegen_graph(g, options, why, sizeof why);
    ck_assert_msg(compiled != NULL, "%s", why);
    return compiled;
}

static inline void both_compile(Both *both, const CodegenOptions *options, int threads) {
    CompiledGraph *compiled = compiled_new(both->g, options);
    both_execute(both, compiled, threads);
    codegen_graph_free(compiled);
}

/* The evaluator's side. Leaves that were added to both->leaves beforehand keep their values. */
static inline void both_evaluate(Both *both, const Graph *g) {
    char why[400];
    ck_assert_uint_le(g->noutputs, BOTH_MAX_OUTPUTS);
    both->g = g;
    EvalOptions eval = {.seed = 11, .step = 3};
    ck_assert_msg(graph_eval(g, both_tensor, both, &eval, both->want, NULL, why, sizeof why), "%s", why);
}

static inline void both_run(Both *both, const Graph *g, const CodegenOptions *options) {
    both_evaluate(both, g);
    both_compile(both, options, 1);
}

static inline void both_free(Both *both) {
    for (uint32_t i = 0; i < both->g->noutputs; i++) {
        tensor_free(&both->want[i]);
        free(both->got[i]);
    }
    for (int i = 0; i < BOTH_MAX_LEAVES; i++) free(both->f32[i]);
    leaves_free(&both->leaves);
}

/* Every element of output i within tolerance * (its size + the largest of the output). */
static inline void both_check(const Both *both, uint32_t i, double tolerance, const char *what) {
    int64_t n = output_elements(both->g, i);
    double largest = 0;
    for (int64_t k = 0; k < n; k++) largest = fmax(largest, fabs(both->want[i].data[k]));
    for (int64_t k = 0; k < n; k++) {
        double want = both->want[i].data[k], got = both->got[i][k];
        ck_assert_msg(fabs(got - want) <= tolerance * (fabs(want) + largest),
                      "%s, output %u (%s), element %lld: got %.9g, want %.9g", what, i, both->g->output[i].name, (long long)k,
                      got, want);
    }
}
#endif
