/* Linked with a Program for another machine and with its runtime, and run there: trains it on the batches of train_inputs.h and
 * prints what the test that built it compares, a line "what name count numbers..." each. */
#include "runtime/rt.h"
#include "train_inputs.h"
#include <inttypes.h>
#include <stdlib.h>

extern const RtProgram netc_program_0;

static void print_numbers(const char *what, const char *name, const float *number, int64_t count) {
    printf("%s %s %" PRId64, what, name, count);
    for (int64_t i = 0; i < count; i++) printf(" %.9g", (double)number[i]);
    printf("\n");
}

static void print_tensors(RtMachine *m, const char *what, RtSpace space) {
    const RtProgram *p = rt_machine_program(m);
    const RtTensor *list = space == RT_STATE ? p->state : p->params;
    for (uint32_t i = 0; i < (space == RT_STATE ? p->nstate : p->nparams); i++) {
        int64_t count = 1;
        for (uint32_t d = 0; d < list[i].rank; d++) count *= list[i].dim[d];
        float *logical = malloc((size_t)count * sizeof *logical);
        if (!logical) exit(1);
        rt_tensor_unpack(p, &list[i], rt_machine_space(m, space), logical);
        print_numbers(what, list[i].name, logical, count);
        free(logical);
    }
}

static void set_batch(RtMachine *m, int step) {
    const RtProgram *p = rt_machine_program(m);
    float *images = rt_machine_space(m, RT_IMAGES);
    int32_t *labels = rt_machine_space(m, RT_LABELS);
    for (int64_t i = 0; i < p->batch * p->channels * p->height * p->width; i++) images[i] = pixel(step, i);
    for (int64_t i = 0; i < p->batch; i++) labels[i] = label(step, i);
    *rt_machine_env(m) =
        (RtStepEnv){.seed = 3, .step = (uint64_t)step, .lr = (float)p->recipe.optimizer.lr, .bias1 = 1, .bias2 = 1};
}

int main(int argc, char **argv) {
    const RtProgram *p = &netc_program_0;
    RtError error = {{0}};
    RtPool *pool = rt_pool_new(argc > 1 ? atoi(argv[1]) : 1);
    RtMachine *m = pool ? rt_machine_new(p, pool, &error) : NULL;
    if (!m) return 1;
    rt_machine_init_params(m, 42);
    print_tensors(m, "start", RT_PARAMS);
    print_tensors(m, "start", RT_STATE);
    for (int step = 0; step < STEPS; step++) {
        set_batch(m, step);
        rt_machine_run(m, &p->train_step);
        print_numbers("step", "loss", rt_machine_space(m, RT_METRICS), 2);
        if (step == 0) print_tensors(m, "gradient", RT_GRADS);
        rt_machine_run(m, &p->apply_update);
    }
    print_tensors(m, "end", RT_PARAMS);
    print_tensors(m, "end", RT_STATE);
    set_batch(m, EVAL_BATCH);
    rt_machine_run(m, &p->prepare_eval);
    rt_machine_run(m, &p->eval_step);
    print_numbers("logits", "logits", rt_machine_space(m, RT_LOGITS), p->batch * p->classes);
    rt_machine_free(m);
    rt_pool_free(pool);
    return 0;
}
