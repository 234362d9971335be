/* Status codes as exit codes, and the one way to fill in an error's sentence. */
#include "runtime/status.h"
#include <stdarg.h>

int rt_exit_code(RtStatus status) {
    if (status == RT_DIVERGED) return 1;
    return status == RT_LOCKED || status == RT_MEMORY ? RT_IO : (int)status;
}

RtStatus rt_fail(RtError *error, RtStatus status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return status;
}
