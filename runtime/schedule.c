/* Learning-rate schedules, a function of the step alone. */
#include "runtime/rt.h"
#include <math.h>

static double between(double from, double to, double t) { return from + (to - from) * (1 - cos(M_PI * t)) / 2; }

/* The schedule without its warm-up, at `epoch` epochs (fractional) of `total`. */
static double base_lr(const RtRecipe *r, double epoch, double total) {
    const RtSchedule *s = &r->schedule;
    double lr = r->optimizer.lr, warmup = s->kind == RT_SCHEDULE_COSINE ? s->warmup : 0;
    double t = total > warmup ? (epoch - warmup) / (total - warmup) : 1;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    switch (s->kind) {
    case RT_SCHEDULE_CONSTANT: return lr;
    case RT_SCHEDULE_STEPS:
        for (uint32_t i = 0; i < s->nat; i++)
            if (epoch >= s->at[i]) lr *= s->factor;
        return lr;
    case RT_SCHEDULE_COSINE: return between(lr, lr * s->final_lr, t);
    case RT_SCHEDULE_ONE_CYCLE: /* up from lr/25 to lr at `peak`, then down (Smith & Topin, 2018; start as PyTorch's OneCycleLR)
                                 */
        if (t < s->peak) return between(lr / 25, lr, t / s->peak);
        return between(lr, lr * s->final_lr, s->peak < 1 ? (t - s->peak) / (1 - s->peak) : 1);
    }
    return lr;
}

double rt_schedule_lr(const RtRecipe *recipe, uint64_t step, int64_t steps_per_epoch, int64_t total_steps) {
    double per_epoch = steps_per_epoch > 0 ? (double)steps_per_epoch : 1, epoch = (double)step / per_epoch;
    double lr = base_lr(recipe, epoch, (double)total_steps / per_epoch), warmup_steps = recipe->schedule.warmup * per_epoch;
    if ((double)step < warmup_steps)
        lr = base_lr(recipe, 0, (double)total_steps / per_epoch) * ((double)step + 1) / (ceil(warmup_steps) + 1);
    return lr;
}
