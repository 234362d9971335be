/* Inside runtime/: what ranks must have in common before they take a step, and how they get it from rank 0, which alone reads and
 * writes the directory. */
#ifndef NETC_RUNTIME_TOGETHER_H
#define NETC_RUNTIME_TOGETHER_H
#include "runtime/rt.h"

/* Do all ranks compute the same on the same data? RT_INPUT names the first that does not, and in what. */
RtStatus rt_together_check(RtMachine *m, const RtData *data, const RtTrainOptions *options, RtError *error);
/* Rank 0's weights, running statistics, moments, averages and position become everybody's. */
RtStatus rt_together_share(RtMachine *m, RtTrainState *s, RtError *error);
/* Rank 0's weights and running statistics alone. */
RtStatus rt_together_weights(RtMachine *m, RtError *error);
/* Are everybody's weights the same still? */
RtStatus rt_together_compare(RtMachine *m, RtError *error);
#endif
