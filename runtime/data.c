/* Data sets by name or directory. */
#include "runtime/cifar.h"
#include "runtime/idx.h"
#include "runtime/synthetic.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

const char *rt_data_url(const char *name) {
    return !strcmp(name, "cifar10") ? RT_CIFAR10_URL : !strcmp(name, "cifar100") ? RT_CIFAR100_URL : NULL;
}

static RtStatus open_named(const char *name, RtData *data, RtError *error) {
    char *home = rt_data_home(), *path = home ? joined(home, name) : NULL;
    struct stat s;
    RtStatus status;
    if (!path)
        status = rt_fail(error, RT_MEMORY, "out of memory");
    else if (stat(path, &s) != 0)
        status = rt_fail(error, RT_INPUT,
                         "no %s data in %s; 'netc data get %s' fetches it, or unpack %s there, or use --data synthetic", name,
                         path, name, rt_data_url(name));
    else
        status = rt_cifar_open(path, data, error);
    free(home);
    free(path);
    return status;
}

static bool is_name(const char *where) {
    return !strcmp(where, "cifar10") || !strcmp(where, "cifar100") || !strcmp(where, "synthetic");
}

bool rt_data_known(const char *where) { return is_name(where) || rt_idx_is(where) || rt_cifar_is(where); }

/* The set called `where`; the shape serves "synthetic" alone. */
static RtStatus open_any(const char *where, int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data,
                         RtError *error) {
    if (!strcmp(where, "synthetic")) return rt_synthetic_open(channels, height, width, classes, data, error);
    if (is_name(where)) return open_named(where, data, error);
    if (rt_idx_is(where)) return rt_idx_open(where, data, error);
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
