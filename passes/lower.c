/* lower: the elementwise ops of the language become maps, so that no later stage knows them.
 *
 *     relu, sigmoid, ..., add, mul, ...   map over the operand of higher rank
 *     global_avg_pool                     image_sum, then a map that divides by H*W
 *     upsample                            the gradient of an average pool, times the size of its window
 *     pad                                 an average pool over windows of one pixel, whose padding may be below 0
 *     conv2d, several filters a channel   the same filters, one a channel, of each channel so many times
 *     dropout                             map x * dropout_mask in training; vanishes in inference
 *     identity                            vanishes
 */
#include "passes/build.h"

static Val lower_global_avg_pool(Graph *out, const Value *v, Val x) {
    Val sum = graph_unary(out, OP_IMAGE_SUM, x, v->span);
    Type type = out->value[x].type;
    double share = 1.0 / ((double)type.dim[2] * (double)type.dim[3]);
    MapBuilder m = map_begin(out);
    uint16_t mean = expr_binary(&m.expr, X_MUL, map_read(&m, sum), expr_const(&m.expr, share));
    return map_finish(&m, mean, v->type, v->span, v->name);
}

/* The gradient of an average pool whose windows do not overlap spreads each pixel over its window, divided by its size. */
static Val lower_upsample(Graph *out, const Value *v, Val x) {
    int64_t times = v->attrs.index;
    Attrs window = {.window = {.kernel = {times, times}, .stride = {times, times}, .dilation = {1, 1}}};
    Val spread = graph_add(out, &(ValueSpec){.op = OP_AVG_POOL_BWD,
                                             .args = &x,
                                             .nargs = 1,
                                             .attrs = window,
                                             .declared = v->type,
                                             .span = v->span,
                                             .name = v->name});
    MapBuilder m = map_begin(out);
    double size = (double)times * (double)times;
    uint16_t whole = expr_binary(&m.expr, X_MUL, map_read(&m, spread), expr_const(&m.expr, size));
    return map_finish(&m, whole, v->type, v->span, v->name);
}

static Val lower_pad(Graph *out, const Value *v, Val x) {
    Attrs window = {.window = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}}};
    for (int i = 0; i < 4; i++) window.window.pad[i] = v->attrs.window.pad[i];
    return graph_add(out,
                     &(ValueSpec){.op = OP_AVG_POOL, .args = &x, .nargs = 1, .attrs = window, .span = v->span, .name = v->name});
}

/* A channel multiplier: filters of one channel each, `times` of them a channel (groups == I, O == times * I): depthwise, if each
 * channel is there so many times, one after the other. More than a concat takes stay as they are: a matrix product has columns
 * enough then. */
static int64_t filters_a_channel(const Graph *g, const Value *v) {
    if (v->op != OP_CONV2D || v->nregions) return 1; /* regions: of a graph that came fused, as text */
    int64_t channels = g->value[v->args[0]].type.dim[1], times = v->type.dim[1] / channels;
    return channels > 1 && v->attrs.window.groups == channels && times <= MAX_ARGS ? times : 1;
}

static Val lower_channel_multiplier(Graph *out, const Value *v, Val x, Val filters, int64_t times) {
    Val *copies = ARENA_ARRAY(out->arena, Val, times);
    for (int64_t i = 0; i < times; i++) copies[i] = x;
    Val all = graph_add(out, &(ValueSpec){.op = OP_CONCAT, .args = copies, .nargs = (uint32_t)times, .span = v->span});
    ValueSpec together = {.op = OP_CHANNEL_SHUFFLE, .args = &all, .nargs = 1, .attrs.index = times, .span = v->span};
    Val args[] = {graph_add(out, &together), filters};
    ValueSpec depthwise = {.op = OP_CONV2D, .args = args, .nargs = 2, .attrs = v->attrs, .span = v->span, .name = v->name};
    depthwise.attrs.window.groups = v->type.dim[1];
    return graph_add(out, &depthwise);
}

static Val lower_dropout(Graph *out, const Value *v, Val x) {
    if (out->mode == MODE_INFER || v->attrs.dropout.rate == 0) return x;
    Val mask = graph_add(
        out,
        &(ValueSpec){
            .op = OP_DROPOUT_MASK, .attrs.dropout = v->attrs.dropout, .declared = v->type, .span = v->span, .name = v->name});
    MapBuilder m = map_begin(out);
    uint16_t kept = expr_binary(&m.expr, X_MUL, map_read(&m, x), map_read(&m, mask));
    return map_finish(&m, kept, v->type, v->span, v->name);
}

static Val lower_value(Graph *out, const Graph *in, Val id, const Val *map, PassContext *context) {
    const Value *v = &in->value[id];
    if (v->op == OP_GLOBAL_AVG_POOL) return lower_global_avg_pool(out, v, map[v->args[0]]);
    if (v->op == OP_UPSAMPLE) return lower_upsample(out, v, map[v->args[0]]);
    if (v->op == OP_PAD) return lower_pad(out, v, map[v->args[0]]);
    int64_t times = filters_a_channel(in, v);
    if (times > 1) {
        pass_remark(context, true, v->span, "%s has %lld filters a channel: depthwise, of each channel so many times",
                    v->name ? v->name : "conv2d", (long long)times);
        return lower_channel_multiplier(out, v, map[v->args[0]], map[v->args[1]], times);
    }
    if (v->op == OP_DROPOUT) return lower_dropout(out, v, map[v->args[0]]);
    if (op_tier(v->op) != TIER_SOURCE || v->nargs < 1 || v->nargs > 2) return graph_copy_value(out, in, id, map);
    MapBuilder m = map_begin(out);
    uint16_t x = map_read(&m, map[v->args[0]]), y = v->nargs == 2 ? map_read(&m, map[v->args[1]]) : x, body;
    if (!op_elementwise(&m.expr, v->op, x, y, &body)) return graph_copy_value(out, in, id, map);
    return map_finish(&m, body, v->type, v->span, v->name);
}

Graph *pass_lower(const Graph *in, PassContext *context) {
    /* required, so never bisected */
    Graph *out = rebuild_begin(in);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    for (Val v = 0; v < in->count; v++) map[v] = lower_value(out, in, v, map, context);
    rebuild_outputs(in, out, map);
    return out;
}
