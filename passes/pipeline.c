/* From options to the list of passes to run. Mistakes are user mistakes: they go into diag. Grammar of --passes, in which blanks
 * mean nothing:
 *
 *     text    = part { ";" part }
 *     part    = [ "train:" | "infer:" ] list      without a mode: `changes` for both, `names` for PassOptions.bare_modes
 *     list    = names | [ "default" [ "," ] ] changes
 *     names   = pass { "," pass }                 exactly these
 *     changes = { ( "-" run | "+" pass [ "@" ( "before:" | "after:" ) run ] | run options ) [ "," ] }
 *     run     = name [ "#" number ]               of the default pipeline: all runs of a pass, or one
 *     pass    = name [ options ]
 *     options = "{" name "=" number { "," name "=" number } "}" */
#include "ir/stream.h"
#include "passes/driver.h"
#include "passes/plugin.h"
#include "passes/rules.h"
#include "passes/words.h"
#include <stdlib.h>
#include <string.h>

static const char *mode_word(Mode mode) { return mode == MODE_TRAIN ? "training" : "inference"; }

static void insert(Pipeline *p, uint32_t at, const Pass *pass, const int64_t *parameter) {
    uint32_t ordinal = 1;
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->run[i].pass == pass && p->run[i].ordinal >= ordinal) ordinal = p->run[i].ordinal + 1;
    }
    ARENA_GROW(p->arena, p->run, p->count, &p->capacity);
    memmove(&p->run[at + 1], &p->run[at], (p->count - at) * sizeof *p->run);
    p->run[at] = (PipelineRun){.pass = pass, .ordinal = ordinal, .parameter = parameter};
    p->count++;
}

static void take_out(Pipeline *p, uint32_t at) {
    p->count--;
    memmove(&p->run[at], &p->run[at + 1], (p->count - at) * sizeof *p->run);
}

void pipeline_mention(Pipeline *p, const char *option, const char *text, bool met) {
    Mention *m = p->mentions;
    while (m && (strcmp(m->option, option) != 0 || strcmp(m->text, text) != 0)) m = m->next;
    if (!m) {
        m = ARENA_NEW(p->arena, Mention);
        *m = (Mention){option, arena_strdup(p->arena, text), false, p->mentions};
        p->mentions = m;
    }
    m->met |= met;
}

/* ---- words ---- */

static bool unknown(Pipeline *p, const char *name, Diag *diag) {
    const char *near = plugins_nearest(&p->plugins, p->arena, name);
    if (near) return words_mistake(diag, "there is no pass '%s'; did you mean '%s'?", name, near);
    return words_mistake(diag, "there is no pass '%s'; 'netc help passes' lists them", name);
}

/* The pass that stands next; NULL after a report. */
static const Pass *read_pass(Pipeline *p, const char **at, Diag *diag) {
    const char *from = words_skip(*at), *name = words_take(p->arena, at);
    if (!*name) {
        if (*from && *from != ',')
            words_mistake(diag, "a list of passes has '%c' where a name should stand", *from);
        else
            words_mistake(diag, "a list of passes lacks a name");
        return NULL;
    }
    const Pass *pass = plugins_find(&p->plugins, name, p->mode);
    if (!pass) unknown(p, name, diag);
    return pass;
}

bool pipeline_read_run(Pipeline *p, const char **at, RunName *run, Diag *diag) {
    run->ordinal = 0;
    run->pass = read_pass(p, at, diag);
    if (!run->pass) return false;
    run->text = run->pass->name;
    if (!words_accept(at, "#")) return true;
    const char *number = words_take(p->arena, at);
    char *end;
    unsigned long ordinal = strtoul(number, &end, 10);
    if (*number < '1' || *number > '9' || *end || ordinal > UINT32_MAX)
        return words_mistake(diag, "'%s#' needs the number of a run, from 1, found '%s'", run->pass->name, number);
    run->ordinal = (uint32_t)ordinal;
    run->text = arena_printf(p->arena, "%s#%lu", run->pass->name, ordinal);
    return true;
}

static bool is_run(const Pipeline *p, uint32_t i, const RunName *run) {
    return p->run[i].pass == run->pass && (run->ordinal == 0 || run->ordinal == p->run[i].ordinal);
}

/* ---- the default pipeline ---- */

/* Loaded passes where their plugins want them. One that replaces a pass of netc's stands where that one does. */
static bool place_plugin(Pipeline *p, const NetcPlugin *plugin, const char *path, Diag *diag) {
    uint32_t at = p->count;
    bool runs = false;
    for (uint32_t i = 0; i < plugin->count; i++) runs |= !plugin->passes[i].replaces && pass_runs_in(&plugin->passes[i], p->mode);
    if (!runs) return true;
    if (plugin->after) {
        while (at > 0 && strcmp(p->run[at - 1].pass->name, plugin->after) != 0) at--;
        if (at == 0 && !plugins_find(&p->plugins, plugin->after, p->mode))
            return words_mistake(diag, "the passes of '%s' want to run after '%s', but there is no such pass", path,
                                 plugin->after);
        if (at == 0)
            return words_mistake(diag, "the passes of '%s' want to run after '%s', which does not run in %s", path, plugin->after,
                                 mode_word(p->mode));
    }
    for (uint32_t i = 0; i < plugin->count; i++) {
        const Pass *pass = &plugin->passes[i];
        if (!pass->replaces && pass_runs_in(pass, p->mode)) insert(p, at++, pass, NULL);
    }
    return true;
}

/* Behind the first and the last cse. */
static void place_rules(Pipeline *p) {
    const Pass *rules = pass_find("rules"), *cse = pass_find("cse");
    uint32_t first = UINT32_MAX, last = 0; /* there is one */
    for (uint32_t i = 0; i < p->count; i++) {
        if (strcmp(p->run[i].pass->name, cse->name) != 0) continue;
        if (first == UINT32_MAX) first = i;
        last = i;
    }
    insert(p, first + 1, rules, NULL);
    if (first < last) insert(p, last + 2, rules, NULL);
}

static bool append_default(Pipeline *p, Diag *diag) {
    const char *names = pass_default_pipeline(p->mode);
    do insert(p, p->count, plugins_find(&p->plugins, words_take(p->arena, &names), p->mode), NULL);
    while (words_accept(&names, ","));
    if (p->with_rules) place_rules(p);
    for (uint32_t i = 0; i < p->plugins.count; i++) {
        if (!place_plugin(p, p->plugins.plugin[i], p->plugins.path[i], diag)) return false;
    }
    const Pass *first, *second, **order = ARENA_ARRAY(p->arena, const Pass *, p->count);
    for (uint32_t i = 0; i < p->count; i++) order[i] = p->run[i].pass;
    if (pass_order(order, p->count, &first, &second)) return true;
    return words_mistake(diag, "the pass '%s' has to run after '%s', which the default pipeline runs behind it", first->name,
                         second->name);
}

/* ---- lists ---- */

static bool mixed(const char *what, Diag *diag) {
    return words_mistake(
        diag, "a list of passes either names the passes to run or changes the default with '-' and '+'; '%s' does not fit", what);
}

static bool leave_out(Pipeline *p, const char **at, Diag *diag) {
    RunName run;
    if (!pipeline_read_run(p, at, &run, diag)) return false;
    const Pass *ours = pass_find(run.pass->name);
    if (run.pass->required || (ours && ours->required))
        return words_mistake(diag, "the pass '%s' is required and cannot be left out", run.pass->name);
    bool met = false;
    for (uint32_t i = p->count; i-- > 0;) {
        if (!is_run(p, i, &run)) continue;
        take_out(p, i);
        met |= i >= p->first;
        if (i < p->first) p->first--;
    }
    pipeline_mention(p, "--disable-pass", run.text, met);
    return true;
}

/* Where a pass is to be added: before or after the one run that stands next. */
static bool read_place(Pipeline *p, const char **at, uint32_t *place, Diag *diag) {
    bool before = words_accept(at, "before");
    if ((!before && !words_accept(at, "after")) || !words_accept(at, ":"))
        return words_mistake(diag, "expected 'before:' or 'after:' and the name of a pass behind '@', found '%.40s'", *at);
    RunName run;
    if (!pipeline_read_run(p, at, &run, diag)) return false;
    uint32_t runs = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        if (!is_run(p, i, &run)) continue;
        runs++;
        *place = before ? i : i + 1;
    }
    if (runs == 0)
        return words_mistake(diag, "'%s' does not run in %s, so nothing can be placed by it", run.text, mode_word(p->mode));
    if (runs > 1) return words_mistake(diag, "'%s' runs %u times: '%s#1' is the first of them", run.text, runs, run.text);
    return true;
}

/* Must a pass that a list names not rewrite graphs of this mode? */
static bool fits_mode(const Pipeline *p, const Pass *pass, Diag *diag) {
    if (!pass->modes || pass_runs_in(pass, p->mode)) return true;
    return words_mistake(diag, "the pass '%s' does not rewrite graphs of %s, for which this list is", pass->name,
                         mode_word(p->mode));
}

/* A pass that a list names, with its options. */
static const Pass *read_named(Pipeline *p, const char **at, const int64_t **parameter, Diag *diag) {
    const Pass *pass = read_pass(p, at, diag);
    if (!pass || !fits_mode(p, pass, diag)) return NULL;
    if (pass->needs_rules && !p->with_rules) {
        words_mistake(diag, "the pass '%s' needs rules: --rules=FILE", pass->name);
        return NULL;
    }
    return parameters_read(p->arena, pass, at, NULL, parameter, diag) ? pass : NULL;
}

static bool add(Pipeline *p, const char **at, Diag *diag) {
    uint32_t place = p->count;
    const int64_t *parameter;
    const Pass *pass = read_named(p, at, &parameter, diag);
    if (!pass) return false;
    if (words_accept(at, "@") && !read_place(p, at, &place, diag)) return false;
    insert(p, place, pass, parameter);
    if (place < p->first) p->first++; /* as if it had been done too */
    return true;
}

/* Does a run with options stand next? */
static bool sees_options(Arena *arena, const char *at) {
    if (!*words_take(arena, &at)) return false;
    if (words_accept(&at, "#")) words_take(arena, &at);
    return words_accept(&at, "{");
}

/* Options of runs that are there. */
static bool set(Pipeline *p, const char **at, Diag *diag) {
    RunName run;
    const char *from;
    bool met = false;
    if (!pipeline_read_run(p, at, &run, diag)) return false;
    from = *at;
    for (uint32_t i = 0; i < p->count; i++) {
        if (!is_run(p, i, &run)) continue;
        *at = from;
        if (!parameters_read(p->arena, run.pass, at, p->run[i].parameter, &p->run[i].parameter, diag)) return false;
        met |= i >= p->first;
    }
    const int64_t *unused;
    if (*at == from && !parameters_read(p->arena, run.pass, at, NULL, &unused, diag)) return false;
    pipeline_mention(p, "options", run.text, met);
    return true;
}

static bool append_changes(Pipeline *p, const char *at, Diag *diag) {
    bool comma = *at && words_accept(&at, ",");
    while (*(at = words_skip(at))) {
        const char *from = at;
        if (words_accept(&at, "-")) {
            if (!leave_out(p, &at, diag)) return false;
        } else if (words_accept(&at, "+")) {
            if (!add(p, &at, diag)) return false;
        } else if (sees_options(p->arena, at)) {
            if (!set(p, &at, diag)) return false;
        } else {
            const char *what = words_take(p->arena, &at);
            return *what ? mixed(what, diag)
                         : words_mistake(diag, "a list of passes has '%c' where '-' or '+' should stand", *from);
        }
        comma = words_accept(&at, ",");
    }
    return !comma || words_mistake(diag, "a list of passes lacks a name");
}

static bool append_names(Pipeline *p, const char *at, Diag *diag) {
    do {
        at = words_skip(at);
        if (*at == '-' || *at == '+') {
            const char *from = at++, *name = words_take(p->arena, &at);
            return mixed(arena_printf(p->arena, "%c%s", *from, name), diag);
        }
        const int64_t *parameter;
        const Pass *pass = read_named(p, &at, &parameter, diag);
        if (!pass) return false;
        insert(p, p->count, pass, parameter);
    } while (words_accept(&at, ","));
    return !*at || words_mistake(diag, "a list of passes has '%c' where ',' should stand", *at);
}

/* ---- parts ---- */

typedef struct Part {
    bool changes;     /* of the default, otherwise names */
    const char *list; /* behind "default" and the mode; NULL: the default as it is */
    bool is_for[2];   /* by Mode */
} Part;

/* One part of the text, in its own copy. */
static bool read_part(Pipeline *p, const char *text, unsigned bare_modes, Part *part, Diag *diag) {
    const char *at = text, *name = words_take(p->arena, &at);
    *part = (Part){.list = text, .is_for = {true, true}};
    bool moded = *name && *at == ':';
    if (moded) {
        part->is_for[MODE_TRAIN] = !strcmp(name, "train");
        part->is_for[MODE_INFER] = !strcmp(name, "infer");
        if (!part->is_for[MODE_TRAIN] && !part->is_for[MODE_INFER])
            return words_mistake(diag, "a list of passes is for 'train:' or 'infer:', found '%s:'", name);
        part->list = ++at;
        name = words_take(p->arena, &at);
    }
    if (!*words_skip(part->list))
        return words_mistake(diag, "the list of passes%s%s is empty; 'default' is the default one", moded ? " for " : "",
                             !moded ? "" : mode_word(part->is_for[MODE_INFER]));
    bool whole = !strcmp(name, "default");
    if (whole) part->list = at;
    part->changes = whole || *words_skip(part->list) == '-' || *words_skip(part->list) == '+';
    if (moded || part->changes || !bare_modes) return true;
    part->is_for[MODE_TRAIN] = bare_modes & PASS_TRAIN;
    part->is_for[MODE_INFER] = bare_modes & PASS_INFER;
    return true;
}

/* The part of the text that is for p's mode; without one, `part` is the default. */
static bool choose_part(Pipeline *p, const PassOptions *o, Part *part, Diag *diag) {
    *part = (Part){.changes = true, .list = ""};
    bool chosen = false;
    for (const char *at = o->pipeline; at;) {
        const char *semicolon = strchr(at, ';');
        Part next;
        if (!read_part(p, semicolon ? arena_strndup(p->arena, at, (size_t)(semicolon - at)) : at, o->bare_modes, &next, diag))
            return false;
        if (next.is_for[p->mode] && chosen)
            return words_mistake(diag, "there are two lists of passes for %s", mode_word(p->mode));
        if (next.is_for[p->mode]) *part = next, chosen = true;
        at = semicolon ? semicolon + 1 : NULL;
    }
    if (o->pipeline) pipeline_mention(p, "--passes", o->pipeline, chosen);
    return true;
}

/* ---- what is left to do ---- */

/* How many of the passes run up to the last one of this name; 0 if there is none. */
static uint32_t runs_to(const Pipeline *p, const char *last) {
    uint32_t count = p->count;
    while (count > 0 && strcmp(p->run[count - 1].pass->name, last) != 0) count--;
    return count;
}

/* What has been done to the graph already. */
static void skip_done(Pipeline *p, const PassOptions *o) {
    p->first = o->finished ? p->count : o->start_after ? runs_to(p, o->start_after) : 0;
}

static bool stop(Pipeline *p, const PassOptions *o, Diag *diag) {
    if (!o->stop_after) return true;
    p->count = runs_to(p, o->stop_after);
    return p->count > p->first ||
           words_mistake(diag, "the pass '%s' does not run, so the graph behind it cannot be had", o->stop_after);
}

static void find_single_runs(Pipeline *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        p->run[i].once = true;
        for (uint32_t k = 0; k < p->count; k++) p->run[i].once &= k == i || p->run[k].pass != p->run[i].pass;
    }
}

/* Is one of the rest a pass that needs rules? */
static void mention_rules(Pipeline *p, const PassOptions *o) {
    bool met = false;
    for (uint32_t i = p->first; i < p->count; i++) met |= p->run[i].pass->needs_rules;
    if (o->rules) pipeline_mention(p, "--rules", rules_path(o->rules), met);
}

static bool fill(Pipeline *p, const PassOptions *o, Diag *diag) {
    Part part;
    p->with_rules = o->rules != NULL;
    if (!plugins_open(&p->plugins, p->arena, o, diag) || !choose_part(p, o, &part, diag)) return false;
    bool ok = !part.changes || append_default(p, diag);
    if (part.changes) skip_done(p, o);
    if (part.changes) mention_rules(p, o); /* before they are left out, which is no mistake */
    ok = ok && (part.changes ? append_changes(p, part.list, diag) : append_names(p, part.list, diag));
    mention_rules(p, o);
    for (uint32_t i = 0; i < o->ndisable && ok; i++) {
        const char *at = o->disable[i];
        ok = leave_out(p, &at, diag);
        if (ok && *at) ok = words_mistake(diag, "'%s' is not the name of one pass", o->disable[i]);
    }
    find_single_runs(p);
    return ok && stop(p, o, diag);
}

bool pipeline_open(Pipeline *p, Arena *arena, Mode mode, const PassOptions *options, Diag *diag) {
    Mention *mentions = p->mentions;
    *p = (Pipeline){.arena = arena, .mode = mode, .mentions = mentions};
    if (fill(p, options, diag)) return true;
    pipeline_close(p);
    return false;
}

void pipeline_close(Pipeline *p) { plugins_close(&p->plugins); }

bool pipeline_names(const Pipeline *p, uint32_t i, const char *text) {
    const char *name = p->run[i].pass->name;
    size_t length = strlen(name);
    if (strncmp(text, name, length)) return false;
    return !text[length] || (text[length] == '#' && strtoul(text + length + 1, NULL, 10) == p->run[i].ordinal);
}

const char *pipeline_run_name(const Pipeline *p, uint32_t i) {
    const PipelineRun *run = &p->run[i];
    if (!run->once) return arena_printf(p->arena, "%s#%u", run->pass->name, run->ordinal);
    return arena_strdup(p->arena, run->pass->name); /* a shared object may be gone when it is read */
}

const char *pipeline_text(const Pipeline *p) {
    TextStream text;
    text_open(&text);
    for (uint32_t i = p->first; i < p->count; i++)
        fprintf(text.file, "%s%s%s", i > p->first ? "," : "", p->run[i].pass->name,
                parameters_text(p->arena, p->run[i].pass, p->run[i].parameter));
    text_close(&text);
    const char *copy = arena_strdup(p->arena, text.text);
    free(text.text);
    return copy;
}
