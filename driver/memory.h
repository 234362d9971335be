/* --memory-limit: a training step's activations within a size (passes/recompute.c computes some again). */
#ifndef NETC_DRIVER_MEMORY_H
#define NETC_DRIVER_MEMORY_H
#include "driver/session.h"

/* Before the passes of training: sets session->recompute to the least number by which a step's activations fit the limit, if
 * there is one, on every CPU that code is made for. A limit too low is EXIT_INPUT, and says what is needed. */
int memory_fit(Session *session, const Graph *train, const PassOptions *options);
/* Whether a Program's training step, made with choices that may differ from those by which it was fitted, keeps the limit. */
int memory_check(const Session *session, uint64_t arena_bytes);
#endif
