/* Inside runtime/: a data set in memory, whatever it was read from. rt_data_free (rt.h) gives it back. */
#ifndef NETC_RUNTIME_IMAGES_H
#define NETC_RUNTIME_IMAGES_H
#include "runtime/status.h"

/* Room for the images and labels of both splits; sizes and name of `data` are filled in before. */
RtStatus rt_data_allocate(RtData *data, RtError *error);
/* Mean and standard deviation of the training images, per channel. */
void rt_data_measure(RtData *data);
#endif
