/* Data sets: CIFAR's binary files, whole and damaged in every way; the synthetic set: deterministic, split, and out of a linear
 * model's reach. */
#include "run_cases.h"
#include "runtime_softmax.h"
#include <sys/stat.h>

static const char *const batches[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                      "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

/* A file of `length` bytes of zeros (sparse) with `record` at `at`. */
static void fabricate(const char *path, off_t length, off_t at, const uint8_t *record, size_t size) {
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(ftruncate(fileno(f), length), 0);
    if (size) {
        ck_assert_int_eq(fseeko(f, at, SEEK_SET), 0);
        ck_assert_uint_eq(fwrite(record, 1, size, f), size);
    }
    fclose(f);
}

static void fabricate_cifar10(const char *directory) {
    for (int i = 0; i < 6; i++) {
        uint8_t record[3073] = {(uint8_t)(i + 1)}; /* record 7 of file i: label i + 1, its planes filled with i, 10 + i, 20 + i */
        for (int c = 0; c < 3; c++) memset(record + 1 + 1024 * c, 10 * c + i, 1024);
        fabricate(path_in(directory, batches[i]), 30730000, 7 * 3073, record, sizeof record);
    }
}

START_TEST(cifar10) {
    char *directory = directory_new(), *inner = strdup(path_in(directory, "cifar-10-batches-bin"));
    RtData data;
    RtError error;
    if (_i) mkdir(inner, 0777);
    fabricate_cifar10(_i ? inner : directory);
    ck_assert_msg(rt_data_open(directory, &data, &error) == RT_OK, "%s", error.text);
    ck_assert(data.channels == 3 && data.height == 32 && data.width == 32 && data.classes == 10);
    ck_assert(data.ntrain == 50000 && data.ntest == 10000);
    ck_assert_str_eq(data.name, "cifar10");
    ck_assert_str_eq(data.class_names[9], "truck");
    for (int i = 0; i < 6; i++) {
        const uint8_t *image = (i < 5 ? data.train_images + (size_t)(10000 * i) * 3072 : data.test_images) + 7 * 3072;
        ck_assert_int_eq(i < 5 ? data.train_labels[10000 * i + 7] : data.test_labels[7], i + 1);
        for (int c = 0; c < 3; c++) ck_assert(image[1024 * c] == 10 * c + i && image[1024 * c + 1023] == 10 * c + i);
        ck_assert(image[3072] == 0 && image[-1] == 0);
    }
    ck_assert_double_eq_tol(data.mean[0], 0.49140, 1e-9); /* the published figures, not those of this fabrication */
    ck_assert_double_eq_tol(data.std[2], 0.26159, 1e-9);
    rt_data_free(&data);
    setenv("NETC_DATA", directory, 1); /* by name: NETC_DATA/cifar10 */
    ck_assert_int_eq(rt_data_open("cifar10", &data, &error), RT_INPUT);
    ck_assert_ptr_nonnull(strstr(error.text, "netc data get cifar10"));
    ck_assert_int_eq(symlink(_i ? inner : directory, path_in(directory, "cifar10")), 0);
    ck_assert_int_eq(rt_data_open("cifar10", &data, &error), RT_OK);
    rt_data_free(&data);
    ck_assert_int_eq(rt_data_open_shaped(directory, 3, 224, 224, 1000, &data, &error), RT_INPUT);
    ck_assert_ptr_nonnull(strstr(error.text, "3x224x224"));
    ck_assert_ptr_null(data.train_images);
    free(inner);
    directory_free(directory);
}
END_TEST

START_TEST(cifar100) {
    char *directory = directory_new();
    uint8_t record[3074] = {3, 77, 255};
    RtData data;
    RtError error;
    fabricate(path_in(directory, "train.bin"), 50000 * 3074, 49999 * 3074, record, sizeof record);
    fabricate(path_in(directory, "test.bin"), 10000 * 3074, 0, record, sizeof record);
    ck_assert_msg(rt_data_open(directory, &data, &error) == RT_OK, "%s", error.text);
    ck_assert(data.classes == 100 && data.ntrain == 50000 && data.ntest == 10000);
    ck_assert(data.train_labels[49999] == 77 && data.test_labels[0] == 77 && data.train_labels[0] == 0); /* the fine label */
    ck_assert(!strcmp(data.class_names[0], "apple") && !strcmp(data.class_names[77], "snail") &&
              !strcmp(data.class_names[99], "worm"));
    ck_assert_int_eq(data.test_images[0], 255);
    ck_assert_double_eq_tol(data.mean[0], 1.0 / 50000 / 1024, 1e-12); /* measured: one white pixel */
    rt_data_free(&data);
    record[1] = 100;
    fabricate(path_in(directory, "test.bin"), 10000 * 3074, 5 * 3074, record, sizeof record);
    ck_assert_int_eq(rt_data_open(directory, &data, &error), RT_INPUT);
    ck_assert_ptr_nonnull(strstr(error.text, "record 5 has label 100, but labels run from 0 to 99"));
    directory_free(directory);
}
END_TEST

static void expect_refusal(const char *directory, RtStatus status, const char *file, const char *says) {
    RtData data;
    RtError error = {{0}};
    ck_assert_int_eq(rt_data_open(directory, &data, &error), status);
    ck_assert_msg(strstr(error.text, file) && strstr(error.text, says), "'%s' and '%s' are not in '%s'", file, says, error.text);
    ck_assert_ptr_null(strchr(error.text, '\n'));
    ck_assert(!data.train_images && !data.test_images && !data.name);
}

START_TEST(damaged_cifar10) {
    static const uint8_t wrong = 10;
    char *directory = directory_new();
    for (int f = 0; f < 6; f += 5) { /* a training file and the test file */
        fabricate_cifar10(directory);
        char *path = strdup(path_in(directory, batches[f]));
        fabricate(path, 30729999, 0, NULL, 0);
        expect_refusal(directory, RT_INPUT, batches[f], "truncated: 30729999 bytes, a file of this name has 30730000");
        fabricate(path, 0, 0, NULL, 0);
        expect_refusal(directory, RT_INPUT, batches[f], "truncated: 0 bytes");
        fabricate(path, 30730001, 0, NULL, 0);
        expect_refusal(directory, RT_INPUT, batches[f], "too long: 30730001 bytes, a file of this name has 30730000");
        fabricate(path, 30730000, 9999 * 3073, &wrong, 1);
        expect_refusal(directory, RT_INPUT, batches[f], "record 9999 has label 10, but labels run from 0 to 9");
        remove(path);
        expect_refusal(directory, RT_INPUT, batches[f], "No such file");
        mkdir(path, 0777);
        expect_refusal(directory, RT_INPUT, batches[f], "is not a regular file");
        rmdir(path);
        free(path);
    }
    for (int f = 0; f < 6; f++) remove(path_in(directory, batches[f]));
    expect_refusal(directory, RT_INPUT, directory, "no CIFAR binary files");
    expect_refusal("/nonexistent/place", RT_INPUT, "/nonexistent/place", "cannot open the directory");
    directory_free(directory);
}
END_TEST

START_TEST(data_home) {
    setenv("HOME", "/h", 1);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("NETC_DATA");
    static const char *const expected[] = {"/h/.cache/netc", "/x/netc", "/n"};
    for (int i = 0; i < 3; i++) {
        if (i == 1) setenv("XDG_CACHE_HOME", "/x", 1);
        if (i == 2) setenv("NETC_DATA", "/n", 1);
        char *home = rt_data_home();
        ck_assert_str_eq(home, expected[i]);
        free(home);
    }
}
END_TEST

START_TEST(synthetic_is_deterministic) {
    RtData a, b;
    RtError error;
    ck_assert_int_eq(rt_data_open("synthetic", &a, &error), RT_OK);
    ck_assert_int_eq(rt_data_open("synthetic", &b, &error), RT_OK);
    ck_assert(a.ntrain == 10000 && a.ntest == 2000 && a.channels == 3 && a.height == 32 && a.width == 32 && a.classes == 10);
    ck_assert_mem_eq(a.train_images, b.train_images, 10000 * 3072);
    ck_assert_mem_eq(a.test_labels, b.test_labels, 2000);
    ck_assert_mem_ne(a.train_images, a.test_images, 3072);
    int count[10] = {0};
    for (int i = 0; i < 10000; i++) count[a.train_labels[i]]++;
    for (int k = 0; k < 10; k++) ck_assert_int_gt(count[k], 850);
    for (int c = 0; c < 3; c++) ck_assert(a.mean[c] > 0.4 && a.mean[c] < 0.6 && a.std[c] > 0.1 && a.std[c] < 0.3);
    rt_data_free(&a);
    rt_data_free(&b);
}
END_TEST

START_TEST(synthetic_of_other_shapes) {
    RtData data;
    RtError error;
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 3, 224, 224, 1000, &data, &error), RT_OK);
    ck_assert(data.channels == 3 && data.height == 224 && data.classes == 1000 && data.ntrain >= 512 && data.ntest >= 128);
    rt_data_free(&data);
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 1, 5, 9, 2, &data, &error), RT_OK);
    int ones = 0;
    for (int i = 0; i < data.ntrain; i++) {
        if (data.train_labels[i] > 1) ck_abort_msg("label %d of two classes", data.train_labels[i]);
        ones += data.train_labels[i];
    }
    ck_assert(ones > 4500 && ones < 5500);
    rt_data_free(&data);
    static const int64_t small[][2] = {{1, 1}, {2, 3}, {1, 40}, {40, 1}, {3, 3}};
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        ck_assert_int_eq(rt_data_open_shaped("synthetic", 3, small[i][0], small[i][1], 10, &data, &error), RT_OK);
        for (int c = 0; c < 3; c++) ck_assert(data.std[c] > 0 && data.mean[c] > 0 && data.mean[c] < 1);
        rt_data_free(&data);
    }
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 7, 32, 32, 10, &data, &error), RT_INPUT);
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 3, (int64_t)1 << 40, (int64_t)1 << 40, 10, &data, &error), RT_INPUT);
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 3, 0, 32, 10, &data, &error), RT_INPUT);
}
END_TEST

#ifndef __SANITIZE_THREAD__ /* there it takes minutes, and it says nothing about threads */
/* The promise of the synthetic set: softmax regression on the pixels, well trained, stays below 60 %. */
START_TEST(synthetic_defeats_a_linear_model) {
    RtData data;
    RtError error;
    RtEvalResult train, test;
    Softmax x;
    ck_assert_int_eq(rt_data_open("synthetic", &data, &error), RT_OK);
    softmax_program(&x, 100, 3, 32, 32, 10);
    x.program.recipe.naugment = 0;
    x.program.recipe.epochs = 4;
    softmax_optimizer(&x, RT_SGD, 0.003);
    Bench b = bench_new(&x, 2);
    char *directory = directory_new();
    Run options = {directory, {.seed = 1, .quiet = true, .eval_every = 100}};
    ck_assert_msg(run_in(b.machine, &data, &options, &error) == RT_OK, "%s", error.text);
    ck_assert_int_eq(rt_evaluate(b.machine, &data, false, RT_VIEWS_ONE, &train, &error), RT_OK);
    ck_assert_int_eq(rt_evaluate(b.machine, &data, true, RT_VIEWS_ONE, &test, &error), RT_OK);
    ck_assert_msg(test.accuracy < 0.6, "a linear model reaches %.3f", test.accuracy);
    ck_assert_msg(train.accuracy > 0.2, "the linear model was not trained at all: %.3f on its own training set", train.accuracy);
    printf("linear model: train %.3f, test %.3f\n", train.accuracy, test.accuracy);
    directory_free(directory);
    bench_free(&b);
    rt_data_free(&data);
}
END_TEST
#endif

static void write_idx(const char *name, const char *bytes, size_t n) {
    FILE *file = fopen(name, "wb");
    ck_assert(file && fwrite(bytes, 1, n, file) == n && !fclose(file));
}

#define WRITE(name, text) write_idx(path_in(directory, name), text, sizeof text - 1)

/* Three images of 2x3 to train with, one to test with; then what can be wrong, each named. */
START_TEST(idx) {
    static const char images[] = "\0\0\10\3\0\0\0\3\0\0\0\2\0\0\0\3abcdefghijklmnopqr", labels[] = "\0\0\10\1\0\0\0\3\1\0\6";
    static const char one[] = "\0\0\10\3\0\0\0\1\0\0\0\2\0\0\0\3ABCDEF", label[] = "\0\0\10\1\0\0\0\1\4";
    char *directory = directory_new();
    RtData d;
    RtError error;
    WRITE("train-images-idx3-ubyte", images);
    WRITE("train-labels-idx1-ubyte", labels);
    WRITE("t10k-images-idx3-ubyte", one);
    WRITE("t10k-labels-idx1-ubyte", label);
    ck_assert_msg(rt_data_open(directory, &d, &error) == RT_OK, "%s", error.text);
    ck_assert(d.channels == 1 && d.height == 2 && d.width == 3 && d.ntrain == 3 && d.ntest == 1 && d.classes == 7);
    ck_assert(!memcmp(d.train_images, "abcdefghijklmnopqr", 18) && !memcmp(d.test_images, "ABCDEF", 6));
    ck_assert(d.train_labels[0] == 1 && d.train_labels[2] == 6 && d.test_labels[0] == 4);
    ck_assert_double_eq_tol(d.mean[0], ('a' + 8.5) / 255, 1e-12);
    rt_data_free(&d);
    static const struct {
        const char *file, *bytes;
        size_t n;
        const char *says;
    } bad[] = {{"train-labels-idx1-ubyte", label, sizeof label - 1, "has 1 labels for 3 images"},
               {"train-labels-idx1-ubyte", labels, sizeof labels - 2, "is no IDX file of bytes in 1 dimensions"},
               {"t10k-images-idx3-ubyte", images, sizeof images, "is no IDX file of bytes in 3 dimensions"},
               {"t10k-images-idx3-ubyte", "\0\0\10\3\0\0\0\1\0\0\0\3\0\0\0\2ABCDEF", 22, "images are of 2x3, test images of 3x2"},
               {"train-images-idx3-ubyte", "", 0, "is no IDX file"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        WRITE("train-images-idx3-ubyte", images);
        WRITE("train-labels-idx1-ubyte", labels);
        WRITE("t10k-images-idx3-ubyte", one);
        write_idx(path_in(directory, bad[i].file), bad[i].bytes, bad[i].n);
        ck_assert_int_eq(rt_data_open(directory, &d, &error), RT_INPUT);
        ck_assert_msg(strstr(error.text, bad[i].says) != NULL, "%s", error.text);
    }
    unlink(path_in(directory, "train-images-idx3-ubyte"));
    WRITE("train-images-idx3-ubyte.gz", "packed");
    ck_assert_int_eq(rt_data_open(directory, &d, &error), RT_INPUT);
    ck_assert_msg(strstr(error.text, "gunzip -k") != NULL, "%s", error.text);
    directory_free(directory);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("data");
    tcase_add_loop_test(cases, cifar10, 0, 2);
    tcase_add_test(cases, cifar100);
    tcase_add_test(cases, damaged_cifar10);
    tcase_add_test(cases, data_home);
    tcase_add_test(cases, synthetic_is_deterministic);
    tcase_add_test(cases, synthetic_of_other_shapes);
    tcase_add_test(cases, idx);
#ifndef __SANITIZE_THREAD__
    tcase_add_test(cases, synthetic_defeats_a_linear_model);
#endif
    return run_cases("runtime/data", cases);
}
