/* netc eval: loss and accuracy of a weights file on the test set. */
#include "driver/driver.h"
#include <inttypes.h>

static void print_result(const Session *session, const RtData *data, const RtEvalResult *r) {
    const Options *o = session->options;
    if (!o->json) {
        printf("%s on %s: accuracy %.2f %%, top 5 %.2f %%, loss %.4f; %" PRId64 " images in %.2f s (%.0f images/s)\n",
               jit_program(session->jit)->model, data->name, 100 * r->accuracy, 100 * r->top5, r->loss, r->images, r->seconds,
               (double)r->images / r->seconds);
        return;
    }
    printf("{\"model\": ");
    print_json_string(stdout, jit_program(session->jit)->model);
    printf(", \"weights\": ");
    print_json_string(stdout, o->weights);
    printf(", \"data\": ");
    print_json_string(stdout, data->name);
    printf(", \"images\": %" PRId64
           ", \"accuracy\": %.9g, \"top5\": %.9g, \"loss\": %.9g, \"seconds\": %.6g, \"images_per_s\": %.6g}\n",
           r->images, r->accuracy, r->top5, r->loss, r->seconds, (double)r->images / r->seconds);
}

static int evaluate(Session *session) {
    RtError error = {{0}};
    RtData data = {0};
    RtEvalResult result;
    RtStatus loaded = rt_weights_load(session->options->weights, session->machine, &error);
    if (loaded) return fail_rt(loaded, &error);
    int status = session_open_data(session, &data);
    if (status) return status;
    RtStatus evaluated = rt_evaluate(session->machine, &data, true, &result, &error);
    if (evaluated)
        status = fail_rt(evaluated, &error);
    else
        print_result(session, &data, &result);
    rt_data_free(&data);
    return status;
}

int command_eval(const Options *options) {
    if (!options->weights) return usage_error("eval", "no weights given: --weights=FILE");
    if (options->noperands > 1) return usage_error("eval", "one model at a time, found '%s' too", options->operand[1]);
    Session session = {0};
    int status = session_find_model(&session, options, "eval");
    if (!status) status = session_machine(&session, false, true);
    if (!status) status = evaluate(&session);
    session_close(&session);
    return status;
}
