/* passes_check: options that make no sense or have no effect, found before anything runs. */
#include "passes/driver.h"
#include "passes/words.h"
#include <string.h>

static void mention_printed(Pipeline *p, const char *option, const char *const *name, uint32_t count) {
    for (uint32_t k = 0; k < count; k++) {
        bool met = false;
        for (uint32_t i = p->first; i < p->count; i++) met |= pipeline_names(p, i, name[k]);
        pipeline_mention(p, option, name[k], met);
    }
}

/* Names that no list of passes has passed judgement on. */
static bool check_printed(Pipeline *p, const char *option, const char *const *name, uint32_t count, Diag *diag) {
    for (uint32_t k = 0; k < count; k++) {
        RunName run;
        const char *at = name[k];
        if (!pipeline_read_run(p, &at, &run, diag)) return false;
        if (*at) return words_mistake(diag, "'%s' is not the name of one pass", name[k]);
    }
    mention_printed(p, option, name, count);
    return true;
}

static const char *in_modes(unsigned modes) {
    return modes == PASS_TRAIN ? " in training" : modes == PASS_INFER ? " in inference" : "";
}

static bool check_mention(const Mention *m, unsigned modes, Diag *diag) {
    if (m->met) return true;
    if (!strcmp(m->option, "--passes")) return words_mistake(diag, "'%s' has no list of passes%s", m->text, in_modes(modes));
    if (!strcmp(m->option, "--rules"))
        return words_mistake(diag, "the pass 'rules' does not run%s, so the rules of '%s' have no effect", in_modes(modes),
                             m->text);
    const char *what = !strcmp(m->option, "--disable-pass") ? "leave out" : !strcmp(m->option, "options") ? "set" : "print";
    return words_mistake(diag, "the pass '%s' does not run%s: there is nothing to %s", m->text, in_modes(modes), what);
}

/* Is anything asked of passes? */
static bool asks(const PassOptions *o) {
    return o->bisect_limit >= 0 || o->print_before_all || o->print_after_all || o->time_passes;
}

bool passes_check(const PassOptions *by_mode, unsigned modes, Diag *diag) {
    Arena *arena = arena_new();
    Pipeline p = {0};
    bool ok = true, any = false, asked = false;
    for (int m = MODE_TRAIN; m <= MODE_INFER && ok; m++) {
        const PassOptions *o = &by_mode[m];
        if (!(modes & (m == MODE_TRAIN ? PASS_TRAIN : PASS_INFER))) continue;
        ok = pipeline_open(&p, arena, (Mode)m, o, diag);
        if (!ok) break;
        any |= p.first < p.count;
        asked |= asks(o);
        ok = check_printed(&p, "--print-before", o->print_before, o->nprint_before, diag) &&
             check_printed(&p, "--print-after", o->print_after, o->nprint_after, diag);
        pipeline_close(&p);
    }
    for (const Mention *m = p.mentions; m && ok; m = m->next) ok = check_mention(m, modes, diag);
    if (ok && asked && modes && !any)
        ok = words_mistake(diag, "no pass is left to run on what is fused already, so options of passes have no effect");
    arena_free(arena);
    return ok;
}
