/* Gates that stand on the shortcut of a residual block. */
#ifndef NETC_DRIVER_GATES_H
#define NETC_DRIVER_GATES_H
#include "ir/ir.h"

/* Of a graph as the language says it. A gate: a factor of one number per image and channel that a sigmoid (or hard_sigmoid, or
 * softmax) made, so that it is below 1. Ways begin at the last value that all of them lead through, the block's input. The
 * shortcut is the one with the fewest convolutions; it is gated where every way without a gate has more. Returns the
 * additions whose shortcut is, a malloc'd list of *count. */
Val *shortcut_gates(const Graph *g, uint32_t *count);
#endif
