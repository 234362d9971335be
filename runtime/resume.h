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
/* What a checkpoint says of the training's surroundings, 65 bytes each with a hash: the data set, and the code of a training
 * step. */
void rt_data_identity(const RtData *data, char text[160]);
void rt_code_identity(const RtProgram *p, char text[65]);
#endif
