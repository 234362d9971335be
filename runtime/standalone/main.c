/* main of an executable made by `netc build`: the Program is linked in, once for each CPU level it was built for, and
 * the best that this machine can run is chosen at start (level.c). */
#include "cli/lrfind.h"
#include "cli/report.h"
#include "cli/run.h"
#include "cli/set.h"
#include "ir/nearest.h"
#include "runtime/json.h"
#include "runtime/standalone/level.h"
#include "runtime/standalone/settings.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024 };

/* Where the model calls OpenBLAS it is linked in, and makes threads in a constructor unless it is told not to (runtime/gemm.c).
 * This one has a priority and so runs before it. */
__attribute__((constructor(101))) static void openblas_without_threads(void) { setenv("OPENBLAS_NUM_THREADS", "1", 1); }
#pragma weak rt_gemm_reserve

/* What an action runs on. Data and weights are looked at before memory is taken and threads are started. */
typedef struct Task {
    const Options *o;
    Training training;
    RtData data;
    RangeBounds bounds; /* of lrfind */
    Names pictures;     /* of predict */
} Task;

static int with_machine(const RtProgram *program, Task *t, int (*run)(RtMachine *, Task *)) {
    RtPool *pool = rt_pool_new((int)t->o->threads);
    if (!pool) return training_ready(&t->training, fail(EXIT_IO, "cannot start %" PRId64 " threads", t->o->threads));
    int status = rt_gemm_reserve ? prepare_openblas(rt_gemm_reserve, rt_pool_threads(pool)) : EXIT_OK;
    if (status) {
        rt_pool_free(pool);
        return training_ready(&t->training, status);
    }
    RtError error = {{0}};
    RtMachine *m = rt_machine_new_ranked(program, pool, t->training.ranks, &error);
    status = m ? run(m, t) : training_ready(&t->training, fail(EXIT_IO, "%s", error.text));
    if (m) rt_machine_free(m);
    rt_pool_free(pool);
    return status;
}

/* The code for this machine, with the recipe as --set wants it. */
static int choose(const Options *o, const RtProgram **program) {
    int status = level_choose(o->cpu_level, program);
    return status ? status : settings_apply(o, program);
}

static int train_on(RtMachine *m, Task *t) {
    const RtProgram *program = rt_machine_program(m);
    char size[64];
    int status = training_ready(&t->training, EXIT_OK);
    if (status) return status;
    if (!t->o->quiet && training_speaks(&t->training))
        printf("%s: %" PRId64 " parameters, for %s; batch %" PRId64 ", %s\n", program->model, count_parameters(program),
               program->target, program->batch, training_size(&t->training, rt_pool_threads(rt_machine_pool(m)), size));
    fflush(stdout);
    return run_train(m, t->o, &t->training);
}

static int lrfind_on(RtMachine *m, Task *t) { return run_lrfind(m, t->o, &t->data, &t->bounds); }
static int eval_on(RtMachine *m, Task *t) { return run_eval(m, t->o, &t->data); }
static int predict_on(RtMachine *m, Task *t) { return run_predict(m, t->o, &t->pictures, &t->data); }
static int init_on(RtMachine *m, Task *t) { return run_init(m, t->o); }

static int train(const Options *o) {
    const RtProgram *program;
    Task t = {.o = o};
    int status = training_join(&t.training);
    if (status) return status;
    status = training_options(o);
    if (!status) status = choose(o, &program);
    status = training_ready(&t.training, status);
    if (!status) status = training_open(&t.training, program, o);
    if (!status) status = with_machine(program, &t, train_on);
    training_close(&t.training);
    return status;
}

static int lrfind(const Options *o) {
    const RtProgram *program;
    Task t = {.o = o};
    int status = lrfind_options(o, &t.bounds);
    if (!status) status = choose(o, &program);
    if (!status) status = open_data(program, o, &t.data);
    if (!status) status = with_machine(program, &t, lrfind_on);
    rt_data_free(&t.data);
    return status;
}

static int eval(const Options *o) {
    const RtProgram *program;
    Task t = {.o = o};
    if (!o->weights) return usage_error("eval", "no weights given: --weights=FILE");
    int status = choose(o, &program);
    if (!status) status = check_weights(program, o);
    if (!status) status = open_data(program, o, &t.data);
    if (!status) status = with_machine(program, &t, eval_on);
    rt_data_free(&t.data);
    return status;
}

static int predict(const Options *o) {
    const RtProgram *program;
    Task t = {.o = o};
    if (!o->weights) return usage_error("predict", "no weights given: --weights=FILE");
    if (o->noperands == 0) return usage_error("predict", "no picture given");
    int status = predict_pictures(o, 0, &t.pictures);
    if (!status) status = choose(o, &program);
    if (!status) status = check_predict(program);
    if (!status) status = check_weights(program, o);
    if (!status) status = describe_data(program, o, &t.data);
    if (!status) status = with_machine(program, &t, predict_on);
    names_free(&t.pictures);
    rt_data_free(&t.data);
    return status;
}

static int init(const Options *o) {
    const RtProgram *program;
    Task t = {.o = o};
    if (!o->output) return usage_error("init", "no output file given: -o FILE.safetensors");
    int status = choose(o, &program);
    return status ? status : with_machine(program, &t, init_on);
}

/* An executable fetches nothing; it says what does. */
static int data_get(const char *name) {
    const char *url = rt_data_url(name);
    if (!url) return usage_error("data", "there is no data set '%s'; there are cifar10 and cifar100", name);
    char *home = rt_data_home();
    int status = usage_error("data", "this executable fetches nothing; 'mkdir -p %s/%s && curl -L %s | tar xz -C %s/%s' does",
                             home, name, url, home, name);
    free(home);
    return status;
}

static int data(const Options *o) {
    const char *action = o->noperands ? o->operand[0] : "";
    if (!strcmp(action, "path")) {
        char *home = rt_data_home();
        int status = set_home(home, o);
        free(home);
        return status;
    }
    if (!strcmp(action, "check")) return set_check(o->noperands > 1 ? o->operand[1] : "cifar10", o);
    if (!strcmp(action, "stats") && o->noperands < 2) return usage_error("data", "'stats' takes one data set or directory");
    if (!strcmp(action, "stats")) return set_stats(o->operand[1], o);
    if (!strcmp(action, "get")) return data_get(o->noperands > 1 ? o->operand[1] : "cifar10");
    return usage_error("data", "what to do: check, stats or path");
}

static int help(const Options *o);

typedef struct Action {
    const char *name;
    unsigned bit;
    int (*run)(const Options *o);
    const char *operands, *summary;
} Action;

static const Action actions[] = {
    {"train", RUN_TRAIN, train, "", "train the model (what is done without a command)"},
    {"lrfind", RUN_LRFIND, lrfind, "", "find learning rates at which the model learns"},
    {"eval", RUN_EVAL, eval, "--weights=FILE", "measure a trained model on the test set"},
    {"predict", RUN_PREDICT, predict, "--weights=FILE PICTURE...",
     "classify pictures, and those in directories: PNG, JPEG, or binary PPM or PGM, of any size"},
    {"init", RUN_INIT, init, "-o FILE.safetensors", "write the initial weights of a seed"},
    {"data", RUN_DATA, data, "check [DATA] | stats DATA | path",
     "check or count a data set, or print where data sets are looked up"},
    {"help", RUN_HELP, help, "[COMMAND]", "explain a command"},
};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

static const Action *find_action(const char *name) {
    for (int i = 0; i < ACTIONS; i++)
        if (!strcmp(actions[i].name, name)) return &actions[i];
    return NULL;
}

static void print_action(const Action *a) {
    printf("Usage: %s %s%s%s [options]\n\n%c%s.\n", program_invocation_short_name, a->name, *a->operands ? " " : "", a->operands,
           a->summary[0] - 'a' + 'A', a->summary + 1);
    options_print_help(a->bit, stdout);
}

static void print_action_json(const Action *a) {
    printf("{\"command\": \"%s\"", a->name);
    json_write_text(stdout, "operands", a->operands);
    json_write_text(stdout, "summary", a->summary);
    options_print_json(a->bit, stdout);
    putchar('}');
}

static void print_all_json(void) {
    printf("{\"model\": ");
    json_write_string(stdout, level_program(0)->model);
    printf(", \"cpus\": [");
    for (int i = 0; level_program(i); i++)
        printf("%s\"%.*s\"", i ? ", " : "", (int)strcspn(level_program(i)->target, ","), level_program(i)->target);
    printf("], \"commands\": [");
    for (int i = 0; i < ACTIONS; i++) {
        if (i) printf(", ");
        print_action_json(&actions[i]);
    }
    putchar(']');
    json_write_text(stdout, "recipe", level_program(0)->recipe_text);
    puts("}");
}

static int help(const Options *o) {
    const Action *a = o->noperands ? find_action(o->operand[0]) : NULL;
    if (a && o->json)
        print_action_json(a), putchar('\n');
    else if (a)
        print_action(a);
    if (a) return EXIT_OK;
    if (o->noperands) return usage_error("help", "there is no command '%s'", o->operand[0]);
    if (o->json) {
        print_all_json();
        return EXIT_OK;
    }
    const RtProgram *least = level_program(0);
    printf("%s: %s, compiled by netc for", program_invocation_short_name, least->model);
    for (int i = 0; level_program(i); i++)
        printf("%s %.*s", i ? "," : "", (int)strcspn(level_program(i)->target, ","), level_program(i)->target);
    printf("\n\nCommands:\n");
    for (int i = 0; i < ACTIONS; i++) printf("  %-9s %s\n", actions[i].name, actions[i].summary);
    printf("\nThe recipe built in ('--set train.KEY=VALUE' changes it, but for loss, groups, batch, shards, mix if it is "
           "empty, and the optimizer's arguments other than lr):\n%s",
           least->recipe_text);
    return EXIT_OK;
}

static int unknown_action(const char *name) {
    const char *names[ACTIONS];
    for (int i = 0; i < ACTIONS; i++) names[i] = actions[i].name;
    const char *near = nearest_name(name, names, ACTIONS);
    if (near) return usage_error("", "there is no command '%s'; did you mean '%s'?", name, near);
    return usage_error("", "there is no command '%s'", name);
}

static int dispatch(const Action *a, const Options *o) {
    if (o->help) {
        print_action(a);
        return EXIT_OK;
    }
    if (o->threads > MAX_THREADS) return usage_error(a->name, "'--threads' is at most %d", MAX_THREADS);
    bool takes_operands = a->bit & (RUN_PREDICT | RUN_DATA | RUN_HELP);
    if (!takes_operands && o->noperands) return usage_error(a->name, "'%s' is one word too many", o->operand[0]);
    return a->run(o);
}

int main(int argc, char **argv) {
    bool named = argc > 1 && argv[1][0] != '-';
    const Action *a = &actions[0];
    if (named)
        a = find_action(argv[1]);
    else if (argc == 2 && !strcmp(argv[1], "--help"))
        a = find_action("help"), named = true;
    if (!a) return unknown_action(argv[1]);
    Options options;
    int status = EXIT_USAGE;
    if (options_parse(&options, a->bit, a->name, argc, argv, named ? 2 : 1)) status = dispatch(a, &options);
    options_free(&options);
    if (fflush(stdout) || ferror(stdout)) return status ? status : fail(EXIT_IO, "cannot write to standard output");
    return status;
}
