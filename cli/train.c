/* Training on a machine: the directory of a run, what is written beside it, one seed after the other. */
#include "cli/history.h"
#include "cli/report.h"
#include "cli/run.h"
#include "cli/statistics.h"
#include "runtime/json.h"
#include "runtime/ranks.h"
#include "runtime/shards.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What ranks but the first would print, kept. */
static struct {
    FILE *stderr_before;
    char *text;
    size_t length;
} voice;

/* Prints what was kept, or forgets it; from here on this process speaks again. */
static void voice_return(bool say_it) {
    if (!voice.stderr_before) return;
    fclose(stderr);
    stderr = voice.stderr_before;
    voice.stderr_before = NULL;
    if (say_it) fputs(voice.text, stderr);
    free(voice.text);
    voice.text = NULL;
}

/* A process that ends by itself: nobody else knows why. */
static void voice_at_exit(void) { voice_return(true); }

static void voice_keep(void) {
    FILE *kept = open_memstream(&voice.text, &voice.length), *nothing = fopen("/dev/null", "w");
    if (nothing) stdout = nothing;
    if (!kept) return;
    voice.stderr_before = stderr;
    stderr = kept;
    atexit(voice_at_exit);
}

int training_join(Training *t) {
    RtError error = {{0}};
    *t = (Training){0};
    RtStatus status = rt_ranks_open(&t->ranks, &error);
    if (status) return fail_rt(status, &error);
    if (!training_speaks(t)) voice_keep();
    return EXIT_OK;
}

bool training_speaks(const Training *t) { return rt_ranks_index(t->ranks) == 0; }

int training_ready(const Training *t, int status) {
    int ranks = rt_ranks_count(t->ranks), me = rt_ranks_index(t->ranks), failed = 0;
    if (!t->ranks) return status;
    int *all = calloc((size_t)ranks, sizeof *all);
    if (!all) return fail(EXIT_IO, "out of memory");
    RtError error;
    rt_ranks_gather(t->ranks, &status, sizeof status, all);
    while (failed < ranks && !all[failed]) failed++;
    int first = failed < ranks ? all[failed] : EXIT_OK;
    free(all);
    if (rt_ranks_status(t->ranks, &error)) return status ? status : fail_rt(RT_IO, &error);
    if (me && failed == me) { /* rank 0 has said nothing */
        voice_return(true);
        fprintf(stderr, "%s: this is of rank %d; all end\n", program_invocation_short_name, me);
    }
    return first;
}

const char *training_size(const Training *t, int threads, char text[64]) {
    if (t->ranks)
        snprintf(text, 64, "%d ranks x %d thread%s", rt_ranks_count(t->ranks), threads, threads == 1 ? "" : "s");
    else
        snprintf(text, 64, "%d thread%s", threads, threads == 1 ? "" : "s");
    return text;
}

/* The directory of the n-th training of a model and seed. */
static char *numbered(const char *base, int64_t n) { return n > 1 ? join("%s-%" PRId64, base, n) : join("%s", base); }

/* Without --out: --resume and --overwrite mean the latest training of the model and seed, anything else is a new one. */
static RtStatus take_default(const char *base, RtDirectoryUse use, RtDirectory **directory, RtError *error) {
    int64_t latest = rt_directory_latest(base), n = use == RT_DIRECTORY_NEW ? latest + 1 : latest;
    RtStatus status;
    for (;; n++) {
        char *path = numbered(base, n);
        status = rt_directory_take(path, use, directory, error);
        if (status == RT_OK && n > 1) {
            char *text = use == RT_DIRECTORY_NEW ? join("%s holds a training; this one goes to %s", base, path)
                                                 : join("%s %s", use == RT_DIRECTORY_RESUME ? "resuming" : "overwriting", path);
            say(RT_NOTE, text);
            free(text);
        }
        free(path);
        if (status != RT_LOCKED || use != RT_DIRECTORY_NEW) return status; /* one that begins in this moment has the number */
    }
}

static RtStatus take_directory(const char *model, const Options *o, RtDirectory **directory, RtError *error) {
    RtDirectoryUse use = o->resume ? RT_DIRECTORY_RESUME : o->overwrite ? RT_DIRECTORY_OVERWRITE : RT_DIRECTORY_NEW;
    if (o->out) return rt_directory_take(o->out, use, directory, error);
    char *base = join("runs/%s-%" PRId64, model, o->seed);
    RtStatus status = take_default(base, use, directory, error);
    free(base);
    return status;
}

static RtTrainOptions train_options(const Options *o, const Training *t) {
    return (RtTrainOptions){.directory = t->directory,
                            .init_path = o->init,
                            .init_map = o->init_map.item,
                            .ninit_map = o->init_map.count,
                            .init_partial = o->init_partial,
                            .resume = o->resume,
                            .rechoose = o->rechoose,
                            .repass = o->repass,
                            .seed_given = o->seed_given,
                            .seed = (uint64_t)o->seed,
                            .max_steps = o->steps,
                            .log_every = o->log_every,
                            .checkpoint_every = o->checkpoint_every,
                            .eval_every = o->eval_every,
                            .tensorboard = o->tensorboard,
                            .quiet = o->quiet,
                            .progress = o->quiet || !training_speaks(t) ? NULL : stdout,
                            .color = use_color(stdout),
                            .say = training_speaks(t) ? say : NULL};
}

int training_options(const Options *o) {
    if (o->resume && o->init) return usage_error("train", "'--resume' and '--init' exclude each other");
    if (!o->init && (o->init_partial || o->init_map.count))
        return usage_error("train", "'--init-%s' is about '--init', which is not given", o->init_partial ? "partial" : "map");
    for (uint32_t i = 0; i < o->init_map.count; i++)
        if (!rt_init_map_is(o->init_map.item[i]))
            return usage_error("train", "'--init-map' is A=B or with a '*' on either side, found '%s'", o->init_map.item[i]);
    if (!o->resume && (o->rechoose || o->repass))
        return usage_error("train", "'--re%s' is about '--resume', which is not given", o->rechoose ? "choose" : "pass");
    if (o->resume && o->overwrite) return usage_error("train", "'--resume' and '--overwrite' exclude each other");
    return EXIT_OK;
}

/* The choices of rank 0's checkpoint become everybody's: the others may not see its directory. */
static int share_choices(Training *t, const Options *o) {
    RtError error;
    char path[4096];
    uint64_t length = 0;
    if (t->directory && o->resume) {
        snprintf(path, sizeof path, "%s/last.safetensors", rt_directory_path(t->directory));
        t->choices = rt_checkpoint_choices(path);
    }
    if (t->choices) length = strlen(t->choices) + 1;
    rt_ranks_broadcast(t->ranks, &length, sizeof length);
    if (rt_ranks_index(t->ranks) && length && !(t->choices = calloc(1, length))) return fail(EXIT_IO, "out of memory");
    if (length) rt_ranks_broadcast(t->ranks, t->choices, length);
    RtStatus status = rt_ranks_status(t->ranks, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

/* What is asked of the i-th of several seeds. --resume continues what there is, and begins what is not. */
static Options of_seed(const Options *o, uint32_t i) {
    Options one = *o;
    if (o->nseeds < 2) return one;
    one.seed = o->seeds[i];
    one.seed_given = true;
    one.out = o->out ? join("%s/seed-%" PRId64, o->out, one.seed) : NULL;
    return one;
}

static void end_seed(const Options *o, Options *one) {
    if (o->nseeds > 1) free((char *)one->out);
}

/* Opens the directory of a run, and looks whether it can begin. */
static int take(Training *t, const RtProgram *program, Options *o, bool several) {
    RtError error = {{0}};
    if (several && o->resume) {
        char *base = o->out ? join("%s", o->out) : join("runs/%s-%" PRId64, program->model, o->seed);
        o->resume = o->out ? rt_directory_used(base) : rt_directory_latest(base) > 0;
        free(base);
    }
    t->resumes = o->resume;
    RtStatus taken = take_directory(program->model, o, &t->directory, &error);
    return taken ? fail_rt(taken, &error) : EXIT_OK;
}

/* Can what was taken begin? */
static int check(const Training *t, const RtProgram *program, const Options *o) {
    RtError error = {{0}};
    RtTrainOptions options = train_options(o, t);
    RtStatus fits = rt_train_check(program, &t->data, &options, &error);
    if (fits == RT_OK) fits = rt_shards_check(program, t->ranks, &error);
    return fits ? fail_rt(fits, &error) : EXIT_OK;
}

int training_open(Training *t, const RtProgram *program, const Options *o) {
    Options first = of_seed(o, 0);
    int status = EXIT_OK;
    if (t->ranks && o->nseeds > 1) status = usage_error("train", "ranks train one seed at a time: '--seed' has %u", o->nseeds);
    if (!status) status = open_data(program, o, &t->data);
    if (!status && training_speaks(t)) status = take(t, program, &first, o->nseeds > 1);
    status = training_ready(t, status);
    if (!status) status = share_choices(t, &first);
    if (!status) status = training_ready(t, check(t, program, &first));
    end_seed(o, &first);
    return status;
}

void training_close(Training *t) {
    RtError error;
    rt_directory_release(t->directory);
    rt_data_free(&t->data);
    free(t->choices);
    if (rt_ranks_status(t->ranks, &error)) voice_return(true); /* who is left says what is known */
    voice_return(false);
    rt_ranks_close(t->ranks);
    *t = (Training){0};
}

/* The words of this process's command line; malloc'd, each with a zero behind it. */
static char *command_line(size_t *length) {
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t capacity = 0;
    char *words = NULL;
    ssize_t n = file ? getdelim(&words, &capacity, EOF, file) : -1;
    if (file) fclose(file);
    *length = n > 0 ? (size_t)n : 0;
    return words;
}

/* A line of run.jsonl: who trains here, from when on, and how it was asked to. malloc'd. */
static char *account(RtMachine *m, const Options *o) {
    const RtProgram *p = rt_machine_program(m);
    char *text = NULL, date[32], *words;
    size_t size, length;
    time_t now = time(NULL);
    struct tm utc;
    FILE *out = open_memstream(&text, &size);
    if (!out) exit(fail(EXIT_IO, "out of memory"));
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    fprintf(out, "{\"date\": \"%s\", \"resumed\": %s, \"model\": ", date, o->resume ? "true" : "false");
    json_write_string(out, p->model);
    fputs(", \"data\": ", out);
    json_write_string(out, o->data ? o->data : recipe_data_name(p->recipe.data));
    fputs(", \"target\": ", out);
    json_write_string(out, p->target);
    fprintf(out, ", \"threads\": %d, \"command\": [", rt_pool_threads(rt_machine_pool(m)));
    words = command_line(&length);
    for (size_t at = 0; at < length; at += strlen(words + at) + 1) {
        if (at) fputs(", ", out);
        json_write_string(out, words + at);
    }
    free(words);
    fputs("]}\n", out);
    if (fclose(out)) exit(fail(EXIT_IO, "out of memory"));
    return text;
}

static int train_one(RtMachine *m, const Options *o, const Training *t) {
    RtError error = {{0}};
    RtTrainOptions options = train_options(o, t);
    char *line = account(m, o);
    options.account = line;
    rt_install_signal_handlers();
    RtStatus trained = rt_train(m, &t->data, &options, &error);
    free(line);
    if (trained) return fail_rt(trained, &error);
    return o->json && training_speaks(t) ? history_print_json(rt_directory_path(t->directory)) : EXIT_OK;
}

/* What the seeds come to, of those that were tested. */
static int print_seeds(const Options *o, char *const *directory) {
    double value[MAX_SEEDS];
    uint32_t n = 0;
    int status = EXIT_OK;
    for (uint32_t i = 0; i < o->nseeds && !status; i++) {
        History h;
        status = history_open(directory[i], &h);
        double result = history_result(&h), best = history_best(&h, NULL);
        if (!status && result >= 0 && !o->json)
            printf("seed %" PRId64 ": test %.2f %%, best epoch %.2f %%  (%s)\n", o->seeds[i], 100 * result, 100 * best,
                   directory[i]);
        if (!status && result >= 0) value[n++] = result;
        history_close(&h);
    }
    if (n > 1 && !o->json) printf("%u seeds: test %.2f %% ± %.2f\n", n, 100 * mean_of(value, n), 100 * deviation_of(value, n));
    if (o->json) {
        printf("{\"seeds\": %u", n);
        json_write_member(stdout, "mean", n ? mean_of(value, n) : NAN);
        json_write_member(stdout, "deviation", n > 1 ? deviation_of(value, n) : NAN);
        puts("}");
    }
    return status;
}

static int train_seeds(RtMachine *m, const Options *o, Training *t) {
    char *directory[MAX_SEEDS] = {NULL};
    int status = EXIT_OK;
    for (uint32_t i = 0; i < o->nseeds && !status; i++) {
        Options one = of_seed(o, i);
        if (i) { /* the first one is taken */
            rt_directory_release(t->directory);
            t->directory = NULL;
            status = take(t, rt_machine_program(m), &one, true);
            if (!status) status = check(t, rt_machine_program(m), &one);
        }
        one.resume = t->resumes;
        if (!status) directory[i] = join("%s", rt_directory_path(t->directory));
        if (!status && !o->quiet) printf("seed %" PRId64 ", in %s\n", one.seed, directory[i]);
        if (!status) status = train_one(m, &one, t);
        end_seed(o, &one);
    }
    if (!status) status = print_seeds(o, directory);
    for (uint32_t i = 0; i < o->nseeds; i++) free(directory[i]);
    return status;
}

int run_train(RtMachine *m, const Options *o, Training *t) { return o->nseeds > 1 ? train_seeds(m, o, t) : train_one(m, o, t); }
