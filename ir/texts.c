/* Open addressing, at most half full. */
#include "ir/texts.h"
#include <string.h>

static uint32_t *find_slot(const Texts *t, const char *text) {
    uint32_t at = 2166136261u; /* FNV-1a */
    for (const char *c = text; *c; c++) at = (at ^ (unsigned char)*c) * 16777619u;
    for (;; at++) {
        uint32_t *slot = &t->slot[at & (t->slots - 1)];
        if (!*slot || !strcmp(t->text[*slot - 1], text)) return slot;
    }
}

uint32_t texts_find(const Texts *t, const char *text) {
    uint32_t number = t->slots ? *find_slot(t, text) : 0;
    return number ? number - 1 : NO_TEXT;
}

static void grow(Texts *t) {
    t->slots = t->slots ? 2 * t->slots : 256;
    t->slot = ARENA_ARRAY(t->arena, uint32_t, t->slots);
    memset(t->slot, 0, t->slots * sizeof *t->slot);
    for (uint32_t i = 0; i < t->count; i++) *find_slot(t, t->text[i]) = i + 1;
}

uint32_t texts_add(Texts *t, const char *text) {
    uint32_t known = texts_find(t, text);
    if (known != NO_TEXT) return known;
    if (2 * (t->count + 1) > t->slots) grow(t);
    ARENA_GROW(t->arena, t->text, t->count, &t->capacity);
    t->text[t->count++] = arena_strdup(t->arena, text);
    *find_slot(t, text) = t->count;
    return t->count - 1;
}
