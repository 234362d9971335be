/* Scores as probabilities, in double, the largest subtracted first so that nothing overflows. */
#include "runtime/rt.h"
#include <math.h>

void rt_softmax(const float *scores, int64_t classes, float *out) {
    float high = scores[0];
    double sum = 0;
    for (int64_t k = 1; k < classes; k++) high = scores[k] > high ? scores[k] : high;
    for (int64_t k = 0; k < classes; k++) sum += exp((double)scores[k] - high);
    for (int64_t k = 0; k < classes; k++) out[k] = (float)(exp((double)scores[k] - high) / sum);
}
