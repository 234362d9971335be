#include "verify/fragment.h"
#include "ir/stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Cut {
    const Graph *from;
    const Tensor *all;
    bool *member;
    Val *map; /* from's values to the fragment's; NO_VAL */
    uint32_t nargs, nresults;
    Fragment f;
} Cut;

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for a kernel's graph");
}

void fragment_free(Fragment *f) {
    graph_free(f->g);
    leaves_free(&f->leaves);
    free(f->label);
    *f = (Fragment){0};
}

bool fragment_has_kernel(const Graph *g, Val v, const bool *done) {
    Op op = g->value[v].op;
    return op_attr_kind(op) != ATTR_PARAM && op != OP_CONSTANT && op != OP_RESULT && !done[v];
}

/* ---- members ---- */

/* The weights' gradient that reads the dY which backward data v stores: they may share a kernel. */
static Val find_pair(const Graph *g, Val v) {
    if (g->value[v].op != OP_CONV2D_BWD_DATA) return NO_VAL;
    for (Val w = v + 1; w < g->count; w++) {
        const Value *weights = &g->value[w];
        if (weights->op != OP_CONV2D_BWD_WEIGHTS || weights->args[1] == v || value_source(g, weights->args[1], NULL) != v)
            continue;
        bool there = true; /* all else that it reads */
        for (uint32_t i = 0; i < weights->nargs; i++) there &= i == 1 || value_source(g, weights->args[i], NULL) < v;
        if (there) return w;
    }
    return NO_VAL;
}

/* With those that hand it sums in double, which are no leaf of compiled code, or indices, which are a bf16 as a leaf. */
static void add_member(Cut *c, Val v) {
    if (c->member[v]) return;
    c->member[v] = true;
    const Value *value = &c->from->value[v];
    for (uint32_t i = 0; i < value->nargs; i++) {
        Val arg = value->args[i];
        if (c->from->value[arg].type.dtype == DT_F64 || value_is_index(c->from, arg))
            add_member(c, value_source(c->from, arg, NULL));
    }
}

/* Is it a tensor of filters, by where it comes from? */
static bool is_filters(const Graph *g, Val v) {
    uint32_t result;
    Val source = value_source(g, v, &result);
    const Value *value = &g->value[source];
    if (g->value[v].type.rank != 4) return false;
    if (value->op == OP_PARAM || op_makes_filters(value->op)) return result == 0;
    if (value->op != OP_MAP) return false;
    for (uint32_t i = 0; i < value->nargs; i++)
        if (g->value[value->args[i]].type.rank == 4) return is_filters(g, value->args[i]);
    return false;
}

/* ---- leaves ---- */

static Val add_leaf(Cut *c, Val like, const char *prefix, uint32_t number, Tensor tensor) {
    char name[24];
    snprintf(name, sizeof name, "%s%u", prefix, number);
    bool param = is_filters(c->from, like) || c->from->value[like].op == OP_PARAM;
    ValueSpec spec = {.op = param ? OP_PARAM : OP_INPUT, .declared = c->from->value[like].type};
    spec.attrs.param.name = name;
    leaves_give(&c->f.leaves, name, tensor);
    return graph_add(c->f.g, &spec);
}

static Tensor copy_tensor(const Tensor *t) {
    Tensor copy = tensor_new(t->type);
    memcpy(copy.data, t->data, (size_t)type_elements(t->type) * sizeof *t->data);
    return copy;
}

static Val map_arg(Cut *c, Val arg) {
    uint32_t result;
    Val source = value_source(c->from, arg, &result);
    if (c->member[source]) return graph_result(c->f.g, c->map[source], result);
    if (c->map[arg] != NO_VAL) return c->map[arg];
    const Value *value = &c->from->value[arg];
    if (value->op == OP_CONSTANT)
        c->map[arg] = graph_constant(c->f.g, value->attrs.constant, value->span);
    else
        c->map[arg] = add_leaf(c, arg, "a", c->nargs++, copy_tensor(&c->all[arg]));
    return c->map[arg];
}

/* ---- values and outputs ---- */

static void copy_member(Cut *c, Val v) {
    const Value *value = &c->from->value[v];
    Val args[MAX_ARGS];
    for (uint32_t i = 0; i < value->nargs; i++) args[i] = map_arg(c, value->args[i]);
    ValueSpec spec = value_spec(value, args);
    spec.name = NULL; /* equal kernels are equal texts */
    c->map[v] = graph_add(c->f.g, &spec);
}

/* Does anybody outside read value id `v`? */
static bool is_read(const Cut *c, Val v) {
    const Graph *g = c->from;
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].value == v) return true;
    for (Val user = v + 1; user < g->count; user++)
        for (uint32_t i = 0; i < g->value[user].nargs && !c->member[user]; i++)
            if (g->value[user].args[i] == v && g->value[user].op != OP_RESULT) return true;
    return false;
}

static void add_outputs(Cut *c, Val v) {
    uint32_t result;
    Val source = value_source(c->from, v, &result);
    if (!c->member[source] || c->from->value[v].type.dtype != DT_F32 || !is_read(c, v)) return;
    Val computed = graph_result(c->f.g, c->map[source], result);
    Val leaf = add_leaf(c, v, "r", c->nresults++, tensor_new(c->from->value[v].type));
    graph_output(c->f.g, OUT_GRAD, computed, c->f.g->value[leaf].attrs.param.name);
}

Fragment fragment_cut(const Graph *g, Val v, const Tensor *all, Arithmetic arithmetic, bool *done) {
    Cut c = {.from = g, .all = all};
    c.member = checked(calloc(g->count, sizeof *c.member));
    c.map = checked(malloc(g->count * sizeof *c.map));
    memset(c.map, 0xff, g->count * sizeof *c.map);
    c.f = (Fragment){.g = graph_new("kernel", g->mode), .leaves = {.arithmetic = arithmetic}};
    const char *name = g->value[v].name;
    c.f.label = text_printf("%%%u %s%s%s", v, op_text(g->value[v].op), name ? " of " : "", name ? name : "");
    Val pair = find_pair(g, v);
    add_member(&c, v);
    if (pair != NO_VAL) add_member(&c, pair), done[pair] = true;
    for (Val m = 0; m < g->count; m++)
        if (c.member[m]) copy_member(&c, m);
    for (Val m = 0; m < g->count; m++) add_outputs(&c, m);
    done[v] = true;
    free(c.member);
    free(c.map);
    return c.f;
}
