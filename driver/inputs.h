/* Numbers of a graph's leaves in a safetensors file: what `netc verify --compiled` writes beside a kernel, and `--inputs` reads.
 */
#ifndef NETC_DRIVER_INPUTS_H
#define NETC_DRIVER_INPUTS_H
#include "verify/leaves.h"

/* Those of the graph's leaves that the file has; others are left out. Exit status, after a sentence; leaves_free either way. */
int inputs_read(const char *path, const Graph *g, Leaves *leaves);
/* The graph at `path` (NAME.ir), with `remark` as a comment at its head, and the leaves as NAME.safetensors. */
int inputs_write(const char *path, const char *remark, const Graph *g, const Diag *sources, const Leaves *leaves);
#endif
