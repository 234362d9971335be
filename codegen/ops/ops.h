/* Emitters beside those of the ops (lower_ID, program/lowering.h). */
#ifndef NETC_CODEGEN_OPS_H
#define NETC_CODEGEN_OPS_H
#include "codegen/program/lowering.h"

/* dense.c: bytes of workspace of a dense layer's value */
uint64_t dense_workspace(Lowering *l, Val v);
/* reduce.c: likewise of `moments` */
uint64_t moments_workspace(const Lowering *l, Val v);
/* copy.c */
void lower_copy(Lowering *l, const char *label, Place from, Place to, uint64_t bytes);
void lower_unpad_rows(Lowering *l, const char *label, Place from, Place to, Type rows); /* padded rows -> dense rows */
/* reduce.c: how many of so many steps are summed before their sum is added to the others', a divisor of them; few are one run.
 * So the error of a long sum grows with the number and the length of its runs, not with their product. */
int64_t sum_run(int64_t steps);
/* optimizer.c: apply_update of the recipe's optimiser over the whole block of parameters */
void lower_optimizer(ProgramBuilder *p);
#endif
