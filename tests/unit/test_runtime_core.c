/* The runtime's foundations: thread pool, random numbers, SHA-256, schedules, JSON. */
#include "runtime/json.h"
#include "runtime/rt.h"
#include "runtime/sha256.h"
#include <check.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- pool ---- */

typedef struct Tally {
    _Atomic int *times; /* per piece */
    _Atomic int bad_thread;
    int threads;
} Tally;

static void tally(void *context, int64_t piece, int thread) {
    Tally *t = context;
    atomic_fetch_add(&t->times[piece], 1);
    if (thread < 0 || thread >= t->threads) atomic_store(&t->bad_thread, 1);
}

START_TEST(every_piece_runs_once) {
    const int threads[] = {1, 2, 3, 64};
    enum { PIECES = 257 };
    RtPool *pool = rt_pool_new(threads[_i]);
    ck_assert_ptr_nonnull(pool);
    ck_assert_int_eq(rt_pool_threads(pool), threads[_i]);
    _Atomic int times[PIECES];
    for (int round = 0; round < 200; round++) {
        int pieces = round % 7 == 0 ? 1 : round % 5 == 0 ? 0 : round % PIECES + 1;
        for (int i = 0; i < PIECES; i++) atomic_init(&times[i], 0);
        Tally t = {.times = times, .threads = threads[_i]};
        rt_pool_run(pool, tally, &t, pieces);
        for (int i = 0; i < PIECES; i++) ck_assert_int_eq(atomic_load(&times[i]), i < pieces);
        ck_assert_int_eq(atomic_load(&t.bad_thread), 0);
    }
    rt_pool_free(pool);
}
END_TEST

START_TEST(absurd_thread_counts_are_refused) {
    ck_assert_ptr_null(rt_pool_new(1000000));
    rt_pool_free(NULL);
}
END_TEST

/* ---- Philox: known answers of Random123 (kat_vectors, philox4x32 10) ---- */

START_TEST(philox_vectors) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t out[4];
    rt_philox4x32(kat[_i].counter, kat[_i].key, out);
    ck_assert_mem_eq(out, kat[_i].out, sizeof out);
}
END_TEST

START_TEST(distributions) {
    enum { N = 20000 };
    double sum = 0, squares = 0, normal = 0, normal_squares = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = rt_uniform(7, RT_STREAM_INIT, i, 3), z = rt_normal(7, RT_STREAM_INIT, i, 4);
        ck_assert(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
        normal += z;
        normal_squares += z * z;
    }
    ck_assert_double_eq_tol(sum / N, 0.5, 0.01);
    ck_assert_double_eq_tol(squares / N, 1.0 / 3, 0.01);
    ck_assert_double_eq_tol(normal / N, 0, 0.03);
    ck_assert_double_eq_tol(normal_squares / N, 1, 0.04);
    ck_assert_double_ne(rt_uniform(7, RT_STREAM_INIT, 0, 0), rt_uniform(8, RT_STREAM_INIT, 0, 0));
    ck_assert_double_ne(rt_uniform(7, RT_STREAM_INIT, 0, 0), rt_uniform(7, RT_STREAM_SHUFFLE, 0, 0));
}
END_TEST

/* ---- SHA-256: FIPS 180-4 examples, and every split of the input ---- */

START_TEST(sha256_vectors) {
    static const struct {
        const char *text, *hex;
    } kat[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
               {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
               {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    char hex[65];
    for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
        rt_sha256_hex(kat[i].text, strlen(kat[i].text), hex);
        ck_assert_str_eq(hex, kat[i].hex);
    }
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    rt_sha256_hex(million, 1000000, hex);
    ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    char whole[65];
    rt_sha256_hex(million, 200, whole);
    for (size_t cut = 0; cut <= 200; cut++) {
        RtSha256 s;
        rt_sha256_init(&s);
        rt_sha256_update(&s, million, cut);
        rt_sha256_update(&s, million + cut, 200 - cut);
        rt_sha256_final(&s, hex);
        ck_assert_str_eq(hex, whole);
    }
    free(million);
}
END_TEST

/* ---- schedules ---- */

static RtRecipe recipe_of(RtScheduleKind kind) {
    return (RtRecipe){.optimizer.lr = 0.4, .schedule = {.kind = kind, .factor = 0.1, .at = {10, 15}, .nat = 2, .peak = 0.3}};
}

START_TEST(schedules) {
    const int64_t per_epoch = 10, total = 200;
    RtRecipe r = recipe_of(RT_SCHEDULE_CONSTANT);
    ck_assert_double_eq(rt_schedule_lr(&r, 137, per_epoch, total), 0.4);
    r = recipe_of(RT_SCHEDULE_STEPS);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 99, per_epoch, total), 0.4, 1e-12);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 100, per_epoch, total), 0.04, 1e-12);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 150, per_epoch, total), 0.004, 1e-12);
    r = recipe_of(RT_SCHEDULE_COSINE);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 0, per_epoch, total), 0.4, 1e-12);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 100, per_epoch, total), 0.2, 1e-12);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 200, per_epoch, total), 0, 1e-12);
    r = recipe_of(RT_SCHEDULE_ONE_CYCLE);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 0, per_epoch, total), 0.4 / 25, 1e-12);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 60, per_epoch, total), 0.4, 1e-12);
    ck_assert_double_eq_tol(rt_schedule_lr(&r, 200, per_epoch, total), 0, 1e-12);
}
END_TEST

START_TEST(warmup_rises_and_joins) {
    RtRecipe r = recipe_of(_i ? RT_SCHEDULE_COSINE : RT_SCHEDULE_CONSTANT);
    r.schedule.warmup = 2;
    double before = 0;
    for (uint64_t step = 0; step <= 20; step++) {
        double lr = rt_schedule_lr(&r, step, 10, 200);
        ck_assert_msg(lr > before, "step %d: %g after %g", (int)step, lr, before);
        before = lr;
    }
    ck_assert_double_eq_tol(before, 0.4, 1e-9);
}
END_TEST

/* ---- JSON ---- */

static bool valid(const char *text) {
    Json j = json_open(text, strlen(text));
    return json_skip(&j) && json_end(&j);
}

START_TEST(json_syntax) {
    static const char *const good[] = {"{}",   "[]", " {\"a\": [1, 2.5e3, -1], \"b\": {\"c\": null}} ", "\"\\u00e9\\n\"",
                                       "true", "0"};
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{a:1}",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "[1 2]",
                                      "{} {}",
                                      "nul",
                                      "\"a",
                                      "[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) ck_assert_msg(valid(good[i]), "refused %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) ck_assert_msg(!valid(bad[i]), "accepted %s", bad[i]);
}
END_TEST

START_TEST(json_round_trip) {
    const char *text = "quote \" backslash \\ tab \t line \n accent \xc3\xa9";
    char *buffer = NULL, back[128];
    size_t size = 0;
    FILE *f = open_memstream(&buffer, &size);
    json_write_string(f, text);
    fclose(f);
    Json j = json_open(buffer, size);
    ck_assert(json_string(&j, back, sizeof back) && json_end(&j));
    ck_assert_str_eq(back, text);
    j = json_open(buffer, size);
    ck_assert(!json_string(&j, back, 5)); /* too small a room is an error, not a cut */
    free(buffer);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_core");
    TCase *tests = tcase_create("core");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, every_piece_runs_once, 0, 4);
    tcase_add_test(tests, absurd_thread_counts_are_refused);
    tcase_add_loop_test(tests, philox_vectors, 0, 3);
    tcase_add_test(tests, distributions);
    tcase_add_test(tests, sha256_vectors);
    tcase_add_test(tests, schedules);
    tcase_add_loop_test(tests, warmup_rises_and_joins, 0, 2);
    tcase_add_test(tests, json_syntax);
    tcase_add_test(tests, json_round_trip);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
