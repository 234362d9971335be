/* Inside runtime/: memory of a process that the other ranks of its machine can read and write. It has no name in any file system,
 * so nothing of it is left of a process that is killed. Where it cannot be had, or NETC_RANK_MEMORY=0 forbids it, ranks of one
 * machine are to each other as those of several. */
#ifndef NETC_RUNTIME_NEAR_H
#define NETC_RUNTIME_NEAR_H
#include "runtime/ranks.h"

typedef struct RtNear RtNear;
RtNear *rt_near_new(RtRanks *ranks); /* NULL: no memory */
void rt_near_free(RtNear *n);        /* and what rt_near_memory gave */
/* Zeroed, on pages of its own, once; NULL: none that could be shared. */
void *rt_near_memory(RtNear *n, uint64_t bytes);
/* All ranks at once: they show each other what they have, and see who can reach whom. The first call does it, others nothing. */
void rt_near_meet(RtNear *n);
/* Where another rank has what lies at `mine` in our memory, its own being laid out alike; NULL: out of reach. If rank a reaches
 * rank b, b reaches a. Who writes there says so by a message, which orders it: rt_near_publish before sending, rt_near_observe
 * behind receiving. */
char *rt_near_at(const RtNear *n, int rank, const void *mine);
void rt_near_publish(void);
void rt_near_observe(void);
#endif
