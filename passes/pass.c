/* The table of passes. */
#include "passes/driver.h"
#include <string.h>

/* What `lower` and `split_batch_norm` leave. */
enum { LOWERED = PASS_ANY & ~TIER_SOURCE };

static const Pass table[] = {
#define PASS(NAME, ...) {.name = #NAME, .run = pass_##NAME, __VA_ARGS__},
#define PIPELINE(mode, names)
#include "passes/passes.def"
#undef PASS
#undef PIPELINE
};

uint32_t pass_count(void) { return sizeof table / sizeof *table; }

const Pass *pass_at(uint32_t index) { return index < pass_count() ? &table[index] : NULL; }

const Pass *pass_find(const char *name) {
    for (uint32_t i = 0; i < pass_count(); i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    return NULL;
}

const char *pass_default_pipeline(Mode mode) {
    static const char *const pipelines[] = {
#define PASS(...)
#define PIPELINE(mode, names) [mode] = names,
#include "passes/passes.def"
#undef PASS
#undef PIPELINE
    };
    return pipelines[mode];
}

bool pass_runs_in(const Pass *pass, Mode mode) { return pass->modes & (mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER); }

static bool names_pass(const char *list, const char *name) {
    size_t length = strlen(name);
    while (list) {
        if (!strncmp(list, name, length) && (!list[length] || list[length] == ',')) return true;
        list = strchr(list, ',');
        if (list) list++;
    }
    return false;
}

bool pass_order(const Pass *const *pass, uint32_t count, const Pass **first, const Pass **second) {
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = i + 1; j < count; j++) {
            if (!names_pass(pass[i]->after, pass[j]->name)) continue;
            *first = pass[i];
            *second = pass[j];
            return false;
        }
    }
    return true;
}
