#include "driver/gates.h"
#include <stdlib.h>

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for the gates of a net");
}

static bool squashes(Op op) { return op == OP_SIGMOID || op == OP_HARD_SIGMOID || op == OP_SOFTMAX; }

/* Which argument of v is a gate on the other? -1: none. */
static int gate_of(const Graph *g, Val v) {
    const Value *value = &g->value[v];
    if (value->op != OP_MUL || value->type.rank != 4) return -1;
    for (int i = 0; i < 2; i++) {
        const Value *factor = &g->value[value->args[i]];
        if (factor->type.rank == 2 && squashes(factor->op) && g->value[value->args[1 - i]].type.rank == 4) return i;
    }
    return -1;
}

/* By value: the most convolutions one after the other on any way to it, not counting what only makes gates. */
static uint32_t *depths(const Graph *g) {
    uint32_t *depth = checked(calloc(g->count + 1, sizeof *depth));
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        int gate = gate_of(g, v);
        for (uint32_t i = 0; i < value->nargs; i++)
            if ((int)i != gate && depth[value->args[i]] > depth[v]) depth[v] = depth[value->args[i]];
        depth[v] += value->op == OP_CONV2D;
    }
    return depth;
}

/* The gating product that v is, but for batch norm and the like behind it; NO_VAL. */
static Val gated(const Graph *g, Val v) {
    while (g->value[v].nargs == 1 || g->value[v].op == OP_BATCH_NORM) v = g->value[v].args[0];
    return gate_of(g, v) < 0 ? NO_VAL : v;
}

/* Does value v depend on value `on`? */
static bool depends(const Graph *g, Val v, Val on) {
    bool *needed = checked(calloc(g->count + 1, sizeof *needed));
    needed[v] = true;
    for (Val u = v; u > on; u--)
        for (uint32_t i = 0; needed[u] && i < g->value[u].nargs; i++) needed[g->value[u].args[i]] = true;
    bool found = needed[on];
    free(needed);
    return found;
}

ShortcutGate *shortcut_gates(const Graph *g, uint32_t *count) {
    uint32_t *depth = depths(g);
    ShortcutGate *list = checked(calloc(2 * (size_t)g->count + 1, sizeof *list));
    *count = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (value->op != OP_ADD || g->value[value->args[0]].type.rank != 4 || g->value[value->args[1]].type.rank != 4) continue;
        for (int i = 0; i < 2; i++) {
            Val gate = gated(g, value->args[i]);
            uint32_t here = depth[value->args[i]], there = depth[value->args[1 - i]];
            if (gate != NO_VAL && here < there && !depends(g, value->args[1 - i], gate))
                list[(*count)++] = (ShortcutGate){gate, v, here, there};
        }
    }
    free(depth);
    return list;
}
