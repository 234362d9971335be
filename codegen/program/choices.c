/* Tables of choices (choice.h). */
#include "codegen/choice.h"
#include <stdlib.h>
#include <string.h>

ChoiceTable *choices_new(void) {
    ChoiceTable *table = calloc(1, sizeof *table);
    if (!table) out_of_memory("no room for choices");
    table->arena = arena_new();
    return table;
}

void choices_free(ChoiceTable *table) {
    if (!table) return;
    arena_free(table->arena);
    free(table);
}

const ChoiceEntry *choices_find(const ChoiceTable *table, const char *cpu, const char *key) {
    for (uint32_t i = 0; i < table->count; i++)
        if (!strcmp(table->entry[i].key, key) && !strcmp(table->entry[i].cpu, cpu)) return &table->entry[i];
    return NULL;
}

void choices_put(ChoiceTable *table, const char *cpu, const char *key, const ConvChoice *choice, double seconds) {
    for (uint32_t i = 0; i < table->count; i++) {
        ChoiceEntry *e = &table->entry[i];
        if (strcmp(e->key, key) || strcmp(e->cpu, cpu)) continue;
        e->choice = *choice;
        e->seconds = seconds;
        return;
    }
    ARENA_GROW(table->arena, table->entry, table->count, &table->capacity);
    table->entry[table->count++] =
        (ChoiceEntry){arena_strdup(table->arena, cpu), arena_strdup(table->arena, key), *choice, seconds};
}

void choices_remove(ChoiceTable *table, const char *cpu, const char *key) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table->count; i++)
        if (strcmp(table->entry[i].key, key) || strcmp(table->entry[i].cpu, cpu)) table->entry[kept++] = table->entry[i];
    table->count = kept;
}
