/* The same net for another number of images, or images of another size. What depends on the images has them as its first
 * dimension, where its rank is two or more; declared types follow, all others are inferred anew. */
#include "ir/ir.h"
#include "ir/stream.h"
#include <stdlib.h>

int64_t graph_batch(const Graph *g) {
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_INPUT && g->value[v].type.rank == 4) return g->value[v].type.dim[0];
    return 1;
}

static bool reads_images(const Graph *g, const bool *of_images, Val v) {
    const Value *value = &g->value[v];
    if (value->op == OP_INPUT || (value->op == OP_POSITION && value->type.rank == 4)) return true;
    for (uint32_t i = 0; i < value->nargs; i++)
        if (of_images[value->args[i]] && g->value[value->args[i]].type.rank >= 2) return true;
    return false;
}

/* What the images become; height 0: as they are. */
typedef struct Images {
    int64_t batch, height, width;
} Images;

/* A declared type that follows from the images', or, of maps and slices, from the feature map that they read. False: the graph
 * says sizes that do not follow from those of its images. */
static bool declare_type(const Graph *g, const Images *to, const Value *value, bool of_images, ValueSpec *spec) {
    Type *declared = &spec->declared;
    if (!of_images || !op_has_declared_type(value->op) || (value->op != OP_INPUT && declared->rank < 2)) return true;
    declared->dim[0] = to->batch;
    if (!to->height || declared->rank < 4) return true;
    if (value->op == OP_UNFLATTEN) return true; /* if there are still as many elements, which its shape rule asks */
    bool sums = value->op == OP_SUM_TO || value->op == OP_MAX_TO, follows = false;
    int64_t side[2] = {1, 1};
    for (uint32_t i = 0; (sums || value->op == OP_MAP || value->op == OP_SLICE_CHANNELS) && i < spec->nargs; i++) {
        Type type = g->value[spec->args[i]].type;
        for (int k = 0; type.rank == 4 && k < 2; k++) side[k] = type.dim[2 + k] > side[k] ? type.dim[2 + k] : side[k];
        follows = follows || type.rank == 4;
    }
    for (int k = 0; follows && k < 2; k++) declared->dim[2 + k] = sums && declared->dim[2 + k] == 1 ? 1 : side[k];
    if (follows) return true;
    declared->dim[2] = to->height, declared->dim[3] = to->width;
    return value->op == OP_INPUT;
}

/* A dense layer behind `flatten` has as many weights a unit as its feature map has elements: of weights that are a parameter of
 * its own, *units says so, and whether that is news. */
static bool weights_follow(const Graph *in, const Graph *g, const Value *value, const Val *args, int64_t *units) {
    if (value->op != OP_DENSE || in->value[value->args[1]].op != OP_PARAM) return false;
    int64_t wanted = g->value[args[0]].type.dim[1];
    if (g->value[args[1]].type.dim[1] == wanted || units[value->args[1]]) return false;
    units[value->args[1]] = wanted;
    return true;
}

/* units[v]: the second extent of parameter v, if it is another one; *again: it was found that one has to be. */
static Graph *resize_once(const Graph *in, const Images *to, int64_t *units, bool *again, char **why) {
    Graph *g = graph_new(in->name, in->mode);
    Val *map = ARENA_ARRAY(g->arena, Val, in->count);
    bool *of_images = ARENA_ARRAY(g->arena, bool, in->count);
    for (Val v = 0; v < in->count; v++) {
        const Value *value = &in->value[v];
        Val args[MAX_ARGS];
        for (uint32_t i = 0; i < value->nargs; i++) args[i] = map[value->args[i]];
        of_images[v] = reads_images(in, of_images, v);
        ValueSpec spec = value_spec(value, args);
        Type type;
        if (units[v]) spec.declared.dim[1] = units[v];
        if (to->height && weights_follow(in, g, value, args, units)) *again = true;
        if (*again) break;
        char text[512] = "its size stands in the graph";
        bool follows = declare_type(g, to, value, of_images[v], &spec);
        if (!follows || !graph_infer(g, &spec, &type, text, sizeof text)) {
            *why =
                text_printf("%%%u: with %lld images%s %s", v, (long long)to->batch, to->height ? " of another size" : "", text);
            graph_free(g);
            return NULL;
        }
        map[v] = graph_add(g, &spec);
    }
    if (*again) {
        graph_free(g);
        return NULL;
    }
    for (uint32_t i = 0; i < in->noutputs; i++) graph_output(g, in->output[i].kind, map[in->output[i].value], in->output[i].name);
    return g;
}

static Graph *resize(const Graph *in, const Images *to, char **why) {
    Arena *arena = arena_new();
    int64_t *units = ARENA_ARRAY(arena, int64_t, in->count + 1);
    Graph *g = NULL;
    for (bool again = true; again;) {
        again = false;
        g = resize_once(in, to, units, &again, why);
    }
    arena_free(arena);
    return g;
}

Graph *graph_with_batch(const Graph *in, int64_t batch, char **why) { return resize(in, &(Images){batch, 0, 0}, why); }

Graph *graph_with_size(const Graph *in, int64_t height, int64_t width, char **why) {
    return resize(in, &(Images){graph_batch(in), height, width}, why);
}
