/* The learning-rate range test (Smith, 2017) as fastai's lr_find does it: a training from initial weights whose rate rises
 * exponentially from step to step, until the loss is more than four times its least. What is suggested are fastai's rules,
 * written out in suggest_*. Nothing of it is kept. */
#include "runtime/init.h"
#include "runtime/loader.h"
#include "runtime/machine.h"
#include "runtime/split.h"
#include "runtime/steps.h"
#include <math.h>
#include <stdlib.h>

static const double BETA = 0.98, STOP = 4; /* of the loss: how it is smoothed, and how many times the least ends the test */

void rt_range_free(RtRange *r) {
    free(r->lr);
    free(r->loss);
    free(r->smoothed);
    *r = (RtRange){0};
}

/* ---- what is suggested, by indices ---- */

/* What fastai looks at: not the first tenth, nor the last five. */
static int64_t looked_at(const RtRange *r, int64_t steps, int64_t *first) {
    *first = steps / 10;
    return r->count - *first - 5;
}

/* A third and a half of a third into the longest falling subsequence (fastai's valley). */
static bool suggest_valley(const RtRange *r, int64_t first, int64_t n, double *lr) {
    const double *loss = r->smoothed + first;
    int64_t *length = malloc((size_t)n * sizeof *length), end = 0;
    if (!length) return false;
    for (int64_t i = 0; i < n; i++) {
        length[i] = 1;
        for (int64_t j = 0; j < i; j++)
            if (loss[i] < loss[j] && length[i] < length[j] + 1) length[i] = length[j] + 1;
        if (length[i] > length[end]) end = i;
    }
    int64_t begin = end - length[end];
    double section = (double)(end - begin) / 3;
    int64_t at = begin + (int64_t)section + (int64_t)(section / 2);
    *lr = r->lr[first + (at < 0 ? 0 : at)];
    free(length);
    return true;
}

static double suggest_steep(const RtRange *r, int64_t first, int64_t n) {
    double least = INFINITY, lr = r->lr[first];
    for (int64_t i = first; i + 1 < first + n; i++) {
        double slope = (r->smoothed[i + 1] - r->smoothed[i]) / (log(r->lr[i + 1]) - log(r->lr[i]));
        if (slope < least) least = slope, lr = r->lr[i];
    }
    return lr;
}

static double suggest_minimum(const RtRange *r, int64_t first, int64_t n) {
    int64_t least = first;
    for (int64_t i = first; i < first + n; i++)
        if (r->smoothed[i] < r->smoothed[least]) least = i;
    return r->lr[least] / 10;
}

/* ---- the test ---- */

typedef struct Range {
    RtMachine *m;
    const RtProgram *p;
    const RtTrainOptions *o;
    RtSplit split;
    RtSteps steps;
} Range;

static RtStatus start(Range *t, const RtData *data, RtError *error) {
    const RtRecipe *recipe = &t->p->recipe;
    int64_t held = rt_validation_count(recipe, data);
    const RtData *part = held ? &t->split.train : data;
    RtStatus status = rt_train_check(t->p, data, &(RtTrainOptions){.max_steps = 0}, error);
    if (status == RT_OK && held) status = rt_split(data, held, t->o->seed, &t->split, error);
    if (status != RT_OK) return status;
    if ((status = rt_steps_begin(&t->steps, t->m, data, error)) != RT_OK) return status;
    rt_machine_clear_moments(t->m);
    status = rt_init_weights(t->m, part, t->o, error);
    RtLoaderStart begin = {.batch = t->p->batch, .count = t->p->batch, .seed = t->o->seed};
    if (status == RT_OK && !(t->steps.loader = rt_loader_new(part, recipe, &begin, error))) status = RT_MEMORY;
    return status;
}

/* Step i at this rate. */
static RtStatus step(Range *t, int64_t i, double lr, double *loss, RtError *error) {
    int64_t correct;
    rt_steps_environment(&t->steps, t->o->seed, (uint64_t)i, lr);
    RtStatus status = rt_steps_differentiate(&t->steps, (uint64_t)i, loss, &correct, error);
    return status == RT_OK ? rt_steps_update(&t->steps, error) : status;
}

static RtStatus rise(Range *t, double from, double to, int64_t steps, RtRange *r, RtError *error) {
    double mean = 0, least = INFINITY;
    for (int64_t i = 0; i < steps; i++) {
        double lr = from * pow(to / from, (double)i / (double)(steps - 1)), loss = 0;
        RtStatus status = step(t, i, lr, &loss, error);
        if (status != RT_OK) return status;
        r->stopped = r->infinite = !isfinite(loss);
        if (r->stopped) return RT_OK;
        mean = BETA * mean + (1 - BETA) * loss;
        double smoothed = mean / (1 - pow(BETA, (double)i + 1));
        r->lr[i] = lr, r->loss[i] = loss, r->smoothed[i] = smoothed;
        r->count = i + 1;
        least = fmin(least, smoothed);
        r->stopped = smoothed > STOP * least;
        if (r->stopped) return RT_OK;
    }
    return RT_OK;
}

static RtStatus suggest(RtRange *r, int64_t steps, RtError *error) {
    int64_t first, n = looked_at(r, steps, &first);
    if (n < 2)
        return rt_fail(
            error, RT_DIVERGED,
            "after %lld steps the loss is no number or more than %g times its least, at a rate of %.3g: begin below it",
            (long long)r->count, STOP, r->count ? r->lr[r->count - 1] : 0);
    r->steepest = suggest_steep(r, first, n);
    r->minimum = suggest_minimum(r, first, n);
    return suggest_valley(r, first, n, &r->valley) ? RT_OK : rt_fail(error, RT_MEMORY, "out of memory");
}

RtStatus rt_range_test(RtMachine *m, const RtData *data, const RtTrainOptions *options, double from, double to, int64_t steps,
                       RtRange *r, RtError *error) {
    Range t = {.m = m, .p = rt_machine_program(m), .o = options};
    size_t bytes = (size_t)steps * sizeof(double);
    *r = (RtRange){.lr = malloc(bytes), .loss = malloc(bytes), .smoothed = malloc(bytes)};
    RtStatus status =
        r->lr && r->loss && r->smoothed ? RT_OK : rt_fail(error, RT_MEMORY, "out of memory for %lld steps", (long long)steps);
    if (status == RT_OK) status = start(&t, data, error);
    if (status == RT_OK) status = rise(&t, from, to, steps, r, error);
    if (status == RT_OK) status = suggest(r, steps, error);
    rt_steps_end(&t.steps);
    rt_split_free(&t.split);
    return status;
}
