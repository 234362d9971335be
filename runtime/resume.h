/* Inside runtime/: continuing a training from its last checkpoint. */
#ifndef NETC_RUNTIME_RESUME_H
#define NETC_RUNTIME_RESUME_H
#include "runtime/checkpoint.h"

/* Reads DIR/last.safetensors into the machine and *s, and says what is another than when it was saved; what cannot be another is
 * RT_INPUT. Without a machine nothing is kept and nothing said, and p may be a Program without code. */
RtStatus rt_resume(const RtProgram *p, RtMachine *m, const RtData *data, const RtTrainOptions *options, RtTrainState *s,
                   RtError *error);
/* RT_INPUT if other passes made the program than the checkpoint says; where either does not say, nothing is compared. */
RtStatus rt_compare_pipelines(const RtCheckpointHead *head, const RtProgram *p, RtError *error);
#endif
