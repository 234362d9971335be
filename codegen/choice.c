/* Choices as text (choice.h). */
#include "codegen/choice.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char head[] = "netc choices 1";
static const char *const algorithm_text[] = {
    [CONV_AUTO] = "auto", [CONV_DIRECT] = "direct", [CONV_GEMM] = "gemm", [CONV_WINOGRAD] = "winograd"};
enum { ALGORITHMS = sizeof algorithm_text / sizeof algorithm_text[0], MAX_SIZE = 4096 };

const char *conv_algorithm_text(ConvAlgorithm algorithm) { return algorithm_text[algorithm]; }

char *choice_text(Arena *arena, const ConvChoice *c) {
    const char *name = algorithm_text[c->algorithm];
    const char *sweep = c->sweep ? " sweep" : "";
    if (c->block) return arena_printf(arena, "%s block %" PRId64 "%s", name, c->block, sweep);
    if (c->tile[0])
        return arena_printf(arena, "%s tile %" PRId64 "x%" PRId64 "x%" PRId64 "%s", name, c->tile[0], c->tile[1], c->tile[2],
                            sweep);
    return arena_printf(arena, "%s%s", name, sweep);
}

/* Moves *text behind `word` and the blanks that follow. */
static bool skip_word(const char **text, const char *word) {
    size_t length = strlen(word);
    if (strncmp(*text, word, length) || ((*text)[length] && (*text)[length] != ' ')) return false;
    *text += length;
    *text += strspn(*text, " ");
    return true;
}

static bool skip_char(const char **text, char c) {
    if (**text != c) return false;
    ++*text;
    return true;
}

static bool read_size(const char **text, int64_t *size) {
    char *end;
    if (**text < '1' || **text > '9') return false;
    *size = strtoll(*text, &end, 10);
    *text = end;
    return *size <= MAX_SIZE;
}

bool choice_read(const char *text, ConvChoice *choice) {
    ConvChoice c = {CONV_AUTO};
    for (int a = CONV_DIRECT; a < ALGORITHMS && c.algorithm == CONV_AUTO; a++)
        if (skip_word(&text, algorithm_text[a])) c.algorithm = (ConvAlgorithm)a;
    bool direct = c.algorithm == CONV_DIRECT, winograd = c.algorithm == CONV_WINOGRAD, good = c.algorithm != CONV_AUTO;
    if (good && winograd && skip_word(&text, "block")) good = read_size(&text, &c.block);
    if (good && direct && skip_word(&text, "tile"))
        good = read_size(&text, &c.tile[0]) && skip_char(&text, 'x') && read_size(&text, &c.tile[1]) && skip_char(&text, 'x') &&
               read_size(&text, &c.tile[2]);
    text += strspn(text, " ");
    if (good && (winograd || direct)) c.sweep = skip_word(&text, "sweep");
    if (good && !*text) *choice = c;
    return good && !*text;
}

bool choice_equal(const ConvChoice *a, const ConvChoice *b) {
    return a->algorithm == b->algorithm && a->sweep == b->sweep && a->block == b->block && a->tile[0] == b->tile[0] &&
           a->tile[1] == b->tile[1] && a->tile[2] == b->tile[2];
}

/* ---- tables ---- */

ChoiceTable *choices_new(void) {
    ChoiceTable *table = calloc(1, sizeof *table);
    if (!table) abort();
    table->arena = arena_new();
    return table;
}

void choices_free(ChoiceTable *table) {
    if (!table) return;
    arena_free(table->arena);
    free(table->entry);
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
    if (table->count == table->capacity) {
        table->capacity = table->capacity ? 2 * table->capacity : 64;
        table->entry = realloc(table->entry, table->capacity * sizeof *table->entry);
        if (!table->entry) abort();
    }
    table->entry[table->count++] =
        (ChoiceEntry){arena_strdup(table->arena, cpu), arena_strdup(table->arena, key), *choice, seconds};
}

void choices_remove(ChoiceTable *table, const char *cpu, const char *key) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table->count; i++)
        if (strcmp(table->entry[i].key, key) || strcmp(table->entry[i].cpu, cpu)) table->entry[kept++] = table->entry[i];
    table->count = kept;
}

/* "CPU KEY CHOICE[; TIME ms]"; changes the line. */
static bool read_line(ChoiceTable *table, char *line) {
    char *cpu = line, *key = strchr(cpu, ' '), *choice, *time;
    if (!key || key == cpu) return false;
    *key++ = 0;
    choice = strchr(key, ' ');
    if (!choice || choice == key) return false;
    *choice++ = 0;
    double seconds = 0;
    time = strchr(choice, ';');
    if (time) {
        char *end;
        *time++ = 0;
        seconds = 1e-3 * strtod(time, &end);
        if (end == time || strcmp(end, " ms") || !(seconds >= 0 && seconds < 1e6)) return false;
    }
    ConvChoice c;
    if (!choice_read(choice, &c)) return false;
    choices_put(table, cpu, key, &c, seconds);
    return true;
}

bool choices_read(ChoiceTable *table, const char *text, uint32_t *bad) {
    size_t length = strcspn(text, "\n");
    *bad = 0;
    if (length != sizeof head - 1 || strncmp(text, head, length)) return false;
    char *copy = strdup(text + length), *rest = copy;
    if (!copy) abort();
    for (char *line; (line = strsep(&rest, "\n"));)
        if (*line && *line != '#' && !read_line(table, line)) ++*bad;
    free(copy);
    return true;
}

void choices_write(const ChoiceTable *table, FILE *out) {
    fprintf(out, "%s\n", head);
    for (uint32_t i = 0; i < table->count; i++) {
        const ChoiceEntry *e = &table->entry[i];
        Arena *scratch = arena_new();
        fprintf(out, "%s %s %s", e->cpu, e->key, choice_text(scratch, &e->choice));
        if (e->seconds > 0) fprintf(out, "; %.6g ms", 1e3 * e->seconds);
        fputc('\n', out);
        arena_free(scratch);
    }
}
