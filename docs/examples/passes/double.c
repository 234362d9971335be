/* A pass in thirty lines: e + e becomes e * 2. docs/passes.md goes through it.
 *
 *     cc -shared -fPIC $(pkg-config --cflags netc-pass) -o double.so double.c
 *     netc verify resnet20 --load-pass=double.so --each */
#include "passes/plugin.h"
#include "passes/rewrite.h"

/* Is it a map of one Expr whose last node adds a node to itself? */
static bool adds_itself(const Graph *in, Val v, const uint32_t *uses) {
    (void)uses;
    const Value *map = &in->value[v];
    if (map->op != OP_MAP || map->nregions != 1 || map->regions[0].role != REGION_OUTPUT) return false;
    const Expr *e = map->regions[0].expr;
    const ExprNode *last = &e->node[e->count - 1];
    return last->op == X_ADD && last->arg[0] == last->arg[1];
}

static Val multiply(Graph *out, const Graph *in, Val v, const Val *map) {
    const Value *value = &in->value[v];
    const Expr *e = value->regions[0].expr;
    Expr term = {e->node[e->count - 1].arg[0] + 1u, e->node};
    ExprBuilder b = expr_builder(out->arena);
    uint16_t leaf[MAX_ARGS];
    Val args[MAX_ARGS];
    for (uint32_t i = 0; i < value->nargs; i++) leaf[i] = expr_arg(&b, i), args[i] = map[value->args[i]];
    uint16_t twice = expr_binary(&b, X_MUL, expr_inline(&b, &term, leaf, 0, 0), expr_const(&b, 2));
    return graph_map(out, value->space, args, value->nargs, expr_finish(&b, twice), value->span, value->name);
}

static Graph *run(const Graph *in, PassContext *context) {
    return rewrite_graph(in, context, &(Rewrite){adds_itself, multiply, "a sum of equal terms became a product"});
}

static const Pass passes[] = {{"double", run, .modes = PASS_TRAIN | PASS_INFER, .accepts = PASS_ANY, .leaves = PASS_ANY,
                               .summary = "sums of equal terms become products"}};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, 1, "canonicalise"};
