/* Inside runtime/: a data set that is made, not read: for tests, and to try a net of any shape. */
#ifndef NETC_RUNTIME_SYNTHETIC_H
#define NETC_RUNTIME_SYNTHETIC_H
#include "runtime/status.h"

RtStatus rt_synthetic_open(int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data, RtError *error);
#endif
