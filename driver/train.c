/* netc train: compile and hand over. */
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/shape.h"
#include <inttypes.h>

static void print_compiled(const Session *session, const Training *training) {
    const RtProgram *program = jit_program(session->jit);
    const CodegenStats *stats = jit_stats(session->jit);
    char cached[64] = "", size[64];
    if (stats->kernels_cached == stats->kernels)
        snprintf(cached, sizeof cached, ", all from the cache");
    else if (stats->kernels_cached)
        snprintf(cached, sizeof cached, ", %u from the cache", stats->kernels_cached);
    printf("%s: %" PRId64 " parameters, %u kernel%s for %s, compiled in %.2f s (LLVM %.2f s%s); batch %" PRId64 ", %s\n",
           program->model, count_parameters(program), stats->kernels, stats->kernels == 1 ? "" : "s", program->target,
           stats->seconds, stats->llvm_seconds, cached, program->batch,
           training_size(training, rt_pool_threads(session->pool), size));
    fflush(stdout);
}

int command_train(const Options *options) {
    if (options->noperands > 1) return usage_error("train", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    Shape shape = {0};
    Training training = {0};
    int status = training_join(&training);
    if (status) return status;
    session.ranks = training.ranks;
    status = training_options(options);
    if (!status) status = session_find_model(&session, options, "train");
    if (!status) status = compile_graphs(&session, true, true, "train");
    if (!status) status = shape_of(&session, &shape);
    status = training_ready(&training, status);
    if (!status) status = training_open(&training, &shape.program, options);
    session.recorded = training.choices;
    session.keeps_graphs = true;
    if (!status) status = compile_machine(&session, true, true, "train");
    status = training_ready(&training, status);
    if (!status && !options->quiet && training_speaks(&training)) print_compiled(&session, &training);
    if (!status) status = run_train(session.machine, options, &training);
    training_close(&training);
    shape_free(&shape);
    session_close(&session);
    return status;
}
