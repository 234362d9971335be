/* Training, evaluation and initial weights on a machine. */
#include "cli/run.h"
#include "cli/arrays.h"
#include "cli/classes.h"
#include "cli/folder.h"
#include "cli/report.h"
#include "runtime/json.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

RtViews views_of(const RtProgram *program, const Options *o) {
    if (!o->views) return program->recipe.views;
    return !strcmp(o->views, "one") ? RT_VIEWS_ONE : !strcmp(o->views, "mirror") ? RT_VIEWS_MIRROR : RT_VIEWS_MIRROR_SHIFT;
}

static int set_open(const char *where, const PictureShape *shape, int64_t classes, const Options *o, RtData *data) {
    RtError error = {{0}};
    if (arrays_is(where)) return arrays_open(where, shape, classes, o, data);
    if (folder_is(where)) return folder_open(where, shape, classes, o, data);
    RtStatus status = rt_data_open_shaped(where, shape->channels, shape->height, shape->width, classes, data, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

static const char *set_named(const RtProgram *program, const Options *o) {
    return o->data ? o->data : recipe_data_name(program->recipe.data);
}

static PictureShape shape_needed(const RtProgram *p) { return (PictureShape){p->channels, p->height, p->width, p->recipe.fit}; }

int open_data(const RtProgram *program, const Options *o, RtData *data) {
    PictureShape shape = shape_needed(program);
    return set_open(set_named(program, o), &shape, program->classes, o, data);
}

/* Statistics and names of the set that --data or the recipe names. */
static int describe_named(const RtProgram *p, const Options *o, RtData *data) {
    RtError error = {{0}};
    const char *where = set_named(p, o);
    if (arrays_is(where) || folder_is(where)) return open_data(p, o, data);
    RtStatus status = rt_data_describe(where, p->channels, p->height, p->width, p->classes, data, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

/* Names of the set that are not those of the weights' are said. */
static void compare_names(const RtData *set, const RtData *trained) {
    for (int64_t k = 0; trained->class_names && set->class_names && k < set->classes; k++) {
        if (!strcmp(trained->class_names[k], set->class_names[k])) continue;
        char *text = join("class %" PRId64 " of the data is '%s', but '%s' is what the weights were trained on", k,
                          set->class_names[k], trained->class_names[k]);
        say(RT_WARNING, text);
        free(text);
        break;
    }
}

int describe_data(const RtProgram *p, const Options *o, RtData *data) {
    *data = (RtData){.channels = p->channels, .height = p->height, .width = p->width, .classes = p->classes};
    if (!o->weights || !rt_weights_describe(o->weights, data, say)) return describe_named(p, o, data);
    if (!o->data) return EXIT_OK;
    RtData set = {0};
    int status = describe_named(p, o, &set);
    if (!status) compare_names(&set, data);
    if (!status && !data->class_names) { /* the weights do not say */
        data->class_names = set.class_names;
        data->owned_names = set.owned_names;
        set.owned_names = NULL;
    }
    rt_data_free(&set);
    return status;
}

/* ---- evaluation, initial weights ---- */

int check_weights(const RtProgram *program, const Options *o) {
    RtError error = {{0}};
    RtStatus status = rt_weights_check(o->weights, program, &error);
    return status ? fail_rt(status, &error) : EXIT_OK;
}

static void print_result(const RtProgram *program, const Options *o, const RtData *data, const RtEvalResult *r,
                         const int64_t *confusion) {
    const char *model = program->model;
    int views = rt_view_count(views_of(program, o));
    if (!o->json) {
        char by[32] = "";
        if (views > 1) snprintf(by, sizeof by, " by %d views", views);
        printf("%s on %s%s: accuracy %.2f %%, top 5 %.2f %%, loss %.4f; %" PRId64 " images in %.2f s (%.0f images/s)\n", model,
               data->name, by, 100 * r->accuracy, 100 * r->top5, r->loss, r->images, r->seconds, (double)r->images / r->seconds);
        if (confusion) classes_print(data, confusion);
        return;
    }
    printf("{\"model\": ");
    json_write_string(stdout, model);
    printf(", \"weights\": ");
    json_write_string(stdout, o->weights);
    printf(", \"data\": ");
    json_write_string(stdout, data->name);
    printf(", \"views\": %d, \"images\": %" PRId64, views, r->images);
    json_write_member(stdout, "accuracy", r->accuracy);
    json_write_member(stdout, "top5", r->top5);
    json_write_member(stdout, "loss", r->loss);
    json_write_member(stdout, "seconds", r->seconds);
    json_write_member(stdout, "images_per_s", (double)r->images / r->seconds);
    if (confusion) classes_print_json(data, confusion);
    puts("}");
}

RtData run_as_trained(const Options *o, const RtData *data) {
    RtData seen = *data,
           trained = {.channels = data->channels, .height = data->height, .width = data->width, .classes = data->classes};
    if (!rt_weights_describe(o->weights, &trained, say)) return seen;
    memcpy(seen.mean, trained.mean, sizeof seen.mean);
    memcpy(seen.std, trained.std, sizeof seen.std);
    compare_names(data, &trained);
    rt_data_free(&trained);
    return seen;
}

int run_eval(RtMachine *m, const Options *o, const RtData *given) {
    const RtData seen = run_as_trained(o, given), *data = &seen;
    RtError error = {{0}};
    RtEvalResult result;
    int64_t *confusion = NULL;
    if (o->classes && !(confusion = calloc((size_t)(data->classes * data->classes), sizeof *confusion)))
        return fail(EXIT_IO, "out of memory");
    RtViews views = views_of(rt_machine_program(m), o);
    RtStatus status = rt_weights_load(o->weights, m, say, &error);
    if (status == RT_OK) status = rt_evaluate_classes(m, data, true, views, &result, confusion, &error);
    if (status == RT_OK) print_result(rt_machine_program(m), o, data, &result, confusion);
    free(confusion);
    if (status) return fail_rt(status, &error);
    if (!isfinite(result.loss))
        fprintf(stderr,
                "%s: warning: the loss is not finite: for some image the net puts out NaN or infinity, from weights that are "
                "so or grow too large\n",
                program_invocation_short_name);
    return EXIT_OK;
}

static void print_initial(RtMachine *m, const Options *o) {
    char sum[65];
    rt_weights_sha256(m, sum);
    printf("{\"model\": ");
    json_write_string(stdout, rt_machine_program(m)->model);
    json_write_text(stdout, "file", o->output);
    printf(", \"seed\": %" PRId64 ", \"parameters\": %" PRId64 ", \"weights_sha256\": \"%s\"}\n", o->seed,
           count_parameters(rt_machine_program(m)), sum);
}

int run_init(RtMachine *m, const Options *o) {
    RtError error = {{0}};
    RtTrainState state = {.seed = (uint64_t)o->seed};
    rt_machine_init_params(m, state.seed);
    if (rt_wants_data(rt_machine_program(m))) { /* some of the weights come from the training images */
        RtData data = {0};
        int status = open_data(rt_machine_program(m), o, &data);
        RtStatus whitened = status ? RT_OK : rt_whiten(m, &data, &error);
        rt_data_free(&data);
        if (status || whitened) return status ? status : fail_rt(whitened, &error);
    }
    RtStatus saved = rt_checkpoint_save(o->output, m, &state, true, &error);
    if (saved) return fail_rt(saved, &error);
    if (o->json) print_initial(m, o);
    return EXIT_OK;
}
