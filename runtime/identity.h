/* Inside runtime/: what a checkpoint says of a training's surroundings, so that a resume can tell others from the same. */
#ifndef NETC_RUNTIME_IDENTITY_H
#define NETC_RUNTIME_IDENTITY_H
#include "runtime/status.h"

/* The data set, with a hash. */
void rt_data_identity(const RtData *data, char text[160]);
/* Is it the one that a checkpoint names? now becomes what it is called; an older checkpoint knew the beginnings of images alone.
 */
bool rt_data_is(const RtData *data, const char *saved, char now[160]);
/* A hash of the code of a training step. */
void rt_code_identity(const RtProgram *p, char text[65]);
#endif
