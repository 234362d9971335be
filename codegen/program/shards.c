/* See shards.h. */
#include "codegen/program/shards.h"

int64_t shards_of(const Graph *g, const CodegenOptions *options) {
    return g->mode == MODE_TRAIN && options && options->shards > 1 ? options->shards : 1;
}

/* Ops whose first result is a sum over images. */
static bool sums_images(Op op) {
    return op == OP_BATCH_SUM || op == OP_MOMENTS || op == OP_CROSS_ENTROPY || op == OP_CORRECT || op == OP_CONV2D_BWD_WEIGHTS ||
           op == OP_DENSE_BWD_WEIGHTS;
}

static bool reads_images(const Graph *g, const bool *per_image, Val v) {
    for (uint32_t i = 0; i < g->value[v].nargs; i++)
        if (per_image[g->value[v].args[i]]) return true;
    return false;
}

bool shards_reduce(const Graph *g, const bool *per_image, Val v) {
    return sums_images(g->value[v].op) && reads_images(g, per_image, v);
}

bool *shards_per_image(Arena *arena, const Graph *g) {
    bool *per_image = ARENA_ARRAY(arena, bool, g->count);
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        uint32_t result = 0;
        Val source = value_source(g, v, &result);
        if (value->op == OP_INPUT || value->op == OP_DROPOUT_MASK)
            per_image[v] = value->type.rank > 0; /* a mask without a rank is one number for all */
        else if (value->op == OP_POSITION)
            per_image[v] = value->type.rank == 4;
        else if (result == 0)
            per_image[v] = reads_images(g, per_image, v) && !sums_images(value->op);
        else /* of `moments` the variance is not; what a gradient of filters stores besides is */
            per_image[v] = reads_images(g, per_image, source) && !(g->value[source].op == OP_MOMENTS && result == 1);
    }
    return per_image;
}

/* Images stand first in a type, or rows of theirs. */
static bool cut(Type *t, int64_t shards) {
    if (!t->rank || t->dim[0] % shards) return false;
    t->dim[0] /= shards;
    return true;
}

const Graph *shards_graph(Arena *arena, const Graph *g, int64_t shards) {
    if (shards == 1) return g;
    bool *per_image = shards_per_image(arena, g);
    Graph *one = ARENA_NEW(arena, Graph);
    *one = *g;
    one->value = ARENA_ARRAY(arena, Value, g->count);
    for (Val v = 0; v < g->count; v++) {
        Value *value = &one->value[v];
        *value = g->value[v];
        if (!per_image[v]) continue;
        if (!cut(&value->type, shards)) return NULL;
        if (value->op == OP_MAP && !cut(&value->space, shards)) return NULL;
    }
    return one;
}
