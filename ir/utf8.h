/* UTF-8 as JSON wants it (RFC 3629): for texts that came from files and may hold any bytes. */
#ifndef NETC_IR_UTF8_H
#define NETC_IR_UTF8_H
#include <stddef.h>

/* Bytes of the well-formed sequence at `at`, which a zero byte ends; 0 if none begins there. */
static inline size_t utf8_length(const char *at) {
    const unsigned char *c = (const unsigned char *)at;
    if (c[0] < 0x80) return c[0] != 0;
    size_t length = c[0] >= 0xC2 && c[0] < 0xE0 ? 2 : (c[0] & 0xF0) == 0xE0 ? 3 : c[0] >= 0xF0 && c[0] < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < length; i++)
        if ((c[i] & 0xC0) != 0x80) return 0;
    /* overlong forms, halves of surrogate pairs, and what lies behind the last plane */
    if ((c[0] == 0xE0 && c[1] < 0xA0) || (c[0] == 0xED && c[1] >= 0xA0)) return 0;
    if ((c[0] == 0xF0 && c[1] < 0x90) || (c[0] == 0xF4 && c[1] >= 0x90)) return 0;
    return length;
}

/* Bytes of `text`, at most `most`, that do not end within a sequence. */
static inline size_t utf8_within(const char *text, size_t most) {
    size_t length = 0;
    while (text[length]) {
        size_t bytes = utf8_length(text + length), next = length + (bytes ? bytes : 1);
        if (next > most) break;
        length = next;
    }
    return length;
}
#endif
