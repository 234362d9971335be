/* Inside runtime/: sums over the shards of a batch.
 *
 * The order is that of a binary tree over all shards, whoever has them: blocks of 1, 2, 4, ... of them, of which two neighbours
 * are added, the right one to the left, and a block without a neighbour waits. A process adds what its own shards allow; what is
 * left of each goes to the others, and every process finishes the tree, for small sums as a whole, for large ones each its slice,
 * which it sends round. So each addition has the same two operands on any number of ranks. Processes that reach each other's
 * memory (near.h) read and write there what they would send, and send a byte that says so. */
#ifndef NETC_RUNTIME_SHARDS_H
#define NETC_RUNTIME_SHARDS_H
#include "runtime/rt.h"

/* Can a batch be cut as the recipe says, and so many ranks share it? The program may be one without code. */
RtStatus rt_shards_check(const RtProgram *p, const RtRanks *ranks, RtError *error);

typedef struct RtShards RtShards;
/* For a batch that is cut into `shards`, of which this process has its share (rt_ranks_share). NULL: no memory. */
RtShards *rt_shards_new(RtPool *pool, RtRanks *ranks, int64_t shards);
void rt_shards_free(RtShards *s);
/* Of `count` numbers of each shard of ours, `stride` bytes apart, the first shard's become the sum over all shards of all
 * processes, the others' are lost. RT_COMBINE_LATER: they do so by rt_shards_finish, until when nobody touches them. If another
 * process fails it is left as it is, and rt_ranks_status says so. */
void rt_shards_sum(RtShards *s, void *first, uint64_t stride, RtCombine how, int64_t count);
/* Sums that were begun go on, as far as they can without waiting. MPI sends and receives only while it is asked. */
void rt_shards_proceed(RtShards *s);
void rt_shards_finish(RtShards *s);
#endif
