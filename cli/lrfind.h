/* netc lrfind, and that of an executable: the learning-rate range test. */
#ifndef NETC_CLI_LRFIND_H
#define NETC_CLI_LRFIND_H
#include "cli/options.h"
#include "runtime/rt.h"

typedef struct RangeBounds {
    double from, to;
    int64_t steps;
} RangeBounds;
/* --from, --to and --steps, and what is wrong with these and with options about --init: an exit status after a sentence. */
int lrfind_options(const Options *o, RangeBounds *bounds);
/* Prints the curve and what it suggests. */
int run_lrfind(RtMachine *m, const Options *o, const RtData *data, const RangeBounds *bounds);
#endif
