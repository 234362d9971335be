/* Data sets by name or directory. */
#include "runtime/data.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static char *joined(const char *a, const char *b) {
    char *path = malloc(strlen(a) + strlen(b) + 2);
    if (path) sprintf(path, "%s/%s", a, b);
    return path;
}

char *rt_data_home(void) {
    const char *own = getenv("NETC_DATA"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && *own) return strdup(own);
    if (cache && *cache) return joined(cache, "netc");
    return joined(home && *home ? home : ".", ".cache/netc");
}

static RtStatus open_named(const char *name, RtData *data, RtError *error) {
    char *home = rt_data_home(), *path = home ? joined(home, name) : NULL;
    struct stat s;
    RtStatus status;
    if (!path)
        status = rt_fail(error, RT_MEMORY, "out of memory");
    else if (stat(path, &s) != 0)
        status = rt_fail(error, RT_INPUT, "no %s data in %s; get it with 'netc data get %s', or use --data synthetic", name, path,
                         name);
    else
        status = rt_cifar_open(path, data, error);
    free(home);
    free(path);
    return status;
}

/* The set called `where`; the shape serves "synthetic" alone. */
static RtStatus open_any(const char *where, int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data,
                         RtError *error) {
    if (!strcmp(where, "synthetic")) return rt_synthetic_open(channels, height, width, classes, data, error);
    if (!strcmp(where, "cifar10") || !strcmp(where, "cifar100")) return open_named(where, data, error);
    return rt_cifar_open(where, data, error);
}

static RtStatus must_fit(const RtData *data, int64_t channels, int64_t height, int64_t width, int64_t classes, RtError *error) {
    if (data->channels == channels && data->height == height && data->width == width && data->classes == classes) return RT_OK;
    return rt_fail(error, RT_INPUT,
                   "the data are images of %lldx%lldx%lld in %lld classes, the net takes %lldx%lldx%lld and has %lld classes",
                   (long long)data->channels, (long long)data->height, (long long)data->width, (long long)data->classes,
                   (long long)channels, (long long)height, (long long)width, (long long)classes);
}

RtStatus rt_data_open_shaped(const char *where, int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data,
                             RtError *error) {
    *data = (RtData){0};
    RtStatus status = open_any(where, channels, height, width, classes, data, error);
    if (status == RT_OK) status = must_fit(data, channels, height, width, classes, error);
    if (status != RT_OK) rt_data_free(data);
    return status;
}

RtStatus rt_data_describe(const char *where, int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data,
                          RtError *error) {
    if (strcmp(where, "cifar10")) return rt_data_open_shaped(where, channels, height, width, classes, data, error);
    rt_cifar10_describe(data);
    RtStatus status = must_fit(data, channels, height, width, classes, error);
    if (status != RT_OK) rt_data_free(data);
    return status;
}

RtStatus rt_data_open(const char *where, RtData *data, RtError *error) {
    *data = (RtData){0};
    RtStatus status = open_any(where, 3, 32, 32, 10, data, error);
    if (status != RT_OK) rt_data_free(data);
    return status;
}
