/* Files, declarations and statements by recursive descent, and the cursor that the expression half shares.
 *
 * A statement ends where its line ends or its '}' stands. After a mistake the parser skips to the next line that can
 * begin a statement, or to the '}' of the body, or to the next declaration, and goes on: one run reports several. */
#include "frontend/parse.h"
#include <string.h>

/* ---- names ---- */

static uint32_t hash_text(const char *text) {
    uint32_t h = 2166136261u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 16777619u;
    return h;
}

static Name **find_slot(Name **slot, uint32_t capacity, const char *text) {
    uint32_t i = hash_text(text) & (capacity - 1);
    while (slot[i] && strcmp(slot[i]->text, text)) i = (i + 1) & (capacity - 1);
    return &slot[i];
}

Name *name_intern(Names *names, const char *text) {
    if (names->count * 2 >= names->capacity) {
        uint32_t capacity = names->capacity ? names->capacity * 2 : 256;
        Name **grown = ARENA_ARRAY(names->arena, Name *, capacity);
        for (uint32_t i = 0; i < names->capacity; i++) {
            if (names->slot[i]) *find_slot(grown, capacity, names->slot[i]->text) = names->slot[i];
        }
        names->slot = grown;
        names->capacity = capacity;
    }
    Name **slot = find_slot(names->slot, names->capacity, text);
    if (!*slot) {
        *slot = ARENA_NEW(names->arena, Name);
        (*slot)->text = arena_strdup(names->arena, text);
        names->count++;
    }
    return *slot;
}

/* ---- cursor ---- */

const Token *parse_peek(const Parser *p) { return &p->token[p->at]; }

const Token *parse_next(Parser *p) {
    const Token *t = &p->token[p->at];
    if (t->kind != TOKEN_END) p->at++;
    return t;
}

bool parse_accept(Parser *p, TokenKind kind) {
    if (parse_peek(p)->kind != kind) return false;
    p->at++;
    return true;
}

/* Has the lexer spoken about the next token, or have we? */
static bool already_said(Parser *p) {
    if (parse_peek(p)->kind == TOKEN_ERROR || p->complained == p->at + 1) return true;
    p->complained = p->at + 1;
    return false;
}

static void expected_here(Parser *p, const char *what) {
    const Token *t = parse_peek(p);
    if (already_said(p)) return;
    const char *found = token_describe(p->arena, t->kind);
    if (t->kind == TOKEN_NAME) found = arena_printf(p->arena, "the name '%s'", t->text);
    diag_error(p->diag, t->span, "expected %s, found %s", what, found);
}

void parse_expected(Parser *p, const char *what) {
    if (p->at == 0 || parse_peek(p)->newlines == 0) {
        expected_here(p, what);
    } else if (!already_said(p)) {
        Span end = p->token[p->at - 1].span;
        end = (Span){end.file, end.end, end.end + 1};
        diag_error(p->diag, end, "expected %s, found the end of the line", what);
    }
}

const Token *parse_expect(Parser *p, TokenKind kind, const char *what) {
    if (parse_peek(p)->kind == kind) return parse_next(p);
    parse_expected(p, what ? what : token_describe(p->arena, kind));
    return NULL;
}

Span parse_span_from(const Parser *p, Span begin) {
    if (p->at > 0) begin.end = p->token[p->at - 1].span.end;
    return begin;
}

bool parse_enter(Parser *p) {
    if (p->depth < MAX_NESTING) {
        p->depth++;
        return true;
    }
    diag_error(p->diag, parse_peek(p)->span, "the text nests more than %d levels deep", MAX_NESTING);
    return false;
}

void parse_leave(Parser *p) { p->depth--; }

/* ---- recovery ---- */

static bool begins_declaration(TokenKind kind) {
    return kind == TOKEN_IMPORT || kind == TOKEN_BLOCK || kind == TOKEN_NET || kind == TOKEN_TRAIN || kind == TOKEN_END;
}

static bool begins_statement(TokenKind kind) {
    return kind == TOKEN_NAME || kind == TOKEN_IF || kind == TOKEN_FOR || kind == TOKEN_ASSERT || kind == TOKEN_RETURN ||
           kind == TOKEN_INPUT || kind == TOKEN_OUTPUT;
}

/* To the next statement of the body we are in, at least one token on from `start`. */
static void skip_statement(Parser *p, uint32_t start) {
    uint32_t braces = 0;
    for (uint32_t i = start; i < p->at; i++) braces += p->token[i].kind == TOKEN_LEFT_BRACE;
    for (uint32_t i = start; i < p->at && braces > 0; i++) braces -= p->token[i].kind == TOKEN_RIGHT_BRACE;
    for (;; p->at++) {
        const Token *t = parse_peek(p);
        if (t->kind == TOKEN_END || (t->newlines > 0 && begins_declaration(t->kind))) return;
        if (t->kind == TOKEN_RIGHT_BRACE && braces == 0) return;
        if (t->newlines > 0 && braces == 0 && p->at > start && begins_statement(t->kind)) return;
        if (t->kind == TOKEN_LEFT_BRACE) braces++;
        if (t->kind == TOKEN_RIGHT_BRACE) braces--;
    }
}

static void skip_declaration(Parser *p) {
    do {
        p->at += parse_peek(p)->kind != TOKEN_END;
    } while (!begins_declaration(parse_peek(p)->kind));
}

/* ---- statements ---- */

static bool parse_body(Parser *p, AstBody *body);

static bool parse_if(Parser *p, AstStatement *s) {
    s->value = parse_expression(p);
    if (!s->value || !parse_body(p, &s->yes)) return false;
    if (!parse_accept(p, TOKEN_ELSE)) return true;
    if (parse_peek(p)->kind != TOKEN_IF) return parse_body(p, &s->no);
    AstStatement *next = ARENA_NEW(p->arena, AstStatement);
    s->no.statement = ARENA_NEW(p->arena, AstStatement *);
    s->no.statement[s->no.count++] = next;
    next->kind = STATEMENT_IF;
    next->span = parse_next(p)->span;
    if (!parse_enter(p)) return false;
    bool ok = parse_if(p, next);
    parse_leave(p);
    return ok;
}

static bool parse_for(Parser *p, AstStatement *s) {
    const Token *name = parse_expect(p, TOKEN_NAME, "the name of the loop variable");
    if (!name) return false;
    s->name = name_intern(p->names, name->text);
    s->name_span = name->span;
    if (!parse_expect(p, TOKEN_IN, NULL) || !(s->value = parse_expression(p))) return false;
    if (parse_accept(p, TOKEN_RANGE) && !(s->end = parse_expression(p))) return false;
    p->loops++;
    bool ok = parse_body(p, &s->yes);
    p->loops--;
    return ok;
}

static bool parse_input(Parser *p, AstStatement *s) {
    const Token *name = parse_expect(p, TOKEN_NAME, "the name of the input");
    if (!name || !parse_expect(p, TOKEN_COLON, NULL)) return false;
    s->name = name_intern(p->names, name->text);
    s->name_span = name->span;
    const Token *type = parse_expect(p, TOKEN_NAME, "the type f32[channels, height, width]");
    if (!type) return false;
    if (strcmp(type->text, "f32")) {
        diag_error(p->diag, type->span, "an input is f32[channels, height, width], there is no type '%s'", type->text);
        return false;
    }
    if (parse_peek(p)->kind != TOKEN_LEFT_BRACKET) {
        parse_expected(p, "'[' and the dimensions");
        return false;
    }
    s->end = parse_expression(p);
    return s->end != NULL;
}

static bool parse_assign(Parser *p, AstStatement *s, const Token *name) {
    s->kind = STATEMENT_ASSIGN;
    s->name = name_intern(p->names, name->text);
    s->name_span = name->span;
    if (parse_peek(p)->kind == TOKEN_PLUS_ASSIGN) {
        parse_next(p);
        AstExpr *value = parse_expression(p);
        s->value = value ? parse_sum(p, s->name, name->span, value) : NULL;
        return s->value != NULL;
    }
    if (!parse_accept(p, TOKEN_ASSIGN)) {
        parse_expected(p, "'=' (a statement assigns, or begins with if, for, assert, return, input or output)");
        return false;
    }
    s->value = parse_expression(p);
    return s->value != NULL;
}

static bool parse_value_statement(Parser *p, AstStatement *s, StatementKind kind) {
    s->kind = kind;
    s->value = parse_expression(p);
    if (!s->value) return false;
    if (kind == STATEMENT_RETURN || !parse_accept(p, TOKEN_COMMA)) return true;
    s->end = parse_expression(p);
    return s->end != NULL;
}

/* What may stand in a net but not in a block, and the other way round. */
static bool allowed_here(Parser *p, const Token *t) {
    bool net_only = t->kind == TOKEN_INPUT || t->kind == TOKEN_OUTPUT;
    if (net_only && !p->in_net) {
        diag_error(p->diag, t->span, "'%s' belongs in a net; a block takes arguments and returns a value", token_text(t->kind));
    } else if (t->kind == TOKEN_RETURN && p->in_net) {
        diag_error(p->diag, t->span, "'return' belongs in a block; a net says 'output'");
    } else {
        return true;
    }
    return false;
}

static bool parse_statement(Parser *p, AstStatement *s) {
    const Token *t = parse_next(p);
    s->span = t->span;
    bool ok = allowed_here(p, t);
    switch (t->kind) {
    case TOKEN_NAME: ok = parse_assign(p, s, t); break;
    case TOKEN_IF: s->kind = STATEMENT_IF, ok = parse_if(p, s); break;
    case TOKEN_FOR: s->kind = STATEMENT_FOR, ok = parse_for(p, s); break;
    case TOKEN_ASSERT: ok = parse_value_statement(p, s, STATEMENT_ASSERT); break;
    case TOKEN_RETURN: ok = parse_value_statement(p, s, STATEMENT_RETURN) && ok; break;
    case TOKEN_OUTPUT: ok = parse_value_statement(p, s, STATEMENT_OUTPUT) && ok; break;
    case TOKEN_INPUT: s->kind = STATEMENT_INPUT, ok = parse_input(p, s) && ok; break;
    default:
        if (t->kind != TOKEN_END) p->at--;
        expected_here(p, "a statement");
        return false;
    }
    s->span = parse_span_from(p, s->span);
    const Token *after = parse_peek(p);
    if (!ok || after->newlines > 0 || after->kind == TOKEN_RIGHT_BRACE || after->kind == TOKEN_END) return ok;
    bool layer = after->kind == TOKEN_LEFT_PAREN && p->token[p->at - 1].kind == TOKEN_RIGHT_PAREN;
    parse_expected(p, layer ? "the end of the line (a layer is one call: batch_norm(x) rather than BatchNorm2d(16)(x))"
                            : "the end of the line");
    return false;
}

static bool parse_statements(Parser *p, AstBody *body) {
    uint32_t capacity = 0;
    while (parse_peek(p)->kind != TOKEN_RIGHT_BRACE) {
        const Token *t = parse_peek(p);
        if (begins_declaration(t->kind)) {
            expected_here(p, "'}' at the end of the body");
            return false;
        }
        uint32_t start = p->at;
        AstStatement *s = ARENA_NEW(p->arena, AstStatement);
        if (parse_statement(p, s)) {
            ARENA_GROW(p->arena, body->statement, body->count, &capacity);
            body->statement[body->count++] = s;
        } else {
            skip_statement(p, start);
        }
    }
    p->at++;
    return true;
}

static bool parse_body(Parser *p, AstBody *body) {
    if (!parse_expect(p, TOKEN_LEFT_BRACE, NULL) || !parse_enter(p)) return false;
    bool ok = parse_statements(p, body);
    parse_leave(p);
    return ok;
}

/* ---- declarations ---- */

static bool parse_params(Parser *p, AstCallable *c) {
    uint32_t capacity = 0;
    if (!parse_expect(p, TOKEN_LEFT_PAREN, NULL)) return false;
    while (parse_peek(p)->kind != TOKEN_RIGHT_PAREN) {
        const Token *name = parse_expect(p, TOKEN_NAME, "the name of a parameter");
        if (!name) return false;
        AstParam param = {name_intern(p->names, name->text), name->span, NULL};
        if (parse_accept(p, TOKEN_ASSIGN) && !(param.init = parse_expression(p))) return false;
        for (uint32_t i = 0; i < c->nparams; i++) {
            if (c->param[i].name == param.name) diag_error(p->diag, param.span, "a second parameter '%s'", param.name->text);
        }
        if (c->nparams == MAX_CALL_ARGS) {
            diag_error(p->diag, param.span, "a %s has at most %d parameters", c->net ? "net" : "block", MAX_CALL_ARGS);
            return false;
        }
        if (!param.init && c->nparams > 0 && c->param[c->nparams - 1].init) {
            diag_error(p->diag, param.span, "parameter '%s' needs a default value, as the one before it has one",
                       param.name->text);
        }
        ARENA_GROW(p->arena, c->param, c->nparams, &capacity);
        c->param[c->nparams++] = param;
        if (!parse_accept(p, TOKEN_COMMA)) break;
    }
    return parse_expect(p, TOKEN_RIGHT_PAREN, "',' or ')'") != NULL;
}

/* The naming rule: a call gets an ordinal if its body can call the same name more than once. */
static void number_calls(Parser *p) {
    for (uint32_t i = 0; i < p->ncalls; i++) {
        Name *callee = p->call[i]->call.callee;
        if (callee->body != p->body) callee->calls = 0;
        callee->body = p->body;
        callee->calls += p->call[i]->call.numbered ? 2 : 1;
    }
    for (uint32_t i = 0; i < p->ncalls; i++) p->call[i]->call.numbered = p->call[i]->call.callee->calls > 1;
}

static bool parse_bound(Parser *p, AstCallable *c) {
    c->bound = parse_expression(p);
    if (!c->bound) return false;
    if (c->bound->kind == EXPR_CALL) return true;
    diag_error(p->diag, c->bound->span, "a bound net is written 'net %s = other(parameter = value, ...)'", c->name->text);
    return false;
}

static bool parse_callable(Parser *p, AstFile *file, uint32_t *capacity) {
    bool net = parse_next(p)->kind == TOKEN_NET;
    const Token *name = parse_expect(p, TOKEN_NAME, net ? "the name of the net" : "the name of the block");
    if (!name) return false;
    AstCallable *c = ARENA_NEW(p->arena, AstCallable);
    c->name = name_intern(p->names, name->text);
    c->span = name->span;
    c->net = p->in_net = net;
    p->body++;
    p->ncalls = 0;
    ARENA_GROW(p->arena, file->callable, file->ncallables, capacity);
    file->callable[file->ncallables++] = c;
    bool ok = net && parse_accept(p, TOKEN_ASSIGN) ? parse_bound(p, c) : parse_params(p, c) && parse_body(p, &c->body);
    number_calls(p);
    return ok;
}

static bool parse_train_setting(Parser *p, AstFile *file, uint32_t *capacity) {
    const Token *key = parse_peek(p);
    if (!parse_accept(p, TOKEN_NAME)) {
        expected_here(p, "a key of the recipe or '}'");
        return false;
    }
    AstSetting setting = {name_intern(p->names, key->text), key->span, NULL};
    if (!parse_expect(p, TOKEN_ASSIGN, NULL) || !(setting.value = parse_expression(p))) return false;
    if (file->nsettings == MAX_SETTINGS) {
        diag_error(p->diag, key->span, "a file sets at most %d keys of the recipe", MAX_SETTINGS);
        return false;
    }
    for (uint32_t i = 0; i < file->nsettings; i++) {
        if (file->setting[i].key != setting.key) continue;
        diag_error(p->diag, key->span, "'%s' is set a second time in this file", key->text);
        diag_note(p->diag, file->setting[i].span, "first set here");
    }
    ARENA_GROW(p->arena, file->setting, file->nsettings, capacity);
    file->setting[file->nsettings++] = setting;
    const Token *after = parse_peek(p);
    if (after->newlines > 0 || after->kind == TOKEN_RIGHT_BRACE) return true;
    parse_expected(p, "the end of the line");
    return false;
}

static bool parse_train(Parser *p, AstFile *file, uint32_t *capacity) {
    p->at++;
    if (!parse_expect(p, TOKEN_LEFT_BRACE, NULL)) return false;
    while (!parse_accept(p, TOKEN_RIGHT_BRACE)) {
        uint32_t start = p->at;
        if (begins_declaration(parse_peek(p)->kind)) {
            expected_here(p, "'}' at the end of 'train'");
            return false;
        }
        if (!parse_train_setting(p, file, capacity)) skip_statement(p, start);
    }
    return true;
}

static bool parse_import(Parser *p, AstFile *file, uint32_t *capacity) {
    p->at++;
    const Token *path = parse_expect(p, TOKEN_STRING, "the path of a file in quotes");
    if (!path) return false;
    ARENA_GROW(p->arena, file->import, file->nimports, capacity);
    file->import[file->nimports++] = (AstImport){path->text, path->span};
    return true;
}

/* The tokens without comments; line ends before a comment count for the token behind it. */
static const Token *drop_comments(Token *token, uint32_t count) {
    uint32_t kept = 0, newlines = 0;
    for (uint32_t i = 0; i < count; i++) {
        newlines += token[i].newlines;
        if (token[i].kind == TOKEN_COMMENT) continue;
        token[kept] = token[i];
        token[kept++].newlines = newlines;
        newlines = 0;
    }
    return token;
}

static Parser new_parser(Names *names, Diag *diag, uint32_t file, const char *text, size_t length) {
    uint32_t count;
    Token *token = lex(names->arena, diag, file, text, length, &count);
    /* Body numbers must differ between files, as names are shared: a file's id is its high part. */
    return (Parser){
        .names = names, .arena = names->arena, .diag = diag, .token = drop_comments(token, count), .body = file << 20};
}

AstFile *parse_file(Names *names, Diag *diag, uint32_t file, const char *text, size_t length) {
    Parser p = new_parser(names, diag, file, text, length);
    AstFile *ast = ARENA_NEW(names->arena, AstFile);
    uint32_t imports = 0, callables = 0, settings = 0;
    while (parse_peek(&p)->kind != TOKEN_END) {
        const Token *t = parse_peek(&p);
        uint32_t start = p.at;
        bool ok = false;
        switch (t->kind) {
        case TOKEN_IMPORT: ok = parse_import(&p, ast, &imports); break;
        case TOKEN_BLOCK:
        case TOKEN_NET: ok = parse_callable(&p, ast, &callables); break;
        case TOKEN_TRAIN: ok = parse_train(&p, ast, &settings); break;
        default: expected_here(&p, "'import', 'block', 'net' or 'train'"); break;
        }
        if (!ok && (p.at == start || !begins_declaration(parse_peek(&p)->kind))) skip_declaration(&p);
    }
    return ast;
}

AstExpr *parse_setting(Names *names, Diag *diag, uint32_t file, const char *text, size_t length) {
    int before = diag_error_count(diag);
    Parser p = new_parser(names, diag, file, text, length);
    AstExpr *e = parse_expression(&p);
    if (e && parse_peek(&p)->kind != TOKEN_END) parse_expected(&p, "the end of the value");
    return diag_error_count(diag) == before ? e : NULL;
}
