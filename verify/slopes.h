/* Gradients against the loss itself: central differences, on the evaluator, along directions in which all parameters move at
 * once. */
#ifndef NETC_VERIFY_SLOPES_H
#define NETC_VERIFY_SLOPES_H
#include "verify/wanted.h"

/* `loss`: a graph with the output LOSS; gradients[i]: output i of `g`, of which OUT_GRAD are looked at, on the same leaves. The
 * worst: the named gradient if one is wrong (of_tolerance above 1); *worst is all zero where there is nothing to compare. False
 * with a sentence in why if the evaluator refuses. */
bool slopes_compare(const Graph *loss, const Graph *g, const Tensor *gradients, Leaves *leaves, Worst *worst, char *why,
                    size_t why_size);
#endif
