/* Kernels by what they are for, told from their names: the summary under the tables of netc bench. */
#ifndef NETC_DRIVER_KINDS_H
#define NETC_DRIVER_KINDS_H
#include <stdbool.h>

typedef enum KernelKind {
    KIND_FORWARD,
    KIND_BACKWARD,
    KIND_BACKWARD_DATA,
    KIND_BACKWARD_WEIGHTS,
    KIND_FILTERS,
    KIND_DENSE,
    KIND_MAP,
    KIND_STATISTICS,
    KIND_INPUT,
    KIND_REDUCTION,
    KIND_OPTIMISER,
    KIND_LOSS,
    KIND_POOLING,
    KIND_OTHER,
    KERNEL_KINDS
} KernelKind;

KernelKind kernel_kind(const char *kernel);
const char *kernel_kind_name(KernelKind kind);
/* Weight reduction, optimiser, loss and pooling: what should vanish beside convolutions. */
bool kernel_kind_is_small(KernelKind kind);
#endif
