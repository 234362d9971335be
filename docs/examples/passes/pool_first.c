/* A pass that pays: an average pool of a 1x1 convolution becomes the convolution of the pool. Both are linear and neither mixes
 * what the other does, so the result is the same, and the convolution has a pixel where it had four.
 *
 *     cc -shared -fPIC $(pkg-config --cflags netc-pass) -o pool_first.so pool_first.c
 *     netc ablate pooled.net --load-pass=pool_first.so --without
 *
 * It runs before autodiff, so that the two gradients of the convolution shrink too. */
#include "passes/plugin.h"
#include "passes/rewrite.h"

/* Kernel 1x1, every pixel, no padding, nothing fused. Groups do not matter. */
static bool is_pointwise(const Value *v) {
    if (v->op != OP_CONV2D || v->nregions || v->nargs != 2) return false;
    for (int side = 0; side < 2; side++)
        if (v->attrs.window.kernel[side] != 1 || v->attrs.window.stride[side] != 1) return false;
    for (int side = 0; side < 4; side++)
        if (v->attrs.window.pad[side]) return false;
    return true;
}

/* Another reader of the convolution would have it computed twice; and it must have more pixels than the pool. */
static bool pools_pointwise(const Graph *in, Val v, const uint32_t *uses) {
    const Value *pool = &in->value[v];
    if (pool->op != OP_AVG_POOL || !is_pointwise(&in->value[pool->args[0]]) || uses[pool->args[0]] != 1) return false;
    Type from = in->value[pool->args[0]].type;
    return pool->type.dim[2] * pool->type.dim[3] < from.dim[2] * from.dim[3];
}

static Val swap(Graph *out, const Graph *in, Val v, const Val *map) {
    const Value *pool = &in->value[v], *conv = &in->value[pool->args[0]];
    Val pooled = graph_add(out, &(ValueSpec){.op = OP_AVG_POOL,
                                             .args = &map[conv->args[0]],
                                             .nargs = 1,
                                             .attrs = pool->attrs,
                                             .span = pool->span,
                                             .name = pool->name});
    ValueSpec spec = value_spec(conv, (Val[]){pooled, map[conv->args[1]]});
    return graph_add(out, &spec);
}

static Graph *run(const Graph *in, PassContext *context) {
    return rewrite_graph(in, context, &(Rewrite){pools_pointwise, swap, "the pool comes before the convolution"});
}

static const Pass passes[] = {{"pool_first", run, .modes = PASS_TRAIN | PASS_INFER, .accepts = PASS_ANY, .leaves = PASS_ANY,
                               .summary = "average pools come before 1x1 convolutions"}};
const NetcPlugin netc_plugin = {NETC_PLUGIN_VERSION, passes, 1, "lower"};
