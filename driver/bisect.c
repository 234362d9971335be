/* netc bisect: which single rewrite makes the result wrong, or the passes crash. The rewrites are numbered in the order in which
 * the passes ask for them, and the first N alone are done for one N after the other; the least N for which it is wrong is the
 * rewrite. Then it alone is forbidden: if all is right, that was all; if not, the search goes on behind it. */
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/inputs.h"
#include "driver/process.h"
#include "driver/shown.h"
#include "driver/trial.h"
#include "ir/diff.h"
#include "ir/stream.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WHY = 2000, MAX_CULPRITS = 16, ENOUGH_CULPRITS = 3 };

/* A rewrite that is to blame. */
typedef struct Culprit {
    int64_t number;
    Mode mode;
    char *name, *run, *file, *text; /* file NULL: netc's own; text NULL: it crashed before it could say */
    Span span;
    bool alone;            /* it is wrong without any other */
    char mask[40];         /* by number */
    Graph *without, *with; /* what its pass leaves; NULL if it crashes */
} Culprit;

typedef struct Bisect {
    Trials trials;
    const Options *o;
    Graph *small;
    Leaves given;
    int64_t all; /* rewrites that are asked for; 0: unknown, since the passes crash */
    bool crash;
    Culprit found[MAX_CULPRITS];
    PassMask forbid[MAX_CULPRITS + 1];
    uint32_t nfound;
    bool enough;   /* it is still wrong, and right without any rewrite of the last one's pass */
    char *failure; /* why the search ended before its end; NULL: it did not */
} Bisect;

static bool is_wrong(TrialEnd end) { return end == TRIAL_WRONG || end == TRIAL_CRASH; }

/* With those that are found already forbidden. */
static TrialEnd try_limit(Bisect *b, int64_t limit, int64_t *asked) {
    return trial_run(&b->trials, &(Trial){.limit = limit, .forbid = b->forbid, .nforbid = b->nfound}, asked);
}

/* ---- the search ---- */

/* A limit between the two that can be judged, the middle one if it can; `low` if there is none. */
static int64_t try_between(Bisect *b, int64_t low, int64_t high, TrialEnd *end) {
    int64_t middle = low + (high - low) / 2;
    for (int64_t step = 0; middle - step > low || middle + step < high; step++)
        for (int sign = 0; sign < 2; sign++) {
            int64_t limit = sign ? middle - step : middle + step;
            if (limit <= low || limit >= high || (sign && !step)) continue;
            *end = try_limit(b, limit, NULL);
            if (*end != TRIAL_SKIP) return limit;
        }
    return low;
}

/* The passes crash, so nobody knows how many rewrites there are: a limit that is wrong. */
static int64_t find_wrong(Bisect *b, int64_t *low) {
    for (int64_t step = 1;; step *= 2) {
        TrialEnd end = try_limit(b, *low + step, NULL);
        if (end == TRIAL_FAILED) return -1;
        if (is_wrong(end)) return *low + step;
        if (end == TRIAL_RIGHT) *low += step;
    }
}

/* The number of the first rewrite that makes it wrong, behind number `low`; -1 after a sentence. */
static int64_t search(Bisect *b, int64_t low) {
    int64_t high = b->all ? b->all : find_wrong(b, &low);
    while (high > 0 && high - low > 1) {
        TrialEnd end = TRIAL_SKIP;
        int64_t limit = try_between(b, low, high, &end);
        if (end == TRIAL_FAILED) return -1;
        if (limit == low) {
            b->failure = join("it is one of the rewrites %" PRId64 " to %" PRId64 ": the command cannot judge between them",
                              low + 1, high);
            fail(EXIT_INPUT, "%s", b->failure);
            return -1;
        }
        if (is_wrong(end))
            high = limit;
        else
            low = limit;
    }
    return high;
}

/* ---- the rewrite that was found ---- */

typedef struct Capture {
    const char *run;
    Graph *graph;
    const char *file;
} Capture;

static void capture(void *context, const PassRun *run, const Graph *before, const Graph *after) {
    (void)before;
    Capture *c = context;
    if (strcmp(run->name, c->run) != 0) return;
    graph_free(c->graph);
    c->graph = graph_copy(after);
    c->file = run->file;
}

/* The passes once more in this process, as they are known not to crash. */
static bool run_again(Bisect *b, int64_t limit, Mode mode, Capture *c, PassResult *result) {
    Trial trial = {.limit = limit, .forbid = b->forbid, .nforbid = b->nfound};
    PassOptions o = trial_options(&b->trials, &trial, mode);
    if (c) o.watch = capture, o.watch_context = c;
    return passes_run(b->trials.source[mode], &o, b->trials.session->diag, result);
}

static const Event *event_numbered(const PassResult *r, int64_t number) {
    for (uint32_t i = 0; i < r->nevents; i++)
        if (r->events[i].number == number) return &r->events[i];
    return NULL;
}

/* Of a command that judges both modes: the one whose rewrite of this number it is. */
static Mode mode_of(Bisect *b, int64_t number) {
    if (b->trials.modes == PASS_TRAIN) return MODE_TRAIN;
    if (b->trials.modes == PASS_INFER) return MODE_INFER;
    char text[40];
    snprintf(text, sizeof text, "train:%" PRId64, number);
    PassMask masks[MAX_CULPRITS + 1];
    memcpy(masks, b->forbid, b->nfound * sizeof *masks);
    masks[b->nfound] = (PassMask){text, false};
    Trial trial = {.limit = number, .forbid = masks, .nforbid = b->nfound + 1};
    return is_wrong(trial_run(&b->trials, &trial, NULL)) ? MODE_INFER : MODE_TRAIN;
}

static char *copy_text(const char *text) { return text ? join("%s", text) : NULL; }

/* What rewrite `number` is and does. False after a sentence. */
static bool describe(Bisect *b, int64_t number, Culprit *c) {
    PassResult result = {0};
    *c = (Culprit){.number = number, .mode = mode_of(b, number)};
    snprintf(c->mask, sizeof c->mask, "%s:%" PRId64, mode_text(c->mode), number);
    if (!run_again(b, number - 1, c->mode, NULL, &result)) return false;
    const Event *e = event_numbered(&result, number);
    if (e) c->name = copy_text(e->name), c->run = copy_text(e->run);
    passes_result_free(&result);
    if (!c->name) return fail(70, "rewrite %" PRId64 " is not asked for again", number), false;
    TrialEnd end = try_limit(b, number, NULL);
    Capture without = {.run = c->run}, with = {.run = c->run};
    if (run_again(b, number - 1, c->mode, &without, &result)) passes_result_free(&result);
    c->without = without.graph;
    c->file = copy_text(without.file);
    if (end == TRIAL_CRASH) return true;
    if (!run_again(b, number, c->mode, &with, &result)) return false;
    e = event_numbered(&result, number);
    if (e) c->text = copy_text(e->text), c->span = e->span;
    passes_result_free(&result);
    c->with = with.graph;
    return true;
}

static bool wrong_alone(Bisect *b, const Culprit *c) {
    char *text = join("%s:%s", mode_text(c->mode), c->name);
    PassMask permit = {text, false};
    bool wrong = is_wrong(trial_run(&b->trials, &(Trial){.limit = -1, .permit = &permit, .npermit = 1}, NULL));
    free(text);
    return wrong;
}

static void culprit_free(Culprit *c) {
    free(c->name);
    free(c->run);
    free(c->file);
    free(c->text);
    graph_free(c->without);
    graph_free(c->with);
}

/* ---- what is printed ---- */

/* The options that made the graph and the passes what they are. */
static void print_options(const Bisect *b, FILE *out) {
    const Options *o = b->o;
    show_list(out, "--set", &o->sets);
    if (o->net) show_option(out, "--net", o->net);
    if (o->batch) fprintf(out, " --batch=%" PRId64, o->batch);
    if (o->passes) show_option(out, "--passes", o->passes);
    show_list(out, "--load-pass", &o->load_pass);
    if (o->rules) show_option(out, "--rules", o->rules);
    show_list(out, "--disable-pass", &o->disable_pass);
    if (o->recompute >= 0) fprintf(out, " --recompute=%" PRId64, o->recompute);
}

static void print_command(const Bisect *b, const Culprit *c, FILE *out) {
    const char *command = b->trials.command ? "ir" : "verify";
    fprintf(out, "netc %s '%s'", command, b->trials.session->path);
    if (!strcmp(command, "verify") && b->o->seed) fprintf(out, " --seed=%" PRId64, b->o->seed);
    if (!strcmp(command, "verify") && b->o->inputs) show_option(out, "--inputs", b->o->inputs);
    fprintf(out, " --mode=%s", mode_text(c->mode));
    print_options(b, out);
    for (const Culprit *before = b->found; before < c; before++)
        if (before->mode == c->mode) show_option(out, "--forbid", before->name);
    if (b->trials.command) show_option(out, "--print-changed", NULL);
    fprintf(out, " --opt-bisect-limit=%" PRId64, c->number);
}

static void print_change(const Culprit *c, FILE *out) {
    if (!c->with || !c->without) return;
    fprintf(out, "What it changes behind %s (values have their ids without it, %%+7 is %%7 with it):\n", c->run);
    if (!graph_diff(c->without, c->with, out)) fprintf(out, "  nothing that can be seen there\n");
}

static void print_culprit(const Bisect *b, const Culprit *c) {
    const Model *model = c->mode == MODE_TRAIN ? &b->trials.session->train : &b->trials.session->infer;
    printf("%s, %s: ", model->name, c->mode == MODE_TRAIN ? "training" : "inference");
    printf("rewrite %" PRId64, c->number);
    if (b->all) printf(" of %" PRId64, b->all);
    printf(" %s: %s, of the pass %s%s%s%s\n", c->text ? "is wrong" : "crashes", c->name, c->run, c->file ? " of '" : "",
           c->file ? c->file : "", c->file ? "'" : "");
    if (c->text && *c->text) {
        Diag *diag = b->trials.session->diag;
        diag_report(diag, SEV_REMARK, c->span, "%s", c->text);
        diag_print(diag, stdout, use_color(stdout));
    }
    print_change(c, stdout);
    printf("%s\n", c->alone ? "It is wrong without any other rewrite too." : "It is wrong only behind other rewrites.");
    printf("It shows again with\n");
    printf("    ");
    print_command(b, c, stdout);
    printf("\nand is left out by");
    show_option(stdout, "--forbid", c->name);
    printf("\n");
}

/* The same as an object. */
static void print_culprit_json(const Bisect *b, const Culprit *c) {
    int line = 0, column = 0;
    TextStream change, again;
    text_open(&change);
    if (c->with && c->without) graph_diff(c->without, c->with, change.file);
    text_close(&change);
    text_open(&again);
    print_command(b, c, again.file);
    text_close(&again);
    diag_line_column(b->trials.session->diag, c->span, &line, &column);
    printf("%s{\"mode\": \"%s\", \"number\": %" PRId64 ", \"crashes\": %s, \"alone\": %s", c > b->found ? ", " : "",
           mode_text(c->mode), c->number, c->text ? "false" : "true", c->alone ? "true" : "false");
    json_write_text(stdout, "name", c->name);
    json_write_text(stdout, "pass", c->run);
    json_write_text(stdout, "object", c->file);
    json_write_text(stdout, "reason", c->text);
    if (line) {
        json_write_text(stdout, "file", diag_file_path(b->trials.session->diag, c->span.file));
        printf(", \"line\": %d, \"column\": %d", line, column);
    }
    json_write_text(stdout, "change", c->with ? change.text : NULL);
    json_write_text(stdout, "again", again.text);
    putchar('}');
    free(change.text);
    free(again.text);
}

/* right: without those that were found all is. */
static void print_json(const Bisect *b, bool right) {
    const Session *s = b->trials.session;
    printf("{\"model\": ");
    json_write_string(stdout, s->train.name ? s->train.name : s->infer.name);
    printf(", \"rewrites\": %" PRId64 ", \"trials\": %" PRId64 ", \"right_without\": %s, \"found\": [", b->all, b->trials.tried,
           right ? "true" : "false");
    for (uint32_t i = 0; i < b->nfound; i++) print_culprit_json(b, &b->found[i]);
    putchar(']');
    json_write_text(stdout, "failed", b->failure);
    puts("}");
}

/* ---- all of it ---- */

/* Of one mode, as netc verify makes it; with a command, as the file says. */
static int make_source(Bisect *b, Mode mode) {
    Session *s = b->trials.session;
    Model *model = mode == MODE_TRAIN ? &s->train : &s->infer;
    int status =
        b->trials.command ? compile_source(s, mode, b->o->batch, model) : compile_small(s, mode, b->o->batch, model, &b->small);
    if (status) return status;
    b->trials.source[mode] = b->small ? b->small : model->graph;
    return EXIT_OK;
}

/* What the source computes, and that the passes which cannot be left out keep it. */
static int make_stages(Bisect *b, Mode mode) {
    char why[WHY];
    const Graph *source = b->trials.source[mode];
    int status = b->o->inputs ? inputs_read(b->o->inputs, source, &b->given) : EXIT_OK;
    if (status) return status;
    b->trials.stages = stages_new(source, (uint64_t)b->o->seed, b->o->inputs ? &b->given : NULL, why, sizeof why);
    if (!b->trials.stages) return fail(EXIT_INPUT, "'%s' cannot be verified: %s", source->name, why);
    StageFault fault = {0};
    StagesOptions o = {.passes = trial_options(&b->trials, &(Trial){0}, mode)};
    StagesEnd end = stages_run(b->trials.stages, &o, b->trials.session->diag, &fault, NULL);
    if (end == STAGES_REFUSED) status = (session_print_diagnostics(b->trials.session), EXIT_USAGE);
    if (end == STAGES_WRONG)
        status = fail(EXIT_INPUT, "without any rewrite that could be left out it is wrong already, by the pass '%s'%s%s%s: %s",
                      fault.run, fault.file ? " of '" : "", fault.file ? fault.file : "", fault.file ? "'" : "", fault.text);
    stage_fault_free(&fault);
    return status;
}

/* A pass that is wrong wherever it rewrites need not have each of its rewrites searched for: is all right without any of c's? */
static bool right_without_pass(Bisect *b, const Culprit *c) {
    char *text = join("%s:%s@*", mode_text(c->mode), c->run);
    b->forbid[b->nfound] = (PassMask){text, false};
    Trial trial = {.limit = -1, .forbid = b->forbid, .nforbid = b->nfound + 1};
    bool right = trial_run(&b->trials, &trial, NULL) == TRIAL_RIGHT;
    free(text);
    if (right && !b->o->json)
        printf("Without these %u it is still wrong, and without any rewrite of the pass %s it is right (%" PRId64 " trials).\n",
               b->nfound, c->run, b->trials.tried);
    return right;
}

/* One culprit after the other, of what is wrong. *end: without those that were found. */
static int find_culprits(Bisect *b, TrialEnd *end) {
    int64_t low = 0;
    while (is_wrong(*end) && b->nfound < MAX_CULPRITS) {
        Culprit *c = &b->found[b->nfound];
        low = search(b, low);
        if (low < 0 || !describe(b, low, c)) return EXIT_INPUT;
        c->alone = wrong_alone(b, c);
        if (!b->o->json) print_culprit(b, c);
        fflush(stdout);
        b->forbid[b->nfound++] = (PassMask){c->mask, false};
        *end = try_limit(b, -1, &b->all);
        if (is_wrong(*end) && b->nfound == ENOUGH_CULPRITS && right_without_pass(b, c)) {
            b->enough = true;
            return EXIT_OK;
        }
    }
    if (*end == TRIAL_SKIP) {
        b->failure = join("the command cannot judge what is left without %s", b->nfound == 1 ? "it" : "these");
        return fail(EXIT_INPUT, "%s", b->failure);
    }
    return *end == TRIAL_FAILED ? EXIT_INPUT : EXIT_OK;
}

/* *wrong: there was something to find. */
static int find_all(Bisect *b, bool *wrong) {
    TrialEnd end = try_limit(b, -1, &b->all);
    if (end == TRIAL_SKIP) return fail(EXIT_INPUT, "the command cannot judge what all rewrites leave");
    if (end == TRIAL_FAILED) return EXIT_INPUT;
    *wrong = is_wrong(end);
    if (end == TRIAL_RIGHT) return EXIT_OK;
    if (b->trials.command && is_wrong(try_limit(b, 0, NULL)))
        return fail(EXIT_INPUT, "the command fails without any rewrite that could be left out, too");
    int status = find_culprits(b, &end);
    if (status && !b->failure) b->failure = join("a trial could not be made"); /* after its own sentence */
    if (b->o->json)
        print_json(b, !status && end == TRIAL_RIGHT);
    else if (!status && end == TRIAL_RIGHT)
        printf("Without %s alone all is right (%" PRId64 " trials).\n", b->nfound == 1 ? "it" : "these", b->trials.tried);
    else if (!status && !b->enough)
        printf("Without these %u it is still wrong.\n", b->nfound);
    return status;
}

static int bisect_modes(Session *session, unsigned modes, bool *wrong) {
    Bisect b = {.trials = {.session = session, .modes = modes, .command = session->options->command}, .o = session->options};
    int status = EXIT_OK;
    for (Mode mode = MODE_TRAIN; mode <= MODE_INFER && !status; mode++) {
        if (!(modes & (mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER))) continue;
        status = make_source(&b, mode);
        if (!status && !b.trials.command) status = make_stages(&b, mode);
    }
    if (!status && b.trials.command && !(b.trials.directory = directory_temporary())) status = EXIT_IO;
    if (!status) status = find_all(&b, wrong);
    for (uint32_t i = 0; i < MAX_CULPRITS; i++) culprit_free(&b.found[i]);
    if (b.trials.directory) directory_remove(b.trials.directory);
    free(b.trials.directory);
    free(b.failure);
    stages_free(b.trials.stages);
    leaves_free(&b.given);
    graph_free(b.small);
    return status;
}

int command_bisect(const Options *options) {
    if (options->noperands > 1) return usage_error("bisect", "one model at a time, found '%s' too", options->operand[1]);
    if (options->command && options->inputs)
        return usage_error("bisect", "'--inputs' is for the evaluator, which does not judge where '--cmd' does");
    Session session = {0};
    unsigned asked;
    int status = compile_asked_modes(&session, options, "bisect", &asked);
    bool wrong = false, any = false;
    if (!status && options->command) status = bisect_modes(&session, asked, &any);
    for (unsigned mode = PASS_TRAIN; mode <= PASS_INFER && !status && !options->command; mode <<= 1) {
        if (asked & mode) status = bisect_modes(&session, mode, &wrong);
        any |= wrong;
    }
    if (!status && !any) status = fail(EXIT_INPUT, "nothing is wrong: with all rewrites '%s' is right", session.path);
    session_close(&session);
    return status;
}
