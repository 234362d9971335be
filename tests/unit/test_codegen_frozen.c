/* Frozen parameters: what only their gradients need is not in the compiled program, or, where they are frozen from an epoch on,
 * is left out from there on, and what is trained has the same bits either way. */
#include "codegen_nets.h"
#include "runtime/rt.h"

#define NET                                                                                                                      \
    "block layer(x, filters) { return relu(batch_norm(conv2d(x, filters, 3, bias = false))) }\n"                                 \
    "net n() {\n input image: f32[3, 16, 16]\n x = layer(image, 16)\n x = layer(x, 16)\n x = layer(x, 32)\n"                     \
    " output dense(global_avg_pool(x), 10)\n}\n"
#define TRAIN(groups)                                                                                                            \
    NET "train { optimizer = sgd(lr = 0.1, momentum = 0.9, weight_decay = 0.01)\n batch = 8\n groups = [" groups "] }\n"

typedef struct Trained {
    Model model;
    PassResult passes;
    Jit *jit;
    RtProgram *program; /* a copy, and of train_step's calls */
    RtCall *call;
    RtMachine *m;
    RtPool *pool;
} Trained;

static Trained trained_new(const char *text, int64_t shards) {
    Trained t = {.pool = rt_pool_new(2)};
    char path[] = "/tmp/netc-frozen-XXXXXX.net";
    FILE *out = fdopen(mkstemps(path, 4), "w");
    fputs(text, out);
    fclose(out);
    Diag *diag = diag_new();
    bool ok = frontend_compile(path, &(FrontendOptions){.mode = MODE_TRAIN}, diag, &t.model) &&
              passes_run(t.model.graph, &(PassOptions){.bisect_limit = -1}, diag, &t.passes);
    remove(path);
    CodegenInput input = {.name = "n", .train = t.passes.graph, .recipe = &t.model.recipe, .recipe_text = t.model.recipe_text};
    if (ok) t.jit = codegen_jit(&input, &(CodegenOptions){.shards = shards}, diag);
    if (!t.jit) diag_print(diag, stderr, false);
    ck_assert(t.jit != NULL);
    diag_free(diag);
    t.program = malloc(sizeof *t.program);
    *t.program = *jit_program(t.jit);
    t.call = calloc(t.program->train_step.ncalls, sizeof *t.call);
    memcpy(t.call, t.program->train_step.calls, t.program->train_step.ncalls * sizeof *t.call);
    t.program->train_step.calls = t.call;
    RtError error;
    t.m = rt_machine_new(t.program, t.pool, &error);
    ck_assert_msg(t.m != NULL, "%s", error.text);
    rt_machine_init_params(t.m, 1);
    return t;
}

static void trained_free(Trained *t) {
    rt_machine_free(t->m);
    rt_pool_free(t->pool);
    jit_free(t->jit);
    free(t->call);
    free(t->program);
    passes_result_free(&t->passes);
    graph_free(t->model.graph);
}

/* A step that begins in this epoch. */
static void step(const Trained *t, int number, double epoch) {
    float *images = rt_machine_space(t->m, RT_IMAGES);
    int32_t *labels = rt_machine_space(t->m, RT_LABELS);
    for (int64_t i = 0; i < t->program->batch * 3 * 16 * 16; i++)
        images[i] = (float)rt_normal(3, 1, (uint64_t)i, (uint32_t)number);
    for (int64_t i = 0; i < t->program->batch; i++) labels[i] = (int32_t)((i * 7 + number) % 10);
    *rt_machine_env(t->m) = (RtStepEnv){.seed = 3, .step = (uint64_t)number, .lr = 0.1F, .bias1 = 1, .bias2 = 1, .epoch = epoch};
    rt_machine_run(t->m, &t->program->train_step);
    rt_machine_run(t->m, &t->program->apply_update);
}

/* Calls of these kinds that a step of this epoch runs. */
static uint32_t count_calls(const Trained *t, double epoch, RtKind from, RtKind to) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->program->train_step.ncalls; i++)
        count += t->call[i].kind >= from && t->call[i].kind <= to && !(t->call[i].until > 0 && epoch >= t->call[i].until);
    return count;
}

static uint32_t count_gradients(const Graph *g) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->noutputs; i++) count += g->output[i].kind == OUT_GRAD;
    return count;
}

/* Convolutions' backward: of data, of weights, of both in one kernel. */
static const struct {
    const char *text;
    uint32_t gradients, data, weights, both; /* both: or one of each apart */
} frozen[] = {
    {TRAIN(""), 11, 0, 1, 2},
    {TRAIN("group(\"dense.*\"), group(\"*\", frozen = true)"), 2, 0, 0, 0},
    {TRAIN("group(\"layer1.*\", frozen = true)"), 8, 0, 1, 1}, /* the second layer's images are nobody's */
    {TRAIN("group(\"layer1.*\", frozen = true), group(\"layer2.*\", frozen = true)"), 5, 0, 1, 0},
    {TRAIN("group(\"layer3.*\", frozen = true)"), 8, 1, 1, 1}, /* what lies below is trained */
    {TRAIN("group(\"layer?.batch_norm.*\"), group(\"layer*\", frozen = true)"), 8, 2, 0, 0},
};

START_TEST(gradients_of_frozen_parameters_are_not_compiled) {
    Trained t = trained_new(frozen[_i].text, 1);
    uint32_t data = count_calls(&t, 0, RT_KIND_BACKWARD_DATA, RT_KIND_BACKWARD_DATA);
    uint32_t weights = count_calls(&t, 0, RT_KIND_BACKWARD_WEIGHTS, RT_KIND_BACKWARD_WEIGHTS);
    uint32_t both = count_calls(&t, 0, RT_KIND_BACKWARD, RT_KIND_BACKWARD);
    ck_assert_uint_eq(count_gradients(t.passes.graph), frozen[_i].gradients);
    ck_assert_msg(data + both == frozen[_i].data + frozen[_i].both && weights + both == frozen[_i].weights + frozen[_i].both,
                  "%s: %u kernels of data, %u of weights, %u of both", frozen[_i].text, data, weights, both);
    if (_i == 1) ck_assert_uint_eq(count_calls(&t, 0, RT_KIND_BACKWARD, RT_KIND_BACKWARD_WEIGHTS), 0);
    float *before = malloc(t.program->params_bytes), *params = rt_machine_space(t.m, RT_PARAMS);
    memcpy(before, params, t.program->params_bytes);
    for (int i = 0; i < 3; i++) step(&t, i, i);
    for (uint32_t i = 0; i < t.program->nparams; i++) {
        const RtTensor *p = &t.program->params[i];
        bool same = !memcmp((char *)before + p->offset, (char *)params + p->offset, p->bytes);
        ck_assert_msg(same == (p->until < 0), "%s: %s", frozen[_i].text, p->name);
    }
    free(before);
    trained_free(&t);
    if (_i == 3 || _i == 5) net_check(frozen[_i].text, MODE_TRAIN, 8, &(CodegenOptions){0}, 1e-4);
}
END_TEST

#define LATER "group(\"layer1.*\", frozen_from = 1.5), group(\"layer2.*\", frozen_from = 2)"

START_TEST(frozen_from_an_epoch_on) {
    Trained skips = trained_new(TRAIN(LATER), _i), computes = trained_new(TRAIN(LATER), _i), never = trained_new(TRAIN(""), _i);
    for (uint32_t i = 0; i < computes.program->train_step.ncalls; i++) computes.call[i].until = 0;
    ck_assert_uint_eq(count_calls(&skips, 1.4, 0, RT_KINDS), never.program->train_step.ncalls);
    ck_assert_uint_lt(count_calls(&skips, 1.5, 0, RT_KINDS), count_calls(&skips, 1.4, 0, RT_KINDS));
    uint32_t all = count_calls(&skips, 0, RT_KIND_BACKWARD, RT_KIND_BACKWARD_WEIGHTS);
    ck_assert_uint_eq(count_calls(&skips, 1.5, RT_KIND_BACKWARD, RT_KIND_BACKWARD_WEIGHTS),
                      all - 1); /* the first layer's weights */
    /* The third layer's, which may share a kernel with the data of what is frozen. */
    ck_assert_uint_le(count_calls(&skips, 2, RT_KIND_BACKWARD, RT_KIND_BACKWARD_WEIGHTS), 2);
    ck_assert_uint_ge(count_calls(&skips, 2, RT_KIND_BACKWARD, RT_KIND_BACKWARD_WEIGHTS), 1);
    for (int i = 0; i < 6; i++) {
        step(&skips, i, 0.5 * i);
        step(&computes, i, 0.5 * i);
        ck_assert_mem_eq(rt_machine_space(skips.m, RT_PARAMS), rt_machine_space(computes.m, RT_PARAMS),
                         skips.program->params_bytes);
        ck_assert_mem_eq(rt_machine_space(skips.m, RT_STATE), rt_machine_space(computes.m, RT_STATE), skips.program->state_bytes);
        if (i < 3) step(&never, i, 0.5 * i); /* the same program so far, the tensors in another order */
    }
    trained_free(&skips);
    trained_free(&computes);
    trained_free(&never);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("frozen");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, gradients_of_frozen_parameters_are_not_compiled, 0, (int)(sizeof frozen / sizeof *frozen));
    tcase_add_loop_test(tests, frozen_from_an_epoch_on, 1, 3);
    return run_cases("codegen_frozen", tests);
}
