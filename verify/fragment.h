/* A kernel's values cut out of their graph. */
#ifndef NETC_VERIFY_FRAGMENT_H
#define NETC_VERIFY_FRAGMENT_H
#include "verify/leaves.h"

/* As a graph of their own: leaves a0, a1, … for what they read, outputs (gradients of leaves r0, r1, … that nothing reads, since
 * an output needs a leaf of its type) for what others read of them. */
typedef struct Fragment {
    Graph *g;
    Leaves leaves; /* recorded */
    char *label;   /* "%12 conv2d of basic3.conv_bn1.conv2d" */
} Fragment;
void fragment_free(Fragment *f);

/* Does value v have a kernel of its own? Not leaves and constants, nor what is computed along with another value: `done[v]`. */
bool fragment_has_kernel(const Graph *g, Val v, const bool *done);
/* The fragment of v, and of what shares its kernel or hands it sums in double or indices; marks in done[] what is not to be cut
 * out again. all[]: every value's tensor (graph_eval). */
Fragment fragment_cut(const Graph *g, Val v, const Tensor *all, Arithmetic arithmetic, bool *done);
#endif
