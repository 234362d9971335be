/* Inside runtime/: weights to begin with: drawn, and those that are another net's, in part or under other names. */
#ifndef NETC_RUNTIME_INIT_H
#define NETC_RUNTIME_INIT_H
#include "runtime/status.h"

/* Reads options->init_path as init_map and init_partial say, into the machine if there is one, and says what was taken, what
 * keeps its initial values and what of the file was left. All or nothing. */
RtStatus rt_init_load(const RtProgram *p, RtMachine *m, const RtTrainOptions *options, RtError *error);
/* The weights that a training begins with: drawn by options->seed, whitened filters from these training images unless a whole
 * file is taken, then what options->init_path has. */
RtStatus rt_init_weights(RtMachine *m, const RtData *part, const RtTrainOptions *options, RtError *error);
#endif
