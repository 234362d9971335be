/* What may change when a training is resumed, in one table; docs/cli.md has it in words.
 *
 * A resumed run continues the same training. What its state or its position in the data mean nothing without is refused; what can
 * be another from the next step on is done, and said; what decides no bit (threads, how often is saved) is neither. */
#include "runtime/resume.h"
#include "runtime/checkpoint.h"
#include "runtime/directory.h"
#include "runtime/identity.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef enum Change {
    CHANGE_ELSEWHERE, /* the recipe's word does not count: --batch and --data may say otherwise, and are looked at themselves */
    CHANGE_SAID,
    CHANGE_ARGUMENTS, /* the form stays and what is kept for it; other arguments may change and are said: sgd(...) */
    CHANGE_REFUSED
} Change;

static const struct {
    const char *key;
    Change change;
    const char *before; /* what a checkpoint means that does not have the key, made before there was one; NULL: all have it */
} table[] = {
    {"data", CHANGE_ELSEWHERE, NULL},      {"fit", CHANGE_ELSEWHERE, "stretch"}, {"normalize", CHANGE_REFUSED, NULL},
    {"augment", CHANGE_SAID, NULL},        {"mix", CHANGE_SAID, "[]"},           {"loss", CHANGE_SAID, NULL},
    {"optimizer", CHANGE_ARGUMENTS, NULL}, {"groups", CHANGE_SAID, "[]"},        {"schedule", CHANGE_SAID, NULL},
    {"epochs", CHANGE_SAID, NULL},         {"batch", CHANGE_ELSEWHERE, NULL},    {"accumulate", CHANGE_REFUSED, "1"},
    {"shards", CHANGE_REFUSED, "1"},       {"clip", CHANGE_SAID, "0"},           {"validation", CHANGE_REFUSED, "0"},
    {"patience", CHANGE_SAID, "0"},        {"shuffle", CHANGE_REFUSED, NULL},    {"average", CHANGE_ARGUMENTS, "none"},
    {"views", CHANGE_SAID, "one"},
};
enum { KEYS = sizeof table / sizeof *table };

/* A piece of a text. */
typedef struct Piece {
    const char *at;
    size_t length;
} Piece;

static bool same(Piece a, Piece b) { return a.length == b.length && !memcmp(a.at, b.at, a.length); }

/* The value of a key in a recipe's canonical text, a key a line; length 0: none. */
static Piece value_of(const char *recipe, const char *key) {
    size_t length = strlen(key);
    for (const char *line = recipe; line; line = strchr(line, '\n'), line += line != NULL) {
        const char *at = line + strspn(line, " ");
        if (strncmp(at, key, length) || at[length] != ' ') continue;
        at += length + strspn(at + length, " ");
        if (*at != '=') continue;
        at += 1 + strspn(at + 1, " ");
        return (Piece){at, strcspn(at, "\n")};
    }
    return (Piece){"", 0};
}

/* The same of a checkpoint, whose netc may not have known the key. An average was then written as ema = decay, 0 being none. */
static Piece value_saved(const char *recipe, int key, char text[96]) {
    Piece value = value_of(recipe, table[key].key), ema = value_of(recipe, "ema");
    const char *before = table[key].before;
    if (value.length || !before) return value;
    if (!strcmp(table[key].key, "average") && ema.length && !same(ema, (Piece){"0", 1})) {
        snprintf(text, 96, "ema(decay = %.*s, every = 1, statistics = false)", (int)ema.length, ema.at);
        before = text;
    }
    return (Piece){before, strlen(before)};
}

static Piece form_of(Piece value) {
    const char *bracket = memchr(value.at, '(', value.length);
    return bracket ? (Piece){value.at, (size_t)(bracket - value.at)} : value;
}

/* Of an average: are running statistics averaged too? Then the checkpoint has tensors of them. */
static bool has_statistics(Piece value) {
    static const char yes[] = "statistics = true";
    return memmem(value.at, value.length, yes, sizeof yes - 1) != NULL;
}

static bool is_refused(Change change, Piece old, Piece now) {
    switch (change) {
    case CHANGE_ELSEWHERE:
    case CHANGE_SAID: return false;
    case CHANGE_ARGUMENTS: return !same(form_of(old), form_of(now)) || has_statistics(old) != has_statistics(now);
    case CHANGE_REFUSED: return true;
    }
    return true;
}

static RtStatus refuse(RtError *error, const char *path, const char *key, Piece old, Piece now) {
    return rt_fail(error, RT_INPUT,
                   "%s was trained with %s = %.*s, not %.*s, and cannot be resumed so; --init with it begins a new training from "
                   "its weights",
                   path, key, (int)old.length, old.at, (int)now.length, now.at);
}

static void say(const RtTrainOptions *o, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const RtTrainOptions *o, const char *format, ...) {
    char text[1024];
    va_list args;
    if (!o->say) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    o->say(RT_NOTE, text);
}

/* Goes through the keys of both recipes; *changed counts what was said. */
static RtStatus compare_recipes(const char *path, const char *old, const RtProgram *p, const RtTrainOptions *o, bool quiet,
                                int *changed, RtError *error) {
    for (int i = 0; i < KEYS && old && p->recipe_text; i++) {
        char text[96];
        Piece was = value_saved(old, i, text), now = value_of(p->recipe_text, table[i].key);
        if (!was.length || !now.length || table[i].change == CHANGE_ELSEWHERE || same(was, now)) continue;
        if (is_refused(table[i].change, was, now)) return refuse(error, path, table[i].key, was, now);
        ++*changed;
        if (!quiet)
            say(o, "resumed with %s = %.*s, where the checkpoint has %.*s", table[i].key, (int)now.length, now.at,
                (int)was.length, was.at);
    }
    return RT_OK;
}

/* What the recipe does not say. An older checkpoint may not know it; then nothing is compared. */
static RtStatus compare_run(const char *path, const RtCheckpointHead *head, const RtProgram *p, const RtData *data,
                            const RtTrainOptions *o, RtError *error) {
    char now[160];
    bool others = *head->state.data && !rt_data_is(data, head->state.data, now);
    if (others && head->recipe && p->recipe_text) { /* the same pictures, fitted otherwise? */
        Piece was = value_of(head->recipe, "fit"), fit = value_of(p->recipe_text, "fit");
        if (was.length && fit.length && !same(was, fit)) return refuse(error, path, "fit", was, fit);
    }
    if (others)
        return refuse(error, path, "data", (Piece){head->state.data, strlen(head->state.data)}, (Piece){now, strlen(now)});
    if (head->batch && head->batch != p->batch) {
        char old[32];
        snprintf(old, sizeof old, "%lld", (long long)head->batch);
        snprintf(now, sizeof now, "%lld", (long long)p->batch);
        return refuse(error, path, "batch", (Piece){old, strlen(old)}, (Piece){now, strlen(now)});
    }
    if (o->seed_given && o->seed != head->state.seed)
        return rt_fail(error, RT_INPUT, "%s was trained with the seed %llu, not %llu; --resume needs no --seed", path,
                       (unsigned long long)head->state.seed, (unsigned long long)o->seed);
    return RT_OK;
}

/* From the first word on in which a text differs from another. */
static const char *from_difference(const char *text, const char *other) {
    size_t word = 0;
    for (size_t i = 0; text[i] && text[i] == other[i]; i++)
        if (strchr(",; ", text[i])) word = i + 1;
    return text + word;
}

RtStatus rt_compare_pipelines(const RtCheckpointHead *head, const RtProgram *p, RtError *error) {
    const char *saved = head->pipeline;
    if (!saved || !*head->pipeline_sha256 || !p->pipeline || !p->pipeline_sha256 || !*p->pipeline_sha256) return RT_OK;
    if (!strcmp(head->pipeline_sha256, p->pipeline_sha256)) return RT_OK;
    const char *consequence = "so that the bits would not be those of an uninterrupted run; --repass resumes all the same";
    if (!strcmp(saved, p->pipeline))
        return rt_fail(error, RT_INPUT, "the passes that were loaded when the checkpoint was made had other contents, %s",
                       consequence);
    return rt_fail(error, RT_INPUT, "the checkpoint was made by other passes ('%.40s' there, '%.40s' here), %s",
                   from_difference(saved, p->pipeline), from_difference(p->pipeline, saved), consequence);
}

/* The position must be one that this data set and batch size have. */
static RtStatus check_position(const char *path, const RtTrainState *s, int64_t per_epoch, RtError *error) {
    bool inside = s->epoch >= 0 && s->batch_index >= 0 && s->batch_index < per_epoch;
    if (inside && s->step / (uint64_t)per_epoch == (uint64_t)s->epoch &&
        s->step % (uint64_t)per_epoch == (uint64_t)s->batch_index)
        return RT_OK;
    return rt_fail(
        error, RT_INPUT,
        "%s was made with another batch size or data set: step %llu is not batch %lld of epoch %lld at %lld batches an "
        "epoch",
        path, (unsigned long long)s->step, (long long)s->batch_index, (long long)s->epoch, (long long)per_epoch);
}

RtStatus rt_resume(const RtProgram *p, RtMachine *m, const RtData *data, const RtTrainOptions *o, RtTrainState *s,
                   RtError *error) {
    char path[RT_PATH], code[65];
    RtCheckpointHead head;
    int changed = 0;
    rt_directory_file(o->directory, "last.safetensors", path);
    RtStatus status = rt_checkpoint_head(path, &head, error);
    if (status != RT_OK) return status;
    status = compare_run(path, &head, p, data, o, error);
    if (status == RT_OK) status = compare_recipes(path, head.recipe, p, o, !m, &changed, error);
    if (status == RT_OK) status = check_position(path, &head.state, rt_steps_per_epoch(p, data), error);
    if (status == RT_OK && !o->repass) status = rt_compare_pipelines(&head, p, error);
    if (status == RT_OK && !o->rechoose) status = rt_check_choices(head.choices, p, error);
    if (status == RT_OK) status = m ? rt_checkpoint_load(path, m, s, error) : rt_checkpoint_check(path, p, error);
    if (status == RT_OK && m) {
        rt_code_identity(p, code);
        if (!changed && *head.code && strcmp(head.code, code))
            say(o, "a step is computed otherwise than when the checkpoint was made (CPU, precision, passes, what is computed "
                   "again, or netc "
                   "itself): the bits are not those of an uninterrupted run");
    }
    rt_checkpoint_head_free(&head);
    return status;
}
