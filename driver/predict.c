/* netc predict: the most likely classes of pictures. */
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/shape.h"

int command_predict(const Options *options) {
    if (!options->weights) return usage_error("predict", "no weights given: --weights=FILE");
    if (options->noperands == 1) return usage_error("predict", "no picture given");
    Options small = *options;
    Session session = {0};
    Shape shape = {0};
    RtData data = {0};
    Names pictures;
    int status = predict_pictures(options, 1, &pictures);
    if (!small.batch)
        small.batch = pictures.count > 0 && pictures.count < 16 ? pictures.count : 16; /* no training batch for three files */
    if (!status) status = session_find_model(&session, &small, "predict");
    if (!status) status = compile_graphs(&session, false, true, "predict");
    if (!status) status = shape_of(&session, &shape);
    if (!status) status = check_predict(&shape.program);
    if (!status) status = check_weights(&shape.program, &small);
    if (!status) status = describe_data(&shape.program, &small, &data);
    if (!status) status = compile_machine(&session, false, true, "predict");
    if (!status) status = run_predict(session.machine, &small, &pictures, &data);
    names_free(&pictures);
    rt_data_free(&data);
    shape_free(&shape);
    session_close(&session);
    return status;
}
