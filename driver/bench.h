/* What netc bench shares with its comparison (compare.c). */
#ifndef NETC_DRIVER_BENCH_H
#define NETC_DRIVER_BENCH_H
#include "driver/driver.h"

/* A learning rate for steps that are timed, where nothing better is known. */
extern const double bench_lr;
/* What changes from step to step, for step `step` (from 0). */
void bench_set_step(RtMachine *machine, uint64_t seed, uint64_t step, double lr);
/* Random images, labels and weights of this seed, step 0, and folded weights for inference. */
void bench_random_inputs(RtMachine *machine, uint64_t seed);
double bench_median(double *values, size_t count); /* sorts them */
/* netc bench --compare, from the model's text on; returns the exit status. */
int bench_compare(Session *session);
#endif
