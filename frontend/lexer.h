/* .net text -> tokens. The whole file is cut at once; tokens and the names they hold live in the arena given.
 * Comments are tokens too: the parser skips them, the formatter prints them. */
#ifndef NETC_FRONTEND_LEXER_H
#define NETC_FRONTEND_LEXER_H
#include "ir/arena.h"
#include "ir/diag.h"
#include <stddef.h>

/*      id           text in messages and in canonical form */
#define TOKENS(X)                                                                                                                \
    X(TOKEN_END, "end of file")                                                                                                  \
    X(TOKEN_ERROR, "invalid text") /* reported by the lexer already */                                                           \
    X(TOKEN_COMMENT, "comment")                                                                                                  \
    X(TOKEN_NAME, "a name")                                                                                                      \
    X(TOKEN_INTEGER, "an integer")                                                                                               \
    X(TOKEN_REAL, "a real number")                                                                                               \
    X(TOKEN_STRING, "a string")                                                                                                  \
    X(TOKEN_AND, "and")                                                                                                          \
    X(TOKEN_AS, "as")                                                                                                            \
    X(TOKEN_ASSERT, "assert")                                                                                                    \
    X(TOKEN_BLOCK, "block")                                                                                                      \
    X(TOKEN_ELSE, "else")                                                                                                        \
    X(TOKEN_FALSE, "false")                                                                                                      \
    X(TOKEN_FOR, "for")                                                                                                          \
    X(TOKEN_IF, "if")                                                                                                            \
    X(TOKEN_IMPORT, "import")                                                                                                    \
    X(TOKEN_IN, "in")                                                                                                            \
    X(TOKEN_INPUT, "input")                                                                                                      \
    X(TOKEN_NET, "net")                                                                                                          \
    X(TOKEN_NOT, "not")                                                                                                          \
    X(TOKEN_OR, "or")                                                                                                            \
    X(TOKEN_OUTPUT, "output")                                                                                                    \
    X(TOKEN_RETURN, "return")                                                                                                    \
    X(TOKEN_THEN, "then")                                                                                                        \
    X(TOKEN_TRAIN, "train")                                                                                                      \
    X(TOKEN_TRUE, "true")                                                                                                        \
    X(TOKEN_LEFT_PAREN, "(")                                                                                                     \
    X(TOKEN_RIGHT_PAREN, ")")                                                                                                    \
    X(TOKEN_LEFT_BRACKET, "[")                                                                                                   \
    X(TOKEN_RIGHT_BRACKET, "]")                                                                                                  \
    X(TOKEN_LEFT_BRACE, "{")                                                                                                     \
    X(TOKEN_RIGHT_BRACE, "}")                                                                                                    \
    X(TOKEN_COMMA, ",")                                                                                                          \
    X(TOKEN_COLON, ":")                                                                                                          \
    X(TOKEN_RANGE, "..")                                                                                                         \
    X(TOKEN_ASSIGN, "=")                                                                                                         \
    X(TOKEN_PLUS_ASSIGN, "+=")                                                                                                   \
    X(TOKEN_PLUS, "+")                                                                                                           \
    X(TOKEN_MINUS, "-")                                                                                                          \
    X(TOKEN_STAR, "*")                                                                                                           \
    X(TOKEN_SLASH, "/")                                                                                                          \
    X(TOKEN_FLOOR_DIVIDE, "//")                                                                                                  \
    X(TOKEN_PERCENT, "%")                                                                                                        \
    X(TOKEN_SHIFT_LEFT, "<<")                                                                                                    \
    X(TOKEN_SHIFT_RIGHT, ">>")                                                                                                   \
    X(TOKEN_EQUAL, "==")                                                                                                         \
    X(TOKEN_NOT_EQUAL, "!=")                                                                                                     \
    X(TOKEN_LESS, "<")                                                                                                           \
    X(TOKEN_LESS_EQUAL, "<=")                                                                                                    \
    X(TOKEN_GREATER, ">")                                                                                                        \
    X(TOKEN_GREATER_EQUAL, ">=")

typedef enum TokenKind {
#define X(id, text) id,
    TOKENS(X)
#undef X
        TOKEN_COUNT
} TokenKind;

typedef struct Token {
    TokenKind kind;
    Span span;
    uint32_t newlines; /* line ends between the token before and this one */
    union {
        int64_t integer;
        double real;
        const char *text; /* NAME: as written; STRING: escapes resolved; both NUL-terminated */
    };
} Token;

enum {
    MAX_FILE_BYTES = 1 << 20,
    MAX_NAME_BYTES = 64,    /* of an identifier */
    MAX_STRING_BYTES = 4096 /* of any string value */
};

/* Tokens of `text`, registered in diag as `file`; always ends with TOKEN_END. Mistakes are reported. */
Token *lex(Arena *arena, Diag *diag, uint32_t file, const char *text, size_t length, uint32_t *count);

const char *token_text(TokenKind kind);
bool token_is_keyword(TokenKind kind);
/* "'('", "'if'", "a name", "end of file": how messages mention a kind. */
const char *token_describe(Arena *arena, TokenKind kind);
#endif
