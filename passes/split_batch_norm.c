/* split_batch_norm: batch normalisation (Ioffe and Szegedy, 2015) becomes sums and a per-channel affine map.
 *
 *     sums = Σ x, Σ x*x per image and channel, in double   by-products of the producer's loop (region `moments`)
 *     mean, var = moments(sums), M = N*H*W values per channel
 *     scale = gamma * rsqrt(var + eps)
 *     y = (x - mean) * scale + beta
 *     next running mean = (1 - momentum) * running mean + momentum * mean
 *     next running var  = (1 - momentum) * running var  + momentum * var * M / (M - 1)
 *
 * What deviates from the mean, x - mean, is a value of its own and is never multiplied out (linear.h): where |mean| is large
 * against the deviations, x * scale and mean * scale would cancel, and so would their sums and gradients.
 *
 * In inference the statistics are the running ones, which stay as they are; then y = x * scale + (beta - mean * scale), which
 * folds into the weights of the convolution in front. */
#include "passes/build.h"

typedef struct Statistics {
    Val mean, var;
} Statistics;

static double values_per_channel(Type x) { return (double)(type_elements(x) / x.dim[1]); }

static Statistics batch_statistics(Graph *g, const Value *v, Val x) {
    Type type = g->value[x].type;
    ExprBuilder b = expr_builder(g->arena);
    Region moments = {.role = REGION_MOMENTS, .expr = expr_finish(&b, expr_arg(&b, 0))};
    Val sums = graph_add(g, &(ValueSpec){.op = OP_MAP,
                                         .args = &x,
                                         .nargs = 1,
                                         .declared = type,
                                         .regions = &moments,
                                         .nregions = 1,
                                         .span = v->span,
                                         .name = v->name});
    Val mean = graph_add(g, &(ValueSpec){.op = OP_MOMENTS,
                                         .args = &sums,
                                         .nargs = 1,
                                         .attrs.constant = values_per_channel(type),
                                         .span = v->span,
                                         .name = v->name});
    return (Statistics){mean, graph_result(g, mean, 1)};
}

static Val scale_of(Graph *g, const Value *v, Val gamma, Val var) {
    MapBuilder m = map_begin(g);
    uint16_t variance = expr_binary(&m.expr, X_ADD, map_read(&m, var), expr_const(&m.expr, v->attrs.norm.eps));
    uint16_t slope = expr_binary(&m.expr, X_MUL, map_read(&m, gamma), expr_unary(&m.expr, X_RSQRT, variance));
    return map_finish(&m, slope, g->value[var].type, v->span, v->name);
}

/* x * scale + shift */
static Val affine(Graph *g, const Value *v, Val x, Val scale, Val shift) {
    MapBuilder m = map_begin(g);
    uint16_t scaled = expr_binary(&m.expr, X_MUL, map_read(&m, x), map_read(&m, scale));
    return map_finish(&m, expr_binary(&m.expr, X_ADD, scaled, map_read(&m, shift)), v->type, v->span, v->name);
}

static Val normalise(Graph *g, const Value *v, Val x, Val gamma, Val beta, Statistics s) {
    Val scale = scale_of(g, v, gamma, s.var);
    MapBuilder m = map_begin(g);
    if (g->mode == MODE_TRAIN) {
        uint16_t deviation = expr_binary(&m.expr, X_SUB, map_read(&m, x), map_read(&m, s.mean));
        return affine(g, v, map_finish(&m, deviation, v->type, v->span, v->name), scale, beta);
    }
    uint16_t centre = expr_binary(&m.expr, X_MUL, map_read(&m, s.mean), map_read(&m, scale));
    uint16_t shift = expr_binary(&m.expr, X_SUB, map_read(&m, beta), centre);
    return affine(g, v, x, scale, map_finish(&m, shift, g->value[s.mean].type, v->span, v->name));
}

static Val next_running(Graph *g, const Value *v, Val running, Val batch, double correction) {
    double momentum = v->attrs.norm.momentum;
    MapBuilder m = map_begin(g);
    uint16_t old = expr_binary(&m.expr, X_MUL, map_read(&m, running), expr_const(&m.expr, 1 - momentum));
    uint16_t gain = expr_const(&m.expr, correction * momentum);
    uint16_t new = expr_binary(&m.expr, X_MUL, map_read(&m, batch), gain);
    return map_finish(&m, expr_binary(&m.expr, X_ADD, old, new), g->value[running].type, v->span, v->name);
}

/* The three results of one batch_norm in the new graph. */
typedef struct Split {
    Val result[3];
} Split;

static Split split(Graph *g, const Value *v, const Val *map) {
    Val x = map[v->args[0]], gamma = map[v->args[1]], beta = map[v->args[2]];
    Statistics running = {map[v->args[3]], map[v->args[4]]};
    if (g->mode == MODE_INFER) return (Split){{normalise(g, v, x, gamma, beta, running), running.mean, running.var}};
    double M = values_per_channel(g->value[x].type);
    Statistics batch = batch_statistics(g, v, x);
    return (Split){{normalise(g, v, x, gamma, beta, batch), next_running(g, v, running.mean, batch.mean, 1),
                    next_running(g, v, running.var, batch.var, M > 1 ? M / (M - 1) : 1)}};
}

Graph *pass_split_batch_norm(const Graph *in, PassContext *context) {
    (void)context; /* required, so never bisected; and there is nothing to remark */
    Graph *out = rebuild_begin(in);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    Split *splits = ARENA_ARRAY(out->arena, Split, in->count);
    for (Val v = 0; v < in->count; v++) {
        const Value *value = &in->value[v];
        if (value->op == OP_BATCH_NORM) {
            splits[v] = split(out, value, map);
            map[v] = splits[v].result[0];
        } else if (value->op == OP_RESULT && in->value[value->args[0]].op == OP_BATCH_NORM) {
            map[v] = splits[value->args[0]].result[value->attrs.index];
        } else {
            map[v] = graph_copy_value(out, in, v, map);
        }
    }
    rebuild_outputs(in, out, map);
    return out;
}
