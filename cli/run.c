/* Training, evaluation and initial weights on a machine. */
#include "cli/run.h"
#include "cli/folder.h"
#include "cli/report.h"
#include "runtime/json.h"
#include "runtime/ranks.h"
#include "runtime/shards.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t count_parameters(const RtProgram *program) {
    int64_t total = 0;
    for (uint32_t i = 0; i < program->nparams; i++) {
        int64_t elements = 1;
        for (uint32_t d = 0; d < program->params[i].rank; d++) elements *= program->params[i].dim[d];
        total += elements;
    }
    return total;
}

/* ---- data ---- */

const char *recipe_data_name(RtDataset data) {
    switch (data) {
    case RT_DATA_CIFAR10: return "cifar10";
    case RT_DATA_CIFAR100: return "cifar100";
    case RT_DATA_SYNTHETIC: return "synthetic";
    }
    return "cifar10";
}

RtViews views_of(const RtProgram *program, const Options *o) {
    if (!o->views) return program->recipe.views;
    return !strcmp(o->views, "one") ? RT_VIEWS_ONE : !strcmp(o->views, "mirror") ? RT_VIEWS_MIRROR : RT_VIEWS_MIRROR_SHIFT;
}

static int set_open(const char *where, const FolderShape *shape, int64_t classes, const Options *o, RtData *data) {
    RtError error = {{0}};
    if (folder_is(where)) return folder_open(where, shape, classes, o, data);
    RtStatus status = rt_data_open_shaped(where, shape->channels, shape->height, shape->width, classes, data, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

static const char *set_named(const RtProgram *program, const Options *o) {
    return o->data ? o->data : recipe_data_name(program->recipe.data);
}

static FolderShape shape_needed(const RtProgram *p) { return (FolderShape){p->channels, p->height, p->width, p->recipe.fit}; }

int open_data(const RtProgram *program, const Options *o, RtData *data) {
    FolderShape shape = shape_needed(program);
    return set_open(set_named(program, o), &shape, program->classes, o, data);
}

/* What the weights say of the set that they were trained on goes before the recipe, and --data before that. */
int describe_data(const RtProgram *p, const Options *o, RtData *data) {
    RtError error = {{0}};
    const char *where = set_named(p, o);
    *data = (RtData){.channels = p->channels, .height = p->height, .width = p->width, .classes = p->classes};
    if (!o->data && o->weights && rt_weights_describe(o->weights, data)) return EXIT_OK;
    if (folder_is(where)) return open_data(p, o, data);
    RtStatus status = rt_data_describe(where, p->channels, p->height, p->width, p->classes, data, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

/* ---- training ---- */

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
    rt_ranks_met(t->ranks);
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
        snprintf(text, 64, "%d ranks x %d threads", rt_ranks_count(t->ranks), threads);
    else
        snprintf(text, 64, "%d threads", threads);
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
                            .resume = o->resume,
                            .rechoose = o->rechoose,
                            .repass = o->repass,
                            .seed_given = o->seed_given,
                            .seed = (uint64_t)o->seed,
                            .max_steps = o->steps,
                            .log_every = o->log_every,
                            .checkpoint_every = o->checkpoint_every,
                            .eval_every = o->eval_every,
                            .quiet = o->quiet,
                            .progress = o->quiet || !training_speaks(t) ? NULL : stdout,
                            .color = use_color(stdout),
                            .say = training_speaks(t) ? say : NULL};
}

int training_options(const Options *o) {
    if (o->resume && o->init) return usage_error("train", "'--resume' and '--init' exclude each other");
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

int training_open(Training *t, const RtProgram *program, const Options *o) {
    RtError error = {{0}};
    int status = open_data(program, o, &t->data);
    RtStatus taken = status || !training_speaks(t) ? RT_OK : take_directory(program->model, o, &t->directory, &error);
    if (taken) status = fail_rt(taken, &error);
    status = training_ready(t, status);
    if (!status) status = share_choices(t, o);
    if (status) return status;
    RtTrainOptions options = train_options(o, t);
    RtStatus fits = rt_train_check(program, &t->data, &options, &error);
    if (fits == RT_OK) fits = rt_shards_check(program, t->ranks, &error);
    return training_ready(t, fits ? fail_rt(fits, &error) : EXIT_OK);
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

int run_train(RtMachine *m, const Options *o, const Training *t) {
    RtError error = {{0}};
    RtTrainOptions options = train_options(o, t);
    rt_install_signal_handlers();
    RtStatus trained = rt_train(m, &t->data, &options, &error);
    return trained ? fail_rt(trained, &error) : EXIT_OK;
}

/* ---- evaluation, initial weights ---- */

int check_weights(const RtProgram *program, const Options *o) {
    RtError error = {{0}};
    RtStatus status = rt_weights_check(o->weights, program, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

static void print_result(const RtProgram *program, const Options *o, const RtData *data, const RtEvalResult *r) {
    const char *model = program->model;
    int views = rt_view_count(views_of(program, o));
    if (!o->json) {
        char by[32] = "";
        if (views > 1) snprintf(by, sizeof by, " by %d views", views);
        printf("%s on %s%s: accuracy %.2f %%, top 5 %.2f %%, loss %.4f; %" PRId64 " images in %.2f s (%.0f images/s)\n", model,
               data->name, by, 100 * r->accuracy, 100 * r->top5, r->loss, r->images, r->seconds, (double)r->images / r->seconds);
        return;
    }
    printf("{\"model\": ");
    json_write_string(stdout, model);
    printf(", \"weights\": ");
    json_write_string(stdout, o->weights);
    printf(", \"data\": ");
    json_write_string(stdout, data->name);
    printf(", \"views\": %d, \"images\": %" PRId64, views, r->images);
    json_write_member(stdout, "accuracy", r->accuracy);
    json_write_member(stdout, "top5", r->top5);
    json_write_member(stdout, "loss", r->loss);
    json_write_member(stdout, "seconds", r->seconds);
    json_write_member(stdout, "images_per_s", (double)r->images / r->seconds);
    puts("}");
}

int run_eval(RtMachine *m, const Options *o, const RtData *data) {
    RtError error = {{0}};
    RtEvalResult result;
    RtStatus status = rt_weights_load(o->weights, m, say, &error);
    if (status == RT_OK) status = rt_evaluate(m, data, true, views_of(rt_machine_program(m), o), &result, &error);
    if (status) return fail_rt(status, &error);
    print_result(rt_machine_program(m), o, data, &result);
    if (!isfinite(result.loss))
        fprintf(stderr,
                "netc: warning: the loss is not finite: for some image the net puts out NaN or infinity, from weights that are "
                "so or grow too large\n");
    return EXIT_OK;
}

int run_init(RtMachine *m, const Options *o) {
    RtError error = {{0}};
    RtTrainState state = {.seed = (uint64_t)o->seed};
    rt_machine_init_params(m, state.seed);
    if (rt_wants_data(rt_machine_program(m))) { /* some of the weights come from the training images */
        RtData data = {0};
        int status = open_data(rt_machine_program(m), o, &data);
        RtStatus whitened = status ? RT_OK : rt_whiten(m, &data, &error);
        rt_data_free(&data);
        if (status || whitened) return status ? status : fail_rt(whitened, &error);
    }
    RtStatus saved = rt_checkpoint_save(o->output, m, &state, true, &error);
    return saved ? fail_rt(saved, &error) : EXIT_OK;
}
