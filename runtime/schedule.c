/* Learning-rate schedules, a function of the step alone.
 *
 * The warm-up rises linearly from 0 to where the rest begins, and the rest takes the epochs behind it: so the rate is continuous,
 * but for the falls of `steps`. The n steps that begin within the warm-up have the rates 1/(n+1), ..., n/(n+1) of what follows.
 * The frontend refuses a warm-up that leaves nothing behind it, and falls of `steps` within it (frontend/recipe.c). */
#include "runtime/rt.h"
#include <math.h>

static double between(double from, double to, double t) { return from + (to - from) * (1 - cos(M_PI * t)) / 2; }

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
    }
    return lr;
}

double rt_schedule_lr(const RtRecipe *recipe, uint64_t step, int64_t steps_per_epoch, int64_t total_steps) {
    double per_epoch = steps_per_epoch > 0 ? (double)steps_per_epoch : 1, warmup = recipe->schedule.warmup * per_epoch;
    double done = (double)step, total = (double)total_steps, rising = ceil(warmup);
    if (done < rising) return base_lr(recipe, 0, 0) * (done + 1) / (rising + 1);
    return base_lr(recipe, done / per_epoch, total > warmup ? fmin((done - warmup) / (total - warmup), 1) : 1);
}
