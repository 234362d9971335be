/* The lexer: one pass over the bytes. An identifier is [A-Za-z_][A-Za-z0-9_]*; a real has digits behind its point,
 * so that 0..3 is a range; a string stands on one line and knows the escapes \" \\ \n \t. */
#include "frontend/lexer.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const token_texts[TOKEN_COUNT] = {
#define X(id, text) text,
    TOKENS(X)
#undef X
};

typedef struct Lexer {
    Arena *arena;
    Diag *diag;
    const char *text;
    uint32_t length, at, file, newlines;
    Token *token;
    uint32_t count, capacity;
} Lexer;

const char *token_text(TokenKind kind) { return token_texts[kind]; }

bool token_is_keyword(TokenKind kind) { return kind >= TOKEN_AND && kind <= TOKEN_TRUE; }

const char *token_describe(Arena *arena, TokenKind kind) {
    return kind < TOKEN_AND ? token_texts[kind] : arena_printf(arena, "'%s'", token_texts[kind]);
}

static Token *emit(Lexer *lx, TokenKind kind, uint32_t begin) {
    ARENA_GROW(lx->arena, lx->token, lx->count, &lx->capacity);
    Token *t = &lx->token[lx->count++];
    *t = (Token){.kind = kind, .span = {lx->file, begin, lx->at}, .newlines = lx->newlines};
    lx->newlines = 0;
    return t;
}

static char peek(const Lexer *lx, uint32_t ahead) { return lx->length - lx->at > ahead ? lx->text[lx->at + ahead] : '\0'; }

static Span span_from(const Lexer *lx, uint32_t begin) { return (Span){lx->file, begin, lx->at}; }

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void lex_word(Lexer *lx) {
    uint32_t begin = lx->at;
    while (is_word(peek(lx, 0))) lx->at++;
    uint32_t length = lx->at - begin;
    for (TokenKind kind = TOKEN_AND; kind <= TOKEN_TRUE; kind++) {
        if (strlen(token_texts[kind]) == length && !memcmp(token_texts[kind], lx->text + begin, length)) {
            emit(lx, kind, begin);
            return;
        }
    }
    if (length > MAX_NAME_BYTES) {
        diag_error(lx->diag, span_from(lx, begin), "a name has at most %d characters, this one has %u", MAX_NAME_BYTES, length);
        length = MAX_NAME_BYTES;
    }
    const char *text = arena_strndup(lx->arena, lx->text + begin, length);
    emit(lx, TOKEN_NAME, begin)->text = text;
}

static void skip_digits(Lexer *lx) {
    while (isdigit((unsigned char)peek(lx, 0))) lx->at++;
}

/* Is there an exponent at the cursor? Skips it. */
static bool skip_exponent(Lexer *lx) {
    if (peek(lx, 0) != 'e' && peek(lx, 0) != 'E') return false;
    uint32_t sign = peek(lx, 1) == '+' || peek(lx, 1) == '-';
    if (!isdigit((unsigned char)peek(lx, 1 + sign))) return false;
    lx->at += 1 + sign;
    skip_digits(lx);
    return true;
}

static void lex_number(Lexer *lx) {
    uint32_t begin = lx->at;
    bool real = false;
    skip_digits(lx);
    if (peek(lx, 0) == '.' && isdigit((unsigned char)peek(lx, 1))) {
        real = true;
        lx->at++;
        skip_digits(lx);
    }
    real |= skip_exponent(lx);
    if (is_word(peek(lx, 0))) {
        while (is_word(peek(lx, 0))) lx->at++;
        Token *t = emit(lx, TOKEN_ERROR, begin);
        diag_error(lx->diag, t->span, "this is neither a number nor a name: a name begins with a letter");
        return;
    }
    char *digits = arena_strndup(lx->arena, lx->text + begin, lx->at - begin);
    errno = 0;
    if (real) {
        double value = strtod(digits, NULL);
        Token *t = emit(lx, TOKEN_REAL, begin);
        t->real = value;
        if (!isfinite(value)) diag_error(lx->diag, t->span, "this number is too large for a real");
    } else {
        long long value = strtoll(digits, NULL, 10);
        Token *t = emit(lx, TOKEN_INTEGER, begin);
        t->integer = value;
        if (errno == ERANGE) diag_error(lx->diag, t->span, "this number is too large for an integer (64 bits)");
    }
}

static char escape(char c) {
    switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case '"':
    case '\\': return c;
    default: return '\0';
    }
}

static void lex_string(Lexer *lx) {
    uint32_t begin = lx->at++;
    uint32_t end = lx->at;
    while (end < lx->length && lx->text[end] != '\n' && lx->text[end] != '"') {
        end += lx->text[end] == '\\' && end + 1 < lx->length && lx->text[end + 1] != '\n' ? 2 : 1;
    }
    char *value = arena_alloc(lx->arena, end - lx->at + 1);
    uint32_t length = 0;
    for (; lx->at < end; lx->at++) {
        char c = lx->text[lx->at];
        if (c == '\\') {
            c = lx->at + 1 < end ? escape(lx->text[lx->at + 1]) : '\0';
            Span span = {lx->file, lx->at, lx->at + 2};
            if (!c) diag_error(lx->diag, span, "unknown escape; a string knows \\\" \\\\ \\n and \\t");
            lx->at++;
        }
        value[length++] = c ? c : '?';
    }
    lx->at = end;
    bool closed = peek(lx, 0) == '"';
    if (closed) lx->at++;
    Token *t = emit(lx, TOKEN_STRING, begin);
    t->text = value;
    if (!closed) {
        Span quote = {lx->file, begin, begin + 1};
        diag_error(lx->diag, quote, "this string is not closed on its line");
    } else if (length > MAX_STRING_BYTES) {
        diag_error(lx->diag, t->span, "a string has at most %d bytes, this one has %u", MAX_STRING_BYTES, length);
    }
}

static void lex_symbol(Lexer *lx) {
    uint32_t begin = lx->at;
    TokenKind found = TOKEN_ERROR;
    size_t longest = 0;
    for (TokenKind kind = TOKEN_LEFT_PAREN; kind < TOKEN_COUNT; kind++) {
        size_t length = strlen(token_texts[kind]);
        if (length > longest && length <= lx->length - begin && !memcmp(token_texts[kind], lx->text + begin, length)) {
            found = kind;
            longest = length;
        }
    }
    lx->at += longest ? (uint32_t)longest : 1;
    /* The bytes of one UTF-8 character make one message. */
    while (!longest && lx->at < lx->length && ((unsigned char)lx->text[lx->at] & 0xC0) == 0x80) lx->at++;
    Token *t = emit(lx, found, begin);
    if (longest) return;
    unsigned char c = (unsigned char)lx->text[begin];
    if (c == '.') {
        diag_error(lx->diag, t->span,
                   "unexpected character '.': operations stand alone, relu(x) rather than F.relu(x) or x.relu()");
    } else if (c == '@') {
        diag_error(lx->diag, t->span,
                   "unexpected character '@': products of two activations (self-attention) are outside of what netc compiles; "
                   "dense(x, units) multiplies by weights");
    } else if (c > 0x20 && c < 0x7F) {
        diag_error(lx->diag, t->span, "unexpected character '%c'", c);
    } else {
        diag_error(lx->diag, t->span, "unexpected character with code 0x%02X", c);
    }
}

/* .5, where nothing stands before it that it could belong to: x.5, 1..5 */
static bool begins_fraction(const Lexer *lx) {
    char before = lx->at ? lx->text[lx->at - 1] : ' ';
    return peek(lx, 0) == '.' && isdigit((unsigned char)peek(lx, 1)) && !is_word(before) && !strchr(".)]\"", before);
}

Token *lex(Arena *arena, Diag *diag, uint32_t file, const char *text, size_t length, uint32_t *count) {
    Lexer lx = {.arena = arena, .diag = diag, .text = text, .length = (uint32_t)length, .file = file};
    const char *zero = memchr(text, '\0', length);
    if (zero) {
        Span span = {file, (uint32_t)(zero - text), (uint32_t)(zero - text) + 1};
        diag_error(diag, span, "the file holds a zero byte; is it text?");
        lx.length = 0; /* nothing to be said about the rest */
    }
    if (lx.length >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) lx.at = 3; /* a UTF-8 byte order mark */
    while (lx.at < lx.length) {
        char c = lx.text[lx.at];
        if (c == '\n') {
            lx.newlines++;
            lx.at++;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            lx.at++;
        } else if (c == '#') {
            uint32_t begin = lx.at;
            while (lx.at < lx.length && lx.text[lx.at] != '\n') lx.at++;
            emit(&lx, TOKEN_COMMENT, begin);
        } else if (isdigit((unsigned char)c) || begins_fraction(&lx)) {
            lex_number(&lx);
        } else if (is_word(c)) {
            lex_word(&lx);
        } else if (c == '"') {
            lex_string(&lx);
        } else {
            lex_symbol(&lx);
        }
    }
    emit(&lx, TOKEN_END, lx.at);
    *count = lx.count;
    return lx.token;
}
