/* The training loop, written once for the JIT and for executables.
 *
 * Per step: next batch, train_step (loss, gradients, running statistics), stop if the loss is not finite, apply_update. At each
 * epoch's end: evaluation, a metrics line, best.safetensors if it is the best, then last.safetensors with the position of the
 * next epoch, the one before it kept as last-1.safetensors. Everything that decides what a step computes is in RtTrainState, the
 * weights and the optimiser's moments, so a resumed run continues bit for bit. Weights that are not finite are never saved.
 *
 * The schedule runs over the recipe's epochs also when --steps stops earlier. With ema, evaluation and best.safetensors use the
 * averaged weights, beside the running statistics of the trained ones. */
#include "runtime/loader.h"
#include "runtime/metrics.h"
#include "runtime/progress.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOG_EVERY = 50, PATH_LENGTH = 4096 };

static volatile sig_atomic_t stop_requested;
static void request_stop(int signal_number) {
    (void)signal_number;
    stop_requested = 1;
}

void rt_install_signal_handlers(void) {
    struct sigaction action = {.sa_handler = request_stop, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file-size limit is then an error of write, as a full disk is */
}

/* One training run. */
typedef struct Run {
    RtMachine *m;
    const RtProgram *p;
    const RtData *data;
    const RtTrainOptions *o;
    RtError *error;
    RtTrainState s;
    RtLoader *loader;
    RtMetrics metrics;
    RtProgress progress;
    int64_t per_epoch;
    uint64_t total_steps, stop_at;        /* of the schedule; of this run */
    double seconds, images;               /* spent in steps since the start of this process */
    double window_seconds, window_images; /* since the last logged step */
    RtEvalResult test;
} Run;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void path_of(const Run *r, const char *name, char path[PATH_LENGTH]) {
    snprintf(path, PATH_LENGTH, "%s/%s", r->o->out_dir, name);
}

static RtStatus make_directory(const char *path, RtError *error) {
    char part[PATH_LENGTH];
    if (strlen(path) + 32 > sizeof part) return rt_fail(error, RT_USAGE, "the name of the output directory is too long");
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] && path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return rt_fail(error, RT_IO, "cannot make the directory %s: %s", part, strerror(errno));
    }
    struct stat s;
    if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode)) return rt_fail(error, RT_IO, "%s is not a directory", path);
    if (access(path, W_OK) != 0) return rt_fail(error, RT_IO, "cannot write into the directory %s: %s", path, strerror(errno));
    return RT_OK;
}

static RtStatus check_finite(Run *r) {
    const float *w = rt_machine_space(r->m, RT_PARAMS);
    for (uint64_t i = 0; i < r->p->params_bytes / sizeof *w; i++)
        if (!isfinite(w[i]))
            return rt_fail(r->error, RT_DIVERGED, "a weight is not finite after step %llu; the last checkpoint is kept",
                           (unsigned long long)r->s.step);
    return RT_OK;
}

/* Makes `before` the same file as `last`, so that `last` exists at every moment; where links are not to be had, moves it. */
static bool keep_previous(const char *last, const char *before) {
    unlink(before);
    return link(last, before) == 0 || rename(last, before) == 0 || errno == ENOENT;
}

static RtStatus save_last(Run *r) {
    char last[PATH_LENGTH], before[PATH_LENGTH], fresh[PATH_LENGTH];
    path_of(r, "last.safetensors", last);
    path_of(r, "last-1.safetensors", before);
    path_of(r, "last.safetensors.new", fresh);
    RtStatus status = check_finite(r);
    if (status == RT_OK) status = rt_checkpoint_save(fresh, r->m, &r->s, false, r->error);
    if (status != RT_OK) return status;
    if (keep_previous(last, before) && rename(fresh, last) == 0) return RT_OK;
    status = rt_fail(r->error, RT_IO, "cannot write %s: %s", last, strerror(errno));
    unlink(fresh);
    return status;
}

/* ---- exponential moving average ---- */

static void ema_update(Run *r) {
    if (!r->s.ema) return;
    const float *w = rt_machine_space(r->m, RT_PARAMS);
    float keep = (float)r->p->recipe.ema, take = (float)(1 - r->p->recipe.ema);
    for (uint64_t i = 0; i < r->p->params_bytes / sizeof *w; i++) r->s.ema[i] = keep * r->s.ema[i] + take * w[i];
}

/* Exchanges weights and averages: before and after evaluation and best.safetensors. */
static void ema_swap(Run *r) {
    if (!r->s.ema) return;
    float *w = rt_machine_space(r->m, RT_PARAMS);
    for (uint64_t i = 0; i < r->p->params_bytes / sizeof *w; i++) {
        float kept = w[i];
        w[i] = r->s.ema[i];
        r->s.ema[i] = kept;
    }
}

/* ---- start ---- */

/* Reads last.safetensors. Its position must be one that this data set and batch size have. */
static RtStatus resume(Run *r) {
    char path[PATH_LENGTH];
    path_of(r, "last.safetensors", path);
    RtStatus status = rt_checkpoint_load(path, r->m, &r->s, r->error);
    if (status != RT_OK) return status;
    char *choices = rt_checkpoint_choices(path);
    if (!r->o->rechoose) status = rt_check_choices(choices, r->p, r->error);
    free(choices);
    if (status != RT_OK) return status;
    bool inside = r->s.epoch >= 0 && r->s.batch_index >= 0 && r->s.batch_index < r->per_epoch;
    if (inside && r->s.step / (uint64_t)r->per_epoch == (uint64_t)r->s.epoch &&
        r->s.step % (uint64_t)r->per_epoch == (uint64_t)r->s.batch_index)
        return RT_OK;
    return rt_fail(
        r->error, RT_INPUT,
        "%s was made with another batch size or data set: step %llu is not batch %lld of epoch %lld at %lld batches an "
        "epoch",
        path, (unsigned long long)r->s.step, (long long)r->s.batch_index, (long long)r->s.epoch, (long long)r->per_epoch);
}

static RtStatus start_state(Run *r) {
    bool average = r->p->recipe.ema > 0;
    r->s = (RtTrainState){.seed = r->o->seed, .best_accuracy = -1, .best_epoch = -1};
    if (average && !(r->s.ema = calloc(1, r->p->params_bytes + sizeof(float))))
        return rt_fail(r->error, RT_INPUT, "not enough memory");
    memset(rt_machine_space(r->m, RT_MOMENT1), 0, r->p->params_bytes);
    memset(rt_machine_space(r->m, RT_MOMENT2), 0, r->p->params_bytes);
    if (r->o->resume) return resume(r);
    rt_machine_init_params(r->m, r->o->seed);
    RtStatus status = r->o->init_path ? rt_weights_load(r->o->init_path, r->m, r->error) : RT_OK;
    if (average) memcpy(r->s.ema, rt_machine_space(r->m, RT_PARAMS), r->p->params_bytes);
    return status;
}

static RtStatus start(Run *r) {
    const RtRecipe *recipe = &r->p->recipe;
    RtStatus status = rt_shape_check(r->p, r->data, r->error);
    if (status != RT_OK) return status;
    if (r->p->train_step.ncalls == 0) return rt_fail(r->error, RT_INTERNAL, "the program was compiled for inference only");
    r->per_epoch = r->data->ntrain / r->p->batch;
    if (r->per_epoch < 1)
        return rt_fail(r->error, RT_INPUT, "a batch of %lld is more than the %lld training images", (long long)r->p->batch,
                       (long long)r->data->ntrain);
    r->total_steps = (uint64_t)(recipe->epochs * r->per_epoch);
    r->stop_at = r->o->max_steps > 0 ? (uint64_t)r->o->max_steps : r->total_steps;
    status = make_directory(r->o->out_dir, r->error);
    if (status == RT_OK) status = start_state(r);
    if (status == RT_OK) status = rt_metrics_open(&r->metrics, r->o->out_dir, r->o->resume, r->s.step, r->error);
    if (status != RT_OK) return status;
    r->loader = rt_loader_new(r->data, recipe, r->p->batch, r->s.seed, r->s.epoch, r->s.batch_index, r->error);
    if (r->s.step >= r->stop_at)
        rt_progress_say(&r->progress, "nothing to do: the checkpoint is at step %llu already", (unsigned long long)r->s.step);
    return r->loader ? RT_OK : RT_INPUT;
}

/* ---- one step ---- */

static void set_environment(Run *r) {
    RtStepEnv *env = rt_machine_env(r->m);
    const RtOptimizer *opt = &r->p->recipe.optimizer;
    double t = (double)r->s.step + 1;
    env->seed = r->s.seed;
    env->step = r->s.step;
    env->lr = (float)rt_schedule_lr(&r->p->recipe, r->s.step, r->per_epoch, (int64_t)r->total_steps);
    env->bias1 = (float)(1 - pow(opt->beta1, t));
    env->bias2 = (float)(1 - pow(opt->beta2, t));
}

static RtStatus step(Run *r, float *loss) {
    double begin = now();
    const float *metrics = rt_machine_space(r->m, RT_METRICS);
    rt_loader_next(r->loader, rt_machine_space(r->m, RT_IMAGES), rt_machine_space(r->m, RT_LABELS));
    set_environment(r);
    rt_machine_run(r->m, &r->p->train_step);
    *loss = metrics[0];
    if (!isfinite(*loss))
        return rt_fail(r->error, RT_DIVERGED, "the loss is not finite at step %llu; the last checkpoint is kept",
                       (unsigned long long)r->s.step + 1);
    rt_machine_run(r->m, &r->p->apply_update);
    ema_update(r);
    r->s.step++;
    r->s.batch_index++;
    r->s.epoch_loss_sum += *loss;
    r->s.epoch_correct += (int64_t)lrintf(metrics[1]);
    r->s.epoch_images += r->p->batch;
    double spent = now() - begin;
    r->seconds += spent;
    r->images += (double)r->p->batch;
    r->window_seconds += spent;
    r->window_images += (double)r->p->batch;
    return RT_OK;
}

static double epoch_accuracy(const Run *r) {
    return r->s.epoch_images ? (double)r->s.epoch_correct / (double)r->s.epoch_images : 0;
}

static void show(Run *r, float loss) {
    double rate = r->seconds > 0 ? r->images / r->seconds : 0, left = (double)(r->stop_at - r->s.step) * (double)r->p->batch;
    RtProgressLine line = {.epoch = r->s.epoch,
                           .epochs = r->p->recipe.epochs,
                           .batch_index = r->s.batch_index,
                           .per_epoch = r->per_epoch,
                           .step = r->s.step,
                           .total_steps = r->stop_at,
                           .loss = loss,
                           .accuracy = epoch_accuracy(r),
                           .images_per_s = rate,
                           .seconds_left = rate > 0 ? left / rate : 0};
    rt_progress_step(&r->progress, &line, now());
}

static RtStatus log_step(Run *r, float loss) {
    char a[32], b[32], c[32];
    double rate = r->window_seconds > 0 ? r->window_images / r->window_seconds : 0;
    r->window_seconds = r->window_images = 0;
    return rt_metrics_line(&r->metrics, r->error,
                           "{\"epoch\": %lld, \"step\": %llu, \"loss\": %s, \"lr\": %s, \"images_per_s\": %s}",
                           (long long)r->s.epoch, (unsigned long long)r->s.step, rt_metrics_number(a, loss),
                           rt_metrics_number(b, rt_machine_env(r->m)->lr), rt_metrics_number(c, rate));
}

/* ---- the end of an epoch, or of the run ---- */

static RtStatus evaluate(Run *r) {
    char best[PATH_LENGTH];
    ema_swap(r);
    RtStatus status = rt_evaluate(r->m, r->data, true, &r->test, r->error);
    if (status == RT_OK && r->test.accuracy > r->s.best_accuracy) {
        r->s.best_accuracy = r->test.accuracy;
        r->s.best_epoch = r->s.epoch;
        path_of(r, "best.safetensors", best);
        status = check_finite(r);
        if (status == RT_OK) status = rt_checkpoint_save(best, r->m, &r->s, true, r->error);
    }
    ema_swap(r);
    return status;
}

static RtStatus epoch_line(Run *r) {
    char hex[65], loss[32], lr[32], rate[32], train[32], accuracy[32], test[32];
    double steps = (double)r->s.epoch_images / (double)r->p->batch;
    rt_weights_sha256(r->m, hex);
    double mean_loss = steps > 0 ? r->s.epoch_loss_sum / steps : 0, images_per_s = r->seconds > 0 ? r->images / r->seconds : 0;
    rt_metrics_number(loss, mean_loss);
    rt_metrics_number(lr, rt_machine_env(r->m)->lr);
    rt_metrics_number(rate, images_per_s);
    rt_metrics_number(train, epoch_accuracy(r));
    rt_metrics_number(accuracy, r->test.accuracy);
    rt_metrics_number(test, r->test.loss);
    rt_progress_say(&r->progress, "epoch %lld/%lld  loss %.4f  train %.2f %%  test %.2f %% (best %.2f %%)  %.0f images/s",
                    (long long)r->s.epoch + 1, (long long)r->p->recipe.epochs, mean_loss, 100 * epoch_accuracy(r),
                    100 * r->test.accuracy, 100 * r->s.best_accuracy, images_per_s);
    return rt_metrics_line(
        &r->metrics, r->error,
        "{\"epoch\": %lld, \"step\": %llu, \"loss\": %s, \"lr\": %s, \"images_per_s\": %s, \"train_accuracy\": %s, "
        "\"test_accuracy\": %s, \"test_loss\": %s, \"weights_sha256\": \"%s\"}",
        (long long)r->s.epoch, (unsigned long long)r->s.step, loss, lr, rate, train, accuracy, test, hex);
}

static RtStatus finish_epoch(Run *r, bool run_ends) {
    int64_t every = r->o->eval_every > 0 ? r->o->eval_every : 1;
    RtStatus status = RT_OK;
    if (run_ends || (r->s.epoch + 1) % every == 0) {
        status = evaluate(r);
        if (status == RT_OK) status = epoch_line(r);
    }
    if (r->s.batch_index < r->per_epoch) return status; /* --steps ended inside an epoch: keep its sums */
    r->s.epoch++;
    r->s.batch_index = 0;
    r->s.epoch_loss_sum = 0;
    r->s.epoch_correct = r->s.epoch_images = 0;
    return status;
}

static RtStatus interrupted(Run *r) {
    RtStatus status = save_last(r);
    if (status != RT_OK) return status;
    stop_requested = 0;
    return rt_fail(r->error, RT_INTERRUPTED, "interrupted at step %llu; --resume continues from %s/last.safetensors",
                   (unsigned long long)r->s.step, r->o->out_dir);
}

static RtStatus loop(Run *r) {
    int64_t log_every = r->o->log_every > 0 ? r->o->log_every : LOG_EVERY, save_every = r->o->checkpoint_every;
    while (r->s.step < r->stop_at) {
        float loss;
        if (stop_requested) return interrupted(r);
        RtStatus status = step(r, &loss);
        if (status == RT_OK) show(r, loss);
        if (status == RT_OK && r->s.step % (uint64_t)log_every == 0) status = log_step(r, loss);
        bool run_ends = r->s.step == r->stop_at, epoch_ends = r->s.batch_index == r->per_epoch;
        if (status == RT_OK && (run_ends || epoch_ends)) status = finish_epoch(r, run_ends);
        bool due = save_every > 0 ? r->s.step % (uint64_t)save_every == 0 : epoch_ends;
        if (status == RT_OK && (run_ends || due)) status = save_last(r);
        if (status != RT_OK) return status;
    }
    return RT_OK;
}

RtStatus rt_train(RtMachine *m, const RtData *data, const RtTrainOptions *options, RtError *error) {
    Run r = {.m = m, .p = rt_machine_program(m), .data = data, .o = options, .error = error};
    r.progress = rt_progress(options->quiet ? NULL : options->progress, options->color);
    RtStatus status = start(&r);
    if (status == RT_OK) status = loop(&r);
    rt_progress_end(&r.progress);
    rt_loader_free(r.loader);
    rt_metrics_close(&r.metrics);
    free(r.s.ema);
    return status;
}
