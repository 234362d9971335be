/* Matrix products inside a kernel, on the thread that runs it: code of our own, or OpenBLAS. */
#ifndef NETC_CODEGEN_EMIT_PRODUCT_H
#define NETC_CODEGEN_EMIT_PRODUCT_H
#include "codegen/emit/module.h"

/* Row-major C[m,n] = op(A) op(B) + beta C, beta 0 or 1; k > 0. A and B are not both transposed. C may hold anything if beta is 0.
 */
typedef struct Product {
    bool transpose_a, transpose_b;
    LLVMValueRef m, n, k, a, b, c;
    int64_t lda, ldb, ldc;
    double beta;
} Product;
void emit_product(Emitter *e, const Product *p);
#endif
