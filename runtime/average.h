/* Inside runtime/: averages of the weights, and perhaps of the running statistics, in RtTrainState's blocks (RtAverage). */
#ifndef NETC_RUNTIME_AVERAGE_H
#define NETC_RUNTIME_AVERAGE_H
#include "runtime/status.h"

/* The blocks that the recipe asks for; whoever has the state frees them. */
RtStatus rt_average_allocate(const RtProgram *p, RtTrainState *s, RtError *error);
void rt_average_begin(RtMachine *m, const RtTrainState *s); /* they are the machine's weights */
/* After a step, of so many in all. */
void rt_average_step(RtMachine *m, const RtTrainState *s, uint64_t total_steps);
/* EMA exchanges weights and averages: before and after evaluation and best.safetensors. Of others it does nothing. */
void rt_average_swap(RtMachine *m, const RtTrainState *s);
#endif
