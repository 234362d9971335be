/* Takes the place of netc's cse, in training, and does nothing there; and of lower, in inference, which stays required although
 * its row does not say so. */
#include "passes/passes.h"
#include "passes/plugin.h"

static Graph *cse(const Graph *in, PassContext *context) {
    Graph *out = graph_new(in->name, in->mode);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) map[v] = graph_copy_value(out, in, v, map);
    for (uint32_t i = 0; i < in->noutputs; i++)
        graph_output(out, in->output[i].kind, map[in->output[i].value], in->output[i].name);
    pass_remark(context, true, (Span){0}, "left everything as it was");
    return out;
}

static const Pass passes[] = {
    {"cse", cse, .modes = PASS_TRAIN, .accepts = PASS_ANY, .leaves = PASS_ANY, .replaces = true, .summary = "does nothing"},
    {"lower", pass_lower, .modes = PASS_INFER, .accepts = PASS_ANY, .leaves = PASS_ANY, .replaces = true, .summary = "the same"}};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, 2, NULL};
