/* Gates that stand on the shortcut of a residual block. */
#ifndef NETC_DRIVER_GATES_H
#define NETC_DRIVER_GATES_H
#include "ir/ir.h"

typedef struct ShortcutGate {
    Val gate, sum;         /* the product that gates, and the addition whose shorter way it stands on */
    uint32_t gated, other; /* the most convolutions one after the other up to the gated operand, and to the other */
} ShortcutGate;
/* Of a graph as the language says it. A gate: a factor of one number per image and channel that a sigmoid (or hard_sigmoid, or
 * softmax) made, so that it is below 1. It stands on the shortcut where the sum's other operand has passed more convolutions and
 * does not depend on what was gated. Returns a malloc'd list of *count. */
ShortcutGate *shortcut_gates(const Graph *g, uint32_t *count);
#endif
