/* What the tests of ir/ share: graphs from text, and leaves filled with reproducible numbers. */
#ifndef NETC_TESTS_IR_HELPERS_H
#define NETC_TESTS_IR_HELPERS_H
#include "ir/eval.h"
#include "ir/text.h"
#include "run_cases.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Reads a graph; NULL with the printed diagnostics in *message (malloc'd) if the text is refused. */
static inline Graph *read_text(const char *text, size_t length, char **message) {
    Diag *diag = diag_new();
    Graph *g = graph_read(text, length, diag_add_file(diag, "test.ir", text, length), diag);
    size_t size;
    FILE *out = open_memstream(message, &size);
    diag_print(diag, out, false);
    fclose(out);
    diag_free(diag);
    return g;
}

static inline Graph *must_read(const char *text) {
    char *message;
    Graph *g = read_text(text, strlen(text), &message);
    ck_assert_msg(g != NULL, "%s", message);
    free(message);
    return g;
}

/* Element i of the leaf `name`: uniform in (-1, 1); in (0.5, 1.5) if the name starts with "var"; a class of 0..3 for labels. */
static inline double leaf_element(const char *name, DType dtype, int64_t i) {
    uint32_t hash = 2166136261u, random[4];
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    philox4x32((uint32_t[]){(uint32_t)i, 0, 0, 0}, (uint32_t[]){hash, 7}, random);
    double uniform = random[0] * 0x1p-32;
    if (dtype == DT_I32) return floor(4 * uniform);
    return strncmp(name, "var", 3) == 0 ? 0.5 + uniform : 2 * uniform - 1;
}

/* Leaves made on demand and kept until leaves_free. */
typedef struct Leaves {
    Tensor tensor[64];
    const char *name[64];
    int count;
} Leaves;

static inline Tensor *leaves_add(Leaves *leaves, const char *name, Type type) {
    ck_assert_int_lt(leaves->count, 64);
    Tensor t = tensor_new(type);
    for (int64_t i = 0, n = type_elements(type); i < n; i++) t.data[i] = leaf_element(name, type.dtype, i);
    leaves->name[leaves->count] = name;
    leaves->tensor[leaves->count] = t;
    return &leaves->tensor[leaves->count++];
}

static inline const Tensor *leaves_lookup(void *context, const Value *leaf) {
    Leaves *leaves = context;
    for (int i = 0; i < leaves->count; i++) {
        if (strcmp(leaves->name[i], leaf->attrs.param.name) == 0) return &leaves->tensor[i];
    }
    return leaves_add(leaves, leaf->attrs.param.name, leaf->type);
}

static inline void leaves_free(Leaves *leaves) {
    for (int i = 0; i < leaves->count; i++) tensor_free(&leaves->tensor[i]);
    leaves->count = 0;
}

/* Evaluates a graph on such leaves; all[v] is result 0 of value v. Free with free_all. */
static inline Tensor *eval_all(const Graph *g, const EvalOptions *options) {
    Leaves leaves = {.count = 0};
    Tensor *all;
    char why[256];
    bool ok = graph_eval(g, leaves_lookup, &leaves, options, NULL, &all, why, sizeof why);
    ck_assert_msg(ok, "%s", why);
    leaves_free(&leaves);
    return all;
}

static inline void free_all(const Graph *g, Tensor *all) {
    for (Val v = 0; v < g->count; v++) tensor_free(&all[v]);
    free(all);
}

static inline void assert_near(double found, double expected, double tolerance, const char *what, int64_t at) {
    bool same =
        found == expected || (isnan(found) && isnan(expected)) || fabs(found - expected) <= tolerance * (1 + fabs(expected));
    ck_assert_msg(same, "%s, element %lld: found %.17g, expected %.17g", what, (long long)at, found, expected);
}
#endif
