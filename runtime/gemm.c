/* rt_sgemm: the one door to OpenBLAS. Pieces call it from the runtime's own threads, so OpenBLAS itself stays on one. */
#include "runtime/abi.h"
#include <cblas.h>
#include <pthread.h>

/* At the first call, not in a constructor: linked statically, OpenBLAS sets itself up in a constructor that may run after ours.
 */
static void single_thread(void) { openblas_set_num_threads(1); }
static pthread_once_t once = PTHREAD_ONCE_INIT;

void rt_sgemm(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
              const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    pthread_once(&once, single_thread);
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (blasint)m,
                (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}
