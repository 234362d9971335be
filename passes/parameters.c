/* Parameters of passes in the text of options: name{key=value,key=value}. */
#include "ir/nearest.h"
#include "passes/driver.h"
#include "passes/words.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint32_t count_of(const Pass *pass) {
    uint32_t count = 0;
    while (count < PASS_PARAMETERS && pass->parameters[count].name) count++;
    return count;
}

static bool unknown(const Pass *pass, const char *name, Diag *diag) {
    const char *names[PASS_PARAMETERS];
    uint32_t count = count_of(pass);
    for (uint32_t i = 0; i < count; i++) names[i] = pass->parameters[i].name;
    const char *near = nearest_name(name, names, count);
    if (count == 0) return words_mistake(diag, "the pass '%s' has no options, found '%s'", pass->name, name);
    if (near) return words_mistake(diag, "the pass '%s' has no option '%s'; did you mean '%s'?", pass->name, name, near);
    return words_mistake(diag, "the pass '%s' has no option '%s'; 'netc help passes' lists them", pass->name, name);
}

/* A whole number within the row's limits. */
static bool read_value(Arena *arena, const Pass *pass, const PassParameter *p, const char **at, int64_t *value, Diag *diag) {
    const char *from = words_skip(*at);
    size_t length = strcspn(from, ",} \t\n");
    const char *text = arena_strndup(arena, from, length);
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (!*text || *end || errno || number < p->least || number > p->most)
        return words_mistake(diag, "'%s' of the pass '%s' is a number from %" PRId64 " to %" PRId64 ", found '%s'", p->name,
                             pass->name, p->least, p->most, text);
    *value = number;
    *at = from + length;
    return true;
}

/* key=value, into value[]; given[] says which have been. */
static bool read_one(Arena *arena, const Pass *pass, const char **at, int64_t *value, bool *given, Diag *diag) {
    const char *name = words_take(arena, at);
    uint32_t i = 0, count = count_of(pass);
    while (i < count && strcmp(pass->parameters[i].name, name) != 0) i++;
    if (!*name) return words_mistake(diag, "the options of the pass '%s' lack a name", pass->name);
    if (i == count) return unknown(pass, name, diag);
    if (given[i]) return words_mistake(diag, "the option '%s' of the pass '%s' is given twice", name, pass->name);
    given[i] = true;
    if (!words_accept(at, "="))
        return words_mistake(diag, "the option '%s' of the pass '%s' lacks '=' and a number", name, pass->name);
    return read_value(arena, pass, &pass->parameters[i], at, &value[i], diag);
}

bool parameters_read(Arena *arena, const Pass *pass, const char **at, const int64_t *before, const int64_t **parameter,
                     Diag *diag) {
    bool given[PASS_PARAMETERS] = {false};
    *parameter = NULL;
    if (!words_accept(at, "{")) return true;
    int64_t *value = ARENA_ARRAY(arena, int64_t, PASS_PARAMETERS);
    for (uint32_t i = 0; i < count_of(pass); i++) value[i] = before ? before[i] : pass->parameters[i].value;
    do {
        if (!read_one(arena, pass, at, value, given, diag)) return false;
    } while (words_accept(at, ","));
    *parameter = value;
    if (words_accept(at, "}")) return true;
    return words_mistake(diag, "the options of the pass '%s' lack a '}'", pass->name);
}

static const char *list(Arena *arena, const Pass *pass, const int64_t *parameter, bool all, const char *separator) {
    const char *text = "";
    for (uint32_t i = 0; i < count_of(pass); i++) {
        const PassParameter *p = &pass->parameters[i];
        int64_t value = parameter ? parameter[i] : p->value;
        if (all || value != p->value) text = arena_printf(arena, "%s%s%s=%" PRId64, text, *text ? separator : "", p->name, value);
    }
    return text;
}

const char *parameters_text(Arena *arena, const Pass *pass, const int64_t *parameter) {
    const char *text = list(arena, pass, parameter, false, ",");
    return *text ? arena_printf(arena, "{%s}", text) : "";
}

const char *parameters_list(Arena *arena, const Pass *pass, const int64_t *parameter) {
    return list(arena, pass, parameter, true, " ");
}
