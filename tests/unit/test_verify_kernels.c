/* Whether what is wrong shows: code of bf16 held to what f32 may be off. And that orders are legal. */
#include "frontend/frontend.h"
#include "run_cases.h"
#include "verify/fragment.h"
#include "verify/kernels.h"
#include "verify/orders.h"
#include "verify/small.h"
#include "verify/wanted.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Graph *source(const char *path, Mode mode) {
    Model model;
    Diag *diag = diag_new();
    ck_assert(frontend_compile(path, &(FrontendOptions){.mode = mode, .batch = 2}, diag, &model));
    diag_free(diag);
    return model.graph;
}

static PassResult passed(const Graph *g, const char *list) {
    PassResult result;
    Diag *diag = diag_new();
    bool ok = passes_run(g, &(PassOptions){.pipeline = list, .bisect_limit = -1}, diag, &result);
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
    diag_free(diag);
    return result;
}

START_TEST(less_precision_shows) {
    Graph *g = source("models/resnet20.net", MODE_TRAIN), *small = small_images(g);
    ck_assert_ptr_nonnull(small);
    PassResult p = passed(small, NULL);
    for (int wrong = 0; wrong < 2; wrong++) {
        HeldCode code = {{.precision = wrong ? PRECISION_BF16 : PRECISION_F32}, IN_F32};
        KernelsOptions o = {.code = code};
        KernelsHeld held;
        char why[2000];
        ck_assert_msg(kernels_compare(p.graph, 1, NULL, &o, &held, why, sizeof why), "%s", why);
        ck_assert_uint_ge(held.kernels, 20);
        ck_assert_uint_gt(held.values, held.kernels); /* equal ones are compiled once */
        ck_assert_ptr_nonnull(held.worst.g);
        if (wrong) {
            ck_assert_uint_gt(held.wrong, held.kernels / 4);
            ck_assert_double_gt(held.of_tolerance, 1);
            ck_assert_ptr_nonnull(strstr(held.text, "should be"));
        } else {
            ck_assert_uint_eq(held.wrong, 0);
            ck_assert_double_le(held.of_tolerance, 1);
        }
        kernels_held_free(&held);
        Worst worst;
        ck_assert_msg(program_compare(p.graph, 1, NULL, &code, &worst, why, sizeof why), "%s", why);
        ck_assert_int_eq(worst.of_tolerance > 1, wrong);
    }
    passes_result_free(&p);
    graph_free(small);
    graph_free(g);
}
END_TEST

/* The driver takes most of them; no pass runs before what it has to run after. */
START_TEST(orders_are_legal) {
    Graph *g = source("models/mlp.net", (Mode)_i);
    PassResult p = passed(g, NULL);
    int taken = 0, distinct = 0;
    char *last = strdup("");
    for (uint64_t i = 0; i < 40; i++) {
        char *list = order_draw(p.pipeline, (Mode)_i, 5, i), *again = order_draw(p.pipeline, (Mode)_i, 5, i);
        ck_assert_str_eq(list, again);
        distinct += strcmp(list, last) != 0;
        free(last);
        last = again;
        ck_assert_ptr_nonnull(strstr(list, "lower"));
        ck_assert_ptr_nonnull(strstr(list, "split_batch_norm"));
        if (_i == MODE_TRAIN) ck_assert_ptr_nonnull(strstr(list, "autodiff"));
        const char *maps = strstr(list, "fuse_maps"), *epilogues = strstr(list, "fuse_epilogues");
        ck_assert_msg(!maps || !epilogues || maps < epilogues, "%s", list);
        Diag *diag = diag_new();
        PassResult made;
        bool ok = passes_run(g, &(PassOptions){.pipeline = list, .bisect_limit = -1}, diag, &made);
        taken += ok;
        if (ok) passes_result_free(&made);
        diag_free(diag);
        free(list);
    }
    free(last);
    ck_assert_int_ge(taken, 20);
    ck_assert_int_ge(distinct, 39);
    char *shorter = order_without("lower,cse,dce", 1);
    ck_assert_str_eq(shorter, "lower,dce");
    free(shorter);
    ck_assert_ptr_null(order_without("lower,cse", 0)); /* required */
    ck_assert_ptr_null(order_without("lower,cse", 2));
    passes_result_free(&p);
    graph_free(g);
}
END_TEST

START_TEST(small_nets_keep_their_values) {
    Graph *g = source("models/resnet50.net", MODE_TRAIN), *small = small_images(g);
    ck_assert_ptr_nonnull(small);
    ck_assert_uint_eq(small->count, g->count);
    Type t = images_type(small);
    ck_assert_int_eq(t.dim[0], 2);
    ck_assert_int_eq(t.dim[2], 56); /* its last maps are 2x2 */
    graph_free(small);
    graph_free(g);
    g = source("models/mlp.net", MODE_TRAIN); /* weights behind flatten follow the images' size */
    small = small_images(g);
    ck_assert_ptr_nonnull(small);
    ck_assert_uint_eq(small->count, g->count);
    ck_assert_int_lt(images_type(small).dim[2], images_type(g).dim[2]);
    graph_free(small);
    graph_free(g);
}
END_TEST

/* A gradient that depends on where a maximum stands is held as closely as any other: the positions are no rounding's business. */
START_TEST(maxima_keep_tolerances_narrow) {
    char path[] = "/tmp/netc-test-XXXXXX", why[2000];
    FILE *out = fdopen(mkstemp(path), "w");
    fputs("net maxima() {\n    input image: f32[3, 9, 7]\n    x = conv2d(image, 5, 3) as \"first\"\n"
          "    x = x * max_over(x, \"channels\") * max_over(x, \"height\")\n"
          "    output dense(global_max_pool(x), 4)\n}\n",
          out);
    fclose(out);
    Graph *g = source(path, MODE_TRAIN);
    remove(path);
    PassResult p = passed(g, NULL);
    Wanted w;
    ck_assert_msg(wanted_new(p.graph, IN_F32, 1, NULL, &w, why, sizeof why), "%s", why);
    uint32_t gradients = 0;
    for (uint32_t i = 0; i < p.graph->noutputs; i++) {
        if (p.graph->output[i].kind != OUT_GRAD) continue;
        double squares = 0;
        for (int64_t k = 0; k < type_elements(w.out[i].type); k++) squares += w.out[i].data[k] * w.out[i].data[k];
        ck_assert_msg(w.tolerance[i] < 1e-3 * sqrt(squares), "%s: %g of %g", p.graph->output[i].name, w.tolerance[i],
                      sqrt(squares));
        gradients++;
    }
    ck_assert_uint_eq(gradients, 4);
    wanted_free(&w);
    passes_result_free(&p);
    graph_free(g);
}
END_TEST

/* A kernel that reads where the greatest of 300 channels is, under bf16, is cut out with who finds it: as a leaf the index would
 * be rounded, and another kernel compiled. */
START_TEST(indices_are_no_leaves) {
    Graph *g = graph_new("g", MODE_TRAIN);
    Type type = type_feature(1, 300, 6, 6);
    Val x = graph_add(g, &(ValueSpec){.op = OP_INPUT, .declared = type, .attrs.param.name = "x"}), args[3] = {x};
    ExprBuilder b = expr_builder(g->arena), c = expr_builder(g->arena);
    Region region = {REGION_INDEX_TO, 1, expr_finish(&b, expr_arg(&b, 0))};
    args[1] =
        graph_add(g, &(ValueSpec){.op = OP_MAP, .args = &x, .nargs = 1, .declared = type, .regions = &region, .nregions = 1});
    args[2] = graph_add(g, &(ValueSpec){.op = OP_POSITION, .attrs.index = 1, .declared = type_vector(300)});
    uint16_t here = expr_binary(&c, X_EQUAL, expr_arg(&c, 1), expr_arg(&c, 2));
    const Expr *body = expr_finish(&c, expr_select(&c, here, expr_const(&c, 1), expr_const(&c, 0)));
    Val last = graph_map(g, type, args, 3, body, (Span){0}, NULL);
    graph_output(g, OUT_GRAD, last, "x");
    Leaves leaves = {.seed = 1, .arithmetic = IN_BF16};
    Tensor *all, *again;
    char why[400];
    ck_assert_msg(graph_eval(g, leaves_tensor, &leaves, NULL, NULL, &all, why, sizeof why), "%s", why);
    bool done[8] = {0}, far = false;
    for (int64_t p = 0; p < 36; p++) far |= all[args[1]].data[p] > 256;
    ck_assert(far);
    Fragment f = fragment_cut(g, last, all, IN_BF16, done);
    ck_assert_msg(graph_eval(f.g, leaves_tensor, &f.leaves, NULL, NULL, &again, why, sizeof why), "%s", why);
    for (Val v = 0; v < f.g->count; v++)
        ck_assert(f.g->value[v].op != OP_INPUT || !strncmp(f.g->value[v].attrs.param.name, "r", 1) ||
                  type_equal(f.g->value[v].type, type));
    bool same = false;
    for (uint32_t i = 0; i < f.g->noutputs; i++) {
        const Tensor *t = &again[f.g->output[i].value];
        same |= type_equal(t->type, type) && !memcmp(t->data, all[last].data, (size_t)type_elements(type) * sizeof *t->data);
    }
    ck_assert(same);
    for (Val v = 0; v < g->count; v++) tensor_free(&all[v]);
    for (Val v = 0; v < f.g->count; v++) tensor_free(&again[v]);
    free(all);
    free(again);
    fragment_free(&f);
    leaves_free(&leaves);
    graph_free(g);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("verify");
    tcase_add_test(t, less_precision_shows);
    tcase_add_test(t, maxima_keep_tolerances_narrow);
    tcase_add_loop_test(t, orders_are_legal, 0, 2);
    tcase_add_test(t, small_nets_keep_their_values);
    tcase_add_test(t, indices_are_no_leaves);
    return run_cases("verify_kernels", t);
}
