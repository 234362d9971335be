/* A text as JSON has it. Here in whole, so that the runtime, which links nothing of ir/, can write one too. */
#ifndef NETC_IR_JSON_STRING_H
#define NETC_IR_JSON_STRING_H
#include "ir/utf8.h"
#include <stdio.h>

/* Quoted and escaped; a byte that is no UTF-8 as U+FFFD. */
static inline void json_write_string(FILE *out, const char *text) {
    fputc('"', out);
    while (*text) {
        size_t length = utf8_length(text);
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if ((unsigned char)*text < 0x20 || *text == 0x7F)
            fprintf(out, "\\u%04x", *text);
        else if (length == 0)
            fputs("\\ufffd", out); /* what a byte that is no text becomes everywhere */
        else
            fwrite(text, 1, length, out);
        text += length ? length : 1;
    }
    fputc('"', out);
}
#endif
