#include "driver/gates.h"
#include <stdlib.h>

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for the gates of a net");
}

enum { NO_WAY = UINT32_MAX };

typedef struct Search {
    const Graph *g;
    bool *fraction;          /* numbers in [0, 1] per image and channel, a gate's factor */
    Val *dominator;          /* the last value before it that every way from the image leads through; NO_VAL: none leads here */
    Val *reader;             /* of values read once: who reads it */
    uint32_t *reads;         /* how often it is read */
    uint32_t *any, *ungated; /* fewest convolutions on a way from some value, and on one without a gate */
} Search;

static Search search_new(const Graph *g) {
    size_t n = (size_t)g->count + 1;
    Search s = {.g = g};
    s.fraction = checked(calloc(n, sizeof *s.fraction));
    s.dominator = checked(calloc(n, sizeof *s.dominator));
    s.reader = checked(calloc(n, sizeof *s.reader));
    s.reads = checked(calloc(n, sizeof *s.reads));
    s.any = checked(calloc(n, sizeof *s.any));
    s.ungated = checked(calloc(n, sizeof *s.ungated));
    return s;
}

static void search_free(Search *s) {
    free(s->fraction);
    free(s->dominator);
    free(s->reader);
    free(s->reads);
    free(s->any);
    free(s->ungated);
}

/* sigmoid and its like, and what identity and products make of them. */
static bool is_fraction(const Search *s, Val v) {
    const Value *value = &s->g->value[v];
    if (value->type.rank != 2) return false;
    if (value->op == OP_IDENTITY) return s->fraction[value->args[0]];
    if (value->op == OP_MUL) return s->fraction[value->args[0]] && s->fraction[value->args[1]];
    return value->op == OP_SIGMOID || value->op == OP_HARD_SIGMOID || value->op == OP_SOFTMAX;
}

static bool is_map(const Search *s, Val v) { return s->g->value[v].type.rank == 4; }

/* A feature map times a fraction? */
static bool is_gated(const Search *s, Val v) {
    const Value *value = &s->g->value[v];
    if (value->op != OP_MUL) return false;
    return (is_map(s, value->args[0]) && s->fraction[value->args[1]]) ||
           (is_map(s, value->args[1]) && s->fraction[value->args[0]]);
}

/* Ways lead through feature maps alone: what scales a map per channel is none. */
static Val dominator_of(const Search *s, Val v) {
    const Value *value = &s->g->value[v];
    Val common = NO_VAL;
    for (uint32_t i = 0; is_map(s, v) && i < value->nargs; i++) {
        Val a = value->args[i], b = common;
        if (s->dominator[a] == NO_VAL) continue;
        while (b != NO_VAL && a != b) {
            Val *later = a > b ? &a : &b;
            if (s->dominator[*later] == *later) return NO_VAL; /* another image */
            *later = s->dominator[*later];
        }
        common = a;
    }
    return common;
}

static void look(Search *s) {
    const Graph *g = s->g;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        s->fraction[v] = is_fraction(s, v);
        s->dominator[v] = value->op == OP_INPUT && is_map(s, v) ? v : dominator_of(s, v);
        for (uint32_t i = 0; i < value->nargs; i++) {
            s->reads[value->args[i]]++;
            s->reader[value->args[i]] = v;
        }
    }
}

static bool is_sum(const Search *s, Val v) {
    const Value *value = &s->g->value[v];
    return value->op == OP_ADD && is_map(s, value->args[0]) && is_map(s, value->args[1]);
}

/* From `from` to every value up to `to`. */
static void measure_ways(Search *s, Val from, Val to) {
    const Graph *g = s->g;
    s->any[from] = s->ungated[from] = 0;
    for (Val v = from + 1; v <= to; v++) {
        const Value *value = &g->value[v];
        uint32_t any = NO_WAY, ungated = NO_WAY, more = value->op == OP_CONV2D;
        for (uint32_t i = 0; is_map(s, v) && i < value->nargs; i++) {
            Val a = value->args[i];
            if (a < from) continue;
            if (s->any[a] < any) any = s->any[a];
            if (s->ungated[a] < ungated) ungated = s->ungated[a];
        }
        s->any[v] = any == NO_WAY ? NO_WAY : any + more;
        s->ungated[v] = ungated == NO_WAY || is_gated(s, v) ? NO_WAY : ungated + more;
    }
}

Val *shortcut_gates(const Graph *g, uint32_t *count) {
    Search s = search_new(g);
    Val *list = checked(calloc((size_t)g->count + 1, sizeof *list));
    *count = 0;
    look(&s);
    for (Val v = 0; v < g->count; v++) {
        /* x + y + z is one sum, the last's */
        if (!is_sum(&s, v) || s.dominator[v] == NO_VAL || (s.reads[v] == 1 && is_sum(&s, s.reader[v]))) continue;
        measure_ways(&s, s.dominator[v], v);
        uint32_t any = s.any[v], ungated = s.ungated[v];
        /* branches that are all gated, as in selective kernels, have no shortcut, unless one is the identity but for its gate */
        if (any < ungated && (ungated != NO_WAY || any == 0)) list[(*count)++] = v;
    }
    search_free(&s);
    return list;
}
