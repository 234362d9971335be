/* Choices out of texts, and tables of them in files (choice.h): names of methods are looked up in the list. */
#include "codegen/conv/methods.h"
#include <stdlib.h>
#include <string.h>

static const char head[] = "netc choices 1";
enum { MAX_SIZE = 4096 };

const ConvMethod *conv_method_at(uint32_t i) {
    uint32_t n = 0;
    while (n < i && conv_methods[n]) n++;
    return conv_methods[n];
}

const ConvMethod *conv_method(const char *name) {
    for (uint32_t i = 0; conv_methods[i]; i++)
        if (!strcmp(conv_methods[i]->name, name)) return conv_methods[i];
    return NULL;
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

static bool read_sizes(const char **text, const ConvMethod *method, int64_t *sizes) {
    for (int i = 0; i < method->nsizes; i++)
        if ((i && !skip_char(text, 'x')) || !read_size(text, &sizes[i])) return false;
    return true;
}

bool choice_read(const char *text, ConvChoice *choice) {
    ConvChoice c = {0};
    for (uint32_t i = 0; conv_methods[i] && !c.method; i++)
        if (skip_word(&text, conv_methods[i]->name)) c.method = conv_methods[i];
    if (!c.method || (c.method->nsizes && skip_word(&text, c.method->sizes) && !read_sizes(&text, c.method, c.sizes)))
        return false;
    text += strspn(text, " ");
    c.pair = c.method->pair && skip_word(&text, "sweep");
    if (*text) return false;
    *choice = c;
    return true;
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
    if (!copy) out_of_memory("no room for a table of choices");
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
