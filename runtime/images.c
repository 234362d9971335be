/* The memory of a data set, and what is measured of it. Sums of bytes and of their squares are exact. */
#include "runtime/images.h"
#include <math.h>
#include <stdlib.h>

RtStatus rt_data_allocate(RtData *d, RtError *error) {
    size_t image = (size_t)(d->channels * d->height * d->width);
    d->train_images = malloc((size_t)d->ntrain * image);
    d->test_images = malloc((size_t)d->ntest * image);
    d->train_labels = malloc((size_t)d->ntrain * sizeof *d->train_labels);
    d->test_labels = malloc((size_t)d->ntest * sizeof *d->test_labels);
    if (d->name && d->train_images && d->test_images && d->train_labels && d->test_labels) return RT_OK;
    return rt_fail(error, RT_MEMORY, "out of memory for the data set (%.0f MB)",
                   (double)(d->ntrain + d->ntest) * (double)image / 1e6);
}

void rt_data_free(RtData *d) {
    free(d->train_images);
    free(d->test_images);
    free(d->train_labels);
    free(d->test_labels);
    free(d->name);
    free(d->owned_names);
    *d = (RtData){0};
}

void rt_data_measure(RtData *d) {
    int64_t plane = d->height * d->width;
    for (int64_t c = 0; c < d->channels && c < 4; c++) {
        uint64_t sum = 0, squares = 0, count = (uint64_t)(d->ntrain * plane);
        for (int64_t n = 0; n < d->ntrain; n++) {
            const uint8_t *p = d->train_images + (n * d->channels + c) * plane;
            for (int64_t i = 0; i < plane; i++) {
                sum += p[i];
                squares += (uint64_t)p[i] * p[i];
            }
        }
        double mean = (double)sum / (double)count, variance = (double)squares / (double)count - mean * mean;
        d->mean[c] = mean / 255;
        d->std[c] = variance > 0 ? sqrt(variance) / 255 : 1;
    }
}
