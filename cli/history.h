/* What a run's metrics.jsonl says, read back. Numbers that a line does not have are NAN. */
#ifndef NETC_CLI_HISTORY_H
#define NETC_CLI_HISTORY_H
#include <stdint.h>

typedef struct HistoryEpoch {
    double epoch, step, loss, lr, images_per_s, seconds, train, validation, validation_loss, test, test_loss, views, views_loss,
        tested_epoch;
} HistoryEpoch;

typedef struct HistoryStep {
    double step, loss, lr;
} HistoryStep;

typedef struct History {
    HistoryEpoch *epoch; /* one of each, in order */
    HistoryStep *step;   /* lines between */
    uint32_t nepochs, nsteps;
} History;

/* Exit status, after a sentence; lines that a kill cut short are left out. history_close in any case. */
int history_open(const char *directory, History *h);
void history_close(History *h);
/* The test accuracy that the run came to: the last one, by the recipe's views where it has them; -1: none. */
double history_result(const History *h);
/* The greatest accuracy on what the best is chosen by, and its epoch (may be NULL); -1: nothing was evaluated. */
double history_best(const History *h, int64_t *epoch);
double history_seconds(const History *h); /* of all epochs */
/* What the training in a directory has come to, as a line of JSON. Exit status. */
int history_print_json(const char *directory);
/* The data that a run was trained with, by the last line of its run.jsonl that says; malloc'd, NULL. */
char *history_data(const char *directory);
#endif
