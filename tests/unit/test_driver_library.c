/* A library of `netc build --infer`, loaded into this process: the bits of the JIT's program, and the reference evaluator's
 * scores. */
#include "driver/compile.h"
#include "driver/driver.h"
#include "ir/eval.h"
#include "run_cases.h"
#include "runtime/infer.h"
#include <check.h>
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 6, IMAGES = 2 * BATCH + 4, CLASSES = 10, PIXELS = 3 * 32 * 32 };

static const struct Case {
    const char *name, *set;
    bool gemm; /* convolutions by OpenBLAS, which the library then calls too */
} cases_of_model[] = {{"plain", "se=false", false}, {"se", "se=true", false}, {"gemm", "se=true", true}};

typedef struct Fixture {
    Options options;
    Session session;
    char *weights, *library;
    float images[IMAGES * PIXELS];
    Tensor *leaf; /* by value id of the source graph; input: one batch */
} Fixture;
static Fixture f;

/* ---- the model, compiled into memory, with weights that leave nothing 0 or 1 ---- */

static void randomise(const RtTensor *t, char *block, uint64_t seed) {
    int64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) n *= t->dim[i];
    float *logical = malloc((size_t)n * sizeof *logical);
    double middle = strstr(t->name, "var") || strstr(t->name, "batch_norm.weight") ? 1 : 0, scale = t->rank > 1 ? 0.2 : 0.3;
    for (int64_t i = 0; i < n; i++)
        logical[i] = (float)(middle + scale * (2 * rt_uniform(seed, RT_STREAM_INIT, (uint64_t)i, 0) - 1));
    rt_tensor_pack(rt_machine_program(f.session.machine), t, logical, block);
    free(logical);
}

static void compile_model(const struct Case *c) {
    char *argv[] = {NETC_SOURCE_DIR "/tests/e2e/small.net", "--set", (char *)(uintptr_t)c->set, "--batch", "6",
                    c->gemm ? "--conv=gemm" : "--conv=auto"};
    ck_assert(options_parse(&f.options, CMD_PREDICT, "predict", 6, argv, 0));
    ck_assert_int_eq(session_find_model(&f.session, &f.options, "predict"), 0);
    ck_assert_int_eq(compile_machine(&f.session, false, true, "eval"), 0);
    const RtProgram *p = rt_machine_program(f.session.machine);
    for (uint32_t i = 0; i < p->nparams; i++) randomise(&p->params[i], rt_machine_space(f.session.machine, RT_PARAMS), i);
    for (uint32_t i = 0; i < p->nstate; i++) randomise(&p->state[i], rt_machine_space(f.session.machine, RT_STATE), 1000 + i);
    for (uint64_t i = 0; i < IMAGES * PIXELS; i++) f.images[i] = (float)rt_normal(9, RT_STREAM_SYNTHETIC, i, 0);
}

static void build(const struct Case *c) {
    char directory[] = "/tmp/netc-library-XXXXXX";
    RtError error;
    ck_assert_ptr_nonnull(mkdtemp(directory));
    f.weights = join("%s/w.safetensors", directory);
    f.library = join("%s/libnet.so", directory);
    ck_assert_int_eq(rt_checkpoint_save(f.weights, f.session.machine, &(RtTrainState){0}, true, &error), RT_OK);
    char *argv[] = {"--infer",
                    f.session.path,
                    "--set",
                    (char *)(uintptr_t)c->set,
                    "--batch",
                    "6",
                    "--cpu=native",
                    "--weights",
                    f.weights,
                    "--prefix=net",
                    "-o",
                    f.library,
                    c->gemm ? "--conv=gemm" : "--conv=auto"};
    Options options;
    ck_assert(options_parse(&options, CMD_BUILD, "build", sizeof argv / sizeof *argv, argv, 0));
    ck_assert_int_eq(command_build(&options), 0);
    options_free(&options);
}

static void *function(void *library, const char *name) {
    void *found = dlsym(library, name);
    ck_assert_msg(found != NULL, "no %s", name);
    return found;
}

/* ---- scores three ways ---- */

static void run_library(int threads, float *scores, int n) {
    void *library = dlopen(f.library, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(library != NULL, "%s", dlerror());
    ck_assert_ptr_null(dlsym(library, "netc_infer_init"));
    __typeof__(&netc_infer_init) init = function(library, "net_init_" RT_INFER_INTERFACE);
    __typeof__(&netc_infer_run) run = function(library, "net_run");
    __typeof__(&netc_infer_free) end = function(library, "net_free");
    InferContext *context;
    char message[RT_INFER_MESSAGE];
    ck_assert_msg(init(&context, &(InferOptions){.threads = threads}, message) == INFER_OK, "%s", message);
    ck_assert_int_eq(run(context, f.images, n, scores), INFER_OK);
    end(context);
    dlclose(library);
}

static void run_jit(float *scores) { /* full batches */
    const RtProgram *p = rt_machine_program(f.session.machine);
    rt_machine_run(f.session.machine, &p->prepare_eval);
    for (int at = 0; at + BATCH <= IMAGES; at += BATCH) {
        memcpy(rt_machine_space(f.session.machine, RT_IMAGES), f.images + at * PIXELS, sizeof(float) * BATCH * PIXELS);
        rt_machine_infer(f.session.machine, BATCH);
        memcpy(scores + at * CLASSES, rt_machine_space(f.session.machine, RT_LOGITS), sizeof(float) * BATCH * CLASSES);
    }
}

static const RtTensor *find(const RtTensor *list, uint32_t count, const char *name) {
    for (uint32_t i = 0; i < count; i++)
        if (!strcmp(list[i].name, name)) return &list[i];
    return NULL;
}

static const Tensor *find_leaf(void *context, const Value *leaf) {
    const Graph *g = context;
    Tensor *t = &f.leaf[leaf - g->value];
    int64_t n = type_elements(leaf->type);
    const RtProgram *p = rt_machine_program(f.session.machine);
    if (leaf->op == OP_INPUT) return t;
    const RtTensor *param = find(p->params, p->nparams, leaf->attrs.param.name),
                   *state = find(p->state, p->nstate, leaf->attrs.param.name);
    float *logical = malloc((size_t)n * sizeof *logical);
    rt_tensor_unpack(p, param ? param : state, rt_machine_space(f.session.machine, param ? RT_PARAMS : RT_STATE), logical);
    *t = tensor_new(leaf->type);
    for (int64_t i = 0; i < n; i++) t->data[i] = logical[i];
    free(logical);
    return t;
}

/* The evaluator's scores of the group of images, which the graph is of, that begins at image `at`; images beyond the last are
 * zero. */
static void evaluate(int at, int group, double *scores) {
    const Graph *g = f.session.infer.graph;
    Tensor *out = calloc(g->noutputs, sizeof *out);
    char why[256];
    f.leaf = calloc(g->count, sizeof *f.leaf);
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op != OP_INPUT) continue;
        f.leaf[v] = tensor_new(g->value[v].type);
        if (g->value[v].type.rank != 4) continue;
        ck_assert_int_eq(g->value[v].type.dim[0], group);
        for (int i = 0; i < group * PIXELS && at * PIXELS + i < IMAGES * PIXELS; i++)
            f.leaf[v].data[i] = f.images[at * PIXELS + i];
    }
    ck_assert_msg(graph_eval(g, find_leaf, (void *)(uintptr_t)g, NULL, out, NULL, why, sizeof why), "%s", why);
    for (uint32_t i = 0; i < g->noutputs; i++) {
        if (g->output[i].kind == OUT_LOGITS) memcpy(scores, out[i].data, sizeof(double) * (size_t)group * CLASSES);
        tensor_free(&out[i]);
    }
    for (Val v = 0; v < g->count; v++) tensor_free(&f.leaf[v]);
    free(f.leaf);
    free(out);
}

START_TEST(scores) {
    float ours[IMAGES * CLASSES], threaded[IMAGES * CLASSES], single[CLASSES], jit[IMAGES * CLASSES];
    double wanted[BATCH * CLASSES], most = 0;
    compile_model(&cases_of_model[_i]);
    build(&cases_of_model[_i]);
    run_library(1, ours, IMAGES);
    run_library(3, threaded, IMAGES);
    run_library(1, single, 1);
    ck_assert_mem_eq(ours, threaded, sizeof ours);
    run_jit(jit);
    ck_assert_mem_eq(ours, jit, sizeof(float) * (IMAGES / BATCH * BATCH) * CLASSES);
    for (int k = 0; k < CLASSES; k++) ck_assert_double_le(fabs((double)single[k] - ours[k]), 1e-4);
    int group = (int)rt_machine_group(f.session.machine);
    ck_assert_int_le(group, BATCH);
    for (int at = 0; at < IMAGES; at += group) {
        evaluate(at, group, wanted);
        for (int i = 0; i < group * CLASSES && at * CLASSES + i < IMAGES * CLASSES; i++) {
            most = fmax(most, fabs(wanted[i]));
            ck_assert_double_le(fabs(ours[at * CLASSES + i] - wanted[i]), 1e-4);
        }
    }
    ck_assert_double_gt(most, 0.1); /* or nothing was compared */
    char *directory = join("%.*s", (int)(strrchr(f.library, '/') - f.library), f.library),
         *header = join("%s/libnet.h", directory);
    ck_assert(!remove(f.weights) && !remove(f.library) && !remove(header) && !rmdir(directory));
    free(directory), free(header), free(f.weights), free(f.library);
    session_close(&f.session);
    options_free(&f.options);
}
END_TEST

/* Images that go together: as many as keep the maps in a core's caches, or as the weights, which each group reads, are worth. */
static const struct Group {
    const char *model, *batch;
    int64_t images;
} groups[] = {
    {"resnet20", "128", 16}, {"resnet20", "32", 8}, {"densenet_cifar", "128", 2},
    {"resnet18", "128", 16}, {"resnet18", "32", 4}, {"resnet50_cifar", "128", 16},
    {"mlp", "128", 16},      {"resnet18", "7", 1},  {"resnet18", "1", 1},
};

START_TEST(groups_of_images) {
    const struct Group *of = &groups[_i];
    char *argv[] = {join(NETC_SOURCE_DIR "/models/%s.net", of->model), "--batch", (char *)(uintptr_t)of->batch};
    ck_assert(options_parse(&f.options, CMD_PREDICT, "predict", 3, argv, 0));
    ck_assert_int_eq(session_find_model(&f.session, &f.options, "predict"), 0);
    ck_assert_int_eq(compile_graphs(&f.session, false, true, "predict"), 0);
    ck_assert_int_eq(graph_batch(f.session.infer.graph), of->images);
    ck_assert_int_eq(f.session.batch, atol(of->batch));
    session_close(&f.session);
    options_free(&f.options);
    free(argv[0]);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("library");
    tcase_add_loop_test(cases, groups_of_images, 0, sizeof groups / sizeof *groups);
    tcase_add_loop_test(cases, scores, 0, sizeof cases_of_model / sizeof *cases_of_model);
    return run_cases("driver/library", cases);
}
