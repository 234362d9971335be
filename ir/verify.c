/* The verifier: what graph_add promises, checked again on the finished graph, and what only a whole graph can show (names,
 * outputs, tiers). The driver runs it after every pass. Sentences are malloc'd; NULL is good news. */
#include "ir/attrs.h"
#include "ir/shape.h"
#include "ir/stream.h"
#include "ir/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *check_value(const Graph *g, Val id, unsigned tiers) {
    const Value *v = &g->value[id];
    if ((unsigned)v->op >= OP_COUNT) return text_printf("%%%u: there is no op number %d", id, (int)v->op);
    if (tiers && !(op_tier(v->op) & tiers))
        return text_printf("%%%u: %s does not belong into a graph of this stage", id, op_text(v->op));
    Graph earlier = *g; /* so that only smaller ids count as arguments */
    earlier.count = id;
    ValueSpec spec = {.op = v->op,
                      .args = v->args,
                      .nargs = v->nargs,
                      .attrs = v->attrs,
                      .declared = v->op == OP_MAP ? v->space : v->type,
                      .regions = v->regions,
                      .nregions = v->nregions};
    Type type;
    char why[512];
    if (!graph_infer(&earlier, &spec, &type, why, sizeof why)) return text_printf("%%%u: %s", id, why);
    if (!type_equal(type, v->type))
        return text_printf("%%%u: %s has the type %s, its shape rule gives %s", id, op_text(v->op), TEXT(v->type), TEXT(type));
    if (v->op != OP_RESULT) return NULL;
    for (Val r = v->results; r; r = g->value[r].results) {
        if (g->value[r].attrs.index == v->attrs.index)
            return text_printf("%%%u: result %lld of %%%u is already %%%u", id, (long long)v->attrs.index, v->args[0], r);
    }
    return NULL;
}

/* ---- leaves by name ---- */

typedef struct Names {
    const Value **leaf; /* INPUT, PARAM and STATE, sorted by name */
    uint32_t count;
} Names;

static const char *leaf_name(const Value *v) { return v->attrs.param.name; }

static int by_name(const void *a, const void *b) {
    return strcmp(leaf_name(*(const Value *const *)a), leaf_name(*(const Value *const *)b));
}

static Names collect_names(const Graph *g) {
    Names names = {malloc((g->count ? g->count : 1) * sizeof *names.leaf), 0};
    if (!names.leaf) out_of_memory("no room for the names of a graph");
    for (Val v = 0; v < g->count; v++) {
        if (op_attr_kind(g->value[v].op) == ATTR_PARAM) names.leaf[names.count++] = &g->value[v];
    }
    qsort(names.leaf, names.count, sizeof *names.leaf, by_name);
    return names;
}

static const Value *find_leaf(const Names *names, const char *name) {
    Value key = {.attrs.param.name = name};
    const Value *pointer = &key;
    const Value *const *found = bsearch(&pointer, names->leaf, names->count, sizeof *names->leaf, by_name);
    return found ? *found : NULL;
}

static int by_position(const void *a, const void *b) {
    const Value *l = *(const Value *const *)a, *r = *(const Value *const *)b;
    if (l->op != r->op) return l->op < r->op ? -1 : 1;
    int64_t at = l->attrs.param.position, other = r->attrs.param.position;
    return at != other ? (at < other ? -1 : 1) : by_name(a, b);
}

/* Leaves `names` sorted by position. Two of one position would draw the same initial values. */
static char *check_positions(Names *names) {
    qsort(names->leaf, names->count, sizeof *names->leaf, by_position);
    for (uint32_t i = 0; i < names->count; i++) {
        const Value *leaf = names->leaf[i], *before = i ? names->leaf[i - 1] : NULL;
        if (leaf->op == OP_INPUT) continue;
        if (leaf->attrs.param.position < 1)
            return text_printf("\"%s\" has the position %lld; positions count from 1", leaf_name(leaf),
                               (long long)leaf->attrs.param.position);
        if (before && before->op == leaf->op && before->attrs.param.position == leaf->attrs.param.position)
            return text_printf("\"%s\" and \"%s\" have the same position %lld", leaf_name(before), leaf_name(leaf),
                               (long long)leaf->attrs.param.position);
    }
    return NULL;
}

static char *check_names(const Names *names) {
    for (uint32_t i = 1; i < names->count; i++) {
        if (strcmp(leaf_name(names->leaf[i - 1]), leaf_name(names->leaf[i])) == 0)
            return text_printf("the name \"%s\" is taken twice", leaf_name(names->leaf[i]));
    }
    return NULL;
}

/* ---- outputs ---- */

static char *check_named_output(const Names *names, const Output *o, Type type) {
    const char *kind = output_kind_text(o->kind);
    if (!o->name) return text_printf("the output '%s' of %%%u needs a name", kind, o->value);
    const Value *leaf = find_leaf(names, o->name);
    bool fits = leaf && (o->kind == OUT_STATE ? leaf->op == OP_STATE : leaf->op == OP_PARAM || leaf->op == OP_INPUT);
    if (!fits)
        return text_printf("the output '%s' names \"%s\", but there is no such %s", kind, o->name,
                           o->kind == OUT_STATE ? "state" : "parameter or input");
    if (!type_equal(leaf->type, type))
        return text_printf("the output '%s' \"%s\" must be %s, found %s", kind, o->name, TEXT(leaf->type), TEXT(type));
    return NULL;
}

static char *check_output(const Graph *g, const Names *names, uint32_t index) {
    const Output *o = &g->output[index];
    if ((unsigned)o->kind >= OUTPUT_KINDS) return text_printf("there is no output kind number %d", (int)o->kind);
    const char *kind = output_kind_text(o->kind);
    if (o->value >= g->count) return text_printf("the output '%s' is %%%u, which does not exist", kind, o->value);
    Type type = g->value[o->value].type;
    if (output_kind_named(o->kind)) return check_named_output(names, o, type);
    int rank = o->kind == OUT_LOGITS ? 2 : 0;
    if (type.rank != rank || type.dtype != DT_F32)
        return text_printf("the output '%s' must be %s, found %s", kind, rank ? "f32[N,K]" : "f32[]", TEXT(type));
    return NULL;
}

static int by_kind_and_name(const void *a, const void *b) {
    const Output *l = a, *r = b;
    if (l->kind != r->kind) return l->kind < r->kind ? -1 : 1;
    return strcmp(l->name ? l->name : "", r->name ? r->name : "");
}

static char *check_outputs_differ(const Graph *g) {
    Output *sorted = malloc((g->noutputs ? g->noutputs : 1) * sizeof *sorted);
    if (!sorted) out_of_memory("no room to sort %u outputs", g->noutputs);
    if (g->noutputs) memcpy(sorted, g->output, g->noutputs * sizeof *sorted);
    qsort(sorted, g->noutputs, sizeof *sorted, by_kind_and_name);
    char *why = NULL;
    for (uint32_t i = 1; i < g->noutputs && !why; i++) {
        const Output *o = &sorted[i];
        if (by_kind_and_name(&sorted[i - 1], o) != 0) continue;
        why = output_kind_named(o->kind)
                  ? text_printf("the output '%s' \"%s\" is given twice", output_kind_text(o->kind), o->name)
                  : text_printf("the output '%s' is given twice", output_kind_text(o->kind));
    }
    free(sorted);
    return why;
}

char *graph_verify(const Graph *g, unsigned tiers) {
    char *why = g->name ? NULL : text_printf("the graph has no name");
    for (Val v = 0; v < g->count && !why; v++) why = check_value(g, v, tiers);
    if (why) return why;
    Names names = collect_names(g);
    why = check_names(&names);
    for (uint32_t i = 0; i < g->noutputs && !why; i++) why = check_output(g, &names, i);
    if (!why) why = check_outputs_differ(g);
    if (!why) why = check_positions(&names);
    free(names.leaf);
    return why;
}
