/* See scan.h. Nothing here trusts the text: every index is held against `end`, every number against its range. */
#include "ir/scan.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool report(Scanner *s, size_t begin, size_t end, const char *format, va_list args) {
    if (!s->failed) diag_vreport(s->diag, SEV_ERROR, (Span){s->file, (uint32_t)begin, (uint32_t)end}, format, args);
    s->failed = true;
    return false;
}

static size_t token_end(const Scanner *s) {
    size_t end = s->at;
    while (end < s->end && is_word(s->text[end])) end++;
    return end > s->at || s->at == s->end ? end : s->at + 1;
}

bool scan_refuse(Scanner *s, const char *format, ...) {
    scan_space(s);
    va_list args;
    va_start(args, format);
    report(s, s->at, token_end(s), format, args);
    va_end(args);
    return false;
}

bool scan_refuse_from(Scanner *s, size_t begin, const char *format, ...) {
    va_list args;
    va_start(args, format);
    report(s, begin, s->at, format, args);
    va_end(args);
    return false;
}

void scan_space(Scanner *s) {
    while (s->at < s->end) {
        char c = s->text[s->at];
        if (c == '#') {
            while (s->at < s->end && s->text[s->at] != '\n') s->at++;
        } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            s->at++;
        } else {
            return;
        }
    }
}

bool scan_done(Scanner *s) {
    scan_space(s);
    return s->at == s->end;
}

bool scan_sees(Scanner *s, const char *token) {
    scan_space(s);
    size_t length = strlen(token);
    if (s->failed || s->end - s->at < length || memcmp(s->text + s->at, token, length) != 0) return false;
    return !is_word(token[length - 1]) || s->at + length == s->end || !is_word(s->text[s->at + length]);
}

bool scan_accept(Scanner *s, const char *token) {
    if (!scan_sees(s, token)) return false;
    s->at += strlen(token);
    return true;
}

/* What stands next, for "expected X, found Y". */
static const char *found(Scanner *s) {
    scan_space(s);
    if (s->at == s->end) return "the end of the text";
    unsigned char c = (unsigned char)s->text[s->at];
    if (c < 0x20 || c >= 0x7F) return arena_printf(s->arena, "byte 0x%02x", c);
    size_t length = token_end(s) - s->at;
    return arena_printf(s->arena, "'%.*s'", (int)(length < 40 ? length : 40), s->text + s->at);
}

bool scan_expect(Scanner *s, const char *token) {
    return scan_accept(s, token) || scan_refuse(s, "expected '%s', found %s", token, found(s));
}

bool scan_word(Scanner *s, char word[SCAN_WORD], const char *what) {
    scan_space(s);
    size_t length = 0;
    if (s->at < s->end && !is_digit(s->text[s->at])) {
        while (s->at + length < s->end && is_word(s->text[s->at + length])) length++;
    }
    if (s->failed || length == 0 || length >= SCAN_WORD) return scan_refuse(s, "expected %s, found %s", what, found(s));
    memcpy(word, s->text + s->at, length);
    word[length] = 0;
    s->at += length;
    return true;
}

bool scan_id(Scanner *s, char id[SCAN_WORD]) {
    if (!scan_expect(s, "%")) return false;
    size_t length = 0;
    while (s->at + length < s->end && (is_word(s->text[s->at + length]) || s->text[s->at + length] == '.')) length++;
    if (length == 0) return scan_refuse(s, "expected an id behind '%%', found %s", found(s));
    if (length >= SCAN_WORD) return scan_refuse(s, "an id has at most %d characters", SCAN_WORD - 1);
    memcpy(id, s->text + s->at, length);
    id[length] = 0;
    s->at += length;
    return true;
}

bool scan_integer(Scanner *s, int64_t *value) {
    scan_space(s);
    size_t begin = s->at, at = begin + (begin < s->end && s->text[begin] == '-');
    if (s->failed || at == s->end || !is_digit(s->text[at])) return scan_refuse(s, "expected a whole number, found %s", found(s));
    while (at < s->end && is_digit(s->text[at])) at++;
    errno = 0;
    long long number = strtoll(s->text + begin, NULL, 10);
    s->at = at;
    if (errno == ERANGE) return scan_refuse_from(s, begin, "this number does not fit into 64 bits");
    *value = number;
    return true;
}

/* The bytes of a decimal number from `at` on; strtod alone would also take hexadecimal and "infinity". */
static size_t real_end(const Scanner *s, size_t at) {
    while (at < s->end) {
        char c = s->text[at], before = at ? s->text[at - 1] : 0;
        bool sign = (c == '-' || c == '+') && (before == 'e' || before == 'E');
        if (!is_digit(c) && c != '.' && c != 'e' && c != 'E' && !sign) break;
        at++;
    }
    return at;
}

bool scan_real(Scanner *s, double *value) {
    scan_space(s);
    size_t begin = s->at;
    bool negative = scan_accept(s, "-");
    if (scan_accept(s, "inf") || scan_accept(s, "nan")) {
        double special = s->text[s->at - 1] == 'f' ? INFINITY : NAN;
        *value = negative ? -special : special;
        return true;
    }
    size_t end = real_end(s, s->at);
    char *stop = NULL;
    errno = 0;
    double number = end > s->at && s->text[s->at] != 'e' && s->text[s->at] != 'E' ? strtod(s->text + s->at, &stop) : 0;
    if (s->failed || stop != s->text + end) return scan_refuse(s, "expected a number, found %s", found(s));
    s->at = end;
    if (isinf(number)) return scan_refuse_from(s, begin, "this number is too large for a double");
    *value = negative ? -number : number;
    return true;
}

static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character after a backslash; 0 if it is no escape (a zero byte cannot be written either). */
static char scan_escape(Scanner *s) {
    char c = s->at < s->end ? s->text[s->at] : 0;
    if (c == '"' || c == '\\') {
        s->at++;
        return c;
    }
    if (c != 'x' || s->end - s->at < 3) return 0;
    int high = hex_digit(s->text[s->at + 1]), low = hex_digit(s->text[s->at + 2]);
    if (high < 0 || low < 0) return 0;
    s->at += 3;
    return (char)(high * 16 + low);
}

bool scan_string(Scanner *s, const char **value) {
    scan_space(s);
    size_t begin = s->at, length = 0;
    if (!scan_accept(s, "\"")) return scan_refuse(s, "expected a string, found %s", found(s));
    size_t limit = s->at;
    while (limit < s->end && s->text[limit] != '\n') limit++; /* a string stays on its line */
    char *text = arena_alloc(s->arena, limit - s->at + 1);
    while (s->at < limit && s->text[s->at] != '"') {
        char c = s->text[s->at++];
        if (c == '\\') c = scan_escape(s);
        if (c == 0) return scan_refuse(s, "expected \\\", \\\\ or \\x and two hexadecimal digits in a string");
        text[length++] = c;
    }
    if (s->at == limit) return scan_refuse_from(s, begin, "this string does not end on its line");
    s->at++;
    *value = text;
    return true;
}

bool scan_type(Scanner *s, Type *type) {
    static const char *const dtype[DTYPES] = {"f32", "bf16", "i32", "u8", "f64"};
    scan_space(s);
    size_t begin = s->at;
    char word[SCAN_WORD];
    if (!scan_word(s, word, "a type")) return false;
    *type = (Type){.rank = 0};
    int d = 0;
    while (d < DTYPES && strcmp(dtype[d], word) != 0) d++;
    if (d == DTYPES) return scan_refuse_from(s, begin, "there is no element type '%s'", word);
    type->dtype = (DType)d;
    if (!scan_expect(s, "[")) return false;
    while (!scan_accept(s, "]")) {
        if (type->rank == MAX_RANK) return scan_refuse(s, "a type has at most %d dimensions", MAX_RANK);
        if (type->rank && !scan_expect(s, ",")) return false;
        if (!scan_integer(s, &type->dim[type->rank])) return false;
        type->rank++;
    }
    return type_valid(*type) ||
           scan_refuse_from(s, begin, "the dimensions of %s are out of range", type_format(*type, (char[TYPE_TEXT]){0}));
}
