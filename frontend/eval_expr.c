/* Expressions. */
#include "frontend/builtin.h"
#include "frontend/eval.h"
#include <string.h>

static const Datum poison = {DATUM_POISON};

static Datum unknown_name(Eval *ev, const AstExpr *e) {
    const char *text = e->name->text;
    if (e->name->builtin) return eval_error(ev, e->span, "'%s' is an operation and is called: %s(...)", text, text);
    if (e->name->callable) {
        return eval_error(ev, e->span, "'%s' is a %s, not a value", text, e->name->callable->net ? "net" : "block");
    }
    if (e->name->library) return eval_error(ev, e->span, "'%s' is a block, not a value", text);
    const char *candidate[256];
    uint32_t count = 0;
    const Scope *scope = ev->frame ? &ev->frame->variables : &(Scope){0};
    for (uint32_t i = 0; i < scope->capacity && count < 256; i++) {
        if (scope->slot[i].name) candidate[count++] = scope->slot[i].name->text;
    }
    const char *near = !strcmp(text, "True") ? "true" : !strcmp(text, "False") ? "false" : nearest_name(text, candidate, count);
    if (near) return eval_error(ev, e->span, "unknown name '%s'; did you mean '%s'?", text, near);
    if (!strcmp(text, "None") || !strcmp(text, "null"))
        return eval_error(ev, e->span, "unknown name '%s': an argument that is left out has its default", text);
    return eval_error(ev, e->span, "unknown name '%s'", text);
}

static Datum eval_name(Eval *ev, const AstExpr *e) {
    Datum *found = ev->frame ? variable_find(&ev->frame->variables, e->name) : NULL;
    Datum word;
    if (found) return *found;
    return builtin_word(e->name, &word) ? word : unknown_name(ev, e);
}

static Datum eval_list(Eval *ev, const AstExpr *e) {
    DatumList *list = ARENA_NEW(ev->arena, DatumList);
    bool bad = false;
    if (e->list.count > MAX_LIST_ITEMS) return eval_error(ev, e->span, "a list has at most %d items", MAX_LIST_ITEMS);
    list->item = ARENA_ARRAY(ev->arena, Datum, e->list.count);
    list->depth = 1;
    for (uint32_t i = 0; i < e->list.count; i++) {
        Datum item = list->item[list->count++] = eval_expr(ev, e->list.item[i]);
        bad |= item.kind == DATUM_POISON;
        if (item.kind == DATUM_LIST && item.list->depth + 1 > list->depth) list->depth = item.list->depth + 1;
    }
    if (list->depth > MAX_LIST_DEPTH) return eval_error(ev, e->span, "lists nest at most %d deep", MAX_LIST_DEPTH);
    return bad ? poison : (Datum){DATUM_LIST, .list = list};
}

static Datum eval_index(Eval *ev, const AstExpr *e) {
    Datum list = eval_expr(ev, e->pair.a), index = eval_expr(ev, e->pair.b);
    if (list.kind == DATUM_POISON || index.kind == DATUM_POISON) return poison;
    if (list.kind != DATUM_LIST)
        return eval_error(ev, e->pair.a->span, "only a list has items, found %s", eval_describe(ev, list));
    if (index.kind != DATUM_INTEGER)
        return eval_error(ev, e->pair.b->span, "an index is an integer, found %s", eval_describe(ev, index));
    if (index.integer < 0 || index.integer >= list.list->count) {
        return eval_error(ev, e->pair.b->span, "the list has %u item%s, there is no item %lld (the first is item 0)",
                          list.list->count, list.list->count == 1 ? "" : "s", (long long)index.integer);
    }
    return list.list->item[index.integer];
}

/* The left side decides alone where it can. */
static Datum eval_logic(Eval *ev, const AstExpr *e) {
    bool is_or = e->pair.op == TOKEN_OR;
    for (int i = 0; i < 2; i++) {
        const AstExpr *side = i ? e->pair.b : e->pair.a;
        Datum d = eval_expr(ev, side);
        if (d.kind == DATUM_POISON) return d;
        if (d.kind != DATUM_BOOL) {
            return eval_error(ev, side->span, "'%s' needs a boolean on each side, found %s", token_text(e->pair.op),
                              eval_describe(ev, d));
        }
        if (i == 1 || d.boolean == is_or) return d;
    }
    return poison;
}

static Datum eval_choice(Eval *ev, const AstExpr *e) {
    Datum condition = eval_expr(ev, e->choice.condition);
    if (condition.kind == DATUM_POISON) return condition;
    if (condition.kind != DATUM_BOOL) {
        return eval_not_boolean(ev, e->choice.condition->span, "the condition of 'if' must be a boolean", condition);
    }
    return eval_expr(ev, condition.boolean ? e->choice.yes : e->choice.no);
}

static Datum eval_as(Eval *ev, const AstExpr *e) {
    Datum name = eval_expr(ev, e->as.name);
    if (name.kind == DATUM_POISON) return name;
    if (name.kind != DATUM_STRING)
        return eval_error(ev, e->as.name->span, "'as' needs a string, found %s", eval_describe(ev, name));
    for (const char *c = name.text; *c; c++) {
        bool good = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '.' ||
                    *c == '-';
        if (!good)
            return eval_error(ev, e->as.name->span, "a name behind 'as' has letters, digits, '_', '-' and '.' only, found \"%s\"",
                              name.text);
    }
    return eval_call(ev, e->as.call, name.text, e->as.shared);
}

static Datum eval_by_kind(Eval *ev, const AstExpr *e) {
    switch (e->kind) {
    case EXPR_INTEGER: return (Datum){DATUM_INTEGER, .integer = e->integer};
    case EXPR_REAL: return (Datum){DATUM_REAL, .real = e->real};
    case EXPR_STRING: return (Datum){DATUM_STRING, .text = e->text};
    case EXPR_BOOL: return (Datum){DATUM_BOOL, .boolean = e->boolean};
    case EXPR_NAME: return eval_name(ev, e);
    case EXPR_LIST: return eval_list(ev, e);
    case EXPR_INDEX: return eval_index(ev, e);
    case EXPR_UNARY: return eval_unary(ev, e->span, e->pair.op, eval_expr(ev, e->pair.a));
    case EXPR_BINARY: {
        if (e->pair.op == TOKEN_AND || e->pair.op == TOKEN_OR) return eval_logic(ev, e);
        Datum a = eval_expr(ev, e->pair.a), b = eval_expr(ev, e->pair.b); /* left first, always */
        return eval_binary(ev, e->span, e->pair.op, a, b);
    }
    case EXPR_IF: return eval_choice(ev, e);
    case EXPR_CALL: return eval_call(ev, e, NULL, false);
    case EXPR_AS: return eval_as(ev, e);
    }
    return poison;
}

Datum eval_expr(Eval *ev, const AstExpr *e) {
    if (!eval_charge(ev, e->span, 1) || !eval_enter(ev, e->span)) return poison;
    Datum d = eval_by_kind(ev, e);
    eval_leave(ev);
    return d;
}
