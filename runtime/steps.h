/* Inside runtime/: one step of the optimiser, as a training takes it and as the test of learning rates does: a batch, or as many
 * as the recipe accumulates, forward and backward, the gradients' mean and norm, the update. */
#ifndef NETC_RUNTIME_STEPS_H
#define NETC_RUNTIME_STEPS_H
#include "runtime/loader.h"
#include "runtime/status.h"

typedef struct RtSteps {
    RtMachine *m;
    const RtProgram *p;
    RtLoader *loader;           /* whoever takes the first step gives it; freed with the rest */
    int64_t per_epoch, batches; /* steps of an epoch, batches of a step */
    float *gradients;           /* accumulated; NULL if a step has one batch */
} RtSteps;

/* For a data set that rt_train_check has passed. RT_MEMORY. */
RtStatus rt_steps_begin(RtSteps *s, RtMachine *m, const RtData *data, RtError *error);
void rt_steps_end(RtSteps *s);
/* What step `step` of a training is computed with, into the machine's environment: seed, epoch, rate and Adam's corrections. */
void rt_steps_environment(const RtSteps *s, uint64_t seed, uint64_t step, double lr);
/* Loss and gradients of step `step`, the means of its batches, and how many images were right; the loss may be no number. What
 * ranks run into is an error. */
RtStatus rt_steps_differentiate(RtSteps *s, uint64_t step, double *loss, int64_t *correct, RtError *error);
/* The gradients clipped, if the recipe says so, and the weights moved. RT_MEMORY. */
RtStatus rt_steps_update(RtSteps *s, RtError *error);
#endif
