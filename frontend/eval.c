/* What all of evaluation stands on: reports with their call chain, limits, scopes, and adding to the graph. */
#include "frontend/eval.h"
#include <stdio.h>
#include <string.h>

/* ---- reports ---- */

static bool already_reported(const Eval *ev, Span span) {
    for (uint32_t i = 0; i < ev->nreported; i++) {
        Span r = ev->reported[i];
        if (r.file == span.file && r.begin == span.begin && r.end == span.end) return true;
    }
    return false;
}

enum { MAX_CHAIN = 12 };

static bool in_library(const Frame *f) { return f && f->callable->library; }

Span eval_place(const Eval *ev, Span span) {
    for (const Frame *f = ev->frame; in_library(f); f = f->caller) span = f->call;
    return span;
}

static void note_callers(Eval *ev) {
    int shown = 0;
    for (const Frame *f = ev->frame; f && f->caller; f = f->caller) {
        if (in_library(f)) continue;
        if (++shown > MAX_CHAIN) {
            diag_note(ev->diag, f->call, "and further calls around these");
            return;
        }
        diag_note(ev->diag, f->call, "in block '%s' called here", f->callable->name->text);
    }
}

Datum eval_error(Eval *ev, Span span, const char *format, ...) {
    span = eval_place(ev, span);
    ev->spoke = !ev->stopped && !already_reported(ev, span);
    if (!ev->spoke) return (Datum){DATUM_POISON};
    va_list args;
    va_start(args, format);
    diag_vreport(ev->diag, SEV_ERROR, span, format, args);
    va_end(args);
    note_callers(ev);
    ev->reported[ev->nreported++] = span;
    if (ev->nreported == MAX_SPANS) ev->stopped = true;
    if (!ev->last_step) ev->last_step = ev->steps + MAX_STEPS_MORE;
    return (Datum){DATUM_POISON};
}

Datum eval_not_boolean(Eval *ev, Span span, const char *what, Datum found) {
    const char *hint = found.kind == DATUM_TENSOR ? "; between elements select(c, a, b) chooses" : "";
    return eval_error(ev, span, "%s, found %s%s", what, eval_describe(ev, found), hint);
}

void eval_note(Eval *ev, Span span, const char *format, ...) {
    va_list args;
    if (!ev->spoke) return;
    va_start(args, format);
    diag_vreport(ev->diag, SEV_NOTE, span, format, args);
    va_end(args);
}

bool eval_charge(Eval *ev, Span span, int64_t steps) {
    size_t bytes = arena_bytes(ev->arena) - ev->parsed + (ev->graph ? arena_bytes(ev->graph->arena) : 0);
    ev->steps += steps;
    if (ev->stopped) return false;
    if (ev->last_step)
        ev->stopped = ev->steps > ev->last_step;
    else if (ev->steps > MAX_STEPS)
        eval_error(ev, span, "the net takes more than %d steps to evaluate; is a loop too long?", MAX_STEPS);
    else if (bytes >> 20 >= MAX_MEGABYTES)
        eval_error(ev, span, "the net takes more than %d MB to evaluate; does a loop or a block run too often?", MAX_MEGABYTES);
    if (bytes >> 20 >= MAX_MEGABYTES || ev->steps > MAX_STEPS) ev->stopped = true;
    return !ev->stopped;
}

/* "f -> g -> f" where `callee`, called by f, is among f and its callers; NULL where it is not. */
static const char *cycle(Eval *ev, const Frame *f, const AstCallable *callee) {
    const char *chain = callee->name->text;
    for (int shown = 0; f && shown < 16; f = f->caller, shown++) {
        chain = arena_printf(ev->arena, "%s -> %s", f->callable->name->text, chain);
        if (f->callable == callee) return chain;
    }
    return NULL;
}

Datum eval_too_deep(Eval *ev, Span span, const AstCallable *callee) {
    const char *chain = callee ? cycle(ev, ev->frame, callee) : NULL;
    ev->too_deep = true;
    for (const Frame *f = ev->frame; f && !chain; f = f->caller) {
        callee = f->callable;
        chain = cycle(ev, f->caller, callee);
    }
    if (chain)
        return eval_error(ev, span, "block '%s' calls itself, and has not come to an end after %u levels of calls: %s",
                          callee->name->text, ev->call_depth, chain);
    if (ev->call_depth >= MAX_CALL_DEPTH)
        return eval_error(ev, span, "blocks call each other more than %d levels deep", MAX_CALL_DEPTH);
    return eval_error(ev, span, "calls and expressions nest more than %d levels deep", MAX_RECURSION);
}

bool eval_enter(Eval *ev, Span span) {
    if (ev->recursion < MAX_RECURSION) {
        ev->recursion++;
        return true;
    }
    eval_too_deep(ev, span, NULL);
    ev->stopped = true;
    return false;
}

void eval_leave(Eval *ev) { ev->recursion--; }

const char *eval_describe(Eval *ev, Datum d) { return datum_text(ev->arena, ev->graph, d); }

/* ---- scopes ---- */

static struct Binding *probe(struct Binding *slot, uint32_t capacity, const Name *name) {
    uint32_t i = (uint32_t)(((uintptr_t)name >> 4) * 2654435761u) & (capacity - 1);
    while (slot[i].name && slot[i].name != name) i = (i + 1) & (capacity - 1);
    return &slot[i];
}

Datum *variable_find(const Scope *scope, const Name *name) {
    if (scope->capacity == 0) return NULL;
    struct Binding *b = probe(scope->slot, scope->capacity, name);
    return b->name ? &b->value : NULL;
}

void scope_set(Arena *arena, Scope *scope, const Name *name, Datum value) {
    if (scope->count * 2 >= scope->capacity) {
        uint32_t capacity = scope->capacity ? scope->capacity * 2 : 16;
        struct Binding *grown = ARENA_ARRAY(arena, struct Binding, capacity);
        for (uint32_t i = 0; i < scope->capacity; i++) {
            if (scope->slot[i].name) *probe(grown, capacity, scope->slot[i].name) = scope->slot[i];
        }
        scope->slot = grown;
        scope->capacity = capacity;
    }
    struct Binding *b = probe(scope->slot, scope->capacity, name);
    scope->count += b->name == NULL;
    *b = (struct Binding){name, value};
}

/* ---- the graph ---- */

/* How the language writes an operation that has no name in it, or NULL. */
static const char *operator_sign(Op op) {
    switch (op) {
    case OP_ADD: return "+";
    case OP_SUB: return "-";
    case OP_MUL: return "*";
    case OP_DIV: return "/";
    default: return NULL;
    }
}

Val eval_add(Eval *ev, Span span, const ValueSpec *spec) {
    char why[512];
    Type type;
    if (ev->stopped) return NO_VAL;
    ValueSpec full = *spec;
    full.span = eval_place(ev, span);
    if (!full.name) full.name = ev->frame && *ev->frame->path ? ev->frame->path : NULL;
    if (!graph_infer(ev->graph, &full, &type, why, sizeof why)) {
        const char *sign = operator_sign(spec->op), *reason = strstr(why, ": ");
        if (sign && reason)
            eval_error(ev, span, "'%s' %s", sign, reason + 2);
        else
            eval_error(ev, span, "%s", why);
        return NO_VAL;
    }
    ev->elements += (double)type_elements(type);
    if (ev->graph->count >= MAX_VALUES) {
        eval_error(ev, span, "the net needs more than %d operations and parameters", MAX_VALUES);
        ev->stopped = true;
        return NO_VAL;
    }
    if (ev->elements > (double)MAX_ELEMENTS) {
        eval_error(ev, span, "the tensors of the net have more than 2^40 elements together");
        ev->stopped = true;
        return NO_VAL;
    }
    return graph_add(ev->graph, &full);
}
