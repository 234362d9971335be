/* See npy.h. The head is a dictionary as Python prints it, with exactly three keys: descr, fortran_order and shape. */
#include "cli/npy.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The head being read. */
typedef struct Head {
    const char *at, *end;
} Head;

static void skip_space(Head *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t')) h->at++;
}

static bool take(Head *h, char c) {
    skip_space(h);
    if (h->at == h->end || *h->at != c) return false;
    h->at++;
    return true;
}

static bool take_word(Head *h, const char *word) {
    size_t n = strlen(word);
    skip_space(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, word, n) != 0) return false;
    h->at += n;
    return true;
}

/* 'text', without escapes. */
static bool take_string(Head *h, char *out, size_t size) {
    skip_space(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"')) return false;
    char quote = *h->at++;
    size_t n = 0;
    for (; h->at < h->end && *h->at != quote; h->at++) {
        if (n + 1 == size || *h->at == '\\') return false;
        out[n++] = *h->at;
    }
    out[n] = 0;
    return take(h, quote);
}

static bool take_number(Head *h, int64_t *value) {
    *value = 0;
    skip_space(h);
    const char *from = h->at;
    for (; h->at < h->end && isdigit((unsigned char)*h->at); h->at++) {
        if (*value > (INT64_MAX >> 8) / 10) return false;
        *value = *value * 10 + (*h->at - '0');
    }
    return h->at > from;
}

/* "|u1", "<i8", "<U10" */
static bool read_type(const char *text, Npy *a) {
    char order = *text, *end;
    if (!order || !strchr("<>|=", order) || !isalpha((unsigned char)text[1]) || !isdigit((unsigned char)text[2])) return false;
    unsigned long n = strtoul(text + 2, &end, 10);
    if (*end || n < 1 || n > 4096) return false;
    bool text_like = text[1] == 'U' || text[1] == 'S';
    a->kind = text[1];
    a->big = order == '>';
    a->size = text[1] == 'U' ? 4 : text_like ? 1 : (uint32_t)n;
    a->characters = text_like ? (uint32_t)n : 1;
    return true;
}

static bool read_shape(Head *h, Npy *a) {
    if (!take(h, '(')) return false;
    for (a->rank = 0; !take(h, ')'); a->rank++) {
        if (a->rank == NPY_RANK || !take_number(h, &a->dim[a->rank])) return false;
        if (!take(h, ',')) return a->rank++, take(h, ')');
    }
    return true;
}

static const char *read_head(Head *h, Npy *a) {
    bool type = false, order = false, shape = false;
    char key[32], text[32];
    if (!take(h, '{')) return "its head is broken";
    while (!take(h, '}')) {
        if (!take_string(h, key, sizeof key) || !take(h, ':')) return "its head is broken";
        if (!type && !strcmp(key, "descr")) {
            if (!take_string(h, text, sizeof text) || !read_type(text, a)) return "its elements are no numbers of one kind";
            type = true;
        } else if (!order && !strcmp(key, "fortran_order")) {
            if (take_word(h, "True")) return "it is in Fortran's order; numpy.ascontiguousarray makes the other";
            if (!take_word(h, "False")) return "its head is broken";
            order = true;
        } else if (!shape && !strcmp(key, "shape")) {
            if (!read_shape(h, a)) return "its head is broken, or it has more than four dimensions";
            shape = true;
        } else {
            return "its head is broken";
        }
        if (!take(h, ',') && (skip_space(h), h->at == h->end || *h->at != '}')) return "its head is broken";
    }
    skip_space(h);
    return type && order && shape && h->at == h->end ? NULL : "its head is broken";
}

static const char *parse(const uint8_t *bytes, size_t length, Npy *a) {
    static const uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    *a = (Npy){.count = 1};
    if (length < 12 || memcmp(bytes, magic, sizeof magic) != 0 || bytes[6] < 1 || bytes[6] > 3 || bytes[7])
        return "it is no .npy file";
    size_t begin = bytes[6] == 1 ? 10 : 12, size = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1) size |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (size > length - begin) return "it is cut short";
    Head h = {(const char *)bytes + begin, (const char *)bytes + begin + size};
    const char *why = read_head(&h, a);
    if (why) return why;
    a->data = bytes + begin + size;
    uint64_t left = length - begin - size, element = (uint64_t)a->size * a->characters;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] && a->count > INT64_MAX / 65536 / a->dim[i]) return "it is cut short"; /* than any file is long */
        a->count *= a->dim[i];
    }
    if ((uint64_t)a->count * element == left) return NULL;
    return (uint64_t)a->count * element > left ? "it is cut short" : "it is longer than its head says";
}

bool npy_parse(const uint8_t *bytes, size_t length, Npy *array, char *why, size_t why_size) {
    const char *reason = parse(bytes, length, array);
    if (reason) snprintf(why, why_size, "%s", reason);
    return !reason;
}

bool npy_integer(const Npy *a, int64_t i, int64_t *value) {
    if ((a->kind != 'u' && a->kind != 'i') || a->size > 8) return false;
    const uint8_t *p = a->data + (size_t)i * a->size;
    uint64_t v = a->kind == 'i' && p[a->big ? 0 : a->size - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint32_t b = 0; b < a->size; b++) v = v << 8 | p[a->big ? b : a->size - 1 - b];
    *value = (int64_t)v;
    return a->kind == 'i' || *value >= 0;
}

static char *put_utf8(char *out, uint32_t c) {
    if (c < 0x80) return *out++ = (char)c, out;
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *out++ = (char)((0xff00 >> (more + 1) & 0xff) | c >> (6 * more));
    while (more-- > 0) *out++ = (char)(0x80 | (c >> (6 * more) & 0x3f));
    return out;
}

char *npy_text(const Npy *a, int64_t i) {
    if (a->kind != 'U' && a->kind != 'S') return NULL;
    const uint8_t *p = a->data + (size_t)i * a->size * a->characters;
    char *text = malloc(4 * (size_t)a->characters + 1), *out = text;
    for (uint32_t k = 0; text && k < a->characters; k++, p += a->size) {
        uint32_t c = p[0];
        if (a->size == 4)
            c = a->big ? (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]
                       : (uint32_t)p[3] << 24 | p[2] << 16 | p[1] << 8 | p[0];
        if (!c) break; /* what is shorter is filled up */
        if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return free(text), NULL;
        if (a->kind == 'S')
            *out++ = (char)c;
        else
            out = put_utf8(out, c);
    }
    if (text) *out = 0;
    return text;
}
