/* Inside runtime/ and cli/: the processes that train together, ranks 0, 1, 2, ... of an MPI launcher. A process alone has none:
 * NULL is one rank. They speak through a shared object that is loaded when several were started (runtime/mpi/wire.h).
 *
 * A failure of one is a failure of all: from the first one on nothing more is sent, every function returns at once, and
 * rt_ranks_status has a sentence that names the rank. */
#ifndef NETC_RUNTIME_RANKS_H
#define NETC_RUNTIME_RANKS_H
#include "runtime/machine.h"

/* How many processes a launcher (mpirun, mpiexec, srun) has started together with this one, by what it says in the environment;
 * 1 where there is none. *variable is what said so, or NULL. */
int64_t rt_ranks_started(const char **variable);
/* Joins those that were started together; *ranks stays NULL if it was started alone. RT_USAGE if there is no MPI that can be
 * used, or one that knows of others than the launcher has started. */
RtStatus rt_ranks_open(RtRanks **ranks, RtError *error);
/* After a failure it ends the others too, and does not return. */
void rt_ranks_close(RtRanks *r);
/* All have been heard of: from now on a rank that is silent for NETC_RANK_TIMEOUT seconds (120) is given up. Before, one may be
 * compiling still, and has ten times as long. */
void rt_ranks_met(RtRanks *r);

int rt_ranks_count(const RtRanks *r);
int rt_ranks_index(const RtRanks *r);
uint64_t rt_ranks_sent(const RtRanks *r); /* bytes, from this rank to others, so far */
/* The shards that rank `rank` has of so many: neighbours, as evenly as can be. */
RtShare rt_ranks_share(const RtRanks *r, int rank, int64_t shards);

typedef struct RtTransfer {
    int peer;
    bool send;
    int channel; /* 0, 1, 2, ... */
    void *data;
    uint64_t bytes;
    int request; /* for rt_ranks_exchange */
} RtTransfer;
/* All of them at once; messages between two ranks on one channel arrive in the order of the calls. True when all are done. */
bool rt_ranks_exchange(RtRanks *r, RtTransfer *transfer, int64_t n);
/* The same in parts: they begin, go on as far as they can without waiting, and are waited for; several lists may be on their way.
 * Every rank begins its lists of a channel in the same order. rt_ranks_proceed: are all done? */
bool rt_ranks_begin(RtRanks *r, RtTransfer *transfer, int64_t n);
bool rt_ranks_proceed(RtRanks *r, RtTransfer *transfer, int64_t n);
bool rt_ranks_wait(RtRanks *r, RtTransfer *transfer, int64_t n);
/* From rank 0 to all. */
bool rt_ranks_broadcast(RtRanks *r, void *data, uint64_t bytes);
/* Of every rank as many bytes, to all, in the order of ranks. */
bool rt_ranks_gather(RtRanks *r, const void *mine, uint64_t bytes, void *all);
/* What all go on with, given what each has: the first rank's that is not RT_OK, with its sentence, which names it. Alone: `mine`.
 * error: its own sentence, and that which comes out. */
RtStatus rt_ranks_agree(RtRanks *r, RtStatus mine, RtError *error);
/* Do all ranks have the same text? If not, RT_INPUT names the first that has another than rank 0, and `what` it is about. */
RtStatus rt_ranks_same(RtRanks *r, const char *what, const char *text, RtError *error);

bool rt_ranks_fail(RtRanks *r, const char *format, ...) __attribute__((format(printf, 2, 3))); /* returns false */
RtStatus rt_ranks_status(const RtRanks *r, RtError *error);
#endif
