/* Between the table of passes (pass.c), the pipeline that options ask for (pipeline.c) and the run (run.c). Private to passes/.
 */
#ifndef NETC_PASSES_DRIVER_H
#define NETC_PASSES_DRIVER_H
#include "passes/passes.h"

/* Comma-separated names, in order. */
const char *pass_default_pipeline(Mode mode);
/* False if two of these passes, in the order they run, break what a row says it runs after: `second` runs behind `first`, which
 * names it. */
bool pass_order(const Pass *const *pass, uint32_t count, const Pass **first, const Pass **second);

/* The passes of one run, in order. `arena` owns the list; shared objects stay loaded until pipeline_close. */
typedef struct Pipeline {
    Arena *arena;
    const Pass **pass;
    uint32_t count, capacity;
    void **library;
    uint32_t nlibraries;
} Pipeline;

/* False with a message in diag on a mistake in the options; closed then too. */
bool pipeline_open(Pipeline *p, Arena *arena, Mode mode, const PassOptions *options, Diag *diag);
void pipeline_close(Pipeline *p);
#endif
