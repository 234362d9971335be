/* Texts written through a FILE: a cookie whose writes append. */
#include "ir/stream.h"
#include "ir/arena.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static ssize_t append(void *cookie, const char *bytes, size_t count) {
    TextStream *s = cookie;
    if (count >= s->capacity - s->length) {
        s->capacity = 2 * s->capacity + count + 1;
        char *larger = realloc(s->text, s->capacity);
        if (!larger) out_of_memory("no room for a text of %zu bytes", s->length + count);
        s->text = larger;
    }
    memcpy(s->text + s->length, bytes, count);
    s->text[s->length += count] = 0;
    return (ssize_t)count;
}

void text_open(TextStream *s) {
    *s = (TextStream){.text = calloc(1, 1), .capacity = 1};
    s->file = s->text ? fopencookie(s, "w", (cookie_io_functions_t){.write = append}) : NULL;
    if (!s->file) out_of_memory("no room for a text");
}

char *text_close(TextStream *s) {
    if (fclose(s->file)) out_of_memory("no room for a text");
    s->file = NULL;
    return s->text;
}

char *text_printf(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) out_of_memory("no room for a sentence");
    return text;
}
