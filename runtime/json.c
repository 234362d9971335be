/* A pull reader over JSON text. See json.h. */
#include "runtime/json.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

Json json_open(const char *text, size_t length) { return (Json){.at = text, .end = text + length}; }

static bool fail(Json *j) {
    j->failed = true;
    return false;
}

static void skip_space(Json *j) {
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r')) j->at++;
}

static bool take(Json *j, char c) {
    skip_space(j);
    if (j->failed || j->at == j->end || *j->at != c) return false;
    j->at++;
    return true;
}

bool json_begin(Json *j, char bracket) {
    if (!take(j, bracket) || ++j->depth > MAX_DEPTH) return fail(j);
    return true;
}

bool json_next(Json *j, char bracket, bool first, char *key, size_t key_size) {
    if (j->failed) return false;
    if (take(j, bracket == '{' ? '}' : ']')) {
        j->depth--;
        return false;
    }
    if (!first && !take(j, ',')) return fail(j);
    if (bracket == '[') return true;
    return json_string(j, key, key_size) && (take(j, ':') || fail(j));
}

static bool hex4(Json *j, unsigned *code) {
    *code = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        if (j->at == j->end) return false;
        char c = *j->at;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) return false;
        *code = *code * 16 + digit;
    }
    return true;
}

/* UTF-8 of a code point of the basic plane; surrogate halves become U+FFFD, since nothing of ours writes them. */
static size_t utf8(unsigned code, char out[3]) {
    if (code >= 0xD800 && code < 0xE000) code = 0xFFFD;
    if (code < 0x80) return out[0] = (char)code, 1;
    if (code < 0x800) return out[0] = (char)(0xC0 | code >> 6), out[1] = (char)(0x80 | (code & 63)), 2;
    out[0] = (char)(0xE0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 63));
    out[2] = (char)(0x80 | (code & 63));
    return 3;
}

static bool escaped(Json *j, char bytes[3], size_t *count) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned code;
    if (j->at == j->end) return false;
    char c = *j->at++;
    *count = 1;
    if (c == 'u') {
        if (!hex4(j, &code)) return false;
        *count = utf8(code, bytes);
        return true;
    }
    const char *known = c ? strchr(from, c) : NULL;
    if (known) bytes[0] = to[known - from];
    return known != NULL;
}

/* out may be NULL: only the syntax is checked. */
static bool read_string(Json *j, char *out, size_t size) {
    if (!take(j, '"')) return fail(j);
    size_t used = 0;
    while (j->at < j->end && *j->at != '"') {
        char bytes[3] = {*j->at++};
        size_t count = 1;
        if ((unsigned char)bytes[0] < 0x20) return fail(j);
        if (bytes[0] == '\\' && !escaped(j, bytes, &count)) return fail(j);
        if (out && used + count >= size) return fail(j);
        if (out) memcpy(out + used, bytes, count);
        used += count;
    }
    if (out) out[used] = 0;
    return take(j, '"') || fail(j);
}

bool json_string(Json *j, char *out, size_t size) { return read_string(j, out, size); }

bool json_integer(Json *j, int64_t *out) {
    skip_space(j);
    const char *start = j->at;
    int64_t value = 0;
    for (; !j->failed && j->at < j->end && *j->at >= '0' && *j->at <= '9'; j->at++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *j->at - '0', &value)) return fail(j);
    *out = value;
    return j->at > start || fail(j);
}

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

/* The length of the number that text begins with, by RFC 8259; 0 if it is none. */
static size_t number_length(const char *text) {
    size_t n = text[0] == '-', some = digits(text + n);
    if (some == 0 || (text[n] == '0' && some > 1)) return 0;
    n += some;
    if (text[n] == '.') {
        if (!(some = digits(text + n + 1))) return 0;
        n += 1 + some;
    }
    if (text[n] == 'e' || text[n] == 'E') {
        n += 1 + (text[n + 1] == '+' || text[n + 1] == '-');
        if (!(some = digits(text + n))) return 0;
        n += some;
    }
    return n;
}

bool json_number(Json *j, double *out) {
    skip_space(j);
    char text[64] = {0};
    size_t rest = (size_t)(j->end - j->at);
    memcpy(text, j->at, rest < sizeof text - 1 ? rest : sizeof text - 1);
    size_t n = j->failed ? 0 : number_length(text);
    if (n == 0 || n == sizeof text - 1) return fail(j);
    text[n] = 0;
    *out = strtod(text, NULL);
    j->at += n;
    return true;
}

static bool skip_word(Json *j, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(j->end - j->at) < n || memcmp(j->at, word, n) != 0) return fail(j);
    j->at += n;
    return true;
}

static bool skip_container(Json *j, char bracket) {
    if (!json_begin(j, bracket)) return false;
    for (bool first = true;; first = false) {
        if (take(j, bracket == '{' ? '}' : ']')) return j->depth--, true;
        if (!first && !take(j, ',')) return fail(j);
        if (bracket == '{' && (!read_string(j, NULL, 0) || !take(j, ':'))) return fail(j);
        if (!json_skip(j)) return false;
    }
}

bool json_skip(Json *j) {
    double number;
    skip_space(j);
    if (j->failed || j->at == j->end) return fail(j);
    switch (*j->at) {
    case '{':
    case '[': return skip_container(j, *j->at);
    case '"': return read_string(j, NULL, 0);
    case 't': return skip_word(j, "true");
    case 'f': return skip_word(j, "false");
    case 'n': return skip_word(j, "null");
    default: return json_number(j, &number);
    }
}

bool json_end(Json *j) {
    skip_space(j);
    return !j->failed && (j->at == j->end || fail(j));
}

void json_write_string(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (*p < 0x20)
            fprintf(out, "\\u%04x", *p);
        else
            fputc(*p, out);
    }
    fputc('"', out);
}
