/* netc predict: the most likely classes of PNG pictures. */
#include "driver/driver.h"
#include "driver/picture.h"

int command_predict(const Options *options) {
    if (!options->weights) return usage_error("predict", "no weights given: --weights=FILE");
    if (options->noperands == 1) return usage_error("predict", "no picture given");
    Options small = *options;
    if (!small.batch)
        small.batch = options->noperands < 17 && options->noperands > 1 ? options->noperands - 1
                                                                        : 16; /* not a training batch for three files */
    Session session = {0};
    int status = session_find_model(&session, &small, "predict");
    if (!status) status = session_machine(&session, false, true, "predict");
    if (!status) status = run_predict(session.machine, &small, 1, picture_read);
    session_close(&session);
    return status;
}
