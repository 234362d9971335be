/* netc train: compile, open the data, hand over to the runtime's training loop. */
#include "driver/driver.h"
#include <inttypes.h>
#include <stdlib.h>

static void print_compiled(const Session *session) {
    const RtProgram *program = jit_program(session->jit);
    const CodegenStats *stats = jit_stats(session->jit);
    printf("%s: %" PRId64 " parameters, %u kernels for %s, compiled in %.2f s; batch %" PRId64 ", %d threads\n", program->model,
           session_parameters(session), stats->kernels, program->target, stats->seconds, program->batch,
           rt_pool_threads(session->pool));
    fflush(stdout);
}

static int train(Session *session) {
    const Options *o = session->options;
    const RtProgram *program = jit_program(session->jit);
    RtData data = {0};
    RtError error = {{0}};
    int status = session_open_data(session, &data);
    if (status) return status;
    char *out = o->out ? join("%s", o->out) : join("runs/%s-%" PRId64, program->model, o->seed);
    RtTrainOptions options = {.out_dir = out,
                              .init_path = o->init,
                              .resume = o->resume,
                              .seed = (uint64_t)o->seed,
                              .max_steps = o->steps,
                              .log_every = o->log_every,
                              .checkpoint_every = o->checkpoint_every,
                              .eval_every = o->eval_every,
                              .quiet = o->quiet,
                              .progress = o->quiet ? NULL : stdout,
                              .color = use_color(stdout)};
    rt_install_signal_handlers();
    RtStatus trained = rt_train(session->machine, &data, &options, &error);
    if (trained) status = fail_rt(trained, &error);
    free(out);
    rt_data_free(&data);
    return status;
}

int command_train(const Options *options) {
    if (options->resume && options->init) return usage_error("train", "'--resume' and '--init' exclude each other");
    if (options->noperands > 1) return usage_error("train", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    int status = session_find_model(&session, options, "train");
    if (!status) status = session_machine(&session, true, true);
    if (!status && !options->quiet) print_compiled(&session);
    if (!status) status = train(&session);
    session_close(&session);
    return status;
}
