/* What the two halves of the parser share: the token cursor, messages, growing lists. Private to parser*.c. */
#ifndef NETC_FRONTEND_PARSE_H
#define NETC_FRONTEND_PARSE_H
#include "frontend/parser.h"

typedef struct Parser {
    Names *names;
    Arena *arena;
    Diag *diag;
    const Token *token; /* without comments, ended by TOKEN_END */
    uint32_t at;
    uint32_t complained; /* 1 + the token that parse_expected last spoke about */
    uint32_t depth;      /* recursion of the parser, at most MAX_NESTING */
    uint32_t loops;      /* enclosing for statements */
    uint32_t body;       /* number of the function body being parsed */
    AstExpr **call;      /* calls without `as` in this body, for the naming rule */
    uint32_t ncalls, call_capacity;
    bool in_net;
} Parser;

const Token *parse_peek(const Parser *p);
const Token *parse_next(Parser *p);
bool parse_accept(Parser *p, TokenKind kind);
/* Takes a token of this kind, or reports "expected X, found Y" and returns NULL. `what` may replace X. */
const Token *parse_expect(Parser *p, TokenKind kind, const char *what);
/* Reports "expected <what>, found <the next token, or the end of the line if that stands on another one>". */
void parse_expected(Parser *p, const char *what);
Span parse_span_from(const Parser *p, Span begin);

bool parse_enter(Parser *p); /* depth check; pair with parse_leave when true */
void parse_leave(Parser *p);

/* An expression, or NULL after a report. */
AstExpr *parse_expression(Parser *p);
/* name + value, which `name += value` assigns; NULL after a report. */
AstExpr *parse_sum(Parser *p, Name *name, Span name_span, AstExpr *value);
#endif
