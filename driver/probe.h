/* What the machine can do at best: arithmetic peak and memory bandwidth, measured, not looked up. */
#ifndef NETC_DRIVER_PROBE_H
#define NETC_DRIVER_PROBE_H
#include "runtime/rt.h"

typedef struct Peaks {
    double gflops_one, gflops_all; /* f32 multiply-adds, counted as two */
    double gb_one, gb_all;         /* bytes read and written per second by a copy that no cache holds, 1e9 */
} Peaks;

Peaks probe_machine(RtPool *pool);
double probe_seconds(void); /* monotonic clock */
#endif
