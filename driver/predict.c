/* netc predict: the most likely classes of pictures. */
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/shape.h"

int command_predict(const Options *options) {
    if (!options->weights) return usage_error("predict", "no weights given: --weights=FILE");
    if (options->noperands == 1) return usage_error("predict", "no picture given");
    Options small = *options;
    if (!small.batch)
        small.batch = options->noperands < 17 && options->noperands > 1 ? options->noperands - 1
                                                                        : 16; /* not a training batch for three files */
    Session session = {0};
    Shape shape = {0};
    RtData data = {0};
    int status = session_find_model(&session, &small, "predict");
    if (!status) status = compile_graphs(&session, false, true, "predict");
    if (!status) status = shape_of(&session, &shape);
    if (!status) status = check_predict(&shape.program);
    if (!status) status = check_weights(&shape.program, &small);
    if (!status) status = describe_data(&shape.program, &small, &data);
    if (!status) status = compile_machine(&session, false, true, "predict");
    if (!status) status = run_predict(session.machine, &small, 1, &data);
    rt_data_free(&data);
    shape_free(&shape);
    session_close(&session);
    return status;
}
