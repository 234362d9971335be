/* netc init: the weights that training with this seed starts from, as safetensors. */
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/driver.h"

int command_init(const Options *options) {
    if (options->noperands > 1) return usage_error("init", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    if (!options->output) return usage_error("init", "no output file given: -o FILE.safetensors");
    int status = session_find_model(&session, options, "init");
    if (!status) status = compile_machine(&session, true, false, "init");
    if (!status) status = run_init(session.machine, options);
    session_close(&session);
    return status;
}
