/* Inside runtime/: returns `status` after writing the error's sentence. */
#ifndef NETC_RUNTIME_STATUS_H
#define NETC_RUNTIME_STATUS_H
#include "runtime/rt.h"

RtStatus rt_fail(RtError *error, RtStatus status, const char *format, ...) __attribute__((format(printf, 3, 4)));
#endif
