/* netc passes: the passes that a model goes through, in order, and what each did. */
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/textual.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <string.h>

static void print_runs(Mode mode, const PassResult *result) {
    const char *name = mode_text(mode);
    printf("--passes='%s:%s'\n", name, result->pipeline);
    for (uint32_t i = 0; i < result->nruns; i++) {
        const PassRun *run = &result->runs[i];
        printf("%s %3u  %-20s %7" PRId64 " rewrites %7u -> %5u values%s%s\n", name, i + 1, run->name, run->rewrites, run->before,
               run->after, *run->parameters ? "  " : "", run->parameters);
    }
}

static void print_runs_json(Mode mode, const PassResult *result) {
    printf("{\"mode\": \"%s\", \"pipeline\": ", mode_text(mode));
    json_write_string(stdout, result->pipeline);
    printf(", \"passes\": [");
    for (uint32_t i = 0; i < result->nruns; i++) {
        const PassRun *run = &result->runs[i];
        printf("%s{\"pass\": ", i ? ", " : "");
        json_write_string(stdout, run->name);
        printf(", \"parameters\": ");
        json_write_string(stdout, run->parameters);
        printf(", \"rewrites\": %" PRId64 ", \"values_before\": %u, \"values\": %u}", run->rewrites, run->before, run->after);
    }
    puts("]}");
}

int command_passes(const Options *options) {
    if (options->noperands > 1) return usage_error("passes", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    unsigned held = PASS_TRAIN | PASS_INFER;
    int status = session_find_model(&session, options, "passes");
    if (!status && !options->mode && textual_is(&session)) status = textual_modes(&session, &held);
    bool train = options->mode ? !strcmp(options->mode, "train") : held & PASS_TRAIN;
    bool infer = options->mode ? !strcmp(options->mode, "infer") : held & PASS_INFER;
    if (!status) status = compile_modes(&session, (train ? PASS_TRAIN : 0) | (infer ? PASS_INFER : 0), "passes");
    if (!status && train) status = compile_graph(&session, MODE_TRAIN, true);
    if (!status && infer) status = compile_graph(&session, MODE_INFER, true);
    if (!status) status = session_check_met(&session);
    void (*print)(Mode, const PassResult *) = options->json ? print_runs_json : print_runs;
    if (!status && train) print(MODE_TRAIN, &session.train_passes);
    if (!status && infer) print(MODE_INFER, &session.infer_passes);
    session_close(&session);
    return status;
}
