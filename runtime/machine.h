/* Inside runtime/: logical views of the tensors that a machine holds in physical layout. */
#ifndef NETC_RUNTIME_MACHINE_H
#define NETC_RUNTIME_MACHINE_H
#include "runtime/status.h"

/* The shards of a batch that this machine has. */
typedef struct RtShare {
    int64_t first, count;
} RtShare;
RtShare rt_machine_share(const RtMachine *m);

/* Memory for `bytes`, which may be none, aligned to a page; a large block lies on huge pages where the system has them, but for
 * what would not fill the last one. Of any contents; NULL: there is no memory. */
void *rt_block(uint64_t bytes);
/* Bytes that the program's references to a space may reach, of one shard. RT_MOMENT2 has none with SGD. */
uint64_t rt_space_bytes(const RtProgram *p, RtSpace space);
void rt_machine_clear_moments(RtMachine *m); /* the optimiser's, to zero, as before the first step */

/* How sums over shards are formed (shards.c), by whoever makes a machine, which is so without it: a library for inference has
 * neither. */
typedef struct RtSummer {
    RtShare share;
    /* As rt_shards_sum; NULL: the batch is whole. */
    void (*sum)(void *context, void *first, uint64_t stride, RtCombine how, int64_t count);
    void (*proceed)(void *context); /* between calls, and */
    void (*finish)(void *context);  /* behind the last one: sums that were begun only */
    /* For gradients, zeroed: others may be able to add to them there. NULL, as a function or what it returns: the machine's. */
    void *(*memory)(void *context, uint64_t bytes);
    void (*free)(void *context); /* and that memory with it */
    void *context;
    RtRanks *ranks;
} RtSummer;
/* As rt_machine_new; the summer's context is the machine's from here on, if there is one. */
RtMachine *rt_machine_new_summing(const RtProgram *program, RtPool *pool, const RtSummer *summer, RtError *error);

int64_t rt_tensor_elements(const RtTensor *t);
/* Logical elements [first, first + count), row-major, of one tensor in a block. */
void rt_tensor_slice(const RtProgram *p, const RtTensor *t, const char *block, int64_t first, int64_t count, float *logical);
#endif
