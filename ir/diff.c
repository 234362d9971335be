/* Matching: values in the order of `after`, each among those values of `before` that have its op, attributes, types and name: the
 * one that agrees in most arguments and regions. Arguments have been matched by then. Of values that look alike (unnamed ones in
 * a large graph) only the first CANDIDATES are looked at, so that work grows like the graph. */
#include "ir/diff.h"
#include "ir/stream.h"
#include "ir/text.h"
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 64 };

/* ---- what values look like ---- */

/* A value's line without its arguments and regions. */
typedef struct Look {
    const char *text;
    Val value;
} Look;

static int by_look(const void *a, const void *b) {
    const Look *l = a, *r = b;
    int order = strcmp(l->text, r->text);
    return order ? order : l->value < r->value ? -1 : l->value > r->value;
}

static Look *looks(Arena *arena, const Graph *g) {
    Look *look = ARENA_ARRAY(arena, Look, g->count + 1);
    for (Val v = 0; v < g->count; v++) {
        TextStream text;
        text_open(&text);
        graph_print_look(g, v, text.file);
        text_close(&text);
        look[v] = (Look){arena_strdup(arena, text.text), v};
        free(text.text);
    }
    return look;
}

static bool same_regions(const Value *a, const Value *b) {
    if (a->nregions != b->nregions) return false;
    for (uint32_t i = 0; i < a->nregions; i++) {
        const Region *l = &a->regions[i], *r = &b->regions[i];
        if (l->role != r->role || l->operand != r->operand || !l->expr != !r->expr) return false;
        if (l->expr && !expr_equal(l->expr, r->expr)) return false;
    }
    return true;
}

/* ---- matching ---- */

/* Twice the arguments that agree, and one for the same regions; *whole: all agree. */
static uint32_t likeness(const Value *a, const Value *b, const Val *match, bool *whole) {
    uint32_t same = 0;
    for (uint32_t i = 0; i < a->nargs && i < b->nargs; i++) same += match[b->args[i]] == a->args[i];
    bool regions = same_regions(a, b);
    *whole = regions && a->nargs == b->nargs && same == a->nargs;
    return 2 * same + regions;
}

/* The first of the sorted looks that is not below `text`. */
static uint32_t find_look(const Look *sorted, uint32_t count, const char *text) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(sorted[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

Val *graph_match(Arena *arena, const Graph *before, const Graph *after) {
    Look *old = looks(arena, before), *new = looks(arena, after);
    Val *match = ARENA_ARRAY(arena, Val, after->count + 1);
    bool *taken = ARENA_ARRAY(arena, bool, before->count + 1);
    qsort(old, before->count, sizeof *old, by_look);
    for (Val v = 0; v < after->count; v++) {
        uint32_t looked = 0, best = 0;
        bool whole = false;
        match[v] = NO_VAL;
        for (uint32_t i = find_look(old, before->count, new[v].text); i < before->count && looked < CANDIDATES && !whole; i++) {
            if (strcmp(old[i].text, new[v].text) != 0) break;
            if (taken[old[i].value]) continue;
            looked++;
            uint32_t like = likeness(&before->value[old[i].value], &after->value[v], match, &whole);
            if (match[v] != NO_VAL && like <= best && !whole) continue;
            match[v] = old[i].value;
            best = like;
        }
        if (match[v] != NO_VAL) taken[match[v]] = true;
    }
    return match;
}

/* ---- printing ---- */

typedef struct Diff {
    const Graph *before, *after;
    const char **old_name, **new_name;
    Val *match;
    bool *matched; /* of before */
    FILE *out;
    bool differs;
} Diff;

static bool same(const Diff *d, const Value *a, const Value *b) {
    bool whole;
    likeness(a, b, d->match, &whole);
    return whole;
}

/* Each line of the value behind a sign. */
static void print(Diff *d, char sign, const Graph *g, Val v, const char *const *name) {
    d->differs = true;
    if (!d->out) return;
    TextStream text;
    text_open(&text);
    graph_print_value(g, v, name, text.file);
    text_close(&text);
    for (char *line = text.text, *end; *line; line = end) {
        end = strchr(line, '\n');
        end = end ? end + 1 : line + strlen(line);
        fprintf(d->out, "%c %.*s", sign, (int)(end - line), line);
    }
    free(text.text);
}

static void diff_values(Diff *d) {
    Val next = 0; /* of before, to be printed if it is gone */
    for (Val v = 0; v < d->after->count; v++) {
        Val old = d->match[v];
        for (; old != NO_VAL ? next <= old : next < d->before->count && !d->matched[next]; next++)
            if (!d->matched[next]) print(d, '-', d->before, next, d->old_name);
        if (old != NO_VAL && same(d, &d->before->value[old], &d->after->value[v])) continue;
        if (old != NO_VAL) print(d, '-', d->before, old, d->old_name);
        print(d, '+', d->after, v, d->new_name);
    }
    for (; next < d->before->count; next++)
        if (!d->matched[next]) print(d, '-', d->before, next, d->old_name);
}

static void print_output(Diff *d, char sign, const Output *o, const char *const *name) {
    d->differs = true;
    if (!d->out) return;
    fprintf(d->out, "%c ", sign);
    graph_print_output(o, name, d->out);
}

static const Output *find_output(const Graph *g, const Output *like) {
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Output *o = &g->output[i];
        if (o->kind == like->kind && !strcmp(o->name ? o->name : "", like->name ? like->name : "")) return o;
    }
    return NULL;
}

static void diff_outputs(Diff *d) {
    for (uint32_t i = 0; i < d->before->noutputs; i++) {
        const Output *old = &d->before->output[i], *new = find_output(d->after, old);
        if (new && d->match[new->value] == old->value) continue;
        print_output(d, '-', old, d->old_name);
        if (new) print_output(d, '+', new, d->new_name);
    }
    for (uint32_t i = 0; i < d->after->noutputs; i++)
        if (!find_output(d->before, &d->after->output[i])) print_output(d, '+', &d->after->output[i], d->new_name);
}

bool graph_diff(const Graph *before, const Graph *after, FILE *out) {
    Arena *arena = arena_new();
    Diff d = {.before = before, .after = after, .out = out, .match = graph_match(arena, before, after)};
    d.matched = ARENA_ARRAY(arena, bool, before->count + 1);
    d.old_name = ARENA_ARRAY(arena, const char *, before->count + 1);
    d.new_name = ARENA_ARRAY(arena, const char *, after->count + 1);
    for (Val v = 0; v < before->count; v++) d.old_name[v] = arena_printf(arena, "%%%u", v);
    for (Val v = 0; v < after->count; v++) {
        bool known = d.match[v] != NO_VAL;
        if (known) d.matched[d.match[v]] = true;
        d.new_name[v] = known ? d.old_name[d.match[v]] : arena_printf(arena, "%%+%u", v);
    }
    if (before->mode != after->mode) {
        d.differs = true;
        if (out) fprintf(out, "- %s\n+ %s\n", mode_text(before->mode), mode_text(after->mode));
    }
    diff_values(&d);
    diff_outputs(&d);
    arena_free(arena);
    return d.differs;
}
