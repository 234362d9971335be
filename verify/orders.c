#include "verify/orders.h"
#include "runtime/rt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM = 0x0d, MAX_EXTRA = 4 };
static const double KEEP = 0.75, EXTRA = 0.3; /* chances of an optional run, and of each further one */
static const double FAR = 0.5;                /* how far a run may be moved either way, of the length of the list */

typedef struct List {
    char **name;
    uint32_t count, capacity;
} List;

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for a list of passes");
}

static void append(List *l, const char *name, size_t length) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 32;
        l->name = checked(realloc(l->name, l->capacity * sizeof *l->name));
    }
    l->name[l->count++] = checked(strndup(name, length));
}

/* Runs stand between commas, but for those within braces: name{option=1,option=2}. */
static List split(const char *text) {
    List l = {0};
    for (const char *at = text;; at++) {
        const char *from = at;
        for (bool inside = false; *at && (inside || *at != ','); at++) inside = *at == '{' || (inside && *at != '}');
        append(&l, from, (size_t)(at - from));
        if (!*at) return l;
    }
}

/* The pass of a run; NULL: not netc's own. */
static const Pass *find_pass(const char *run) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(run, "{"), run);
    return pass_find(name);
}

static void take_out(List *l, uint32_t i) {
    free(l->name[i]);
    memmove(&l->name[i], &l->name[i + 1], (--l->count - i) * sizeof *l->name);
}

static void insert(List *l, uint32_t at, const char *name) {
    append(l, name, strlen(name));
    char *last = l->name[l->count - 1];
    memmove(&l->name[at + 1], &l->name[at], (l->count - 1 - at) * sizeof *l->name);
    l->name[at] = last;
}

static void list_free(List *l) {
    while (l->count) take_out(l, l->count - 1);
    free(l->name);
}

static char *join_names(const List *l) {
    size_t length = 1;
    for (uint32_t i = 0; i < l->count; i++) length += strlen(l->name[i]) + 1;
    char *text = checked(malloc(length)), *at = text;
    *at = 0;
    for (uint32_t i = 0; i < l->count; i++) at = stpcpy(i ? stpcpy(at, ",") : at, l->name[i]);
    return text;
}

/* May it be left out? Passes of shared objects are what is tried. */
static bool is_optional(const char *run) {
    const Pass *pass = find_pass(run);
    return pass && !pass->required;
}

/* Does the row of the pass say that it runs after that of `other`? */
static bool wants_before(const char *run, const char *other) {
    const Pass *pass = find_pass(run);
    size_t length = strcspn(other, "{");
    for (const char *at = pass ? pass->after : NULL; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (!strncmp(at, other, length) && (!at[length] || at[length] == ',')) return true;
    return false;
}

/* Random numbers, one after the other. */
typedef struct Source {
    uint64_t seed, index;
    uint32_t at;
} Source;

static double draw(Source *s) { return rt_uniform(s->seed, STREAM, s->index, s->at++); }
static uint32_t below(Source *s, uint32_t count) { return (uint32_t)(draw(s) * count); }

static void change_runs(List *l, Mode mode, Source *s) {
    for (uint32_t i = l->count; i-- > 0;)
        if (is_optional(l->name[i]) && !find_pass(l->name[i])->needs_rules && draw(s) > KEEP) take_out(l, i); /* as plug-ins */
    for (int i = 0; i < MAX_EXTRA && draw(s) < EXTRA; i++) {
        const Pass *pass = pass_at(below(s, pass_count()));
        if (!pass->required && pass_runs_in(pass, mode)) insert(l, below(s, l->count + 1), pass->name);
    }
}

/* Could run i stand first of those that are left? */
static bool is_free(const List *l, uint32_t i) {
    for (uint32_t k = 0; k < l->count; k++)
        if (wants_before(l->name[i], l->name[k])) return false;
    return true;
}

/* Where each run would like to stand: near where it stands now, so that few of them end where they have nothing to do. */
static double *draw_wishes(const List *l, Source *s) {
    double *wish = checked(malloc((l->count + 1) * sizeof *wish));
    for (uint32_t i = 0; i < l->count; i++) wish[i] = i + FAR * l->count * (2 * draw(s) - 1);
    return wish;
}

/* Of those that could stand next, the one that would like to stand first; rows name each other in no circle, so there is one. */
static uint32_t choose_next(const List *left, const double *wish) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < left->count; i++)
        if (is_free(left, i) && (best == UINT32_MAX || wish[i] < wish[best])) best = i;
    return best;
}

char *order_draw(const char *list, Mode mode, uint64_t seed, uint64_t index) {
    Source source = {seed, index, 0};
    List left = split(list), order = {0};
    change_runs(&left, mode, &source);
    double *wish = draw_wishes(&left, &source);
    while (left.count) {
        uint32_t at = choose_next(&left, wish);
        append(&order, left.name[at], strlen(left.name[at]));
        take_out(&left, at);
        memmove(&wish[at], &wish[at + 1], (left.count - at) * sizeof *wish);
    }
    char *text = join_names(&order);
    free(wish);
    list_free(&left);
    list_free(&order);
    return text;
}

char *order_without(const char *list, uint32_t i) {
    List l = split(list);
    char *text = NULL;
    if (i < l.count && is_optional(l.name[i])) {
        take_out(&l, i);
        text = join_names(&l);
    }
    list_free(&l);
    return text;
}
