/* Inside lower/: where values live. */
#ifndef NETC_CODEGEN_PLACES_H
#define NETC_CODEGEN_PLACES_H
#include "codegen/program/lowering_state.h"

/* Places all values and workspaces of l, whose program, graph, entries and sites are given; outputs get `target`. False after a
 * diagnostic. */
bool places_find(Lowering *l, Place *target);
/* What stands in the arena. */
void places_list(const Lowering *l, Arena *arena, StepMemory *memory);
uint64_t places_bytes(const Lowering *l, Val v); /* of result 0 */

static inline bool op_is_leaf(Op op) { return op == OP_INPUT || op == OP_PARAM || op == OP_STATE || op == OP_CONSTANT; }
#endif
