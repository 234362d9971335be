/* The most likely classes of pictures. */
#include "cli/classes.h"
#include "cli/picture.h"
#include "cli/report.h"
#include "cli/run.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Ranked {
    int64_t label;
    float score;
} Ranked;

static int by_score(const void *a, const void *b) {
    const Ranked *x = a, *y = b;
    if (x->score < y->score || x->score > y->score) return x->score < y->score ? 1 : -1; /* where all are NaN, by label */
    return x->label < y->label ? -1 : 1;
}

static void print_scores(const Options *o, const RtData *data, const char *file, const float *scores) {
    Ranked *ranked = calloc((size_t)data->classes, sizeof *ranked);
    if (!ranked) exit(fail(EXIT_IO, "out of memory"));
    for (int64_t i = 0; i < data->classes; i++) ranked[i] = (Ranked){i, scores[i]};
    qsort(ranked, (size_t)data->classes, sizeof *ranked, by_score);
    int64_t top = o->top < data->classes ? o->top : data->classes;
    if (o->json) {
        printf("{\"file\": ");
        json_write_string(stdout, file);
        printf(", \"top\": [");
    } else {
        printf("%s:", file);
    }
    for (int64_t i = 0; i < top; i++) {
        char *name = class_name(data, ranked[i].label);
        if (o->json) {
            printf("%s{\"class\": ", i ? ", " : "");
            json_write_string(stdout, name);
            printf(", \"label\": %" PRId64, ranked[i].label);
            json_write_member(stdout, "probability", (double)ranked[i].score);
            putchar('}');
        } else {
            printf("%s %s %.1f %%", i ? "," : "", name, 100 * (double)ranked[i].score);
        }
        free(name);
    }
    puts(o->json ? "]}" : "");
    free(ranked);
}

int predict_pictures(const Options *o, uint32_t first, Names *pictures) {
    int status = EXIT_OK;
    *pictures = (Names){0};
    for (uint32_t i = first; i < o->noperands && !status; i++)
        if (names_is_directory(o->operand[i]))
            status = names_pictures_below(o->operand[i], pictures);
        else
            names_add(pictures, join("%s", o->operand[i]));
    return status;
}

enum { REASON = 256 };

/* Pictures being read, each into its place of a batch. */
typedef struct Loading {
    PictureShape shape;
    char *const *file;
    uint8_t *planes;
    char (*reason)[REASON]; /* "": it is there */
    int *status;
} Loading;

static void load_picture(void *context, int64_t i, int thread) {
    const Loading *l = context;
    const PictureShape *s = &l->shape;
    static const int status[] = {[PICTURE_LOADED] = EXIT_OK, [PICTURE_BAD] = EXIT_INPUT, [PICTURE_NO_MEMORY] = EXIT_IO};
    (void)thread;
    *l->reason[i] = 0;
    l->status[i] =
        status[picture_load(l->file[i], s, l->planes + i * s->channels * s->height * s->width, NULL, l->reason[i], REASON)];
}

/* Says which are not there, and moves the others together. Returns how many these are. */
static int64_t keep_loaded(const Loading *l, int64_t n, const char **file, int *status) {
    int64_t plane = l->shape.channels * l->shape.height * l->shape.width, kept = 0;
    for (int64_t i = 0; i < n; i++) {
        if (l->status[i]) {
            *status = fail(l->status[i], "cannot read the picture '%s': %s", l->file[i], l->reason[i]);
            continue;
        }
        if (kept != i) memmove(l->planes + kept * plane, l->planes + i * plane, (size_t)plane);
        file[kept++] = l->file[i];
    }
    return kept;
}

/* The batch of a compiled net is fixed, so pictures go through in groups, read by all threads; a bad file is reported and the
 * others still run. */
static int predict_all(RtMachine *m, const Options *o, const Names *pictures, const RtData *data) {
    const RtProgram *program = rt_machine_program(m);
    int64_t plane = program->channels * program->height * program->width, batch = program->batch;
    PictureShape shape = {program->channels, program->height, program->width, program->recipe.fit};
    uint8_t *images = malloc((size_t)(batch * plane));
    float *scores = malloc((size_t)(batch * program->classes) * sizeof *scores);
    const char **file = calloc((size_t)batch, sizeof *file);
    Loading l = {shape, NULL, images, calloc((size_t)batch, REASON), calloc((size_t)batch, sizeof *l.status)};
    if (!images || !scores || !file || !l.reason || !l.status) exit(fail(EXIT_IO, "out of memory"));
    int status = EXIT_OK;
    RtStatus predicted = RT_OK;
    for (int64_t next = 0; next < pictures->count && !predicted; next += batch) {
        int64_t n = pictures->count - next < batch ? pictures->count - next : batch;
        RtError error = {{0}};
        l.file = pictures->name + next;
        rt_pool_run(rt_machine_pool(m), load_picture, &l, n);
        n = keep_loaded(&l, n, file, &status);
        predicted = n ? rt_predict(m, data, images, n, views_of(program, o), scores, &error) : RT_OK;
        if (predicted) status = fail_rt(predicted, &error);
        for (int64_t i = 0; i < n && !predicted; i++) print_scores(o, data, file[i], scores + i * program->classes);
    }
    free(images);
    free(scores);
    free(file);
    free(l.reason);
    free(l.status);
    return status;
}

int check_predict(const RtProgram *program) {
    if (program->channels == 3 || program->channels == 1) return EXIT_OK;
    return fail(EXIT_INPUT, "%s takes %" PRId64 " channels, but pictures have 1 or 3", program->model, program->channels);
}

int run_predict(RtMachine *m, const Options *o, const Names *pictures, const RtData *data) {
    RtError error = {{0}};
    RtStatus loaded = rt_weights_load(o->weights, m, say, &error);
    return loaded ? fail_rt(loaded, &error) : predict_all(m, o, pictures, data);
}
