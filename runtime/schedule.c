/* Learning-rate schedules, a function of the step alone; what a step and an epoch are.
 *
 * The warm-up rises linearly from 0 to where the rest begins, and the rest takes the epochs behind it: so the rate is continuous,
 * but for the falls of `steps`. The n steps that begin within the warm-up have the rates 1/(n+1), ..., n/(n+1) of what follows.
 * The frontend refuses a warm-up that leaves nothing behind it, and falls of `steps` within it (frontend/recipe.c). */
#include "runtime/split.h"
#include <math.h>

/* Products like 1.1 * 390 or 0.29 * 100 are rounded, to above or below the whole number that is meant. */
static double whole_above(double x) { return ceil(x - 1e-9 * x); }
static double whole_below(double x) { return floor(x + 1e-9 * x); }

static double between(double from, double to, double t) { return from + (to - from) * (1 - cos(M_PI * t)) / 2; }

/* Straight lines from point to point, level before the first and behind the last. A point inside a step is at its beginning, so
 * that the rate of a point is that of a step (cifar10-airbench's warm-up has int(0.23 * steps) steps). */
static double along(const RtSchedule *s, double step, double total) {
    double from = 0, level = s->level[0];
    for (uint32_t i = 0; i < s->nat; i++) {
        double at = whole_below(s->at[i] * total);
        if (step < at) return i ? level + (s->level[i] - level) * (step - from) / (at - from) : level;
        from = at;
        level = s->level[i];
    }
    return level;
}

/* The schedule behind its warm-up, at `epoch` epochs (fractional) of the run, the fraction t of what the warm-up leaves. */
static double base_lr(const RtRecipe *r, double epoch, double t) {
    const RtSchedule *s = &r->schedule;
    double lr = r->optimizer.lr;
    switch (s->kind) {
    case RT_SCHEDULE_CONSTANT: return lr;
    case RT_SCHEDULE_STEPS:
        for (uint32_t i = 0; i < s->nat; i++)
            if (epoch >= s->at[i]) lr *= s->factor;
        return lr;
    case RT_SCHEDULE_COSINE: return between(lr, lr * s->final_lr, t);
    case RT_SCHEDULE_ONE_CYCLE: /* up from lr/25 to lr, then down (Smith & Topin, 2018; start as PyTorch's OneCycleLR) */
        if (t < s->peak) return between(lr / 25, lr, t / s->peak);
        return between(lr, lr * s->final_lr, s->peak < 1 ? (t - s->peak) / (1 - s->peak) : 1);
    case RT_SCHEDULE_POLYNOMIAL: return lr * (s->final_lr + (1 - s->final_lr) * pow(1 - t, s->power));
    case RT_SCHEDULE_LINEAR: break; /* counts in steps: rt_schedule_lr */
    }
    return lr;
}

double rt_schedule_lr(const RtRecipe *recipe, uint64_t step, int64_t steps_per_epoch, int64_t total_steps) {
    double per_epoch = steps_per_epoch > 0 ? (double)steps_per_epoch : 1, warmup = recipe->schedule.warmup * per_epoch;
    double done = (double)step, total = (double)total_steps, rising = whole_above(warmup);
    if (recipe->schedule.kind == RT_SCHEDULE_LINEAR) return recipe->optimizer.lr * along(&recipe->schedule, done, total);
    if (done < rising) return base_lr(recipe, 0, 0) * (done + 1) / (rising + 1);
    return base_lr(recipe, done / per_epoch, total > warmup ? fmin((done - warmup) / (total - warmup), 1) : 1);
}

int64_t rt_total_steps(const RtRecipe *recipe, int64_t steps_per_epoch) {
    return (int64_t)whole_above(recipe->epochs * (double)steps_per_epoch);
}

int64_t rt_step_batches(const RtRecipe *recipe) { return recipe->accumulate > 1 ? (int64_t)recipe->accumulate : 1; }

int64_t rt_steps_per_epoch(const RtProgram *p, const RtData *data) {
    return (data->ntrain - rt_validation_count(&p->recipe, data)) / (p->batch * rt_step_batches(&p->recipe));
}
