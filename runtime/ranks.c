/* Who has started this process, and with whom. */
#include "runtime/ranks.h"
#include <stdlib.h>

/* Of Open MPI, of MPICH's Hydra and what else speaks PMI, of MVAPICH, and of Slurm, which sets it in the processes of a step
 * only: SLURM_NTASKS is set in a batch script too, which is one process. */
static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"};

int64_t rt_ranks_started(const char **variable) {
    *variable = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *text = getenv(sizes[i]);
        long long size = text ? strtoll(text, NULL, 10) : 0;
        if (size <= 1) continue;
        *variable = sizes[i];
        return size;
    }
    return 1;
}
