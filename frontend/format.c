/* netc fmt: a file in the one canonical style.
 *
 * Works on tokens, so that comments stay where they are. A file that does not parse is refused. The author decides where
 * lines break between statements and inside brackets, and which statements a blank line separates; everything else is fixed:
 *   - four spaces per level; one more level inside brackets that stay open and for a statement's further lines;
 *   - a declaration's body is on lines of its own; `if` and `for` may hold one statement on one line of up to WIDTH columns;
 *   - one space around operators and `=`, none inside brackets; no trailing comma on one line;
 *   - in `train`, the equal signs stand in one column; comments behind the code of adjacent lines stand in one column;
 *   - at most one blank line; one behind imports and behind each declaration with a body. */
#include "frontend/frontend.h"
#include "frontend/parser.h"
#include "ir/stream.h"
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 120, INDENT = 4, MAX_INDENT = 40 };

typedef struct Line {
    uint32_t begin, end;           /* code, in Formatter.out */
    uint32_t comment, comment_end; /* trailing or whole-line comment, in the source; empty if equal */
    uint32_t indent;               /* columns */
    uint32_t key_end, train;       /* in `train` number `train`: where the key of this line ends, else 0 */
    bool blank_before;
} Line;

typedef struct Bracket {
    TokenKind kind;
    bool multi; /* a brace whose body has lines of its own */
    bool train;
    uint32_t line; /* where it opened */
} Bracket;

typedef enum BraceStyle { BRACE_UNKNOWN, BRACE_ONE_LINE, BRACE_LINES } BraceStyle;

typedef struct Formatter {
    Arena *arena;
    const char *text;
    const Token *token;
    uint32_t count;
    uint32_t *match; /* of each brace the token that closes it */
    BraceStyle *brace;
    Bracket *stack;
    uint32_t depth;
    char *out;
    uint32_t length;
    Line *line;
    uint32_t nlines;
    uint32_t trains;
    bool in_train;
} Formatter;

/* ---- classes of tokens ---- */

static bool is_opening(TokenKind k) { return k == TOKEN_LEFT_PAREN || k == TOKEN_LEFT_BRACKET || k == TOKEN_LEFT_BRACE; }
static bool is_closing(TokenKind k) { return k == TOKEN_RIGHT_PAREN || k == TOKEN_RIGHT_BRACKET || k == TOKEN_RIGHT_BRACE; }

static bool ends_operand(TokenKind k) {
    return k == TOKEN_NAME || k == TOKEN_INTEGER || k == TOKEN_REAL || k == TOKEN_STRING || k == TOKEN_TRUE || k == TOKEN_FALSE ||
           k == TOKEN_RIGHT_PAREN || k == TOKEN_RIGHT_BRACKET;
}

/* Can a line begin a new statement or declaration with this token? Otherwise it continues the one before. */
static bool begins_line(TokenKind k) {
    return k == TOKEN_NAME || k == TOKEN_IF || k == TOKEN_FOR || k == TOKEN_ASSERT || k == TOKEN_RETURN || k == TOKEN_INPUT ||
           k == TOKEN_OUTPUT || k == TOKEN_IMPORT || k == TOKEN_BLOCK || k == TOKEN_NET || k == TOKEN_TRAIN || k == TOKEN_END;
}

static bool begins_declaration(TokenKind k) {
    return k == TOKEN_IMPORT || k == TOKEN_BLOCK || k == TOKEN_NET || k == TOKEN_TRAIN;
}

/* The token before i that is no comment. */
static TokenKind code_before(const Formatter *f, uint32_t i) {
    while (i > 0 && f->token[i - 1].kind == TOKEN_COMMENT) i--;
    return i > 0 ? f->token[i - 1].kind : TOKEN_END;
}

static bool is_unary_minus(const Formatter *f, uint32_t i) {
    return f->token[i].kind == TOKEN_MINUS && !ends_operand(code_before(f, i));
}

static bool space_between(const Formatter *f, uint32_t i) {
    TokenKind before = f->token[i - 1].kind, k = f->token[i].kind;
    if (before == TOKEN_LEFT_PAREN || before == TOKEN_LEFT_BRACKET || before == TOKEN_RANGE || k == TOKEN_RANGE) return false;
    if (k == TOKEN_RIGHT_PAREN || k == TOKEN_RIGHT_BRACKET || k == TOKEN_COMMA || k == TOKEN_COLON) return false;
    if (before == TOKEN_LEFT_BRACE && k == TOKEN_RIGHT_BRACE) return false;
    if (k == TOKEN_LEFT_PAREN || k == TOKEN_LEFT_BRACKET) {
        if (before == TOKEN_NAME || before == TOKEN_RIGHT_PAREN || before == TOKEN_RIGHT_BRACKET) return false;
    }
    return !is_unary_minus(f, i - 1);
}

/* ---- braces ---- */

static void match_brackets(Formatter *f) {
    uint32_t depth = 0;
    uint32_t *open = ARENA_ARRAY(f->arena, uint32_t, f->count);
    for (uint32_t i = 0; i < f->count; i++) {
        if (is_opening(f->token[i].kind)) open[depth++] = i;
        if (is_closing(f->token[i].kind) && depth > 0) f->match[open[--depth]] = i;
    }
}

static bool body_needs_lines(const Formatter *f, uint32_t open) {
    for (uint32_t i = open + 1; i <= f->match[open]; i++) {
        const Token *t = &f->token[i];
        if (t->newlines > 0 || t->kind == TOKEN_COMMENT || t->kind == TOKEN_LEFT_BRACE) return true;
    }
    return false;
}

/* The brace that opens the else branch behind this body, or 0. */
static uint32_t else_brace(const Formatter *f, uint32_t open) {
    uint32_t i = f->match[open] + 1;
    if (i >= f->count || f->token[i].kind != TOKEN_ELSE) return 0;
    while (i < f->count && f->token[i].kind != TOKEN_LEFT_BRACE) i++;
    return i < f->count ? i : 0;
}

/* One style for all branches of an if: lines of their own if any of them needs that, or if one line would be too long. */
static void choose_style(Formatter *f, uint32_t open, uint32_t first, uint32_t column) {
    bool lines = f->depth == 0;
    uint32_t last = open;
    for (uint32_t b = open; b; b = else_brace(f, b)) {
        lines |= body_needs_lines(f, b);
        last = f->match[b];
    }
    for (uint32_t i = first; i <= last && !lines; i++) {
        Span span = f->token[i].span;
        column += span.end - span.begin + (i > first && space_between(f, i));
        lines = column > WIDTH;
    }
    for (uint32_t b = open; b; b = else_brace(f, b)) f->brace[b] = lines ? BRACE_LINES : BRACE_ONE_LINE;
}

/* ---- where lines break ---- */

/* 0: on the same line; 1: on a new one; 2: behind a blank line. */
static uint32_t breaks_before(const Formatter *f, uint32_t i) {
    const Token *t = &f->token[i], *before = &f->token[i - 1];
    uint32_t written = t->newlines > 2 ? 2 : t->newlines, at_least_one = written ? written : 1;
    const Bracket *top = f->depth ? &f->stack[f->depth - 1] : NULL;
    bool inside = top && top->kind != TOKEN_LEFT_BRACE;
    if (t->kind == TOKEN_COMMENT && written == 0) return 0;
    if (inside || t->kind == TOKEN_RIGHT_BRACE || before->kind == TOKEN_LEFT_BRACE) {
        bool must = before->kind == TOKEN_COMMENT || (!inside && top && top->multi && before->kind != TOKEN_COMMENT);
        if (t->kind == TOKEN_RIGHT_BRACE && before->kind == TOKEN_LEFT_BRACE) return 0; /* {} */
        return must || (inside && written) || (t->kind == TOKEN_COMMENT) ? 1 : 0;
    }
    if (t->kind == TOKEN_ELSE && before->kind == TOKEN_COMMENT) return 1;
    if (before->kind == TOKEN_COMMENT || t->kind == TOKEN_COMMENT) return at_least_one;
    if (t->kind == TOKEN_LEFT_BRACE || (t->kind == TOKEN_ELSE && before->kind == TOKEN_RIGHT_BRACE)) return 0;
    if (!top && before->kind == TOKEN_RIGHT_BRACE) return 2;
    if (!top && i >= 2 && f->token[i - 2].kind == TOKEN_IMPORT && t->kind != TOKEN_IMPORT) return 2;
    if (before->kind == TOKEN_RIGHT_BRACE || (!top && begins_declaration(t->kind))) return at_least_one;
    if (!begins_line(t->kind) || !ends_operand(before->kind)) return written ? 1 : 0;
    return written;
}

/* ---- output ---- */

static void put(Formatter *f, const char *bytes, uint32_t n) {
    memcpy(f->out + f->length, bytes, n);
    f->length += n;
}

static Line *current(Formatter *f) { return &f->line[f->nlines - 1]; }

/* Levels of brackets around a line: braces with lines of their own, and one for all brackets that opened on one line. */
static uint32_t levels(const Formatter *f, uint32_t depth) {
    uint32_t n = 0, last = UINT32_MAX;
    for (uint32_t k = 0; k < depth; k++) {
        const Bracket *b = &f->stack[k];
        if (b->kind == TOKEN_LEFT_BRACE) {
            n += b->multi;
            last = UINT32_MAX;
        } else if (b->line != last) {
            n++;
            last = b->line;
        }
    }
    return n < MAX_INDENT ? n : MAX_INDENT;
}

static void begin_line(Formatter *f, uint32_t i, bool blank) {
    const Token *t = &f->token[i];
    uint32_t depth = f->depth - (is_closing(t->kind) && f->depth > 0);
    bool inside = f->depth > 0 && f->stack[f->depth - 1].kind != TOKEN_LEFT_BRACE;
    bool fresh = i == 0 || begins_line(t->kind) || is_closing(t->kind) || t->kind == TOKEN_COMMENT;
    if (i > 0 && fresh && begins_line(t->kind)) { /* a name may also continue the line before */
        TokenKind code = code_before(f, i);
        fresh = ends_operand(code) || code == TOKEN_LEFT_BRACE || code == TOKEN_RIGHT_BRACE || code == TOKEN_END;
    }
    uint32_t n = levels(f, depth) + (!inside && !fresh && t->kind != TOKEN_ELSE && t->kind != TOKEN_LEFT_BRACE);
    f->line[f->nlines++] = (Line){.begin = f->length, .end = f->length, .indent = n * INDENT, .blank_before = blank};
}

static void put_comment(Formatter *f, const Token *t) {
    Line *line = current(f);
    line->comment = t->span.begin;
    line->comment_end = t->span.end;
    while (line->comment_end > line->comment + 1 && strchr(" \t\r", f->text[line->comment_end - 1])) line->comment_end--;
}

static void note_key(Formatter *f, uint32_t i) {
    bool at_top = f->depth == 1 && f->stack[0].train;
    if (!at_top || f->token[i].kind != TOKEN_ASSIGN) return;
    Line *line = current(f);
    if (line->key_end) return;
    line->key_end = f->length;
    line->train = f->trains;
}

static void open_bracket(Formatter *f, uint32_t i) {
    Bracket *b = &f->stack[f->depth];
    *b = (Bracket){.kind = f->token[i].kind, .line = f->nlines};
    b->multi = f->brace[i] == BRACE_LINES;
    b->train = f->in_train && f->depth == 0;
    f->trains += b->train;
    f->in_train = false;
    f->depth++;
}

/* The brace's style depends on the whole line, whose first token is `first`. */
static void style_brace(Formatter *f, uint32_t i, uint32_t first) {
    if (f->token[i].kind != TOKEN_LEFT_BRACE || f->brace[i] != BRACE_UNKNOWN) return;
    choose_style(f, i, first, current(f)->indent);
}

static void format_tokens(Formatter *f) {
    uint32_t first = 0; /* token of the line */
    for (uint32_t i = 0; f->token[i].kind != TOKEN_END; i++) {
        const Token *t = &f->token[i];
        uint32_t breaks = i ? breaks_before(f, i) : 1;
        if (breaks > 0) {
            begin_line(f, i, breaks == 2);
            first = i;
        }
        style_brace(f, i, first);
        if (is_closing(t->kind) && f->depth > 0) f->depth--;
        if (t->kind == TOKEN_COMMENT) {
            put_comment(f, t);
            continue;
        }
        TokenKind next = f->token[i + 1].kind;
        bool useless =
            t->kind == TOKEN_COMMA && f->token[i + 1].newlines == 0 && (next == TOKEN_RIGHT_PAREN || next == TOKEN_RIGHT_BRACKET);
        if (useless) continue;
        note_key(f, i);
        if (breaks == 0 && space_between(f, i)) put(f, " ", 1);
        put(f, f->text + t->span.begin, t->span.end - t->span.begin);
        current(f)->end = f->length;
        f->in_train |= t->kind == TOKEN_TRAIN;
        if (is_opening(t->kind)) open_bracket(f, i);
    }
}

/* ---- columns ---- */

/* Spaces that the key of this line lacks to the longest key of its train block. */
static uint32_t *key_padding(Formatter *f) {
    uint32_t *longest = ARENA_ARRAY(f->arena, uint32_t, f->trains + 1);
    uint32_t *padding = ARENA_ARRAY(f->arena, uint32_t, f->nlines);
    for (uint32_t i = 0; i < f->nlines; i++) {
        uint32_t length = f->line[i].key_end - f->line[i].begin;
        if (f->line[i].key_end && length > longest[f->line[i].train]) longest[f->line[i].train] = length;
    }
    for (uint32_t i = 0; i < f->nlines; i++) {
        if (f->line[i].key_end) padding[i] = longest[f->line[i].train] - (f->line[i].key_end - f->line[i].begin);
    }
    return padding;
}

static bool has_trailing_comment(const Line *line) { return line->comment < line->comment_end && line->begin < line->end; }

static uint32_t comment_column(const Formatter *f, const uint32_t *padding, uint32_t i) {
    uint32_t first = i, column = 0;
    while (first > 0 && !f->line[first].blank_before && has_trailing_comment(&f->line[first - 1])) first--;
    for (uint32_t k = first; k < f->nlines && has_trailing_comment(&f->line[k]); k++) {
        if (k > first && f->line[k].blank_before) break;
        uint32_t width = f->line[k].indent + (f->line[k].end - f->line[k].begin) + padding[k] + 2;
        if (width > column) column = width;
    }
    return column;
}

static void print_spaces(FILE *out, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) fputc(' ', out);
}

static void print_line(const Formatter *f, const Line *line, uint32_t padding, uint32_t column, FILE *out) {
    uint32_t key_end = line->key_end ? line->key_end : line->end;
    if (line->blank_before) fputc('\n', out);
    print_spaces(out, line->indent);
    fwrite(f->out + line->begin, 1, key_end - line->begin, out);
    print_spaces(out, padding);
    fwrite(f->out + key_end, 1, line->end - key_end, out);
    if (line->comment < line->comment_end) {
        char second = line->comment + 1 < line->comment_end ? f->text[line->comment + 1] : ' ';
        if (line->begin < line->end) print_spaces(out, column - (line->indent + (line->end - line->begin) + padding));
        fputs(second == ' ' || second == '\t' || second == '#' ? "#" : "# ", out);
        fwrite(f->text + line->comment + 1, 1, line->comment_end - line->comment - 1, out);
    }
    fputc('\n', out);
}

static void print_lines(Formatter *f, FILE *out) {
    const uint32_t *padding = key_padding(f);
    uint32_t column = 0;
    for (uint32_t i = 0; i < f->nlines; i++) {
        const Line *line = &f->line[i];
        bool run = i > 0 && !line->blank_before && has_trailing_comment(line - 1);
        if (has_trailing_comment(line) && !run) column = comment_column(f, padding, i);
        print_line(f, line, padding[i], column, out);
    }
}

static char *format_text(Arena *arena, uint32_t file, const char *text, size_t length, Diag *diag) {
    Formatter f = {.arena = arena, .text = text};
    f.token = lex(arena, diag, file, text, length, &f.count);
    f.match = ARENA_ARRAY(arena, uint32_t, f.count);
    f.brace = ARENA_ARRAY(arena, BraceStyle, f.count);
    f.stack = ARENA_ARRAY(arena, Bracket, f.count);
    f.line = ARENA_ARRAY(arena, Line, f.count);
    f.out = arena_alloc(arena, length + f.count + 1); /* each token and a space at most */
    match_brackets(&f);
    format_tokens(&f);
    TextStream out;
    text_open(&out);
    print_lines(&f, out.file);
    return text_close(&out);
}

char *frontend_format(const char *path, const char *text, size_t length, Diag *diag) {
    int before = diag_error_count(diag);
    if (length > MAX_FILE_BYTES) {
        Span nowhere = {0};
        diag_error(diag, nowhere, "cannot format '%s': it is larger than 1 MB", path);
        return NULL;
    }
    Arena *arena = arena_new();
    Names names = {.arena = arena};
    uint32_t file = diag_add_file(diag, path, text, length);
    parse_file(&names, diag, file, text, length);
    char *result = diag_error_count(diag) == before ? format_text(arena, file, text, length, diag) : NULL;
    arena_free(arena);
    return result;
}
