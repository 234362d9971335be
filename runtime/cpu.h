/* What this machine's CPU can do, for code that was compiled elsewhere. */
#ifndef NETC_RUNTIME_CPU_H
#define NETC_RUNTIME_CPU_H
#include <stdbool.h>
#include <stddef.h>

/* Whether this machine lacks one of `features`: names of cpu_features.def, split by blanks; a name that is not there counts as
 * lacking, and so do the tiles of AMX if the system does not let this process have them, which this asks for. Then `missing` has
 * those names, split by ", " and cut where its `size` ends. */
bool rt_cpu_lacks(const char *features, char *missing, size_t size);
#endif
