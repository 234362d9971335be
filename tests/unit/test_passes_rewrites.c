/* Passes that need no fusing: what they leave computes what they were given. A zoo of small networks in both modes, against the
 * evaluator in double; stopped after any number of single rewrites as well; and each simplifying pass finds nothing to do a
 * second time. */
#include "passes/driver.h"
#include "run_cases.h"
#include "tests/unit/fusion_run.h"
#include "tests/unit/fusion_zoo.h"

/* ---- the zoo ---- */

static Graph *resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 1, false); }
static Graph *se_resnet(Mode mode) { return zoo_resnet(mode, 2, 3, 8, 2, 1, true); }
static Graph *preact(Mode mode) { return zoo_preact_resnet(mode, true); }

/* gate * 2 at every pixel of `like`, and its average: what the language cannot say, but passes may leave. */
static Val spread_and_pooled(Zoo *z, Val gate, Val like) {
    ExprBuilder b = expr_builder(z->g->arena);
    const Expr *body = expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_const(&b, 2)));
    return zoo_unary(z, OP_GLOBAL_AVG_POOL, graph_map(z->g, zoo_type(z, like), &gate, 1, body, (Span){0}, "spread"));
}

/* Groups, the parameter-free shortcut, a softmax, constants on either side, and much that changes nothing. */
static Graph *odd(Mode mode) {
    Zoo z = zoo_begin("odd", mode);
    Val x = zoo_wide_image(&z, 2, 4, 7);
    int64_t dim[] = {6, 2, 3, 3};
    Val w = zoo_leaf(&z, OP_PARAM, "conv.weight", type_make(DT_F32, 4, dim), true);
    Attrs a = {.window = {.kernel = {3, 3}, .stride = {2, 2}, .pad = {1, 0, 1, 2}, .dilation = {1, 1}, .groups = 2}};
    Val y = zoo_batch_norm(&z, zoo_op(&z, OP_CONV2D, "grouped", (Val[]){x, w}, 2, a));
    y = zoo_binary(&z, OP_SUB, graph_constant(z.g, 1, (Span){0}), zoo_unary(&z, OP_IDENTITY, y));
    Attrs one = {.window = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1}};
    y = zoo_op(&z, OP_AVG_POOL, "nothing", &y, 1, one);
    y = zoo_op(&z, OP_PAD_CHANNELS, "nothing", &y, 1, (Attrs){.channels = {.count = 6, .stride = 1}});
    y = zoo_op(&z, OP_PAD_CHANNELS, "shortcut", &y, 1, (Attrs){.channels = {.count = 8, .stride = 2}});
    y = zoo_op(&z, OP_CONCAT, "one", &y, 1, (Attrs){0});
    y = zoo_op(&z, OP_DROPOUT, "none", &y, 1, (Attrs){.dropout = {.rate = 0, .stream = 5}});
    y = zoo_binary(&z, OP_ADD, y, y);
    Val gate = zoo_unary(&z, OP_SOFTMAX, zoo_unary(&z, OP_GLOBAL_AVG_POOL, y));
    y = zoo_binary(&z, OP_MUL, y, spread_and_pooled(&z, gate, y));
    y = zoo_binary(&z, OP_DIV, zoo_unary(&z, OP_HARD_SIGMOID, zoo_binary(&z, OP_MUL, gate, y)),
                   graph_constant(z.g, 3, (Span){0}));
    y = zoo_binary(&z, OP_ADD, y, zoo_binary(&z, OP_MUL, gate, y)); /* gate * y is not the product above */
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_FLATTEN, y), 3));
}

/* Two filters a channel, then three. */
static Graph *multiplied(Mode mode) {
    Zoo z = zoo_begin("multiplied", mode);
    Val x = zoo_wide_image(&z, 2, 3, 6);
    for (int64_t times = 2; times <= 3; times++) {
        int64_t channels = zoo_type(&z, x).dim[1], dim[] = {times * channels, 1, 3, 2};
        Attrs a = {.window = {.kernel = {3, 2}, .stride = {times - 1, 1}, .pad = {1, 0, 2, 1}, .dilation = {1, times - 1}}};
        a.window.groups = channels;
        Val filters = zoo_leaf(&z, OP_PARAM, "conv.weight", type_make(DT_F32, 4, dim), true);
        x = zoo_unary(&z, OP_RELU, zoo_batch_norm(&z, zoo_op(&z, OP_CONV2D, zoo_name(&z, "conv"), (Val[]){x, filters}, 2, a)));
    }
    return zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 3));
}

static Graph *(*const zoo[])(Mode) = {resnet, se_resnet, preact, zoo_mixed, zoo_biased, zoo_plain, odd, multiplied};
enum { NETS = sizeof zoo / sizeof *zoo };

static Graph *net(int i) { return zoo[i / 2](i % 2 ? MODE_INFER : MODE_TRAIN); }

/* ---- comparing ---- */

/* The outputs of `before` are the first ones of `after`. */
static void expect_same(const Graph *before, const Graph *after, const char *what) {
    Leaves leaves = {.count = 0};
    Tensor *expected = evaluate(before, &leaves, false), *found = evaluate(after, &leaves, false);
    ck_assert_uint_ge(after->noutputs, before->noutputs);
    for (uint32_t i = 0; i < before->noutputs; i++) {
        double scale = 0;
        ck_assert_int_eq(before->output[i].kind, after->output[i].kind);
        ck_assert(type_equal(expected[i].type, found[i].type));
        for (int64_t k = 0; k < type_elements(expected[i].type); k++) scale = fmax(scale, fabs(expected[i].data[k]));
        for (int64_t k = 0; k < type_elements(expected[i].type); k++) {
            double a = expected[i].data[k], b = found[i].data[k];
            ck_assert_msg(fabs(a - b) <= 1e-9 * scale + 1e-12, "%s: %s: output %u (%s) element %lld was %.17g, is %.17g",
                          before->name, what, i, before->output[i].name ? before->output[i].name : "", (long long)k, a, b);
        }
    }
    free_outputs(before, expected);
    free_outputs(after, found);
    free_leaves(&leaves);
}

static Graph *through(const Graph *g, const char *pipeline, int64_t limit, int64_t *rewrites) {
    Diag *diag = diag_new();
    PassResult result;
    bool ok = passes_run(g, &(PassOptions){.pipeline = pipeline, .bisect_limit = limit}, diag, &result);
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
    diag_free(diag);
    if (rewrites) *rewrites = result.rewrites;
    Graph *kept = result.graph;
    result.graph = NULL;
    passes_result_free(&result);
    return kept;
}

static const char *base(Mode mode) { return mode == MODE_TRAIN ? "lower,split_batch_norm,autodiff" : "lower,split_batch_norm"; }

/* ---- tests ---- */

START_TEST(lowering_keeps_values) {
    Graph *source = net(_i), *lowered = through(source, base(source->mode), -1, NULL);
    expect_same(source, lowered, "lowered");
    graph_free(lowered);
    graph_free(source);
}
END_TEST

/* Code generation has no fast kernel for several filters a channel, but for one. */
START_TEST(several_filters_a_channel_become_depthwise) {
    Graph *source = multiplied(MODE_TRAIN), *lowered = through(source, base(MODE_TRAIN), -1, NULL);
    int convolutions = 0;
    for (Val v = 0; v < lowered->count; v++) {
        const Value *c = &lowered->value[v];
        if (c->op != OP_CONV2D) continue;
        convolutions++;
        ck_assert_int_eq(c->attrs.window.groups, lowered->value[c->args[0]].type.dim[1]);
        ck_assert_int_eq(c->attrs.window.groups, c->type.dim[1]);
    }
    ck_assert_int_eq(convolutions, 2);
    graph_free(lowered);
    graph_free(source);
}
END_TEST

/* A concat has up to 64 operands: 65 filters a channel stay what they are. */
START_TEST(very_many_filters_a_channel_stay) {
    for (int64_t times = MAX_ARGS; times <= MAX_ARGS + 1; times++) {
        Zoo z = zoo_begin("many", MODE_INFER);
        Val x = zoo_wide_image(&z, 2, 2, 3);
        int64_t dim[] = {2 * times, 1, 1, 1};
        Attrs a = {.window = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 2}};
        Val filters = zoo_leaf(&z, OP_PARAM, "conv.weight", type_make(DT_F32, 4, dim), true);
        x = zoo_op(&z, OP_CONV2D, zoo_name(&z, "conv"), (Val[]){x, filters}, 2, a);
        Graph *source = zoo_end(&z, zoo_dense(&z, zoo_unary(&z, OP_GLOBAL_AVG_POOL, x), 3));
        Graph *lowered = through(source, base(MODE_INFER), -1, NULL);
        int64_t groups = 0;
        for (Val v = 0; v < lowered->count; v++)
            if (lowered->value[v].op == OP_CONV2D) groups = lowered->value[v].attrs.window.groups;
        ck_assert_int_eq(groups, times > MAX_ARGS ? 2 : 2 * times);
        graph_free(lowered);
        graph_free(source);
    }
}
END_TEST

static const char *const simplifying[] = {"fold_batch_norm", "canonicalise", "cse", "dce", "canonicalise,cse,dce"};
enum { SIMPLIFYING = sizeof simplifying / sizeof *simplifying };

START_TEST(each_pass_keeps_values) {
    Graph *source = net(_i), *lowered = through(source, base(source->mode), -1, NULL);
    for (int p = source->mode == MODE_TRAIN; p < SIMPLIFYING; p++) { /* the first is of inference */
        Graph *simple = through(lowered, simplifying[p], -1, NULL);
        expect_same(lowered, simple, simplifying[p]);
        ck_assert_msg(p == 0 || simple->count <= lowered->count, "%s: %s made more values", source->name, simplifying[p]);
        graph_free(simple);
    }
    graph_free(lowered);
    graph_free(source);
}
END_TEST

/* Every pass where the default pipeline has it, on what those before it leave; a new pass comes along by itself. One that adds
 * outputs is autodiff, whose gradients test_passes_gradient holds against differences. */
START_TEST(each_place_keeps_values) {
    Graph *g = net(_i);
    for (const char *at = pass_default_pipeline(g->mode); *at; at += *at == ',') {
        size_t length = strcspn(at, ",");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        const Pass *pass = pass_find(name);
        ck_assert_ptr_nonnull(pass);
        Graph *next = through(g, name, -1, NULL);
        if (!pass->adds) expect_same(g, next, name);
        graph_free(g);
        g = next;
        at += length;
    }
    graph_free(g);
}
END_TEST

/* Folding is left out: it takes each convolution once, and what is behind a folded one may be affine again. */
START_TEST(simplifying_twice_is_once) {
    Graph *source = net(_i), *lowered = through(source, base(source->mode), -1, NULL);
    for (int p = 1; p < SIMPLIFYING; p++) {
        Graph *once = through(lowered, simplifying[p], -1, NULL), *twice = through(once, simplifying[p], -1, NULL);
        char *a = graph_to_string(once), *b = graph_to_string(twice);
        ck_assert_msg(strcmp(a, b) == 0, "%s: a second %s finds more to do", source->name, simplifying[p]);
        free(a);
        free(b);
        graph_free(once);
        graph_free(twice);
    }
    graph_free(lowered);
    graph_free(source);
}
END_TEST

/* A pipeline stopped after n rewrites is right for every n: each single rewrite keeps the values. */
START_TEST(bisecting_keeps_values) {
    enum { STEPS = 12 };
    Graph *source = net(_i), *lowered = through(source, base(source->mode), -1, NULL);
    int64_t all, found;
    graph_free(through(source, NULL, -1, &all));
    for (int64_t k = 0; k <= STEPS; k++) {
        Graph *some = through(source, NULL, all * k / STEPS, &found);
        ck_assert_int_eq(found, all * k / STEPS);
        expect_same(lowered, some, "bisected");
        graph_free(some);
    }
    graph_free(lowered);
    graph_free(source);
}
END_TEST

/* In inference every batch norm directly behind a convolution is gone: no values per channel are multiplied over feature maps. */
START_TEST(batch_norm_is_folded) {
    Graph *source = resnet(MODE_INFER), *folded = through(source, "lower,split_batch_norm,fold_batch_norm,dce", -1, NULL);
    int scaled = 0;
    for (Val v = 0; v < folded->count; v++) {
        const Value *value = &folded->value[v];
        scaled += value->op == OP_SCALE_FILTERS;
        if (value->op != OP_MAP || value->type.rank != 4) continue;
        for (uint32_t i = 0; i < value->regions[0].expr->count; i++) ck_assert_int_ne(value->regions[0].expr->node[i].op, X_MUL);
    }
    ck_assert_int_eq(scaled, 5);
    expect_same(source, folded, "folded");
    graph_free(folded);
    graph_free(source);
}
END_TEST

/* The gradient of batch norm is one affine map of the gradient and the raw convolution, with values per channel. */
START_TEST(batch_norm_gradient_is_affine) {
    Graph *source = resnet(MODE_TRAIN),
          *g = through(source, "lower,split_batch_norm,canonicalise,autodiff,canonicalise,cse,dce,fuse_maps", -1, NULL);
    int found = 0, per_image = 0;
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op != OP_CONV2D_BWD_WEIGHTS) continue;
        const Value *dc = &g->value[value_source(g, g->value[v].args[1], NULL)];
        if (dc->op != OP_MAP || dc->nargs < 4) continue; /* the projection has no batch norm */
        for (uint32_t i = 0; i < dc->nargs; i++) per_image += g->value[dc->args[i]].type.rank == 2;
        found++;
    }
    ck_assert_int_eq(found, 5);
    ck_assert_int_eq(per_image, 1); /* the gradient of the last pool, behind the last block */
    graph_free(g);
    graph_free(source);
}
END_TEST

/* A NaN that reaches relu or a clamp must not be hidden: the loss shows that training has diverged. */
START_TEST(nan_survives_lowering) {
    static const Op ops[] = {OP_RELU, OP_HARD_SIGMOID, OP_HARD_SWISH, OP_SILU};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        Zoo z = zoo_begin("nan", MODE_INFER);
        graph_output(z.g, OUT_LOGITS, zoo_unary(&z, ops[i], zoo_leaf(&z, OP_INPUT, "image", type_matrix(1, 1), false)), NULL);
        Graph *lowered = through(z.g, "lower", -1, NULL);
        double nan = NAN;
        Leaves leaves = {.tensor = {{type_matrix(1, 1), &nan}}, .name = {"image"}, .count = 1};
        Tensor *out = evaluate(lowered, &leaves, false);
        ck_assert_int_eq(leaves.count, 1);
        ck_assert_msg(isnan(out[0].data[0]), "%s hides a NaN", op_text(ops[i]));
        free_outputs(lowered, out);
        graph_free(lowered);
        graph_free(z.g);
    }
}
END_TEST

int main(void) {
    TCase *t = tcase_create("rewrites");
    tcase_add_loop_test(t, lowering_keeps_values, 0, 2 * NETS);
    tcase_add_loop_test(t, each_pass_keeps_values, 0, 2 * NETS);
    tcase_add_loop_test(t, each_place_keeps_values, 0, 2 * NETS);
    tcase_add_loop_test(t, simplifying_twice_is_once, 0, 2 * NETS);
    tcase_add_loop_test(t, bisecting_keeps_values, 0, 2 * NETS);
    tcase_add_test(t, several_filters_a_channel_become_depthwise);
    tcase_add_test(t, very_many_filters_a_channel_stay);
    tcase_add_test(t, batch_norm_is_folded);
    tcase_add_test(t, batch_norm_gradient_is_affine);
    tcase_add_test(t, nan_survives_lowering);
    return run_cases("passes_rewrites", t);
}
