/* The thread pool: every piece once, whatever the thread count; many short jobs; more threads than processors. */
#include "run_cases.h"
#include "runtime/rt.h"
#include <check.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { MANY = 5000 };

typedef struct Tally {
    _Atomic int ran[MANY];
    _Atomic bool bad_thread;
    int threads;
} Tally;

static void count_piece(void *context, int64_t piece, int thread) {
    Tally *t = context;
    if (thread < 0 || thread >= t->threads) atomic_store(&t->bad_thread, true);
    atomic_fetch_add(&t->ran[piece], 1);
}

static const int thread_counts[] = {1, 2, 3, 4, 16, 64};

START_TEST(every_piece_runs_once) {
    RtPool *pool = rt_pool_new(thread_counts[_i]);
    ck_assert_ptr_nonnull(pool);
    ck_assert_int_eq(rt_pool_threads(pool), thread_counts[_i]);
    static const int64_t counts[] = {0, 1, 2, 3, 63, 64, 1000, MANY};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        Tally *t = calloc(1, sizeof *t);
        t->threads = thread_counts[_i];
        rt_pool_run(pool, count_piece, t, counts[c]);
        for (int64_t i = 0; i < MANY; i++) ck_assert_int_eq(t->ran[i], i < counts[c]);
        ck_assert(!t->bad_thread);
        free(t);
    }
    rt_pool_free(pool);
}
END_TEST

/* Plain memory written by pieces is there for the caller afterwards, and what the caller writes is there for the next job's
 * pieces: TSan and a wrong sum would tell. */
typedef struct Chain {
    uint64_t value[8];
} Chain;

static void step_chain(void *context, int64_t piece, int thread) {
    Chain *c = context;
    (void)thread;
    c->value[piece] = c->value[piece] * 3 + (uint64_t)piece;
}

START_TEST(jobs_follow_each_other) {
    enum { JOBS = 3000 };
    RtPool *pool = rt_pool_new(thread_counts[_i]);
    Chain c = {{0}}, expected = {{0}};
    for (int job = 0; job < JOBS; job++) {
        rt_pool_run(pool, step_chain, &c, 2 + job % 7);
        for (int64_t k = 0; k < 2 + job % 7; k++) step_chain(&expected, k, 0);
        uint64_t last = c.value[7];
        c.value[7] = c.value[0], c.value[0] = last;
        last = expected.value[7];
        expected.value[7] = expected.value[0], expected.value[0] = last;
    }
    ck_assert_mem_eq(&c, &expected, sizeof c);
    rt_pool_free(pool);
}
END_TEST

START_TEST(sleeping_workers_wake) {
    RtPool *pool = rt_pool_new(4);
    for (int job = 0; job < 20; job++) {
        Tally *t = calloc(1, sizeof *t);
        t->threads = 4;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); /* longer than workers spin */
        rt_pool_run(pool, count_piece, t, 100);
        for (int i = 0; i < 100; i++) ck_assert_int_eq(t->ran[i], 1);
        free(t);
    }
    rt_pool_free(pool);
}
END_TEST

static void do_nothing(void *context, int64_t piece, int thread) {
    (void)context;
    (void)piece;
    (void)thread;
}

/* 64 threads on few processors must not make every short job a round of 63 wake-ups. */
START_TEST(too_many_threads_stay_quick) {
    enum { JOBS = 2000 };
    RtPool *pool = rt_pool_new(64);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int job = 0; job < JOBS; job++) rt_pool_run(pool, do_nothing, NULL, 8);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    ck_assert_msg(seconds < 10, "%d jobs took %.1f s", JOBS, seconds);
    rt_pool_free(pool);
}
END_TEST

static void record_thread(void *context, int64_t piece, int thread) {
    (void)piece;
    *(int *)context = thread;
}

START_TEST(one_piece_runs_on_the_caller) {
    RtPool *pool = rt_pool_new(4);
    for (int i = 0; i < 100; i++) {
        int thread = -1;
        rt_pool_run(pool, record_thread, &thread, 1);
        ck_assert_int_eq(thread, 0);
    }
    rt_pool_free(pool);
}
END_TEST

/* A piece that lasts until all others have run: those of its thread's own range must be run by the others. */
typedef struct Held {
    int64_t slow, pieces;
    _Atomic int64_t ran;
} Held;

static void hold(void *context, int64_t piece, int thread) {
    Held *h = context;
    (void)thread;
    while (piece == h->slow && atomic_load(&h->ran) < h->pieces - 1) sched_yield();
    atomic_fetch_add(&h->ran, 1);
}

START_TEST(nobody_waits_behind_a_slow_piece) {
    enum { PIECES = 64 };
    if (rt_processors() < 2) return;
    RtPool *pool = rt_pool_new(thread_counts[_i]);
    for (int64_t slow = 0; slow < PIECES && thread_counts[_i] > 1; slow++) { /* one thread would wait for itself */
        Held h = {.slow = slow, .pieces = PIECES};
        rt_pool_run(pool, hold, &h, PIECES);
        ck_assert_int_eq(h.ran, PIECES);
    }
    rt_pool_free(pool);
}
END_TEST

/* Which thread ran a piece; none runs a second one before both have run one. */
typedef struct Shares {
    _Atomic int begun;
    int thread[8];
} Shares;

static void share(void *context, int64_t piece, int thread) {
    Shares *s = context;
    s->thread[piece] = thread;
    atomic_fetch_add(&s->begun, 1);
    while (atomic_load(&s->begun) < 2) sched_yield();
}

START_TEST(threads_keep_their_share) {
    if (rt_processors() < 2) return;
    RtPool *pool = rt_pool_new(2);
    for (int job = 0; job < 100; job++) {
        int64_t pieces = 2 + job % 7;
        Shares s = {0};
        if (job % 10 == 0) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* the worker sleeps */
        rt_pool_run(pool, share, &s, pieces);
        ck_assert_int_eq(s.thread[0], 0);
        ck_assert_int_eq(s.thread[(pieces + 1) / 2], 1); /* the caller's share is the larger one */
    }
    rt_pool_free(pool);
}
END_TEST

START_TEST(limits) {
    ck_assert_ptr_null(rt_pool_new(1 << 20));
    RtPool *pool = rt_pool_new(0);
    ck_assert_int_ge(rt_pool_threads(pool), 1);
    rt_pool_free(pool);
    rt_pool_free(NULL);
}
END_TEST

int main(void) {
    int counts = sizeof thread_counts / sizeof *thread_counts;
    TCase *cases = tcase_create("pool");
    tcase_add_loop_test(cases, every_piece_runs_once, 0, counts);
    tcase_add_loop_test(cases, jobs_follow_each_other, 0, counts);
    tcase_add_test(cases, sleeping_workers_wake);
    tcase_add_test(cases, too_many_threads_stay_quick);
    tcase_add_test(cases, one_piece_runs_on_the_caller);
    tcase_add_loop_test(cases, nobody_waits_behind_a_slow_piece, 0, counts);
    tcase_add_test(cases, threads_keep_their_share);
    tcase_add_test(cases, limits);
    return run_cases("runtime/pool", cases);
}
