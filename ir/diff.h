/* How two graphs differ by structure, whatever ids their values have. */
#ifndef NETC_IR_DIFF_H
#define NETC_IR_DIFF_H
#include "ir/ir.h"

/* The value of `before` that each value of `after` is, by what it computes, from what, and its name; NO_VAL: it is new. In the
 * arena. Values that read something else, or have other regions, are still the same value. */
Val *graph_match(Arena *arena, const Graph *before, const Graph *after);

/* Lines of values (and outputs) that are gone, behind "- ", and new, behind "+ "; of those that changed both. Values have their
 * ids in `before`; %+7 is a new one, %7 in `after`. Returns whether there is any difference; `out` may be NULL. */
bool graph_diff(const Graph *before, const Graph *after, FILE *out);
#endif
