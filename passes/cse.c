/* cse: common-subexpression elimination by value numbering. Two values are the same computation if op, arguments,
 * attributes, types and regions agree; the later one is replaced by the earlier. Leaves have names and are never merged. A
 * dropout mask is a function of its stream, rate and type, so equal ones are one. A single sweep suffices: arguments are numbered
 * before their users. */
#include "passes/build.h"
#include <string.h>

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static uint64_t value_hash(const Value *v) {
    uint64_t hash = mix(v->op, v->nargs);
    for (uint32_t i = 0; i < v->nargs; i++) hash = mix(hash, v->args[i]);
    for (uint32_t i = 0; i < v->nregions; i++) {
        hash = mix(hash, (uint64_t)v->regions[i].role << 8 | (uint64_t)v->regions[i].operand);
        if (v->regions[i].expr) hash = mix(hash, expr_hash(v->regions[i].expr));
    }
    return hash;
}

static bool same_bits(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

static bool attrs_equal(Op op, const Attrs *a, const Attrs *b) {
    switch (op_attr_kind(op)) {
    case ATTR_NONE: return true;
    case ATTR_PARAM: return false;
    case ATTR_CONSTANT: return same_bits(a->constant, b->constant);
    case ATTR_WINDOW: return memcmp(&a->window, &b->window, sizeof a->window) == 0;
    case ATTR_NORM: return same_bits(a->norm.eps, b->norm.eps) && same_bits(a->norm.momentum, b->norm.momentum);
    case ATTR_CHANNELS: return a->channels.count == b->channels.count && a->channels.stride == b->channels.stride;
    case ATTR_DROPOUT: return a->dropout.stream == b->dropout.stream && same_bits(a->dropout.rate, b->dropout.rate);
    case ATTR_LOSS: return same_bits(a->loss.smoothing, b->loss.smoothing);
    case ATTR_INDEX: return a->index == b->index;
    }
    return false;
}

static bool regions_equal(const Value *a, const Value *b) {
    if (a->nregions != b->nregions) return false;
    for (uint32_t i = 0; i < a->nregions; i++) {
        const Region *l = &a->regions[i], *r = &b->regions[i];
        if (l->role != r->role || l->operand != r->operand || !l->expr != !r->expr) return false;
        if (l->expr && !expr_equal(l->expr, r->expr)) return false;
    }
    return true;
}

static bool value_equal(const Value *a, const Value *b) {
    if (a->op != b->op || a->nargs != b->nargs || !type_equal(a->type, b->type)) return false;
    if (a->op == OP_MAP && !type_equal(a->space, b->space)) return false;
    if (a->nargs && memcmp(a->args, b->args, a->nargs * sizeof *a->args) != 0) return false;
    return attrs_equal(a->op, &a->attrs, &b->attrs) && regions_equal(a, b);
}

/* Open addressing over the values of the new graph; NO_VAL is an empty slot. */
typedef struct Table {
    Val *slot;
    uint32_t mask;
} Table;

static Table table_new(Arena *arena, uint32_t values) {
    uint32_t size = 64;
    while (size < 2 * values) size *= 2;
    Table table = {ARENA_ARRAY(arena, Val, size), size - 1};
    memset(table.slot, 0xFF, size * sizeof *table.slot);
    return table;
}

/* The slot of a value equal to key, or the empty one where it belongs. */
static Val *table_find(const Table *table, const Graph *g, const Value *key) {
    for (uint64_t i = value_hash(key);; i++) {
        Val *slot = &table->slot[i & table->mask];
        if (*slot == NO_VAL || value_equal(&g->value[*slot], key)) return slot;
    }
}

Graph *pass_cse(const Graph *in, PassContext *context) {
    Graph *out = rebuild_begin(in);
    Val *map = ARENA_ARRAY(out->arena, Val, in->count);
    Table table = table_new(out->arena, in->count);
    for (Val v = 0; v < in->count; v++) {
        Value key = in->value[v];
        Val args[MAX_ARGS];
        for (uint32_t i = 0; i < key.nargs; i++) args[i] = map[key.args[i]];
        key.args = args;
        bool alone = key.op == OP_RESULT || op_attr_kind(key.op) == ATTR_PARAM; /* graph_result finds results again by itself */
        Val *slot = alone ? NULL : table_find(&table, out, &key);
        if (slot && *slot != NO_VAL && pass_allowed_for(context, value_site(context, in, v), v)) {
            pass_remark(context, true, key.span, "%s: the same value is computed once", op_text(key.op));
            map[v] = *slot;
            pass_replaced(context, v, map[v], out, out->count);
            continue;
        }
        map[v] = graph_copy_value(out, in, v, map);
        if (slot && *slot == NO_VAL) *slot = map[v];
    }
    rebuild_outputs(in, out, map);
    return out;
}
