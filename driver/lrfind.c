/* netc lrfind: at which learning rates a model learns, by a training of some steps that is thrown away. */
#include "cli/lrfind.h"
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/shape.h"

int command_lrfind(const Options *options) {
    if (options->noperands > 1) return usage_error("lrfind", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    Shape shape = {0};
    RtData data = {0};
    RangeBounds bounds;
    int status = lrfind_options(options, &bounds);
    if (!status) status = session_find_model(&session, options, "lrfind");
    if (!status) status = compile_graphs(&session, true, false, "lrfind");
    if (!status) status = shape_of(&session, &shape);
    if (!status) status = open_data(&shape.program, options, &data);
    if (!status) status = compile_machine(&session, true, false, "lrfind");
    if (!status) status = run_lrfind(session.machine, options, &data, &bounds);
    rt_data_free(&data);
    shape_free(&shape);
    session_close(&session);
    return status;
}
