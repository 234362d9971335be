/* The directories of trainings, and what each of them came to. */
#ifndef NETC_DRIVER_RUNS_H
#define NETC_DRIVER_RUNS_H
#include "cli/history.h"
#include "runtime/rt.h"

typedef struct TrainingRun {
    char *path;
    bool saved;          /* it has a checkpoint, which position is of */
    RtPosition position; /* of its last checkpoint */
    int64_t holder;      /* the process that trains there now; 0: none */
    History history;
} TrainingRun;

/* Exit status, after a sentence; run_close in any case. */
int run_open(const char *path, TrainingRun *run);
void run_close(TrainingRun *run);
/* "" where its checkpoint does not say, or there is none. */
const char *run_model(const TrainingRun *run);
const char *run_recipe(const TrainingRun *run);
bool run_finished(const TrainingRun *run); /* all of its epochs, or what patience left of them */
const char *run_state(const TrainingRun *run, char text[64]);

/* Those that a directory is or has in it, down to a few levels, by name. */
typedef struct RunList {
    TrainingRun *run;
    uint32_t count;
    size_t capacity;
} RunList;
int runs_find(const char *path, RunList *list); /* appends; EXIT_INPUT, after a sentence, if there is none */
void runs_free(RunList *list);

/* The value of a key in a recipe's text; *length 0: none. */
const char *recipe_value(const char *recipe, const char *key, size_t *length);
#endif
