/* Inside runtime/: CIFAR-10 and CIFAR-100. */
#ifndef NETC_RUNTIME_CIFAR_H
#define NETC_RUNTIME_CIFAR_H
#include "runtime/status.h"

/* Where their authors have the archives of these files. */
#define RT_CIFAR10_URL "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
#define RT_CIFAR100_URL "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"

/* Does this directory, or the archive's folder inside it, hold any of the official binary files? */
bool rt_cifar_is(const char *directory);
/* From a directory of the official binary files (or the folder of that name inside it). */
RtStatus rt_cifar_open(const char *directory, RtData *data, RtError *error);
/* Shape, statistics and class names of CIFAR-10, which are known without its files. */
void rt_cifar10_describe(RtData *data);
#endif
