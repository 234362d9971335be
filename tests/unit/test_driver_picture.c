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

/* The middle of the picture, of the proportion wanted: torchvision's Resize and CenterCrop, the other way round. */
START_TEST(fits_by_cropping) {
    Picture wide = make(10, 4, ramp), tall = make(3, 11, ramp);
    uint8_t planes[3 * 16];
    ck_assert(picture_fit(&wide, RT_FIT_CROP, 3, 4, 4, planes));
    for (int i = 0; i < 16; i++) ck_assert(planes[i] == 10 * (i % 4 + 3) && planes[16 + i] == 10 * (i / 4));
    ck_assert(picture_fit(&tall, RT_FIT_CROP, 3, 3, 3, planes));
    for (int i = 0; i < 9; i++) ck_assert(planes[i] == 10 * (i % 3) && planes[9 + i] == 10 * (i / 3 + 4));
    picture_free(&wide);
    picture_free(&tall);
}
END_TEST

START_TEST(one_channel_is_luma) {
    Picture picture = make(2, 2, ramp);
    uint8_t plane[4];
    ck_assert(picture_fit(&picture, RT_FIT_STRETCH, 1, 2, 2, plane));
    ck_assert(plane[0] == 0 && plane[1] == 3 && plane[2] == 6 && plane[3] == 9); /* 0.299 r + 0.587 g + 0.114 b */
    picture_free(&picture);
}
END_TEST

/* Baseline and progressive files of 24x16, one channel about 200 and ramps in the others, but for what quality 60 loses. */
START_TEST(jpeg) {
    static const char *const names[] = {"red", "green_progressive", "blue"};
    for (int k = 0; k < 3; k++) {
        Picture picture;
        char path[256], why[256] = "";
        snprintf(path, sizeof path, NETC_SOURCE_DIR "/tests/fuzz/corpus/picture/%s.jpg", names[k]);
        ck_assert_msg(picture_read(path, &picture, why, sizeof why), "%s", why);
        ck_assert(picture.width == 24 && picture.height == 16);
        for (int i = 0; i < 24 * 16; i++) {
            int want[3] = {40, 40 + i % 24, 40 + i / 24};
            if (k > 0) want[2] = 40 + i / 24;
            want[k] = 200;
            if (k == 0) want[1] = 40 + i % 24;
            for (int c = 0; c < 3; c++)
                ck_assert_msg(abs(picture.rgb[i * 3 + c] - want[c]) <= 24, "%s: pixel %d, %d is %d, not %d", names[k], i, c,
                              picture.rgb[i * 3 + c], want[c]);
        }
        picture_free(&picture);
    }
}
END_TEST

/* What is cut off or damaged is refused, not filled up with gray. */
START_TEST(damaged_jpeg) {
    char path[] = "/tmp/netc-jpeg-XXXXXX", why[256];
    uint8_t bytes[1024];
    FILE *good = fopen(NETC_SOURCE_DIR "/tests/fuzz/corpus/picture/red.jpg", "rb");
    size_t size = fread(bytes, 1, sizeof bytes, good);
    fclose(good);
    close(mkstemp(path));
    for (size_t length = 2; length < size; length += 7) {
        Picture picture;
        FILE *file = fopen(path, "wb");
        fwrite(bytes, 1, length, file);
        fclose(file);
        *why = 0;
        ck_assert(!picture_read(path, &picture, why, sizeof why) && *why && !picture.rgb);
    }
    unlink(path);
}
END_TEST

/* Bytes too many before a marker (some cameras write them) cost no pixel: libjpeg warns and skips them. */
START_TEST(jpeg_with_bytes_between) {
    static const char source[] = NETC_SOURCE_DIR "/tests/fuzz/corpus/picture/red.jpg";
    char path[] = "/tmp/netc-jpeg-XXXXXX", why[256] = "";
    uint8_t bytes[1024];
    FILE *good = fopen(source, "rb"), *file = fdopen(mkstemp(path), "wb");
    size_t size = fread(bytes, 1, sizeof bytes, good), head = 4 + (size_t)bytes[4] * 256 + bytes[5] - 2 + 2; /* SOI, APP0 */
    ck_assert(bytes[2] == 0xff && bytes[head] == 0xff);
    fwrite(bytes, 1, head, file);
    fwrite("\0\1\2", 1, 3, file);
    fwrite(bytes + head, 1, size - head, file);
    fclose(file), fclose(good);
    Picture picture, same;
    ck_assert_msg(picture_read(path, &picture, why, sizeof why), "%s", why);
    ck_assert(picture_read(source, &same, why, sizeof why));
    ck_assert(!memcmp(picture.rgb, same.rgb, 24 * 16 * 3));
    picture_free(&picture);
    picture_free(&same);
    unlink(path);
}
END_TEST

/* Blocks of ink (10, 20, 0, 40) and (10, 20, 200, 40): what each and black let through of white. With Adobe's marker the numbers
 * are light, not ink. */
START_TEST(jpeg_of_inks) {
    static const char source[] = NETC_SOURCE_DIR "/tests/fuzz/corpus/picture/cmyk.jpg";
    static const uint8_t want[2][2][3] = {{{207, 198, 215}, {207, 198, 46}}, {{2, 3, 0}, {2, 3, 31}}};
    char path[] = "/tmp/netc-jpeg-XXXXXX", why[256] = "";
    uint8_t bytes[1024];
    FILE *good = fopen(source, "rb"), *file = fdopen(mkstemp(path), "wb");
    size_t size = fread(bytes, 1, sizeof bytes, good);
    fwrite(bytes, 1, 2, file);
    fwrite("\xff\xee\0\016Adobe\0\144\0\0\0\0\0", 1, 16, file);
    fwrite(bytes + 2, 1, size - 2, file);
    fclose(file), fclose(good);
    for (int adobe = 0; adobe < 2; adobe++) {
        Picture picture;
        ck_assert_msg(picture_read(adobe ? path : source, &picture, why, sizeof why), "%s", why);
        ck_assert(picture.width == 11 && picture.height == 9);
        for (int i = 0; i < 11 * 9; i++)
            for (int c = 0; c < 3; c++)
                ck_assert_msg(picture.rgb[3 * i + c] == want[adobe][i % 11 / 8][c], "%d: pixel %d, %d is %d", adobe, i, c,
                              picture.rgb[3 * i + c]);
        picture_free(&picture);
    }
    unlink(path);
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
    tcase_add_test(tests, fits_by_cropping);
    tcase_add_test(tests, one_channel_is_luma);
    tcase_add_test(tests, jpeg);
    tcase_add_test(tests, damaged_jpeg);
    tcase_add_test(tests, jpeg_with_bytes_between);
    tcase_add_test(tests, jpeg_of_inks);
    return run_cases("picture", tests);
}
