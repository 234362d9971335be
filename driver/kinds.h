/* Kernels by what they are for (RtKind): the summary under the tables of netc bench. */
#ifndef NETC_DRIVER_KINDS_H
#define NETC_DRIVER_KINDS_H
#include "runtime/abi.h"
#include <stdbool.h>

const char *kernel_kind_name(RtKind kind);
/* Weight reduction, optimiser, loss and pooling: what should vanish beside convolutions. */
bool kernel_kind_is_small(RtKind kind);
#endif
