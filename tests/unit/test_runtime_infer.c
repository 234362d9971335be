/* Contexts of an inference library, over hand-written programs: any number of images, the caller's memory, weights embedded, from
 * a file and from bytes, damaged weights, threads side by side. */
#include "run_cases.h"
#include "runtime/infer.h"
#include "runtime/safetensors.h"
#include "runtime_softmax.h"
#include <locale.h>
#include <pthread.h>

enum { CHANNELS = 2, SIDE = 3, INPUTS = CHANNELS * SIDE * SIDE, CLASSES = 4, BATCH = 6, MANY = 21 };
enum { FLOATS = CLASSES * INPUTS + CLASSES + CLASSES }; /* weight, bias, running mean */

/* What netc writes into a library: the struct, names and weights behind it. */
struct Library {
    RtInferLibrary head;
    char names[32];
    float weights[FLOATS];
} netc_infer_library;

typedef struct Fixture {
    Softmax batch, single;
    float images[MANY * INPUTS], expected[MANY * CLASSES];
} Fixture;
static Fixture fixture;

static void reference(void) {
    const float *weight = netc_infer_library.weights, *bias = weight + CLASSES * INPUTS;
    for (int n = 0; n < MANY; n++)
        for (int k = 0; k < CLASSES; k++) {
            float z = bias[k]; /* in the order of softmax_scores */
            for (int i = 0; i < INPUTS; i++) z += fixture.images[n * INPUTS + i] * weight[k * INPUTS + i];
            fixture.expected[n * CLASSES + k] = z;
        }
}

static void setup(void) {
    struct Library *l = &netc_infer_library;
    softmax_program(&fixture.batch, BATCH, CHANNELS, SIDE, SIDE, CLASSES);
    softmax_program(&fixture.single, 1, CHANNELS, SIDE, SIDE, CLASSES);
    fixture.batch.program.features = fixture.single.program.features = "";
    fixture.batch.program.train_step.ncalls = fixture.single.program.train_step.ncalls = 0;
    *l = (struct Library){.head = {.nlevels = 1,
                                   .batch = {&fixture.batch.program},
                                   .single = {&fixture.single.program},
                                   .names = offsetof(struct Library, names),
                                   .weights = offsetof(struct Library, weights),
                                   .nweights = FLOATS},
                          .names = "ant\0bee\0cat\0dog"};
    for (uint64_t i = 0; i < FLOATS; i++) l->weights[i] = (float)rt_normal(1, RT_STREAM_INIT, i, 0);
    for (uint64_t i = 0; i < MANY * INPUTS; i++) fixture.images[i] = (float)rt_normal(2, RT_STREAM_INIT, i, 0);
    for (int c = 0; c < 4; c++)
        for (int v = 0; v < 256; v++) l->head.normalizer.value[c][v] = (float)(1000 * c + v);
    reference();
}

static InferContext *open_context(const InferOptions *options) {
    InferContext *context;
    char message[RT_INFER_MESSAGE];
    ck_assert_msg(netc_infer_init(&context, options, message) == INFER_OK, "%s", message);
    return context;
}

static void check_scores(InferContext *context, int n) {
    float scores[(MANY + 1) * CLASSES];
    for (int i = 0; i < (MANY + 1) * CLASSES; i++) scores[i] = -77;
    ck_assert_int_eq(netc_infer_run(context, fixture.images, n, scores), INFER_OK);
    for (int i = 0; i < n * CLASSES; i++) ck_assert_float_eq_tol(scores[i], fixture.expected[i], 1e-5f);
    for (int i = n * CLASSES; i < (MANY + 1) * CLASSES; i++) ck_assert(scores[i] == -77);
}

START_TEST(any_number_of_images) {
    InferContext *context = open_context(&(InferOptions){.threads = _i});
    for (int n = 0; n <= MANY; n++) check_scores(context, n);
    netc_infer_free(context);
    netc_infer_library.head.single[0] = NULL; /* a library for single images alone, or padding always */
    context = open_context(&(InferOptions){.threads = _i});
    for (int n = 0; n <= MANY; n++) check_scores(context, n);
    netc_infer_free(context);
}
END_TEST

static int alone;
static void count_alone(char *const *buf, const RtStepEnv *env, int64_t n, char *scratch) {
    alone++;
    softmax_eval(buf, env, n, scratch);
}

/* Up to half a group goes image by image, behind a whole batch too; more than that with images that nobody asked for. */
START_TEST(what_a_batch_leaves) {
    static const int alone_of[BATCH + 3] = {0, 1, 0, 0, 0, 0, 0, 1, 0};
    fixture.batch.program.eval_batch = fixture.batch.eval[0].pieces = 3;
    fixture.single.eval[0].kernel = count_alone;
    InferContext *context = open_context(&(InferOptions){.threads = 1});
    for (int n = 0; n < BATCH + 3; n++) {
        alone = 0;
        check_scores(context, n);
        ck_assert_int_eq(alone, alone_of[n]);
    }
    netc_infer_free(context);
}
END_TEST

/* Exactly the bytes that it asks for, wherever they start. */
START_TEST(memory_of_the_caller) {
    size_t bytes = netc_infer_bytes(2);
    ck_assert_uint_gt(bytes, netc_infer_bytes(0));
    ck_assert_uint_eq(netc_infer_bytes(0), netc_infer_bytes(1));
    for (size_t shift = 0; shift < 64; shift += 9) {
        char *memory = malloc(bytes + shift);
        memset(memory, 0x5a, bytes + shift);
        InferContext *context = open_context(&(InferOptions){.threads = 2, .memory = memory + shift, .memory_bytes = bytes});
        check_scores(context, MANY);
        netc_infer_free(context);
        free(memory);
    }
}
END_TEST

static void *run_often(void *argument) {
    InferContext *context = open_context(&(InferOptions){.threads = *(const int *)argument});
    for (int i = 0; i < 50; i++) check_scores(context, MANY - i % 4);
    netc_infer_free(context);
    return NULL;
}

START_TEST(contexts_side_by_side) {
    pthread_t thread[3];
    int threads[3] = {1, 2, 3};
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_create(&thread[i], NULL, run_often, &threads[i]), 0);
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
}
END_TEST

/* The library's own weights. */
static void add_weights(StOut *out, int64_t inputs) {
    const float *from = netc_infer_library.weights;
    const int64_t dim[3][4] = {{CLASSES, inputs, 1, 1}, {CLASSES}, {CLASSES}};
    const char *const name[] = {"dense.weight", "dense.bias", "scores.running_mean"};
    for (int i = 0; i < 3; i++) {
        size_t n = i ? CLASSES : (size_t)(CLASSES * inputs);
        memcpy(st_add(out, name[i], i ? 1 : 4, dim[i]), from, n * sizeof *from);
        from += i ? CLASSES : CLASSES * INPUTS;
    }
}

static void write_weights(const char *path, int64_t inputs) {
    StOut out = {0};
    RtError error;
    add_weights(&out, inputs);
    ck_assert_int_eq(st_write(&out, path, &error), RT_OK);
    st_free(&out);
}

static void refuse(const InferOptions *options, int status, const char *says) {
    InferContext *context = (void *)&context;
    char message[RT_INFER_MESSAGE];
    ck_assert_int_eq(netc_infer_init(&context, options, message), status);
    ck_assert_ptr_null(context);
    ck_assert_msg(strstr(message, says) && !strchr(message, '\n'), "'%s' is not in '%s'", says, message);
    ck_assert_int_eq(netc_infer_init(&context, options, NULL), status);
}

START_TEST(weights_beside) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "w.safetensors")), *bytes;
    size_t length = 0;
    write_weights(path, INPUTS);
    bytes = slurp(path, &length);
    memset(netc_infer_library.weights, 0, sizeof netc_infer_library.weights); /* what is given goes before what is embedded */
    InferContext *context = open_context(&(InferOptions){.weights_path = path});
    check_scores(context, MANY);
    netc_infer_free(context);
    netc_infer_library.head.weights = 0;
    context = open_context(&(InferOptions){.weights = bytes, .weights_bytes = length});
    memset(bytes, 0, length); /* needed no longer */
    check_scores(context, MANY);
    netc_infer_free(context);
    refuse(NULL, INFER_WEIGHTS, "holds no weights");
    free(bytes);
    free(path);
    directory_free(directory);
}
END_TEST

START_TEST(damaged_weights) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "w.safetensors"));
    size_t length = 0;
    refuse(&(InferOptions){.weights_path = path}, INFER_WEIGHTS, "No such file");
    write_weights(path, INPUTS - 1);
    refuse(&(InferOptions){.weights_path = path}, INFER_WEIGHTS, "has the shape [4,17,1,1], softmax needs [4,18,1,1]");
    write_weights(path, INPUTS);
    char *bytes = slurp(path, &length);
    for (size_t cut = 0; cut < length; cut += 3) {
        char *copy = malloc(cut + !cut); /* exactly as long, so that ASan sees a byte more */
        memcpy(copy, bytes, cut);
        refuse(&(InferOptions){.weights = copy, .weights_bytes = cut}, INFER_WEIGHTS, "in memory");
        free(copy);
    }
    free(bytes);
    free(path);
    directory_free(directory);
}
END_TEST

START_TEST(mistakes_of_the_caller) {
    char byte = 0;
    float score;
    refuse(&(InferOptions){.threads = RT_INFER_THREADS + 1}, INFER_ARGUMENT, "at most 1024 threads");
    ck_assert_uint_eq(netc_infer_bytes(RT_INFER_THREADS + 1), 0);
    refuse(&(InferOptions){.memory = &byte, .memory_bytes = 1}, INFER_ARGUMENT, "1 were given");
    refuse(&(InferOptions){.weights = &byte, .weights_path = "x"}, INFER_ARGUMENT, "not both");
    ck_assert_int_eq(netc_infer_init(NULL, NULL, NULL), INFER_ARGUMENT);
    InferContext *context = open_context(NULL);
    ck_assert_int_eq(netc_infer_run(context, NULL, 1, &score), INFER_ARGUMENT);
    ck_assert_int_eq(netc_infer_run(context, fixture.images, -1, &score), INFER_ARGUMENT);
    ck_assert_int_eq(netc_infer_run(NULL, fixture.images, 1, &score), INFER_ARGUMENT);
    ck_assert_int_eq(netc_infer_run(context, NULL, 0, NULL), INFER_OK);
    netc_infer_free(context);
    netc_infer_free(NULL);
}
END_TEST

static void write_trained(const char *path, const char *mean, const char *names) {
    StOut out = {0};
    RtError error;
    add_weights(&out, INPUTS);
    st_add_metadata(&out, "set", "%s", "pets");
    st_add_metadata(&out, "mean", "%s", mean);
    st_add_metadata(&out, "std", "%a %a", 0.125, 2.);
    st_add_metadata(&out, "classes", "%s", names);
    ck_assert_int_eq(st_write(&out, path, &error), RT_OK);
    st_free(&out);
}

/* Two floats of a picture: the first of each channel, as a context with the weights of `path` normalises 51 and 0. */
static void normalize(const char *path, char *message, float out[2]) {
    unsigned char pixels[INPUTS] = {51};
    float images[INPUTS];
    InferContext *context;
    ck_assert_int_eq(netc_infer_init(&context, &(InferOptions){.weights_path = path}, message), INFER_OK);
    netc_infer_normalize(context, pixels, 1, images);
    out[0] = images[0];
    out[1] = images[SIDE * SIDE];
    netc_infer_normalize(NULL, pixels, 1, images);
    ck_assert(images[0] == 51);
    netc_infer_free(context);
}

/* Weights that say by what their images were normalised are heeded by their context, and names that are others are said; so is
 * what cannot be read. */
START_TEST(weights_of_another_set) {
    static const struct {
        const char *mean, *names, *says;
    } sets[] = {{"0x1.3333333333333p-2 0x1p-2", "ant\nbee\ncat\ndog\n", ""},
                {"0x1.3333333333333p-2 0x1p-2", "ant\nbee\ncow\ndog\n",
                 "class 2 of the library is 'cat', but 'cow' is what the weights were trained on"},
                {"0,3 0,25", "ant\nbee\ncat\ndog\n",
                 "w.safetensors: what it says of the images that it was trained on is not 2 means and deviations above 0, and is "
                 "not heeded"}};
    char *directory = directory_new(), *path = strdup(path_in(directory, "w.safetensors")), message[RT_INFER_MESSAGE];
    float got[2];
    fixture.batch.program.recipe.normalize = RT_NORMALIZE_MEAN_STD;
    for (int i = 0; i < 3; i++) {
        write_trained(path, sets[i].mean, sets[i].names);
        normalize(path, message, got);
        ck_assert_msg(*sets[i].says ? strstr(message, sets[i].says) != NULL : !*message, "%s", message);
        ck_assert_float_eq_tol(got[0], i < 2 ? (0.2f - 0.3f) / 0.125f : 51, 1e-6f);
        ck_assert_float_eq_tol(got[1], i < 2 ? (0 - 0.25f) / 2 : 1000, 1e-6f);
    }
    free(path);
    directory_free(directory);
}
END_TEST

/* In a program whose locale has a decimal comma. It is made here, since few machines have one; without localedef's sources
 * nothing is tested. */
START_TEST(weights_under_a_comma) {
    char *directory = directory_new(), *path = strdup(path_in(directory, "w.safetensors")), message[RT_INFER_MESSAGE],
         command[4096];
    float got[2];
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 > %s/said 2>&1", directory, directory);
    setenv("LOCPATH", directory, 1);
    bool comma =
        system(command) == 0 && setlocale(LC_ALL, "de_DE.UTF-8") && strtod("0,5", NULL) == 0.5; /* NOLINT(cert-env33-c) */
    fixture.batch.program.recipe.normalize = RT_NORMALIZE_MEAN_STD;
    write_trained(path, "0x1.3333333333333p-2 0.25", "ant\nbee\ncat\ndog\n");
    normalize(path, message, got);
    ck_assert_msg(!*message, "%s", message);
    ck_assert_float_eq_tol(got[0], (0.2f - 0.3f) / 0.125f, 1e-6f);
    ck_assert_float_eq_tol(got[1], (0 - 0.25f) / 2, 1e-6f);
    if (!comma) puts("no locale with a decimal comma can be made here (Debian's package locales)");
    free(path);
    directory_free(directory);
}
END_TEST

/* The scores of a picture's views, each run alone, by their weights: of loops that know no views. */
START_TEST(views) {
    static const int counts[] = {1, 2, 6};
    static const struct {
        int shift, mirror;
        double weight[3];
    } of[] = {{0, 0, {1, 0.5, 0.25}}, {0, 1, {0, 0.5, 0.25}}, {-1, 0, {0, 0, 0.125}},
              {-1, 1, {0, 0, 0.125}}, {1, 0, {0, 0, 0.125}},  {1, 1, {0, 0, 0.125}}};
    static const int place[] = {1, 0, 1, 2, 1}; /* of -1 to 3, mirrored at the middles of 0 and 2 */
    const float *weight = netc_infer_library.weights, *bias = weight + CLASSES * INPUTS;
    for (int c = 0; c < 4; c++) { /* the last: what the library was built with */
        InferContext *context = NULL;
        netc_infer_library.head.views = c < 3 ? RT_VIEWS_ONE : RT_VIEWS_MIRROR;
        context = open_context(&(InferOptions){.threads = 2, .views = c < 3 ? counts[c] : 0});
        for (int n = 0; n < MANY; n++)
            for (int k = 0; k < CLASSES; k++) {
                double sum = 0;
                for (int v = 0; v < 6; v++) {
                    double z = bias[k];
                    for (int i = 0; i < INPUTS; i++) {
                        int x = i % SIDE, y = i / SIDE % SIDE;
                        int sx = place[(of[v].mirror ? SIDE - 1 - x : x) + of[v].shift + 1], sy = place[y + of[v].shift + 1];
                        z += (double)fixture.images[n * INPUTS + i / (SIDE * SIDE) * SIDE * SIDE + sy * SIDE + sx] *
                             (double)weight[k * INPUTS + i];
                    }
                    sum += of[v].weight[c < 3 ? c : 1] * z;
                }
                fixture.expected[n * CLASSES + k] = (float)sum;
            }
        check_scores(context, MANY);
        netc_infer_free(context);
    }
    refuse(&(InferOptions){.views = 3}, INFER_ARGUMENT, "not of 3");
}
END_TEST

START_TEST(levels) {
    Softmax better = fixture.batch;
    better.program.features = "no-such-feature";
    netc_infer_library.head.nlevels = 2;
    netc_infer_library.head.batch[1] = &better.program;
    netc_infer_library.head.single[1] = &better.program;
    better.program.eval_step.ncalls = 0; /* would leave all scores 0 */
    InferContext *context = open_context(NULL);
    check_scores(context, MANY);
    netc_infer_free(context);
    better.program.features = "";
    better.program.eval_step.ncalls = 1;
    fixture.batch.program.eval_step.ncalls = 0;
    netc_infer_library.head.single[1] = NULL;
    context = open_context(NULL);
    check_scores(context, MANY);
    netc_infer_free(context);
    fixture.batch.program.features = better.program.features = "no-such-feature";
    refuse(NULL, INFER_CPU, "its CPU lacks no-such-feature");
    ck_assert_uint_eq(netc_infer_bytes(1), 0);
}
END_TEST

START_TEST(pictures_and_classes) {
    unsigned char pixels[2 * INPUTS];
    float images[2 * INPUTS], scores[2 * CLASSES] = {1, 2, 3, 4, 1000, 0, 0, 0};
    for (int i = 0; i < 2 * INPUTS; i++) pixels[i] = (unsigned char)(3 * i);
    netc_infer_normalize(NULL, pixels, 2, images);
    for (int n = 0; n < 2; n++)
        for (int c = 0; c < CHANNELS; c++)
            for (int k = 0; k < SIDE * SIDE; k++)
                ck_assert(images[(n * CHANNELS + c) * SIDE * SIDE + k] ==
                          (float)(1000 * c + pixels[(n * SIDE * SIDE + k) * CHANNELS + c]));
    netc_infer_softmax(scores, 2);
    ck_assert_float_eq_tol(scores[3], 0.6439f, 1e-4f);
    ck_assert(scores[4] == 1 && scores[5] == 0);
    ck_assert_str_eq(netc_infer_class_name(0), "ant");
    ck_assert_str_eq(netc_infer_class_name(3), "dog");
    ck_assert_ptr_null(netc_infer_class_name(4));
    ck_assert_ptr_null(netc_infer_class_name(-1));
    netc_infer_library.head.names = 0;
    ck_assert_ptr_null(netc_infer_class_name(0));
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("infer");
    tcase_add_checked_fixture(cases, setup, NULL);
    tcase_add_loop_test(cases, any_number_of_images, 0, 4);
    tcase_add_test(cases, what_a_batch_leaves);
    tcase_add_test(cases, memory_of_the_caller);
    tcase_add_test(cases, contexts_side_by_side);
    tcase_add_test(cases, weights_beside);
    tcase_add_test(cases, damaged_weights);
    tcase_add_test(cases, mistakes_of_the_caller);
    tcase_add_test(cases, weights_of_another_set);
    tcase_add_test(cases, weights_under_a_comma);
    tcase_add_test(cases, views);
    tcase_add_test(cases, levels);
    tcase_add_test(cases, pictures_and_classes);
    return run_cases("runtime/infer", cases);
}
