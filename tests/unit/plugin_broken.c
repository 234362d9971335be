/* Passes that do what no pass may: return nothing, their input, or an unsound graph; leave ops that they promised not to leave;
 * change mode, outputs or leaves; or crash. */
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

static Graph *input(const Graph *in, PassContext *context) {
    (void)context;
    return (Graph *)(uintptr_t)in;
}

static Graph *mode(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    out->mode = in->mode == MODE_TRAIN ? MODE_INFER : MODE_TRAIN;
    return out;
}

static Graph *nameless(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    out->name = NULL;
    return out;
}

static Graph *null_leaf(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    for (Val v = 0; v < out->count; v++)
        if (out->value[v].op == OP_PARAM) out->value[v].attrs.param.name = NULL;
    return out;
}

static Graph *drops_output(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    out->noutputs--;
    return out;
}

static Graph *adds_output(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    graph_output(out, OUT_CORRECT, graph_constant(out, 0, (Span){0}), NULL);
    return out;
}

static Graph *widens_output(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    Val logits = graph_find_output(out, OUT_LOGITS, NULL);
    Type t = out->value[logits].type, wider = type_matrix(t.dim[0], t.dim[1] + 1);
    ExprBuilder b = expr_builder(out->arena);
    Val zero = graph_constant(out, 0, (Span){0});
    uint32_t i = 0;
    while (out->output[i].kind != OUT_LOGITS) i++;
    out->output[i].value = graph_map(out, wider, &zero, 1, expr_finish(&b, expr_arg(&b, 0)), (Span){0}, NULL);
    return out;
}

static Value *first_param(Graph *g) {
    Val v = 0;
    while (g->value[v].op != OP_PARAM) v++;
    return &g->value[v];
}

static Graph *renames_leaf(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    first_param(out)->attrs.param.name = "zzz";
    return out;
}

static Graph *adds_leaf(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    graph_add(out, &(ValueSpec){.op = OP_PARAM, .attrs.param.name = "zzz", .declared = type_scalar()});
    return out;
}

static Graph *initial_value(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    first_param(out)->attrs.param.init = (Init){INIT_CONSTANT, 3};
    return out;
}

static Graph *decay(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    first_param(out)->attrs.param.decay ^= true;
    return out;
}

static Graph *position(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    first_param(out)->attrs.param.position = 1000;
    return out;
}

static Graph *wild(const Graph *in, PassContext *context) {
    (void)context;
    Graph *out = copy(in);
    out->value[out->count - 1].args = NULL;
    return out;
}

static const Pass passes[] = {
    {"nothing", nothing, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "returns nothing"},
    {"unsound", unsound, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "makes a cycle"},
    {"leaves", leaves, .accepts = PASS_ANY, .leaves = PASS_ANY & ~TIER_SOURCE, .summary = "leaves a relu"},
    {"ill_typed", ill_typed, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "breaks a shape rule"},
    {"input", input, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "returns its input"},
    {"mode", mode, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "turns inference into training"},
    {"nameless", nameless, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "takes the graph's name away"},
    {"null_leaf", null_leaf, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "takes parameters' names away"},
    {"drops_output", drops_output, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "drops the last output"},
    {"adds_output", adds_output, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "adds an output"},
    {"widens_output", widens_output, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "changes the type of the logits"},
    {"renames_leaf", renames_leaf, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "renames a parameter"},
    {"adds_leaf", adds_leaf, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "adds a parameter"},
    {"initial_value", initial_value, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "changes an initial value"},
    {"decay", decay, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "changes weight decay"},
    {"position", position, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "renumbers a parameter"},
    {"wild", wild, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "leaves a pointer to nothing"},
    {"crash", crash, .accepts = PASS_ANY, .leaves = PASS_ANY, .summary = "aborts"},
};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, sizeof passes / sizeof *passes, NULL};
