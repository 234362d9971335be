/* The thread pool. A job is some pieces, cut into as many ranges as threads can run at a time. A thread claims the pieces of its
 * own range in order, so that call after call it works on the same part of the maps, which its core's caches have; when there are
 * none left it takes others' last ones. Claiming a piece proves at the same time that the job is still running, so its
 * description can be read; whoever comes late finds empty ranges and claims nothing. The caller therefore waits for the pieces to
 * be finished, never for threads to wake up: a worker that the system did not schedule in time costs nothing.
 *
 * After its last piece, or waking, a worker spins for some microseconds, since a training step is hundreds of short jobs, and
 * then sleeps. At most as many workers as there are processors are ever awake, so 64 threads on 2 processors behave like 2.
 *
 * One thread at a time may call rt_pool_run, and not from within a task. */
#include "runtime/rt.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { SPIN_NANOSECONDS = 50000, PAUSES_PER_LOOK = 16, LOOKS_PER_CLOCK = 8, MAX_THREADS = 1024 };

/* Pieces that are still to be claimed: the first, and in the upper half the end. */
typedef struct Range {
    _Alignas(64) _Atomic uint64_t unclaimed;
} Range;

struct RtPool {
    int threads, most_awake; /* of the workers, those that can run beside the caller */
    int ranges;              /* threads that can run */
    Range *range;
    pthread_t *worker;
    RtTask task; /* the job: written by the caller while nothing can be claimed */
    void *context;
    int64_t pieces;
    _Alignas(64) _Atomic uint64_t job; /* how many there were: told when the last is offered */
    _Atomic int used;                  /* of the ranges, those that are not empty */
    _Alignas(64) _Atomic int64_t finished;
    _Alignas(64) _Atomic int sleepers;
    _Atomic bool caller_sleeps, stop;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
};

typedef struct Worker {
    RtPool *pool;
    int thread;
} Worker;

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t range_of(uint64_t first, uint64_t end) { return end << 32 | first; }

/* The caller alone has the first. */
static int own_range(RtPool *p, int thread) {
    int used = atomic_load_explicit(&p->used, memory_order_relaxed);
    return thread && used > 1 ? 1 + (thread - 1) % (used - 1) : 0;
}

/* Claims a piece, of the thread's own range or from the end of another: its number, or -1 if none is left. */
static int64_t claim(RtPool *p, int thread) {
    int own = own_range(p, thread);
    for (int i = 0; i < p->ranges; i++) {
        _Atomic uint64_t *unclaimed = &p->range[(own + i) % p->ranges].unclaimed;
        uint64_t now = atomic_load_explicit(unclaimed, memory_order_relaxed);
        for (;;) {
            uint64_t first = now & UINT32_MAX, end = now >> 32,
                     left = i == 0 ? range_of(first + 1, end) : range_of(first, end - 1);
            if (first >= end) break;
            if (atomic_compare_exchange_weak_explicit(unclaimed, &now, left, memory_order_acquire, memory_order_relaxed))
                return (int64_t)(i == 0 ? first : end - 1);
        }
    }
    return -1;
}

/* Runs pieces until none is left; returns how many. */
static int64_t take_pieces(RtPool *p, int thread) {
    int64_t count = 0;
    for (int64_t piece; (piece = claim(p, thread)) >= 0; count++) p->task(p->context, piece, thread);
    return count;
}

static bool work_or_stop(RtPool *p, uint64_t seen) { return atomic_load(&p->job) != seen || atomic_load(&p->stop); }
static bool job_finished(RtPool *p, uint64_t pieces) { return (uint64_t)atomic_load(&p->finished) == pieces; }

/* True as soon as `ready` is, asked with `number`; false if it was not before the deadline. */
static bool spin_until(bool (*ready)(RtPool *, uint64_t), RtPool *p, uint64_t number, int64_t deadline) {
    if (ready(p, number)) return true;
    do {
        for (int look = 0; look < LOOKS_PER_CLOCK; look++) {
            for (int i = 0; i < PAUSES_PER_LOOK; i++) pause_cpu();
            if (ready(p, number)) return true;
        }
    } while (nanoseconds() < deadline);
    return false;
}

/* A job after the one that the worker has `seen`. The order matters: the sleeper counts itself before it looks a last time, the
 * caller offers work before it looks for sleepers. So either the worker sees the work or the caller sees the sleeper. */
static void await_job(RtPool *p, uint64_t seen, int64_t *deadline) {
    if (spin_until(work_or_stop, p, seen, *deadline)) return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!work_or_stop(p, seen)) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
    *deadline = nanoseconds() + SPIN_NANOSECONDS; /* for the next, if it wakes too late for this one */
}

static void *worker_main(void *argument) {
    Worker w = *(Worker *)argument;
    RtPool *p = w.pool;
    free(argument);
    uint64_t seen = 0;
    int64_t deadline = 0; /* one that finds nothing left, job after job, sleeps at last */
    while (!atomic_load(&p->stop)) {
        await_job(p, seen, &deadline);
        seen = atomic_load(&p->job);
        int64_t count = take_pieces(p, w.thread);
        if (!count) continue;
        deadline = nanoseconds() + SPIN_NANOSECONDS;
        atomic_fetch_add(&p->finished, count); /* from here on the caller may offer the next job */
        if (!atomic_load(&p->caller_sleeps)) continue;
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

static bool start_worker(RtPool *p, int thread) {
    Worker *w = malloc(sizeof *w);
    if (!w) return false;
    *w = (Worker){p, thread};
    if (pthread_create(&p->worker[thread - 1], NULL, worker_main, w) == 0) return true;
    free(w);
    return false;
}

int rt_processors(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < MAX_THREADS ? count : MAX_THREADS;
}

RtPool *rt_pool_new(int threads) {
    int online = rt_processors();
    if (threads <= 0) threads = online;
    if (threads > MAX_THREADS) return NULL;
    RtPool *p = aligned_alloc(_Alignof(RtPool), sizeof *p);
    if (!p) return NULL;
    *p = (RtPool){.threads = 1, .most_awake = online > 1 ? online - 1 : 1};
    p->ranges = threads < online ? threads : online;
    p->range = aligned_alloc(_Alignof(Range), (size_t)p->ranges * sizeof *p->range);
    for (int i = 0; p->range && i < p->ranges; i++) atomic_init(&p->range[i].unclaimed, 0);
    p->worker = calloc((size_t)threads, sizeof *p->worker);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    while (p->worker && p->range && p->threads < threads && start_worker(p, p->threads)) p->threads++;
    if (p->worker && p->range && p->threads == threads) return p;
    rt_pool_free(p);
    return NULL;
}

void rt_pool_free(RtPool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->threads; i++) pthread_join(p->worker[i - 1], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    free(p->worker);
    free(p->range);
    free(p);
}

int rt_pool_threads(const RtPool *p) { return p ? p->threads : 1; }

/* Wakes as many sleepers as there are pieces for, and processors. */
static void wake_workers(RtPool *p) {
    int sleepers = atomic_load(&p->sleepers), awake = p->threads - 1 - sleepers;
    if (sleepers == 0) return;
    int64_t wanted = (p->pieces - 1 < p->most_awake ? p->pieces - 1 : p->most_awake) - awake;
    if (wanted <= 0) return;
    pthread_mutex_lock(&p->lock);
    if (wanted >= sleepers)
        pthread_cond_broadcast(&p->wake);
    else
        for (int64_t i = 0; i < wanted; i++) pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static void await_finish(RtPool *p) {
    uint64_t pieces = (uint64_t)p->pieces;
    if (spin_until(job_finished, p, pieces, nanoseconds() + SPIN_NANOSECONDS)) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (!job_finished(p, pieces)) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

void rt_pool_run(RtPool *p, RtTask task, void *context, int64_t pieces) {
    if (pieces <= 1 || rt_pool_threads(p) == 1) {
        for (int64_t piece = 0; piece < pieces; piece++) task(context, piece, 0);
        return;
    }
    p->task = task;
    p->context = context;
    p->pieces = pieces;
    atomic_store_explicit(&p->finished, 0, memory_order_relaxed);
    int64_t used = pieces < p->ranges ? pieces : p->ranges, end = 0;
    atomic_store_explicit(&p->used, (int)used, memory_order_relaxed);
    for (int64_t i = 0; i < p->ranges; i++) {
        int64_t first = end;
        if (i < used) end = ((i + 1) * pieces + used - 1) / used; /* the first have one more if it does not come out even */
        atomic_store_explicit(&p->range[i].unclaimed, range_of((uint64_t)first, (uint64_t)end), memory_order_release);
    }
    atomic_fetch_add(&p->job, 1);
    wake_workers(p);
    atomic_fetch_add(&p->finished, take_pieces(p, 0));
    await_finish(p);
}
