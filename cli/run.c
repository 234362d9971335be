/* Training, evaluation and initial weights on a machine. */
#include "cli/run.h"
#include "cli/report.h"
#include <inttypes.h>
#include <stdlib.h>

int64_t count_parameters(const RtProgram *program) {
    int64_t total = 0;
    for (uint32_t i = 0; i < program->nparams; i++) {
        int64_t elements = 1;
        for (uint32_t d = 0; d < program->params[i].rank; d++) elements *= program->params[i].dim[d];
        total += elements;
    }
    return total;
}

/* ---- data ---- */

const char *recipe_data_name(RtDataset data) {
    switch (data) {
    case RT_DATA_CIFAR10: return "cifar10";
    case RT_DATA_CIFAR100: return "cifar100";
    case RT_DATA_SYNTHETIC: return "synthetic";
    }
    return "cifar10";
}

typedef RtStatus (*DataOpener)(const char *, int64_t, int64_t, int64_t, int64_t, RtData *, RtError *);

static int open_by(DataOpener open, const RtProgram *program, const Options *o, RtData *data) {
    const char *where = o->data ? o->data : recipe_data_name(program->recipe.data);
    RtError error = {{0}};
    RtStatus status = open(where, program->channels, program->height, program->width, program->classes, data, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

int open_data(const RtProgram *program, const Options *o, RtData *data) { return open_by(rt_data_open_shaped, program, o, data); }
int describe_data(const RtProgram *program, const Options *o, RtData *data) {
    return open_by(rt_data_describe, program, o, data);
}

/* ---- what is run ---- */

char *output_directory(const char *model, const Options *o) {
    return o->out ? join("%s", o->out) : join("runs/%s-%" PRId64, model, o->seed);
}

int run_train(RtMachine *m, const Options *o) {
    const RtProgram *program = rt_machine_program(m);
    RtData data = {0};
    RtError error = {{0}};
    int status = open_data(program, o, &data);
    if (status) return status;
    char *out = output_directory(program->model, o);
    RtTrainOptions options = {.out_dir = out,
                              .init_path = o->init,
                              .resume = o->resume,
                              .rechoose = o->rechoose,
                              .seed = (uint64_t)o->seed,
                              .max_steps = o->steps,
                              .log_every = o->log_every,
                              .checkpoint_every = o->checkpoint_every,
                              .eval_every = o->eval_every,
                              .quiet = o->quiet,
                              .progress = o->quiet ? NULL : stdout,
                              .color = use_color(stdout)};
    rt_install_signal_handlers();
    RtStatus trained = rt_train(m, &data, &options, &error);
    if (trained) status = fail_rt(trained, &error);
    free(out);
    rt_data_free(&data);
    return status;
}

static void print_result(const char *model, const Options *o, const RtData *data, const RtEvalResult *r) {
    if (!o->json) {
        printf("%s on %s: accuracy %.2f %%, top 5 %.2f %%, loss %.4f; %" PRId64 " images in %.2f s (%.0f images/s)\n", model,
               data->name, 100 * r->accuracy, 100 * r->top5, r->loss, r->images, r->seconds, (double)r->images / r->seconds);
        return;
    }
    printf("{\"model\": ");
    print_json_string(stdout, model);
    printf(", \"weights\": ");
    print_json_string(stdout, o->weights);
    printf(", \"data\": ");
    print_json_string(stdout, data->name);
    printf(", \"images\": %" PRId64
           ", \"accuracy\": %.9g, \"top5\": %.9g, \"loss\": %.9g, \"seconds\": %.6g, \"images_per_s\": %.6g}\n",
           r->images, r->accuracy, r->top5, r->loss, r->seconds, (double)r->images / r->seconds);
}

int run_eval(RtMachine *m, const Options *o) {
    const RtProgram *program = rt_machine_program(m);
    RtError error = {{0}};
    RtData data = {0};
    RtEvalResult result;
    RtStatus loaded = rt_weights_load(o->weights, m, &error);
    if (loaded) return fail_rt(loaded, &error);
    int status = open_data(program, o, &data);
    if (status) return status;
    RtStatus evaluated = rt_evaluate(m, &data, true, &result, &error);
    if (evaluated)
        status = fail_rt(evaluated, &error);
    else
        print_result(program->model, o, &data, &result);
    rt_data_free(&data);
    return status;
}

int run_init(RtMachine *m, const Options *o) {
    RtError error = {{0}};
    RtTrainState state = {.seed = (uint64_t)o->seed};
    rt_machine_init_params(m, state.seed);
    RtStatus saved = rt_checkpoint_save(o->output, m, &state, true, &error);
    return saved ? fail_rt(saved, &error) : EXIT_OK;
}
