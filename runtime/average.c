/* Averages of the weights. See average.h and RtAverage. */
#include "runtime/average.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Averaged {
    float *now, *average;
    uint64_t count;
} Averaged;

/* Which blocks there are averages of; returns how many. */
static int blocks(RtMachine *m, const RtTrainState *s, Averaged block[2]) {
    const RtProgram *p = rt_machine_program(m);
    int n = 0;
    if (s->average) block[n++] = (Averaged){rt_machine_space(m, RT_PARAMS), s->average, p->params_bytes / sizeof(float)};
    if (s->average_state)
        block[n++] = (Averaged){rt_machine_space(m, RT_STATE), s->average_state, p->state_bytes / sizeof(float)};
    return n;
}

void rt_average_begin(RtMachine *m, const RtTrainState *s) {
    Averaged block[2];
    for (int i = blocks(m, s, block) - 1; i >= 0; i--) memcpy(block[i].average, block[i].now, block[i].count * sizeof(float));
}

static void now_from_average(RtMachine *m, const RtTrainState *s) {
    Averaged block[2];
    for (int i = blocks(m, s, block) - 1; i >= 0; i--) memcpy(block[i].now, block[i].average, block[i].count * sizeof(float));
}

/* torch.lerp: what stands still (frozen weights) is its own average exactly. */
static void move_average(const Averaged *block, float take) {
    float keep = 1 - take;
    for (uint64_t k = 0; k < block->count; k++) {
        float from = block->average[k], to = block->now[k];
        block->average[k] = take < 0.5F ? from + take * (to - from) : to - keep * (to - from);
    }
}

void rt_average_step(RtMachine *m, const RtTrainState *s, uint64_t total_steps) {
    const RtAverage *a = &rt_machine_program(m)->recipe.average;
    bool lookahead = a->kind == RT_AVERAGE_LOOKAHEAD, due = a->every > 0 && s->step % (uint64_t)a->every == 0;
    Averaged block[2];
    double decay = pow(a->decay, a->every);
    if (lookahead) decay *= pow((double)s->step / (double)total_steps, a->power);
    for (int i = due ? blocks(m, s, block) - 1 : -1; i >= 0; i--) move_average(&block[i], (float)(1 - decay));
    if (lookahead && (due || s->step == total_steps)) now_from_average(m, s);
}

void rt_average_swap(RtMachine *m, const RtTrainState *s) {
    Averaged block[2];
    if (rt_machine_program(m)->recipe.average.kind != RT_AVERAGE_EMA) return;
    for (int i = blocks(m, s, block) - 1; i >= 0; i--)
        for (uint64_t k = 0; k < block[i].count; k++) {
            float kept = block[i].now[k];
            block[i].now[k] = block[i].average[k];
            block[i].average[k] = kept;
        }
}

RtStatus rt_average_allocate(const RtProgram *p, RtTrainState *s, RtError *error) {
    const RtAverage *a = &p->recipe.average;
    if (a->kind == RT_AVERAGE_NONE) return RT_OK;
    s->average = calloc(1, p->params_bytes + sizeof(float));
    if (a->statistics) s->average_state = calloc(1, p->state_bytes + sizeof(float));
    if (s->average && (s->average_state || !a->statistics)) return RT_OK;
    return rt_fail(error, RT_MEMORY, "out of memory for the averaged weights");
}
