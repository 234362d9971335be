/* bf16 for tests: what --precision=bf16 stores. */
#ifndef NETC_TESTS_BF16_H
#define NETC_TESTS_BF16_H
#include <math.h>

static const double bf16_unit = 0x1p-9; /* the most that rounding changes a number, relative to its size */

/* The nearest number of eight bits, ties to even. */
static inline float bf16_nearest(double value) {
    int exponent;
    double fraction = frexp(value, &exponent);
    return (float)ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8);
}
#endif
