/* How long a training needs what a step computes: gradients of parameters that are frozen from an epoch on, and whatever serves
 * nothing else, are left out from there on (RtCall.until). Bits do not change: what is still needed is computed by the same
 * calls. */
#ifndef NETC_CODEGEN_NEEDED_H
#define NETC_CODEGEN_NEEDED_H
#include "codegen/program/lowering_state.h"

/* Behind the choice of convolutions, since one kernel may compute two values. */
void needed_find(Lowering *l);
/* The epoch from which on nobody needs v, as RtCall has it: 0 if there is none. */
double needed_until(const Lowering *l, Val v);
double needed_until_output(const Lowering *l, const Output *output);
#endif
