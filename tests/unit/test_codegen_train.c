/* Training as a whole: small nets from .net text through frontend, passes and JIT, against the reference evaluator on the
 * unoptimised graph. Twenty steps of SGD: every loss, the running statistics and weights at the end; the first gradients of
 * every parameter. With every optional pass on, all off, and each one alone off; and for each level of x86-64. Then inference
 * with the trained weights. */
#include "runtime/cpu.h"
#include "runtime/rt.h"
#include "train_reference.h"

/* ---- compiled training ---- */

typedef struct Training {
    Jit *jit;
    RtPool *pool;
    RtMachine *m;
    const RtProgram *program;
} Training;

static Training training_new(const Net *net, const Graph *fused, const Graph *infer, const char *cpu, int threads) {
    Diag *diag = diag_new();
    CodegenInput input = {
        .name = "small", .train = fused, .infer = infer, .recipe = &net->model.recipe, .recipe_text = net->model.recipe_text};
    CodegenOptions options = {.cpu = cpu};
    Training t = {.jit = codegen_jit(&input, &options, diag), .pool = rt_pool_new(threads)};
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

/* What fills a tensor's vectors is zero: the norm of the gradients, for one, is taken over all (runtime/gradient.c). */
static void check_padding(const Training *t, const RtTensor *tensor, RtSpace space, const float *logical, const char *what) {
    char *packed = malloc(tensor->offset + tensor->bytes);
    rt_tensor_pack(t->program, tensor, logical, packed);
    const char *block = rt_machine_space(t->m, space);
    const float *want = (const float *)(const void *)(packed + tensor->offset);
    const float *got = (const float *)(const void *)(block + tensor->offset);
    for (uint64_t i = 0; i < tensor->bytes / sizeof *got; i++)
        ck_assert_msg(got[i] == want[i], "%s: '%s' has %g in its padding", what, tensor->name, got[i]);
    free(packed);
}

static void check_block(const Training *t, const RtTensor *tensor, RtSpace space, const Tensor *want, const char *what) {
    float *got = malloc((size_t)type_elements(want->type) * sizeof *got);
    rt_tensor_unpack(t->program, tensor, rt_machine_space(t->m, space), got);
    check_norm(tensor->name, got, want, 1e-3, what);
    check_padding(t, tensor, space, got, what);
    free(got);
}

static void check_gradients(const Net *net, const Training *t, const Trajectory *want, const char *what) {
    const Graph *g = net->reference.graph;
    uint32_t checked = 0;
    for (uint32_t i = 0; i < g->noutputs; i++)
        for (uint32_t k = 0; want->gradient[i].data && k < t->program->nparams; k++) {
            if (strcmp(t->program->params[k].name, g->output[i].name)) continue;
            check_block(t, &t->program->params[k], RT_GRADS, &want->gradient[i], what);
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
        check_block(t, &t->program->params[i], RT_PARAMS, leaf_named(&want->leaves, t->program->params[i].name), what);
    for (uint32_t i = 0; i < t->program->nstate; i++)
        check_block(t, &t->program->state[i], RT_STATE, leaf_named(&want->leaves, t->program->state[i].name), what);
}

/* ---- tests ---- */

/* Variant 0: all passes; 1: no optional one; 2: all, and all activations computed again that can be; 3 + i: optional pass i off.
 */
static void check_variant(const Net *net, Trajectory *want, uint32_t variant, const char *cpu) {
    const char *names[32];
    uint32_t n = optional_passes(MODE_TRAIN, names);
    const char *const *off = names, *said = "all passes";
    uint32_t noff = 0, recompute = 0;
    switch (variant) {
    case 0: break;
    case 1: noff = n, said = "no optional pass"; break;
    case 2: recompute = UINT32_MAX, said = "everything recomputed"; break;
    default: off = &names[variant - 3], noff = 1, said = "without ";
    }
    PassResult fused = optimise_recomputed(net->model.graph, off, noff, recompute);
    ck_assert(!recompute || fused.recomputable > 0);
    char what[100];
    snprintf(what, sizeof what, "%s: %s%s", cpu, said, variant >= 3 ? *off : "");
    Training t = training_new(net, fused.graph, NULL, cpu, 1);
    if (!want->leaves.count) {
        copy_leaves(net, &t, &want->leaves);
        run_reference(net, want);
    }
    check_training(net, &t, want, what);
    training_free(&t);
    passes_result_free(&fused);
}

/* The levels that netc build makes executables for, where this machine can run them. */
static void check_levels(const Net *net, Trajectory *want) {
#ifdef __x86_64__
    static const char *const levels[] = {"x86-64-v3", "x86-64-v4"};
    for (int i = 0; i < 2; i++) {
        Diag *diag = diag_new();
        char missing[100], *features = codegen_features(NULL, levels[i], PRECISION_F32, diag);
        must(features != NULL, diag);
        if (!rt_cpu_lacks(features, missing, sizeof missing)) check_variant(net, want, 0, levels[i]);
        free(features);
        diag_free(diag);
    }
#else
    (void)net, (void)want;
#endif
}

START_TEST(trains_as_the_reference) {
    Net net = net_open(_i, MODE_TRAIN);
    Trajectory want = {0};
    const char *names[32];
    uint32_t n = optional_passes(MODE_TRAIN, names);
    uint32_t variants = 3 + (_i < 2 ? n : 0); /* the two ResNets with each pass alone off; the third net all on, all off */
    for (uint32_t variant = 0; variant < variants; variant++) check_variant(&net, &want, variant, "native");
    check_levels(&net, &want);
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
    set_inputs(g, &leaves, EVAL_BATCH);
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
        Training t = training_new(&train, fused.graph, folded.graph, NULL, 2);
        for (int step = 0; step < 5; step++) {
            run_step(&t, &train.model.recipe, step);
            rt_machine_run(t.m, &t.program->apply_update);
        }
        float *images = rt_machine_space(t.m, RT_IMAGES);
        for (int64_t i = 0; i < t.program->batch * t.program->channels * t.program->height * t.program->width; i++)
            images[i] = pixel(EVAL_BATCH, i);
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
        Training t = training_new(&net, fused.graph, NULL, NULL, threads);
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
