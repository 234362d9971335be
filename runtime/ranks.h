/* Inside runtime/ and cli/: the processes that train together, ranks 0, 1, 2, ... of an MPI launcher. */
#ifndef NETC_RUNTIME_RANKS_H
#define NETC_RUNTIME_RANKS_H
#include "runtime/status.h"

/* How many processes a launcher (mpirun, mpiexec, srun) has started together with this one, by what it says in the environment;
 * 1 where there is none. *variable is what said so, or NULL. */
int64_t rt_ranks_started(const char **variable);
#endif
