/* Pictures: PNG round trip, and a resize that averages when it shrinks and interpolates when it grows. */
#include "driver/picture.h"
#include "run_cases.h"
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

static Picture make(int64_t width, int64_t height, uint8_t (*value)(int64_t x, int64_t y, int c)) {
    Picture picture = {width, height, malloc((size_t)(width * height * 3))};
    ck_assert_ptr_nonnull(picture.rgb);
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) picture.rgb[(y * width + x) * 3 + c] = value(x, y, c);
    return picture;
}

static uint8_t mixed(int64_t x, int64_t y, int c) { return (uint8_t)(x * 7 + y * 13 + c * 50); }
static uint8_t checkers(int64_t x, int64_t y, int c) { return c == 2 ? 9 : (x + y) % 2 ? 200 : 100; }
static uint8_t ramp(int64_t x, int64_t y, int c) { return (uint8_t)(c == 0 ? 10 * x : c == 1 ? 10 * y : 0); }

START_TEST(same_size_is_unchanged) {
    Picture picture = make(5, 3, mixed);
    uint8_t planes[3 * 15];
    ck_assert(picture_resize(&picture, 5, 3, planes));
    for (int c = 0; c < 3; c++)
        for (int64_t i = 0; i < 15; i++) ck_assert_uint_eq(planes[c * 15 + i], mixed(i % 5, i / 5, c));
    picture_free(&picture);
}
END_TEST

/* Taking every eighth pixel would give 100 everywhere. */
START_TEST(shrinking_averages) {
    Picture picture = make(64, 64, checkers);
    uint8_t planes[3 * 64];
    ck_assert(picture_resize(&picture, 8, 8, planes));
    for (int i = 0; i < 64; i++) {
        ck_assert_int_le(abs(planes[i] - 150), 1);
        ck_assert_uint_eq(planes[128 + i], 9);
    }
    picture_free(&picture);
}
END_TEST

START_TEST(growing_interpolates) {
    Picture picture = make(4, 2, ramp);
    uint8_t planes[3 * 8 * 2];
    ck_assert(picture_resize(&picture, 8, 2, planes));
    const uint8_t expected[8] = {0, 2, 8, 12, 18, 22, 28, 30}; /* 10 * (x / 2 - 1 / 4), clamped; halves to even */
    for (int x = 0; x < 8; x++) ck_assert_uint_eq(planes[x], expected[x]);
    picture_free(&picture);
}
END_TEST

START_TEST(one_pixel_fills_everything) {
    Picture picture = make(1, 1, mixed);
    uint8_t planes[3 * 9];
    ck_assert(picture_resize(&picture, 3, 3, planes));
    for (int i = 0; i < 27; i++) ck_assert_uint_eq(planes[i], mixed(0, 0, i / 9));
    picture_free(&picture);
}
END_TEST

START_TEST(png_round_trip) {
    char path[] = "/tmp/netc-picture-XXXXXX", why[256];
    int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    Picture picture = make(17, 11, mixed), again;
    ck_assert_msg(picture_write(path, &picture, why, sizeof why), "%s", why);
    ck_assert_msg(picture_read(path, &again, why, sizeof why), "%s", why);
    ck_assert_int_eq(again.width, 17);
    ck_assert_int_eq(again.height, 11);
    ck_assert_mem_eq(picture.rgb, again.rgb, 17 * 11 * 3);
    picture_free(&picture);
    picture_free(&again);
    unlink(path);
}
END_TEST

START_TEST(missing_file_has_a_reason) {
    Picture picture;
    char why[256] = "";
    ck_assert(!picture_read("/nonexistent/x.png", &picture, why, sizeof why));
    ck_assert_str_eq(why, "No such file or directory");
    ck_assert_ptr_null(picture.rgb);
}
END_TEST

/* What PPM and PGM may say of themselves and what netc reads of it. */
START_TEST(pnm_headers) {
    static const struct {
        const char *file, *why; /* NULL: it is read */
    } cases[] = {
        {"P6 1 1 255 abc", NULL},
        {"P6 1 1 7 \1\2\7", NULL},
        {"P5\n#\n1 1\n255\nx", NULL},
        {"P6 1 1 65535 aabbcc", "it has more than 8 bits"},
        {"P6 1 1 256 aabbcc", "it has more than 8 bits"},
        {"P6 1 1 0 abc", "its header is broken"},
        {"P6 0 1 255 abc", "its header is broken"},
        {"P6 2 1 255 abcde", "the file is too short"},
        {"P6 70000 70000 255 abc", "it is too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[] = "/tmp/netc-picture-XXXXXX", why[256] = "";
        int file = mkstemp(path);
        size_t length = strlen(cases[i].file);
        ck_assert(file >= 0 && write(file, cases[i].file, length) == (ssize_t)length && !close(file));
        Picture picture;
        bool read = picture_read(path, &picture, why, sizeof why);
        ck_assert_msg(read == !cases[i].why && (read || !strcmp(why, cases[i].why)), "'%s': '%s'", cases[i].file, why);
        picture_free(&picture);
        unlink(path);
    }
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("picture");
    tcase_add_test(tests, same_size_is_unchanged);
    tcase_add_test(tests, shrinking_averages);
    tcase_add_test(tests, growing_interpolates);
    tcase_add_test(tests, one_pixel_fills_everything);
    tcase_add_test(tests, png_round_trip);
    tcase_add_test(tests, missing_file_has_a_reason);
    tcase_add_test(tests, pnm_headers);
    return run_cases("picture", tests);
}
