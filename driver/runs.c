/* netc runs: what there is under runs/, and how trainings differ. */
#include "driver/runs.h"
#include "driver/driver.h"
#include "runtime/grow.h"
#include "runtime/json.h"
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH = 3 };

/* ---- one ---- */

int run_open(const char *path, TrainingRun *run) {
    *run = (TrainingRun){.path = join("%s", path)};
    run->saved = rt_directory_position(path, &run->position);
    run->holder = rt_directory_holder(path);
    char *metrics = join("%s/metrics.jsonl", path);
    struct stat s;
    bool measured = stat(metrics, &s) == 0;
    free(metrics);
    return measured ? history_open(path, &run->history) : EXIT_OK;
}

void run_close(TrainingRun *run) {
    free(run->path);
    rt_position_free(&run->position);
    history_close(&run->history);
    *run = (TrainingRun){0};
}

const char *run_model(const TrainingRun *run) { return run->position.model ? run->position.model : ""; }

const char *run_recipe(const TrainingRun *run) { return run->position.recipe ? run->position.recipe : ""; }

bool run_finished(const TrainingRun *run) {
    const RtPosition *p = &run->position;
    return run->saved && !run->holder && (p->stopped || (p->total_steps && p->step >= p->total_steps));
}

const char *run_state(const TrainingRun *run, char text[64]) {
    const RtPosition *p = &run->position;
    if (run->holder)
        snprintf(text, 64, "trained by process %" PRId64, run->holder);
    else if (!run->saved)
        snprintf(text, 64, "no checkpoint");
    else if (run_finished(run))
        snprintf(text, 64, "%s", p->stopped ? "stopped early" : "finished");
    else if (p->total_steps)
        snprintf(text, 64, "at step %" PRIu64 " of %" PRIu64, p->step, p->total_steps);
    else
        snprintf(text, 64, "at step %" PRIu64, p->step);
    return text;
}

/* ---- many ---- */

static void add_run(RunList *list, TrainingRun run) {
    TrainingRun *more = rt_grow(list->run, list->count + 1, &list->capacity, sizeof *list->run);
    if (!more) exit(fail(EXIT_IO, "out of memory"));
    list->run = more;
    list->run[list->count++] = run;
}

static int not_hidden(const struct dirent *e) { return e->d_name[0] != '.'; }

/* By name, numbers by their size: resnet20-2 before resnet20-10. */
static int search(const char *path, int depth, RunList *list) {
    if (rt_directory_used(path)) {
        TrainingRun run;
        int status = run_open(path, &run);
        if (!status) return add_run(list, run), EXIT_OK;
        run_close(&run);
        return status;
    }
    struct dirent **entry = NULL;
    int n = depth ? scandir(path, &entry, not_hidden, versionsort) : 0, status = EXIT_OK;
    for (int i = 0; i < n; i++) {
        struct stat s;
        char *below = join("%s/%s", path, entry[i]->d_name);
        if (!status && stat(below, &s) == 0 && S_ISDIR(s.st_mode)) status = search(below, depth - 1, list);
        free(below);
        free(entry[i]);
    }
    free(entry);
    return status;
}

int runs_find(const char *path, RunList *list) {
    uint32_t before = list->count;
    int status = search(path, DEPTH, list);
    if (!status && list->count == before) return fail(EXIT_INPUT, "there is no training in '%s'", path);
    return status;
}

void runs_free(RunList *list) {
    for (uint32_t i = 0; i < list->count; i++) run_close(&list->run[i]);
    free(list->run);
    *list = (RunList){0};
}

/* ---- recipes ---- */

const char *recipe_value(const char *recipe, const char *key, size_t *length) {
    size_t letters = strlen(key);
    for (const char *line = recipe; line; line = strchr(line, '\n'), line += line != NULL) {
        const char *at = line + strspn(line, " "), *sign = at + letters;
        if (strncmp(at, key, letters) || *sign != ' ') continue;
        sign += strspn(sign, " ");
        if (*sign != '=') continue;
        sign += 1 + strspn(sign + 1, " ");
        *length = strcspn(sign, "\n");
        return sign;
    }
    *length = 0;
    return "";
}

/* Of each key of the first recipe that another has otherwise, a line for each run. */
static void print_differences(const RunList *list) {
    const char *first = run_recipe(&list->run[0]);
    for (const char *line = first; line; line = strchr(line, '\n'), line += line != NULL) {
        char key[32];
        size_t length, other;
        bool differs = false;
        if (sscanf(line, " %31[a-z_] =", key) != 1 || !strchr(line, '=')) continue;
        const char *value = recipe_value(first, key, &length);
        for (uint32_t i = 1; length && i < list->count; i++) {
            const char *there = recipe_value(run_recipe(&list->run[i]), key, &other);
            differs |= list->run[i].saved && (other != length || strncmp(value, there, length) != 0);
        }
        if (!differs) continue;
        printf("\n%s\n", key);
        for (uint32_t i = 0; i < list->count; i++) {
            const char *there = recipe_value(run_recipe(&list->run[i]), key, &other);
            printf("  %-32s %.*s\n", list->run[i].path, other ? (int)other : 1, other ? there : "-");
        }
    }
}

/* ---- print ---- */

static void print_percent(double fraction) {
    if (fraction >= 0)
        printf("  %9.2f %%", 100 * fraction);
    else
        printf("  %11s", "-");
}

static const char *duration(double seconds, char text[32]) {
    long s = lround(seconds);
    if (s >= 3600)
        snprintf(text, 32, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else
        snprintf(text, 32, "%ld min %02ld s", s / 60, s % 60);
    return text;
}

static void print_text(const RunList *list) {
    int width = 3;
    for (uint32_t i = 0; i < list->count; i++) {
        int length = (int)strlen(list->run[i].path);
        width = length > width ? length : width;
    }
    printf("%-*s  %-20s  %8s  %6s  %11s  %11s  %14s  %12s  %s\n", width, "run", "model", "seed", "epochs", "train", "test",
           "best (epoch)", "time", "state");
    for (uint32_t i = 0; i < list->count; i++) {
        const TrainingRun *run = &list->run[i];
        const History *h = &run->history;
        char state[64], time[32], best[32] = "-";
        int64_t epoch = 0;
        double highest = history_best(h, &epoch);
        if (highest >= 0) snprintf(best, sizeof best, "%.2f %% (%" PRId64 ")", 100 * highest, epoch + 1);
        printf("%-*s  %-20s  %8" PRIu64 "  %6u", width, run->path, *run_model(run) ? run_model(run) : "-", run->position.seed,
               h->nepochs);
        print_percent(h->nepochs ? h->epoch[h->nepochs - 1].train : -1);
        print_percent(history_result(h));
        printf("  %14s  %12s  %s\n", best, duration(history_seconds(h), time), run_state(run, state));
    }
}

static void print_json(const RunList *list) {
    putchar('[');
    for (uint32_t i = 0; i < list->count; i++) {
        const TrainingRun *run = &list->run[i];
        const History *h = &run->history;
        int64_t epoch = -1;
        double best = history_best(h, &epoch), result = history_result(h);
        char state[64];
        printf("%s{\"run\": ", i ? ", " : "");
        json_write_string(stdout, run->path);
        fputs(", \"model\": ", stdout);
        json_write_string(stdout, run_model(run));
        printf(", \"seed\": %" PRIu64 ", \"step\": %" PRIu64 ", \"total_steps\": %" PRIu64 ", \"epochs\": %u, \"finished\": %s",
               run->position.seed, run->position.step, run->position.total_steps, h->nepochs,
               run_finished(run) ? "true" : "false");
        json_write_member(stdout, "train_accuracy", h->nepochs ? h->epoch[h->nepochs - 1].train : NAN);
        json_write_member(stdout, "test_accuracy", result >= 0 ? result : NAN);
        json_write_member(stdout, "best_accuracy", best >= 0 ? best : NAN);
        printf(", \"best_epoch\": %" PRId64, epoch);
        json_write_member(stdout, "seconds", history_seconds(h));
        fputs(", \"state\": ", stdout);
        json_write_string(stdout, run_state(run, state));
        fputs(", \"recipe\": ", stdout);
        json_write_string(stdout, run_recipe(run));
        putchar('}');
    }
    puts("]");
}

int command_runs(const Options *options) {
    RunList list = {0};
    int status = options->noperands ? EXIT_OK : runs_find("runs", &list);
    for (uint32_t i = 0; i < options->noperands && !status; i++) status = runs_find(options->operand[i], &list);
    if (!status && options->json) print_json(&list);
    if (!status && !options->json) print_text(&list);
    if (!status && !options->json && options->noperands && list.count > 1) print_differences(&list);
    runs_free(&list);
    return status;
}
