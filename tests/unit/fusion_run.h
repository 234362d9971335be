/* Running passes one by one and evaluating what they leave, for the tests of the fusing passes. */
#ifndef NETC_TESTS_FUSION_RUN_H
#define NETC_TESTS_FUSION_RUN_H
#include "ir/eval.h"
#include "ir/text.h"
#include "passes/autodiff.h"
#include "passes/passes.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- running passes ---- */

static inline Graph *run(Graph *g, const char *name, PassFunction pass, PassContext *context) {
    context->pass = name;
    context->row = pass_find(name);
    Graph *next = pass(g, context);
    graph_free(g);
    char *wrong = graph_verify(next, 0);
    ck_assert_msg(!wrong, "after %s: %s", name, wrong);
    return next;
}

static inline PassContext new_context(int64_t limit) { return (PassContext){.arena = arena_new(), .bisect_limit = limit}; }

static inline Graph *prepare(Graph *g) {
    PassContext context = new_context(-1);
    g = run(g, "lower", pass_lower, &context);
    g = run(g, "split_batch_norm", pass_split_batch_norm, &context);
    if (g->mode == MODE_INFER) g = run(g, "fold_batch_norm", pass_fold_batch_norm, &context);
    g = run(g, "canonicalise", pass_canonicalise, &context);
    if (g->mode == MODE_TRAIN) g = run(g, "autodiff", pass_autodiff, &context);
    g = run(g, "canonicalise", pass_canonicalise, &context);
    g = run(g, "cse", pass_cse, &context);
    g = run(g, "dce", pass_dce, &context);
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
static inline const Tensor *look_up(void *context, const Value *leaf) {
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
                    : leaf->type.dtype == DT_I32                                   ? floor(3 * u)
                                                                                   : 2 * u - 1;
    }
    leaves->tensor[leaves->count] = t;
    leaves->name[leaves->count] = strdup(name);
    return &leaves->tensor[leaves->count++];
}

static inline void free_leaves(Leaves *leaves) {
    for (int i = 0; i < leaves->count; i++) {
        tensor_free(&leaves->tensor[i]);
        free((char *)leaves->name[i]);
    }
}

static inline Tensor *evaluate(const Graph *g, Leaves *leaves, bool round_f32) {
    Tensor *out = calloc(g->noutputs, sizeof *out);
    char why[256] = "";
    bool ok = graph_eval(g, look_up, leaves, &(EvalOptions){.seed = 1, .round_f32 = round_f32}, out, NULL, why, sizeof why);
    ck_assert_msg(ok, "%s", why);
    return out;
}

static inline void free_outputs(const Graph *g, Tensor *out) {
    for (uint32_t i = 0; i < g->noutputs; i++) tensor_free(&out[i]);
    free(out);
}

/* Rewriting reassociates sums and no more, so every output agrees with the original graph's to 1e-9 of its largest element. */
static inline void expect_outputs(const Graph *g, const Graph *rewritten, const Tensor *expected, Leaves *leaves,
                                  const char *what) {
    ck_assert_uint_eq(g->noutputs, rewritten->noutputs);
    Tensor *found = evaluate(rewritten, leaves, false);
    for (uint32_t i = 0; i < g->noutputs; i++) {
        double scale = 0;
        for (int64_t k = 0; k < type_elements(expected[i].type); k++) scale = fmax(scale, fabs(expected[i].data[k]));
        for (int64_t k = 0; k < type_elements(expected[i].type); k++) {
            double a = expected[i].data[k], b = found[i].data[k];
            ck_assert_msg(fabs(a - b) <= 1e-9 * scale + 1e-11, "%s: output %u (%s) element %lld is %.17g, should be %.17g", what,
                          i, g->output[i].name ? g->output[i].name : "", (long long)k, b, a);
        }
    }
    free_outputs(rewritten, found);
}

#endif
