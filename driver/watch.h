/* What is shown of each pass as it runs: --print-changed and --split-after. */
#ifndef NETC_DRIVER_WATCH_H
#define NETC_DRIVER_WATCH_H
#include "passes/passes.h"

typedef struct PassWatch {
    bool changed;          /* print how each pass changes the graph */
    const Diag *sources;   /* of the places of values */
    const char *directory; /* where the graph behind each pass goes, in a file of its own; NULL: nowhere */
    int run[2];            /* how many have been, by Mode */
    int status;            /* an exit status: the first file that could not be written */
} PassWatch;

/* PassOptions.watch, of which the PassWatch is the context. */
void watch_pass(void *watch, const PassRun *run, const Graph *before, const Graph *after);
#endif
