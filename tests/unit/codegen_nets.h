/* .net texts as fused graphs, compiled in many ways and held against the evaluator. */
#ifndef NETC_TESTS_CODEGEN_NETS_H
#define NETC_TESTS_CODEGEN_NETS_H
#include "codegen_helpers.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include <unistd.h>

/* The text's last net after its passes: all, or only those that must run. The caller frees it. */
static inline Graph *net_graph(const char *text, Mode mode, int64_t batch, bool optimised) {
    char path[] = "/tmp/netc-nets-XXXXXX.net";
    FILE *out = fdopen(mkstemps(path, 4), "w");
    fputs(text, out);
    fclose(out);
    Diag *diag = diag_new();
    Model model;
    bool compiled = frontend_compile(path, &(FrontendOptions){.mode = mode, .batch = batch}, diag, &model);
    remove(path);
    if (!compiled) diag_print(diag, stderr, false);
    ck_assert_msg(compiled, "%s", text);
    const char *disable[64];
    uint32_t ndisable = 0;
    for (uint32_t i = 0; i < pass_count() && !optimised; i++)
        if (!pass_at(i)->required && pass_runs_in(pass_at(i), mode)) disable[ndisable++] = pass_at(i)->name;
    PassResult result;
    PassOptions options = {.disable = disable, .ndisable = ndisable, .bisect_limit = -1};
    bool done = passes_run(model.graph, &options, diag, &result);
    if (!done) diag_print(diag, stderr, false);
    ck_assert_msg(done, "%s", text);
    graph_free(model.graph);
    diag_free(diag);
    Graph *g = result.graph;
    result.graph = NULL;
    passes_result_free(&result);
    return g;
}

static inline double largest_element(const Tensor *t) {
    double largest = 0;
    for (int64_t k = 0, n = type_elements(t->type); k < n; k++) largest = fmax(largest, fabs(t->data[k]));
    return largest;
}

/* Running variances are positive. */
static inline void add_variances(const Graph *g, Leaves *leaves) {
    for (Val v = 0; v < g->count; v++) {
        const char *name = g->value[v].op == OP_STATE ? g->value[v].attrs.param.name : "", *end = strstr(name, "running_var");
        if (!end) continue;
        Tensor *t = leaves_add(leaves, name, g->value[v].type);
        for (int64_t i = 0, n = type_elements(t->type); i < n; i++) t->data[i] = leaf_element("var", DT_F32, i);
    }
}

/* A gradient may be a sum that cancels, as a bias's before batch norm does: then it is as exact as the gradients around it. */
enum { CANCELLING = 20 };

/* Every output within `tolerance` of the evaluator's on the graph that no optional pass has touched, relative to the output's
 * largest element, or to a CANCELLING-th of the largest gradient. */
static inline void net_check(const char *text, Mode mode, int64_t batch, const CodegenOptions *options, double tolerance) {
    Graph *plain = net_graph(text, mode, batch, false), *fused = net_graph(text, mode, batch, true);
    Both both = {0};
    char what[2000], why[400];
    snprintf(what, sizeof what, "%s, batch %d, %s%s on %s: %s", mode == MODE_TRAIN ? "training" : "inference", (int)batch,
             options->conv ? conv_method_name(options->conv) : "auto", options->openblas ? " OpenBLAS" : "",
             options->cpu ? options->cpu : "native", text);
    ck_assert_uint_eq(plain->noutputs, fused->noutputs);
    ck_assert_uint_le(fused->noutputs, BOTH_MAX_OUTPUTS);
    EvalOptions eval = {.seed = 11, .step = 3};
    add_variances(plain, &both.leaves);
    ck_assert_msg(graph_eval(plain, both_tensor, &both, &eval, both.want, NULL, why, sizeof why), "%s: %s", what, why);
    both.g = fused;
    both_compile(&both, options, 2);
    double gradients = 0;
    for (uint32_t i = 0; i < fused->noutputs; i++)
        if (fused->output[i].kind == OUT_GRAD) gradients = fmax(gradients, largest_element(&both.want[i]));
    for (uint32_t i = 0; i < fused->noutputs; i++) {
        double largest = largest_element(&both.want[i]);
        if (fused->output[i].kind == OUT_GRAD) largest = fmax(largest, gradients / CANCELLING);
        for (int64_t k = 0, n = output_elements(fused, i); k < n; k++)
            if (!(fabs(both.got[i][k] - both.want[i].data[k]) <= tolerance * (fabs(both.want[i].data[k]) + largest)))
                ck_abort_msg("%s: output %u (%s), element %lld: got %.9g, want %.9g", what, i, fused->output[i].name,
                             (long long)k, both.got[i][k], both.want[i].data[k]);
    }
    both_free(&both);
    graph_free(plain);
    graph_free(fused);
}
#endif
