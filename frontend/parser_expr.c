/* Expressions, by precedence climbing. From loose to tight:
 *     if-then-else   or   and   not   == != < <= > >= (not chained)   << >>   + -   * / // %   unary -   call, index, as
 * Every node knows its height, and no height exceeds MAX_NESTING: whoever walks a tree may recurse. */
#include "frontend/parse.h"
#include <string.h>

static AstExpr *parse_binary(Parser *p, int level);

static AstExpr *new_expr(Parser *p, ExprKind kind, Span span) {
    AstExpr *e = ARENA_NEW(p->arena, AstExpr);
    e->kind = kind;
    e->span = span;
    e->height = 1;
    return e;
}

/* Makes `e` at least one higher than `child`; NULL after a report if that is too high. */
static AstExpr *above(Parser *p, AstExpr *e, const AstExpr *child) {
    if (child && child->height + 1 > e->height) e->height = child->height + 1;
    if (e->height <= MAX_NESTING) return e;
    diag_error(p->diag, e->span, "this expression nests more than %d levels deep", MAX_NESTING);
    return NULL;
}

static AstExpr *parse_list(Parser *p) {
    AstExpr *list = new_expr(p, EXPR_LIST, parse_next(p)->span);
    uint32_t capacity = 0;
    while (parse_peek(p)->kind != TOKEN_RIGHT_BRACKET) {
        AstExpr *item = parse_expression(p);
        if (!item || !above(p, list, item)) return NULL;
        ARENA_GROW(p->arena, list->list.item, list->list.count, &capacity);
        list->list.item[list->list.count++] = item;
        if (!parse_accept(p, TOKEN_COMMA)) break;
    }
    if (!parse_expect(p, TOKEN_RIGHT_BRACKET, "',' or ']'")) return NULL;
    list->span = parse_span_from(p, list->span);
    return list;
}

static bool parse_argument(Parser *p, AstExpr *call, bool *named) {
    AstArg arg = {0};
    const Token *first = parse_peek(p);
    if (first->kind == TOKEN_NAME && first[1].kind == TOKEN_ASSIGN) {
        arg.name = name_intern(p->names, first->text);
        arg.name_span = first->span;
        p->at += 2;
        *named = true;
    } else if (*named) {
        diag_error(p->diag, first->span, "a positional argument cannot follow a named one");
        return false;
    }
    arg.value = parse_expression(p);
    if (!arg.value || !above(p, call, arg.value)) return false;
    if (call->call.nargs == MAX_CALL_ARGS) {
        diag_error(p->diag, arg.value->span, "a call has at most %d arguments", MAX_CALL_ARGS);
        return false;
    }
    call->call.arg[call->call.nargs++] = arg;
    return true;
}

static AstExpr *parse_call(Parser *p, const Token *callee) {
    AstExpr *call = new_expr(p, EXPR_CALL, callee->span);
    AstArg arg[MAX_CALL_ARGS];
    call->call.callee = name_intern(p->names, callee->text);
    call->call.callee_span = callee->span;
    call->call.arg = arg;
    bool named = false;
    p->at++; /* ( */
    while (parse_peek(p)->kind != TOKEN_RIGHT_PAREN) {
        if (!parse_argument(p, call, &named)) return NULL;
        if (!parse_accept(p, TOKEN_COMMA)) break;
    }
    if (!parse_expect(p, TOKEN_RIGHT_PAREN, "',' or ')'")) return NULL;
    call->span = parse_span_from(p, call->span);
    call->call.arg = arena_copy(p->arena, arg, call->call.nargs * sizeof *arg);
    if (parse_peek(p)->kind != TOKEN_AS) {
        ARENA_GROW(p->arena, p->call, p->ncalls, &p->call_capacity);
        p->call[p->ncalls++] = call;
        call->call.numbered = p->loops > 0;
    }
    return call;
}

static AstExpr *parse_parenthesised(Parser *p) {
    Span begin = parse_next(p)->span;
    AstExpr *e = parse_expression(p);
    if (!e || !parse_expect(p, TOKEN_RIGHT_PAREN, NULL)) return NULL;
    e->span = parse_span_from(p, begin);
    return e;
}

static AstExpr *parse_primary(Parser *p) {
    const Token *t = parse_peek(p);
    AstExpr *e;
    switch (t->kind) {
    case TOKEN_LEFT_PAREN: return parse_parenthesised(p);
    case TOKEN_LEFT_BRACKET: return parse_list(p);
    case TOKEN_INTEGER:
        e = new_expr(p, EXPR_INTEGER, t->span);
        e->integer = t->integer;
        break;
    case TOKEN_REAL:
        e = new_expr(p, EXPR_REAL, t->span);
        e->real = t->real;
        break;
    case TOKEN_STRING:
        e = new_expr(p, EXPR_STRING, t->span);
        e->text = t->text;
        break;
    case TOKEN_TRUE:
    case TOKEN_FALSE:
        e = new_expr(p, EXPR_BOOL, t->span);
        e->boolean = t->kind == TOKEN_TRUE;
        break;
    case TOKEN_NAME:
        p->at++;
        if (parse_peek(p)->kind == TOKEN_LEFT_PAREN && parse_peek(p)->newlines == 0) return parse_call(p, t);
        e = new_expr(p, EXPR_NAME, t->span);
        e->name = name_intern(p->names, t->text);
        return e;
    default: {
        bool power = t->kind == TOKEN_STAR && p->at > 0 && p->token[p->at - 1].kind == TOKEN_STAR;
        parse_expected(p, power ? "an expression (a power is pow(x, 2) rather than x ** 2)" : "an expression");
        return NULL;
    }
    }
    p->at++;
    return e;
}

static AstExpr *parse_as(Parser *p, AstExpr *call) {
    Span as = parse_next(p)->span;
    if (call->kind != EXPR_CALL) {
        diag_error(p->diag, as, "'as' names a call, and must stand right behind its ')'");
        return NULL;
    }
    bool shared = parse_peek(p)->kind == TOKEN_NAME && !strcmp(parse_peek(p)->text, "shared");
    if (shared) parse_next(p);
    TokenKind kind = parse_peek(p)->kind;
    if (kind != TOKEN_STRING && kind != TOKEN_LEFT_PAREN) {
        parse_expected(p, "a string or a parenthesised expression behind 'as'");
        return NULL;
    }
    AstExpr *e = new_expr(p, EXPR_AS, call->span);
    e->as.call = call;
    e->as.shared = shared;
    e->as.name = parse_primary(p);
    if (!e->as.name || !above(p, e, call) || !above(p, e, e->as.name)) return NULL;
    e->span = parse_span_from(p, call->span);
    return e;
}

static AstExpr *parse_postfix(Parser *p) {
    AstExpr *e = parse_primary(p);
    while (e) {
        const Token *t = parse_peek(p);
        if (t->kind == TOKEN_AS) {
            e = parse_as(p, e);
        } else if (t->kind == TOKEN_LEFT_BRACKET && t->newlines == 0) {
            AstExpr *index = new_expr(p, EXPR_INDEX, e->span);
            p->at++;
            index->pair.a = e;
            index->pair.b = parse_expression(p);
            if (!index->pair.b || !parse_expect(p, TOKEN_RIGHT_BRACKET, NULL)) return NULL;
            index->span = parse_span_from(p, e->span);
            if (!above(p, index, e) || !above(p, index, index->pair.b)) return NULL;
            e = index;
        } else {
            return e;
        }
    }
    return NULL;
}

static AstExpr *parse_prefix(Parser *p, TokenKind op, int operand_level) {
    AstExpr *e = new_expr(p, EXPR_UNARY, parse_next(p)->span);
    if (!parse_enter(p)) return NULL;
    e->pair.op = op;
    e->pair.a = parse_binary(p, operand_level);
    parse_leave(p);
    if (!e->pair.a) return NULL;
    e->span = parse_span_from(p, e->span);
    return above(p, e, e->pair.a);
}

enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_SHIFT, LEVEL_SUM, LEVEL_PRODUCT, LEVEL_UNARY };

static int binary_level(TokenKind kind) {
    switch (kind) {
    case TOKEN_OR: return LEVEL_OR;
    case TOKEN_AND: return LEVEL_AND;
    case TOKEN_EQUAL:
    case TOKEN_NOT_EQUAL:
    case TOKEN_LESS:
    case TOKEN_LESS_EQUAL:
    case TOKEN_GREATER:
    case TOKEN_GREATER_EQUAL: return LEVEL_COMPARE;
    case TOKEN_SHIFT_LEFT:
    case TOKEN_SHIFT_RIGHT: return LEVEL_SHIFT;
    case TOKEN_PLUS:
    case TOKEN_MINUS: return LEVEL_SUM;
    case TOKEN_STAR:
    case TOKEN_SLASH:
    case TOKEN_FLOOR_DIVIDE:
    case TOKEN_PERCENT: return LEVEL_PRODUCT;
    default: return -1;
    }
}

/* Operators of `level` and tighter. */
static AstExpr *parse_binary(Parser *p, int level) {
    if (level == LEVEL_NOT && parse_peek(p)->kind == TOKEN_NOT) return parse_prefix(p, TOKEN_NOT, LEVEL_NOT);
    if (level == LEVEL_UNARY) {
        return parse_peek(p)->kind == TOKEN_MINUS ? parse_prefix(p, TOKEN_MINUS, LEVEL_UNARY) : parse_postfix(p);
    }
    AstExpr *left = parse_binary(p, level + 1);
    while (left && binary_level(parse_peek(p)->kind) == level) {
        AstExpr *e = new_expr(p, EXPR_BINARY, left->span);
        e->pair.op = parse_next(p)->kind;
        e->pair.a = left;
        e->pair.b = parse_binary(p, level + 1);
        if (!e->pair.b) return NULL;
        e->span = parse_span_from(p, left->span);
        left = above(p, e, e->pair.a) ? above(p, e, e->pair.b) : NULL;
        if (left && level == LEVEL_COMPARE && binary_level(parse_peek(p)->kind) == level) {
            diag_error(p->diag, parse_peek(p)->span, "comparisons do not chain; write 'a < b and b < c'");
            return NULL;
        }
    }
    return left;
}

static AstExpr *parse_choice(Parser *p) {
    AstExpr *e = new_expr(p, EXPR_IF, parse_next(p)->span);
    e->choice.condition = parse_expression(p);
    if (!e->choice.condition || !parse_expect(p, TOKEN_THEN, NULL)) return NULL;
    e->choice.yes = parse_expression(p);
    if (!e->choice.yes) return NULL;
    if (parse_peek(p)->kind != TOKEN_ELSE) {
        parse_expected(p, "'else' (an 'if' expression needs both values)");
        return NULL;
    }
    p->at++;
    e->choice.no = parse_expression(p);
    if (!e->choice.no) return NULL;
    e->span = parse_span_from(p, e->span);
    if (!above(p, e, e->choice.condition) || !above(p, e, e->choice.yes)) return NULL;
    return above(p, e, e->choice.no);
}

AstExpr *parse_expression(Parser *p) {
    if (!parse_enter(p)) return NULL;
    AstExpr *e = parse_peek(p)->kind == TOKEN_IF ? parse_choice(p) : parse_binary(p, LEVEL_OR);
    parse_leave(p);
    return e;
}

AstExpr *parse_sum(Parser *p, Name *name, Span name_span, AstExpr *value) {
    AstExpr *e = new_expr(p, EXPR_BINARY, name_span), *old = new_expr(p, EXPR_NAME, name_span);
    old->name = name;
    e->pair.op = TOKEN_PLUS;
    e->pair.a = old;
    e->pair.b = value;
    e->span = parse_span_from(p, name_span);
    return above(p, e, value);
}
