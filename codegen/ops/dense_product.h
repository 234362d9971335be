/* Dense layers as packed, register-tiled products of matrices. */
#ifndef NETC_CODEGEN_OPS_DENSE_PRODUCT_H
#define NETC_CODEGEN_OPS_DENSE_PRODUCT_H
#include "codegen/program/lowering.h"

/* Is a layer of N images, K inputs and O outputs worth it? Narrow ones are computed without packing (dense.c). */
bool dense_is_product(int64_t N, int64_t K, int64_t O);
/* Bytes of workspace that forward takes: x, transposed. */
uint64_t dense_product_workspace(const Target *t, int64_t N, int64_t K, int64_t O);

/* The product that value v is, of its arguments a and b as in dense.c: x and w; dy and w; dy and x. */
void dense_product_forward(Lowering *l, Val v, Val x, Val w);
void dense_product_data(Lowering *l, Val v, Val dy, Val w);
void dense_product_weights(Lowering *l, Val v, Val dy, Val x);
#endif
