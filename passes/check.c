/* What the driver holds every pass to, netc's own and loaded ones: a new, sound graph of the same mode, with the same outputs and
 * leaves. A pass that adds outputs says so in its row. */
#include "ir/stream.h"
#include "ir/text.h"
#include "passes/driver.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Val pass_find_stranger(const Graph *g, unsigned mask) {
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        bool fused = value->nregions && value->op != OP_MAP;
        if (!(op_tier(value->op) & mask) || ((mask & PASS_UNFUSED) && fused)) return v;
    }
    return NO_VAL;
}

/* ---- outputs ---- */

typedef struct OutputRef {
    const Output *output;
    Type type;
} OutputRef;

static int compare_outputs(const void *a, const void *b) {
    const Output *l = ((const OutputRef *)a)->output, *r = ((const OutputRef *)b)->output;
    if (l->kind != r->kind) return l->kind < r->kind ? -1 : 1;
    return strcmp(l->name ? l->name : "", r->name ? r->name : "");
}

static OutputRef *sorted_outputs(Arena *arena, const Graph *g) {
    OutputRef *list = ARENA_ARRAY(arena, OutputRef, g->noutputs + 1);
    for (uint32_t i = 0; i < g->noutputs; i++) list[i] = (OutputRef){&g->output[i], g->value[g->output[i].value].type};
    qsort(list, g->noutputs, sizeof *list, compare_outputs);
    return list;
}

static char *output_fault(const char *what, const Output *o) {
    return text_printf("the output '%s%s%s' %s", output_kind_text(o->kind), o->name ? " " : "", o->name ? o->name : "", what);
}

static char *check_outputs(Arena *arena, const Pass *pass, const Graph *before, const Graph *after) {
    const OutputRef *old = sorted_outputs(arena, before), *new = sorted_outputs(arena, after);
    for (uint32_t i = 0, k = 0; i < before->noutputs || k < after->noutputs;) {
        int order = i == before->noutputs ? 1 : k == after->noutputs ? -1 : compare_outputs(&old[i], &new[k]);
        if (order < 0) return output_fault("is gone", old[i].output);
        if (order > 0) {
            if (!(pass->adds & 1u << new[k].output->kind))
                return output_fault("is new, and the pass does not say that it adds such", new[k].output);
            k++;
            continue;
        }
        if (!type_equal(old[i].type, new[k].type)) {
            char was[TYPE_TEXT], is[TYPE_TEXT], text[2 * TYPE_TEXT + 16];
            snprintf(text, sizeof text, "was %s and is %s", type_format(old[i].type, was), type_format(new[k].type, is));
            return output_fault(text, new[k].output);
        }
        i++, k++;
    }
    return NULL;
}

/* ---- leaves ---- */

static bool is_leaf(const Value *v) { return op_attr_kind(v->op) == ATTR_PARAM; }

static int compare_leaves(const void *a, const void *b) {
    return strcmp((*(const Value *const *)a)->attrs.param.name, (*(const Value *const *)b)->attrs.param.name);
}

static const Value **sorted_leaves(Arena *arena, const Graph *g, uint32_t *count) {
    const Value **list = ARENA_ARRAY(arena, const Value *, g->count + 1);
    *count = 0;
    for (Val v = 0; v < g->count; v++) {
        if (is_leaf(&g->value[v])) list[(*count)++] = &g->value[v];
    }
    qsort(list, *count, sizeof *list, compare_leaves);
    return list;
}

static bool same_leaf(const Value *a, const Value *b) {
    const Init *l = &a->attrs.param.init, *r = &b->attrs.param.init;
    return a->op == b->op && type_equal(a->type, b->type) && l->kind == r->kind && l->value == r->value &&
           a->attrs.param.decay == b->attrs.param.decay && a->attrs.param.frozen == b->attrs.param.frozen &&
           a->attrs.param.position == b->attrs.param.position;
}

static char *check_leaves(Arena *arena, const Graph *before, const Graph *after) {
    uint32_t nold, nnew;
    const Value **old = sorted_leaves(arena, before, &nold), **new = sorted_leaves(arena, after, &nnew);
    for (uint32_t i = 0; i < nold || i < nnew; i++) {
        int order = i == nold ? 1 : i == nnew ? -1 : compare_leaves(&old[i], &new[i]);
        const Value *leaf = order > 0 ? new[i] : old[i];
        const char *what = order < 0 ? "is gone" : order > 0 ? "is new" : same_leaf(old[i], new[i]) ? NULL : "is another";
        if (what) return text_printf("the %s \"%s\" %s", op_text(leaf->op), leaf->attrs.param.name, what);
    }
    return NULL;
}

/* ---- all ---- */

char *pass_fault(const Pass *pass, const Graph *before, const Graph *after) {
    if (!after) return text_printf("it returned none");
    if (after == before) return text_printf("it returned the graph that it was given, which the driver frees");
    char *why = graph_verify(after, 0);
    if (why) return why;
    Val v = pass_find_stranger(after, pass->leaves);
    if (v != NO_VAL) return text_printf("%%%u: the pass must not leave '%s'", v, op_text(after->value[v].op));
    if (after->mode != before->mode)
        return text_printf("it is of %s and was of %s", after->mode == MODE_TRAIN ? "training" : "inference",
                           before->mode == MODE_TRAIN ? "training" : "inference");
    Arena *arena = arena_new();
    why = check_leaves(arena, before, after);
    if (!why) why = check_outputs(arena, pass, before, after);
    arena_free(arena);
    return why;
}
