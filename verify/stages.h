/* Passes held to the evaluator: what each makes of a graph against what it was given, and autodiff's gradients against
 * differences of the loss. */
#ifndef NETC_VERIFY_STAGES_H
#define NETC_VERIFY_STAGES_H
#include "passes/passes.h"
#include "verify/wanted.h"

typedef struct StagesOptions {
    PassOptions passes;
    bool each;    /* evaluate after each pass, not only after the last and those that add outputs */
    bool unnamed; /* it is enough to know that all together are wrong: no second run says which pass is */
    /* Told of each pass that was evaluated, and in the end of all together (`run` NULL) without `each`; `slopes`: of gradients
     * held against differences of the loss. NULL. */
    void (*say)(void *context, const PassRun *run, const Worst *worst, bool slopes);
    void *context;
} StagesOptions;

/* What is wrong. */
typedef struct StageFault {
    char *run, *file; /* of the first pass whose output is not its input's; file NULL: netc's own. run NULL: nothing is wrong */
    char *text;       /* worst_text */
    Worst worst;      /* without its name */
} StageFault;
void stage_fault_free(StageFault *fault);

/* The state of a verification that outlives one run of the passes: what the source graph and its gradients are to be. */
typedef struct Stages Stages;
/* Evaluates the source (which stays the caller's, for as long as the Stages), on leaves of this seed but for those that are given
 * (NULL: none). NULL with a sentence in why. */
Stages *stages_new(const Graph *source, uint64_t seed, const Leaves *given, char *why, size_t why_size);
void stages_free(Stages *s);

typedef enum StagesEnd { STAGES_RIGHT, STAGES_WRONG, STAGES_REFUSED } StagesEnd;
/* Runs the passes and evaluates. WRONG: *fault names the first wrong pass; without `each` that is found by a second run. REFUSED:
 * the passes do not run so, with a message in diag, or the evaluator refuses. *result (may be NULL) is the caller's if RIGHT. */
StagesEnd stages_run(Stages *s, const StagesOptions *options, Diag *diag, StageFault *fault, PassResult *result);
/* How many graphs have been evaluated so far. */
uint32_t stages_evaluated(const Stages *s);

#endif
