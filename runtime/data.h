/* Inside runtime/: the kinds of data sets behind rt_data_open. */
#ifndef NETC_RUNTIME_DATA_H
#define NETC_RUNTIME_DATA_H
#include "runtime/status.h"

/* Room for the images and labels of both splits; sizes and name of `data` are filled in before. */
RtStatus rt_data_allocate(RtData *data, RtError *error);
/* Mean and standard deviation of the training images, per channel. */
void rt_data_measure(RtData *data);
/* CIFAR-10 or CIFAR-100 from a directory of the official binary files (or the folder of that name inside it). */
RtStatus rt_cifar_open(const char *directory, RtData *data, RtError *error);
/* Shape, statistics and class names of CIFAR-10, which are known without its files. */
void rt_cifar10_describe(RtData *data);
RtStatus rt_synthetic_open(int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data, RtError *error);
#endif
