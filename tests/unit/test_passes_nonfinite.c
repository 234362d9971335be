/* NaN and infinity as in PyTorch, forward and backward, by the evaluator on differentiated graphs: before and after the passes
 * that rewrite maps. The numbers are what torch 1.13 prints (tests/e2e/torch_nonfinite.py prints them again where PyTorch is). */
#include "ir_helpers.h"
#include "passes/passes.h"

enum { INPUTS = 6 };
static const double inputs[INPUTS] = {NAN, INFINITY, -INFINITY, 0, 1, -1};

typedef struct Activation {
    const char *op;
    double y[INPUTS], dx[INPUTS]; /* dy = 1 */
} Activation;

static const Activation activations[] = {
    {"relu", {NAN, INFINITY, 0, 0, 1, 0}, {1, 1, 0, 0, 1, 0}},
    {"hard_sigmoid", {NAN, 1, 0, 0.5, 2.0 / 3, 1.0 / 3}, {0, 0, 0, 1.0 / 6, 1.0 / 6, 1.0 / 6}},
    {"hard_swish", {NAN, INFINITY, NAN, 0, 2.0 / 3, -1.0 / 3}, {NAN, 1, 0, 0.5, 5.0 / 6, 1.0 / 6}},
    {"silu", {NAN, INFINITY, NAN, 0, 0.7310585786, -0.2689414214}, {NAN, NAN, NAN, 0.5, 0.9276705119, 0.0723294881}},
    {"sigmoid", {NAN, 1, 0, 0.5, 0.7310585786, 0.2689414214}, {NAN, 0, 0, 0.25, 0.1966119332, 0.1966119332}},
    {"tanh", {NAN, 1, -1, 0, 0.7615941560, -0.7615941560}, {NAN, 0, 0, 1, 0.4199743416, 0.4199743416}},
};
enum { ACTIVATIONS = sizeof activations / sizeof activations[0] };

static bool alike(double got, double want) { return isnan(want) ? isnan(got) : got == want || fabs(got - want) < 1e-9; }

static void check(const Tensor *got, const double *want, const char *what) {
    for (int64_t i = 0; i < type_elements(got->type); i++)
        ck_assert_msg(alike(got->data[i], want[i]), "%s: element %d is %g, PyTorch has %g", what, (int)i, got->data[i], want[i]);
}

/* The graph's outputs after the passes. out has room for them. */
static void run_passes(const Graph *source, bool all, const Tensor *(*lookup)(void *, const Value *), void *context,
                       Tensor *out) {
    const char *disable[64];
    uint32_t n = 0;
    for (uint32_t i = 0; i < pass_count() && !all; i++)
        if (!pass_at(i)->required && pass_runs_in(pass_at(i), MODE_TRAIN)) disable[n++] = pass_at(i)->name;
    Diag *diag = diag_new();
    PassResult result;
    bool done = passes_run(source, &(PassOptions){.disable = disable, .ndisable = n, .bisect_limit = -1}, diag, &result);
    if (!done) diag_print(diag, stderr, false);
    ck_assert(done);
    char why[300];
    ck_assert_msg(graph_eval(result.graph, lookup, context, NULL, out, NULL, why, sizeof why), "%s", why);
    passes_result_free(&result);
    diag_free(diag);
}

START_TEST(activations_as_pytorch) {
    const Activation *a = &activations[_i / 2];
    char text[600];
    snprintf(text, sizeof text,
             "graph \"t\" train\n%%0 = param {name=\"x\", init=constant(0), decay=false} : f32[1,6]\n%%1 = %s %%0 : f32[1,6]\n"
             "%%2 = batch_sum %%1 : f32[6]\n%%3 = channel_sum %%2 : f32[]\nreturn logits %%1\nreturn loss %%3\n",
             a->op);
    Graph *g = must_read(text);
    Leaves leaves = {.count = 0};
    memcpy(leaves_add(&leaves, "x", type_matrix(1, INPUTS))->data, inputs, sizeof inputs);
    Tensor out[3] = {{{0}, NULL}};
    run_passes(g, _i % 2, leaves_lookup, &leaves, out);
    check(&out[0], a->y, a->op);
    check(&out[2], a->dx, a->op);
    for (int i = 0; i < 3; i++) tensor_free(&out[i]);
    leaves_free(&leaves);
    graph_free(g);
}
END_TEST

/* A NaN wins every window that it is in, and the last of a window has its gradient; infinity below everything is a maximum, too.
 */
START_TEST(max_pool_as_pytorch) {
    Graph *g = must_read("graph \"t\" train\n%0 = input {name=\"x\"} : f32[1,2,3,3]\n%1 = input {name=\"dy\"} : f32[1,2,3,3]\n"
                         "%2 = max_pool %0 {kernel=[3,3], stride=[1,1], pad=[1,1,1,1], dilation=[1,1]} : f32[1,2,3,3]\n"
                         "%3 = max_pool_bwd %0, %1 {kernel=[3,3], stride=[1,1], pad=[1,1,1,1], dilation=[1,1]} : f32[1,2,3,3]\n"
                         "return grad \"dy\" %2\nreturn grad \"x\" %3\n");
    Leaves leaves = {.count = 0};
    const double inf = INFINITY, x[] = {NAN, 1, 2, 0, NAN, 1, 5, 2, NAN, -inf, -inf, -inf, -inf, -inf, -inf, -inf, -inf, inf};
    memcpy(leaves_add(&leaves, "x", type_feature(1, 2, 3, 3))->data, x, sizeof x);
    Tensor *dy = leaves_add(&leaves, "dy", type_feature(1, 2, 3, 3)), out[2];
    for (int i = 0; i < 18; i++) dy->data[i] = 1;
    char why[300];
    ck_assert_msg(graph_eval(g, leaves_lookup, &leaves, NULL, out, NULL, why, sizeof why), "%s", why);
    const double y[] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, -inf, -inf, -inf, -inf, inf, inf, -inf, inf, inf};
    const double dx[] = {0, 0, 0, 0, 5, 0, 0, 0, 4, 3, 1, 0, 1, 0, 0, 0, 0, 4};
    check(&out[0], y, "max_pool");
    check(&out[1], dx, "max_pool_bwd");
    for (int i = 0; i < 2; i++) tensor_free(&out[i]);
    leaves_free(&leaves);
    graph_free(g);
}
END_TEST

/* Rows of logits: softmax, and the loss of each row alone. */
START_TEST(loss_as_pytorch) {
    static const struct {
        double z[3], softmax[3], loss; /* label 0 */
        double dz[3];
    } rows[] = {
        {{NAN, 0, 0}, {NAN, NAN, NAN}, NAN, {NAN, NAN, NAN}},
        {{0, NAN, 0}, {NAN, NAN, NAN}, NAN, {NAN, NAN, NAN}},
        {{INFINITY, 0, 0}, {NAN, NAN, NAN}, NAN, {NAN, NAN, NAN}},
        {{0, INFINITY, 0}, {NAN, NAN, NAN}, NAN, {NAN, NAN, NAN}},
        {{-INFINITY, 0, 0}, {0, 0.5, 0.5}, INFINITY, {-1, 0.5, 0.5}},
        {{0, -INFINITY, 0}, {0.5, 0, 0.5}, 0.69314718056, {-0.5, 0, 0.5}},
        {{-INFINITY, -INFINITY, -INFINITY}, {NAN, NAN, NAN}, NAN, {NAN, NAN, NAN}},
    };
    Graph *g =
        must_read("graph \"t\" train\n%0 = input {name=\"z\"} : f32[1,3]\n%1 = input {name=\"labels\"} : i32[1]\n"
                  "%2 = input {name=\"dloss\"} : f32[]\n%3 = softmax %0 : f32[1,3]\n"
                  "%4 = cross_entropy %0, %1 {smoothing=0} : f32[]\n%5 = cross_entropy_bwd %0, %1, %2 {smoothing=0} : f32[1,3]\n"
                  "%6 = correct %0, %1 : f32[]\n"
                  "return logits %3\nreturn loss %4\nreturn grad \"z\" %5\nreturn correct %6\n");
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        Leaves leaves = {.count = 0};
        memcpy(leaves_add(&leaves, "z", type_matrix(1, 3))->data, rows[r].z, sizeof rows[r].z);
        leaves_add(&leaves, "labels", type_make(DT_I32, 1, (int64_t[]){1}))->data[0] = 0;
        leaves_add(&leaves, "dloss", type_scalar())->data[0] = 1;
        Tensor out[4];
        char why[300];
        ck_assert_msg(graph_eval(g, leaves_lookup, &leaves, NULL, out, NULL, why, sizeof why), "%s", why);
        check(&out[0], rows[r].softmax, "softmax");
        check(&out[1], &rows[r].loss, "cross_entropy");
        check(&out[2], rows[r].dz, "cross_entropy_bwd");
        if (r < 2) ck_assert_double_eq(out[3].data[0], 0); /* a row with a NaN is no hit (PyTorch's argmax would be the NaN) */
        for (int i = 0; i < 4; i++) tensor_free(&out[i]);
        leaves_free(&leaves);
    }
    graph_free(g);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("nonfinite");
    tcase_add_loop_test(tests, activations_as_pytorch, 0, 2 * ACTIVATIONS);
    tcase_add_test(tests, max_pool_as_pytorch);
    tcase_add_test(tests, loss_as_pytorch);
    return run_cases("passes_nonfinite", tests);
}
