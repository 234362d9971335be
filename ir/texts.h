/* Texts, each once, numbered from 0 in the order in which they came; all in one arena, which frees them. */
#ifndef NETC_IR_TEXTS_H
#define NETC_IR_TEXTS_H
#include "ir/arena.h"
#include <stdint.h>

typedef struct Texts {
    Arena *arena; /* the caller's; all else is zero at first */
    const char **text;
    uint32_t count, capacity;
    uint32_t *slot, slots; /* 1 + number, by hash; 0 is empty */
} Texts;

enum { NO_TEXT = UINT32_MAX };
uint32_t texts_find(const Texts *t, const char *text); /* its number, or NO_TEXT */
uint32_t texts_add(Texts *t, const char *text);        /* its number; a copy is kept of one that is new */
#endif
