/* The training loop, written once for the JIT and for executables.
 *
 * Per step: next batch, train_step (loss, gradients, running statistics), stop if the loss is not finite, apply_update. At each
 * epoch's end: evaluation, a metrics line, best.safetensors if it is the best, then last.safetensors with the position of the
 * next epoch, the one before it kept as last-1.safetensors (directory.c). Everything that decides what a step computes is in
 * RtTrainState, the weights and the optimiser's moments, so a resumed run continues bit for bit. Weights that are not finite are
 * never saved. Where the recipe keeps validation images out (split.h), these decide what is best and when patience ends; the test
 * images are looked at once, behind the last step, with the best weights.
 *
 * Of several ranks each takes every step, with its shards of the batch, and has the same weights behind it; rank 0 alone prints,
 * reads and writes the directory. They agree on how it goes on between steps, so that what fails on one ends all.
 *
 * The schedule runs over the recipe's epochs also when --steps stops earlier; beyond them there is no rate to train at, and
 * --steps is refused. With a moving average, evaluation and best.safetensors use the averaged weights, beside the running
 * statistics of the trained ones unless those are averaged too. */
#include "runtime/average.h"
#include "runtime/directory.h"
#include "runtime/identity.h"
#include "runtime/init.h"
#include "runtime/loader.h"
#include "runtime/metrics.h"
#include "runtime/progress.h"
#include "runtime/ranks.h"
#include "runtime/resume.h"
#include "runtime/split.h"
#include "runtime/steps.h"
#include "runtime/together.h"
#include <math.h>
#include <signal.h>
#include <stdarg.h>
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
    const RtData *data, *part; /* the set; what of it is trained with */
    RtSplit split;             /* validation images; its memory is NULL without */
    const RtTrainOptions *o;
    RtError *error;
    RtTrainState s;
    RtSteps steps;
    RtMetrics metrics;
    RtProgress progress;
    uint64_t total_steps, stop_at;        /* of the schedule; of this run */
    double seconds, images;               /* spent in steps since the start of this process */
    double window_seconds, window_images; /* since the last logged step */
    double epoch_began;                   /* or went on, in this process */
    RtEvalResult chosen, test, views;
    bool evaluated, tested, viewed; /* in this epoch: chosen, of the images that decide; test; views, with the recipe's views */
    bool saved;                     /* the directory holds a checkpoint of this training */
    int64_t trained;                /* parameters that a step updates; -1: no step yet */
    RtRanks *ranks;
    bool stop; /* some rank was asked to */
} Run;

static bool is_first(const Run *r) { return rt_ranks_index(r->ranks) == 0; }
static RtStatus agree(const Run *r, RtStatus mine) { return rt_ranks_agree(r->ranks, mine, r->error); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static RtStatus diverged(const Run *r, const char *what, uint64_t step) {
    return rt_fail(r->error, RT_DIVERGED, "%s step %llu; %s", what, (unsigned long long)step,
                   r->saved ? "the last checkpoint is kept" : "there is no checkpoint yet");
}

static RtStatus check_finite(const Run *r) {
    const float *w = rt_machine_space(r->m, RT_PARAMS);
    for (uint64_t i = 0; i < r->p->params_bytes / sizeof *w; i++)
        if (!isfinite(w[i])) return diverged(r, "a weight is not finite after", r->s.step);
    return RT_OK;
}

/* The metrics first: whatever the disk keeps after a crash, they reach as far as the checkpoint. */
static RtStatus save_last(Run *r) {
    char fresh[RT_PATH];
    if (!is_first(r)) return RT_OK;
    RtStatus status = check_finite(r);
    if (status == RT_OK) status = rt_metrics_sync(&r->metrics, r->error);
    rt_directory_file(r->o->directory, "last.safetensors.new", fresh);
    if (status == RT_OK) status = rt_checkpoint_save(fresh, r->m, &r->s, false, r->error);
    if (status == RT_OK) status = rt_directory_promote(r->o->directory, r->error);
    r->saved |= status == RT_OK;
    return status;
}

/* ---- start ---- */

RtStatus rt_train_check(const RtProgram *p, const RtData *data, const RtTrainOptions *o, RtError *error) {
    RtStatus status = rt_shape_check(p, data, error);
    if (status != RT_OK) return status;
    int64_t per_epoch = rt_steps_per_epoch(p, data), steps = rt_total_steps(&p->recipe, per_epoch);
    long long batches = rt_step_batches(&p->recipe);
    int64_t held = rt_validation_count(&p->recipe, data);
    if (per_epoch < 1 && held > 0)
        return rt_fail(error, RT_INPUT,
                       "without %lld validation images, %lld of %lld training images are left: no %lld for a step",
                       (long long)held, (long long)(data->ntrain > held ? data->ntrain - held : 0), (long long)data->ntrain,
                       (long long)p->batch * batches);
    if (per_epoch < 1 && batches > 1)
        return rt_fail(error, RT_INPUT, "a step of %lld batches of %lld images is more than the %lld training images", batches,
                       (long long)p->batch, (long long)data->ntrain);
    if (per_epoch < 1)
        return rt_fail(error, RT_INPUT,
                       "a batch of %lld is more than the %lld training images; 'train.batch' says how many it has",
                       (long long)p->batch, (long long)data->ntrain);
    if (p->recipe.validation > 0 && held < 1)
        return rt_fail(error, RT_INPUT, "'validation = %.6g' of %lld training images is none", p->recipe.validation,
                       (long long)data->ntrain);
    if (o->max_steps > steps)
        return rt_fail(error, RT_USAGE,
                       "'--steps %lld' is beyond the recipe's %.10g epochs, which have %lld steps; 'train.epochs' sets them",
                       (long long)o->max_steps, p->recipe.epochs, (long long)steps);
    RtTrainState ignored = {0};
    if (!o->directory) return RT_OK; /* rank 0 looks into it */
    if (o->resume) return rt_resume(p, NULL, data, o, &ignored, error);
    return o->init_path ? rt_init_load(p, NULL, o, error) : RT_OK;
}

/* By the seed, which a checkpoint says. */
static RtStatus find_part(Run *r) {
    int64_t held = rt_validation_count(&r->p->recipe, r->data);
    r->part = held ? &r->split.train : r->data;
    return held ? rt_split(r->data, held, r->s.seed, &r->split, r->error) : RT_OK;
}

static RtStatus start_state(Run *r) {
    r->s = (RtTrainState){.seed = r->o->seed, .best_accuracy = -1, .best_epoch = -1};
    r->s.set = r->data;
    RtStatus status = rt_average_allocate(r->p, &r->s, r->error);
    if (status != RT_OK) return status;
    rt_machine_clear_moments(r->m);
    r->saved = r->o->resume;
    if (!is_first(r)) return RT_OK;
    if (r->o->resume) status = rt_resume(r->p, r->m, r->data, r->o, &r->s, r->error);
    rt_data_identity(r->data, r->s.data); /* as it is called now, not as an older netc called it */
    if (status == RT_OK) status = find_part(r);
    if (status != RT_OK || r->o->resume) return status;
    status = rt_init_weights(r->m, r->part, r->o, r->error);
    rt_average_begin(r->m, &r->s);
    return status;
}

/* Has no epoch up to this one been better for as long as the recipe waits? */
static bool out_of_patience(const Run *r, int64_t epoch) {
    double patience = r->p->recipe.patience;
    return patience > 0 && r->s.best_epoch >= 0 && (double)(epoch - r->s.best_epoch) >= patience;
}

/* What goes wrong here does so before anything is written. */
static RtStatus prepare(Run *r) {
    RtStatus status = rt_train_check(r->p, r->data, r->o, r->error);
    if (status != RT_OK) return status;
    if (r->p->train_step.ncalls == 0) return rt_fail(r->error, RT_INTERNAL, "the program was compiled for inference only");
    status = rt_steps_begin(&r->steps, r->m, r->data, r->error);
    r->total_steps = (uint64_t)rt_total_steps(&r->p->recipe, r->steps.per_epoch);
    r->stop_at = r->o->max_steps > 0 ? (uint64_t)r->o->max_steps : r->total_steps;
    if (status == RT_OK) status = start_state(r);
    r->s.total_steps = r->total_steps;
    return status;
}

static RtStatus start_loader(Run *r) {
    RtShare share = rt_machine_share(r->m);
    int64_t images = r->p->batch / rt_shards(r->p); /* of a shard */
    RtStatus status = is_first(r) ? RT_OK : find_part(r);
    RtLoaderStart start = {.batch = r->p->batch,
                           .first = share.first * images,
                           .count = share.count * images,
                           .seed = r->s.seed,
                           .epoch = r->s.epoch,
                           .batch_index = r->s.batch_index * r->steps.batches};
    if (status == RT_OK) r->steps.loader = rt_loader_new(r->part, &r->p->recipe, &start, r->error);
    return status == RT_OK && !r->steps.loader ? RT_MEMORY : status;
}

static RtStatus start_files(Run *r) {
    RtStatus status = RT_OK;
    if (!is_first(r)) return RT_OK;
    if (!r->o->resume) status = rt_directory_clear(r->o->directory, r->error); /* nothing is left to fail but writing */
    if (status == RT_OK)
        status = rt_metrics_open(&r->metrics, rt_directory_path(r->o->directory), r->o->resume, r->s.step, r->error);
    bool events = r->o->tensorboard || (r->o->resume && rt_events_are(rt_directory_path(r->o->directory)));
    if (status == RT_OK && events)
        status = rt_events_open(&r->metrics.events, rt_directory_path(r->o->directory), r->o->resume, r->s.step, r->error);
    if (status == RT_OK) status = rt_directory_describe(r->o->directory, r->o->account, r->p, r->error);
    if (status == RT_OK && (r->s.step >= r->stop_at || r->s.stopped))
        rt_progress_say(&r->progress, "nothing to do: the checkpoint is at step %llu already%s", (unsigned long long)r->s.step,
                        r->s.stopped ? ", where patience ended" : "");
    return status;
}

static RtStatus start(Run *r) {
    RtStatus status = agree(r, prepare(r));
    rt_ranks_met(rt_machine_ranks(r->m)); /* all have compiled, and read their data */
    if (status == RT_OK) status = rt_together_check(r->m, r->data, r->o, r->error);
    if (status == RT_OK) status = rt_together_share(r->m, &r->s, r->error);
    if (status == RT_OK) status = agree(r, start_loader(r));
    r->s.stopped = r->s.stopped && out_of_patience(r, r->s.epoch - 1);
    r->epoch_began = now();
    return status == RT_OK ? agree(r, start_files(r)) : status;
}

/* ---- one step ---- */

/* Where parameters are frozen, how many are left, from the first step on and whenever that changes. */
static void say_trained(Run *r) {
    int64_t all = 0, trained = 0;
    for (uint32_t i = 0; i < r->p->nparams; i++) {
        const RtTensor *t = &r->p->params[i];
        all += rt_tensor_elements(t);
        if (!rt_is_frozen(t, rt_machine_env(r->m)->epoch)) trained += rt_tensor_elements(t);
    }
    if (trained == r->trained) return;
    if (trained < all)
        rt_progress_say(&r->progress, "from step %llu on %lld of %lld parameters are trained, the others are frozen",
                        (unsigned long long)r->s.step + 1, (long long)trained, (long long)all);
    r->trained = trained;
}

static RtStatus step(Run *r, float *loss) {
    double begin = now(), mean = 0;
    int64_t correct = 0;
    rt_steps_environment(&r->steps, r->s.seed, r->s.step,
                         rt_schedule_lr(&r->p->recipe, r->s.step, r->steps.per_epoch, (int64_t)r->total_steps));
    say_trained(r);
    RtStatus status = rt_steps_differentiate(&r->steps, r->s.step, &mean, &correct, r->error);
    *loss = (float)mean;
    if (status == RT_OK && !isfinite(*loss)) status = diverged(r, "the loss is not finite at", r->s.step + 1);
    if (status == RT_OK) status = rt_steps_update(&r->steps, r->error);
    if (status != RT_OK) return status;
    r->s.step++;
    rt_average_step(r->m, &r->s, r->total_steps);
    r->s.batch_index++;
    r->s.epoch_loss_sum += *loss;
    r->s.epoch_correct += correct;
    r->s.epoch_images += r->p->batch * r->steps.batches;
    double spent = now() - begin, images = (double)(r->p->batch * r->steps.batches);
    r->seconds += spent;
    r->images += images;
    r->window_seconds += spent;
    r->window_images += images;
    return RT_OK;
}

/* Whether to stop is agreed on with it: a signal may reach one rank before another. */
static RtStatus step_together(Run *r, float *loss) {
    RtStatus mine = step(r, loss);
    if (r->ranks && mine == RT_OK && stop_requested) mine = RT_INTERRUPTED;
    RtStatus status = agree(r, mine);
    r->stop = status == RT_INTERRUPTED;
    return r->stop ? RT_OK : status;
}

static double epoch_accuracy(const Run *r) {
    return r->s.epoch_images ? (double)r->s.epoch_correct / (double)r->s.epoch_images : 0;
}

static void show(Run *r, float loss) {
    double rate = r->seconds > 0 ? r->images / r->seconds : 0,
           left = (double)(r->stop_at - r->s.step) * (double)(r->p->batch * r->steps.batches);
    RtProgressLine line = {.epoch = r->s.epoch,
                           .epochs = r->p->recipe.epochs,
                           .batch_index = r->s.batch_index,
                           .per_epoch = r->steps.per_epoch,
                           .step = r->s.step,
                           .total_steps = r->stop_at,
                           .loss = loss,
                           .accuracy = epoch_accuracy(r),
                           .images_per_s = rate,
                           .seconds_left = rate > 0 ? left / rate : 0};
    rt_progress_step(&r->progress, &line, now());
}

/* Members of a line of metrics: with whom, and what rank 0 has sent them so far; "" if alone. */
static const char *of_ranks(const Run *r, char members[128]) {
    int threads = rt_pool_threads(rt_machine_pool(r->m));
    *members = 0;
    if (r->ranks)
        snprintf(members, 128, ", \"ranks\": %d, \"threads\": %d, \"bytes_sent\": %llu", rt_ranks_count(r->ranks), threads,
                 (unsigned long long)rt_ranks_sent(r->ranks));
    return members;
}

static RtStatus log_step(Run *r, float loss) {
    char a[32], b[32], c[32], d[128];
    double rate = r->window_seconds > 0 ? r->window_images / r->window_seconds : 0;
    r->window_seconds = r->window_images = 0;
    if (!is_first(r)) return RT_OK;
    return rt_metrics_line(&r->metrics, r->error,
                           "{\"epoch\": %lld, \"step\": %llu, \"loss\": %s, \"lr\": %s, \"images_per_s\": %s%s}",
                           (long long)r->s.epoch, (unsigned long long)r->s.step, rt_metrics_number(a, loss),
                           rt_metrics_number(b, rt_machine_env(r->m)->lr), rt_metrics_number(c, rate), of_ranks(r, d));
}

/* ---- the end of an epoch, or of the run ---- */

static bool validates(const Run *r) { return r->split.index != NULL; }
static bool ends(const Run *r) { return r->s.step == r->total_steps || r->s.stopped; }

/* The test images, and by the recipe's views, which cost, at the end alone. */
static RtStatus test(Run *r) {
    RtViews views = r->p->recipe.views;
    RtStatus status = rt_evaluate(r->m, r->data, true, RT_VIEWS_ONE, &r->test, r->error);
    r->tested = status == RT_OK;
    if (status == RT_OK && views != RT_VIEWS_ONE && ends(r)) {
        status = rt_evaluate(r->m, r->data, true, views, &r->views, r->error);
        r->viewed = status == RT_OK;
    }
    return status;
}

/* With the weights of best.safetensors; those of the training are back behind it. */
static RtStatus test_best(Run *r) {
    char best[RT_PATH];
    size_t params = r->p->params_bytes, state = r->p->state_bytes;
    char *kept = malloc(params + state + 1);
    RtStatus status = kept ? RT_OK : rt_fail(r->error, RT_MEMORY, "out of memory for the test of the best weights");
    if ((status = agree(r, status)) != RT_OK) {
        free(kept);
        return status;
    }
    memcpy(kept, rt_machine_space(r->m, RT_PARAMS), params);
    memcpy(kept + params, rt_machine_space(r->m, RT_STATE), state);
    if (is_first(r)) status = rt_weights_load(rt_directory_file(r->o->directory, "best.safetensors", best), r->m, NULL, r->error);
    status = agree(r, status);
    if (status == RT_OK) status = rt_together_weights(r->m, r->error);
    if (status == RT_OK) status = test(r);
    memcpy(rt_machine_space(r->m, RT_PARAMS), kept, params);
    memcpy(rt_machine_space(r->m, RT_STATE), kept + params, state);
    free(kept);
    return status;
}

static RtStatus save_best(const Run *r) {
    char best[RT_PATH];
    if (!is_first(r)) return RT_OK;
    rt_directory_file(r->o->directory, "best.safetensors", best);
    RtStatus status = check_finite(r);
    if (status == RT_OK) status = rt_checkpoint_save(best, r->m, &r->s, true, r->error);
    return status;
}

static RtStatus evaluate(Run *r) {
    rt_average_swap(r->m, &r->s);
    RtStatus status = validates(r) ? rt_evaluate(r->m, &r->split.held, true, RT_VIEWS_ONE, &r->chosen, r->error) : test(r);
    if (!validates(r)) r->chosen = r->test;
    if (status == RT_OK && r->chosen.accuracy > r->s.best_accuracy) {
        r->s.best_accuracy = r->chosen.accuracy;
        r->s.best_epoch = r->s.epoch;
        status = save_best(r);
    }
    rt_average_swap(r->m, &r->s);
    r->evaluated = status == RT_OK;
    r->s.stopped = r->evaluated && out_of_patience(r, r->s.epoch);
    return status;
}

static void add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t size, const char *format, ...) {
    size_t length = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + length, size - length, format, args);
    va_end(args);
}

static void add_result(char *members, size_t size, const char *of, const RtEvalResult *result) {
    char accuracy[32], loss[32];
    add(members, size, "\"%s_accuracy\": %s, \"%s_loss\": %s, ", of, rt_metrics_number(accuracy, result->accuracy), of,
        rt_metrics_number(loss, result->loss));
}

/* What was evaluated in this epoch, as members of its line of metrics and as words; "" if nothing was. */
static void describe_results(const Run *r, char members[512], char words[160]) {
    *members = *words = 0;
    if (r->evaluated && validates(r)) add_result(members, 512, "validation", &r->chosen);
    if (r->tested) add_result(members, 512, "test", &r->test);
    if (r->viewed) add_result(members, 512, "views", &r->views);
    if (r->tested && validates(r)) add(members, 512, "\"tested_epoch\": %lld, ", (long long)r->s.best_epoch);
    if (r->evaluated)
        add(words, 160, "  %s %.2f %% (best %.2f %%)", validates(r) ? "validation" : "test", 100 * r->chosen.accuracy,
            100 * r->s.best_accuracy);
    if (r->viewed && !validates(r))
        add(words, 160, ", by %d views %.2f %%", rt_view_count(r->p->recipe.views), 100 * r->views.accuracy);
}

/* Where validation images chose: what the run comes to. */
static void say_test(Run *r) {
    char views[64] = "";
    if (r->s.stopped)
        rt_progress_say(&r->progress, "stopped: none of %.0f epochs was better than epoch %lld", r->p->recipe.patience,
                        (long long)r->s.best_epoch + 1);
    if (r->viewed) add(views, sizeof views, ", by %d views %.2f %%", rt_view_count(r->p->recipe.views), 100 * r->views.accuracy);
    if (r->tested)
        rt_progress_say(&r->progress,
                        "test %.2f %%%s: looked at once, with the weights of epoch %lld, the best on %lld validation images",
                        100 * r->test.accuracy, views, (long long)r->s.best_epoch + 1, (long long)r->split.held.ntest);
}

static RtStatus epoch_line(Run *r) {
    char hex[65], loss[32], lr[32], rate[32], train[32], took[32], of_test[512], shown[160], with[128];
    double steps = (double)r->s.epoch_images / (double)(r->p->batch * r->steps.batches);
    rt_weights_sha256(r->m, hex);
    double mean_loss = steps > 0 ? r->s.epoch_loss_sum / steps : 0, images_per_s = r->seconds > 0 ? r->images / r->seconds : 0;
    rt_metrics_number(loss, mean_loss);
    rt_metrics_number(lr, rt_machine_env(r->m)->lr);
    rt_metrics_number(rate, images_per_s);
    rt_metrics_number(train, epoch_accuracy(r));
    rt_metrics_number(took, now() - r->epoch_began);
    describe_results(r, of_test, shown);
    if (r->evaluated) rt_progress_accuracy(&r->progress, (double)r->s.step / (double)r->stop_at, r->chosen.accuracy);
    rt_progress_say(&r->progress, "epoch %lld/%.10g  loss %.4f  train %.2f %%%s  %.0f images/s", (long long)r->s.epoch + 1,
                    r->p->recipe.epochs, mean_loss, 100 * epoch_accuracy(r), shown, images_per_s);
    return rt_metrics_line(
        &r->metrics, r->error,
        "{\"epoch\": %lld, \"step\": %llu, \"loss\": %s, \"lr\": %s, \"images_per_s\": %s, "
        "\"train_accuracy\": %s, %s\"trained_parameters\": %lld, \"seconds\": %s, \"weights_sha256\": \"%s\"%s}",
        (long long)r->s.epoch, (unsigned long long)r->s.step, loss, lr, rate, train, of_test, (long long)r->trained, took, hex,
        of_ranks(r, with));
}

/* An epoch that --steps cuts short counts as one. A test that fails keeps nobody from saving what was trained. */
static RtStatus finish_epoch(Run *r, RtStatus *tested) {
    int64_t every = r->o->eval_every, epoch = r->s.epoch + 1;
    bool due = every > 0 && (epoch % every == 0 || r->s.step == r->total_steps);
    RtStatus status = due ? agree(r, evaluate(r)) : RT_OK;
    if (status == RT_OK && validates(r) && ends(r) && r->s.best_epoch >= 0) *tested = test_best(r);
    if (status == RT_OK) status = rt_together_compare(r->m, r->error);
    if (status == RT_OK && is_first(r)) status = epoch_line(r);
    status = agree(r, status);
    if (status == RT_OK && validates(r) && ends(r)) say_test(r);
    r->evaluated = r->tested = r->viewed = false;
    r->epoch_began = now();
    if (r->s.batch_index < r->steps.per_epoch) return status; /* --steps ended inside an epoch: keep its sums */
    r->s.epoch++;
    r->s.batch_index = 0;
    r->s.epoch_loss_sum = 0;
    r->s.epoch_correct = r->s.epoch_images = 0;
    return status;
}

static RtStatus interrupted(Run *r) {
    RtStatus status = agree(r, save_last(r));
    if (status != RT_OK) return status;
    stop_requested = 0;
    if (!is_first(r)) return rt_fail(r->error, RT_INTERRUPTED, "interrupted");
    return rt_fail(r->error, RT_INTERRUPTED, "interrupted at step %llu; --resume continues from %s/last.safetensors",
                   (unsigned long long)r->s.step, rt_directory_path(r->o->directory));
}

static RtStatus loop(Run *r) {
    int64_t log_every = r->o->log_every > 0 ? r->o->log_every : LOG_EVERY, save_every = r->o->checkpoint_every;
    RtStatus tested = RT_OK;
    while (r->s.step < r->stop_at && !r->s.stopped) {
        float loss = 0;
        if (r->ranks ? r->stop : stop_requested) return interrupted(r);
        RtStatus status = step_together(r, &loss);
        if (status == RT_OK) show(r, loss);
        if (status == RT_OK && r->s.step % (uint64_t)log_every == 0) status = agree(r, log_step(r, loss));
        bool run_ends = r->s.step == r->stop_at, epoch_ends = r->s.batch_index == r->steps.per_epoch;
        if (status == RT_OK && (run_ends || epoch_ends)) status = finish_epoch(r, &tested);
        run_ends |= r->s.stopped;
        bool due = save_every > 0 ? r->s.step % (uint64_t)save_every == 0 : epoch_ends;
        if (status == RT_OK && (run_ends || due)) status = agree(r, save_last(r));
        if (status != RT_OK) return status;
    }
    return tested;
}

RtStatus rt_train(RtMachine *m, const RtData *data, const RtTrainOptions *options, RtError *error) {
    Run r = {.m = m, .p = rt_machine_program(m), .data = data, .o = options, .error = error, .trained = -1};
    r.ranks = rt_machine_ranks(m);
    r.progress = rt_progress(options->quiet || !is_first(&r) ? NULL : options->progress, options->color);
    RtStatus status = start(&r);
    if (status == RT_OK) status = loop(&r);
    rt_progress_end(&r.progress);
    rt_steps_end(&r.steps);
    rt_metrics_close(&r.metrics);
    rt_split_free(&r.split);
    free(r.s.average);
    free(r.s.average_state);
    return status;
}
