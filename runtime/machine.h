/* Inside runtime/: logical views of the tensors that a machine holds in physical layout. */
#ifndef NETC_RUNTIME_MACHINE_H
#define NETC_RUNTIME_MACHINE_H
#include "runtime/status.h"

int64_t rt_tensor_elements(const RtTensor *t);
/* Logical elements [first, first + count), row-major, of one tensor in a block. */
void rt_tensor_slice(const RtProgram *p, const RtTensor *t, const char *block, int64_t first, int64_t count, float *logical);
#endif
