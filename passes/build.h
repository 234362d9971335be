/* What the rewrites share: starting a new graph from an old one, and growing maps in canonical form.
 *
 * A canonical map reads each value once and in the order of ids, reads nothing that its Exprs do not use, holds constants
 * as X_CONST, and is no identity. So equal computations print alike and common-subexpression elimination finds them.
 * Private to passes/. */
#ifndef NETC_PASSES_BUILD_H
#define NETC_PASSES_BUILD_H
#include "passes/passes.h"

/* How the log names a value, in names that survive edits elsewhere. */
const char *value_site(const PassContext *context, const Graph *g, Val v);

/* An empty graph of in's name and mode. */
Graph *rebuild_begin(const Graph *in);
/* in's outputs, through map[] (indexed by in's ids). */
void rebuild_outputs(const Graph *in, Graph *out, const Val *map);

/* A map being grown, in g's arena. It may read any number of values; what is left when it is finished must fit a map. */
typedef struct MapBuilder {
    Graph *g;
    ExprBuilder expr;
    Val *args;
    uint32_t nargs, capacity;
} MapBuilder;

MapBuilder map_begin(Graph *g);
/* The node that reads value v: a constant's value, otherwise an argument, the same one each time. */
uint16_t map_read(MapBuilder *m, Val v);
/* Highest rank among the arguments that `root` needs: the map is constant over the dimensions above it. */
int map_rank(const MapBuilder *m, uint16_t root);

/* A finished map that is not yet in the graph: arguments in the order of ids, Exprs reading them. */
typedef struct MapDraft {
    Val args[MAX_ARGS];
    Region regions[MAX_REGIONS];
    uint32_t nargs, nregions;
} MapDraft;
/* Regions as those of `like`, of which their Exprs are not read. */
void map_draft(MapBuilder *m, const Region *like, const uint16_t *root, uint32_t nroots, MapDraft *draft);

/* The map with the one OUTPUT `root` over space; an identity is the value it reads, a scalar that reads nothing a constant. */
Val map_finish(MapBuilder *m, uint16_t root, Type space, Span span, const char *name);

/* `space` summed down to `rank`: [N,C,H,W] -> [N,C] -> [C] -> []. */
Type type_summed(Type space, int rank);
/* Is v a map whose one region is an OUTPUT? */
bool is_plain_map(const Value *v);
#endif
