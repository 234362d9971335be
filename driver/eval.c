/* netc eval: loss and accuracy of a weights file on the test set. */
#include "driver/driver.h"

int command_eval(const Options *options) {
    if (!options->weights) return usage_error("eval", "no weights given: --weights=FILE");
    if (options->noperands > 1) return usage_error("eval", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    int status = session_find_model(&session, options, "eval");
    if (!status) status = session_machine(&session, false, true, "eval");
    if (!status) status = run_eval(session.machine, options);
    session_close(&session);
    return status;
}
