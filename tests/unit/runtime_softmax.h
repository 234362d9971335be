/* A Program written by hand, so that machine, training loop and checkpoints are tested without a compiler: softmax regression
 * with kernels in C. The weight has the layout RT_LAYOUT_FILTERS (a 1x1 convolution of a 1x1 image), blocks of 16, and there is
 * a state (running mean of the scores), SGD with momentum, or Adam. */
#ifndef NETC_TESTS_RUNTIME_SOFTMAX_H
#define NETC_TESTS_RUNTIME_SOFTMAX_H
#include "runtime/rt.h"
#include <check.h>
#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOFTMAX_BLOCK = 16, SOFTMAX_CHUNK = 256 };

/* What kernels read through RT_CONSTANT. */
typedef struct SoftmaxShape {
    int64_t batch, inputs, classes, in_blocks, params; /* params: floats of RT_PARAMS */
    double weight_decay, momentum, beta1, beta2, eps;
    void (*each_step)(uint64_t step); /* a test's hook, or NULL */
} SoftmaxShape;

typedef struct Softmax {
    RtProgram program;
    SoftmaxShape shape;
    RtTensor params[2], state[1];
    RtRef forward_refs[8], eval_refs[5], gradient_refs[4], finish_refs[8], update_refs[5], prepare_refs[3];
    RtCall train[3], update[1], prepare[1], eval[1];
} Softmax;

static inline void softmax_scores(const SoftmaxShape *s, const float *image, const float *weight, const float *bias, float *z) {
    for (int o = 0; o < SOFTMAX_BLOCK; o++) z[o] = bias[o];
    for (int64_t i = 0; i < s->inputs; i++)
        for (int o = 0; o < SOFTMAX_BLOCK; o++) z[o] += image[i] * weight[i * SOFTMAX_BLOCK + o];
}

/* One image: its scores, the gradient of its scores, its loss. */
static inline void softmax_forward(char *const *buf, const RtStepEnv *env, int64_t n, char *scratch) {
    const SoftmaxShape *s = (const void *)buf[0];
    const float *image = (const float *)(const void *)buf[1] + n * s->inputs;
    int label = ((const int32_t *)(const void *)buf[2])[n], best = 0;
    float *z = (float *)(void *)scratch, *dz = (float *)(void *)buf[5] + n * SOFTMAX_BLOCK, *out = (float *)(void *)buf[6];
    (void)env;
    softmax_scores(s, image, (const float *)(const void *)buf[3], (const float *)(const void *)buf[4], z);
    double sum = 0;
    for (int64_t k = 1; k < s->classes; k++) best = z[k] > z[best] ? (int)k : best;
    for (int64_t k = 0; k < s->classes; k++) sum += exp((double)z[k] - z[best]);
    for (int64_t k = 0; k < SOFTMAX_BLOCK; k++) {
        double p = k < s->classes ? exp((double)z[k] - z[best]) / sum : 0;
        dz[k] = (float)((p - (k == label)) / (double)s->batch);
        if (k < s->classes) ((float *)(void *)buf[7])[n * s->classes + k] = z[k];
    }
    out[2 * n] = (float)(log(sum) + z[best] - z[label]);
    out[2 * n + 1] = best == label;
}

/* The weight gradient of one block of inputs, images in order. */
static inline void softmax_gradient(char *const *buf, const RtStepEnv *env, int64_t block, char *scratch) {
    const SoftmaxShape *s = (const void *)buf[0];
    const float *images = (const float *)(const void *)buf[1], *dz = (const float *)(const void *)buf[2];
    float *g = (float *)(void *)buf[3] + block * SOFTMAX_BLOCK * SOFTMAX_BLOCK;
    (void)env;
    (void)scratch;
    memset(g, 0, sizeof(float) * SOFTMAX_BLOCK * SOFTMAX_BLOCK);
    for (int64_t n = 0; n < s->batch; n++)
        for (int64_t i = 0; i < SOFTMAX_BLOCK && block * SOFTMAX_BLOCK + i < s->inputs; i++)
            for (int o = 0; o < SOFTMAX_BLOCK; o++)
                g[i * SOFTMAX_BLOCK + o] += images[n * s->inputs + block * SOFTMAX_BLOCK + i] * dz[n * SOFTMAX_BLOCK + o];
}

/* One piece: bias gradient, metrics, running mean. */
static inline void softmax_finish(char *const *buf, const RtStepEnv *env, int64_t piece, char *scratch) {
    const SoftmaxShape *s = (const void *)buf[0];
    const float *dz = (const float *)(const void *)buf[1], *each = (const float *)(const void *)buf[2];
    float *g = (float *)(void *)buf[3], *metrics = (float *)(void *)buf[4], *running = (float *)(void *)buf[5];
    const float *logits = (const float *)(const void *)buf[6];
    double loss = 0, correct = 0;
    (void)piece;
    (void)scratch;
    memset(g, 0, sizeof(float) * SOFTMAX_BLOCK);
    for (int64_t n = 0; n < s->batch; n++) {
        for (int o = 0; o < SOFTMAX_BLOCK; o++) g[o] += dz[n * SOFTMAX_BLOCK + o];
        loss += each[2 * n];
        correct += each[2 * n + 1];
    }
    metrics[0] = (float)(loss / (double)s->batch);
    metrics[1] = (float)correct;
    for (int64_t k = 0; k < s->classes; k++) {
        double mean = 0;
        for (int64_t n = 0; n < s->batch; n++) mean += logits[n * s->classes + k];
        running[k] = 0.9f * running[k] + 0.1f * (float)(mean / (double)s->batch);
    }
    if (s->each_step) s->each_step(env->step);
}

static inline void softmax_sgd(char *const *buf, const RtStepEnv *env, int64_t piece, char *scratch) {
    const SoftmaxShape *s = (const void *)buf[0];
    float *w = (float *)(void *)buf[1], *m = (float *)(void *)buf[3];
    const float *g = (const float *)(const void *)buf[2];
    (void)scratch;
    for (int64_t i = piece * SOFTMAX_CHUNK; i < (piece + 1) * SOFTMAX_CHUNK && i < s->params; i++) {
        m[i] = (float)s->momentum * m[i] + g[i] + (float)s->weight_decay * w[i];
        w[i] -= env->lr * m[i];
    }
}

static inline void softmax_adam(char *const *buf, const RtStepEnv *env, int64_t piece, char *scratch) {
    const SoftmaxShape *s = (const void *)buf[0];
    float *w = (float *)(void *)buf[1], *m = (float *)(void *)buf[3], *v = (float *)(void *)buf[4];
    const float *g = (const float *)(const void *)buf[2];
    (void)scratch;
    for (int64_t i = piece * SOFTMAX_CHUNK; i < (piece + 1) * SOFTMAX_CHUNK && i < s->params; i++) {
        m[i] = (float)s->beta1 * m[i] + (float)(1 - s->beta1) * g[i];
        v[i] = (float)s->beta2 * v[i] + (float)(1 - s->beta2) * g[i] * g[i];
        w[i] -= env->lr * (m[i] / env->bias1) / (sqrtf(v[i] / env->bias2) + (float)s->eps);
    }
}

static inline void softmax_prepare(char *const *buf, const RtStepEnv *env, int64_t piece, char *scratch) {
    const SoftmaxShape *s = (const void *)buf[0];
    (void)env;
    (void)piece;
    (void)scratch;
    memcpy(buf[2], buf[1], (size_t)s->params * sizeof(float));
}

static inline void softmax_eval(char *const *buf, const RtStepEnv *env, int64_t n, char *scratch) {
    const SoftmaxShape *s = (const void *)buf[0];
    float *z = (float *)(void *)scratch;
    (void)env;
    softmax_scores(s, (const float *)(const void *)buf[1] + n * s->inputs, (const float *)(const void *)buf[2],
                   (const float *)(const void *)buf[3], z);
    memcpy((float *)(void *)buf[4] + n * s->classes, z, (size_t)s->classes * sizeof(float));
}

/* Fills in a program of its own recipe: two epochs, SGD with momentum, every augmentation. Change what a test needs. The
 * optimiser is chosen by softmax_optimizer. */
static inline void softmax_optimizer(Softmax *x, RtOptimizerKind kind, double lr) {
    x->program.recipe.optimizer = (RtOptimizer){.kind = kind, .lr = lr, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999};
    x->update[0].kernel = kind == RT_SGD ? softmax_sgd : softmax_adam;
}

static inline void softmax_program(Softmax *x, int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t classes) {
    int64_t inputs = channels * height * width, blocks = (inputs + SOFTMAX_BLOCK - 1) / SOFTMAX_BLOCK;
    uint64_t weight = (uint64_t)blocks * SOFTMAX_BLOCK * SOFTMAX_BLOCK * sizeof(float), bias = 64;
    uint64_t dz = (uint64_t)batch * 64, each = ((uint64_t)batch * 8 + 63) / 64 * 64;
    ck_assert_int_le(classes, SOFTMAX_BLOCK);
    memset(x, 0, sizeof *x);
    x->shape = (SoftmaxShape){batch, inputs, classes, blocks, (int64_t)((weight + bias) / 4), 1e-4, 0.9, 0.9, 0.999, 1e-8, NULL};
    x->params[0] = (RtTensor){.name = "dense.weight",
                              .rank = 4,
                              .dim = {classes, inputs, 1, 1},
                              .layout = RT_LAYOUT_FILTERS,
                              .bytes = weight,
                              .position = 1,
                              .init = RT_INIT_NORMAL,
                              .init_value = 0.01,
                              .decay = true};
    x->params[1] = (RtTensor){.name = "dense.bias",
                              .rank = 1,
                              .dim = {classes},
                              .layout = RT_LAYOUT_VECTOR,
                              .offset = weight,
                              .bytes = bias,
                              .position = 2};
    x->state[0] = (RtTensor){.name = "scores.running_mean",
                             .rank = 1,
                             .dim = {classes},
                             .layout = RT_LAYOUT_VECTOR,
                             .bytes = 64,
                             .position = 1,
                             .init_value = 0.5};
    memcpy(x->forward_refs,
           ((RtRef[]){{RT_CONSTANT, 0, 0},
                      {RT_IMAGES, 0, 0},
                      {RT_LABELS, 0, 0},
                      {RT_PARAMS, 0, 0},
                      {RT_PARAMS, 0, weight},
                      {RT_ARENA, 0, 0},
                      {RT_ARENA, 0, dz},
                      {RT_LOGITS, 0, 0}}),
           sizeof x->forward_refs);
    memcpy(x->gradient_refs, ((RtRef[]){{RT_CONSTANT, 0, 0}, {RT_IMAGES, 0, 0}, {RT_ARENA, 0, 0}, {RT_GRADS, 0, 0}}),
           sizeof x->gradient_refs);
    memcpy(x->finish_refs,
           ((RtRef[]){{RT_CONSTANT, 0, 0},
                      {RT_ARENA, 0, 0},
                      {RT_ARENA, 0, dz},
                      {RT_GRADS, 0, weight},
                      {RT_METRICS, 0, 0},
                      {RT_STATE, 0, 0},
                      {RT_LOGITS, 0, 0},
                      {RT_LABELS, 0, 0}}),
           sizeof x->finish_refs);
    memcpy(x->update_refs,
           ((RtRef[]){{RT_CONSTANT, 0, 0}, {RT_PARAMS, 0, 0}, {RT_GRADS, 0, 0}, {RT_MOMENT1, 0, 0}, {RT_MOMENT2, 0, 0}}),
           sizeof x->update_refs);
    memcpy(x->prepare_refs, ((RtRef[]){{RT_CONSTANT, 0, 0}, {RT_PARAMS, 0, 0}, {RT_FOLDED, 0, 0}}), sizeof x->prepare_refs);
    memcpy(x->eval_refs,
           ((RtRef[]){{RT_CONSTANT, 0, 0}, {RT_IMAGES, 0, 0}, {RT_FOLDED, 0, 0}, {RT_FOLDED, 0, weight}, {RT_LOGITS, 0, 0}}),
           sizeof x->eval_refs);
    x->train[0] = (RtCall){
        .kernel = softmax_forward, .name = "forward", .label = "forward", .refs = x->forward_refs, .nrefs = 8, .pieces = batch};
    x->train[1] = (RtCall){.kernel = softmax_gradient,
                           .name = "gradient",
                           .label = "gradient",
                           .refs = x->gradient_refs,
                           .nrefs = 4,
                           .pieces = blocks};
    x->train[2] =
        (RtCall){.kernel = softmax_finish, .name = "finish", .label = "finish", .refs = x->finish_refs, .nrefs = 8, .pieces = 1};
    x->update[0] = (RtCall){.kernel = softmax_sgd,
                            .name = "update",
                            .label = "update",
                            .refs = x->update_refs,
                            .nrefs = 5,
                            .pieces = (x->shape.params + 255) / 256};
    x->prepare[0] = (RtCall){
        .kernel = softmax_prepare, .name = "prepare", .label = "prepare", .refs = x->prepare_refs, .nrefs = 3, .pieces = 1};
    x->eval[0] =
        (RtCall){.kernel = softmax_eval, .name = "eval", .label = "eval", .refs = x->eval_refs, .nrefs = 5, .pieces = batch};
    x->program = (RtProgram){.abi_version = RT_ABI_VERSION,
                             .model = "softmax",
                             .target = "C, 16 lanes",
                             .batch = batch,
                             .channels = channels,
                             .height = height,
                             .width = width,
                             .classes = classes,
                             .block = SOFTMAX_BLOCK,
                             .params = x->params,
                             .state = x->state,
                             .nparams = 2,
                             .nstate = 1,
                             .params_bytes = weight + bias,
                             .state_bytes = 64,
                             .arena_bytes = dz + each,
                             .folded_bytes = weight + bias,
                             .scratch_bytes = 64,
                             .constant_bytes = sizeof x->shape,
                             .constant = (const char *)&x->shape,
                             .train_step = {x->train, 3},
                             .apply_update = {x->update, 1},
                             .prepare_eval = {x->prepare, 1},
                             .eval_step = {x->eval, 1},
                             .recipe_text = "train {\n    epochs = 2 # \"quoted\"\n}\n"};
    x->program.recipe = (RtRecipe){.data = RT_DATA_SYNTHETIC,
                                   .normalize = RT_NORMALIZE_MEAN_STD,
                                   .epochs = 2,
                                   .batch = batch,
                                   .shuffle = true,
                                   .naugment = 2,
                                   .augment = {{RT_AUGMENT_PAD_CROP, 1}, {RT_AUGMENT_FLIP, 0}}};
    softmax_optimizer(x, RT_SGD, 0.02);
}

/* A machine with a pool of its own. */
typedef struct Bench {
    RtPool *pool;
    RtMachine *machine;
} Bench;

static inline Bench bench_new(const Softmax *x, int threads) {
    RtError error;
    Bench b = {.pool = rt_pool_new(threads)};
    ck_assert_ptr_nonnull(b.pool);
    b.machine = rt_machine_new(&x->program, b.pool, &error);
    ck_assert_msg(b.machine != NULL, "%s", error.text);
    return b;
}

static inline void bench_free(Bench *b) {
    rt_machine_free(b->machine);
    rt_pool_free(b->pool);
}

/* A training and where it goes; what stands there already is replaced, unless it resumes. */
typedef struct Run {
    const char *out;
    RtTrainOptions options;
} Run;

static inline RtStatus run_in(RtMachine *m, const RtData *data, const Run *r, RtError *error) {
    RtDirectory *d;
    RtTrainOptions options = r->options;
    RtStatus status = rt_directory_take(r->out, options.resume ? RT_DIRECTORY_RESUME : RT_DIRECTORY_OVERWRITE, &d, error);
    options.directory = d;
    if (status == RT_OK) status = rt_train(m, data, &options, error);
    rt_directory_release(d);
    return status;
}

static inline int remove_entry(const char *path, const struct stat *s, int type, struct FTW *where) {
    (void)s;
    (void)type;
    (void)where;
    return remove(path);
}

/* A directory of the test's own. Free with directory_free. */
static inline char *directory_new(void) {
    char *path = strdup("/tmp/netc-runtime-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(path));
    return path;
}

static inline void directory_free(char *path) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

static inline char *path_in(const char *directory, const char *name) {
    static char path[2][4096];
    static int turn;
    turn = 1 - turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", directory, name);
    return path[turn];
}

/* A file whole, with a terminating zero; NULL if it is not there. */
static inline char *slurp(const char *path, size_t *length) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = NULL;
    size_t size = 0, n;
    do {
        text = realloc(text, size + 65537);
        n = fread(text + size, 1, 65536, f);
        size += n;
    } while (n);
    text[size] = 0;
    fclose(f);
    if (length) *length = size;
    return text;
}

static inline void spill(const char *path, const void *bytes, size_t length) {
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, length, f), length);
    fclose(f);
}
#endif
