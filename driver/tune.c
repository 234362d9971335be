/* Files of choices and --tune (tune.h).
 *
 * A tuning file is only ever used when the command line asks for it, so that bits never change because of an earlier run. What it
 * does not hold is measured (--tune) or left to the cost model (--tune-file alone). */
#include "driver/tune.h"
#include "driver/linker.h"
#include "driver/measure.h"
#include "driver/probe.h"
#include "runtime/kept.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 3 };
static const double margin = 0.98; /* a candidate must beat the cost model's by this much */

/* ---- files ---- */

static char *default_file(void) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache) return join("%s/netc/tune", cache);
    return join("%s/.cache/netc/tune", home ? home : ".");
}

/* Adds a file's choices; `bad`: lines that are none. */
static int read_choices(const char *path, ChoiceTable *table, uint32_t *bad) {
    size_t length;
    int status = EXIT_OK;
    char *text = read_file(path, &length, &status);
    if (!text) return status;
    if (strlen(text) != length || !choices_read(table, text, bad))
        status = fail(EXIT_INPUT, "'%s' is not a file of choices: its first line should be 'netc choices 1'", path);
    free(text);
    return status;
}

/* Under a temporary name first, so that a full disk or a crash leaves the old file. */
static int write_choices(const char *path, const ChoiceTable *table) {
    struct stat info;
    if (!stat(path, &info) && !S_ISREG(info.st_mode)) /* renaming would put a file in a device's place */
        return fail(EXIT_IO, "cannot write '%s': it is not a regular file", path);
    char *temporary = join("%s.tmp-%ld", path, (long)getpid());
    FILE *out = fopen(temporary, "w");
    errno = out ? 0 : errno;
    if (out) choices_write(table, out);
    bool ok = out && !ferror(out) && fflush(out) == 0 && fsync(fileno(out)) == 0;
    int reason = errno;
    if (out && fclose(out) && ok) ok = false, reason = errno;
    if (ok && rename(temporary, path)) ok = false, reason = errno;
    if (!ok && out) unlink(temporary);
    free(temporary);
    return ok ? EXIT_OK : fail(EXIT_IO, "cannot write '%s': %s", path, strerror(reason));
}

static int make_directory_of(const char *path) {
    char *directory = join("%s", path), *slash = strrchr(directory, '/');
    if (slash) *slash = 0;
    bool made = !slash || slash == directory || rt_make_directories(directory);
    int status = made ? EXIT_OK : fail(EXIT_IO, "cannot make the directory '%s': %s", directory, strerror(errno));
    free(directory);
    return status;
}

/* ---- pinned ---- */

static int read_pinned(Session *session, const char *path) {
    uint32_t bad = 0;
    int status = read_choices(path, session->choices, &bad);
    if (!status && bad)
        status = fail(EXIT_INPUT, "'%s' is damaged: %u of its lines %s", path, bad, bad == 1 ? "is no choice" : "are no choices");
    return status;
}

/* ---- as the checkpoint has it ---- */

/* Whatever the checkpoint says is preferred. One that knows none of the convolutions is of another CPU, or another model, which
 * the runtime refuses. */
static int adopt_recorded(Session *session, const CodegenInput *input, CodegenOptions *code) {
    Convolutions c = {0};
    uint32_t bad = 0;
    int64_t missing = 0;
    bool recorded = choices_read(session->choices, session->recorded, &bad);
    int status = recorded ? convolutions_list(session, input, code, &c) : EXIT_OK;
    for (int64_t i = 0; i < c.count; i++) missing += !choices_find(session->choices, c.cpu, c.item[i].site.key);
    if (missing && missing < c.count)
        fprintf(stderr,
                "netc: warning: the checkpoint does not say how %" PRId64 " of %" PRId64 " convolutions were computed: the "
                "bits may not be those of an uninterrupted run\n",
                missing, c.count);
    if (recorded) code->measured = session->choices;
    convolutions_free(&c);
    return status;
}

/* ---- tuning ---- */

static double seconds_of(const Convolution *v, uint32_t candidate) {
    return candidate < v->site.ncandidates && v->seconds[candidate] > 0 ? v->seconds[candidate] : 1e30;
}

/* The fastest listed candidate that is a pair, or is none; the first one unless another is clearly faster. */
static uint32_t fastest(const Convolution *v, bool pair) {
    uint32_t best = CONV_CANDIDATES;
    for (uint32_t i = 0; i < v->nlisted; i++) {
        uint32_t k = v->listed[i];
        if (v->site.candidate[k].pair != pair) continue;
        if (best == CONV_CANDIDATES || seconds_of(v, k) < margin * seconds_of(v, best)) best = k;
    }
    return best;
}

static void keep(const Convolutions *c, const Convolution *v, uint32_t candidate, ChoiceTable *table) {
    choices_put(table, c->cpu, v->site.key, &v->site.candidate[candidate], v->seconds[candidate]);
}

static void keep_fastest(const Convolutions *c, ChoiceTable *table) {
    for (int64_t i = 0; i < c->count; i++) {
        const Convolution *v = &c->item[i], *w = v->partner >= 0 ? &c->item[v->partner] : NULL;
        if (!v->nlisted || (v->weights && w && w->nlisted)) continue;
        uint32_t alone = fastest(v, false), paired = fastest(v, true),
                 weights = w && w->nlisted ? fastest(w, false) : CONV_CANDIDATES;
        if (!w || weights == CONV_CANDIDATES) {
            keep(c, v, alone, table);
        } else if (paired < CONV_CANDIDATES && seconds_of(v, paired) < seconds_of(v, alone) + seconds_of(w, weights)) {
            keep(c, v, paired, table);
            choices_put(table, c->cpu, w->site.key, &v->site.candidate[paired], 0);
        } else {
            keep(c, v, alone, table);
            keep(c, w, weights, table);
        }
    }
}

static int64_t count_listed(const Convolutions *c) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->count; i++) n += c->item[i].nlisted > 0;
    return n;
}

/* Measures what the table lacks and adds it. */
static int measure_missing(Session *session, const CodegenInput *input, const CodegenOptions *code, int64_t *measured) {
    Convolutions c = {0};
    int status = convolutions_list(session, input, code, &c);
    if (!status) convolutions_promising(&c, session->choices);
    *measured = status ? 0 : count_listed(&c);
    if (*measured && code->target && target_is_cross(code->target))
        return convolutions_free(&c), fail(EXIT_USAGE, "'--tune' cannot measure code for '%s' on this machine", code->target);
    if (*measured) {
        fprintf(stderr, "tuning: measuring %" PRId64 " convolution%s\n", *measured, *measured == 1 ? "" : "s");
        if (!status) status = session_pool(session);
        if (!status) status = convolutions_measure(session, input, code, &c, ROUNDS);
        if (!status) keep_fastest(&c, session->choices);
    }
    convolutions_free(&c);
    return status;
}

static int read_tuned(Session *session, const char *path, uint32_t *bad) {
    if (session->options->tune && access(path, F_OK) && errno == ENOENT) return EXIT_OK;
    int status = read_choices(path, session->choices, bad);
    if (!status && *bad)
        fprintf(stderr, "netc: warning: %u %s left out of '%s'\n", *bad,
                *bad == 1 ? "line that is no choice is" : "lines that are no choices are", path);
    return status;
}

/* Takes out the choices by which a convolution of this model cannot be computed, so that it is measured like an unknown one. */
static int drop_impossible(Session *session, const CodegenInput *input, const CodegenOptions *code, const char *path,
                           uint32_t *bad) {
    Convolutions c = {0};
    CodegenOptions tuned = *code;
    tuned.measured = session->choices;
    int status = convolutions_list(session, input, &tuned, &c);
    for (int64_t i = 0; i < c.count; i++) {
        const ConvSite *site = &c.item[i].site;
        if (!site->passed_over) continue;
        const ChoiceEntry *entry = choices_find(session->choices, c.cpu, site->key);
        fprintf(stderr, "netc: warning: a line of '%s' is left out: '%s' cannot be computed by '%s'\n", path, site->key,
                choice_text(c.arena, &entry->choice));
        choices_remove(session->choices, c.cpu, site->key);
        ++*bad;
    }
    convolutions_free(&c);
    return status;
}

/* A file with lines that cannot be used is kept under another name before it is written anew. */
static int save_tuned(Session *session, const char *path, uint32_t bad) {
    int status = make_directory_of(path);
    char *damaged = join("%s.damaged", path);
    if (!status && bad && rename(path, damaged)) status = fail(EXIT_IO, "cannot rename '%s': %s", path, strerror(errno));
    if (!status && bad) fprintf(stderr, "netc: the old file is kept as '%s'\n", damaged);
    free(damaged);
    return status ? status : write_choices(path, session->choices);
}

static int tune(Session *session, const CodegenInput *input, const CodegenOptions *code) {
    const Options *o = session->options;
    char *path = o->tune_file ? join("%s", o->tune_file) : default_file();
    double started = probe_seconds();
    uint32_t bad = 0;
    int64_t measured = 0;
    int status = read_tuned(session, path, &bad);
    if (!status && session->choices->count) status = drop_impossible(session, input, code, path, &bad);
    if (!status && o->tune) status = measure_missing(session, input, code, &measured);
    if (!status && measured) status = save_tuned(session, path, bad);
    if (!status && measured) fprintf(stderr, "tuning: kept in '%s' after %.1f s\n", path, probe_seconds() - started);
    free(path);
    return status;
}

/* ---- what was chosen ---- */

static int save_made(Session *session, const CodegenInput *input, const CodegenOptions *code) {
    Convolutions c = {0};
    if (!session->made) session->made = choices_new();
    int status = convolutions_list(session, input, code, &c);
    for (int64_t i = 0; i < c.count; i++) choices_put(session->made, c.cpu, c.item[i].site.key, &c.item[i].site.choice, 0);
    if (!status) status = write_choices(session->options->save_choices, session->made);
    convolutions_free(&c);
    return status;
}

int tuning_choose(Session *session, const CodegenInput *input, CodegenOptions *code) {
    const Options *o = session->options;
    bool tuned = o->tune || o->tune_file;
    int status = EXIT_OK;
    if (o->choices && (tuned || o->conv)) return fail(EXIT_USAGE, "'--choices' excludes '--tune', '--tune-file' and '--conv'");
    if (tuned && o->conv) return fail(EXIT_USAGE, "'--conv' excludes '--tune' and '--tune-file'");
    if (!session->choices) session->choices = choices_new();
    if (o->choices) {
        status = read_pinned(session, o->choices);
        code->pinned = session->choices;
    } else if (tuned) {
        status = tune(session, input, code);
        code->measured = session->choices;
    } else if (session->recorded && o->resume && !o->rechoose && !o->conv) {
        status = adopt_recorded(session, input, code);
    }
    return status || !o->save_choices ? status : save_made(session, input, code);
}
