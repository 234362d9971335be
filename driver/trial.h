/* One trial of netc bisect: the passes with some rewrites left out, in a process of its own, since a pass may crash; and whether
 * what they leave is right, by the evaluator (verify/) or by somebody's command. */
#ifndef NETC_DRIVER_TRIAL_H
#define NETC_DRIVER_TRIAL_H
#include "driver/session.h"
#include "verify/stages.h"

typedef enum TrialEnd { TRIAL_RIGHT, TRIAL_WRONG, TRIAL_CRASH, TRIAL_SKIP, TRIAL_FAILED } TrialEnd; /* FAILED: after a sentence */

typedef struct Trials {
    Session *session;
    unsigned modes;         /* PASS_TRAIN, PASS_INFER: one, or with a command both */
    const Graph *source[2]; /* by Mode */
    Stages *stages;         /* of the one mode; NULL: a command judges */
    const char *command;
    char *directory; /* for the graphs of a command */
    int64_t tried;
} Trials;

/* Which rewrites are done: the first `limit` (-1: all), but for those that are forbidden. */
typedef struct Trial {
    int64_t limit;
    PassMask *forbid, *permit;
    uint32_t nforbid, npermit;
} Trial;

PassOptions trial_options(const Trials *t, const Trial *trial, Mode mode);
/* *asked: how many rewrites the passes asked for in the mode that asked for most, 0 if they crashed. */
TrialEnd trial_run(Trials *t, const Trial *trial, int64_t *asked);
/* The same as options of netc, malloc'd. */
char *trial_text(const Trial *trial);
#endif
