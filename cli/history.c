/* See history.h. */
#include "cli/history.h"
#include "cli/report.h"
#include "runtime/grow.h"
#include "runtime/json.h"
#include "runtime/rt.h"
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(HistoryEpoch, member)
static const struct {
    const char *key;
    size_t offset;
} keys[] = {{"epoch", AT(epoch)},
            {"step", AT(step)},
            {"loss", AT(loss)},
            {"lr", AT(lr)},
            {"images_per_s", AT(images_per_s)},
            {"seconds", AT(seconds)},
            {"train_accuracy", AT(train)},
            {"validation_accuracy", AT(validation)},
            {"validation_loss", AT(validation_loss)},
            {"test_accuracy", AT(test)},
            {"test_loss", AT(test_loss)},
            {"views_accuracy", AT(views)},
            {"views_loss", AT(views_loss)},
            {"tested_epoch", AT(tested_epoch)}};
enum { KEYS = sizeof keys / sizeof *keys };

static bool read_line(const char *line, size_t length, HistoryEpoch *e) {
    Json j = json_open(line, length);
    char key[64];
    for (int k = 0; k < KEYS; k++) *(double *)(void *)((char *)e + keys[k].offset) = NAN;
    if (!json_begin(&j, '{')) return false;
    for (bool first = true; json_next(&j, '{', first, key, sizeof key); first = false) {
        int k = 0;
        while (k < KEYS && strcmp(keys[k].key, key)) k++;
        j.at += strspn(j.at, " ");
        if (k < KEYS && *j.at != 'n') /* null: not finite */
            json_number(&j, (double *)(void *)((char *)e + keys[k].offset));
        else
            json_skip(&j);
    }
    return json_end(&j) && e->epoch >= 0 && e->step >= 0;
}

static void *grown(void *array, size_t needed, size_t *capacity, size_t size) {
    void *more = rt_grow(array, needed, capacity, size);
    if (!more) exit(fail(EXIT_IO, "out of memory"));
    return more;
}

static void add_line(History *h, const HistoryEpoch *e, size_t capacity[2]) {
    if (isnan(e->train)) {
        h->step = grown(h->step, h->nsteps + 1, &capacity[1], sizeof *h->step);
        h->step[h->nsteps++] = (HistoryStep){e->step, e->loss, e->lr};
        return;
    }
    /* an epoch that --steps cut short has a line there and one at its end */
    bool again = h->nepochs && h->epoch[h->nepochs - 1].epoch == e->epoch;
    if (!again) h->epoch = grown(h->epoch, h->nepochs + 1, &capacity[0], sizeof *h->epoch);
    double before = again ? h->epoch[h->nepochs - 1].seconds : 0;
    if (!again) h->nepochs++;
    h->epoch[h->nepochs - 1] = *e;
    if (before > 0) h->epoch[h->nepochs - 1].seconds += before;
}

int history_open(const char *directory, History *h) {
    char *path = join("%s/metrics.jsonl", directory);
    size_t length, capacity[2] = {0, 0};
    int status = EXIT_OK;
    *h = (History){0};
    char *text = read_file(path, &length, &status);
    for (const char *at = text, *end; at && (end = strchr(at, '\n')); at = end + 1) {
        HistoryEpoch e;
        if (read_line(at, (size_t)(end - at), &e)) add_line(h, &e, capacity);
    }
    free(text);
    free(path);
    return status;
}

void history_close(History *h) {
    free(h->epoch);
    free(h->step);
    *h = (History){0};
}

double history_result(const History *h) {
    for (uint32_t i = h->nepochs; i-- > 0;) {
        const HistoryEpoch *e = &h->epoch[i];
        if (!isnan(e->test)) return isnan(e->views) ? e->test : e->views;
    }
    return -1;
}

double history_best(const History *h, int64_t *epoch) {
    double best = -1;
    for (uint32_t i = 0; i < h->nepochs; i++) {
        const HistoryEpoch *e = &h->epoch[i];
        double here = isnan(e->validation) ? e->test : e->validation;
        if (!(here > best)) continue;
        best = here;
        if (epoch) *epoch = (int64_t)e->epoch;
    }
    return best;
}

double history_seconds(const History *h) {
    double sum = 0;
    for (uint32_t i = 0; i < h->nepochs; i++) sum += isnan(h->epoch[i].seconds) ? 0 : h->epoch[i].seconds;
    return sum;
}

int history_print_json(const char *directory) {
    History h;
    RtPosition at = {.best_epoch = -1};
    int64_t best_epoch = -1;
    int status = history_open(directory, &h);
    bool known = !status && rt_directory_position(directory, &at);
    const HistoryEpoch none = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
                       *last = h.nepochs ? &h.epoch[h.nepochs - 1] : &none;
    double best = history_best(&h, &best_epoch), result = history_result(&h);
    if (status) return status;
    printf("{\"directory\": ");
    json_write_string(stdout, directory);
    printf(", \"model\": ");
    json_write_string(stdout, known && at.model ? at.model : "");
    printf(", \"seed\": %" PRIu64 ", \"step\": %" PRIu64 ", \"steps\": %" PRIu64 ", \"finished\": %s", at.seed, at.step,
           at.total_steps, known && (at.stopped || at.step >= at.total_steps) ? "true" : "false");
    json_write_member(stdout, "epochs", last->epoch + 1);
    json_write_member(stdout, "train_loss", last->loss);
    json_write_member(stdout, "train_accuracy", last->train);
    json_write_member(stdout, "validation_accuracy", last->validation);
    json_write_member(stdout, "test_accuracy", last->test);
    json_write_member(stdout, "test_loss", last->test_loss);
    json_write_member(stdout, "views_accuracy", last->views);
    json_write_member(stdout, "result", result < 0 ? NAN : result);
    json_write_member(stdout, "best_accuracy", best < 0 ? NAN : best);
    json_write_member(stdout, "best_epoch", best_epoch < 0 ? NAN : (double)best_epoch);
    json_write_member(stdout, "seconds", history_seconds(&h));
    puts("}");
    rt_position_free(&at);
    history_close(&h);
    return EXIT_OK;
}

char *history_data(const char *directory) {
    char *path = join("%s/run.jsonl", directory), *line = NULL, *data = NULL;
    FILE *in = fopen(path, "r");
    size_t capacity = 0;
    for (ssize_t n; in && (n = getline(&line, &capacity, in)) > 0;) {
        Json j = json_open(line, (size_t)n);
        char key[32];
        bool open = json_begin(&j, '{');
        for (bool first = true; open && json_next(&j, '{', first, key, sizeof key); first = false) {
            size_t length;
            if (strcmp(key, "data") != 0) {
                json_skip(&j);
                continue;
            }
            char *said = json_copy(&j, &length);
            if (!said || strlen(said) != length) {
                free(said);
                break;
            }
            free(data);
            data = said;
        }
    }
    free(line);
    free(path);
    if (in) fclose(in);
    return data;
}
