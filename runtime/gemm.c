/* rt_sgemm: the one door to OpenBLAS. Pieces call it from the runtime's own threads, so OpenBLAS is to have none: threads that it
 * has made it waits for at exit, which is forever where memory is short, since their start asks for buffers again and again. It
 * makes them when it is loaded, so it has to be told before (OPENBLAS_NUM_THREADS).
 *
 * This file is compiled twice: for netc, which loads the shared library when a kernel needs it (NETC_OPENBLAS_LATE), and for what
 * netc links. Executables have told it then (standalone/main.c); in a library it may serve others too. */
#include "runtime/abi.h"
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Exported by OpenBLAS, in no header of it: a thread's buffer. */
void *blas_memory_alloc(int position);
void blas_memory_free(void *buffer);

#ifdef NETC_OPENBLAS_LATE
#include <dlfcn.h>

static __typeof__(&cblas_sgemm) sgemm;
static __typeof__(&blas_memory_alloc) memory_alloc;
static __typeof__(&blas_memory_free) memory_free;

bool rt_gemm_load(char *why, size_t why_size) {
    static const char variable[] = "OPENBLAS_NUM_THREADS";
    if (sgemm) return true;
    const char *old = getenv(variable);
    char *kept = old ? strdup(old) : NULL; /* programs that netc starts see their own setting */
    setenv(variable, "1", 1);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library) *(void **)(void *)&memory_alloc = dlsym(library, "blas_memory_alloc");
    if (memory_alloc) *(void **)(void *)&memory_free = dlsym(library, "blas_memory_free");
    if (memory_free) *(void **)(void *)&sgemm = dlsym(library, "cblas_sgemm");
    if (!sgemm) snprintf(why, why_size, "%s", dlerror());
    if (kept)
        setenv(variable, kept, 1);
    else
        unsetenv(variable);
    free(kept);
    return sgemm != NULL;
}

static void prepare(void) {}
#else
#include <pthread.h>

static __typeof__(&cblas_sgemm) const sgemm = cblas_sgemm;
static __typeof__(&blas_memory_alloc) const memory_alloc = blas_memory_alloc;
static __typeof__(&blas_memory_free) const memory_free = blas_memory_free;

/* At the first call, not in a constructor: linked statically, OpenBLAS sets itself up in a constructor that may run after ours.
 */
static void single_thread(void) { openblas_set_num_threads(1); }

static void prepare(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, single_thread);
}
#endif

enum { MAX_BUFFERS = 64, BUFFER_BYTES = 136 << 20 }; /* 128 MB and some, where its CPU has AVX-512; elsewhere less */

/* blas_memory_alloc asks until it gets: so the question is asked here first. */
static bool is_room(void) {
    void *room = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room != MAP_FAILED) munmap(room, BUFFER_BYTES);
    return room != MAP_FAILED;
}

bool rt_gemm_reserve(int threads) {
    void *buffer[MAX_BUFFERS];
    int n = 0;
    prepare();
    while (n < threads && n < MAX_BUFFERS && is_room()) buffer[n++] = memory_alloc(0);
    bool all = n == threads || n == MAX_BUFFERS;
    while (n > 0) memory_free(buffer[--n]); /* it keeps them for the next who asks */
    return all;
}

void rt_sgemm(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    prepare();
    sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n,
          (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}
