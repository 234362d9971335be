/* Checkpoints: weights, running statistics, optimiser moments and the training's position, as one safetensors file. Tensors
 * have their logical shapes, in the order of the source; the position stands in the metadata, real numbers in hexadecimal so that
 * they come back exactly. Loading is all or nothing. */
#include "runtime/checkpoint.h"
#include "runtime/identity.h"
#include "runtime/machine.h"
#include "runtime/sha256.h"
#include "runtime/weights.h"
#include <stdlib.h>
#include <string.h>

static const char checkpoint_format[] = "netc checkpoint 1";

/* In a machine; without one, as parts that no memory belongs to. */
static int list_parts(const RtProgram *p, RtMachine *m, const RtTrainState *s, bool weights_only, RtPart parts[RT_MAX_PARTS]) {
    int n = rt_weights_parts(p, m, parts);
    if (weights_only) return n;
    const RtAverage *a = &p->recipe.average;
    bool adam = p->recipe.optimizer.kind != RT_SGD, average = m ? s->average != NULL : a->kind != RT_AVERAGE_NONE;
    bool statistics = m ? s->average_state != NULL : average && a->statistics;
    const char *prefix = a->kind == RT_AVERAGE_LOOKAHEAD ? "lookahead." : "ema.";
    char *moment1 = m ? rt_machine_space(m, RT_MOMENT1) : NULL, *moment2 = m ? rt_machine_space(m, RT_MOMENT2) : NULL;
    parts[n++] = (RtPart){"optimizer.moment1.", p->params, p->nparams, moment1, p->params_bytes};
    if (adam) parts[n++] = (RtPart){"optimizer.moment2.", p->params, p->nparams, moment2, p->params_bytes};
    if (average) parts[n++] = (RtPart){prefix, p->params, p->nparams, m ? (char *)s->average : NULL, p->params_bytes};
    if (statistics) parts[n++] = (RtPart){prefix, p->state, p->nstate, m ? (char *)s->average_state : NULL, p->state_bytes};
    return n;
}

/* What prediction needs of the set: a class a line, and numbers of each channel. */
static void add_set(StOut *out, const RtData *set) {
    char mean[128] = "", std[128] = "", *names = NULL;
    size_t bytes = 1;
    for (int64_t c = 0, m = 0, d = 0; c < set->channels && c < 4; c++) {
        m += snprintf(mean + m, sizeof mean - (size_t)m, "%s%a", c ? " " : "", set->mean[c]);
        d += snprintf(std + d, sizeof std - (size_t)d, "%s%a", c ? " " : "", set->std[c]);
    }
    for (int64_t k = 0; set->class_names && k < set->classes; k++) bytes += strlen(set->class_names[k]) + 1;
    bool plain = true;
    for (int64_t k = 0; set->class_names && k < set->classes; k++) plain &= rt_name_is_plain(set->class_names[k]);
    names = plain ? calloc(1, bytes) : NULL;
    for (int64_t k = 0, at = 0; names && set->class_names && k < set->classes; k++)
        at += sprintf(names + at, "%s\n", set->class_names[k]);
    st_add_metadata(out, "set", "%s", set->name ? set->name : "");
    st_add_metadata(out, "mean", "%s", mean);
    st_add_metadata(out, "std", "%s", std);
    if (names && *names) st_add_metadata(out, "classes", "%s", names);
    free(names);
}

RtStatus rt_checkpoint_save(const char *path, RtMachine *m, const RtTrainState *s, bool weights_only, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    StOut out = {0};
    RtPart parts[RT_MAX_PARTS];
    int nparts = list_parts(p, m, s, weights_only, parts);
    for (int i = 0; i < nparts; i++)
        for (uint32_t k = 0; k < parts[i].count; k++) {
            const RtTensor *t = &parts[i].tensors[k];
            char name[ST_NAME];
            snprintf(name, sizeof name, "%s%s", parts[i].prefix, t->name);
            float *to = st_add(&out, name, t->rank, t->dim);
            if (to) rt_tensor_unpack(p, t, parts[i].block, to);
        }
    st_add_metadata(&out, "format", "%s", weights_only ? "netc weights 1" : checkpoint_format);
    st_add_metadata(&out, "netc", "%s", NETC_VERSION);
    st_add_metadata(&out, "model", "%s", p->model);
    st_add_metadata(&out, "recipe", "%s", p->recipe_text ? p->recipe_text : "");
    if (!weights_only) {
        char code[65];
        rt_code_identity(p, code);
        st_add_metadata(&out, "choices", "%s", p->choices ? p->choices : "");
        st_add_metadata(&out, "pipeline", "%s", p->pipeline ? p->pipeline : "");
        st_add_metadata(&out, "pipeline_sha256", "%s", p->pipeline_sha256 ? p->pipeline_sha256 : "");
        st_add_metadata(&out, "code", "%s", code);
        st_add_metadata(&out, "data", "%s", s->data);
        st_add_metadata(&out, "batch", "%lld", (long long)p->batch);
    }
    st_add_metadata(&out, "seed", "%llu", (unsigned long long)s->seed);
    st_add_metadata(&out, "step", "%llu", (unsigned long long)s->step);
    if (s->total_steps) st_add_metadata(&out, "total_steps", "%llu", (unsigned long long)s->total_steps);
    st_add_metadata(&out, "epoch", "%lld", (long long)s->epoch);
    st_add_metadata(&out, "batch_index", "%lld", (long long)s->batch_index);
    st_add_metadata(&out, "best_accuracy", "%a", s->best_accuracy);
    if (s->stopped) st_add_metadata(&out, "stopped", "patience");
    st_add_metadata(&out, "best_epoch", "%lld", (long long)s->best_epoch);
    st_add_metadata(&out, "epoch_loss_sum", "%a", s->epoch_loss_sum);
    st_add_metadata(&out, "epoch_correct", "%lld", (long long)s->epoch_correct);
    st_add_metadata(&out, "epoch_images", "%lld", (long long)s->epoch_images);
    if (s->set) add_set(&out, s->set);
    RtStatus status = st_write(&out, path, error);
    st_free(&out);
    return status;
}

/* A number of the metadata; false if it is not there or not a number. */
static bool metadata_number(const StFile *f, const char *key, bool real, int64_t *integer, double *number) {
    const char *text = st_metadata(f, key);
    char *end = NULL;
    if (!text || !*text) return false;
    if (real)
        *number = strtod(text, &end);
    else
        *integer = (int64_t)strtoull(text, &end, 10);
    return *end == 0;
}

static bool read_position(const StFile *f, RtTrainState *s) {
    const char *format = st_metadata(f, "format");
    int64_t seed, step, total;
    bool ok = format && !strcmp(format, checkpoint_format) && metadata_number(f, "seed", false, &seed, NULL) &&
              metadata_number(f, "step", false, &step, NULL) && metadata_number(f, "epoch", false, &s->epoch, NULL) &&
              metadata_number(f, "batch_index", false, &s->batch_index, NULL) &&
              metadata_number(f, "best_accuracy", true, NULL, &s->best_accuracy) &&
              metadata_number(f, "best_epoch", false, &s->best_epoch, NULL) &&
              metadata_number(f, "epoch_loss_sum", true, NULL, &s->epoch_loss_sum) &&
              metadata_number(f, "epoch_correct", false, &s->epoch_correct, NULL) &&
              metadata_number(f, "epoch_images", false, &s->epoch_images, NULL);
    if (!ok) return false;
    const char *data = st_metadata(f, "data");
    s->seed = (uint64_t)seed;
    s->step = (uint64_t)step;
    s->total_steps = metadata_number(f, "total_steps", false, &total, NULL) ? (uint64_t)total : 0;
    s->stopped = st_metadata(f, "stopped") != NULL;
    snprintf(s->data, sizeof s->data, "%s", data ? data : "");
    return true;
}

static RtStatus open_checkpoint(const char *path, StFile *f, RtTrainState *s, RtError *error) {
    RtStatus status = st_open(path, f, error);
    if (status != RT_OK || read_position(f, s)) return status;
    return rt_fail(error, RT_INPUT, "%s holds weights but no training position to resume from", path);
}

static char *metadata_copy(const StFile *f, const char *key, bool *failed) {
    const char *text = st_metadata(f, key);
    char *copy = text && *text ? strdup(text) : NULL;
    *failed |= text && *text && !copy;
    return copy;
}

RtStatus rt_checkpoint_head(const char *path, RtCheckpointHead *head, RtError *error) {
    StFile f;
    bool failed = false;
    *head = (RtCheckpointHead){0};
    RtStatus status = open_checkpoint(path, &f, &head->state, error);
    if (status == RT_OK) {
        const char *code = st_metadata(&f, "code"), *pipeline = st_metadata(&f, "pipeline_sha256");
        head->model = metadata_copy(&f, "model", &failed);
        head->recipe = metadata_copy(&f, "recipe", &failed);
        head->choices = metadata_copy(&f, "choices", &failed);
        head->pipeline = metadata_copy(&f, "pipeline", &failed);
        snprintf(head->code, sizeof head->code, "%s", code ? code : "");
        snprintf(head->pipeline_sha256, sizeof head->pipeline_sha256, "%s", pipeline ? pipeline : "");
        if (!metadata_number(&f, "batch", false, &head->batch, NULL)) head->batch = 0;
        if (failed) status = rt_fail(error, RT_MEMORY, "out of memory: cannot read %s", path);
    }
    st_close(&f);
    if (status != RT_OK) rt_checkpoint_head_free(head);
    return status;
}

void rt_checkpoint_head_free(RtCheckpointHead *head) {
    free(head->model);
    free(head->recipe);
    free(head->choices);
    free(head->pipeline);
    *head = (RtCheckpointHead){0};
}

bool rt_directory_position(const char *directory, RtPosition *position) {
    char path[4096];
    RtCheckpointHead head;
    RtError ignored;
    *position = (RtPosition){0};
    snprintf(path, sizeof path, "%s/last.safetensors", directory);
    if (rt_checkpoint_head(path, &head, &ignored) != RT_OK) return false;
    *position = (RtPosition){.model = head.model,
                             .recipe = head.recipe,
                             .seed = head.state.seed,
                             .step = head.state.step,
                             .total_steps = head.state.total_steps,
                             .best_epoch = head.state.best_epoch,
                             .stopped = head.state.stopped};
    head.model = head.recipe = NULL;
    rt_checkpoint_head_free(&head);
    return true;
}

void rt_position_free(RtPosition *position) {
    free(position->model);
    free(position->recipe);
    *position = (RtPosition){0};
}

char *rt_checkpoint_choices(const char *path) {
    StFile f;
    RtError error;
    const char *text = st_open(path, &f, &error) == RT_OK ? st_metadata(&f, "choices") : NULL;
    char *copy = text && *text ? strdup(text) : NULL;
    st_close(&f);
    return copy;
}

/* The line of a table of choices that has the same CPU and convolution, its first two words, as `line`; NULL: none. */
static const char *same_convolution(const char *table, const char *line) {
    const char *space = strchr(line, ' '), *end = space ? strchr(space + 1, ' ') : NULL;
    if (!end) return NULL;
    size_t length = (size_t)(end + 1 - line);
    for (const char *at = table, *newline; at; at = newline ? newline + 1 : NULL) {
        if (!strncmp(at, line, length)) return at;
        newline = strchr(at, '\n');
    }
    return NULL;
}

RtStatus rt_check_choices(const char *saved, const RtProgram *p, RtError *error) {
    const char *line = saved ? strchr(saved, '\n') : NULL; /* behind the head */
    for (; line && p->choices; line = strchr(line, '\n')) {
        const char *now = same_convolution(p->choices, ++line);
        size_t length = strcspn(line, "\n");
        if (!now || (strcspn(now, "\n") == length && !strncmp(now, line, length))) continue;
        return rt_fail(error, RT_INPUT,
                       "the checkpoint computes convolutions otherwise, '%.*s', so that the bits would not be those of an "
                       "uninterrupted run; --rechoose resumes all the same",
                       (int)length, line);
    }
    return RT_OK;
}

/* Into the machine, or nowhere. */
static RtStatus load(const char *path, const RtProgram *p, RtMachine *m, RtTrainState *s, RtError *error) {
    StFile f;
    RtPart parts[RT_MAX_PARTS];
    RtTrainState loaded = *s;
    RtStatus status = open_checkpoint(path, &f, &loaded, error);
    if (status == RT_OK) status = rt_parts_load(&f, p, parts, list_parts(p, m, s, false, parts), error);
    st_close(&f);
    if (status == RT_OK) *s = loaded;
    return status;
}

RtStatus rt_checkpoint_load(const char *path, RtMachine *m, RtTrainState *s, RtError *error) {
    return load(path, rt_machine_program(m), m, s, error);
}

RtStatus rt_checkpoint_check(const char *path, const RtProgram *p, RtError *error) {
    RtTrainState ignored = {0};
    return load(path, p, NULL, &ignored, error);
}

typedef struct Placed {
    const RtTensor *tensor;
    const char *block;
} Placed;

/* The tensor whose name comes first among those behind `last`; NULL tensor: none. */
static Placed next_by_name(const RtPart *parts, int nparts, const char *last) {
    Placed next = {0};
    for (int i = 0; i < nparts; i++)
        for (uint32_t k = 0; k < parts[i].count; k++) {
            const RtTensor *t = &parts[i].tensors[k];
            if (last && strcmp(t->name, last) <= 0) continue;
            if (!next.tensor || strcmp(t->name, next.tensor->name) < 0) next = (Placed){t, parts[i].block};
        }
    return next;
}

static void hash_values(RtSha256 *sum, const RtProgram *p, Placed t) {
    int64_t elements = rt_tensor_elements(t.tensor), count;
    float some[1024];
    for (int64_t at = 0; at < elements; at += count) {
        count = elements - at < 1024 ? elements - at : 1024;
        rt_tensor_slice(p, t.tensor, t.block, at, count, some);
        rt_sha256_update(sum, some, (size_t)count * sizeof *some);
    }
}

void rt_weights_sha256(RtMachine *m, char hex[65]) {
    RtPart parts[RT_MAX_PARTS];
    int nparts = rt_weights_parts(rt_machine_program(m), m, parts);
    RtSha256 sum;
    rt_sha256_init(&sum);
    Placed t = next_by_name(parts, nparts, NULL);
    for (; t.tensor; t = next_by_name(parts, nparts, t.tensor->name)) {
        rt_sha256_update(&sum, t.tensor->name, strlen(t.tensor->name) + 1);
        hash_values(&sum, rt_machine_program(m), t);
    }
    rt_sha256_final(&sum, hex);
}
