/* Validation images and patience: what is kept out of training is never trained on, it decides what is best, and the test images
 * decide nothing and are looked at once. On the hand-written softmax regression. */
#include "run_cases.h"
#include "runtime/split.h"
#include "runtime_softmax.h"

enum { BATCH = 32, TRAIN = 320, HELD = 64, TEST = 69, IMAGE = 3 * 8 * 8 };

static RtData data; /* synthetic, cut */

static void small_program(Softmax *x, double epochs, double validation, double patience) {
    softmax_program(x, BATCH, 3, 8, 8, 10);
    softmax_optimizer(x, RT_SGD, 0.002);
    x->program.recipe.naugment = 0;
    x->program.recipe.epochs = epochs;
    x->program.recipe.validation = validation;
    x->program.recipe.patience = patience;
}

static RtStatus train(const Softmax *x, const char *directory, const RtData *with, RtTrainOptions o, RtError *error) {
    Bench b = bench_new(x, 1);
    o.seed = 7, o.log_every = 1000, o.eval_every = 1, o.quiet = true;
    RtStatus status = run_in(b.machine, with, &(Run){directory, o}, error);
    bench_free(&b);
    return status;
}

static char *trained(const Softmax *x, const char *directory, const RtData *with) {
    RtError error = {{0}};
    size_t length;
    ck_assert_msg(train(x, directory, with, (RtTrainOptions){0}, &error) == RT_OK, "%s", error.text);
    return slurp(path_in(directory, "metrics.jsonl"), &length);
}

/* The number behind the n-th "key": of a text; NAN: there is none. */
static double number_of(const char *text, const char *key, int n) {
    char name[64];
    snprintf(name, sizeof name, "\"%s\": ", key);
    const char *at = strstr(text, name);
    for (; at && n > 0; n--) at = strstr(at + 1, name);
    return at ? strtod(at + strlen(name), NULL) : NAN;
}

static int count_of(const char *text, const char *word) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)); at++) n++;
    return n;
}

/* Everything but rates, which no two runs share. */
static void same_numbers(const char *a, const char *b, int epochs) {
    static const char *const keys[] = {"loss", "train_accuracy", "validation_accuracy", "validation_loss"};
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < epochs; i++) ck_assert_double_eq(number_of(a, keys[k], i), number_of(b, keys[k], i));
}

START_TEST(parts_of_a_set) {
    RtSplit one, two, other;
    RtError error;
    ck_assert_int_eq(rt_split(&data, HELD, 3, &one, &error), RT_OK);
    ck_assert_int_eq(rt_split(&data, HELD, 3, &two, &error), RT_OK);
    ck_assert_int_eq(rt_split(&data, HELD, 4, &other, &error), RT_OK);
    ck_assert(one.train.ntrain == TRAIN - HELD && one.held.ntest == HELD && one.held.ntrain == 0 && one.train.ntest == TEST);
    ck_assert(!memcmp(one.index, two.index, TRAIN * sizeof *one.index) &&
              memcmp(one.index, other.index, TRAIN * sizeof *one.index));
    bool seen[TRAIN] = {false};
    for (int i = 0; i < TRAIN; i++) {
        ck_assert(one.index[i] < TRAIN && !seen[one.index[i]]);
        seen[one.index[i]] = true;
        if (i && i != TRAIN - HELD) ck_assert_uint_gt(one.index[i], one.index[i - 1]);
    }
    int in_first_half = 0; /* hypergeometric: 32 expected, deviation 3.6 */
    for (int i = 0; i < HELD; i++) in_first_half += one.held.test_index[i] < TRAIN / 2;
    ck_assert_int_gt(in_first_half, 14);
    ck_assert_int_lt(in_first_half, 50);
    RtRecipe r = {.validation = 0.2};
    ck_assert_int_eq(rt_validation_count(&r, &data), 64);
    rt_split_free(&one), rt_split_free(&two), rt_split_free(&other);
}
END_TEST

/* Images and labels that are kept out may be anything: not a weight moves. Nor by any test image; and what is best is chosen
 * alike. */
START_TEST(held_images_train_nothing) {
    char *directory = directory_new();
    Softmax x;
    RtError error;
    RtSplit split;
    RtData other = data;
    small_program(&x, 3, HELD, 0);
    char *once = trained(&x, directory, &data);
    ck_assert_int_eq(rt_split(&data, HELD, 7, &split, &error), RT_OK);
    other.train_images = malloc(TRAIN * IMAGE), other.train_labels = malloc(TRAIN);
    memcpy(other.train_images, data.train_images, TRAIN * IMAGE), memcpy(other.train_labels, data.train_labels, TRAIN);
    for (int i = 0; i < HELD; i++) {
        memset(other.train_images + (size_t)split.held.test_index[i] * IMAGE, 7 * i, IMAGE);
        other.train_labels[split.held.test_index[i]] = (uint8_t)(i % 10);
    }
    char *held = trained(&x, directory, &other);
    other = (RtData){.train_images = other.train_images, .train_labels = other.train_labels};
    RtData tested = data;
    tested.test_labels = calloc(TEST, 1);
    char *untested = trained(&x, directory, &tested);
    for (int i = 0; i < 3; i++) {
        ck_assert_double_eq(number_of(once, "loss", i), number_of(held, "loss", i));
        ck_assert_double_eq(number_of(once, "train_accuracy", i), number_of(held, "train_accuracy", i));
    }
    ck_assert(number_of(once, "validation_loss", 2) != number_of(held, "validation_loss", 2));
    const char *a = strstr(once, "weights_sha256"), *b = strstr(held, "weights_sha256");
    ck_assert(a && b && !strncmp(a, b, 80));
    same_numbers(once, untested, 3);
    ck_assert_double_eq(number_of(once, "tested_epoch", 0), number_of(untested, "tested_epoch", 0));
    ck_assert(number_of(once, "test_accuracy", 0) != number_of(untested, "test_accuracy", 0));
    free(once), free(held), free(untested);
    free(other.train_images), free(other.train_labels), free(tested.test_labels);
    rt_split_free(&split);
    directory_free(directory);
}
END_TEST

/* The test images are looked at once, with the weights of the best epoch, by views too; training goes on with its own weights. */
START_TEST(tested_once) {
    char *directory = directory_new();
    Softmax x;
    RtError error;
    RtEvalResult result, views, held;
    RtSplit split;
    small_program(&x, 6, HELD, 0);
    softmax_optimizer(&x, RT_SGD, 0.05); /* too much: the best epoch is not the last */
    x.program.recipe.views = RT_VIEWS_MIRROR;
    if (_i) x.program.recipe.average = (RtAverage){.kind = RT_AVERAGE_EMA, .decay = 0.9, .every = 1, .statistics = true};
    char *text = trained(&x, directory, &data);
    ck_assert_int_eq(count_of(text, "validation_accuracy"), 6);
    ck_assert(count_of(text, "test_accuracy") == 1 && count_of(text, "views_accuracy") == 1);
    int best = (int)number_of(text, "tested_epoch", 0);
    for (int i = 0; i < 6; i++) {
        double here = number_of(text, "validation_accuracy", i), there = number_of(text, "validation_accuracy", best);
        ck_assert(i < best ? here < there : here <= there);
    }
    if (!_i) ck_assert_int_lt(best, 5);
    Bench b = bench_new(&x, 2);
    ck_assert_int_eq(rt_weights_load(path_in(directory, "best.safetensors"), b.machine, NULL, &error), RT_OK);
    ck_assert_int_eq(rt_evaluate(b.machine, &data, true, RT_VIEWS_ONE, &result, &error), RT_OK);
    ck_assert_int_eq(rt_evaluate(b.machine, &data, true, RT_VIEWS_MIRROR, &views, &error), RT_OK);
    ck_assert_int_eq(rt_split(&data, HELD, 7, &split, &error), RT_OK);
    ck_assert_int_eq(rt_evaluate(b.machine, &split.held, true, RT_VIEWS_ONE, &held, &error), RT_OK);
    ck_assert_double_eq_tol(number_of(text, "test_accuracy", 0), result.accuracy, 1e-9);
    ck_assert_double_eq_tol(number_of(text, "test_loss", 0), result.loss, 1e-6);
    ck_assert_double_eq_tol(number_of(text, "views_loss", 0), views.loss, 1e-6);
    ck_assert_double_eq_tol(number_of(text, "validation_accuracy", best), held.accuracy, 1e-9);
    ck_assert_double_eq_tol(number_of(text, "validation_loss", best), held.loss, 1e-6);
    /* last.safetensors has what was trained, not what was tested: its hash is the last line's */
    char hex[65];
    ck_assert_int_eq(rt_weights_load(path_in(directory, "last.safetensors"), b.machine, NULL, &error), RT_OK);
    rt_weights_sha256(b.machine, hex);
    const char *sha = NULL;
    for (const char *at = text; (at = strstr(at, "weights_sha256")); at++) sha = at + 18;
    ck_assert(sha && !strncmp(sha, hex, 64));
    rt_split_free(&split);
    bench_free(&b);
    free(text);
    directory_free(directory);
}
END_TEST

/* Behind so many epochs that were not better the run ends, tested; a resume has nothing to do, unless it is to wait longer. */
START_TEST(patience) {
    char *directory = directory_new(), *all = directory_new();
    Softmax x;
    RtError error;
    size_t length;
    small_program(&x, 12, HELD, 0);
    softmax_optimizer(&x, RT_SGD, 0.05);
    char *whole = trained(&x, all, &data);
    int best = 0, ends = -1;
    for (int i = 1; i < 12 && ends < 0; i++) {
        if (number_of(whole, "validation_accuracy", i) > number_of(whole, "validation_accuracy", best)) best = i;
        if (i - best == 2) ends = i;
    }
    ck_assert(ends > 0 && ends < 11);
    x.program.recipe.patience = 2;
    char *text = trained(&x, directory, &data);
    ck_assert_int_eq(count_of(text, "train_accuracy"), ends + 1);
    ck_assert_int_eq((int)number_of(text, "tested_epoch", 0), best);
    same_numbers(whole, text, ends + 1);
    ck_assert_int_eq(train(&x, directory, &data, (RtTrainOptions){.resume = true}, &error), RT_OK);
    char *again = slurp(path_in(directory, "metrics.jsonl"), &length);
    ck_assert_str_eq(text, again);
    x.program.recipe.patience = 0;
    ck_assert_int_eq(train(&x, directory, &data, (RtTrainOptions){.resume = true}, &error), RT_OK);
    char *longer = slurp(path_in(directory, "metrics.jsonl"), &length);
    ck_assert_int_eq(count_of(longer, "train_accuracy"), 12);
    same_numbers(whole, longer, 12);
    free(whole), free(text), free(again), free(longer);
    directory_free(directory), directory_free(all);
}
END_TEST

/* Stopped by --steps inside a run, it goes on with the same split and the same bits, and is not tested before its end. */
START_TEST(resumed) {
    char *directory = directory_new(), *all = directory_new();
    Softmax x;
    RtError error;
    size_t length;
    small_program(&x, 3, 0.2, 0);
    char *whole = trained(&x, all, &data);
    ck_assert_int_eq(train(&x, directory, &data, (RtTrainOptions){.max_steps = 11}, &error), RT_OK);
    char *part = slurp(path_in(directory, "metrics.jsonl"), &length);
    ck_assert(!strstr(part, "test_accuracy") && strstr(part, "validation_accuracy"));
    ck_assert_int_eq(train(&x, directory, &data, (RtTrainOptions){.resume = true}, &error), RT_OK);
    char *text = slurp(path_in(directory, "metrics.jsonl"), &length);
    const char *a = strrchr(whole, '{'), *b = strrchr(text, '{');
    ck_assert(a && b && !strncmp(strstr(a, "weights_sha256"), strstr(b, "weights_sha256"), 80));
    ck_assert_double_eq(number_of(a, "test_loss", 0), number_of(b, "test_loss", 0));
    free(whole), free(part), free(text);
    directory_free(directory), directory_free(all);
}
END_TEST

START_TEST(impossible) {
    char *directory = directory_new();
    Softmax x;
    RtError error;
    small_program(&x, 2, TRAIN - BATCH + 1, 0);
    ck_assert_int_eq(train(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "31 of 320 training images are left") != NULL, "%s", error.text);
    x.program.recipe.validation = 1e9;
    ck_assert_int_eq(train(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "0 of 320 training images are left") != NULL, "%s", error.text);
    x.program.recipe.validation = 0.001;
    ck_assert_int_eq(train(&x, directory, &data, (RtTrainOptions){0}, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "is none") != NULL, "%s", error.text);
    directory_free(directory);
}
END_TEST

int main(void) {
    RtError error;
    if (rt_data_open_shaped("synthetic", 3, 8, 8, 10, &data, &error) != RT_OK) return 1;
    data.ntrain = TRAIN, data.ntest = TEST;
    TCase *cases = tcase_create("validation");
    tcase_add_test(cases, parts_of_a_set);
    tcase_add_test(cases, held_images_train_nothing);
    tcase_add_loop_test(cases, tested_once, 0, 2);
    tcase_add_test(cases, patience);
    tcase_add_test(cases, resumed);
    tcase_add_test(cases, impossible);
    int failed = run_cases("validation", cases);
    rt_data_free(&data);
    return failed;
}
