/* What the machine can do at best: arithmetic peak and memory bandwidth, measured, not looked up. */
#ifndef NETC_DRIVER_PROBE_H
#define NETC_DRIVER_PROBE_H
#include "runtime/rt.h"

typedef struct Peaks {
    int64_t lanes;                 /* of the vectors by which it was measured */
    double gflops_one, gflops_all; /* f32 multiply-adds, counted as two */
    double gb_one, gb_all;         /* bytes read and written per second by a copy that no cache holds, 1e9 */
} Peaks;

/* Arithmetic of vectors of so many f32, 16, 8 or 4, as code for some CPU uses them (RtProgram.block); of fewer if the machine has
 * no such. Multiply-adds are fused where every CPU with such vectors fuses them. */
Peaks probe_machine(RtPool *pool, int64_t lanes);
double probe_seconds(void); /* monotonic clock */
#endif
