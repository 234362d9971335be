/* "Copy the graph, and rewrite where": the loop of a pass that looks at one value at a time. For fusing passes, which move Exprs
 * between values, there is the draft (passes/draft.h). */
#ifndef NETC_PASSES_REWRITE_H
#define NETC_PASSES_REWRITE_H
#include "passes/passes.h"

typedef struct Rewrite {
    /* Is value v of `in` to be rewritten? It must be possible then. `uses`: of each value (graph_use_counts). */
    bool (*where)(const Graph *in, Val v, const uint32_t *uses);
    /* Adds to `out` what computes it instead, and returns that value. map[]: what stands for in's values before v. */
    Val (*rewrite)(Graph *out, const Graph *in, Val v, const Val *map);
    const char *remark; /* what was done, a sentence: "the pool comes before the convolution" */
} Rewrite;

/* Each rewrite is asked of the gate (pass_allowed_for, by the value's name), said and logged; all other values are copied, and
 * outputs read what stands for theirs. What nobody reads any more stays for dce. */
Graph *rewrite_graph(const Graph *in, PassContext *context, const Rewrite *rewrite);
#endif
