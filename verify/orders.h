/* Legal orders and subsets of passes, drawn at random. */
#ifndef NETC_VERIFY_ORDERS_H
#define NETC_VERIFY_ORDERS_H
#include "passes/passes.h"

/* Draw `index` of a seed from a list of passes (PassResult.pipeline), as PassOptions.pipeline takes one for one mode, malloc'd:
 * its required passes and those of shared objects once or as often as they stand there, of the others some, some twice, in an
 * order in which no pass runs behind one that its row says it runs before (Pass.after). What a pass accepts is seen only when it
 * runs, so the driver may refuse a list. */
char *order_draw(const char *list, Mode mode, uint64_t seed, uint64_t index);
/* The list without its run i, malloc'd; NULL: there is no run i, or it is required. */
char *order_without(const char *list, uint32_t i);
#endif
