/* A pass of one's own for --load-pass: e + e becomes e * 2. A complete example of passes/plugin.h.
 *
 *     cc -shared -fPIC -I . -I build/release -o /tmp/double.so docs/examples/pass_double.c
 *     netc ir models/resnet20.net --stage=final --load-pass=/tmp/double.so --time-passes
 *
 * It runs behind the last canonicalise, and can be named, switched off and bisected like any other pass. */
#include "passes/plugin.h"

/* The body with the last addition replaced, or NULL if it is not of that form. */
static const Expr *doubled(Graph *out, const Expr *e) {
    const ExprNode *sum = &e->node[e->count - 1];
    if (sum->op != X_ADD || sum->arg[0] != sum->arg[1]) return NULL;
    ExprBuilder b = expr_builder(out->arena);
    uint16_t leaf[64];
    for (uint32_t i = 0; i < 64; i++) leaf[i] = expr_arg(&b, i);
    Expr half = {sum->arg[0] + 1u, e->node};
    return expr_finish(&b, expr_binary(&b, X_MUL, expr_inline(&b, &half, leaf, 0, 0), expr_const(&b, 2)));
}

static Val rewrite(Graph *out, const Graph *in, Val id, const Val *map, PassContext *context) {
    const Value *v = &in->value[id];
    if (v->op != OP_MAP || v->nregions != 1 || v->regions[0].role != REGION_OUTPUT) return graph_copy_value(out, in, id, map);
    const Expr *body = doubled(out, v->regions[0].expr);
    if (!body || !pass_allowed(context)) return graph_copy_value(out, in, id, map);
    pass_remark(context, true, v->span, "a sum of equal terms became a product");
    Val args[64];
    for (uint32_t i = 0; i < v->nargs; i++) args[i] = map[v->args[i]];
    return graph_map(out, v->space, args, v->nargs, body, v->span, v->name);
}

static Graph *run(const Graph *in, PassContext *context) {
    Graph *out = graph_new(in->name, in->mode);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) map[v] = rewrite(out, in, v, map, context);
    for (uint32_t i = 0; i < in->noutputs; i++)
        graph_output(out, in->output[i].kind, map[in->output[i].value], in->output[i].name);
    return out;
}

static const Pass passes[] = {{"double", run, .modes = PASS_TRAIN | PASS_INFER, .accepts = PASS_ANY, .leaves = PASS_ANY,
                               .summary = "sums of equal terms become products"}};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, 1, "canonicalise"};
