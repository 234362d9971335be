/* Levels are put in order by what they need, which LLVM tells (codegen_features), so the user may name them in any. */
#include "driver/levels.h"
#include "cli/options.h"
#include "cli/report.h"
#include "codegen/codegen.h"
#include "driver/linker.h"
#include <stdlib.h>
#include <string.h>

/* Whether every word of a is among those of b. */
static bool includes(const char *b, const char *a) {
    for (; *a; a += strcspn(a, " "), a += *a == ' ') {
        size_t length = strcspn(a, " ");
        const char *word = b;
        while (*word && (strcspn(word, " ") != length || strncmp(word, a, length)))
            word += strcspn(word, " "), word += *word == ' ';
        if (!*word) return false;
    }
    return true;
}

static bool same(const char *a, const char *b) { return includes(a, b) && includes(b, a); }

/* Before the first level that needs more; takes over cpu and features. */
static void insert(Levels *levels, char *cpu, char *features) {
    int at = 0;
    while (at < levels->count && !(includes(levels->features[at], features) && !same(levels->features[at], features))) at++;
    for (int i = levels->count++; i > at; i--) levels->cpu[i] = levels->cpu[i - 1], levels->features[i] = levels->features[i - 1];
    levels->cpu[at] = cpu;
    levels->features[at] = features;
}

static char *features_of(const char *target, const char *cpu, Precision precision) {
    Diag *diag = diag_new();
    char *features = codegen_features(target, cpu, precision, diag);
    if (!features) diag_print(diag, stderr, use_color(stderr));
    diag_free(diag);
    return features;
}

static bool is_named(const Levels *levels, const char *cpu) {
    for (int i = 0; i < levels->count; i++)
        if (!strcmp(levels->cpu[i], cpu)) return true;
    return false;
}

static int add_list(Levels *levels, const char *target, Precision precision, const char *list) {
    for (; list; list = strchr(list, ','), list += list != NULL) {
        char *cpu = join("%.*s", (int)strcspn(list, ","), list), *features = NULL;
        int status = EXIT_OK;
        if (!*cpu)
            status = usage_error("build", "'--cpu' names an empty CPU");
        else if (is_named(levels, cpu))
            status = usage_error("build", "'--cpu' names '%s' twice", cpu);
        else if (levels->count == MAX_LEVELS)
            status = usage_error("build", "'--cpu' names at most %d CPUs", MAX_LEVELS);
        else if (!(features = features_of(target, cpu, precision)))
            status = EXIT_INPUT;
        if (status) {
            free(cpu);
            return status;
        }
        insert(levels, cpu, features);
    }
    return EXIT_OK;
}

/* This machine's own CPU, unless one of the levels may use just what it has. */
static int add_native(Levels *levels, const char *target, Precision precision) {
    char *features = features_of(target, "native", precision);
    bool known = !features;
    for (int i = 0; i < levels->count; i++) known |= features && same(levels->features[i], features);
    if (!known)
        insert(levels, join("native"), features);
    else
        free(features);
    return features ? EXIT_OK : EXIT_INPUT;
}

int levels_choose(Levels *levels, const char *target, Precision precision, const char *list, bool one) {
    *levels = (Levels){0};
    bool cross = target_is_cross(target);
    const char *usual = codegen_target(target)->levels;
    if (list) return add_list(levels, target, precision, list);
    if (one && !cross) return add_list(levels, target, precision, "native");
    if (one) {
        char *least = join("%.*s", (int)strcspn(usual, ","), usual);
        int status = add_list(levels, target, precision, least);
        free(least);
        return status;
    }
    int status = add_list(levels, target, precision, usual);
    return status || cross ? status : add_native(levels, target, precision);
}

void levels_free(Levels *levels) {
    for (int i = 0; i < levels->count; i++) free(levels->cpu[i]), free(levels->features[i]);
    *levels = (Levels){0};
}
