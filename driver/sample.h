/* What every timing shares: a machine with something to compute on, and the middle of what was measured. */
#ifndef NETC_DRIVER_SAMPLE_H
#define NETC_DRIVER_SAMPLE_H
#include "runtime/rt.h"
#include <stddef.h>

/* A learning rate for steps that are timed, where nothing better is known: one step costs the same whatever the rate, and this
 * one does not diverge. */
extern const double sample_lr;
/* What changes from step to step, for step `step` (from 0). */
void sample_set_step(RtMachine *machine, uint64_t seed, uint64_t step, double lr);
/* Random images, labels and weights of this seed, step 0, and folded weights for inference. */
void sample_inputs(RtMachine *machine, uint64_t seed);

int sample_ascending(const void *a, const void *b); /* two doubles, for qsort */
double sample_median(double *values, size_t count); /* of at least one; sorts them */
#endif
