#include "verify/small.h"
#include "verify/reduce.h"
#include <stdlib.h>

static const double ENOUGH = 2e7; /* multiplications of one evaluation, forward; the evaluator does some 5e8 a second */
static const double TOO_MUCH = 3e8,
                    PARAMETER = 8; /* of one evaluation; multiplications that drawing a parameter takes as long as */
enum { LEAST_SIDE = 2 };

static double work_of(const Graph *g) {
    double work = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        double each = 1;
        if (op_is_convolution(value->op) || value->op == OP_DENSE) {
            const Type *w = &g->value[value->args[1]].type;
            each = (double)type_elements(*w) / (double)w->dim[0];
        }
        work += each * (double)type_elements(value->type);
    }
    return work;
}

static int64_t side_of(const Graph *g, Val v) {
    const Type *t = &g->value[v].type;
    if (t->rank != 4 || g->value[v].op == OP_PARAM) return INT64_MAX;
    return t->dim[2] < t->dim[3] ? t->dim[2] : t->dim[3];
}

/* Both have the same values. */
static bool keeps_sides(const Graph *g, const Graph *smaller) {
    for (Val v = 0; v < g->count; v++)
        if (side_of(smaller, v) < LEAST_SIDE && side_of(g, v) >= LEAST_SIDE) return false;
    return true;
}

Type images_type(const Graph *g) {
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_INPUT && g->value[v].type.rank == 4) return g->value[v].type;
    return type_scalar();
}

/* What an evaluation costs, in multiplications: parameters are drawn, and moved, for each. */
static double cost_of(const Graph *g) {
    double cost = work_of(g);
    for (Val v = 0; v < g->count; v++)
        if (g->value[v].op == OP_PARAM) cost += PARAMETER * (double)type_elements(g->value[v].type);
    return cost;
}

bool small_enough(const Graph *g) { return cost_of(g) <= TOO_MUCH; }

/* With half as many channels or units wherever there are most of them, one number after the other; NULL: there are few enough. */
static Graph *fewer_channels(const Graph *g) {
    Graph *small = NULL;
    for (bool found = true; found && cost_of(small ? small : g) > TOO_MUCH;) {
        const Graph *at = small ? small : g;
        found = false;
        for (uint32_t i = 0, moves = reduce_count(at, REDUCE_EXTENT); i < moves && !found; i++) {
            Graph *next = reduce_apply(at, REDUCE_EXTENT, i);
            found = next && reduce_halves(at, i) && next->count == at->count && cost_of(next) < cost_of(at);
            if (!found) graph_free(next);
            if (found) graph_free(small), small = next;
        }
    }
    return small;
}

/* Is it as the language says it? Behind `lower` and fusion, sizes stand in it as numbers. */
static bool is_source(const Graph *g) {
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (value->op == OP_MOMENTS || op_tier(value->op) >= TIER_BACKWARD || (value->nregions && value->op != OP_MAP))
            return false;
    }
    return true;
}

/* `next` takes the place of what *small is; NULL: false. */
static bool take(Graph **small, Graph *next) {
    if (next) graph_free(*small), *small = next;
    return next;
}

static Graph *smaller_images(const Graph *g, int64_t height, int64_t width) {
    char *why = NULL;
    Graph *next = graph_with_size(g, height, width, &why);
    free(why);
    if (next && keeps_sides(g, next)) return next;
    graph_free(next);
    return NULL;
}

static Graph *fewer_images(const Graph *g) {
    char *why = NULL;
    Graph *next = graph_with_batch(g, SMALL_BATCH, &why);
    free(why);
    return next;
}

Graph *small_images(const Graph *g) {
    Graph *small = NULL;
    Type images = images_type(g);
    if (!is_source(g)) return NULL;
    if (images.rank == 4 && images.dim[0] > SMALL_BATCH && work_of(g) > ENOUGH) take(&small, fewer_images(g));
    while (images.rank == 4 && work_of(small ? small : g) > ENOUGH) {
        images.dim[2] = (images.dim[2] + 1) / 2, images.dim[3] = (images.dim[3] + 1) / 2;
        if (!take(&small, smaller_images(small ? small : g, images.dim[2], images.dim[3]))) break;
    }
    take(&small, fewer_channels(small ? small : g));
    return small;
}
