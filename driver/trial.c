#include "driver/trial.h"
#include "driver/compile.h"
#include "driver/process.h"
#include "ir/text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

PassOptions trial_options(const Trials *t, const Trial *trial, Mode mode) {
    PassOptions o = compile_pass_options(t->session, t->source[mode]);
    o.bisect_limit = trial->limit;
    o.forbid = trial->forbid, o.nforbid = trial->nforbid;
    o.permit = trial->permit, o.npermit = trial->npermit;
    o.recompute = t->session->recompute;
    o.watch = NULL;
    o.reproducer = false;
    return o;
}

char *trial_text(const Trial *trial) {
    char *text = join("%s", "");
    if (trial->limit >= 0) {
        free(text);
        text = join("--opt-bisect-limit=%" PRId64, trial->limit);
    }
    for (int which = 0; which < 2; which++)
        for (uint32_t i = 0; i < (which ? trial->npermit : trial->nforbid); i++) {
            const char *mask = (which ? trial->permit : trial->forbid)[i].text;
            char *longer = join("%s%s--%s=%s", text, *text ? " " : "", which ? "permit" : "forbid", mask);
            free(text);
            text = longer;
        }
    return text;
}

/* ---- in the process of a trial ---- */

/* The ends of that process beside those of its command. */
enum { CHILD_RIGHT = 0, CHILD_WRONG = 1, CHILD_SKIP = 125, CHILD_REFUSED = 124, CHILD_CRASH = 70 };

static int64_t asked_of(const PassResult *result) {
    int64_t asked = 0;
    for (uint32_t i = 0; i < result->nevents; i++)
        if (result->events[i].number > asked) asked = result->events[i].number;
    return asked;
}

static int evaluate(const Trials *t, const Trial *trial, int64_t *asked) {
    Mode mode = t->modes & PASS_TRAIN ? MODE_TRAIN : MODE_INFER;
    StagesOptions o = {.passes = trial_options(t, trial, mode), .unnamed = true};
    StageFault fault = {0};
    Diag *diag = diag_new();
    PassResult result = {0};
    if (passes_run(t->source[mode], &o.passes, diag, &result))
        *asked = asked_of(&result); /* it crashes, if it does, before anything is evaluated */
    StagesEnd end = stages_run(t->stages, &o, diag, &fault, NULL);
    if (end == STAGES_REFUSED) diag_print(diag, stderr, false);
    return end == STAGES_RIGHT ? CHILD_RIGHT : end == STAGES_WRONG ? CHILD_WRONG : CHILD_REFUSED;
}

static int write_mode(const Trials *t, const Trial *trial, Mode mode, FILE *out, int64_t *asked) {
    PassOptions o = trial_options(t, trial, mode);
    PassResult result = {0};
    if (!passes_run(t->source[mode], &o, t->session->diag, &result)) {
        diag_print(t->session->diag, stderr, false);
        return CHILD_REFUSED;
    }
    int64_t these = asked_of(&result);
    if (these > *asked) *asked = these;
    graph_print(result.graph, t->session->diag, out);
    return CHILD_RIGHT;
}

static int ask_command(const Trials *t, const Trial *trial, int64_t *asked) {
    char *path = join("%s/bisect.ir", t->directory), *options = trial_text(trial);
    FILE *out = fopen(path, "w");
    if (!out) return fprintf(stderr, "netc: error: cannot write '%s': %s\n", path, strerror(errno)), CHILD_REFUSED;
    int end = CHILD_RIGHT;
    const Model *model = t->modes & PASS_TRAIN ? &t->session->train : &t->session->infer;
    fputs(model->recipe_text, out);
    for (Mode mode = MODE_TRAIN; mode <= MODE_INFER && !end; mode++)
        if (t->modes & (mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER)) end = write_mode(t, trial, mode, out, asked);
    bool failed = ferror(out);
    if (fclose(out) || failed) return fprintf(stderr, "netc: error: cannot write '%s'\n", path), CHILD_REFUSED;
    if (end) return end;
    setenv("NETC_IR", path, 1);
    setenv("NETC_REWRITES", options, 1);
    execl("/bin/sh", "sh", "-c", t->command, (char *)NULL);
    return CHILD_REFUSED;
}

/* ---- trials ---- */

typedef struct Judged {
    const Trials *trials;
    const Trial *trial;
    int64_t *asked;
} Judged;

static int child(void *context) {
    const Judged *j = context;
    return j->trials->command ? ask_command(j->trials, j->trial, j->asked) : evaluate(j->trials, j->trial, j->asked);
}

static TrialEnd judge(int status, const Trials *t) {
    if (WIFSIGNALED(status)) return TRIAL_CRASH;
    switch (WEXITSTATUS(status)) {
    case CHILD_RIGHT: return TRIAL_RIGHT;
    case CHILD_CRASH: return TRIAL_CRASH;
    case CHILD_SKIP: return TRIAL_SKIP;
    case CHILD_REFUSED:
        if (!t->command) fail(EXIT_INPUT, "the evaluator refuses what the passes leave");
        return TRIAL_FAILED;
    case 126:
    case 127: fail(EXIT_USAGE, "the command '%s' cannot be run", t->command); return TRIAL_FAILED;
    default: return TRIAL_WRONG;
    }
}

TrialEnd trial_run(Trials *t, const Trial *trial, int64_t *asked) {
    int64_t *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return fail(EXIT_IO, "out of memory"), TRIAL_FAILED;
    int status;
    if (!process_fork(child, &(Judged){t, trial, shared}, t->command != NULL, 0, &status)) return TRIAL_FAILED;
    t->tried++;
    if (asked) *asked = *shared;
    munmap(shared, sizeof *shared);
    return judge(status, t);
}
