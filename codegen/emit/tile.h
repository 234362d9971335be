/* The register tile of a matrix product: rows x columns accumulators, kept while k goes by. A row of the first operand is
 * broadcast from memory, a column is a vector of the second; a broadcast serves all columns, a vector all rows. */
#ifndef NETC_CODEGEN_EMIT_TILE_H
#define NETC_CODEGEN_EMIT_TILE_H
#include "codegen/emit/module.h"

/* Strides in elements. */
typedef struct ProductTile {
    int rows, columns;
    int64_t a_row, a_step;    /* of the first operand: from a row to the next, and from one k to the next */
    int64_t b_column, b_step; /* of the second: from one vector to the next, and from one k to the next */
} ProductTile;

/* The shape that covers rows x columns of results in the fewest cycles; strides are left to the caller. What the tile's rows
 * leave of `rows` makes tiles of nearly equal heights, what its columns leave of `columns` a narrower tile of its own, unless
 * they divide. */
enum { TILE_ROWS = 1, TILE_COLUMNS = 2 }; /* which must divide */
ProductTile tile_best(const Target *t, int64_t rows, int64_t columns, int divide);
/* Cycles of one k for all tiles of rows x columns, at two multiply-adds and two loads a cycle. */
double tile_step_cycles(const Target *t, const ProductTile *tile, int64_t rows, int64_t columns);

/* acc[row * columns + column] += a[row][k] * b[k][column], k from 0 to count - 1 in that order. Vectors of b lie aligned. */
void tile_multiply(Emitter *e, const ProductTile *t, LLVMValueRef a, LLVMValueRef b, int64_t count, LLVMValueRef *acc);
#endif
