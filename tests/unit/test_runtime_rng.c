/* Philox against the known answers of Random123, SHA-256 against those of FIPS 180-4, and what uniform and normal promise. */
#include "run_cases.h"
#include "runtime/rt.h"
#include "runtime/sha256.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Random123, tests/kat_vectors: philox4x32 10. */
static const struct {
    uint32_t counter[4], key[2], out[4];
} known[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

START_TEST(philox_known_answers) {
    uint32_t out[4];
    rt_philox4x32(known[_i].counter, known[_i].key, out);
    ck_assert_mem_eq(out, known[_i].out, sizeof out);
}
END_TEST

START_TEST(uniform_is_uniform) {
    enum { N = 100000 };
    int bins[10] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double u = rt_uniform(7, RT_STREAM_INIT, i, 3);
        if (!(u >= 0 && u < 1)) ck_abort_msg("%g", u);
        bins[(int)(10 * u)]++;
    }
    for (int b = 0; b < 10; b++) ck_assert_msg(abs(bins[b] - N / 10) < 500, "bin %d: %d", b, bins[b]); /* 5 sigma */
}
END_TEST

START_TEST(normal_is_normal) {
    enum { N = 100000 };
    double sum = 0, squares = 0, fourth = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = rt_normal(7, RT_STREAM_INIT, i, 0);
        if (!isfinite(x)) ck_abort_msg("%g", x);
        sum += x, squares += x * x, fourth += x * x * x * x;
    }
    ck_assert_double_lt(fabs(sum / N), 0.02);
    ck_assert_double_lt(fabs(squares / N - 1), 0.03);
    ck_assert_double_lt(fabs(fourth / N - 3), 0.2);
}
END_TEST

START_TEST(every_argument_matters) {
    double base = rt_uniform(1, RT_STREAM_INIT, 2, 3);
    ck_assert(base == rt_uniform(1, RT_STREAM_INIT, 2, 3));
    ck_assert(base != rt_uniform(2, RT_STREAM_INIT, 2, 3));
    ck_assert(base != rt_uniform(1 + (1ull << 32), RT_STREAM_INIT, 2, 3));
    ck_assert(base != rt_uniform(1, RT_STREAM_SHUFFLE, 2, 3));
    ck_assert(base != rt_uniform(1, RT_STREAM_INIT, 3, 3));
    ck_assert(base != rt_uniform(1, RT_STREAM_INIT, 2 + (1ull << 32), 3));
    ck_assert(base != rt_uniform(1, RT_STREAM_INIT, 2, 4));
}
END_TEST

/* FIPS 180-4 examples (NIST), and lengths around the padding's corners (values of sha256sum). */
static const struct {
    const char *text;
    int repeat;
    const char *hex;
} hashes[] = {
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    {"a", 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
    {"a", 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
    {"a", 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
};

START_TEST(sha256_known_answers) {
    size_t unit = strlen(hashes[_i].text), length = unit * (size_t)hashes[_i].repeat;
    char *text = malloc(length + 1), hex[65];
    for (int i = 0; i < hashes[_i].repeat; i++) memcpy(text + (size_t)i * unit, hashes[_i].text, unit);
    rt_sha256_hex(text, length, hex);
    ck_assert_str_eq(hex, hashes[_i].hex);
    static const size_t pieces[] = {1, 7, 63, 64, 65, 1000};
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) { /* the same in pieces of any size */
        RtSha256 s;
        rt_sha256_init(&s);
        for (size_t at = 0; at < length; at += pieces[p])
            rt_sha256_update(&s, text + at, length - at < pieces[p] ? length - at : pieces[p]);
        rt_sha256_final(&s, hex);
        ck_assert_str_eq(hex, hashes[_i].hex);
    }
    free(text);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("rng");
    tcase_add_loop_test(cases, philox_known_answers, 0, sizeof known / sizeof *known);
    tcase_add_test(cases, uniform_is_uniform);
    tcase_add_test(cases, normal_is_normal);
    tcase_add_test(cases, every_argument_matters);
    tcase_add_loop_test(cases, sha256_known_answers, 0, sizeof hashes / sizeof *hashes);
    return run_cases("runtime/rng", cases);
}
