/* See settings.h. Batch, loss (of mixed images too), groups and the optimiser but for its rate are constants in the kernels; all
 * else of a recipe is the runtime's, which reads it from the Program. */
#include "runtime/standalone/settings.h"
#include "cli/report.h"
#include "frontend/frontend.h"
#include "ir/diag.h"
#include <stdlib.h>
#include <string.h>

/* The line of a recipe's canonical text that sets a key. */
static bool same_line(const char *a, const char *b, const char *key) {
    char start[32];
    snprintf(start, sizeof start, "\n    %s ", key);
    const char *x = strstr(a, start), *y = strstr(b, start);
    if (!x || !y) return x == y;
    size_t length = 1 + strcspn(x + 1, "\n");
    return length == 1 + strcspn(y + 1, "\n") && !strncmp(x, y, length);
}

static bool same_update(RtOptimizer a, RtOptimizer b) {
    return a.kind == b.kind && a.momentum == b.momentum && a.weight_decay == b.weight_decay && a.beta1 == b.beta1 &&
           a.beta2 == b.beta2 && a.eps == b.eps && a.nesterov == b.nesterov && a.decay_bn == b.decay_bn;
}

static int check_compiled(const RtProgram *built, const RtProgram *changed) {
    static const char *const keys[] = {"loss", "groups", "batch", "shards"};
    const char *key = same_update(built->recipe.optimizer, changed->recipe.optimizer) ? NULL : "optimizer";
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !key; i++)
        if (!same_line(built->recipe_text, changed->recipe_text, keys[i])) key = keys[i];
    if (!built->recipe.nmix && changed->recipe.nmix) key = "mix"; /* the loss of two labels */
    if (!key) return EXIT_OK;
    return fail(EXIT_USAGE, "'train.%s'%s is compiled into this executable; 'netc build --set' makes one with another", key,
                !strcmp(key, "optimizer") ? ", but for its lr," : "");
}

int settings_apply(const Options *o, const RtProgram **program) {
    static RtProgram changed; /* lives as long as the process, as those do that are linked in */
    char *text = NULL;
    for (uint32_t i = 0; i < o->sets.count; i++)
        if (strncmp(o->sets.item[i], "train.", 6) != 0 && strchr(o->sets.item[i], '='))
            return fail(
                EXIT_USAGE,
                "'--set %.*s' is none of the recipe's keys, 'train.…'; the net is compiled into this executable, and 'netc build "
                "--set' makes another",
                (int)strcspn(o->sets.item[i], "="), o->sets.item[i]);
    if (!o->sets.count) return EXIT_OK;
    changed = **program;
    Diag *diag = diag_new();
    bool read = frontend_settings((*program)->recipe_text, o->sets.item, o->sets.count, diag, &changed.recipe, &text);
    diag_print(diag, stderr, use_color(stderr));
    diag_free(diag);
    if (!read) return EXIT_INPUT;
    changed.recipe_text = text;
    int status = check_compiled(*program, &changed);
    *program = &changed;
    return status;
}
