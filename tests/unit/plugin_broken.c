/* Passes that do what no pass may: return nothing, an unsound graph, ops that they promised not to leave, or crash. */
#include "passes/plugin.h"
#include <stdlib.h>

static Graph *nothing(const Graph *in, PassContext *context) {
    (void)in, (void)context;
    return NULL;
}

static Graph *copy(const Graph *in) {
    Graph *out = graph_new(in->name, in->mode);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) map[v] = graph_copy_value(out, in, v, map);
    for (uint32_t i = 0; i < in->noutputs; i++)
        graph_output(out, in->output[i].kind, map[in->output[i].value], in->output[i].name);
    return out;
}

static Graph *unsound(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    out->value[out->count - 1].args[0] = out->count - 1; /* a value that reads itself */
    return out;
}

static Graph *leaves(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    graph_unary(out, OP_RELU, 0, (Span){0});
    return out;
}

static Graph *ill_typed(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    graph_unary(out, OP_CHANNEL_SUM, 0, (Span){0}); /* of a feature map: the builder aborts */
    return out;
}

static Graph *crash(const Graph *in, PassContext *context) {
    (void)in, (void)context;
    abort();
}

static const Pass passes[] = {
    {"nothing", nothing, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "returns nothing"},
    {"unsound", unsound, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "makes a cycle"},
    {"leaves", leaves, .accepts = PASS_ANY, .leaves = PASS_ANY & ~TIER_SOURCE, .summary = "leaves a relu"},
    {"ill_typed", ill_typed, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "breaks a shape rule"},
    {"crash", crash, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "aborts"},
};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, sizeof passes / sizeof *passes, NULL};
