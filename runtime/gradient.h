/* Inside runtime/: what happens to gradients between backward and update. The same bits on any number of threads. */
#ifndef NETC_RUNTIME_GRADIENT_H
#define NETC_RUNTIME_GRADIENT_H
#include "runtime/status.h"

/* Adds the gradients of the `index`-th of `count` batches to sum, a block laid out like RT_GRADS; after the last one RT_GRADS
 * holds the mean of all. */
void rt_gradient_accumulate(RtMachine *m, float *sum, int64_t index, int64_t count);
/* The norm of all gradients but those of parameters that are frozen at env->epoch; if it is greater than `most`, they are scaled
 * to it. As torch.nn.utils.clip_grad_norm_. False: no memory. */
bool rt_gradient_clip(RtMachine *m, double most, double *norm);
#endif
