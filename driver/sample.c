/* Inputs are random, since kernels may take other ways on zeros; labels go round, so that every class is met. */
#include "driver/sample.h"
#include <math.h>
#include <stdlib.h>

const double sample_lr = 1e-3;

void sample_set_step(RtMachine *machine, uint64_t seed, uint64_t step, double lr) {
    const RtOptimizer *o = &rt_machine_program(machine)->recipe.optimizer;
    double t = (double)step + 1;
    *rt_machine_env(machine) = (RtStepEnv){.seed = seed,
                                           .step = step,
                                           .lr = (float)lr,
                                           .bias1 = (float)(1 - pow(o->beta1, t)),
                                           .bias2 = (float)(1 - pow(o->beta2, t))};
}

void sample_inputs(RtMachine *machine, uint64_t seed) {
    const RtProgram *program = rt_machine_program(machine);
    float *images = rt_machine_space(machine, RT_IMAGES);
    int32_t *labels = rt_machine_space(machine, RT_LABELS);
    int64_t count = program->batch * program->channels * program->height * program->width;
    for (int64_t i = 0; i < count; i++) images[i] = (float)(4 * rt_uniform(seed, RT_STREAM_SYNTHETIC, (uint64_t)i, 0) - 2);
    for (int64_t i = 0; i < 2 * program->batch; i++) labels[i] = (int32_t)(i % program->classes);
    if (program->train_step.ncalls) *(float *)rt_machine_space(machine, RT_MIX) = 0.75F;
    rt_machine_init_params(machine, seed);
    sample_set_step(machine, seed, 0, sample_lr);
    rt_machine_run(machine, &program->prepare_eval);
}

int sample_ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sample_median(double *values, size_t count) {
    qsort(values, count, sizeof *values, sample_ascending);
    return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}
