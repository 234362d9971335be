/* netc sweep: trainings of a table, each a process of `netc train`, some at a time.
 *
 * Beside the directory of each, NAME.cell says what it is trained by, and "done" when its process ended well. So after any kill
 * the next sweep goes on: what is done is left alone, what was begun resumes, and nothing is taken for what it is not. The
 * processes end, with a checkpoint, when the sweep is killed. */
#include "driver/sweep.h"
#include "cli/report.h"
#include "driver/driver.h"
#include "runtime/kept.h"
#include "runtime/rt.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_JOBS = 64, WORDS = SWEEP_SETS + SWEEP_OPTIONS + 16 };

/* One training of the table that runs now. */
typedef struct Job {
    pid_t process; /* 0: none */
    const SweepRow *row;
    int64_t seed;
} Job;

typedef struct Table {
    const Sweep *sweep;
    const Options *options;
    Job job[MAX_JOBS];
    int64_t jobs, threads;
    bool stopping; /* begin no more */
    int status;
} Table;

/* ---- processes ---- */

/* Becomes `netc train`. Signals were blocked by the sweep, which waits for them. */
static void become(char *const *word, const char *log) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (out < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(EXIT_IO);
    execv("/proc/self/exe", word);
    _exit(EXIT_IO);
}

static int start(Table *t, Job *job, const SweepRow *row, int64_t seed, SweepCell state) {
    const Sweep *s = t->sweep;
    char *out = sweep_file(s, row, seed, ""), *log = sweep_file(s, row, seed, ".log");
    char *last = join("%s/last.safetensors", out),
         *numbers[] = {join("--seed=%" PRId64, seed), join("--out=%s", out), join("--threads=%" PRId64, t->threads)};
    char *sets[SWEEP_SETS];
    const char *word[WORDS];
    uint32_t n = 0;
    bool resume = state == SWEEP_CELL_BEGUN && access(last, F_OK) == 0;
    word[n++] = "netc", word[n++] = "train", word[n++] = row->model;
    for (uint32_t i = 0; i < row->nsets; i++) word[n++] = sets[i] = join("--set=%s", row->set[i]);
    for (uint32_t i = 0; i < s->noptions; i++) {
        const char *option = s->option[i];
        bool init = !strncmp(option, "--init", 6), alone = strchr(option, '=') || !strcmp(option, "--init-partial");
        if (!resume || !init)
            word[n++] = option;
        else if (!alone)
            i++; /* its value too: a checkpoint has had its initial weights */
    }
    for (int i = 0; i < 3; i++) word[n++] = numbers[i];
    word[n++] = resume ? "--resume" : "--overwrite";
    word[n++] = NULL;
    int status = state == SWEEP_CELL_BEGUN ? EXIT_OK : sweep_cell_begin(s, row, seed);
    if (!status && !resume) unlink(log);
    fflush(NULL);
    pid_t process = status ? 0 : fork();
    if (process == 0 && !status) become((char *const *)word, log);
    if (process < 0) status = fail(EXIT_IO, "cannot start a training: %s", strerror(errno));
    if (!status) *job = (Job){process, row, seed};
    for (uint32_t i = 0; i < row->nsets; i++) free(sets[i]);
    for (int i = 0; i < 3; i++) free(numbers[i]);
    free(out), free(log), free(last);
    return status;
}

/* The last line that a training printed. */
static char *last_line(const char *log) {
    FILE *in = fopen(log, "r");
    char *line = NULL, *last = join("%s", "");
    size_t capacity = 0;
    for (ssize_t n; in && (n = getline(&line, &capacity, in)) > 0;) {
        if (n > 1) free(last), last = join("%.*s", (int)(line[n - 1] == '\n' ? n - 1 : n), line);
    }
    free(line);
    if (in) fclose(in);
    return last;
}

static void say_result(const Table *t, const Job *job) {
    char *out = sweep_file(t->sweep, job->row, job->seed, "");
    History h = {0};
    if (!t->options->json && history_open(out, &h) == EXIT_OK) {
        double result = history_result(&h);
        printf("%s%s%s, seed %" PRId64 ": ", job->row->label, *job->row->setting ? " " : "", job->row->setting, job->seed);
        if (result >= 0)
            printf("test %.2f %%\n", 100 * result);
        else
            puts("done, not tested");
        fflush(stdout);
    }
    history_close(&h);
    free(out);
}

/* A training that diverges, or whose input is bad, is one cell without a number; what else goes wrong ends the sweep. */
static void finish(Table *t, Job *job, int ended) {
    int status = WIFEXITED(ended) ? WEXITSTATUS(ended) : EXIT_IO;
    if (status == EXIT_OK) {
        int written = sweep_cell_end(t->sweep, job->row, job->seed);
        if (written) t->status = written, t->stopping = true;
        if (!written) say_result(t, job);
    } else if (status != RT_INTERRUPTED || !t->stopping) {
        char *log = sweep_file(t->sweep, job->row, job->seed, ".log"), *line = last_line(log);
        fail(status, "%s, seed %" PRId64 ": %s%s (%s)", job->row->name, job->seed, WIFSIGNALED(ended) ? "killed; " : "",
             *line ? line : "netc train ended without a word", log);
        free(line);
        free(log);
        if (t->status == EXIT_OK) t->status = status;
        if (status != EXIT_INPUT) t->stopping = true;
    }
    *job = (Job){0};
}

static void stop(Table *t) {
    t->stopping = true;
    t->status = RT_INTERRUPTED;
    for (int i = 0; i < MAX_JOBS; i++)
        if (t->job[i].process) kill(t->job[i].process, SIGTERM);
}

/* Collects what has ended. */
static void collect(Table *t) {
    int ended;
    for (pid_t process; (process = waitpid(-1, &ended, WNOHANG)) > 0;)
        for (int i = 0; i < MAX_JOBS; i++)
            if (t->job[i].process == process) finish(t, &t->job[i], ended);
}

static bool busy(const Table *t) {
    for (int i = 0; i < MAX_JOBS; i++)
        if (t->job[i].process) return true;
    return false;
}

/* Seeds in the outer loop: every row has its first number early. */
static int run_table(Table *t) {
    const Sweep *s = t->sweep;
    uint32_t next = 0, cells = s->nrows * s->nseeds;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT), sigaddset(&set, SIGTERM), sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (;;) {
        for (int64_t i = 0; i < t->jobs; i++) {
            while (!t->stopping && !t->job[i].process && next < cells) {
                const SweepRow *row = &s->row[next % s->nrows];
                int64_t seed = s->seed[next / s->nrows];
                next++;
                SweepCell state = sweep_cell(s, row, seed);
                if (state == SWEEP_CELL_DONE) continue;
                int status = start(t, &t->job[i], row, seed, state);
                if (status) t->status = status, t->stopping = true;
            }
        }
        if (!busy(t)) break;
        int signal_number = sigwaitinfo(&set, NULL);
        if (signal_number == SIGINT || signal_number == SIGTERM) stop(t);
        collect(t);
    }
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    return t->status;
}

/* Another table in the same place would be mixed into this one, and another's training replaced. */
static int check_cell(const Sweep *s, const SweepRow *row, int64_t seed, bool overwrite) {
    char *cell = sweep_file(s, row, seed, ".cell"), *out = sweep_file(s, row, seed, "");
    int status = EXIT_OK;
    SweepCell state = sweep_cell(s, row, seed);
    if (overwrite && unlink(cell) != 0 && errno != ENOENT)
        status = fail(EXIT_IO, "cannot remove %s: %s", cell, strerror(errno));
    else if (!overwrite && state == SWEEP_CELL_OTHER)
        status = fail(EXIT_USAGE,
                      "%s was made by another model, other settings or options: --overwrite trains the table anew, --out names "
                      "another directory",
                      cell);
    else if (!overwrite && state == SWEEP_CELL_NEW && rt_directory_used(out))
        status = fail(EXIT_USAGE,
                      "%s holds a training that is not of this table (there is no %s): --overwrite replaces it, --out names "
                      "another directory",
                      out, cell);
    free(out);
    free(cell);
    return status;
}

static int check_cells(const Sweep *s, bool overwrite) {
    int status = EXIT_OK;
    for (uint32_t i = 0; i < s->nrows; i++)
        for (uint32_t k = 0; k < s->nseeds && !status; k++) status = check_cell(s, &s->row[i], s->seed[k], overwrite);
    return status;
}

static char *default_directory(const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    return join("runs/%.*s", (int)(dot && dot != base ? dot - base : (ptrdiff_t)strlen(base)), base);
}

int command_sweep(const Options *o) {
    if (o->noperands != 1) return usage_error("sweep", o->noperands ? "one file at a time" : "no file given");
    if (o->jobs > MAX_JOBS) return usage_error("sweep", "'--jobs' is at most %d", MAX_JOBS);
    Sweep *s = calloc(1, sizeof *s);
    if (!s) return fail(EXIT_IO, "out of memory");
    int64_t jobs = o->jobs ? o->jobs : 1, cpus = rt_processors();
    Table t = {.sweep = s, .options = o, .jobs = jobs, .threads = o->threads ? o->threads : cpus > jobs ? cpus / jobs : 1};
    int status = sweep_read(o->operand[0], s);
    if (!status) s->directory = o->out ? join("%s", o->out) : default_directory(s->path);
    if (!status && !rt_make_directories(s->directory))
        status = fail(EXIT_IO, "cannot make the directory %s: %s", s->directory, strerror(errno));
    if (!status) status = check_cells(s, o->overwrite);
    if (!status) {
        status = run_table(&t);
        int printed = sweep_print(s, o->json);
        if (!status) status = printed;
        if (status == RT_INTERRUPTED)
            fprintf(stderr, "netc: interrupted; the same command%s goes on\n", o->overwrite ? " without --overwrite" : "");
    }
    sweep_free(s);
    free(s);
    return status;
}
