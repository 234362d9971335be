/* netc reduce: a graph that fails, made smaller move by move (verify/reduce.h) as long as it fails in the same way. Each
 * candidate is judged in a process of its own, since passes may crash or hang: by the passes and the evaluator, by compiled code
 * too, or by somebody's command. In the end the list of passes is shortened likewise. */
#include "verify/reduce.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/process.h"
#include "driver/shown.h"
#include "ir/stream.h"
#include "ir/text.h"
#include "runtime/json.h"
#include "verify/compiled.h"
#include "verify/orders.h"
#include "verify/small.h"
#include "verify/stages.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { WHY = 2000, LIST = 8000, MAX_RUNS = 256, SHELL_CANNOT = 126 };
static const char *const DEFAULT_OUTPUT = "netc-reduced.ir";

typedef enum End { END_RIGHT, END_WRONG, END_CODE_WRONG, END_CRASH, END_REFUSED, END_COMMAND } End;

/* How a candidate fails. Written by its process. */
typedef struct Symptom {
    End end;
    int status;     /* of a command, or of a process that ended otherwise; a signal is negative */
    char pass[80];  /* that is wrong, or crashed, without which run it is */
    char file[400]; /* that the pass came from; "": netc's own */
    char text[WHY];
    char list[LIST]; /* of the passes that ran */
} Symptom;

typedef struct Reduce {
    Session *session;
    const Options *o;
    Mode mode;
    const Model *model;
    Graph *g;         /* the smallest so far */
    const char *list; /* of passes; NULL: as the options have it */
    char *directory;  /* of the command's file */
    Symptom *shared;  /* with the process at work */
    Symptom first;    /* what is to remain */
    unsigned seconds; /* that a candidate may take */
    int64_t tried;
} Reduce;

/* ---- in the process of a candidate ---- */

typedef struct Candidate {
    const Reduce *r;
    const Graph *g;
    const char *list;
} Candidate;

static PassOptions pass_options(const Reduce *r, const Graph *g, const char *list) {
    PassOptions o = compile_pass_options(r->session, g);
    o.recompute = r->session->recompute;
    o.reproducer = false;
    if (list) compile_replace_list(&o, list);
    return o;
}

/* Of a crash nothing else is left. */
static void note_run(void *context, const PassRun *run) {
    Symptom *s = context;
    size_t length = strlen(s->list);
    snprintf(s->list + length, sizeof s->list - length, "%s%s", length ? "," : "", run->pass);
    snprintf(s->pass, sizeof s->pass, "%s", run->pass);
    snprintf(s->file, sizeof s->file, "%s", run->file ? run->file : "");
}

static int refuse(Symptom *s, const char *why) {
    s->end = END_REFUSED;
    snprintf(s->text, sizeof s->text, "%s", why);
    return 0;
}

static int judge_code(const Candidate *c, const Graph *fused, Symptom *s) {
    char why[WHY], text[WORST_TEXT];
    Worst worst;
    HeldCode code = {.options = session_code(c->r->session)};
    code.arithmetic = code.options.precision == PRECISION_BF16 ? IN_BF16 : IN_F32;
    if (!program_compare(fused, (uint64_t)c->r->o->seed, NULL, &code, &worst, why, sizeof why)) return refuse(s, why);
    if (worst.of_tolerance <= 1) return 0;
    s->end = END_CODE_WRONG;
    snprintf(s->text, sizeof s->text, "compiled code is wrong: %s", worst_text(&worst, text));
    return 0;
}

static int judge(void *context) {
    const Candidate *c = context;
    Symptom *s = c->r->shared;
    char why[WHY];
    PassOptions watched = pass_options(c->r, c->g, c->list);
    watched.begin = note_run, watched.watch_context = s;
    PassResult result = {0};
    if (!passes_run(c->g, &watched, diag_new(), &result)) return refuse(s, "the passes do not take it"); /* or it crashes here */
    snprintf(s->list, sizeof s->list, "%s", result.pipeline);
    s->pass[0] = s->file[0] = 0;
    Stages *stages = stages_new(c->g, (uint64_t)c->r->o->seed, NULL, why, sizeof why);
    if (!stages) return refuse(s, why);
    StageFault fault = {0};
    StagesOptions o = {.passes = pass_options(c->r, c->g, c->list)};
    switch (stages_run(stages, &o, diag_new(), &fault, NULL)) {
    case STAGES_REFUSED: return refuse(s, "the evaluator refuses what the passes leave");
    case STAGES_WRONG:
        s->end = END_WRONG;
        snprintf(s->pass, sizeof s->pass, "%.*s", (int)strcspn(fault.run, "#"), fault.run);
        snprintf(s->file, sizeof s->file, "%s", fault.file ? fault.file : "");
        snprintf(s->text, sizeof s->text, "%s", fault.text);
        return 0;
    case STAGES_RIGHT: break;
    }
    return c->r->o->compiled ? judge_code(c, result.graph, s) : 0;
}

static int write_graph(const Reduce *r, const Graph *g, const char *path, const char *remark) {
    FILE *out = fopen(path, "w");
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", path, strerror(errno));
    if (remark) fprintf(out, "# %s\n", remark);
    fputs(r->model->recipe_text, out);
    graph_print(g, r->session->diag, out);
    bool failed = ferror(out);
    if (fclose(out) || failed) return fail(EXIT_IO, "cannot write '%s'", path);
    return EXIT_OK;
}

static int ask_command(void *context) {
    const Candidate *c = context;
    char *path = join("%s/candidate.ir", c->r->directory);
    if (write_graph(c->r, c->g, path, NULL)) return SHELL_CANNOT;
    setenv("NETC_IR", path, 1);
    execl("/bin/sh", "sh", "-c", c->r->o->command, (char *)NULL);
    return SHELL_CANNOT;
}

/* ---- candidates ---- */

static bool run_child(Reduce *r, int (*body)(void *), const Graph *g, const char *list, int *status) {
    Candidate c = {r, g, list};
    *r->shared = (Symptom){0};
    return process_fork(body, &c, false, r->seconds, status);
}

/* False after a sentence. */
static bool try_candidate(Reduce *r, const Graph *g, const char *list, Symptom *s) {
    int status;
    r->tried++;
    if (!run_child(r, r->o->command ? ask_command : judge, g, list, &status)) return false;
    *s = *r->shared;
    s->status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    if (r->o->command)
        s->end = s->status == 0 || s->status == 125 ? END_RIGHT : END_COMMAND;
    else if (s->status)
        s->end = END_CRASH;
    return true;
}

static bool same(const Symptom *a, const Symptom *b) {
    return a->end == b->end && a->status == b->status && !strcmp(a->pass, b->pass);
}

/* Takes the candidate if it fails as the first did. False after a sentence. */
static bool consider(Reduce *r, Graph *candidate, bool *taken) {
    Symptom s;
    *taken = false;
    if (!candidate || !reduce_smaller(candidate, r->g)) return graph_free(candidate), true;
    if (!try_candidate(r, candidate, r->list, &s)) return graph_free(candidate), false;
    *taken = same(&s, &r->first);
    if (*taken) graph_free(r->g), r->g = candidate;
    if (!*taken) graph_free(candidate);
    return true;
}

static void say_progress(const Reduce *r) {
    if (!isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r%u values, %" PRId64 " candidates tried ", r->g->count, r->tried);
}

/* All moves of one kind, each as long as it helps. */
static bool make_moves(Reduce *r, ReduceMove move, bool *progress) {
    uint32_t count = reduce_count(r->g, move);
    for (uint32_t i = 0; i < count;) {
        bool taken;
        if (!consider(r, reduce_apply(r->g, move, i), &taken)) return false;
        if (!taken) {
            i++;
            continue;
        }
        *progress = true;
        count = reduce_count(r->g, move);
        say_progress(r);
    }
    return true;
}

static bool shrink_graph(Reduce *r) {
    for (bool progress = true; progress;) {
        progress = false;
        for (ReduceMove move = 0; move < REDUCE_MOVES; move++)
            if (!make_moves(r, move, &progress)) return false;
    }
    return true;
}

/* The passes that are needed, *list malloc'd; NULL where those that ran do not suffice. */
static bool shrink_list(Reduce *r, char **list) {
    Symptom s;
    if (!try_candidate(r, r->g, NULL, &s)) return false;
    *list = join("%s", s.list);
    if (!try_candidate(r, r->g, *list, &s)) return false;
    if (!same(&s, &r->first)) return free(*list), *list = NULL, true;
    for (uint32_t i = MAX_RUNS; i-- > 0;) {
        char *shorter = order_without(*list, i), *other = *list;
        if (!shorter) continue;
        if (!try_candidate(r, r->g, shorter, &s)) return free(shorter), false;
        if (same(&s, &r->first)) *list = shorter, shorter = other;
        free(shorter);
    }
    return true;
}

/* ---- what is printed ---- */

static void print_command(const Reduce *r, const char *path, const char *list, FILE *out) {
    const Options *o = r->o;
    fprintf(out, "netc verify '%s' --mode=%s", path, mode_text(r->mode));
    if (o->compiled) fprintf(out, " --compiled");
    if (o->seed) fprintf(out, " --seed=%" PRId64, o->seed);
    show_list(out, "--load-pass", &o->load_pass);
    if (o->rules) show_option(out, "--rules", o->rules);
    if (list)
        fprintf(out, " --passes='%s:%s'", mode_text(r->mode), list);
    else if (o->passes)
        show_option(out, "--passes", o->passes);
    if (!list) show_list(out, "--disable-pass", &o->disable_pass);
    if (images_type(r->g).rank == 4) fprintf(out, " --batch=%" PRId64, images_type(r->g).dim[0]);
    if (o->recompute >= 0) fprintf(out, " --recompute=%" PRId64, o->recompute);
    if (o->compiled && o->cpu) show_option(out, "--cpu", o->cpu);
    if (o->compiled && o->conv) show_option(out, "--conv", o->conv);
    if (o->compiled && o->gemm) show_option(out, "--gemm", o->gemm);
    if (o->compiled && o->precision) show_option(out, "--precision", o->precision);
}

static void print_symptom(const Reduce *r, const Symptom *s) {
    printf("%s, %s: ", r->model->name, r->mode == MODE_TRAIN ? "training" : "inference");
    if (s->end == END_COMMAND)
        printf("the command exits with %d\n", s->status);
    else if (s->end == END_CODE_WRONG || s->end == END_REFUSED)
        printf("%s\n", s->text);
    else
        printf("the pass '%s'%s%s%s %s%s\n", s->pass, *s->file ? " of '" : "", s->file, *s->file ? "'" : "",
               s->end == END_WRONG ? "is wrong: " : "crashes, or what it leaves is unsound", s->text);
}

static const char *output_path(const Reduce *r) { return r->o->output ? r->o->output : DEFAULT_OUTPUT; }

/* What report says, as an object. */
static void print_json(const Reduce *r, const Symptom *s, uint32_t values, Type images) {
    char before[TYPE_TEXT], after[TYPE_TEXT];
    TextStream graph, again;
    text_open(&graph);
    graph_print(r->g, NULL, graph.file);
    text_close(&graph);
    text_open(&again);
    if (!r->o->command) print_command(r, output_path(r), r->list, again.file);
    text_close(&again);
    bool pass = s->end != END_COMMAND && s->end != END_CODE_WRONG && s->end != END_REFUSED;
    printf("{\"model\": ");
    json_write_string(stdout, r->model->name);
    printf(", \"mode\": \"%s\"", mode_text(r->mode));
    json_write_text(stdout, "fails", s->end == END_COMMAND ? "command" : s->end == END_WRONG ? "pass" : pass ? "crash" : "code");
    if (s->end == END_COMMAND) printf(", \"status\": %d", s->status);
    json_write_text(stdout, "pass", pass ? s->pass : NULL);
    json_write_text(stdout, "object", pass && *s->file ? s->file : NULL);
    json_write_text(stdout, "reason", s->text);
    printf(", \"values_before\": %u, \"values\": %u, \"candidates\": %" PRId64, values, r->g->count, r->tried);
    json_write_text(stdout, "images_before", images.rank == 4 ? type_format(images, before) : NULL);
    json_write_text(stdout, "images", images_type(r->g).rank == 4 ? type_format(images_type(r->g), after) : NULL);
    json_write_text(stdout, "file", output_path(r));
    json_write_text(stdout, "graph", graph.text);
    json_write_text(stdout, "again", r->o->command ? NULL : again.text);
    puts("}");
    free(graph.text);
    free(again.text);
}

static int report(Reduce *r, uint32_t values, Type images) {
    const char *path = output_path(r);
    char remark[200], before[TYPE_TEXT], after[TYPE_TEXT];
    Symptom s;
    if (!try_candidate(r, r->g, r->list, &s)) return EXIT_IO;
    snprintf(remark, sizeof remark, "reduced by netc from %u values of %s", values, r->model->name);
    int status = write_graph(r, r->g, path, remark);
    if (status) return status;
    if (r->o->json) {
        print_json(r, &s, values, images);
        return EXIT_OK;
    }
    print_symptom(r, &s);
    Type smaller = images_type(r->g);
    printf("%u %s left of %u", r->g->count, r->g->count == 1 ? "value is" : "values are", values);
    if (images.rank == 4 && smaller.rank == 4 && !type_equal(images, smaller))
        printf(", images of %s are %s", type_format(images, before), type_format(smaller, after));
    printf(" (%" PRId64 " candidates tried):\n", r->tried);
    graph_print(r->g, NULL, stdout);
    if (r->o->command) {
        printf("It is in '%s', for the command as $NETC_IR.\n", path);
        return EXIT_OK;
    }
    printf("It is in '%s' and shows again with\n    ", path);
    print_command(r, path, r->list, stdout);
    putchar('\n');
    return EXIT_OK;
}

/* ---- all of it ---- */

/* As netc verify makes it; for a command, as the file says. */
static int make_source(Reduce *r) {
    Model *model = r->mode == MODE_TRAIN ? &r->session->train : &r->session->infer;
    int status = r->o->command ? compile_source(r->session, r->mode, r->o->batch, model)
                               : compile_small(r->session, r->mode, r->o->batch, model, &r->g);
    if (status) return status;
    r->model = model;
    if (!r->g) r->g = graph_copy(model->graph);
    return EXIT_OK;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { PATIENCE = 10, AT_LEAST = 10 }; /* a candidate may take so many times the first's time, and seconds; it is smaller */

/* Said before the work rather than behind it. */
static int check_output(const Reduce *r) {
    FILE *out = fopen(output_path(r), "a");
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", output_path(r), strerror(errno));
    fclose(out);
    return EXIT_OK;
}

static int reduce_mode(Reduce *r, bool *failed) {
    int status = make_source(r);
    if (status) return status;
    if (r->o->command && !(r->directory = directory_temporary())) return EXIT_IO;
    double started = now();
    if (!try_candidate(r, r->g, NULL, &r->first)) return EXIT_IO;
    if (r->o->command && (r->first.status == 126 || r->first.status == 127))
        return fail(EXIT_USAGE, "the command '%s' cannot be run", r->o->command);
    if (r->first.end == END_REFUSED) return fail(EXIT_INPUT, "'%s' cannot be verified: %s", r->model->name, r->first.text);
    *failed = r->first.end != END_RIGHT;
    if (!*failed) return EXIT_OK;
    status = check_output(r);
    if (status) return status;
    r->seconds = (unsigned)(AT_LEAST + PATIENCE * (now() - started));
    uint32_t values = r->g->count;
    Type images = images_type(r->g);
    char *list = NULL;
    bool done = shrink_graph(r) && (r->o->command || shrink_list(r, &list));
    r->list = list;
    if (list && done) done = shrink_graph(r); /* with less in its way */
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    status = done ? report(r, values, images) : EXIT_IO;
    free(list);
    return status;
}

static int check_options(const Options *o) {
    if (o->noperands > 1) return usage_error("reduce", "one model at a time, found '%s' too", o->operand[1]);
    if (o->command && o->compiled) return usage_error("reduce", "where '--cmd' judges, '--compiled' has no effect");
    bool code = o->cpu || o->conv || o->precision || o->gemm || o->no_cache;
    if (code && !o->compiled) return usage_error("reduce", "options of compiled code have no effect without '--compiled'");
    if (o->output && (strlen(o->output) < 4 || strcmp(o->output + strlen(o->output) - 3, ".ir") != 0))
        return usage_error("reduce", "'--output' is a file NAME.ir, found '%s'", o->output);
    return EXIT_OK;
}

int command_reduce(const Options *options) {
    Session session = {0};
    unsigned asked;
    int status = check_options(options);
    if (status) return status;
    status = compile_asked_modes(&session, options, "reduce", &asked);
    Symptom *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!status && shared == MAP_FAILED) status = fail(EXIT_IO, "out of memory");
    bool failed = false;
    for (Mode mode = MODE_TRAIN; mode <= MODE_INFER && !status && !failed; mode++) {
        if (!(asked & (mode == MODE_TRAIN ? PASS_TRAIN : PASS_INFER))) continue;
        Reduce r = {.session = &session, .o = options, .mode = mode, .shared = shared};
        status = reduce_mode(&r, &failed);
        if (r.directory) directory_remove(r.directory);
        free(r.directory);
        graph_free(r.g);
    }
    if (!status && !failed) {
        if (options->command)
            status = fail(EXIT_INPUT, "nothing fails: the command ends with 0 on '%s'", session.path);
        else
            status = fail(EXIT_INPUT, "nothing fails: '%s' is right", session.path);
    }
    if (shared != MAP_FAILED) munmap(shared, sizeof *shared);
    session_close(&session);
    return status;
}
