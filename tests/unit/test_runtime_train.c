/* The training loop on a Program written by hand: softmax regression with SGD and momentum, kernels in C. Learning, same bits on
 * any number of threads and after resuming, checkpoints that survive every failure, divergence, signals, memory. */
#include "runtime/rt.h"
#include "runtime/safetensors.h"
#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the Program: 1x4x4 images, 3 classes, batch 8; W[3][16] in rows padded to 16, b[3] padded to 16 ---- */

enum { N = 8, F = 16, K = 3, V = 16, IMAGES = 100 };

static void forward(char *const *buf, const RtStepEnv *env, int64_t n, char *scratch) {
    const float *w = (const float *)buf[0], *x = (const float *)buf[1] + n * F;
    float *z = (float *)buf[2] + n * K;
    (void)env, (void)scratch;
    for (int k = 0; k < K; k++) {
        z[k] = w[K * V + k];
        for (int i = 0; i < F; i++) z[k] += w[k * V + i] * x[i];
    }
}

static void loss_and_gradient(char *const *buf, const RtStepEnv *env, int64_t piece, char *scratch) {
    const float *z = (const float *)buf[0], *x = (const float *)buf[1];
    const int32_t *label = (const int32_t *)buf[2];
    float *metrics = (float *)buf[3], *g = (float *)buf[4], *state = (float *)buf[5];
    (void)env, (void)piece, (void)scratch;
    memset(g, 0, (K + 1) * V * sizeof *g);
    metrics[0] = metrics[1] = 0;
    state[0] += 1;
    for (int n = 0; n < N; n++) {
        double p[K], sum = 0;
        int best = 0;
        for (int k = 0; k < K; k++) sum += p[k] = exp(z[n * K + k]), best = z[n * K + k] > z[n * K + best] ? k : best;
        metrics[0] -= (float)(log(p[label[n]] / sum) / N);
        metrics[1] += (float)(best == label[n]);
        for (int k = 0; k < K; k++) {
            float d = (float)((p[k] / sum - (k == label[n])) / N);
            g[K * V + k] += d;
            for (int i = 0; i < F; i++) g[k * V + i] += d * x[n * F + i];
        }
    }
}

static void update(char *const *buf, const RtStepEnv *env, int64_t row, char *scratch) {
    float *w = (float *)buf[0] + row * V, *g = (float *)buf[1] + row * V, *m = (float *)buf[2] + row * V;
    (void)scratch;
    for (int i = 0; i < V; i++) {
        m[i] = 0.9f * m[i] + g[i];
        w[i] -= env->lr * m[i];
    }
}

static const RtRef forward_refs[] = {{RT_PARAMS, 0}, {RT_IMAGES, 0}, {RT_LOGITS, 0}};
static const RtRef loss_refs[] = {{RT_LOGITS, 0}, {RT_IMAGES, 0}, {RT_LABELS, 0}, {RT_METRICS, 0}, {RT_GRADS, 0}, {RT_STATE, 0}};
static const RtRef update_refs[] = {{RT_PARAMS, 0}, {RT_GRADS, 0}, {RT_MOMENT1, 0}};
static const RtCall train_calls[] = {{forward, "forward", "net", forward_refs, 3, N, 0, 0},
                                     {loss_and_gradient, "loss", "net", loss_refs, 6, 1, 0, 0}};
static const RtCall update_calls[] = {{update, "update", "net", update_refs, 3, K + 1, 0, 0}};
static const RtTensor params[] = {
    {.name = "w",
     .rank = 2,
     .dim = {K, F},
     .layout = RT_LAYOUT_ROWS,
     .bytes = K * V * 4,
     .init = RT_INIT_NORMAL,
     .init_value = 0.1},
    {.name = "b", .rank = 1, .dim = {K}, .layout = RT_LAYOUT_VECTOR, .offset = K * V * 4, .bytes = V * 4}};
static const RtTensor state[] = {{.name = "steps", .rank = 1, .dim = {1}, .layout = RT_LAYOUT_VECTOR, .bytes = V * 4}};

static RtProgram program_of(double ema) {
    return (RtProgram){.abi_version = RT_ABI_VERSION,
                       .model = "regression",
                       .batch = N,
                       .channels = 1,
                       .height = 4,
                       .width = 4,
                       .classes = K,
                       .block = V,
                       .params = params,
                       .nparams = 2,
                       .state = state,
                       .nstate = 1,
                       .params_bytes = (K + 1) * V * 4,
                       .state_bytes = V * 4,
                       .scratch_bytes = 64,
                       .train_step = {train_calls, 2},
                       .apply_update = {update_calls, 1},
                       .eval_step = {train_calls, 1},
                       .recipe = {.optimizer.lr = 0.5,
                                  .epochs = 6,
                                  .batch = N,
                                  .shuffle = true,
                                  .naugment = 1,
                                  .augment = {{RT_AUGMENT_CUTOUT, 1}},
                                  .ema = ema,
                                  .normalize = RT_NORMALIZE_MEAN_STD,
                                  .schedule = {.kind = RT_SCHEDULE_COSINE}},
                       .recipe_text = "train { }"};
}

static uint8_t pixels[2][IMAGES * F], labels[2][IMAGES];

static RtData data_of(void) {
    for (int split = 0; split < 2; split++)
        for (int n = 0; n < IMAGES; n++) {
            labels[split][n] = (uint8_t)(n % K);
            for (int i = 0; i < F; i++)
                pixels[split][n * F + i] =
                    (uint8_t)(60 + 120 * (i % K == n % K) +
                              70 * rt_uniform(3, RT_STREAM_SYNTHETIC, (uint64_t)(n * F + i), (uint32_t)split));
        }
    return (RtData){.channels = 1,
                    .height = 4,
                    .width = 4,
                    .classes = K,
                    .ntrain = IMAGES,
                    .ntest = IMAGES,
                    .mean = {0.5},
                    .std = {0.25},
                    .train_images = pixels[0],
                    .test_images = pixels[1],
                    .train_labels = labels[0],
                    .test_labels = labels[1]};
}

/* ---- fixture ---- */

static char directory[64];
static RtError error;

static void in_directory(void) {
    strcpy(directory, "/tmp/netc-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}
static void out_of_directory(void) {
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+w '%s'; rm -rf '%s'", directory, directory);
    ck_assert_int_eq(system(command), 0);
}
static const char *in(const char *name) {
    static char path[4][320];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", directory, name);
    return p;
}

static char *contents(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size + 1);
    ck_assert(*size == 0 || fread(bytes, *size, 1, f) == 1);
    bytes[*size] = 0;
    fclose(f);
    return bytes;
}

static void put(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    ck_assert(f && (size == 0 || fwrite(bytes, size, 1, f) == 1));
    fclose(f);
}

/* Trains into directory/name and returns the weights' hash. */
static RtStatus train(RtProgram *p, const char *name, int threads, RtTrainOptions o, char hex[65]) {
    RtPool *pool = rt_pool_new(threads);
    RtMachine *m = rt_machine_new(p, pool, &error);
    RtData d = data_of();
    o.out_dir = in(name);
    if (!o.seed) o.seed = 4;
    error.text[0] = 0;
    RtStatus status = rt_train(m, &d, &o, &error);
    if (hex) rt_weights_sha256(m, hex);
    rt_machine_free(m);
    rt_pool_free(pool);
    return status;
}

static void same_file(const char *a, const char *b) {
    size_t m, n;
    char *x = contents(a, &m), *y = contents(b, &n);
    ck_assert(x && y);
    ck_assert_msg(m == n && !memcmp(x, y, m), "%s and %s differ", a, b);
    free(x);
    free(y);
}

/* ---- tests ---- */

START_TEST(learns_and_writes_metrics) {
    RtProgram p = program_of(0);
    size_t size;
    ck_assert_msg(train(&p, "run", 2, (RtTrainOptions){.log_every = 5}, NULL) == RT_OK, "%s", error.text);
    char *text = contents(in("run/metrics.jsonl"), &size), *last = strstr(text, "\"epoch\": 5, \"step\": 72");
    ck_assert_ptr_nonnull(last);
    ck_assert_ptr_nonnull(strstr(text, "{\"epoch\": 0, \"step\": 5, \"loss\": "));
    const char *accuracy = strstr(last, "\"test_accuracy\": ");
    ck_assert(accuracy && atof(accuracy + 17) > 0.9);
    ck_assert_ptr_nonnull(strstr(last, "\"weights_sha256\": \""));
    free(text);
    ck_assert_int_eq(access(in("run/best.safetensors"), R_OK), 0);
    ck_assert_int_eq(access(in("run/last-1.safetensors"), R_OK), 0);
}
END_TEST

START_TEST(same_bits_on_any_number_of_threads) {
    RtProgram p = program_of(0.9);
    char one[65], more[65];
    ck_assert_int_eq(train(&p, "one", 1, (RtTrainOptions){0}, one), RT_OK);
    ck_assert_int_eq(train(&p, "more", _i, (RtTrainOptions){0}, more), RT_OK);
    ck_assert_str_eq(one, more);
    same_file(in("one/last.safetensors"), in("more/last.safetensors"));
    ck_assert_int_eq(train(&p, "other", 1, (RtTrainOptions){.seed = 5}, more), RT_OK);
    ck_assert_str_ne(one, more);
}
END_TEST

/* Metrics of a run without the speeds, which differ from run to run. */
static char *metrics_without_speed(const char *path) {
    size_t size;
    char *text = contents(path, &size);
    for (char *at = text; (at = strstr(at, "\"images_per_s\": "));)
        for (at += 16; *at && *at != ',' && *at != '}'; at++) *at = '#';
    char *to = text;
    for (char *from = text; *from; from++)
        if (*from != '#') *to++ = *from;
    *to = 0;
    return text;
}

START_TEST(resumes_bit_for_bit) {
    RtProgram p = program_of(_i % 2 ? 0.9 : 0);
    char whole[65], parts[65];
    static const int64_t cuts[] = {1, 7, 12, 13, 30};
    ck_assert_int_eq(train(&p, "whole", 1, (RtTrainOptions){.log_every = 4, .checkpoint_every = 1}, whole), RT_OK);
    ck_assert_int_eq(train(&p, "parts", 2, (RtTrainOptions){.log_every = 4, .checkpoint_every = 1, .max_steps = cuts[_i]}, NULL),
                     RT_OK);
    ck_assert_msg(train(&p, "parts", 1, (RtTrainOptions){.log_every = 4, .checkpoint_every = 1, .resume = true}, parts) == RT_OK,
                  "%s", error.text);
    ck_assert_str_eq(whole, parts);
    if (cuts[_i] % 12 == 0) { /* --steps adds an evaluation where it stops inside an epoch */
        same_file(in("whole/last.safetensors"), in("parts/last.safetensors"));
        char *a = metrics_without_speed(in("whole/metrics.jsonl")), *b = metrics_without_speed(in("parts/metrics.jsonl"));
        ck_assert_str_eq(a, b);
        free(a);
        free(b);
    }
}
END_TEST

START_TEST(a_signal_saves_and_resume_continues) {
    RtProgram p = program_of(0);
    rt_install_signal_handlers();
    raise(_i ? SIGINT : SIGTERM);
    ck_assert_int_eq(train(&p, "cut", 1, (RtTrainOptions){0}, NULL), RT_INTERRUPTED);
    ck_assert_int_eq(rt_exit_code(RT_INTERRUPTED), 130);
    ck_assert_ptr_nonnull(strstr(error.text, "--resume"));
}
END_TEST

START_TEST(divergence_names_the_step_and_keeps_the_checkpoint) {
    RtProgram p = program_of(0);
    size_t before_size, after_size;
    ck_assert_int_eq(train(&p, "run", 1, (RtTrainOptions){.max_steps = 12}, NULL), RT_OK);
    char *before = contents(in("run/last.safetensors"), &before_size);
    p.recipe.optimizer.lr = 1e38;
    p.recipe.schedule.kind = RT_SCHEDULE_CONSTANT;
    ck_assert_int_eq(train(&p, "run", 1, (RtTrainOptions){.resume = true}, NULL), RT_DIVERGED);
    ck_assert_int_eq(rt_exit_code(RT_DIVERGED), 1);
    ck_assert_msg(strstr(error.text, "not finite at step 1"), "%s", error.text);
    char *after = contents(in("run/last.safetensors"), &after_size);
    ck_assert(before_size == after_size && !memcmp(before, after, before_size));
    free(before);
    free(after);
}
END_TEST

/* ---- checkpoints ---- */

static RtStatus load(const char *path) {
    RtProgram p = program_of(0);
    RtPool *pool = rt_pool_new(1);
    RtMachine *m = rt_machine_new(&p, pool, &error);
    RtTrainState s = {0};
    char before[65], after[65];
    rt_machine_init_params(m, 77);
    rt_weights_sha256(m, before);
    RtStatus status = rt_checkpoint_load(path, m, &s, &error);
    rt_weights_sha256(m, after);
    if (status != RT_OK) ck_assert_str_eq(before, after); /* all or nothing */
    rt_machine_free(m);
    rt_pool_free(pool);
    return status;
}

START_TEST(damaged_checkpoints_are_refused) {
    RtProgram p = program_of(0);
    size_t size;
    ck_assert_int_eq(train(&p, "run", 1, (RtTrainOptions){.max_steps = 5}, NULL), RT_OK);
    char *good = contents(in("run/last.safetensors"), &size), *bad = malloc(size + 1);
    ck_assert_int_eq(load(in("run/last.safetensors")), RT_OK);
    for (size_t cut = 0; cut < size; cut += cut < 64 ? 1 : 97) { /* truncated */
        put(in("bad"), good, cut);
        ck_assert_int_eq(load(in("bad")), RT_INPUT);
        ck_assert_int_gt((int)strlen(error.text), 10);
    }
    for (size_t at = 0; at < size; at += 13) { /* one byte changed, anywhere */
        memcpy(bad, good, size);
        bad[at] = (char)(bad[at] ^ 0x15);
        put(in("bad"), bad, size);
        ck_assert_msg(load(in("bad")) == RT_INPUT || at < 2000, "byte %zu changed, and nobody noticed", at);
    }
    ck_assert_int_eq(load(in("nowhere")), RT_INPUT);
    ck_assert_int_eq(load(directory), RT_INPUT);
    free(good);
    free(bad);
}
END_TEST

static void put_safetensors(const char *path, const char *header, size_t data) {
    size_t n = strlen(header);
    char *bytes = calloc(1, 8 + n + data);
    for (int i = 0; i < 8; i++) bytes[i] = (char)(n >> (8 * i));
    memcpy(bytes + 8, header, n);
    put(path, bytes, 8 + n + data);
    free(bytes);
}

START_TEST(foreign_files_name_the_tensor) {
    static const struct {
        const char *header, *sentence;
        size_t data;
    } cases[] = {
        {"{}", "no training position", 0},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3,16],\"data_offsets\":[0,192]}}", "has no tensor 'b' [3]", 192},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[16,3],\"data_offsets\":[0,192]}}",
         "tensor 'w' has the shape [16,3], regression needs [3,16]", 192},
        {"{\"w\":{\"dtype\":\"I32\",\"shape\":[3,16],\"data_offsets\":[0,192]}}", "is of type I32", 192},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3,16],\"data_offsets\":[0,191]}}", "do not fit its type and shape", 192},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[3,16],\"data_offsets\":[0,192]}}", "do not fit its type and shape", 100},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", "do not fit", 0},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":["
         "2,6]}}",
         "overlap", 6},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":["
         "1,2]}}",
         "two tensors", 2},
        {"[1]", "not a safetensors header", 0},
    };
    RtProgram p = program_of(0);
    RtPool *pool = rt_pool_new(1);
    RtMachine *m = rt_machine_new(&p, pool, &error);
    put_safetensors(in("foreign"), cases[_i].header, cases[_i].data);
    RtStatus status = _i ? rt_weights_load(in("foreign"), m, &error) : load(in("foreign"));
    ck_assert_int_eq(status, RT_INPUT);
    ck_assert_msg(strstr(error.text, cases[_i].sentence), "'%s' does not say '%s'", error.text, cases[_i].sentence);
    rt_machine_free(m);
    rt_pool_free(pool);
}
END_TEST

START_TEST(other_float_types_are_read) {
    static const char header[] = "{\"w\":{\"dtype\":\"F16\",\"shape\":[3,16],\"data_offsets\":[0,96]},"
                                 "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[96,102]},"
                                 "\"steps\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[102,110]}}";
    uint16_t half[51] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x3555}, b16[3] = {0x3f80, 0xc040, 0x0000};
    double wide = 2.5;
    size_t n = sizeof header - 1;
    char bytes[8 + sizeof header + 110] = {(char)n, (char)(n >> 8)};
    memcpy(bytes + 8, header, n);
    memcpy(bytes + 8 + n, half, 96);
    memcpy(bytes + 8 + n + 96, b16, 6);
    memcpy(bytes + 8 + n + 102, &wide, 8);
    put(in("halves"), bytes, 8 + n + 110);
    RtProgram p = program_of(0);
    RtPool *pool = rt_pool_new(1);
    RtMachine *m = rt_machine_new(&p, pool, &error);
    ck_assert_msg(rt_weights_load(in("halves"), m, &error) == RT_OK, "%s", error.text);
    const float *w = rt_machine_space(m, RT_PARAMS), *s = rt_machine_space(m, RT_STATE);
    ck_assert_float_eq(w[0], 1);
    ck_assert_float_eq(w[1], -2);
    ck_assert_float_eq(w[2], 0x1p-24f);
    ck_assert(isinf(w[3]));
    ck_assert_float_eq_tol(w[4], 1 / 3.0f, 1e-4f);
    ck_assert_float_eq(w[K * V + 1], -3);
    ck_assert_float_eq(s[0], 2.5f);
    rt_machine_free(m);
    rt_pool_free(pool);
}
END_TEST

/* A write limit stands for the full disk: the write fails half way with EFBIG, as ENOSPC would. */
START_TEST(a_full_disk_keeps_the_old_checkpoint) {
    RtProgram p = program_of(0);
    size_t before_size, after_size;
    ck_assert_int_eq(train(&p, "run", 1, (RtTrainOptions){.max_steps = 12}, NULL), RT_OK);
    char *before = contents(in("run/last.safetensors"), &before_size);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, small = {700, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    RtStatus status = train(&p, "run", 1, (RtTrainOptions){.resume = true}, NULL);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(status, RT_IO);
    ck_assert_int_eq(rt_exit_code(status), 3);
    ck_assert_msg(strstr(error.text, "cannot write"), "%s", error.text);
    char *after = contents(in("run/last.safetensors"), &after_size);
    ck_assert(before_size == after_size && !memcmp(before, after, before_size));
    char command[160];
    snprintf(command, sizeof command, "ls '%s/run' | grep -q -e tmp -e new", directory);
    ck_assert_int_ne(system(command), 0); /* no litter */
    free(before);
    free(after);
}
END_TEST

START_TEST(an_impossible_directory_is_named) {
    RtProgram p = program_of(0);
    put(in("file"), "x", 1);
    ck_assert_int_eq(train(&p, "file/run", 1, (RtTrainOptions){0}, NULL), RT_IO);
    ck_assert_msg(strstr(error.text, "file"), "%s", error.text);
    ck_assert_int_eq(train(&p, "fresh", 1, (RtTrainOptions){.resume = true}, NULL), RT_INPUT);
    ck_assert_msg(strstr(error.text, "last.safetensors"), "%s", error.text);
}
END_TEST

START_TEST(data_of_another_shape_are_refused) {
    RtProgram p = program_of(0);
    p.classes = 4;
    ck_assert_int_eq(train(&p, "run", 1, (RtTrainOptions){0}, NULL), RT_INPUT);
    ck_assert_msg(strstr(error.text, "3 classes"), "%s", error.text);
}
END_TEST

static long resident_pages(void) {
    long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2) pages = 0;
    if (f) fclose(f);
    return pages;
}

START_TEST(memory_does_not_grow) {
    RtProgram p = program_of(0);
    p.recipe.epochs = 20;
    ck_assert_int_eq(train(&p, "warm", 2, (RtTrainOptions){0}, NULL), RT_OK);
    long before = resident_pages();
    p.recipe.epochs = 200; /* 2,400 steps, 200 checkpoints */
    ck_assert_int_eq(train(&p, "run", 2, (RtTrainOptions){.eval_every = 10, .checkpoint_every = 100}, NULL), RT_OK);
    ck_assert_int_lt(resident_pages() - before, 256);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_train");
    TCase *tests = tcase_create("train");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, in_directory, out_of_directory);
    tcase_add_test(tests, learns_and_writes_metrics);
    tcase_add_loop_test(tests, same_bits_on_any_number_of_threads, 2, 5);
    tcase_add_loop_test(tests, resumes_bit_for_bit, 0, 5);
    tcase_add_loop_test(tests, a_signal_saves_and_resume_continues, 0, 2);
    tcase_add_test(tests, divergence_names_the_step_and_keeps_the_checkpoint);
    tcase_add_test(tests, damaged_checkpoints_are_refused);
    tcase_add_loop_test(tests, foreign_files_name_the_tensor, 0, 10);
    tcase_add_test(tests, other_float_types_are_read);
    tcase_add_test(tests, a_full_disk_keeps_the_old_checkpoint);
    tcase_add_test(tests, an_impossible_directory_is_named);
    tcase_add_test(tests, data_of_another_shape_are_refused);
    tcase_add_test(tests, memory_does_not_grow);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
