/* See together.h. */
#include "runtime/together.h"
#include "runtime/identity.h"
#include "runtime/ranks.h"
#include "runtime/sha256.h"
#include <string.h>

static void text_hash(const char *text, char hex[65]) {
    RtSha256 sum;
    rt_sha256_init(&sum);
    if (text) rt_sha256_update(&sum, text, strlen(text));
    rt_sha256_final(&sum, hex);
    hex[16] = 0; /* enough to see whether they are the same */
}

RtStatus rt_together_check(RtMachine *m, const RtData *data, const RtTrainOptions *o, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtRanks *ranks = rt_machine_ranks(m);
    char code[65], recipe[65], choices[65], set[160], run[300];
    if (!ranks) return RT_OK;
    rt_code_identity(p, code);
    rt_data_identity(data, set);
    text_hash(p->recipe_text, recipe);
    text_hash(p->choices, choices);
    snprintf(run, sizeof run,
             "--seed %llu --steps %lld --eval-every %lld --log-every %lld --checkpoint-every %lld, batch %lld in %lld shards, "
             "%lld test images",
             (unsigned long long)o->seed, (long long)o->max_steps, (long long)o->eval_every, (long long)o->log_every,
             (long long)o->checkpoint_every, (long long)p->batch, (long long)rt_shards(p), (long long)data->ntest);
    const struct {
        const char *what, *text;
    } same[] = {{"the model", p->model},
                {"the CPU that code is for", p->target},
                {"the options of training", run},
                {"the data set", set},
                {"a hash of the recipe", recipe},
                {"a hash of the convolutions' choices", choices},
                {"a hash of the code and netc's version", code}};
    RtStatus status = RT_OK;
    for (size_t i = 0; i < sizeof same / sizeof *same && status == RT_OK; i++)
        status = rt_ranks_same(ranks, same[i].what, same[i].text, error);
    return status;
}

RtStatus rt_together_weights(RtMachine *m, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtRanks *ranks = rt_machine_ranks(m);
    rt_ranks_broadcast(ranks, rt_machine_space(m, RT_PARAMS), p->params_bytes);
    rt_ranks_broadcast(ranks, rt_machine_space(m, RT_STATE), p->state_bytes);
    return rt_ranks_status(ranks, error);
}

RtStatus rt_together_share(RtMachine *m, RtTrainState *s, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtRanks *ranks = rt_machine_ranks(m);
    if (!ranks) return RT_OK;
    rt_together_weights(m, error);
    for (RtSpace i = RT_MOMENT1; i <= RT_MOMENT2; i++) rt_ranks_broadcast(ranks, rt_machine_space(m, i), rt_space_bytes(p, i));
    if (s->average) rt_ranks_broadcast(ranks, s->average, p->params_bytes);
    if (s->average_state) rt_ranks_broadcast(ranks, s->average_state, p->state_bytes);
    RtTrainState own = *s;
    rt_ranks_broadcast(ranks, s, sizeof *s);
    s->set = own.set; /* what points into this process stays */
    s->average = own.average;
    s->average_state = own.average_state;
    return rt_ranks_status(ranks, error);
}

RtStatus rt_together_compare(RtMachine *m, RtError *error) {
    char hex[65];
    if (!rt_machine_ranks(m)) return RT_OK;
    rt_weights_sha256(m, hex);
    return rt_ranks_same(rt_machine_ranks(m), "the hash of the weights", hex, error);
}
