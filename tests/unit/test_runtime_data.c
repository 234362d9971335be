/* Data sets: the synthetic set's difficulty, defects of CIFAR files, augmentation, the loader's independence of its start. */
#include "runtime/loader.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static RtError error;

/* ---- synthetic ---- */

/* Softmax regression on pixels: a few epochs of SGD, then its accuracy on the test images. */
static double linear_accuracy(const RtData *d) {
    enum { F = 3072, K = 10 };
    double *w = calloc(K * F + K, sizeof *w), z[K];
    for (int epoch = 0; epoch < 3; epoch++)
        for (int64_t n = 0; n < 4000; n++) {
            const uint8_t *x = d->train_images + n * F;
            double high = -1e300, sum = 0;
            for (int k = 0; k < K; k++) {
                z[k] = w[K * F + k];
                for (int i = 0; i < F; i++) z[k] += w[k * F + i] * (x[i] / 255.0 - 0.5);
                high = fmax(high, z[k]);
            }
            for (int k = 0; k < K; k++) sum += z[k] = exp(z[k] - high);
            for (int k = 0; k < K; k++) {
                double g = 0.01 * (z[k] / sum - (k == d->train_labels[n]));
                w[K * F + k] -= g;
                for (int i = 0; i < F; i++) w[k * F + i] -= g * (x[i] / 255.0 - 0.5);
            }
        }
    int correct = 0;
    for (int64_t n = 0; n < d->ntest; n++) {
        int best = 0;
        for (int k = 0; k < K; k++) {
            z[k] = w[K * F + k];
            for (int i = 0; i < F; i++) z[k] += w[k * F + i] * (d->test_images[n * F + i] / 255.0 - 0.5);
            best = z[k] > z[best] ? k : best;
        }
        correct += best == d->test_labels[n];
    }
    free(w);
    return (double)correct / (double)d->ntest;
}

START_TEST(synthetic_is_not_linear) {
    RtData d;
    ck_assert_int_eq(rt_data_open("synthetic", &d, &error), RT_OK);
    ck_assert_int_eq(d.ntrain, 10000);
    int seen[10] = {0};
    for (int64_t n = 0; n < d.ntrain; n++) seen[d.train_labels[n]]++;
    for (int k = 0; k < 10; k++) ck_assert_int_ge(seen[k], 800);
    double accuracy = linear_accuracy(&d);
    ck_assert_msg(accuracy < 0.6, "a linear model reaches %.3f", accuracy);
    RtData again;
    ck_assert_int_eq(rt_data_open("synthetic", &again, &error), RT_OK);
    ck_assert_mem_eq(d.train_images, again.train_images, 100 * 3072);
    ck_assert_mem_ne(d.train_images, d.test_images, 3072);
    rt_data_free(&again);
    rt_data_free(&d);
}
END_TEST

START_TEST(synthetic_takes_a_shape) {
    RtData d;
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 1, 48, 64, 1000, &d, &error), RT_OK);
    ck_assert_int_eq(d.height * d.width, 48 * 64);
    rt_data_free(&d);
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 9, 8, 8, 10, &d, &error), RT_INPUT);
}
END_TEST

/* ---- CIFAR files ---- */

static char directory[64];

static void write_cifar10(int64_t bad_record, int bad_label, int64_t extra_bytes) {
    static uint8_t record[3073];
    for (int f = 0; f < 6; f++) {
        char path[128];
        snprintf(path, sizeof path, f < 5 ? "%s/data_batch_%d.bin" : "%s/test_batch.bin", directory, f + 1);
        FILE *out = fopen(path, "wb");
        for (int64_t i = 0; i < 10000; i++) {
            record[0] = (uint8_t)(f == 2 && i == bad_record ? bad_label : i % 10);
            record[1] = (uint8_t)f;
            fwrite(record, sizeof record, 1, out);
        }
        fflush(out);
        if (f == 2 && ftruncate(fileno(out), 30730000 + extra_bytes) != 0) abort();
        fclose(out);
    }
}

static void in_directory(void) {
    strcpy(directory, "/tmp/netc-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
}
static void out_of_directory(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    ck_assert_int_eq(system(command), 0);
}

static void refuses(const char *where, RtStatus status, const char *sentence) {
    RtData d;
    error.text[0] = 0;
    ck_assert_int_eq(rt_data_open(where, &d, &error), status);
    ck_assert_msg(strstr(error.text, sentence), "'%s' does not say '%s'", error.text, sentence);
    ck_assert_ptr_null(d.train_images);
}

START_TEST(cifar_files) {
    RtData d;
    refuses(directory, RT_INPUT, "holds no CIFAR binary files");
    write_cifar10(-1, 0, 0);
    ck_assert_int_eq(rt_data_open(directory, &d, &error), RT_OK);
    ck_assert_int_eq(d.ntrain, 50000);
    ck_assert_int_eq(d.train_images[49999 * 3072L], 4);
    ck_assert_int_eq(d.test_labels[7], 7);
    ck_assert_str_eq(d.class_names[9], "truck");
    rt_data_free(&d);
    write_cifar10(-1, 0, -1);
    refuses(directory, RT_INPUT, "data_batch_3.bin is truncated: 30729999 bytes");
    write_cifar10(-1, 0, 1);
    refuses(directory, RT_INPUT, "data_batch_3.bin is too long");
    write_cifar10(123, 10, 0);
    refuses(directory, RT_INPUT, "record 123 has label 10");
    char path[128];
    snprintf(path, sizeof path, "%s/data_batch_4.bin", directory);
    unlink(path);
    write_cifar10(-1, 0, 0);
    unlink(path);
    refuses(directory, RT_INPUT, "cannot open");
    refuses("/nonexistent/folder", RT_INPUT, "holds no CIFAR");
}
END_TEST

START_TEST(missing_data_say_what_to_do) {
    setenv("NETC_DATA", "/nonexistent", 1);
    refuses("cifar10", RT_INPUT, "netc data get cifar10");
    refuses("cifar100", RT_INPUT, "--data synthetic");
}
END_TEST

/* ---- augmentation ---- */

static RtData ramp(uint8_t *pixels) {
    for (int i = 0; i < 64; i++) pixels[i] = (uint8_t)(i + 1);
    return (RtData){.channels = 1, .height = 8, .width = 8, .train_images = pixels};
}

START_TEST(pad_crop_and_translate_shift) {
    uint8_t pixels[64], work[128];
    RtData d = ramp(pixels);
    RtRecipe r = {.augment = {{_i ? RT_AUGMENT_TRANSLATE : RT_AUGMENT_PAD_CROP, _i ? 0.25 : 2}}, .naugment = 1};
    int shifts[5][5] = {{0}}, kinds = 0;
    for (uint64_t key = 0; key < 500; key++) {
        const uint8_t *out = pixels;
        RtRectangle cut;
        rt_augment_image(&r, &d, 1, key, &out, work, &cut);
        int dy = 0, dx = 0; /* the centre stays inside, so the shift can be read off it */
        dy = (out[3 * 8 + 3] - 1) / 8 - 3;
        dx = (out[3 * 8 + 3] - 1) % 8 - 3;
        ck_assert(abs(dy) <= 2 && abs(dx) <= 2);
        kinds += !shifts[dy + 2][dx + 2]++;
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 8; x++) {
                int sy = y + dy, sx = x + dx, inside = sy >= 0 && sx >= 0 && sy < 8 && sx < 8;
                int cy = sy < 0 ? 0 : sy > 7 ? 7 : sy, cx = sx < 0 ? 0 : sx > 7 ? 7 : sx;
                ck_assert_int_eq(out[y * 8 + x], inside ? pixels[sy * 8 + sx] : _i ? pixels[cy * 8 + cx] : 0);
            }
    }
    ck_assert_int_eq(kinds, 25);
}
END_TEST

START_TEST(flip_and_cutout) {
    uint8_t pixels[64], work[128];
    RtData d = ramp(pixels);
    RtRecipe r = {.augment = {{RT_AUGMENT_FLIP, 0}, {RT_AUGMENT_CUTOUT, 4}}, .naugment = 2};
    int flipped = 0;
    for (uint64_t key = 0; key < 1000; key++) {
        const uint8_t *out = pixels;
        RtRectangle cut;
        rt_augment_image(&r, &d, 1, key, &out, work, &cut);
        flipped += out[0] == 8;
        ck_assert_int_eq(out[0] + out[7], 9);
        ck_assert(cut.y0 >= 0 && cut.x0 >= 0 && cut.y1 <= 8 && cut.x1 <= 8);
        ck_assert(cut.y1 - cut.y0 >= 1 && cut.y1 - cut.y0 <= 4 && cut.x1 - cut.x0 <= 4);
    }
    ck_assert_int_gt(flipped, 430);
    ck_assert_int_lt(flipped, 570);
}
END_TEST

/* ---- loader ---- */

START_TEST(epoch_order_is_a_permutation) {
    enum { N = 1000 };
    uint32_t a[N], b[N];
    char seen[N] = {0};
    rt_epoch_order(a, N, true, 5, 0);
    for (int i = 0; i < N; i++) ck_assert_int_eq(seen[a[i]]++, 0);
    rt_epoch_order(b, N, true, 5, 1);
    ck_assert_mem_ne(a, b, sizeof a);
    rt_epoch_order(b, N, true, 5, 0);
    ck_assert_mem_eq(a, b, sizeof a);
    rt_epoch_order(b, N, false, 5, 3);
    for (uint32_t i = 0; i < N; i++) ck_assert_uint_eq(b[i], i);
}
END_TEST

START_TEST(loader_starts_anywhere) {
    enum { BATCH = 3, SIZE = 64, IMAGES = 20 }; /* 6 batches an epoch */
    uint8_t pixels[IMAGES * SIZE], labels[IMAGES];
    for (int i = 0; i < IMAGES * SIZE; i++) pixels[i] = (uint8_t)(i * 37);
    for (int i = 0; i < IMAGES; i++) labels[i] = (uint8_t)(i % 10);
    RtData d = {.channels = 1, .height = 8, .width = 8, .ntrain = IMAGES, .train_images = pixels, .train_labels = labels};
    RtRecipe r = {
        .augment = {{RT_AUGMENT_PAD_CROP, 2}, {RT_AUGMENT_FLIP, 0}, {RT_AUGMENT_CUTOUT, 3}}, .naugment = 3, .shuffle = true};
    float all[14][BATCH * SIZE], one[BATCH * SIZE];
    int32_t all_labels[14][BATCH], one_labels[BATCH];
    RtLoader *l = rt_loader_new(&d, &r, BATCH, 9, 0, 0, &error);
    for (int i = 0; i < 14; i++) rt_loader_next(l, all[i], all_labels[i]);
    rt_loader_free(l);
    for (int i = 0; i < 14; i++) {
        l = rt_loader_new(&d, &r, BATCH, 9, i / 6, i % 6, &error);
        rt_loader_next(l, one, one_labels);
        ck_assert_mem_eq(one, all[i], sizeof one);
        ck_assert_mem_eq(one_labels, all_labels[i], sizeof one_labels);
        rt_loader_free(l);
    }
    ck_assert_mem_ne(all[0], all[6], sizeof all[0]);
}
END_TEST

START_TEST(normalisation) {
    RtData d = {.channels = 2, .mean = {0.5, 0.25}, .std = {0.5, 0.125}};
    ck_assert_float_eq(rt_normalizer(&d, RT_NORMALIZE_NONE).value[0][255], 1);
    ck_assert_float_eq_tol(rt_normalizer(&d, RT_NORMALIZE_MEAN).value[1][51], 0.2f - 0.25f, 1e-6);
    ck_assert_float_eq_tol(rt_normalizer(&d, RT_NORMALIZE_MEAN_STD).value[1][0], -2, 1e-6);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_data");
    TCase *tests = tcase_create("data"), *files = tcase_create("files");
    tcase_set_timeout(tests, 120);
    tcase_set_timeout(files, 120);
    tcase_add_checked_fixture(files, in_directory, out_of_directory);
    tcase_add_test(files, cifar_files);
    tcase_add_test(tests, synthetic_is_not_linear);
    tcase_add_test(tests, synthetic_takes_a_shape);
    tcase_add_test(tests, missing_data_say_what_to_do);
    tcase_add_loop_test(tests, pad_crop_and_translate_shift, 0, 2);
    tcase_add_test(tests, flip_and_cutout);
    tcase_add_test(tests, epoch_order_is_a_permutation);
    tcase_add_test(tests, loader_starts_anywhere);
    tcase_add_test(tests, normalisation);
    suite_add_tcase(suite, tests);
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
