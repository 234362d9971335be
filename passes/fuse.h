/* What the fusing passes share. Private to them. */
#ifndef NETC_PASSES_FUSE_H
#define NETC_PASSES_FUSE_H
#include "passes/draft.h"

/* Can an Expr of map `map` be computed in the loop of the convolution `kernel`, at whose result it looks? All that it reads
 * must be at hand there: the kernel's result or element outputs, or values that do not depend on the kernel. If not, *late
 * is the argument that comes too late. It must look at the kernel, and iterate over its result's type. */
bool fuse_attaches(Draft *d, uint32_t kernel, uint32_t map, const Expr *e, uint32_t *late);

/* How many feature maps the map `consumer` would read if `producer`, an OUTPUT of a map, were inlined into it. */
uint32_t fuse_elements_after(const Draft *d, uint32_t consumer, Ref producer);

/* Is ref an OUTPUT of a map? */
static inline bool fuse_is_map_output(const Draft *d, Ref ref) {
    return d->node[ref.node].op == OP_MAP && draft_region(d, ref)->role == REGION_OUTPUT;
}

/* Has the op an epilogue? */
static inline bool fuse_takes_epilogue(Op op) { return op == OP_CONV2D || op == OP_CONV2D_BWD_DATA; }

/* Is x made by a loop that can make Σ x and Σ x² beside it? */
static inline bool fuse_made_by_loop(const Draft *d, Ref x) {
    return fuse_takes_epilogue(d->node[x.node].op) || fuse_is_map_output(d, x);
}
#endif
