/* Values and how messages show them. */
#include "frontend/datum.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *datum_kind_text(DatumKind kind) {
    static const char *const text[] = {"a mistake", "an integer", "a real",         "a boolean",     "a string",
                                       "a list",    "a tensor",   "a padding word", "an initialiser"};
    return text[kind];
}

bool datum_is_number(Datum d) { return d.kind == DATUM_INTEGER || d.kind == DATUM_REAL; }

double datum_number(Datum d) { return d.kind == DATUM_INTEGER ? (double)d.integer : d.real; }

const char *real_text(Arena *arena, double value) {
    char buffer[64];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buffer, sizeof buffer, "%.*g", digits, value);
        if (strtod(buffer, NULL) == value) break;
    }
    if (!strpbrk(buffer, ".e")) strcat(buffer, ".0");
    return arena_strdup(arena, buffer);
}

static const char *list_text(Arena *arena, const Graph *g, const DatumList *list) {
    const char *text = "";
    for (uint32_t i = 0; i < list->count; i++) {
        if (strlen(text) > 60) return arena_printf(arena, "[%s, ...]", text);
        const char *item = list->item[i].kind == DATUM_LIST ? "[...]" : datum_text(arena, g, list->item[i]);
        text = arena_printf(arena, "%s%s%s", text, i ? ", " : "", item);
    }
    return arena_printf(arena, "[%s]", text);
}

static const char *init_rule_text(Arena *arena, InitRule rule) {
    switch (rule.kind) {
    case RULE_HE_FAN_IN: return "he_normal";
    case RULE_HE_FAN_OUT: return "he_normal(mode = \"fan_out\")";
    case RULE_DIRAC: return "dirac";
    case RULE_WHITEN: return arena_printf(arena, "whiten(%s)", real_text(arena, rule.value));
    case RULE_XAVIER: return "xavier_uniform";
    case RULE_UNIFORM_FAN_IN: return "uniform";
    case RULE_UNIFORM: return arena_printf(arena, "uniform(%s)", real_text(arena, rule.value));
    case RULE_CONSTANT: return arena_printf(arena, "constant(%s)", real_text(arena, rule.value));
    }
    return "";
}

const char *datum_text(Arena *arena, const Graph *g, Datum d) {
    switch (d.kind) {
    case DATUM_POISON: return "?";
    case DATUM_INTEGER: return arena_printf(arena, "%lld", (long long)d.integer);
    case DATUM_REAL: return real_text(arena, d.real);
    case DATUM_BOOL: return d.boolean ? "true" : "false";
    case DATUM_STRING: return arena_printf(arena, strlen(d.text) > 60 ? "\"%.60s...\"" : "\"%s\"", d.text);
    case DATUM_LIST: return list_text(arena, g, d.list);
    case DATUM_TENSOR: return g ? arena_printf(arena, "the tensor %s", type_text(arena, g->value[d.tensor].type)) : "a tensor";
    case DATUM_WORD: return d.word == WORD_SAME ? "same" : "valid";
    case DATUM_INIT: return init_rule_text(arena, d.init);
    }
    return "";
}
