/* A wrong pass, to see it found: it takes the last addition of a map for batch norm's beta and drops it.
 *
 *     cc -shared -fPIC $(pkg-config --cflags netc-pass) -o drop_beta.so drop_beta.c
 *     netc verify resnet20 --load-pass=drop_beta.so          exit status 1: it names the pass, its file and a number */
#include "passes/plugin.h"
#include "passes/rewrite.h"

static const ExprNode *last_node(const Value *map) {
    const Expr *e = map->regions[0].expr;
    return &e->node[e->count - 1];
}

/* beta + a * x, in which beta is a parameter of each channel; in inference, where the mean is known before x is, x * a + (beta -
 * mean * a), of which the second part is a map of its own. */
static bool adds_beta(const Graph *in, Val v, const uint32_t *uses) {
    (void)uses;
    const Value *map = &in->value[v];
    if (map->op != OP_MAP || map->nregions != 1 || map->regions[0].role != REGION_OUTPUT) return false;
    const ExprNode *sum = last_node(map), *beta = &map->regions[0].expr->node[sum->arg[0]];
    if (!(sum->op == X_ADD && map->type.rank == 4) && !(sum->op == X_SUB && map->type.rank == 1)) return false;
    if (beta->op != X_ARG) return false;
    const Value *arg = &in->value[map->args[beta->arg[0]]];
    return arg->op == OP_PARAM && arg->type.rank == 1;
}

static Val drop(Graph *out, const Graph *in, Val v, const Val *map) {
    const Value *value = &in->value[v];
    Expr rest = {last_node(value)->arg[1] + 1u, value->regions[0].expr->node};
    ExprBuilder b = expr_builder(out->arena);
    uint16_t leaf[MAX_ARGS];
    Val args[MAX_ARGS];
    for (uint32_t i = 0; i < value->nargs; i++) leaf[i] = expr_arg(&b, i), args[i] = map[value->args[i]];
    uint16_t kept = expr_inline(&b, &rest, leaf, 0, 0);
    const Expr *body = expr_finish(&b, last_node(value)->op == X_SUB ? expr_unary(&b, X_NEG, kept) : kept);
    return graph_map(out, value->space, args, value->nargs, body, value->span, value->name);
}

static Graph *run(const Graph *in, PassContext *context) {
    return rewrite_graph(in, context, &(Rewrite){adds_beta, drop, "beta is dropped"});
}

static const Pass passes[] = {{"drop_beta", run, .modes = PASS_TRAIN | PASS_INFER, .accepts = PASS_ANY, .leaves = PASS_ANY,
                               .summary = "drops beta, which is wrong"}};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, 1, "split_batch_norm"};
