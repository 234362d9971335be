/* See steps.h. */
#include "runtime/steps.h"
#include "runtime/gradient.h"
#include "runtime/ranks.h"
#include <math.h>
#include <stdlib.h>

RtStatus rt_steps_begin(RtSteps *s, RtMachine *m, const RtData *data, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    *s = (RtSteps){.m = m, .p = p, .per_epoch = rt_steps_per_epoch(p, data), .batches = rt_step_batches(&p->recipe)};
    if (s->batches > 1 && !(s->gradients = malloc(p->params_bytes + sizeof(float))))
        return rt_fail(error, RT_MEMORY, "out of memory for accumulated gradients");
    return RT_OK;
}

void rt_steps_end(RtSteps *s) {
    rt_loader_free(s->loader);
    free(s->gradients);
    *s = (RtSteps){0};
}

void rt_steps_environment(const RtSteps *s, uint64_t seed, uint64_t step, double lr) {
    RtStepEnv *env = rt_machine_env(s->m);
    const RtOptimizer *optimizer = &s->p->recipe.optimizer;
    double t = (double)step + 1;
    env->seed = seed;
    env->epoch = (double)step / (double)s->per_epoch;
    env->lr = (float)lr;
    env->bias1 = (float)(1 - pow(optimizer->beta1, t));
    env->bias2 = (float)(1 - pow(optimizer->beta2, t));
}

RtStatus rt_steps_differentiate(RtSteps *s, uint64_t step, double *loss, int64_t *correct, RtError *error) {
    const float *metrics = rt_machine_space(s->m, RT_METRICS);
    double sum = 0;
    *correct = 0;
    for (int64_t i = 0; i < s->batches; i++) {
        rt_loader_next(s->loader, rt_machine_space(s->m, RT_IMAGES), rt_machine_space(s->m, RT_LABELS),
                       rt_machine_space(s->m, RT_MIX));
        rt_machine_env(s->m)->step = step * (uint64_t)s->batches + (uint64_t)i;
        rt_machine_run(s->m, &s->p->train_step);
        RtStatus status = rt_ranks_status(rt_machine_ranks(s->m), error);
        if (status != RT_OK) return status;
        sum += (double)metrics[0];
        *correct += (int64_t)lrintf(metrics[1]);
        if (s->gradients) rt_gradient_accumulate(s->m, s->gradients, i, s->batches);
    }
    *loss = sum / (double)s->batches;
    return RT_OK;
}

RtStatus rt_steps_update(RtSteps *s, RtError *error) {
    double norm;
    if (s->p->recipe.clip > 0 && !rt_gradient_clip(s->m, s->p->recipe.clip, &norm))
        return rt_fail(error, RT_MEMORY, "out of memory for the gradients' norm");
    rt_machine_run(s->m, &s->p->apply_update);
    return RT_OK;
}
