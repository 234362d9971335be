/* netc eval: loss and accuracy of a weights file on the test set. */
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/shape.h"

int command_eval(const Options *options) {
    if (!options->weights) return usage_error("eval", "no weights given: --weights=FILE");
    if (options->noperands > 1) return usage_error("eval", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    Shape shape = {0};
    RtData data = {0};
    int status = session_find_model(&session, options, "eval");
    if (!status) status = compile_graphs(&session, false, true, "eval");
    if (!status) status = shape_of(&session, &shape);
    if (!status) status = check_weights(&shape.program, options);
    if (!status) status = open_data(&shape.program, options, &data);
    if (!status) status = compile_machine(&session, false, true, "eval");
    if (!status) status = run_eval(session.machine, options, &data);
    rt_data_free(&data);
    shape_free(&shape);
    session_close(&session);
    return status;
}
