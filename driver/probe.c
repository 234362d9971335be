/* FMA peak: 12 independent accumulators of the widest vector, enough to cover the latency on both FMA pipes; one loop per
 * instruction set by function attribute, chosen at run time. Bandwidth: c[i] = a[i] + 1 over blocks far larger than the caches.
 */
#include "driver/probe.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

double probe_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* All threads are measured over many pieces each: a worker may take longer to be woken than one piece takes. */
enum { CHAINS = 12, ROUNDS = 200000, REPEATS = 7, PIECES = 32 };

/* Twelve chains by name, not an array: whatever the optimiser does, each lives in a register. The asm claims to change an
 * accumulator, so rounds cannot be folded. */
#define STEP(a, REGISTER)                                                                                                        \
    a = a * x + y;                                                                                                               \
    __asm__ volatile("" : "+" REGISTER(a));
#define FMA_LOOP(NAME, BYTES, REGISTER, ATTRIBUTE)                                                                               \
    typedef float Vector_##NAME __attribute__((vector_size(BYTES)));                                                             \
    ATTRIBUTE static double fma_##NAME(void) {                                                                                   \
        Vector_##NAME x = {0}, y = {0}, a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0}, i = {0},         \
                      j = {0}, k = {0}, l = {0};                                                                                 \
        x = x + 0.999f, y = y + 0.001f;                                                                                          \
        for (int r = 0; r < ROUNDS; r++) {                                                                                       \
            STEP(a, REGISTER)                                                                                                    \
            STEP(b, REGISTER)                                                                                                    \
            STEP(c, REGISTER)                                                                                                    \
            STEP(d, REGISTER)                                                                                                    \
            STEP(e, REGISTER)                                                                                                    \
            STEP(f, REGISTER)                                                                                                    \
            STEP(g, REGISTER) STEP(h, REGISTER) STEP(i, REGISTER) STEP(j, REGISTER) STEP(k, REGISTER) STEP(l, REGISTER)          \
        }                                                                                                                        \
        return 2.0 * CHAINS * ROUNDS * (BYTES / 4);                                                                              \
    }
#if defined(__x86_64__)
FMA_LOOP(avx512, 64, "v", __attribute__((target("avx512f,fma"))))
FMA_LOOP(avx2, 32, "x", __attribute__((target("avx2,fma"))))
FMA_LOOP(base, 16, "x", )
#else
FMA_LOOP(base, 16, "w", )
#endif

typedef struct Loop {
    int64_t lanes;
    double (*run)(void); /* returns its operations */
} Loop;

static Loop widest(int64_t lanes) {
#if defined(__x86_64__)
    if (lanes >= 16 && __builtin_cpu_supports("avx512f")) return (Loop){16, fma_avx512};
    if (lanes >= 8 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return (Loop){8, fma_avx2};
#endif
    (void)lanes;
    return (Loop){4, fma_base};
}

typedef struct Arithmetic {
    Loop loop;
    double *flops; /* by piece */
} Arithmetic;

static void fma_piece(void *context, int64_t piece, int thread) {
    (void)thread;
    const Arithmetic *a = context;
    a->flops[piece] = a->loop.run();
}

enum { BLOCK = 16 << 20 }; /* floats per thread and array: 64 MB */
typedef struct Copy {
    float *from, *to;
} Copy;

static void copy_piece(void *context, int64_t piece, int thread) {
    (void)thread;
    const Copy *copy = context;
    const float *restrict from = copy->from + piece * BLOCK;
    float *restrict to = copy->to + piece * BLOCK;
    for (int64_t i = 0; i < BLOCK; i++) to[i] = from[i] + 1;
}

/* Best of REPEATS: interruptions only ever make a run slower. */
static double best_seconds(RtPool *pool, RtTask task, void *context, int64_t pieces) {
    double best = 1e30;
    for (int i = 0; i < REPEATS; i++) {
        double start = probe_seconds();
        if (pieces == 1)
            task(context, 0, 0);
        else
            rt_pool_run(pool, task, context, pieces);
        double seconds = probe_seconds() - start;
        if (seconds < best) best = seconds;
    }
    return best;
}

Peaks probe_machine(RtPool *pool, int64_t lanes) {
    int threads = rt_pool_threads(pool);
    int64_t pieces = (int64_t)threads * PIECES;
    Arithmetic a = {widest(lanes), calloc((size_t)pieces, sizeof *a.flops)};
    size_t bytes = (size_t)threads * BLOCK * sizeof(float);
    Copy copy = {malloc(bytes), malloc(bytes)};
    Peaks peaks = {.lanes = a.loop.lanes};
    if (a.flops) {
        double one = best_seconds(pool, fma_piece, &a, 1), all = best_seconds(pool, fma_piece, &a, pieces);
        peaks.gflops_one = 1e-9 * a.flops[0] / one;
        peaks.gflops_all = 1e-9 * a.flops[0] * (double)pieces / all;
    }
    if (copy.from && copy.to) {
        memset(copy.from, 0, bytes);
        double moved = 2e-9 * BLOCK * sizeof(float);
        peaks.gb_one = moved / best_seconds(pool, copy_piece, &copy, 1);
        peaks.gb_all = moved * threads / best_seconds(pool, copy_piece, &copy, threads);
    }
    free(copy.from);
    free(copy.to);
    free(a.flops);
    return peaks;
}
