/* passes_run: the passes of a pipeline one after another, each result verified. What a pass gets is checked against what it
 * accepts first, so that a pipeline in the wrong order is a message; a result that is unsound is a bug of the pass, reported
 * with both graphs and status 70. A crash inside a pass (the graph builder aborts on a broken shape rule) is reported with the
 * pass's name and its input graph, which is a file where the options ask for one. */
#include "ir/text.h"
#include "passes/driver.h"
#include "passes/events.h"
#include "passes/rules.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct Run {
    const PassOptions *options;
    Diag *diag;
    PassContext context;
    FILE *print;
    PassRun *runs;
    uint32_t nruns;
} Run;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- printing ---- */

static bool asked(bool all, const char *const *name, uint32_t count, const Pipeline *p, uint32_t i) {
    for (uint32_t k = 0; k < count && !all; k++) all = pipeline_names(p, i, name[k]);
    return all;
}

/* The heading is a comment of the textual form, so the whole output can be read back graph by graph. */
static void print_graph(const Run *run, const char *when, const char *name, const Graph *g) {
    fprintf(run->print, "# %s %s\n", when, name);
    graph_print(g, run->diag, run->print);
}

static void print_timing(const Run *run) {
    double total = 0;
    fprintf(run->print, "%-20s %10s %9s %16s\n", "pass", "ms", "rewrites", "values");
    for (uint32_t i = 0; i < run->nruns; i++) {
        const PassRun *t = &run->runs[i];
        fprintf(run->print, "%-20s %10.3f %9lld %7u -> %5u\n", t->name, 1e3 * t->seconds, (long long)t->rewrites, t->before,
                t->after);
        total += t->seconds;
    }
    fprintf(run->print, "%-20s %10.3f\n", "all", 1e3 * total);
}

/* ---- checks ---- */

static bool accepts(const Run *run, const Pass *pass, const Graph *g) {
    Val v = pass_find_stranger(g, pass->accepts);
    if (v == NO_VAL) return true;
    diag_error(run->diag, g->value[v].span, "the pass '%s' cannot run here: it does not accept '%s' (%%%u)%s", pass->name,
               op_text(g->value[v].op), v,
               op_tier(g->value[v].op) == TIER_SOURCE ? "; 'lower' and 'split_batch_norm' come first" : "");
    return false;
}

/* The pass at work, for the signal handler, which has no other way to know. One per thread: the signals below are delivered
 * to the thread that caused them. */
static _Thread_local volatile struct {
    const Pass *pass;
    const Graph *graph;
    const Diag *sources;
    const char *file;  /* of the pass; NULL: netc's own */
    const char *rules; /* the file of the rules of a pass that needs some; NULL */
    bool keep;         /* the graph in a file */
} at_work;

/* Whose fault it is, and what shows it again: the graph that the pass got, which `netc ir` reads, in a file or on stderr. */
static void leave_reproducer(void) {
    const Pass *pass = at_work.pass;
    const Graph *g = at_work.graph;
    const char *file = at_work.file;
    char path[128];
    if (file) fprintf(stderr, "netc: note: '%s' is a pass of '%s'\n", pass->name, file);
    snprintf(path, sizeof path, "netc-repro-%.100s.ir", pass->name);
    FILE *out = at_work.keep ? fopen(path, "w") : NULL;
    if (!out) {
        fprintf(stderr, "# the graph before %s\n", pass->name);
        graph_print(g, at_work.sources, stderr);
        return;
    }
    graph_print(g, at_work.sources, out);
    fclose(out);
    fprintf(stderr,
            "netc: note: the graph before it is in '%s', and it shows again with: netc ir %s --mode=%s --stage=final "
            "--passes=%s%s%s%s%s\n",
            path, path, mode_text(g->mode), pass->name, file ? " --load-pass=" : "", file ? file : "",
            at_work.rules ? " --rules=" : "", at_work.rules ? at_work.rules : "");
}

/* ---- unsound graphs ---- */

/* Frees `why`. */
static void report_bug(char *why, const Graph *after) {
    const char *name = at_work.pass->name;
    fprintf(stderr, "netc: internal error: after the pass '%s' the graph is unsound: %s\n", name, why);
    free(why);
    leave_reproducer();
    if (after && after != at_work.graph) {
        fprintf(stderr, "# the graph after %s\n", name);
        graph_print(after, at_work.sources, stderr);
    }
    exit(70);
}

/* ---- crashes ---- */

/* Not safe in general (it prints), but the process is lost and a reproducer is worth the risk; a second signal ends it. */
static void report_crash(int number) {
    signal(number, SIG_DFL);
    if (!at_work.pass) raise(number);
    fprintf(stderr, "netc: internal error: the pass '%s' crashed (signal %d)\n", at_work.pass->name, number);
    leave_reproducer();
    fflush(stderr);
    _exit(70);
}

static const int crash_signals[] = {SIGABRT, SIGSEGV, SIGFPE, SIGBUS};
enum { CRASH_SIGNALS = sizeof crash_signals / sizeof *crash_signals };

/* Handlers belong to the process: the first pass at work brings them, the last one takes them away. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction handlers_before[CRASH_SIGNALS];
static int guarded;

static void guard_begin(void) {
    struct sigaction new = {.sa_handler = report_crash};
    pthread_mutex_lock(&guard);
    for (int i = 0; i < CRASH_SIGNALS && guarded == 0; i++) sigaction(crash_signals[i], &new, &handlers_before[i]);
    guarded++;
    pthread_mutex_unlock(&guard);
}

static void guard_end(void) {
    pthread_mutex_lock(&guard);
    guarded--;
    for (int i = 0; i < CRASH_SIGNALS && guarded == 0; i++) sigaction(crash_signals[i], &handlers_before[i], NULL);
    pthread_mutex_unlock(&guard);
}

static Graph *run_guarded(const Pass *pass, const char *file, const Graph *g, Run *run, double *seconds) {
    at_work.pass = pass;
    at_work.graph = g;
    at_work.file = file;
    at_work.sources = run->diag;
    at_work.rules = pass->needs_rules ? rules_path(run->options->rules) : NULL;
    at_work.keep = run->options->reproducer;
    guard_begin();
    double start = now();
    Graph *next = pass->run(g, &run->context);
    *seconds = now() - start;
    char *fault = pass_fault(pass, g, next); /* guarded too: a graph may be broken in any way */
    if (fault) report_bug(fault, next);
    guard_end();
    at_work.pass = NULL;
    return next;
}

/* ---- running ---- */

/* Run i of the pipeline. Consumes g; NULL if the pass does not accept it. */
static Graph *run_pass(Run *run, const Pipeline *p, uint32_t i, Graph *g) {
    const PassOptions *o = run->options;
    const Pass *pass = p->run[i].pass;
    const char *name = pipeline_run_name(p, i), *file = plugins_path(&p->plugins, pass);
    if (!accepts(run, pass, g)) {
        graph_free(g);
        return NULL;
    }
    if (asked(o->print_before_all, o->print_before, o->nprint_before, p, i)) print_graph(run, "before", name, g);
    int64_t rewrites = run->context.rewrites;
    events_begin(&run->context, name, pass);
    run->context.parameter = p->run[i].parameter;
    PassRun *this = &run->runs[run->nruns++];
    *this = (PassRun){.name = name,
                      .file = file,
                      .pass = arena_strdup(run->context.arena, pass->name),
                      .required = pass->required,
                      .before = g->count,
                      .parameters = parameters_list(run->context.arena, pass, p->run[i].parameter)};
    if (o->begin) o->begin(o->watch_context, this);
    Graph *next = run_guarded(pass, file, g, run, &this->seconds);
    events_end(&run->context);
    if (asked(o->print_after_all, o->print_after, o->nprint_after, p, i)) print_graph(run, "after", name, next);
    this->after = next->count;
    this->rewrites = run->context.rewrites - rewrites;
    if (o->watch) o->watch(o->watch_context, this, g, next);
    graph_free(g);
    return next;
}

static Graph *run_pipeline(Run *run, const Pipeline *p, const Graph *in) {
    Graph *g = graph_copy(in);
    run->runs = ARENA_ARRAY(run->context.arena, PassRun, p->count);
    for (uint32_t i = p->first; g && i < p->count; i++) g = run_pass(run, p, i, g);
    return g;
}

bool passes_run(const Graph *in, const PassOptions *options, Diag *diag, PassResult *result) {
    Arena *arena = arena_new();
    Run run = {.options = options, .diag = diag, .print = options->print ? options->print : stderr};
    run.context = (PassContext){.arena = arena,
                                .mode = in->mode,
                                .bisect_limit = options->bisect_limit,
                                .forbid = options->forbid,
                                .nforbid = options->nforbid,
                                .permit = options->permit,
                                .npermit = options->npermit,
                                .rules = options->rules,
                                .recompute = options->recompute};
    Pipeline pipeline = {0};
    if (pipeline_open(&pipeline, arena, in->mode, options, diag)) {
        result->graph = run_pipeline(&run, &pipeline, in);
        result->pipeline = pipeline_text(&pipeline);
        pipeline_close(&pipeline);
        if (result->graph) {
            if (options->time_passes) print_timing(&run);
            result->arena = arena;
            result->recomputed = run.context.recomputed;
            result->events = run.context.events;
            result->nevents = run.context.nevents;
            result->rewrites = run.context.rewrites;
            result->recomputable = run.context.recomputable;
            result->runs = run.runs;
            result->nruns = run.nruns;
            result->steps = run.context.steps;
            return true;
        }
    }
    arena_free(arena);
    *result = (PassResult){0};
    return false;
}

void passes_result_free(PassResult *result) {
    graph_free(result->graph);
    arena_free(result->arena);
    *result = (PassResult){0};
}
