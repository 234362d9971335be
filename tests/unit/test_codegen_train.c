/* Training as a whole: small nets from .net text through frontend, passes and JIT, against the reference evaluator on the
 * unoptimised graph. Twenty steps of SGD: every loss, the running statistics and weights at the end; the first gradients of
 * every parameter. With every optional pass on, all off, and each one alone off. Then inference with the trained weights. */
#include "codegen_helpers.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/rt.h"
#include <unistd.h>

enum { STEPS = 20, BATCH = 4, MAX_TENSORS = 64 };

static const char recipe_text[] = "train {\n    data = synthetic\n    augment = []\n    batch = 4\n"
                                  "    optimizer = sgd(lr = 0.05, momentum = 0.9, weight_decay = 1e-3)\n}\n";

static const char *const nets[] = {
    /* a small ResNet */
    "block conv_bn(x, f, k = 3, stride = 1) { return batch_norm(conv2d(x, f, k, stride = stride, bias = false)) }\n"
    "block basic(x, f, stride = 1) {\n    y = conv_bn(relu(conv_bn(x, f, stride = stride)), f)\n"
    "    if stride != 1 or channels(x) != f { x = conv2d(x, f, 1, stride = stride, bias = false) }\n    return relu(x + y)\n}\n"
    "net small(classes = 10) {\n    input image: f32[3, 8, 8]\n    x = relu(conv_bn(image, 8))\n"
    "    x = basic(basic(x, 8), 16, stride = 2)\n    output dense(global_avg_pool(x), classes)\n}\n",
    /* a small SE-ResNet */
    "block conv_bn(x, f, stride = 1) { return batch_norm(conv2d(x, f, 3, stride = stride, bias = false)) }\n"
    "block se(x) { return x * sigmoid(dense(relu(dense(global_avg_pool(x), max(1, channels(x) // 4))), channels(x))) }\n"
    "block basic(x, f, stride = 1) {\n    y = se(conv_bn(relu(conv_bn(x, f, stride = stride)), f))\n"
    "    if stride != 1 or channels(x) != f { x = conv2d(x, f, 1, stride = stride, bias = false) }\n    return relu(x + y)\n}\n"
    "net small(classes = 10) {\n    input image: f32[3, 16, 16]\n    x = relu(conv_bn(image, 16))\n"
    "    x = basic(basic(x, 16), 16, stride = 2)\n    output dense(global_avg_pool(x), classes)\n}\n",
    /* the rest of the language: groups, biases, pools, concat, dropout, smooth activations, ragged channels */
    "net small(classes = 10) {\n    input image: f32[3, 9, 7]\n    x = silu(conv2d(image, 6, 3))\n"
    "    a = max_pool(hard_swish(batch_norm(conv2d(x, 10, [1, 3], groups = 2))), 3, stride = 2, pad = 1)\n"
    "    b = avg_pool(tanh(conv2d(x, 9, 3, stride = 1, dilation = 2, pad = 2)), 3, stride = 2, pad = 1)\n"
    "    y = dropout(concat(a, b), 0.25) + pad_channels(x, 19, stride = 2)\n"
    "    y = y * hard_sigmoid(dense(global_avg_pool(y), 19))\n    output dense(relu(dense(flatten(y), 21)), classes)\n}\n",
};

/* ---- one net: source graph, reference graph, data ---- */

typedef struct Net {
    Model model;
    PassResult reference; /* required passes only */
} Net;

static void must(bool ok, Diag *diag) {
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
}

static PassResult optimise(const Graph *g, const char *const *disable, uint32_t ndisable) {
    Diag *diag = diag_new();
    PassResult result;
    PassOptions options = {.disable = disable, .ndisable = ndisable, .bisect_limit = -1};
    must(passes_run(g, &options, diag, &result), diag);
    diag_free(diag);
    return result;
}

static uint32_t optional_passes(Mode mode, const char *names[]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < pass_count(); i++) {
        const Pass *pass = pass_at(i);
        if (!pass->required && (mode == MODE_TRAIN ? pass->train : pass->infer)) names[n++] = pass->name;
    }
    return n;
}

static Net net_open(int which, Mode mode) {
    char path[] = "/tmp/netc-train-XXXXXX.net";
    FILE *out = fdopen(mkstemps(path, 4), "w");
    fprintf(out, "%s%s", nets[which], recipe_text);
    fclose(out);
    Net net;
    Diag *diag = diag_new();
    FrontendOptions options = {.mode = mode, .batch = BATCH};
    bool compiled = frontend_compile(path, &options, diag, &net.model);
    remove(path);
    must(compiled, diag);
    diag_free(diag);
    const char *names[32];
    net.reference = optimise(net.model.graph, names, optional_passes(mode, names));
    return net;
}

static void net_close(Net *net) {
    passes_result_free(&net->reference);
    graph_free(net->model.graph);
}

static float pixel(int step, int64_t i) {
    return (float)(2 * sin(0.37 * (double)i + 1.3 * step) * cos(0.011 * (double)(i * (step + 3))));
}
static int label(int step, int64_t i) { return (int)((i * 7 + step * 3) % 10); }

/* ---- the reference: evaluator and SGD in double ---- */

typedef struct Trajectory {
    double loss[STEPS], correct[STEPS];
    Tensor gradient[MAX_TENSORS]; /* of the first step, by output; data NULL if output i is no gradient */
    Leaves leaves;                /* at the end */
} Trajectory;

static Tensor *leaf_named(Leaves *leaves, const char *name) {
    for (int i = 0; i < leaves->count; i++)
        if (!strcmp(leaves->name[i], name)) return &leaves->tensor[i];
    ck_abort_msg("no leaf '%s'", name);
}

static const Tensor *find_leaf(void *context, const Value *leaf) { return leaf_named(context, leaf->attrs.param.name); }

static void set_inputs(const Graph *g, Leaves *leaves, int step) {
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op != OP_INPUT) continue;
        Tensor *t = leaf_named(leaves, g->value[v].attrs.param.name);
        for (int64_t i = 0, n = type_elements(t->type); i < n; i++)
            t->data[i] = t->type.dtype == DT_I32 ? label(step, i) : pixel(step, i);
    }
}

static void sgd(const RtOptimizer *o, Tensor *p, const Tensor *g, double *momentum, bool decays) {
    for (int64_t i = 0, n = type_elements(p->type); i < n; i++) {
        double d = g->data[i] + (decays ? o->weight_decay : 0) * p->data[i];
        momentum[i] = o->momentum * momentum[i] + d;
        p->data[i] -= o->lr * momentum[i];
    }
}

static bool decays(const Graph *g, const char *name, const RtOptimizer *o) {
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_PARAM && !strcmp(g->value[v].attrs.param.name, name))
            return g->value[v].attrs.param.decay || o->decay_bn;
    return false;
}

/* Consumes the outputs of one step: loss, gradients (applied), next statistics. */
static void absorb(const Net *net, Trajectory *t, int step, Tensor *out, double **momentum) {
    const Graph *g = net->reference.graph;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->output[i];
        if (o->kind == OUT_LOSS) t->loss[step] = out[i].data[0];
        if (o->kind == OUT_CORRECT) t->correct[step] = out[i].data[0];
        if (o->kind == OUT_GRAD) {
            size_t n = (size_t)type_elements(out[i].type);
            if (!momentum[i]) momentum[i] = calloc(n, sizeof(double));
            const RtOptimizer *optimizer = &net->model.recipe.optimizer;
            sgd(optimizer, leaf_named(&t->leaves, o->name), &out[i], momentum[i], decays(g, o->name, optimizer));
        }
        if (o->kind == OUT_STATE)
            memcpy(leaf_named(&t->leaves, o->name)->data, out[i].data, (size_t)type_elements(out[i].type) * sizeof(double));
        if (o->kind == OUT_GRAD && step == 0)
            t->gradient[i] = out[i];
        else
            tensor_free(&out[i]);
    }
}

/* From the leaves as they are. */
static void run_reference(const Net *net, Trajectory *t) {
    double *momentum[MAX_TENSORS] = {0};
    ck_assert_uint_le(net->reference.graph->noutputs, MAX_TENSORS);
    for (int step = 0; step < STEPS; step++) {
        Tensor out[MAX_TENSORS] = {0};
        char why[400];
        EvalOptions options = {.seed = 3, .step = (uint64_t)step};
        set_inputs(net->reference.graph, &t->leaves, step);
        ck_assert_msg(graph_eval(net->reference.graph, find_leaf, &t->leaves, &options, out, NULL, why, sizeof why), "%s", why);
        absorb(net, t, step, out, momentum);
    }
    for (int i = 0; i < MAX_TENSORS; i++) free(momentum[i]);
}

static void trajectory_free(Trajectory *t) {
    for (int i = 0; i < MAX_TENSORS; i++) tensor_free(&t->gradient[i]);
    leaves_free(&t->leaves);
}

/* ---- compiled training ---- */

typedef struct Training {
    Jit *jit;
    RtPool *pool;
    RtMachine *m;
    const RtProgram *program;
} Training;

static Training training_new(const Net *net, const Graph *fused, const Graph *infer, int threads) {
    Diag *diag = diag_new();
    CodegenInput input = {
        .name = "small", .train = fused, .infer = infer, .recipe = &net->model.recipe, .recipe_text = net->model.recipe_text};
    Training t = {.jit = codegen_jit(&input, NULL, diag), .pool = rt_pool_new(threads)};
    must(t.jit != NULL, diag);
    diag_free(diag);
    RtError error;
    t.program = jit_program(t.jit);
    t.m = rt_machine_new(t.program, t.pool, &error);
    ck_assert_msg(t.m != NULL, "%s", error.text);
    rt_machine_init_params(t.m, 42);
    return t;
}

static void training_free(Training *t) {
    rt_machine_free(t->m);
    rt_pool_free(t->pool);
    jit_free(t->jit);
}

static void unpack(const Training *t, const RtTensor *tensor, RtSpace space, Tensor *to) {
    size_t n = (size_t)type_elements(to->type);
    float *logical = malloc(n * sizeof *logical);
    rt_tensor_unpack(t->program, tensor, rt_machine_space(t->m, space), logical);
    for (size_t i = 0; i < n; i++) to->data[i] = logical[i];
    free(logical);
}

/* The machine's initial parameters and states become the reference's. */
static void copy_leaves(const Net *net, const Training *t, Leaves *leaves) {
    const Graph *g = net->reference.graph;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (value->op != OP_INPUT && value->op != OP_PARAM && value->op != OP_STATE) continue;
        Tensor *to = leaves_add(leaves, value->attrs.param.name, value->type);
        const RtTensor *list = value->op == OP_PARAM ? t->program->params : t->program->state;
        uint32_t n = value->op == OP_INPUT ? 0 : value->op == OP_PARAM ? t->program->nparams : t->program->nstate;
        for (uint32_t i = 0; i < n; i++)
            if (!strcmp(list[i].name, value->attrs.param.name))
                unpack(t, &list[i], value->op == OP_PARAM ? RT_PARAMS : RT_STATE, to);
    }
}

static void run_step(const Training *t, const RtRecipe *recipe, int step) {
    const RtProgram *p = t->program;
    float *images = rt_machine_space(t->m, RT_IMAGES);
    int32_t *labels = rt_machine_space(t->m, RT_LABELS);
    for (int64_t i = 0; i < p->batch * p->channels * p->height * p->width; i++) images[i] = pixel(step, i);
    for (int64_t i = 0; i < p->batch; i++) labels[i] = label(step, i);
    *rt_machine_env(t->m) =
        (RtStepEnv){.seed = 3, .step = (uint64_t)step, .lr = (float)recipe->optimizer.lr, .bias1 = 1, .bias2 = 1};
    rt_machine_run(t->m, &p->train_step);
}

/* ||got - want|| <= tolerance * (||want|| + floor) */
static void check_norm(const Training *t, const RtTensor *tensor, RtSpace space, const Tensor *want, double tolerance,
                       const char *what) {
    Tensor got = tensor_new(want->type);
    unpack(t, tensor, space, &got);
    double error = 0, norm = 0;
    for (int64_t i = 0, n = type_elements(want->type); i < n; i++) {
        error += pow(got.data[i] - want->data[i], 2);
        norm += pow(want->data[i], 2);
    }
    ck_assert_msg(sqrt(error) <= tolerance * (sqrt(norm) + 1e-4), "%s, %s: differs by %g of norm %g", what, tensor->name,
                  sqrt(error), sqrt(norm));
    tensor_free(&got);
}

static void check_gradients(const Net *net, const Training *t, const Trajectory *want, const char *what) {
    const Graph *g = net->reference.graph;
    uint32_t checked = 0;
    for (uint32_t i = 0; i < g->noutputs; i++)
        for (uint32_t k = 0; want->gradient[i].data && k < t->program->nparams; k++) {
            if (strcmp(t->program->params[k].name, g->output[i].name)) continue;
            check_norm(t, &t->program->params[k], RT_GRADS, &want->gradient[i], 1e-3, what);
            checked++;
        }
    ck_assert_uint_eq(checked, t->program->nparams);
}

static void check_training(const Net *net, Training *t, Trajectory *want, const char *what) {
    const float *metrics = rt_machine_space(t->m, RT_METRICS);
    for (int step = 0; step < STEPS; step++) {
        run_step(t, &net->model.recipe, step);
        ck_assert_msg(fabs(metrics[0] - want->loss[step]) <= 1e-4 * fabs(want->loss[step]),
                      "%s, step %d: loss %.7g, should be %.7g", what, step, metrics[0], want->loss[step]);
        ck_assert_msg(metrics[1] == want->correct[step], "%s, step %d: %g correct, should be %g", what, step, metrics[1],
                      want->correct[step]);
        if (step == 0) check_gradients(net, t, want, what);
        rt_machine_run(t->m, &t->program->apply_update);
    }
    for (uint32_t i = 0; i < t->program->nparams; i++)
        check_norm(t, &t->program->params[i], RT_PARAMS, leaf_named(&want->leaves, t->program->params[i].name), 1e-3, what);
    for (uint32_t i = 0; i < t->program->nstate; i++)
        check_norm(t, &t->program->state[i], RT_STATE, leaf_named(&want->leaves, t->program->state[i].name), 1e-3, what);
}

/* ---- tests ---- */

/* Variant 0: all passes; 1: no optional one; 2 + i: optional pass i off. */
static void check_variant(const Net *net, Trajectory *want, uint32_t variant) {
    const char *names[32];
    uint32_t n = optional_passes(MODE_TRAIN, names);
    bool one = variant >= 2;
    PassResult fused = optimise(net->model.graph, one ? &names[variant - 2] : names, one ? 1 : variant ? n : 0);
    char what[100];
    snprintf(what, sizeof what, "%s%s",
             one       ? "without "
             : variant ? "no optional pass"
                       : "all passes",
             one ? names[variant - 2] : "");
    Training t = training_new(net, fused.graph, NULL, 1);
    if (!want->leaves.count) {
        copy_leaves(net, &t, &want->leaves);
        run_reference(net, want);
    }
    check_training(net, &t, want, what);
    training_free(&t);
    passes_result_free(&fused);
}

START_TEST(trains_as_the_reference) {
    Net net = net_open(_i, MODE_TRAIN);
    Trajectory want = {0};
    const char *names[32];
    uint32_t n = optional_passes(MODE_TRAIN, names);
    uint32_t variants = 2 + (_i < 2 ? n : 0); /* the two ResNets with each pass alone off; the third net all on, all off */
    for (uint32_t variant = 0; variant < variants; variant++) check_variant(&net, &want, variant);
    trajectory_free(&want);
    net_close(&net);
}
END_TEST

/* ---- inference ---- */

static void check_logits(const Net *infer, const Training *t, const char *what) {
    const Graph *g = infer->reference.graph;
    Leaves leaves = {.count = 0};
    Tensor out[MAX_TENSORS];
    char why[400];
    copy_leaves(infer, t, &leaves);
    set_inputs(g, &leaves, 7);
    EvalOptions options = {0};
    ck_assert_msg(graph_eval(g, find_leaf, &leaves, &options, out, NULL, why, sizeof why), "%s", why);
    const float *logits = rt_machine_space(t->m, RT_LOGITS);
    int64_t n = type_elements(out[0].type);
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(out[0].data[i]));
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs(logits[i] - out[0].data[i]) <= 1e-4 * largest, "%s: logit %lld is %g, should be %g", what,
                      (long long)i, logits[i], out[0].data[i]);
    tensor_free(&out[0]);
    leaves_free(&leaves);
}

/* A few steps of training move weights and running statistics away from where they started; then eval_step. */
START_TEST(infers_as_the_reference) {
    Net train = net_open(_i, MODE_TRAIN), infer = net_open(_i, MODE_INFER);
    PassResult fused = optimise(train.model.graph, NULL, 0);
    for (int off = 0; off < 2; off++) {
        const char *names[32];
        PassResult folded = optimise(infer.model.graph, names, off ? optional_passes(MODE_INFER, names) : 0);
        Training t = training_new(&train, fused.graph, folded.graph, 2);
        for (int step = 0; step < 5; step++) {
            run_step(&t, &train.model.recipe, step);
            rt_machine_run(t.m, &t.program->apply_update);
        }
        float *images = rt_machine_space(t.m, RT_IMAGES);
        for (int64_t i = 0; i < t.program->batch * t.program->channels * t.program->height * t.program->width; i++)
            images[i] = pixel(7, i);
        rt_machine_run(t.m, &t.program->prepare_eval);
        rt_machine_run(t.m, &t.program->eval_step);
        check_logits(&infer, &t, off ? "no optional pass" : "all passes");
        training_free(&t);
        passes_result_free(&folded);
    }
    passes_result_free(&fused);
    net_close(&infer);
    net_close(&train);
}
END_TEST

START_TEST(threads_do_not_change_a_bit) {
    Net net = net_open(1, MODE_TRAIN);
    PassResult fused = optimise(net.model.graph, NULL, 0);
    char *first = NULL;
    for (int threads = 1; threads <= 4; threads *= 2) {
        Training t = training_new(&net, fused.graph, NULL, threads);
        for (int step = 0; step < 5; step++) {
            run_step(&t, &net.model.recipe, step);
            rt_machine_run(t.m, &t.program->apply_update);
        }
        size_t bytes = t.program->params_bytes;
        if (!first) {
            first = malloc(bytes);
            memcpy(first, rt_machine_space(t.m, RT_PARAMS), bytes);
        }
        ck_assert_msg(!memcmp(first, rt_machine_space(t.m, RT_PARAMS), bytes), "%d threads train other weights", threads);
        training_free(&t);
    }
    free(first);
    passes_result_free(&fused);
    net_close(&net);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("train");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, trains_as_the_reference, 0, (int)(sizeof nets / sizeof nets[0]));
    tcase_add_loop_test(tests, infers_as_the_reference, 0, (int)(sizeof nets / sizeof nets[0]));
    tcase_add_test(tests, threads_do_not_change_a_bit);
    return run_cases("codegen_train", tests);
}
