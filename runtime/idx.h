/* Inside runtime/: MNIST and the sets that come in its form, IDX. */
#ifndef NETC_RUNTIME_IDX_H
#define NETC_RUNTIME_IDX_H
#include "runtime/status.h"

/* Does this directory hold train-images-idx3-ubyte, or the packed file? */
bool rt_idx_is(const char *directory);
/* From the four files of MNIST, Fashion-MNIST, KMNIST, …, unpacked: images of one channel, as many classes as labels go up to. */
RtStatus rt_idx_open(const char *directory, RtData *data, RtError *error);

/* One file of bytes [dim[0]] .. [dim[rank - 1]], malloc'd; NULL after a sentence in error. */
uint8_t *rt_idx_read(const char *path, int rank, int64_t dim[3], RtStatus *status, RtError *error);
#endif
