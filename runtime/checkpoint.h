/* Inside runtime/: what a checkpoint says without its tensors, for rt_resume. */
#ifndef NETC_RUNTIME_CHECKPOINT_H
#define NETC_RUNTIME_CHECKPOINT_H
#include "runtime/status.h"

typedef struct RtCheckpointHead {
    RtTrainState state;                        /* without averages */
    int64_t batch;                             /* 0: an older checkpoint does not say */
    char *model, *recipe, *choices, *pipeline; /* malloc'd; NULL where it does not say */
    char code[65];                             /* rt_code_identity, or "" */
    char pipeline_sha256[65];                  /* of RtProgram, or "" */
} RtCheckpointHead;

RtStatus rt_checkpoint_head(const char *path, RtCheckpointHead *head, RtError *error);
void rt_checkpoint_head_free(RtCheckpointHead *head);
/* Would rt_checkpoint_load find every tensor of this program, in its shape? The program may be one without code. */
RtStatus rt_checkpoint_check(const char *path, const RtProgram *p, RtError *error);
#endif
