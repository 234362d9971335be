/* A pull reader over JSON text. See json.h. */
#include "runtime/json.h"
#include <math.h>
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

typedef enum Fit { MUST_FIT, MAY_BE_CUT } Fit;
static bool read_string(Json *j, char *out, size_t size, size_t *length, Fit fit);

/* On to the next member or element; false at the closing bracket, or after a mistake. */
static bool advance(Json *j, char bracket, bool first) {
    if (j->failed) return false;
    if (take(j, bracket == '{' ? '}' : ']')) {
        j->depth--;
        return false;
    }
    return first || take(j, ',') || fail(j);
}

bool json_next(Json *j, char bracket, bool first, char *key, size_t key_size) {
    size_t length;
    if (!advance(j, bracket, first)) return false;
    if (bracket == '[') return true;
    if (!read_string(j, key, key_size, &length, MAY_BE_CUT)) return false;
    if (length < key_size && strlen(key) != length) return fail(j);
    return take(j, ':') || fail(j);
}

bool json_member(Json *j, bool first, char **key, size_t *length) {
    *key = NULL;
    if (!advance(j, '{', first)) return false;
    *key = json_copy(j, length);
    if (*key && take(j, ':')) return true;
    free(*key);
    *key = NULL;
    return fail(j);
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

/* UTF-8 of a code point; a half of a surrogate pair without the other becomes U+FFFD. */
static size_t utf8(unsigned code, char out[4]) {
    if (code >= 0xD800 && code < 0xE000) code = 0xFFFD;
    if (code < 0x80) return out[0] = (char)code, 1;
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 63));
    out[0] = (char)(lead[n] | code);
    return n;
}

/* The code behind a backslash and u, with that of the second half where the text goes on with one. */
static bool unicode(Json *j, unsigned *code) {
    if (!hex4(j, code)) return false;
    if (*code >> 10 != 0xD800 >> 10 || j->end - j->at < 6 || j->at[0] != '\\' || j->at[1] != 'u') return true;
    Json ahead = *j;
    unsigned low;
    ahead.at += 2;
    if (!hex4(&ahead, &low) || low >> 10 != 0xDC00 >> 10) return true;
    *code = 0x10000 + ((*code & 0x3FF) << 10 | (low & 0x3FF));
    j->at = ahead.at;
    return true;
}

static bool escaped(Json *j, char bytes[4], size_t *count) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned code;
    if (j->at == j->end) return false;
    char c = *j->at++;
    *count = 1;
    if (c == 'u') {
        if (!unicode(j, &code)) return false;
        *count = utf8(code, bytes);
        return true;
    }
    const char *known = c ? strchr(from, c) : NULL;
    if (known) bytes[0] = to[known - from];
    return known != NULL;
}

/* out may be NULL: only the syntax is checked. *length is that of the whole string, decoded. */
static bool read_string(Json *j, char *out, size_t size, size_t *length, Fit fit) {
    if (!take(j, '"')) return fail(j);
    size_t used = 0;
    *length = 0;
    while (j->at < j->end && *j->at != '"') {
        char bytes[4] = {*j->at++};
        size_t count = 1;
        if ((unsigned char)bytes[0] < 0x20) return fail(j);
        if (bytes[0] == '\\' && !escaped(j, bytes, &count)) return fail(j);
        *length += count;
        if (!out || (fit == MAY_BE_CUT && *length >= size)) continue;
        if (*length >= size) return fail(j);
        memcpy(out + used, bytes, count);
        used += count;
    }
    if (out) out[used] = 0;
    return take(j, '"') || fail(j);
}

bool json_string(Json *j, char *out, size_t size) {
    size_t length;
    return read_string(j, out, size, &length, MUST_FIT) && (strlen(out) == length || fail(j));
}

char *json_copy(Json *j, size_t *length) {
    Json start = *j;
    if (!read_string(j, NULL, 0, length, MUST_FIT)) return NULL;
    char *text = malloc(*length + 1);
    if (!text || !read_string(&start, text, *length + 1, length, MUST_FIT)) return fail(j), free(text), NULL;
    return text;
}

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
    size_t length;
    if (!json_begin(j, bracket)) return false;
    for (bool first = true;; first = false) {
        if (take(j, bracket == '{' ? '}' : ']')) return j->depth--, true;
        if (!first && !take(j, ',')) return fail(j);
        if (bracket == '{' && (!read_string(j, NULL, 0, &length, MUST_FIT) || !take(j, ':'))) return fail(j);
        if (!json_skip(j)) return false;
    }
}

bool json_skip(Json *j) {
    double number;
    size_t length;
    skip_space(j);
    if (j->failed || j->at == j->end) return fail(j);
    switch (*j->at) {
    case '{':
    case '[': return skip_container(j, *j->at);
    case '"': return read_string(j, NULL, 0, &length, MUST_FIT);
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

void json_write_number(FILE *out, double value) {
    if (isfinite(value))
        fprintf(out, "%.9g", value);
    else
        fputs("null", out);
}

void json_write_member(FILE *out, const char *key, double value) {
    fprintf(out, ", \"%s\": ", key);
    json_write_number(out, value);
}

void json_write_text(FILE *out, const char *key, const char *text) {
    fprintf(out, ", \"%s\": ", key);
    if (text)
        json_write_string(out, text);
    else
        fputs("null", out);
}
