/* netc init: the weights that training with this seed starts from, as safetensors. */
#include "driver/driver.h"

int command_init(const Options *options) {
    Session session = {0};
    if (!options->output) return usage_error("init", "no output file given: -o FILE.safetensors");
    int status = session_find_model(&session, options, "init");
    if (!status) status = session_machine(&session, true, false);
    if (!status) {
        RtError error = {{0}};
        RtTrainState state = {.seed = (uint64_t)options->seed};
        rt_machine_init_params(session.machine, state.seed);
        RtStatus saved = rt_checkpoint_save(options->output, session.machine, &state, true, &error);
        if (saved) status = fail_rt(saved, &error);
    }
    session_close(&session);
    return status;
}
