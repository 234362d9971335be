/* The most likely classes of pictures. */
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

static char *class_name(const RtData *data, int64_t label) {
    return data->class_names ? join("%s", data->class_names[label]) : join("class %" PRId64, label);
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

/* One file into its place in the batch of planes. */
static int load_picture(const char *file, const RtProgram *program, uint8_t *planes) {
    Picture picture;
    char why[256];
    if (!picture_read(file, &picture, why, sizeof why)) return fail(EXIT_INPUT, "cannot read the picture '%s': %s", file, why);
    bool resized = picture_fit(&picture, program->recipe.fit, program->channels, program->width, program->height, planes);
    picture_free(&picture);
    return resized ? EXIT_OK : fail(EXIT_IO, "out of memory");
}

/* The batch of a compiled net is fixed, so pictures go through in groups; a bad file is reported and the others still run. */
static int predict_all(RtMachine *m, const Options *o, uint32_t first, const RtData *data) {
    const RtProgram *program = rt_machine_program(m);
    int64_t plane = program->channels * program->height * program->width;
    uint8_t *images = malloc((size_t)(program->batch * plane));
    float *scores = malloc((size_t)(program->batch * program->classes) * sizeof *scores);
    const char **file = calloc((size_t)program->batch, sizeof *file);
    if (!images || !scores || !file) exit(fail(EXIT_IO, "out of memory"));
    int status = EXIT_OK;
    for (uint32_t next = first; next < o->noperands;) {
        int64_t n = 0;
        for (; next < o->noperands && n < program->batch; next++) {
            int loaded = load_picture(o->operand[next], program, images + n * plane);
            if (loaded)
                status = loaded;
            else
                file[n++] = o->operand[next];
        }
        RtError error = {{0}};
        RtStatus predicted = n ? rt_predict(m, data, images, n, views_of(program, o), scores, &error) : RT_OK;
        if (predicted) {
            status = fail_rt(predicted, &error);
            break;
        }
        for (int64_t i = 0; i < n; i++) print_scores(o, data, file[i], scores + i * program->classes);
    }
    free(images);
    free(scores);
    free(file);
    return status;
}

int check_predict(const RtProgram *program) {
    if (program->channels == 3 || program->channels == 1) return EXIT_OK;
    return fail(EXIT_INPUT, "%s takes %" PRId64 " channels, but pictures have 1 or 3", program->model, program->channels);
}

int run_predict(RtMachine *m, const Options *o, uint32_t first, const RtData *data) {
    RtError error = {{0}};
    RtStatus loaded = rt_weights_load(o->weights, m, say, &error);
    return loaded ? fail_rt(loaded, &error) : predict_all(m, o, first, data);
}
