/* netc passes: the passes that a model goes through, in order, and what each did. And the same as a checkpoint keeps it. */
#include "driver/driver.h"
#include "runtime/sha256.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Appends to a malloc'd text. */
static void append(char **text, const char *separator, const char *what) {
    char *longer = join("%s%s%s", *text, **text ? separator : "", what);
    free(*text);
    *text = longer;
}

static void append_list(char **text, const char *mode, const PassResult *result) {
    if (!result->graph) return;
    char *list = join("%s:%s", mode, result->pipeline);
    append(text, ";", list);
    free(list);
}

static void hash_file(RtSha256 *sum, const char *path) {
    char block[4096];
    FILE *file = fopen(path, "rb"); /* it was loaded, so it is there */
    for (size_t n; file && (n = fread(block, 1, sizeof block, file)) > 0;) rt_sha256_update(sum, block, n);
    if (file) fclose(file);
}

void session_describe_passes(Session *s) {
    const Options *o = s->options;
    RtSha256 sum;
    s->pipeline = join("%s", "");
    append_list(&s->pipeline, "train", &s->train_passes);
    append_list(&s->pipeline, "infer", &s->infer_passes);
    char *limit = join("opt-bisect-limit=%" PRId64, o->bisect_limit);
    if (o->bisect_limit >= 0) append(&s->pipeline, " ", limit);
    free(limit);
    rt_sha256_init(&sum);
    rt_sha256_update(&sum, s->pipeline, strlen(s->pipeline) + 1);
    for (uint32_t i = 0; i < o->load_pass.count; i++) hash_file(&sum, o->load_pass.item[i]);
    rt_sha256_final(&sum, s->pipeline_sha256);
}

/* ---- the command ---- */

static void print_runs(Mode mode, const PassResult *result) {
    const char *name = mode == MODE_TRAIN ? "train" : "infer";
    printf("--passes='%s:%s'\n", name, result->pipeline);
    for (uint32_t i = 0; i < result->nruns; i++) {
        const PassRun *run = &result->runs[i];
        printf("%s %3u  %-20s %7" PRId64 " rewrites %7u -> %5u values\n", name, i + 1, run->name, run->rewrites, run->before,
               run->after);
    }
}

int command_passes(const Options *options) {
    if (options->noperands > 1) return usage_error("passes", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    bool train = !options->mode || !strcmp(options->mode, "train"), infer = !options->mode || !strcmp(options->mode, "infer");
    int status = session_find_model(&session, options, "passes");
    if (!status) status = session_compiles(&session, (train ? PASS_TRAIN : 0) | (infer ? PASS_INFER : 0), "passes");
    if (!status && train) status = session_graph(&session, MODE_TRAIN, true);
    if (!status && infer) status = session_graph(&session, MODE_INFER, true);
    if (!status && train) print_runs(MODE_TRAIN, &session.train_passes);
    if (!status && infer) print_runs(MODE_INFER, &session.infer_passes);
    session_close(&session);
    return status;
}
