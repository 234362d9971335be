/* The thread pool. Workers claim pieces from a shared counter, so a slow core takes fewer of them; which thread runs a piece
 * never changes its result. Between jobs a worker spins for a few microseconds, since a training step is hundreds of short
 * jobs, and then sleeps on a condition variable. With more threads than cores it sleeps at once: spinning would keep the
 * thread that has the work off its core.
 *
 * A job is announced by a generation number. Each worker counts itself out of it when the counter has run dry; the caller
 * returns when all have, so that no worker can claim a piece of the next job with the old job's counter. */
#include "runtime/rt.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { SPINS = 4000, MAX_THREADS = 1024 };

struct RtPool {
    int threads, spins;
    pthread_t *worker;
    /* the job */
    RtTask task;
    void *context;
    int64_t pieces;
    _Atomic int64_t next;
    _Atomic uint64_t generation;
    _Atomic int working; /* workers that have not left the job */
    _Atomic int sleepers;
    _Atomic bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    _Atomic bool caller_sleeps;
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

static void take_pieces(RtPool *p, int thread) {
    for (;;) {
        int64_t piece = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (piece >= p->pieces) return;
        p->task(p->context, piece, thread);
    }
}

/* Waits until the generation differs from `seen` or the pool stops. */
static uint64_t await_job(RtPool *p, uint64_t seen) {
    for (int spin = 0; spin < p->spins; spin++) {
        uint64_t now = atomic_load_explicit(&p->generation, memory_order_acquire);
        if (now != seen || atomic_load_explicit(&p->stop, memory_order_relaxed)) return now;
        pause_cpu();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->generation) == seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    uint64_t now = atomic_load(&p->generation);
    pthread_mutex_unlock(&p->lock);
    return now;
}

static void leave_job(RtPool *p) {
    if (atomic_fetch_sub(&p->working, 1) != 1) return;
    if (!atomic_load(&p->caller_sleeps)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *argument) {
    Worker w = *(Worker *)argument;
    free(argument);
    uint64_t seen = 0;
    for (;;) {
        uint64_t now = await_job(w.pool, seen);
        if (atomic_load(&w.pool->stop)) return NULL;
        if (now == seen) continue;
        seen = now;
        take_pieces(w.pool, w.thread);
        leave_job(w.pool);
    }
}

static bool start_worker(RtPool *p, int thread) {
    Worker *w = malloc(sizeof *w);
    if (!w) return false;
    *w = (Worker){p, thread};
    if (pthread_create(&p->worker[thread - 1], NULL, worker_main, w) == 0) return true;
    free(w);
    return false;
}

RtPool *rt_pool_new(int threads) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (online < 1) online = 1;
    if (threads <= 0) threads = (int)online;
    if (threads > MAX_THREADS) return NULL;
    RtPool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->threads = 1;
    p->spins = threads <= online ? SPINS : 0;
    p->worker = calloc((size_t)threads, sizeof *p->worker);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    while (p->worker && p->threads < threads && start_worker(p, p->threads)) p->threads++;
    if (p->threads == threads) return p;
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
    free(p);
}

int rt_pool_threads(const RtPool *p) { return p->threads; }

static void await_workers(RtPool *p) {
    for (int spin = 0; spin < p->spins; spin++) {
        if (atomic_load_explicit(&p->working, memory_order_acquire) == 0) return;
        pause_cpu();
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->working)) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

void rt_pool_run(RtPool *p, RtTask task, void *context, int64_t pieces) {
    if (pieces <= 1 || p->threads == 1) {
        for (int64_t piece = 0; piece < pieces; piece++) task(context, piece, 0);
        return;
    }
    p->task = task;
    p->context = context;
    p->pieces = pieces;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store_explicit(&p->working, p->threads - 1, memory_order_relaxed);
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->sleepers)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    take_pieces(p, 0);
    await_workers(p);
}
