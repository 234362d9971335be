/* What netc bench shares with its comparison (compare.c). */
#ifndef NETC_DRIVER_BENCH_H
#define NETC_DRIVER_BENCH_H
#include "driver/driver.h"

/* Random images, labels and weights of this seed, and folded weights for inference. */
void bench_random_inputs(RtMachine *machine, uint64_t seed);
double bench_median(double *values, size_t count); /* sorts them */
/* netc bench --compare, from the model's text on; returns the exit status. */
int bench_compare(Session *session);
#endif
