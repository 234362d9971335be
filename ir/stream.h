/* A text written through a FILE and kept in memory. Unlike open_memstream's it is whole or the process ends (out_of_memory): the
 * C library's silently lacks what it had no room for. */
#ifndef NETC_IR_STREAM_H
#define NETC_IR_STREAM_H
#include <stddef.h>
#include <stdio.h>

typedef struct TextStream {
    FILE *file; /* to write to */
    char *text;
    size_t length, capacity;
} TextStream;

void text_open(TextStream *stream);
/* Closes the file. Returns the text, malloc'd and with a zero behind its `length` bytes. */
char *text_close(TextStream *stream);
/* A sentence, malloc'd; the process ends if memory is out. */
char *text_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif
