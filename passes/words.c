/* See words.h. */
#include "passes/words.h"
#include <string.h>

bool words_mistake(Diag *diag, const char *format, ...) {
    va_list args;
    va_start(args, format);
    diag_vreport(diag, SEV_ERROR, (Span){0}, format, args);
    va_end(args);
    return false;
}

const char *words_skip(const char *at) { return at + strspn(at, " \t\n"); }

const char *words_take(Arena *arena, const char **at) {
    *at = words_skip(*at);
    size_t length = strspn(*at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");
    const char *text = arena_strndup(arena, *at, length);
    *at = words_skip(*at + length);
    return text;
}

bool words_accept(const char **at, const char *token) {
    *at = words_skip(*at);
    if (strncmp(*at, token, strlen(token))) return false;
    *at += strlen(token);
    return true;
}
