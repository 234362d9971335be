/* What kernels compiled with --check-bounds call before every access. */
#include "runtime/abi.h"
#include <stdio.h>
#include <unistd.h>

enum { EXIT_FAULT = 70 };

void rt_check_access(const char *at, int64_t bytes, const char *first, const char *end, const char *kernel, int32_t buffer,
                     int32_t store) {
    uintptr_t from = (uintptr_t)at, lo = (uintptr_t)first, hi = (uintptr_t)end;
    if (!bytes || (from >= lo && from <= hi && (uint64_t)bytes <= hi - from)) return;
    char where[40] = "its scratch";
    if (buffer >= 0) snprintf(where, sizeof where, "buffer %d", buffer);
    fprintf(stderr, "netc: internal: kernel '%s' %s %lld bytes at byte %lld of %s, which has %lld\n", kernel,
            store ? "stores" : "loads", (long long)bytes, (long long)(int64_t)(from - lo), where, (long long)(hi - lo));
    fflush(stderr);
    _exit(EXIT_FAULT); /* from whatever thread; what was written may be wrong already */
}
