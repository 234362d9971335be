#include "passes/rewrite.h"
#include "passes/build.h"
#include <stdlib.h>

Graph *rewrite_graph(const Graph *in, PassContext *context, const Rewrite *r) {
    Graph *out = rebuild_begin(in);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    uint32_t *uses = graph_use_counts(in);
    for (Val v = 0; v < in->count; v++) {
        if (!r->where(in, v, uses) || !pass_allowed_for(context, value_site(context, in, v), v)) {
            map[v] = graph_copy_value(out, in, v, map);
            continue;
        }
        uint32_t before = out->count;
        map[v] = r->rewrite(out, in, v, map);
        pass_replaced(context, v, map[v], out, before);
        pass_remark(context, true, in->value[v].span, "%s", r->remark);
    }
    free(uses);
    rebuild_outputs(in, out, map);
    return out;
}
