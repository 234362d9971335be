/* Inside runtime/: returns `status` after writing the error's sentence. */
#ifndef NETC_RUNTIME_STATUS_H
#define NETC_RUNTIME_STATUS_H
#include "runtime/rt.h"

RtStatus rt_fail(RtError *error, RtStatus status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Makes the names in path's directory durable. */
void rt_sync_directory(const char *path);
/* Do the data fit the program's input and classes? (eval.c) */
RtStatus rt_shape_check(const RtProgram *p, const RtData *data, RtError *error);
/* Batches that a step takes, and steps of an epoch: what is left over is dropped (schedule.c). */
int64_t rt_step_batches(const RtRecipe *recipe);
int64_t rt_steps_per_epoch(const RtProgram *p, const RtData *data);
/* Steps of all epochs; a fraction of a step is one. */
int64_t rt_total_steps(const RtRecipe *recipe, int64_t steps_per_epoch);
#endif
