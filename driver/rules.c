#include "driver/rules.h"
#include "cli/report.h"
#include "verify/rule.h"
#include <stdio.h>
#include <stdlib.h>

static Rules *loaded;

static bool read_and_check(const char *path, const char *text, size_t length, Diag *diag) {
    bool right = true;
    loaded = rules_read(path, text, length, diag_add_file(diag, path, text, length), diag);
    for (uint32_t i = 0; loaded && i < loaded->count; i++) right &= rule_check(&loaded->rule[i], diag);
    if (loaded && right) return true;
    rules_free(loaded);
    loaded = NULL;
    return false;
}

Rules *rules_load(const char *path, int *status) {
    size_t length;
    if (loaded) return loaded;
    char *text = read_file(path, &length, status);
    if (!text) return NULL;
    Diag *diag = diag_new();
    if (!read_and_check(path, text, length, diag)) *status = EXIT_INPUT;
    fflush(stdout);
    diag_print(diag, stderr, use_color(stderr));
    diag_free(diag);
    free(text);
    return loaded;
}

void rules_close(int status) {
    for (uint32_t i = 0; loaded && loaded->ran && status == EXIT_OK && i < loaded->count; i++)
        if (!loaded->rule[i].matched)
            fprintf(stderr, "netc: warning: the rule %s (%s:%d) matches nothing\n", loaded->rule[i].name, loaded->path,
                    loaded->rule[i].line);
    rules_free(loaded);
    loaded = NULL;
}
