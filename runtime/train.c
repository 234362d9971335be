/* The training loop, written once for the JIT and for executables.
 *
 * Per step: next batch, train_step (loss, gradients, running statistics), stop if the loss is not finite, apply_update. At each
 * epoch's end: evaluation, a metrics line, best.safetensors if it is the best, then last.safetensors with the position of the
 * next epoch, the one before it kept as last-1.safetensors (directory.c). Everything that decides what a step computes is in
 * RtTrainState, the weights and the optimiser's moments, so a resumed run continues bit for bit. Weights that are not finite are
 * never saved.
 *
 * The schedule runs over the recipe's epochs also when --steps stops earlier; beyond them there is no rate to train at, and
 * --steps is refused. With a moving average, evaluation and best.safetensors use the averaged weights, beside the running
 * statistics of the trained ones unless those are averaged too. */
#include "runtime/directory.h"
#include "runtime/gradient.h"
#include "runtime/identity.h"
#include "runtime/loader.h"
#include "runtime/metrics.h"
#include "runtime/progress.h"
#include "runtime/resume.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOG_EVERY = 50 };

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
    int64_t per_epoch, batches;           /* steps of an epoch, batches of a step */
    float *gradients;                     /* accumulated; NULL if a step has one batch */
    uint64_t total_steps, stop_at;        /* of the schedule; of this run */
    double seconds, images;               /* spent in steps since the start of this process */
    double window_seconds, window_images; /* since the last logged step */
    RtEvalResult test, views;
    bool evaluated, viewed; /* test is of this epoch; views, with the recipe's views, too */
    bool saved;             /* the directory holds a checkpoint of this training */
} Run;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static RtStatus diverged(const Run *r, const char *what, uint64_t step) {
    return rt_fail(r->error, RT_DIVERGED, "%s step %llu; %s", what, (unsigned long long)step,
                   r->saved ? "the last checkpoint is kept" : "there is no checkpoint yet");
}

static RtStatus check_finite(Run *r) {
    const float *w = rt_machine_space(r->m, RT_PARAMS);
    for (uint64_t i = 0; i < r->p->params_bytes / sizeof *w; i++)
        if (!isfinite(w[i])) return diverged(r, "a weight is not finite after", r->s.step);
    return RT_OK;
}

/* The metrics first: whatever the disk keeps after a crash, they reach as far as the checkpoint. */
static RtStatus save_last(Run *r) {
    char fresh[RT_PATH];
    RtStatus status = check_finite(r);
    if (status == RT_OK) status = rt_metrics_sync(&r->metrics, r->error);
    rt_directory_file(r->o->directory, "last.safetensors.new", fresh);
    if (status == RT_OK) status = rt_checkpoint_save(fresh, r->m, &r->s, false, r->error);
    if (status == RT_OK) status = rt_directory_promote(r->o->directory, r->error);
    r->saved |= status == RT_OK;
    return status;
}

/* ---- averages of the weights, and perhaps of the running statistics ---- */

typedef struct Averaged {
    float *now, *average;
    uint64_t count;
} Averaged;

/* Which blocks there are averages of; returns how many. */
static int averaged_blocks(const Run *r, Averaged block[2]) {
    int n = 0;
    if (r->s.average)
        block[n++] = (Averaged){rt_machine_space(r->m, RT_PARAMS), r->s.average, r->p->params_bytes / sizeof(float)};
    if (r->s.average_state)
        block[n++] = (Averaged){rt_machine_space(r->m, RT_STATE), r->s.average_state, r->p->state_bytes / sizeof(float)};
    return n;
}

static void average_from_now(const Run *r) {
    Averaged block[2];
    for (int i = averaged_blocks(r, block) - 1; i >= 0; i--)
        memcpy(block[i].average, block[i].now, block[i].count * sizeof(float));
}

static void now_from_average(const Run *r) {
    Averaged block[2];
    for (int i = averaged_blocks(r, block) - 1; i >= 0; i--)
        memcpy(block[i].now, block[i].average, block[i].count * sizeof(float));
}

/* torch.lerp: what stands still (frozen weights) is its own average exactly. */
static void move_average(const Averaged *block, float take) {
    float keep = 1 - take;
    for (uint64_t k = 0; k < block->count; k++) {
        float from = block->average[k], to = block->now[k];
        block->average[k] = take < 0.5F ? from + take * (to - from) : to - keep * (to - from);
    }
}

/* After a step. */
static void average_update(const Run *r) {
    const RtAverage *a = &r->p->recipe.average;
    bool lookahead = a->kind == RT_AVERAGE_LOOKAHEAD, due = a->every > 0 && r->s.step % (uint64_t)a->every == 0;
    Averaged block[2];
    double decay = pow(a->decay, a->every);
    if (lookahead) decay *= pow((double)r->s.step / (double)r->total_steps, a->power);
    for (int i = due ? averaged_blocks(r, block) - 1 : -1; i >= 0; i--) move_average(&block[i], (float)(1 - decay));
    if (lookahead && (due || r->s.step == r->total_steps)) now_from_average(r);
}

/* EMA exchanges weights and averages: before and after evaluation and best.safetensors. */
static void average_swap(const Run *r) {
    Averaged block[2];
    if (r->p->recipe.average.kind != RT_AVERAGE_EMA) return;
    for (int i = averaged_blocks(r, block) - 1; i >= 0; i--)
        for (uint64_t k = 0; k < block[i].count; k++) {
            float kept = block[i].now[k];
            block[i].now[k] = block[i].average[k];
            block[i].average[k] = kept;
        }
}

static RtStatus average_allocate(Run *r) {
    const RtAverage *a = &r->p->recipe.average;
    if (a->kind == RT_AVERAGE_NONE) return RT_OK;
    r->s.average = calloc(1, r->p->params_bytes + sizeof(float));
    if (a->statistics) r->s.average_state = calloc(1, r->p->state_bytes + sizeof(float));
    if (r->s.average && (r->s.average_state || !a->statistics)) return RT_OK;
    return rt_fail(r->error, RT_MEMORY, "out of memory for the averaged weights");
}

/* ---- start ---- */

RtStatus rt_train_check(const RtProgram *p, const RtData *data, const RtTrainOptions *o, RtError *error) {
    RtStatus status = rt_shape_check(p, data, error);
    if (status != RT_OK) return status;
    int64_t per_epoch = rt_steps_per_epoch(p, data), steps = rt_total_steps(&p->recipe, per_epoch);
    long long batches = rt_step_batches(&p->recipe);
    if (per_epoch < 1 && batches > 1)
        return rt_fail(error, RT_INPUT, "a step of %lld batches of %lld images is more than the %lld training images", batches,
                       (long long)p->batch, (long long)data->ntrain);
    if (per_epoch < 1)
        return rt_fail(error, RT_INPUT, "a batch of %lld is more than the %lld training images", (long long)p->batch,
                       (long long)data->ntrain);
    if (o->max_steps > steps)
        return rt_fail(error, RT_USAGE,
                       "'--steps %lld' is beyond the recipe's %.10g epochs, which have %lld steps; 'train.epochs' sets them",
                       (long long)o->max_steps, p->recipe.epochs, (long long)steps);
    RtTrainState ignored = {0};
    if (o->resume) return rt_resume(p, NULL, data, o, &ignored, error);
    return o->init_path ? rt_weights_check(o->init_path, p, error) : RT_OK;
}

static RtStatus start_state(Run *r) {
    r->s = (RtTrainState){.seed = r->o->seed, .best_accuracy = -1, .best_epoch = -1};
    rt_data_identity(r->data, r->s.data);
    r->s.set = r->data;
    RtStatus status = average_allocate(r);
    if (status != RT_OK) return status;
    memset(rt_machine_space(r->m, RT_MOMENT1), 0, r->p->params_bytes);
    memset(rt_machine_space(r->m, RT_MOMENT2), 0, r->p->params_bytes);
    r->saved = r->o->resume;
    if (r->o->resume) return rt_resume(r->p, r->m, r->data, r->o, &r->s, r->error);
    rt_machine_init_params(r->m, r->o->seed);
    status = r->o->init_path ? rt_weights_load(r->o->init_path, r->m, r->o->say, r->error) : rt_whiten(r->m, r->data, r->error);
    average_from_now(r);
    return status;
}

static RtStatus start(Run *r) {
    const RtRecipe *recipe = &r->p->recipe;
    RtStatus status = rt_train_check(r->p, r->data, r->o, r->error);
    if (status != RT_OK) return status;
    if (r->p->train_step.ncalls == 0) return rt_fail(r->error, RT_INTERNAL, "the program was compiled for inference only");
    r->batches = rt_step_batches(recipe);
    r->per_epoch = rt_steps_per_epoch(r->p, r->data);
    r->total_steps = (uint64_t)rt_total_steps(recipe, r->per_epoch);
    r->stop_at = r->o->max_steps > 0 ? (uint64_t)r->o->max_steps : r->total_steps;
    status = start_state(r);
    if (status != RT_OK) return status;
    if (r->batches > 1 && !(r->gradients = malloc(r->p->params_bytes + sizeof(float))))
        return rt_fail(r->error, RT_MEMORY, "out of memory for accumulated gradients");
    r->loader = rt_loader_new(r->data, recipe, r->p->batch, r->s.seed, r->s.epoch, r->s.batch_index * r->batches, r->error);
    if (!r->loader) return RT_MEMORY;
    if (!r->o->resume) status = rt_directory_clear(r->o->directory, r->error); /* nothing is left to fail but writing */
    if (status == RT_OK)
        status = rt_metrics_open(&r->metrics, rt_directory_path(r->o->directory), r->o->resume, r->s.step, r->error);
    if (status == RT_OK && r->s.step >= r->stop_at)
        rt_progress_say(&r->progress, "nothing to do: the checkpoint is at step %llu already", (unsigned long long)r->s.step);
    return status;
}

/* ---- one step ---- */

static void set_environment(Run *r) {
    RtStepEnv *env = rt_machine_env(r->m);
    const RtOptimizer *opt = &r->p->recipe.optimizer;
    double t = (double)r->s.step + 1;
    env->seed = r->s.seed;
    env->epoch = (double)r->s.step / (double)r->per_epoch;
    env->lr = (float)rt_schedule_lr(&r->p->recipe, r->s.step, r->per_epoch, (int64_t)r->total_steps);
    env->bias1 = (float)(1 - pow(opt->beta1, t));
    env->bias2 = (float)(1 - pow(opt->beta2, t));
}

/* Loss and gradients of a step, the means of its batches. */
static RtStatus differentiate(Run *r, float *loss, int64_t *correct) {
    const float *metrics = rt_machine_space(r->m, RT_METRICS);
    double sum = 0;
    for (int64_t i = 0; i < r->batches; i++) {
        rt_loader_next(r->loader, rt_machine_space(r->m, RT_IMAGES), rt_machine_space(r->m, RT_LABELS));
        rt_machine_env(r->m)->step = r->s.step * (uint64_t)r->batches + (uint64_t)i;
        rt_machine_run(r->m, &r->p->train_step);
        sum += (double)metrics[0];
        *correct += (int64_t)lrintf(metrics[1]);
        if (r->gradients) rt_gradient_accumulate(r->m, r->gradients, i, r->batches);
    }
    *loss = (float)(sum / (double)r->batches);
    return isfinite(*loss) ? RT_OK : diverged(r, "the loss is not finite at", r->s.step + 1);
}

static RtStatus step(Run *r, float *loss) {
    double begin = now(), norm;
    int64_t correct = 0;
    set_environment(r);
    RtStatus status = differentiate(r, loss, &correct);
    if (status != RT_OK) return status;
    if (r->p->recipe.clip > 0 && !rt_gradient_clip(r->m, r->p->recipe.clip, &norm))
        return rt_fail(r->error, RT_MEMORY, "out of memory for the gradients' norm");
    rt_machine_run(r->m, &r->p->apply_update);
    r->s.step++;
    average_update(r);
    r->s.batch_index++;
    r->s.epoch_loss_sum += *loss;
    r->s.epoch_correct += correct;
    r->s.epoch_images += r->p->batch * r->batches;
    double spent = now() - begin, images = (double)(r->p->batch * r->batches);
    r->seconds += spent;
    r->images += images;
    r->window_seconds += spent;
    r->window_images += images;
    return RT_OK;
}

static double epoch_accuracy(const Run *r) {
    return r->s.epoch_images ? (double)r->s.epoch_correct / (double)r->s.epoch_images : 0;
}

static void show(Run *r, float loss) {
    double rate = r->seconds > 0 ? r->images / r->seconds : 0,
           left = (double)(r->stop_at - r->s.step) * (double)(r->p->batch * r->batches);
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
    char best[RT_PATH];
    bool views = r->p->recipe.views != RT_VIEWS_ONE && r->s.step == r->total_steps; /* they cost: at the end alone */
    average_swap(r);
    RtStatus status = rt_evaluate(r->m, r->data, true, RT_VIEWS_ONE, &r->test, r->error);
    if (status == RT_OK && views) status = rt_evaluate(r->m, r->data, true, r->p->recipe.views, &r->views, r->error);
    if (status == RT_OK && r->test.accuracy > r->s.best_accuracy) {
        r->s.best_accuracy = r->test.accuracy;
        r->s.best_epoch = r->s.epoch;
        rt_directory_file(r->o->directory, "best.safetensors", best);
        status = check_finite(r);
        if (status == RT_OK) status = rt_checkpoint_save(best, r->m, &r->s, true, r->error);
    }
    average_swap(r);
    r->evaluated = status == RT_OK;
    r->viewed = r->evaluated && views;
    return status;
}

/* What was evaluated in this epoch, as members of its line of metrics and as words; "" if nothing was. */
static void describe_test(Run *r, char members[256], char words[160]) {
    char accuracy[32], loss[32];
    *members = *words = 0;
    if (r->evaluated) {
        snprintf(members, 256, "\"test_accuracy\": %s, \"test_loss\": %s, ", rt_metrics_number(accuracy, r->test.accuracy),
                 rt_metrics_number(loss, r->test.loss));
        snprintf(words, 160, "  test %.2f %% (best %.2f %%)", 100 * r->test.accuracy, 100 * r->s.best_accuracy);
    }
    if (r->viewed) {
        size_t m = strlen(members), w = strlen(words);
        snprintf(members + m, 256 - m, "\"views_accuracy\": %s, \"views_loss\": %s, ",
                 rt_metrics_number(accuracy, r->views.accuracy), rt_metrics_number(loss, r->views.loss));
        snprintf(words + w, 160 - w, ", by %d views %.2f %%", rt_view_count(r->p->recipe.views), 100 * r->views.accuracy);
    }
    r->evaluated = r->viewed = false;
}

static RtStatus epoch_line(Run *r) {
    char hex[65], loss[32], lr[32], rate[32], train[32], of_test[256], shown[160];
    double steps = (double)r->s.epoch_images / (double)(r->p->batch * r->batches);
    rt_weights_sha256(r->m, hex);
    double mean_loss = steps > 0 ? r->s.epoch_loss_sum / steps : 0, images_per_s = r->seconds > 0 ? r->images / r->seconds : 0;
    rt_metrics_number(loss, mean_loss);
    rt_metrics_number(lr, rt_machine_env(r->m)->lr);
    rt_metrics_number(rate, images_per_s);
    rt_metrics_number(train, epoch_accuracy(r));
    describe_test(r, of_test, shown);
    rt_progress_say(&r->progress, "epoch %lld/%.10g  loss %.4f  train %.2f %%%s  %.0f images/s", (long long)r->s.epoch + 1,
                    r->p->recipe.epochs, mean_loss, 100 * epoch_accuracy(r), shown, images_per_s);
    return rt_metrics_line(&r->metrics, r->error,
                           "{\"epoch\": %lld, \"step\": %llu, \"loss\": %s, \"lr\": %s, \"images_per_s\": %s, "
                           "\"train_accuracy\": %s, %s\"weights_sha256\": \"%s\"}",
                           (long long)r->s.epoch, (unsigned long long)r->s.step, loss, lr, rate, train, of_test, hex);
}

/* An epoch that --steps cuts short counts as one. */
static RtStatus finish_epoch(Run *r) {
    int64_t every = r->o->eval_every, epoch = r->s.epoch + 1;
    bool due = every > 0 && (epoch % every == 0 || r->s.step == r->total_steps);
    RtStatus status = due ? evaluate(r) : RT_OK;
    if (status == RT_OK) status = epoch_line(r);
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
                   (unsigned long long)r->s.step, rt_directory_path(r->o->directory));
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
        if (status == RT_OK && (run_ends || epoch_ends)) status = finish_epoch(r);
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
    free(r.gradients);
    free(r.s.average);
    free(r.s.average_state);
    return status;
}
