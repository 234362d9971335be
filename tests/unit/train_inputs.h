/* The batches that test nets are trained on, by formula: known to the tests and to what they build for other machines. */
#ifndef NETC_TESTS_TRAIN_INPUTS_H
#define NETC_TESTS_TRAIN_INPUTS_H
#include <math.h>
#include <stdint.h>

enum { STEPS = 20, BATCH = 4, EVAL_BATCH = 7 /* the number of the batch that inference is tested on */ };

static inline float pixel(int step, int64_t i) {
    return (float)(2 * sin(0.37 * (double)i + 1.3 * step) * cos(0.011 * (double)(i * (step + 3))));
}
static inline int label(int step, int64_t i) { return (int)((i * 7 + step * 3) % 10); }
#endif
