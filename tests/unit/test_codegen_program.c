/* Programs as a whole: optimisers against double arithmetic, tensors and their starts, outputs where they belong, inference
 * split into prepare_eval and eval_step, kernels shared by structure. */
#include "codegen_helpers.h"
#include "runtime/rt.h"
#include <unistd.h>

/* ---- running a Program by hand ---- */

typedef struct Running {
    Jit *jit;
    const RtProgram *program;
    RtPool *pool;
    RtMachine *m;
} Running;

static Running start_on(const CodegenInput *input, int threads) {
    Diag *diag = diag_new();
    Running r = {.jit = codegen_jit(input, NULL, diag), .pool = rt_pool_new(threads)};
    if (!r.jit) diag_print(diag, stderr, false);
    ck_assert_ptr_nonnull(r.jit);
    diag_free(diag);
    RtError error;
    r.program = jit_program(r.jit);
    r.m = rt_machine_new(r.program, r.pool, &error);
    ck_assert_msg(r.m != NULL, "%s", error.text);
    return r;
}

static Running start(const CodegenInput *input) { return start_on(input, 2); }

static void stop(Running *r) {
    rt_machine_free(r->m);
    rt_pool_free(r->pool);
    jit_free(r->jit);
}

static const RtTensor *tensor_named(const RtTensor *t, uint32_t n, const char *name) {
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(t[i].name, name)) return &t[i];
    ck_abort_msg("no tensor '%s'", name);
}

static Val leaf(Graph *g, Op op, const char *name, Type type, bool decay, Init init) {
    ValueSpec spec = {.op = op, .declared = type, .attrs.param = {.name = name, .init = init, .decay = decay}};
    return graph_add(g, &spec);
}

static Val scaled(Graph *g, Val v, double factor) {
    ExprBuilder b = expr_builder(g->arena);
    const Expr *body = expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_const(&b, factor)));
    return graph_map(g, g->value[v].type, &v, 1, body, (Span){0}, "scaled");
}

/* ---- optimisers ---- */

static const RtOptimizer optimizers[] = {
    {.kind = RT_SGD, .decay_bn = true},
    {.kind = RT_SGD, .momentum = 0.9, .weight_decay = 0.01, .decay_bn = true},
    {.kind = RT_SGD, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true},
    {.kind = RT_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay_bn = true},
    {.kind = RT_ADAM, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.02},
    {.kind = RT_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05},
    {.kind = RT_ADAM, .beta1 = 0.9, .beta2 = 0.99, .eps = 0.25}, /* so large that it shows where it is added */
};
enum { OPTIMIZERS = sizeof optimizers / sizeof *optimizers };

/* One parameter element through one step, as PyTorch documents the algorithms. */
static void reference_step(const RtOptimizer *o, const RtTensor *t, const RtStepEnv *env, double g, double *p, double *m,
                           double *v) {
    double decay = t->decay ? o->weight_decay * t->decay_factor : 0, lr = env->lr * t->lr_factor;
    if (t->until < 0 || (t->until > 0 && env->epoch >= t->until)) return; /* PyTorch: no gradient, no step */
    if (o->kind == RT_ADAMW) *p -= lr * decay * *p;
    if (o->kind != RT_ADAMW) g += decay * *p;
    if (o->kind == RT_SGD) {
        *m = o->momentum * *m + g;
        *p -= lr * (o->nesterov ? g + o->momentum * *m : *m);
        return;
    }
    *m = o->beta1 * *m + (1 - o->beta1) * g;
    *v = o->beta2 * *v + (1 - o->beta2) * g * g;
    *p -= lr * (*m / env->bias1) / (sqrt(*v / env->bias2) + o->eps);
}

static Graph *optimizer_graph(void) {
    static const struct {
        const char *name;
        int rank;
        int64_t dim[4];
        bool decay;
    } params[] = {
        {"a.weight", 4, {17, 3, 3, 2}, true}, {"a.bias", 1, {17}, false}, {"b.weight", 2, {5, 33}, true}, {"s", 0, {0}, false}};
    Graph *g = graph_new("optimizer", MODE_TRAIN);
    Val v[4];
    for (int i = 0; i < 4; i++)
        v[i] = leaf(g, OP_PARAM, params[i].name, type_make(DT_F32, params[i].rank, params[i].dim), params[i].decay,
                    (Init){INIT_UNIFORM, 0.5});
    for (int i = 0; i < 4; i++) graph_output(g, OUT_GRAD, scaled(g, v[i], 0.5), params[i].name);
    return g;
}

/* Five steps; the gradient of each element is half of the element (made by train_step) plus something of its own. */
static void follow(const RtRecipe *given) {
    Graph *g = optimizer_graph();
    RtRecipe recipe = *given;
    Running r = start(&(CodegenInput){.name = "optimizer", .train = g, .recipe = &recipe, .recipe_text = ""});
    rt_machine_init_params(r.m, 5);
    size_t total = r.program->params_bytes / sizeof(float);
    double *want = calloc(3 * total, sizeof *want), *m = want + total, *v = m + total;
    float *params = rt_machine_space(r.m, RT_PARAMS), *grads = rt_machine_space(r.m, RT_GRADS);
    for (size_t i = 0; i < total; i++) want[i] = params[i];
    for (int step = 0; step < 5; step++) {
        RtStepEnv *env = rt_machine_env(r.m);
        *env = (RtStepEnv){.lr = 0.1f / (float)(step + 1),
                           .bias1 = 1 - powf(0.9f, (float)step + 1),
                           .bias2 = 0.5f + 0.1f * (float)step,
                           .epoch = 0.5 * step};
        rt_machine_run(r.m, &r.program->train_step);
        for (uint32_t t = 0; t < r.program->nparams; t++) {
            const RtTensor *tensor = &r.program->params[t];
            size_t first = tensor->offset / 4, end = first + tensor->bytes / 4;
            for (size_t i = first; i < end && !(tensor->until > 0 && env->epoch >= tensor->until); i++) {
                ck_assert_msg(grads[i] == 0.5f * params[i], "gradient %zu is not where it belongs", i);
                if (params[i] != 0) grads[i] += (float)sin((double)i + step);
            }
        }
        for (uint32_t t = 0; t < r.program->nparams; t++) {
            const RtTensor *tensor = &r.program->params[t];
            for (size_t k = tensor->offset / 4; k < (tensor->offset + tensor->bytes) / 4; k++)
                reference_step(&recipe.optimizer, tensor, env, grads[k], &want[k], &m[k], &v[k]);
        }
        rt_machine_run(r.m, &r.program->apply_update);
        for (size_t i = 0; i < total; i++) {
            ck_assert_msg(fabs(params[i] - want[i]) <= 2e-6 * (1 + fabs(want[i])), "step %d, element %zu: %.9g, should be %.9g",
                          step, i, params[i], want[i]);
            want[i] = params[i]; /* so that each step is checked from the same start */
        }
    }
    free(want);
    stop(&r);
    graph_free(g);
}

START_TEST(optimizer_follows_pytorch) { follow(&(RtRecipe){.optimizer = optimizers[_i]}); }
END_TEST

/* The first group that matches counts; b.weight stands still from the third step on, s always. */
START_TEST(groups_are_pytorchs_param_groups) {
    RtRecipe recipe = {.optimizer = optimizers[_i], .ngroups = 4};
    recipe.group[0] = (RtGroup){"b.*", 0.5, 1, false, 1};
    recipe.group[1] = (RtGroup){"s", 1, 1, true, 0};
    recipe.group[2] = (RtGroup){"*.bias", 64, 1 / 64.0, false, 0};
    recipe.group[3] = (RtGroup){"*", 1, 3, false, 0};
    follow(&recipe);
    Graph *g = optimizer_graph();
    Running r = start(&(CodegenInput){.name = "groups", .train = g, .recipe = &recipe, .recipe_text = ""});
    const RtTensor *weight = tensor_named(r.program->params, r.program->nparams, "a.weight");
    const RtTensor *bias = tensor_named(r.program->params, r.program->nparams, "a.bias");
    const RtTensor *scalar = tensor_named(r.program->params, r.program->nparams, "s");
    const RtTensor *other = tensor_named(r.program->params, r.program->nparams, "b.weight");
    ck_assert(weight->lr_factor == 1 && weight->decay_factor == 3 && weight->until == 0);
    ck_assert(bias->lr_factor == 64 && bias->decay_factor == 1 / 64.0);
    ck_assert(other->lr_factor == 0.5 && other->until == 1 && scalar->until < 0);
    ck_assert_uint_eq(r.program->apply_update.ncalls, 3);
    stop(&r);
    graph_free(g);
}
END_TEST

/* A kernel's name is a hash of what decides its code, and is its name in the cache: no two of these may have one. The
 * second and the third differ in nesterov alone. */
START_TEST(optimizers_have_kernels_of_their_own) {
    Graph *g = optimizer_graph();
    Running r[OPTIMIZERS];
    RtRecipe recipe[OPTIMIZERS];
    for (int i = 0; i < OPTIMIZERS; i++) {
        recipe[i] = (RtRecipe){.optimizer = optimizers[i]};
        recipe[i].optimizer.decay_bn = false; /* of all */
        r[i] = start(&(CodegenInput){.name = "optimizer", .train = g, .recipe = &recipe[i], .recipe_text = ""});
        for (int k = 0; k < i; k++) {
            const char *a = r[i].program->apply_update.calls[0].name, *b = r[k].program->apply_update.calls[0].name;
            ck_assert_msg(strcmp(a, b), "optimisers %d and %d have the one kernel %s", k, i, a);
        }
    }
    for (int i = 0; i < OPTIMIZERS; i++) stop(&r[i]);
    graph_free(g);
}
END_TEST

START_TEST(decay_follows_recipe) {
    for (int decay_bn = 0; decay_bn < 2; decay_bn++) {
        Graph *g = optimizer_graph();
        RtRecipe recipe = {.optimizer = {.kind = RT_SGD, .weight_decay = 0.1, .decay_bn = decay_bn}};
        Running r = start(&(CodegenInput){.name = "decay", .train = g, .recipe = &recipe, .recipe_text = ""});
        ck_assert(tensor_named(r.program->params, r.program->nparams, "a.weight")->decay);
        ck_assert(tensor_named(r.program->params, r.program->nparams, "a.bias")->decay == (bool)decay_bn);
        ck_assert_str_eq(r.program->params[0].name, "a.weight"); /* the table keeps the order of the source */
        ck_assert_str_eq(r.program->params[1].name, "a.bias");
        ck_assert_uint_eq(r.program->apply_update.ncalls, decay_bn ? 1 : 2);
        stop(&r);
        graph_free(g);
    }
}
END_TEST

/* ---- tensors ---- */

START_TEST(initial_distributions) {
    Graph *g = graph_new("init", MODE_TRAIN);
    int64_t filters[4] = {8, 4, 3, 3}, rows[2] = {6, 10}, patches[4] = {24, 3, 2, 2};
    Val v[] = {leaf(g, OP_PARAM, "he_in", type_make(DT_F32, 4, filters), true, (Init){INIT_HE_NORMAL, 0}),
               leaf(g, OP_PARAM, "he_out", type_make(DT_F32, 4, filters), true, (Init){INIT_HE_NORMAL, 1}),
               leaf(g, OP_PARAM, "xavier", type_make(DT_F32, 2, rows), true, (Init){INIT_XAVIER_UNIFORM, 0}),
               leaf(g, OP_PARAM, "uniform", type_make(DT_F32, 2, rows), true, (Init){INIT_UNIFORM, 0.25}),
               leaf(g, OP_PARAM, "ones", type_vector(6), false, (Init){INIT_CONSTANT, 1}),
               leaf(g, OP_PARAM, "dirac", type_make(DT_F32, 4, filters), true, (Init){INIT_DIRAC, 0}),
               leaf(g, OP_PARAM, "whiten", type_make(DT_F32, 4, patches), true, (Init){INIT_WHITEN, 0.5})};
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++)
        graph_output(g, OUT_GRAD, scaled(g, v[i], 2), g->value[v[i]].attrs.param.name);
    RtRecipe recipe = {.optimizer.kind = RT_SGD};
    Running r = start(&(CodegenInput){.name = "init", .train = g, .recipe = &recipe, .recipe_text = ""});
    static const RtInitKind kinds[] = {RT_INIT_NORMAL,   RT_INIT_NORMAL, RT_INIT_UNIFORM, RT_INIT_UNIFORM,
                                       RT_INIT_CONSTANT, RT_INIT_DIRAC,  RT_INIT_WHITEN};
    const double values[] = {sqrt(2.0 / 36), sqrt(2.0 / 72), sqrt(6.0 / 16), 0.25, 1, 0, 0.5};
    for (int i = 0; i < 7; i++) {
        ck_assert_int_eq(r.program->params[i].init, kinds[i]);
        ck_assert_double_eq_tol(r.program->params[i].init_value, values[i], 1e-12);
        ck_assert_uint_eq(r.program->params[i].bytes % 64, 0);
    }
    stop(&r);
    graph_free(g);
}
END_TEST

/* ---- outputs ---- */

/* new = old * 0.5 + x sums, read again afterwards: the next value must not spoil what still needs the old one. */
START_TEST(state_is_read_before_it_is_written) {
    for (int read_later = 0; read_later < 2; read_later++) {
        Graph *g = graph_new("state", MODE_TRAIN);
        Val old = leaf(g, OP_STATE, "mean", type_vector(20), false, (Init){INIT_CONSTANT, 3});
        Val gamma = leaf(g, OP_PARAM, "gamma", type_vector(20), false, (Init){INIT_CONSTANT, 1});
        Val next = scaled(g, old, 0.5);
        graph_output(g, OUT_STATE, next, "mean");
        graph_output(g, OUT_GRAD, scaled(g, read_later ? old : gamma, 2), "gamma");
        RtRecipe recipe = {.optimizer.kind = RT_SGD};
        Running r = start(&(CodegenInput){.name = "state", .train = g, .recipe = &recipe, .recipe_text = ""});
        rt_machine_init_params(r.m, 1);
        float *state = rt_machine_space(r.m, RT_STATE), *grad = rt_machine_space(r.m, RT_GRADS);
        for (int step = 0; step < 3; step++) {
            float before = state[0];
            rt_machine_run(r.m, &r.program->train_step);
            ck_assert_float_eq(state[19], before * 0.5f);
            ck_assert_float_eq(grad[19], read_later ? 2 * before : 2);
        }
        ck_assert_uint_eq(r.program->train_step.ncalls, read_later ? 3 : 2); /* the copy only where it is needed */
        stop(&r);
        graph_free(g);
    }
}
END_TEST

/* One gradient for two parameters, and a parameter as its own gradient. */
START_TEST(outputs_that_share_a_value) {
    Graph *g = graph_new("shared", MODE_TRAIN);
    Val a = leaf(g, OP_PARAM, "a", type_vector(5), false, (Init){INIT_CONSTANT, 2});
    leaf(g, OP_PARAM, "b", type_vector(5), false, (Init){INIT_CONSTANT, 1});
    leaf(g, OP_PARAM, "c", type_vector(5), false, (Init){INIT_CONSTANT, 1});
    Val grad = scaled(g, a, 3);
    graph_output(g, OUT_GRAD, grad, "a");
    graph_output(g, OUT_GRAD, grad, "b");
    graph_output(g, OUT_GRAD, a, "c");
    RtRecipe recipe = {.optimizer.kind = RT_SGD};
    Running r = start(&(CodegenInput){.name = "shared", .train = g, .recipe = &recipe, .recipe_text = ""});
    rt_machine_init_params(r.m, 1);
    rt_machine_run(r.m, &r.program->train_step);
    static const float want[] = {6, 6, 2};
    for (uint32_t i = 0; i < 3; i++) {
        const float *at = (const float *)rt_machine_space(r.m, RT_GRADS) + r.program->params[i].offset / sizeof(float);
        ck_assert_float_eq(at[4], want[i]);
    }
    stop(&r);
    graph_free(g);
}
END_TEST

/* ---- inference ---- */

/* logits = pooled images * (w * 2) with dense; w * 2 depends on the parameter alone. */
static Graph *inference_graph(void) {
    Graph *g = graph_new("infer", MODE_INFER);
    Val x = leaf(g, OP_INPUT, "images", type_feature(3, 2, 4, 5), false, (Init){0});
    Val w = leaf(g, OP_PARAM, "w", type_matrix(7, 2), true, (Init){INIT_UNIFORM, 1});
    Val args[2] = {graph_add(g, &(ValueSpec){.op = OP_IMAGE_SUM, .args = &x, .nargs = 1}), scaled(g, w, 2)};
    graph_output(g, OUT_LOGITS, graph_add(g, &(ValueSpec){.op = OP_DENSE, .args = args, .nargs = 2}), NULL);
    return g;
}

START_TEST(inference_folds_what_it_can) {
    Graph *g = inference_graph();
    Running r = start(&(CodegenInput){.name = "infer", .infer = g, .recipe_text = ""});
    ck_assert_uint_eq(r.program->train_step.ncalls, 0);
    ck_assert_uint_eq(r.program->prepare_eval.ncalls, 1);
    ck_assert_uint_eq(r.program->eval_step.ncalls, 4); /* pack, sum, dense, logits to dense rows */
    ck_assert_int_eq(r.program->batch, 3);
    ck_assert_int_eq(r.program->channels, 2);
    ck_assert_int_eq(r.program->height, 4);
    ck_assert_int_eq(r.program->width, 5);
    ck_assert_int_eq(r.program->classes, 7);
    rt_machine_init_params(r.m, 9);
    float *images = rt_machine_space(r.m, RT_IMAGES), w[14];
    for (int i = 0; i < 3 * 2 * 20; i++) images[i] = (float)cos(i);
    rt_tensor_unpack(r.program, &r.program->params[0], rt_machine_space(r.m, RT_PARAMS), w);
    rt_machine_run(r.m, &r.program->prepare_eval);
    rt_machine_run(r.m, &r.program->eval_step);
    const float *logits = rt_machine_space(r.m, RT_LOGITS);
    for (int n = 0; n < 3; n++)
        for (int k = 0; k < 7; k++) {
            double sum = 0;
            for (int c = 0; c < 2; c++)
                for (int p = 0; p < 20; p++) sum += 2.0 * w[k * 2 + c] * images[(n * 2 + c) * 20 + p];
            ck_assert_double_eq_tol(logits[n * 7 + k], sum, 1e-5);
        }
    stop(&r);
    graph_free(g);
}
END_TEST

/* A net with what inference can hold: Winograd and direct convolutions, a squeeze with its gate, pooling. */
static Graph *small_net(int64_t images) {
    Graph *g = graph_new("net", MODE_INFER);
    int64_t first[4] = {16, 3, 3, 3}, second[4] = {16, 16, 3, 3};
    Init init = {INIT_UNIFORM, 0.3};
    Val x = leaf(g, OP_INPUT, "images", type_feature(images, 3, 12, 12), false, (Init){0});
    Val w[] = {leaf(g, OP_PARAM, "w1", type_make(DT_F32, 4, first), true, init),
               leaf(g, OP_PARAM, "w2", type_make(DT_F32, 4, second), true, init),
               leaf(g, OP_PARAM, "w3", type_matrix(16, 16), true, init), leaf(g, OP_PARAM, "w4", type_matrix(5, 16), true, init)};
    for (int i = 0; i < 2; i++)
        x = graph_add(
            g, &(ValueSpec){
                   .op = OP_CONV2D,
                   .args = (Val[]){x, w[i]},
                   .nargs = 2,
                   .attrs.window = {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1}});
    Val squeeze = graph_add(g, &(ValueSpec){.op = OP_IMAGE_SUM, .args = &x, .nargs = 1});
    Val gate = graph_binary(g, OP_DENSE, squeeze, w[2], (Span){0});
    ExprBuilder b = expr_builder(g->arena);
    const Expr *body = expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_arg(&b, 1)));
    Val gated = graph_map(g, g->value[x].type, (Val[]){x, gate}, 2, body, (Span){0}, "gated");
    Val pooled = graph_add(g, &(ValueSpec){.op = OP_IMAGE_SUM, .args = &gated, .nargs = 1});
    graph_output(g, OUT_LOGITS, graph_binary(g, OP_DENSE, pooled, w[3], (Span){0}), NULL);
    return g;
}

/* Seven images in groups of two, the same image at the even places: its scores are the same bits wherever it stands, beside
 * whichever neighbour, on any number of threads, and agree with those of a program for one image, which is cut for two cores. */
START_TEST(images_do_not_know_their_neighbours) {
    enum { IMAGES = 7, PIXELS = 3 * 12 * 12, CLASSES = 5 };
    float alone[CLASSES], first[IMAGES * CLASSES];
    for (int run = 0; run < 3; run++) {
        Graph *g = small_net(run == 0 ? 1 : 2);
        Running r =
            start_on(&(CodegenInput){.name = "net", .infer = g, .batch = run == 0 ? 1 : IMAGES, .recipe_text = ""}, 1 + 2 * run);
        rt_machine_init_params(r.m, 4);
        float *images = rt_machine_space(r.m, RT_IMAGES), *logits = rt_machine_space(r.m, RT_LOGITS);
        for (int i = 0; i < (run == 0 ? 1 : IMAGES) * PIXELS; i++) images[i] = sinf((float)(i / PIXELS % 2 ? i : i % PIXELS));
        rt_machine_run(r.m, &r.program->prepare_eval);
        ck_assert_int_eq(rt_machine_group(r.m), run == 0 ? 1 : 2);
        for (uint32_t c = 0; c < r.program->eval_step.ncalls; c++) /* weights alone decide them: prepare_eval's work */
            ck_assert_ptr_null(strstr(r.program->eval_step.calls[c].name, "filters"));
        rt_machine_infer(r.m, run == 0 ? 1 : IMAGES);
        if (run == 0) memcpy(alone, logits, sizeof alone);
        if (run == 1) memcpy(first, logits, sizeof first);
        if (run == 2) ck_assert_mem_eq(logits, first, sizeof first);
        for (int n = 0; n < (run == 0 ? 1 : IMAGES); n += 2) {
            ck_assert_mem_eq(logits + n * CLASSES, logits, CLASSES * sizeof(float));
            for (int k = 0; k < CLASSES; k++)
                ck_assert_double_le(fabs(logits[n * CLASSES + k] - alone[k]), 1e-4 * (1 + fabs(alone[k])));
        }
        stop(&r);
        graph_free(g);
    }
}
END_TEST

/* ---- kernels ---- */

START_TEST(equal_structure_shares_a_kernel) {
    Graph *g = graph_new("shared", MODE_TRAIN);
    char name[6][8];
    for (int i = 0; i < 6; i++) { /* two sizes, three parameters each */
        snprintf(name[i], sizeof name[i], "p%d", i);
        Val p = leaf(g, OP_PARAM, name[i], type_vector(i % 2 ? 40 : 24), true, (Init){INIT_CONSTANT, i});
        graph_output(g, OUT_GRAD, scaled(g, p, 0.25), name[i]);
    }
    RtRecipe recipe = {.optimizer.kind = RT_SGD};
    Running r = start(&(CodegenInput){.name = "shared", .train = g, .recipe = &recipe, .recipe_text = ""});
    const CodegenStats *stats = jit_stats(r.jit);
    ck_assert_uint_eq(stats->kernels_requested, 7);
    ck_assert_uint_eq(stats->kernels, 3); /* a map of each size, and the optimiser */
    ck_assert_uint_eq(stats->calls, 7);
    ck_assert_uint_gt(stats->code_bytes, 0);
    const RtCall *calls = r.program->train_step.calls;
    ck_assert(calls[0].kernel == calls[2].kernel && calls[0].kernel != calls[1].kernel);
    ck_assert_str_eq(calls[0].label, "scaled");
    stop(&r);
    graph_free(g);
}
END_TEST

static int lines_with(const char *path, const char *word) {
    char line[4096];
    FILE *in = fopen(path, "r");
    int count = 0;
    while (fgets(line, sizeof line, in)) count += strstr(line, word) != NULL;
    fclose(in);
    return count;
}

static bool file_says(const char *path, const char *word) { return lines_with(path, word) > 0; }

START_TEST(dumps_are_written) {
    Graph *g = inference_graph();
    char ir[] = "/tmp/netc-test-XXXXXX", assembly[] = "/tmp/netc-test-XXXXXX";
    close(mkstemp(ir));
    close(mkstemp(assembly));
    Diag *diag = diag_new();
    CodegenInput input = {.name = "dump", .infer = g, .recipe_text = ""};
    Jit *jit = codegen_jit(&input, &(CodegenOptions){.dump_llvm = ir, .dump_asm = assembly}, diag);
    ck_assert_ptr_nonnull(jit);
    const char *const paths[] = {ir, assembly}, *const words[] = {" void @pack_images", "pack_images"};
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(file_says(paths[i], words[i]), "%s is not in the dump", words[i]);
        remove(paths[i]);
    }
    jit_free(jit);
    ck_assert_ptr_null(codegen_jit(&input, &(CodegenOptions){.dump_asm = "/nonexistent/x.s"}, diag));
    ck_assert_int_eq(diag_error_count(diag), 1);
    diag_free(diag);
    graph_free(g);
}
END_TEST

/* One image of `side` x `side` pixels through 16 to 128 to 128 channels and a layer of 1500 outputs. */
static Graph *alone_graph(int64_t side) {
    Graph *g = graph_new("alone", MODE_INFER);
    Init init = {INIT_UNIFORM, 0.3};
    Val x = leaf(g, OP_INPUT, "images", type_feature(1, 16, side, side), false, (Init){0});
    int64_t first[4] = {128, 16, 3, 3}, second[4] = {128, 128, 3, 3};
    Val w[] = {leaf(g, OP_PARAM, "w1", type_make(DT_F32, 4, first), true, init),
               leaf(g, OP_PARAM, "w2", type_make(DT_F32, 4, second), true, init),
               leaf(g, OP_PARAM, "w3", type_matrix(1500, 128), true, init)};
    const Attrs window = {.window = {.kernel = {3, 3}, .stride = {1, 1}, .pad = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1}};
    for (int i = 0; i < 2; i++)
        x = graph_add(g, &(ValueSpec){.op = OP_CONV2D, .args = (Val[]){x, w[i]}, .nargs = 2, .attrs = window});
    Val sums = graph_add(g, &(ValueSpec){.op = OP_IMAGE_SUM, .args = &x, .nargs = 1});
    graph_output(g, OUT_LOGITS, graph_binary(g, OP_DENSE, sums, w[2], (Span){0}), NULL);
    return g;
}

/* Filters that serve few pixels are fetched ahead, those of larger maps are not; a line once, however many vectors it has. */
START_TEST(filters_of_few_pixels_are_fetched) {
    static const int64_t sides[] = {4, 32};
    static const char *const cpus[] = {"x86-64-v4", "x86-64-v3"};
    int requests[2][2];
    for (int cpu = 0; cpu < 2; cpu++)
        for (int i = 0; i < 2; i++) {
            Graph *g = alone_graph(sides[i]);
            char ir[] = "/tmp/netc-test-XXXXXX";
            close(mkstemp(ir));
            Diag *diag = diag_new();
            CodegenInput input = {.name = "alone", .infer = g, .recipe_text = ""};
            CodegenOptions options = {
                .target = "x86_64-linux-gnu", .cpu = cpus[cpu], .conv = conv_method("direct"), .dump_llvm = ir};
            GemmUse gemm;
            ck_assert(codegen_object(&input, &options, "netc_program", NULL, &gemm, diag));
            requests[cpu][i] = lines_with(ir, "call void @llvm.prefetch");
            remove(ir);
            diag_free(diag);
            graph_free(g);
        }
    ck_assert_int_eq(requests[0][1], 0);
    ck_assert_int_gt(requests[0][0], 0);
    ck_assert_int_eq(requests[1][1], 0);
    ck_assert_int_eq(requests[1][0], requests[0][0]);
}
END_TEST

/* A few tiles are not worth transformed filters; and a dense layer of one image is cut, so that all threads read its weights. */
START_TEST(one_image_is_as_fast_as_its_weights) {
    Graph *g = alone_graph(4);
    Running r = start(&(CodegenInput){.name = "alone", .infer = g, .recipe_text = ""});
    bool dense = false;
    for (uint32_t c = 0; c < r.program->eval_step.ncalls; c++) {
        const RtCall *call = &r.program->eval_step.calls[c];
        ck_assert_ptr_null(strstr(call->name, "wide"));
        if (strstr(call->name, "dense")) dense = call->pieces > 1;
    }
    ck_assert(dense);
    stop(&r);
    graph_free(g);
}
END_TEST

/* Feature maps go past the caches where a step has more than those keep, on machines whose vectors are whole lines. */
START_TEST(what_the_cache_keeps_is_stored_there) {
    static const int64_t caches[] = {INT64_C(4) << 20, INT64_C(1) << 40};
    Graph *g = small_net(256); /* maps of 2.4 MB */
    char ir[] = "/tmp/netc-test-XXXXXX";
    close(mkstemp(ir));
    CodegenInput input = {.name = "stores", .infer = g, .recipe_text = ""};
    Diag *diag = diag_new();
    for (int i = 0; i < 2; i++) {
        CodegenOptions options = {.target = "x86_64-linux-gnu",
                                  .cpu = "x86-64-v4",
                                  .conv = conv_method("direct"),
                                  .last_cache = caches[i],
                                  .dump_llvm = ir};
        GemmUse gemm;
        ck_assert(codegen_object(&input, &options, "netc_program", NULL, &gemm, diag));
        ck_assert(file_says(ir, "!nontemporal") == (i == 0));
        ck_assert(file_says(ir, "fence") == (i == 0));
    }
    remove(ir);
    diag_free(diag);
    graph_free(g);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("program");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, optimizer_follows_pytorch, 0, OPTIMIZERS);
    tcase_add_loop_test(tests, groups_are_pytorchs_param_groups, 0, OPTIMIZERS);
    tcase_add_test(tests, optimizers_have_kernels_of_their_own);
    tcase_add_test(tests, decay_follows_recipe);
    tcase_add_test(tests, initial_distributions);
    tcase_add_test(tests, state_is_read_before_it_is_written);
    tcase_add_test(tests, outputs_that_share_a_value);
    tcase_add_test(tests, inference_folds_what_it_can);
    tcase_add_test(tests, images_do_not_know_their_neighbours);
    tcase_add_test(tests, equal_structure_shares_a_kernel);
    tcase_add_test(tests, dumps_are_written);
    tcase_add_test(tests, filters_of_few_pixels_are_fetched);
    tcase_add_test(tests, one_image_is_as_fast_as_its_weights);
    tcase_add_test(tests, what_the_cache_keeps_is_stored_there);
    return run_cases("codegen_program", tests);
}
