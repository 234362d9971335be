/* The driver of the passes: pipelines and mistakes in them, printing, timing, remarks, shared objects, and what happens to a pass
 * that misbehaves. */
#include "ir/text.h"
#include "passes/driver.h"
#include "passes/plugin.h"
#include "run_cases.h"
#include "tests/unit/fusion_zoo.h"
#include <check.h>
#include <sys/wait.h>
#include <unistd.h>

static Graph *small(Mode mode) { return zoo_resnet(mode, 1, 2, 4, 1, 1, false); }

static char *diagnostics(Diag *diag) {
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    diag_print(diag, out, false);
    fclose(out);
    return text;
}

/* Runs; on success returns the graph's text, otherwise NULL with the message. Either is the caller's. */
static char *run_text(const PassOptions *options, Mode mode, char **message, PassResult *result) {
    Graph *g = small(mode);
    Diag *diag = diag_new();
    bool ok = passes_run(g, options, diag, result);
    char *text = ok ? graph_to_string(result->graph) : NULL;
    *message = diagnostics(diag);
    diag_free(diag);
    graph_free(g);
    return text;
}

/* ---- pipelines ---- */

static const struct {
    const char *pipeline, *disable, *load, *message; /* message: how it begins */
} mistakes[] = {
    {"nothing_such", NULL, NULL, "error: there is no pass 'nothing_such'"},
    {"csee", NULL, NULL, "error: there is no pass 'csee'; did you mean 'cse'?"},
    {"lower,,dce", NULL, NULL, "error: a list of passes lacks a name"},
    {"lower,", NULL, NULL, "error: a list of passes lacks a name"},
    {"-dce,", NULL, NULL, "error: a list of passes lacks a name"},
    {"lower dce", NULL, NULL, "error: a list of passes has 'd' where ',' should stand"},
    {"lower#1", NULL, NULL, "error: a list of passes has '#' where ',' should stand"},
    {"lower,.", NULL, NULL, "error: a list of passes has '.' where a name should stand"},
    {"", NULL, NULL, "error: the list of passes is empty; 'default' is the default one"},
    {"  ", NULL, NULL, "error: the list of passes is empty; 'default' is the default one"},
    {"train:", NULL, NULL, "error: the list of passes for training is empty"},
    {"train:default;infer: ", NULL, NULL, "error: the list of passes for inference is empty"},
    {"train:default;", NULL, NULL, "error: the list of passes is empty"},
    {"trian:default", NULL, NULL, "error: a list of passes is for 'train:' or 'infer:', found 'trian:'"},
    {"train:default;train:-cse", NULL, NULL, "error: there are two lists of passes for training"},
    {"-cse;train:default", NULL, NULL, "error: there are two lists of passes for training"},
    {"lower,fold_batch_norm", NULL, NULL, "error: the pass 'fold_batch_norm' does not rewrite graphs of training, for which"},
    {"+fold_batch_norm", NULL, NULL, "error: the pass 'fold_batch_norm' does not rewrite graphs of training, for which"},
    {"default+dce@behind:cse", NULL, NULL,
     "error: expected 'before:' or 'after:' and the name of a pass behind '@', found 'behind"},
    {"default+dce@before:cse", NULL, NULL, "error: 'cse' runs 3 times: 'cse#1' is the first of them"},
    {"default+dce@before:cse#4", NULL, NULL, "error: 'cse#4' does not run in training, so nothing can be placed by it"},
    {"default+dce@before:fold_batch_norm", NULL, NULL, "error: 'fold_batch_norm' does not run in training"},
    {"-cse#", NULL, NULL, "error: 'cse#' needs the number of a run, from 1, found ''"},
    {"-cse#0", NULL, NULL, "error: 'cse#' needs the number of a run, from 1, found '0'"},
    {"-lower#1", NULL, NULL, "error: the pass 'lower' is required"},
    {"default dce", NULL, NULL, "error: a list of passes either names"},
    {"default,", NULL, NULL, "error: a list of passes lacks a name"},
    {"lower,fuse_maps{max_node=3}", NULL, NULL,
     "error: the pass 'fuse_maps' has no option 'max_node'; did you mean 'max_nodes'?"},
    {"default,fuse_maps{such=3}", NULL, NULL, "error: the pass 'fuse_maps' has no option 'such'; 'netc help passes' lists them"},
    {"default,cse{max_nodes=3}", NULL, NULL, "error: the pass 'cse' has no options, found 'max_nodes'"},
    {"+fuse_maps{max_nodes}", NULL, NULL, "error: the option 'max_nodes' of the pass 'fuse_maps' lacks '=' and a number"},
    {"+fuse_maps{}", NULL, NULL, "error: the options of the pass 'fuse_maps' lack a name"},
    {"+fuse_maps{max_nodes=3", NULL, NULL, "error: the options of the pass 'fuse_maps' lack a '}'"},
    {"+fuse_maps{max_nodes=3,}", NULL, NULL, "error: the options of the pass 'fuse_maps' lack a name"},
    {"+fuse_maps{max_nodes=3,max_nodes=4}", NULL, NULL, "error: the option 'max_nodes' of the pass 'fuse_maps' is given twice"},
    {"+fuse_maps{max_nodes=0}", NULL, NULL, "error: 'max_nodes' of the pass 'fuse_maps' is a number from 1 to 1024, found '0'"},
    {"+fuse_maps{max_nodes=1025}", NULL, NULL, "error: 'max_nodes' of the pass 'fuse_maps' is a number from 1 to 1024, found"},
    {"+fuse_maps{max_nodes=3x}", NULL, NULL, "error: 'max_nodes' of the pass 'fuse_maps' is a number from 1 to 1024, found '3x'"},
    {"+fuse_maps{max_nodes=}", NULL, NULL, "error: 'max_nodes' of the pass 'fuse_maps' is a number from 1 to 1024, found ''"},
    {"default,fuse_maps{max_nodes=99999999999999999999}", NULL, NULL, "error: 'max_nodes' of the pass 'fuse_maps' is a number"},
    {"default,fold_batch_norm{depth=x}", NULL, NULL, "error: 'depth' of the pass 'fold_batch_norm' is a number from 0 to 16"},
    {NULL, "cse,dce", NULL, "error: 'cse,dce' is not the name of one pass"},
    {"-nothing_such", NULL, NULL, "error: there is no pass 'nothing_such'"},
    {"-lower", NULL, NULL, "error: the pass 'lower' is required"},
    {"-cse,dce", NULL, NULL,
     "error: a list of passes either names the passes to run or changes the default with '-' and '+'; 'dce' does"},
    {"cse,-dce", NULL, NULL,
     "error: a list of passes either names the passes to run or changes the default with '-' and '+'; '-dce' does"},
    {NULL, "autodiff", NULL, "error: the pass 'autodiff' is required"},
    {NULL, "nothing_such", NULL, "error: there is no pass 'nothing_such'"},
    {NULL, NULL, "/nowhere/at_all.so", "error: cannot load the passes of '/nowhere/at_all.so'"},
    {NULL, NULL, PLUGIN_FOREIGN, "error: '" PLUGIN_FOREIGN "' was built for version "},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_1.so", "error: pass 1 of '"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_2.so", "error: pass 1 of '"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_3.so", "error: pass 1 of '"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_4.so", "error: the pass 'nowhere' of '"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_5.so",
     "error: '" PLUGIN_DIRECTORY "/libplugin_refused_5.so' has a pass 'cse', and so has netc"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_6.so",
     "error: '" PLUGIN_DIRECTORY "/libplugin_refused_6.so' replaces the pass 'cses', which netc does not have"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_7.so", "error: the pass 'one' is loaded twice, from '"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_8.so",
     "error: the passes of '" PLUGIN_DIRECTORY
     "/libplugin_refused_8.so' want to run after 'fold_batch_norm', which does not run in "
     "training"},
    {NULL, NULL, PLUGIN_DIRECTORY "/libplugin_refused_9.so",
     "error: the passes of '" PLUGIN_DIRECTORY "/libplugin_refused_9.so' want to run after 'such', but there is no such pass"},
    {"autodiff", NULL, NULL, "error: the pass 'autodiff' cannot run here: it does not accept 'batch_norm'"},
    {"lower,autodiff", NULL, NULL, "error: the pass 'autodiff' cannot run here: it does not accept 'batch_norm'"},
    {"squeeze", NULL, NULL, "error: the pass 'squeeze' cannot run here: it does not accept 'batch_norm'"},
    {"lower,split_batch_norm,autodiff,autodiff", NULL, NULL, "error: the pass 'autodiff' cannot run here"},
    {"lower,split_batch_norm,fuse_prologues,fuse_maps,fuse_epilogues,fuse_prologues,autodiff", NULL, NULL,
     "error: the pass 'autodiff' cannot run here"},
};
enum { MISTAKES = sizeof mistakes / sizeof *mistakes };

START_TEST(mistakes_are_reported) {
    const char *disable[] = {mistakes[_i].disable}, *load[] = {mistakes[_i].load};
    PassOptions options = {.pipeline = mistakes[_i].pipeline,
                           .disable = disable,
                           .ndisable = disable[0] != NULL,
                           .load = load,
                           .nload = load[0] != NULL,
                           .bisect_limit = -1};
    PassResult result;
    char *message, *text = run_text(&options, MODE_TRAIN, &message, &result);
    ck_assert(text == NULL && result.graph == NULL);
    ck_assert_msg(strncmp(message, mistakes[_i].message, strlen(mistakes[_i].message)) == 0, "found: %s", message);
    free(message);
}
END_TEST

/* Output of passes_run that options send to `print`. */
static char *printed(PassOptions options, Mode mode) {
    char *text, *message;
    size_t size;
    PassResult result;
    options.print = open_memstream(&text, &size);
    options.bisect_limit = -1;
    free(run_text(&options, mode, &message, &result));
    ck_assert_str_eq(message, "");
    free(message);
    passes_result_free(&result);
    fclose(options.print);
    return text;
}

/* The names in the timing table, in order, without the numbers of their runs. */
static void expect_passes(const PassOptions *options, Mode mode, const char *names) {
    PassOptions timed = *options;
    timed.time_passes = true;
    char *table = printed(timed, mode), found[1024] = "";
    for (char *line = strtok(table, "\n"); line; line = strtok(NULL, "\n")) {
        char name[64] = "";
        sscanf(line, "%63s", name);
        if (!strcmp(name, "pass") || !strcmp(name, "all")) continue;
        if (*found) strcat(found, ",");
        strncat(found, name, strcspn(name, "#")); /* of which run */
    }
    ck_assert_str_eq(found, names);
    free(table);
}

START_TEST(pipelines) {
    expect_passes(&(PassOptions){.pipeline = NULL}, MODE_TRAIN, pass_default_pipeline(MODE_TRAIN));
    expect_passes(&(PassOptions){.pipeline = NULL}, MODE_INFER, pass_default_pipeline(MODE_INFER));
    expect_passes(&(PassOptions){.pipeline = "lower,dce,lower"}, MODE_TRAIN, "lower,dce,lower");
    expect_passes(&(PassOptions){.pipeline = " lower , dce\n"}, MODE_TRAIN, "lower,dce");
    const char *all = "-canonicalise,-cse,-dce,-squeeze,-fuse_maps,-recompute,-fuse_epilogues,-fuse_prologues,-share_sweeps";
    expect_passes(&(PassOptions){.pipeline = all}, MODE_TRAIN, "lower,split_batch_norm,autodiff");
    const char *disable[] = {"canonicalise", "dce"};
    expect_passes(&(PassOptions){.pipeline = "lower,canonicalise,cse,dce", .disable = disable, .ndisable = 2}, MODE_INFER,
                  "lower,cse");
}
END_TEST

/* Every pass of the table is in a default pipeline of the modes that it names, every name in a pipeline in the table. */
START_TEST(table_and_pipelines_agree) {
    for (int m = 0; m < 2; m++) {
        char list[1024];
        snprintf(list, sizeof list, ",%s,", pass_default_pipeline((Mode)m));
        for (uint32_t i = 0; i < pass_count(); i++) {
            char name[64];
            snprintf(name, sizeof name, ",%s,", pass_at(i)->name);
            bool in = pass_runs_in(pass_at(i), (Mode)m);
            ck_assert_msg((strstr(list, name) != NULL) == in, "%s in mode %d", pass_at(i)->name, m);
            ck_assert_ptr_eq(pass_find(pass_at(i)->name), pass_at(i));
            ck_assert(pass_at(i)->summary && *pass_at(i)->summary);
        }
    }
    ck_assert_ptr_null(pass_at(pass_count()));
    ck_assert_ptr_null(pass_find("nothing_such"));
}
END_TEST

/* What a row runs after are passes, and a pipeline that breaks it is found. */
START_TEST(order) {
    for (uint32_t i = 0; i < pass_count(); i++) {
        const Pass *row = pass_at(i), *first = NULL, *second = NULL;
        char names[256];
        snprintf(names, sizeof names, "%s", row->after ? row->after : "");
        for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
            const Pass *before = pass_find(name);
            ck_assert_msg(before && before != row, "'%s' runs after '%s', which is none", row->name, name);
            ck_assert(pass_order((const Pass *[]){before, row}, 2, &first, &second));
            ck_assert(!pass_order((const Pass *[]){before, row, before}, 3, &first, &second));
            ck_assert(first == row && second == before);
        }
    }
}
END_TEST

/* ---- growth ---- */

static uint64_t steps_of(int blocks, Mode mode, bool se) {
    Graph *g = zoo_resnet(mode, 1, 2, 8, 3, blocks, se);
    Diag *diag = diag_new();
    PassResult result;
    ck_assert(passes_run(g, &(PassOptions){.bisect_limit = -1}, diag, &result));
    uint64_t steps = result.steps;
    passes_result_free(&result);
    diag_free(diag);
    graph_free(g);
    return steps;
}

/* A net of twice the depth takes about twice the work, not four times: ResNets of depth 302 and 602. */
START_TEST(work_grows_like_the_graph) {
    Mode mode = _i & 1 ? MODE_INFER : MODE_TRAIN;
    uint64_t once = steps_of(50, mode, _i & 2), twice = steps_of(100, mode, _i & 2);
    ck_assert_msg(once > 0 && (double)twice < 2.2 * (double)once, "%llu steps become %llu", (unsigned long long)once,
                  (unsigned long long)twice);
}
END_TEST

/* ---- printing ---- */

static int occurrences(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

START_TEST(graphs_are_printed) {
    const char *dce = "dce", *lower = "lower";
    char *text = printed((PassOptions){.pipeline = "lower,dce", .print_before_all = true}, MODE_INFER);
    ck_assert_int_eq(occurrences(text, "# before "), 2);
    ck_assert_int_eq(occurrences(text, "graph \"resnet\" infer\n"), 2);
    free(text);
    text = printed((PassOptions){.pipeline = "lower,dce", .print_after_all = true, .print_before = &dce, .nprint_before = 1},
                   MODE_INFER);
    ck_assert_int_eq(occurrences(text, "# after "), 2);
    ck_assert_int_eq(occurrences(text, "# before dce\n"), 1);
    free(text);
    text = printed((PassOptions){.pipeline = "lower,dce", .print_after = &lower, .nprint_after = 1}, MODE_INFER);
    ck_assert_int_eq(occurrences(text, "# after lower\n"), 1);
    ck_assert_int_eq(occurrences(text, "graph \""), 1);
    free(text);
}
END_TEST

/* Each of several names is obeyed; a name may say which run. */
START_TEST(chosen_graphs_are_printed) {
    const char *after[] = {"lower", "cse#2", "dce"}, *before[] = {"cse#3", "dce"};
    char *text = printed((PassOptions){.print_after = after, .nprint_after = 3}, MODE_TRAIN);
    ck_assert_int_eq(occurrences(text, "# after lower\n"), 1);
    ck_assert_int_eq(occurrences(text, "# after cse#"), 1);
    ck_assert_int_eq(occurrences(text, "# after cse#2\n"), 1);
    ck_assert_int_eq(occurrences(text, "# after dce#"), 3);
    ck_assert_int_eq(occurrences(text, "graph \""), 5);
    free(text);
    text = printed((PassOptions){.print_before = before, .nprint_before = 1}, MODE_TRAIN);
    ck_assert_int_eq(occurrences(text, "# before cse#3\n"), 1);
    ck_assert_int_eq(occurrences(text, "graph \""), 1);
    free(text);
}
END_TEST

static const struct {
    const char *pipeline, *disable, *print;
    unsigned modes;
    const char *message; /* NULL: none */
} without_effect[] = {
    {NULL, NULL, NULL, PASS_TRAIN | PASS_INFER, NULL},
    {NULL, "recompute", "fold_batch_norm", PASS_TRAIN | PASS_INFER, NULL},
    {NULL, "recompute", NULL, PASS_INFER, "the pass 'recompute' does not run in inference: there"},
    {"-recompute", NULL, NULL, PASS_INFER, "the pass 'recompute' does not run in inference: there"},
    {"-cse#4", NULL, NULL, PASS_TRAIN | PASS_INFER, "the pass 'cse#4' does not run: there"},
    {"-cse#3", NULL, NULL, PASS_TRAIN | PASS_INFER, NULL},
    {"default,recompute{max_nodes=3}", NULL, NULL, PASS_TRAIN | PASS_INFER, NULL},
    {"default,recompute{max_nodes=3}", NULL, NULL, PASS_INFER,
     "the pass 'recompute' does not run in inference: there is nothing to set"},
    {"-cse#3", NULL, NULL, PASS_INFER, "the pass 'cse#3' does not run in inference: there"},
    {NULL, NULL, "unknown", PASS_TRAIN, "there is no pass 'unknown'"},
    {NULL, NULL, "autodif", PASS_TRAIN, "there is no pass 'autodif'; did you mean 'autodiff'?"},
    {NULL, NULL, "autodiff", PASS_TRAIN, NULL},
    {NULL, NULL, "autodiff", PASS_INFER, "the pass 'autodiff' does not run in inference: there"},
    {NULL, NULL, "cse,dce", PASS_INFER, "'cse,dce' is not the name of one pass"},
    {"lower,dce", NULL, "cse", PASS_TRAIN | PASS_INFER, "the pass 'cse' does not run: there"},
    {"lower,dce", "cse", NULL, PASS_TRAIN | PASS_INFER, "the pass 'cse' does not run: there"},
    {NULL, "cse", "cse", PASS_TRAIN | PASS_INFER, "the pass 'cse' does not run: there is nothing to print"},
    {"train:-cse", NULL, NULL, PASS_TRAIN | PASS_INFER, NULL},
    {"train:-cse", NULL, NULL, PASS_INFER, "'train:-cse' has no list of passes in inference"},
    {"train:lower;infer:-cse", NULL, NULL, PASS_INFER, NULL},
    {"train:lower;infer:autodiff", NULL, NULL, PASS_TRAIN, NULL},
    {"train:lower;infer:autodiff", NULL, NULL, PASS_INFER | PASS_TRAIN,
     "the pass 'autodiff' does not rewrite graphs of inference"},
    {"autodiff", NULL, NULL, PASS_INFER, "the pass 'autodiff' does not rewrite graphs of inference"},
};
enum { WITHOUT_EFFECT = sizeof without_effect / sizeof *without_effect };

START_TEST(names_without_effect) {
    const char *disable[] = {without_effect[_i].disable}, *print[] = {without_effect[_i].print};
    PassOptions options = {.pipeline = without_effect[_i].pipeline,
                           .bare_modes = 0,
                           .disable = disable,
                           .ndisable = disable[0] != NULL,
                           .print_after = print,
                           .nprint_after = print[0] != NULL,
                           .bisect_limit = -1};
    Diag *diag = diag_new();
    bool ok = passes_check((const PassOptions[]){options, options}, without_effect[_i].modes, diag);
    char *message = diagnostics(diag);
    const char *want = without_effect[_i].message;
    ck_assert_msg(ok == !want && (want ? strstr(message, want) != NULL : !*message), "found: %s", message);
    free(message);
    diag_free(diag);
}
END_TEST

/* A list for one mode leaves the other its default; a bare one is for the modes that the command says. */
START_TEST(lists_are_for_a_mode) {
    PassOptions options = {.pipeline = "train:lower,split_batch_norm,autodiff"};
    expect_passes(&options, MODE_TRAIN, "lower,split_batch_norm,autodiff");
    expect_passes(&options, MODE_INFER, pass_default_pipeline(MODE_INFER));
    options.pipeline = "infer:lower,dce ; train : default";
    expect_passes(&options, MODE_TRAIN, pass_default_pipeline(MODE_TRAIN));
    expect_passes(&options, MODE_INFER, "lower,dce");
    options.pipeline = "lower,split_batch_norm,autodiff";
    options.bare_modes = PASS_TRAIN;
    expect_passes(&options, MODE_TRAIN, "lower,split_batch_norm,autodiff");
    expect_passes(&options, MODE_INFER, pass_default_pipeline(MODE_INFER));
    options.pipeline = "-squeeze";
    for (int m = 0; m < 2; m++) {
        char without[1024] = "";
        for (const char *at = pass_default_pipeline((Mode)m); *at; at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
            if (!strncmp(at, "squeeze", 7)) continue;
            if (*without) strcat(without, ",");
            strncat(without, at, strcspn(at, ","));
        }
        expect_passes(&options, (Mode)m, without);
    }
}
END_TEST

START_TEST(changes_of_the_default) {
    expect_passes(&(PassOptions){.pipeline = "default-cse#2-cse#1-dce"}, MODE_INFER,
                  "lower,split_batch_norm,fold_batch_norm,canonicalise,squeeze,canonicalise,"
                  "fuse_maps,fuse_epilogues,fuse_prologues,share_sweeps");
    expect_passes(&(PassOptions){.pipeline = "default - cse#1, + dce @ before : squeeze + cse @after:dce#1 + dce"}, MODE_INFER,
                  "lower,split_batch_norm,fold_batch_norm,canonicalise,dce,cse,dce,squeeze,canonicalise,cse,dce,"
                  "fuse_maps,fuse_epilogues,fuse_prologues,share_sweeps,dce,dce");
    const char *load[] = {PASS_DOUBLE};
    expect_passes(&(PassOptions){.pipeline = "default-double+double@before:fuse_maps", .load = load, .nload = 1}, MODE_INFER,
                  "lower,split_batch_norm,fold_batch_norm,canonicalise,cse,dce,squeeze,canonicalise,cse,dce,double,"
                  "fuse_maps,fuse_epilogues,fuse_prologues,share_sweeps,dce");
}
END_TEST

/* Options of runs, in a list and as a change of the default: only the runs that are meant have them, and the text says so. */
START_TEST(options_of_passes) {
    PassResult result;
    char *message,
        *text =
            run_text(&(PassOptions){.pipeline = "default, fuse_maps { max_elements = 2 , max_nodes=160 } +fuse_maps{max_nodes=9}"
                                                "@after:fuse_maps#1, fuse_maps#1{max_nodes=8}",
                                    .bisect_limit = -1},
                     MODE_INFER, &message, &result);
    ck_assert_msg(text, "%s", message);
    ck_assert_str_eq(result.pipeline,
                     "lower,split_batch_norm,fold_batch_norm,canonicalise,cse,dce,squeeze,canonicalise,cse,dce,"
                     "fuse_maps{max_nodes=8,max_elements=2},fuse_maps{max_nodes=9},fuse_epilogues,fuse_prologues,"
                     "share_sweeps,dce");
    ck_assert_str_eq(result.runs[10].name, "fuse_maps#1");
    ck_assert_str_eq(result.runs[10].parameters, "max_nodes=8 max_elements=2");
    ck_assert_str_eq(result.runs[11].parameters, "max_nodes=9 max_elements=6");
    ck_assert_str_eq(result.runs[4].parameters, "");
    free(text);
    free(message);
    passes_result_free(&result);
    char *little = run_text(&(PassOptions){.pipeline = "default,fuse_maps{max_elements=1}", .bisect_limit = -1}, MODE_TRAIN,
                            &message, &result);
    passes_result_free(&result);
    free(message);
    char *much = run_text(&(PassOptions){.pipeline = "default", .bisect_limit = -1}, MODE_TRAIN, &message, &result);
    passes_result_free(&result);
    ck_assert_str_ne(little, much);
    free(little);
    free(much);
    free(message);
}
END_TEST

/* What a result says ran is a list that runs the same. */
START_TEST(the_pipeline_is_said) {
    PassResult result, again;
    char *message,
        *text = run_text(&(PassOptions){.pipeline = "-cse#1+dce@after:lower,fuse_maps{max_elements=3}", .bisect_limit = -1},
                         MODE_TRAIN, &message, &result);
    free(message);
    char *same = run_text(&(PassOptions){.pipeline = result.pipeline, .bisect_limit = -1}, MODE_TRAIN, &message, &again);
    ck_assert_str_eq(result.pipeline, again.pipeline);
    ck_assert_str_eq(text, same);
    ck_assert_uint_eq(result.nruns, again.nruns);
    ck_assert_str_eq(result.runs[1].name, "dce#4");
    passes_result_free(&result);
    passes_result_free(&again);
    free(message);
    free(same);
    free(text);
}
END_TEST

START_TEST(a_pass_to_stop_after) {
    PassResult result;
    char *message, *text = run_text(&(PassOptions){.stop_after = "autodiff", .bisect_limit = -1}, MODE_TRAIN, &message, &result);
    ck_assert_str_eq(result.runs[result.nruns - 1].name, "autodiff");
    passes_result_free(&result);
    free(text);
    free(message);
    text = run_text(&(PassOptions){.pipeline = "lower", .stop_after = "autodiff", .bisect_limit = -1}, MODE_TRAIN, &message,
                    &result);
    ck_assert_ptr_null(text);
    ck_assert_str_eq(message, "error: the pass 'autodiff' does not run, so the graph behind it cannot be had\n");
    free(message);
}
END_TEST

/* ---- the event log ---- */

static PassResult run_result(const PassOptions *options, Mode mode) {
    PassResult result;
    char *message, *text = run_text(options, mode, &message, &result);
    ck_assert_msg(text, "%s", message);
    free(text);
    free(message);
    return result;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Rewrites are numbered, each has a name of its own and says what it did; refusals have reasons and what they are about. */
START_TEST(every_rewrite_is_logged) {
    PassResult result = run_result(&(PassOptions){.bisect_limit = -1, .recompute = 1}, (Mode)_i);
    const char **names = malloc(result.nevents * sizeof *names);
    int64_t number = 0;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < result.nevents; i++) {
        const Event *e = &result.events[i];
        ck_assert(*e->text && e->name && !strncmp(e->name, e->run, strlen(e->run)) && e->name[strlen(e->run)] == '@');
        refused += e->kind == EVENT_REFUSED;
        if (e->kind == EVENT_REFUSED && e->number == 0) continue;
        ck_assert_int_eq(e->number, ++number);
        names[number - 1] = e->name;
        if (e->kind == EVENT_DONE) ck_assert_msg(e->made.count + e->removed.count + e->changed.count, "%s did nothing", e->name);
    }
    ck_assert_int_eq(number, result.rewrites);
    ck_assert_int_gt(number, 10);
    if (_i == MODE_TRAIN) ck_assert_uint_gt(refused, 0);
    qsort(names, (size_t)number, sizeof *names, by_text);
    for (int64_t i = 1; i < number; i++) ck_assert_str_ne(names[i - 1], names[i]);
    free(names);
    passes_result_free(&result);
}
END_TEST

static const Event *event_numbered(const PassResult *r, int64_t number) {
    for (uint32_t i = 0; i < r->nevents; i++)
        if (r->events[i].number == number) return &r->events[i];
    return NULL;
}

/* One rewrite alone is forbidden, by its number or its name: all before it are the same, it is not done, and the result is as
 * good. */
START_TEST(one_rewrite_is_forbidden) {
    Mode mode = (Mode)_i;
    PassResult all = run_result(&(PassOptions){.bisect_limit = -1}, mode);
    for (int64_t number = 1; number <= all.rewrites; number += 1 + all.rewrites / 9) {
        const Event *wanted = event_numbered(&all, number);
        char digits[24], moded[512];
        snprintf(digits, sizeof digits, "%lld", (long long)number);
        snprintf(moded, sizeof moded, "%s:%s", mode == MODE_TRAIN ? "train" : "infer", wanted->name);
        PassMask masks[] = {{digits, false}, {wanted->name, false}, {moded, false}};
        for (int k = 0; k < 3; k++) {
            PassResult one = run_result(&(PassOptions){.bisect_limit = -1, .forbid = &masks[k], .nforbid = 1}, mode);
            const Event *found = event_numbered(&one, number);
            ck_assert(masks[k].met && found->kind == EVENT_FORBIDDEN);
            ck_assert_str_eq(found->name, wanted->name);
            for (int64_t before = 1; before < number; before++)
                ck_assert_str_eq(event_numbered(&one, before)->name, event_numbered(&all, before)->name);
            for (uint32_t i = 0; i < one.nevents; i++)
                ck_assert_msg(one.events[i].kind != EVENT_DONE || strcmp(one.events[i].name, wanted->name), "%s was done",
                              wanted->name);
            passes_result_free(&one);
        }
    }
    passes_result_free(&all);
}
END_TEST

/* Names with '*', of a pass in all its runs, for one mode; and rewrites that are permitted alone. */
START_TEST(rewrites_are_masked) {
    PassMask mask = {"fuse_maps@*", false}, other = {"infer:*", false}, runs = {"dce@*", false};
    PassResult without = run_result(&(PassOptions){.bisect_limit = -1, .forbid = &mask, .nforbid = 1}, MODE_TRAIN);
    PassResult alone = run_result(&(PassOptions){.bisect_limit = -1, .permit = &mask, .npermit = 1}, MODE_TRAIN);
    PassResult as_ever = run_result(&(PassOptions){.bisect_limit = -1, .forbid = &other, .nforbid = 1}, MODE_TRAIN);
    PassResult none = run_result(&(PassOptions){.bisect_limit = -1, .forbid = &runs, .nforbid = 1}, MODE_INFER);
    ck_assert(mask.met && !other.met && runs.met);
    for (uint32_t i = 0; i < without.nevents; i++)
        if (without.events[i].kind == EVENT_DONE) ck_assert_str_ne(without.events[i].pass, "fuse_maps");
    for (uint32_t i = 0; i < alone.nevents; i++)
        if (alone.events[i].kind == EVENT_DONE) ck_assert_str_eq(alone.events[i].pass, "fuse_maps");
    for (uint32_t i = 0; i < none.nevents; i++)
        if (none.events[i].kind == EVENT_DONE) ck_assert_str_ne(none.events[i].pass, "dce");
    ck_assert_int_gt(alone.rewrites, 0);
    for (uint32_t i = 0; i < as_ever.nevents; i++) ck_assert_int_ne(as_ever.events[i].kind, EVENT_FORBIDDEN);
    passes_result_free(&without);
    passes_result_free(&alone);
    passes_result_free(&as_ever);
    passes_result_free(&none);
}
END_TEST

/* What depends on the gradient of the loss has a name that says so, and nothing else has one. */
START_TEST(gradients_have_names_of_their_own) {
    PassResult result = run_result(&(PassOptions){.stop_after = _i ? NULL : "autodiff", .bisect_limit = -1}, MODE_TRAIN);
    const Graph *g = result.graph;
    bool *gradient = calloc(g->count, sizeof *gradient);
    uint32_t named = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        gradient[v] = value->op == OP_CROSS_ENTROPY_BWD;
        for (uint32_t i = 0; i < value->nargs; i++) gradient[v] |= gradient[value->args[i]];
        bool says = value->name && strstr(value->name, ":grad");
        if (value->name && gradient[v]) ck_assert_msg(says, "%%%u @\"%s\" is a gradient", v, value->name);
        if (says && !gradient[v])
            ck_assert_msg(value->nargs == 0 || op_tier(value->op) == TIER_NET, "%%%u @\"%s\"", v, value->name);
        named += says;
    }
    ck_assert_uint_gt(named, 10);
    free(gradient);
    passes_result_free(&result);
}
END_TEST

/* ---- limits and remarks ---- */

START_TEST(rewrites_are_counted_over_all_passes) {
    PassResult result;
    char *message, *text = run_text(&(PassOptions){.bisect_limit = -1}, MODE_TRAIN, &message, &result);
    int64_t all = result.rewrites;
    ck_assert_int_gt(all, 10);
    ck_assert_uint_gt(result.nevents, 0);
    for (uint32_t i = 0; i < result.nevents; i++) ck_assert(pass_find(result.events[i].pass) && *result.events[i].text);
    passes_result_free(&result);
    free(message);
    char *same = run_text(&(PassOptions){.bisect_limit = all}, MODE_TRAIN, &message, &result);
    ck_assert_str_eq(text, same);
    ck_assert_int_eq(result.rewrites, all);
    passes_result_free(&result);
    free(message);
    free(same);
    char *none = run_text(&(PassOptions){.bisect_limit = 0}, MODE_TRAIN, &message, &result), *required_message;
    ck_assert_int_eq(result.rewrites, 0);
    passes_result_free(&result);
    char *required = run_text(&(PassOptions){.pipeline = "lower,split_batch_norm,autodiff", .bisect_limit = -1}, MODE_TRAIN,
                              &required_message, &result);
    passes_result_free(&result);
    ck_assert_int_eq(occurrences(none, "\n"), occurrences(required, "\n")); /* fusing passes may reorder, no more */
    free(message);
    free(required_message);
    free(none);
    free(required);
    free(text);
}
END_TEST

/* ---- shared objects ---- */

START_TEST(loaded_pass_runs) {
    const char *load[] = {PASS_DOUBLE};
    PassOptions options = {.load = load, .nload = 1};
    options.pipeline = "lower,double";
    expect_passes(&options, MODE_TRAIN, "lower,double");
    options.pipeline = NULL; /* its place is behind the last canonicalise */
    expect_passes(&options, MODE_INFER,
                  "lower,split_batch_norm,fold_batch_norm,canonicalise,cse,dce,squeeze,canonicalise,double,cse,dce,"
                  "fuse_maps,fuse_epilogues,fuse_prologues,share_sweeps,dce");
    options.pipeline = "-double";
    expect_passes(&options, MODE_INFER, pass_default_pipeline(MODE_INFER));
}
END_TEST

START_TEST(loaded_pass_rewrites) {
    Zoo z = zoo_begin("twice", MODE_INFER);
    Val x = zoo_unary(&z, OP_TANH, zoo_leaf(&z, OP_INPUT, "image", type_matrix(2, 3), false));
    graph_output(z.g, OUT_LOGITS, zoo_binary(&z, OP_ADD, x, x), NULL);
    const char *load[] = {PASS_DOUBLE};
    Diag *diag = diag_new();
    PassResult result;
    ck_assert(
        passes_run(z.g, &(PassOptions){.pipeline = "lower,double", .load = load, .nload = 1, .bisect_limit = -1}, diag, &result));
    ck_assert_uint_eq(result.nevents, 1);
    ck_assert_str_eq(result.events[0].pass, "double");
    ck_assert_str_eq(result.events[0].text, "a sum of equal terms became a product");
    ck_assert_int_eq(result.rewrites, 1);
    passes_result_free(&result);
    diag_free(diag);
    graph_free(z.g);
}
END_TEST

START_TEST(loaded_pass_replaces) {
    const char *load[] = {PLUGIN_REPLACES};
    PassResult result;
    char *message, *text;
    for (int m = 0; m < 2; m++) {
        text = run_text(&(PassOptions){.load = load, .nload = 1, .bisect_limit = -1}, (Mode)m, &message, &result);
        ck_assert_str_eq(result.pipeline, pass_default_pipeline((Mode)m));
        uint32_t replaced = 0;
        for (uint32_t i = 0; i < result.nevents; i++) replaced += !strcmp(result.events[i].text, "left everything as it was");
        ck_assert_uint_eq(replaced, m == MODE_TRAIN ? 3 : 0);
        passes_result_free(&result);
        free(message);
        free(text);
    }
    text = run_text(&(PassOptions){.load = load, .nload = 1, .pipeline = "-lower", .bisect_limit = -1}, MODE_INFER, &message,
                    &result);
    ck_assert_ptr_null(text);
    ck_assert_str_eq(message, "error: the pass 'lower' is required and cannot be left out\n");
    free(message);
    const char *twice[] = {PASS_DOUBLE, PASS_DOUBLE};
    text = run_text(&(PassOptions){.load = twice, .nload = 2, .bisect_limit = -1}, MODE_TRAIN, &message, &result);
    ck_assert_ptr_null(text);
    ck_assert_str_eq(message, "error: the pass 'double' is loaded twice, from '" PASS_DOUBLE "' and '" PASS_DOUBLE "'\n");
    free(message);
}
END_TEST

/* ---- bugs ---- */

static const struct {
    const char *pass, *message;
} bugs[] = {
    {"nothing", "netc: internal error: after the pass 'nothing' the graph is unsound: it returned none"},
    {"unsound", "netc: internal error: after the pass 'unsound' the graph is unsound: %"},
    {"leaves", "netc: internal error: after the pass 'leaves' the graph is unsound: %"},
    {"ill_typed", "netc: internal error: the pass 'ill_typed' crashed (signal 6)"},
    {"input", "netc: internal error: after the pass 'input' the graph is unsound: it returned the graph that it was given"},
    {"mode", "netc: internal error: after the pass 'mode' the graph is unsound: it is of training and was of inference"},
    {"nameless", "netc: internal error: after the pass 'nameless' the graph is unsound: the graph has no name"},
    {"null_leaf", "netc: internal error: after the pass 'null_leaf' the graph is unsound: %"},
    {"drops_output", "netc: internal error: after the pass 'drops_output' the graph is unsound: the output 'logits' is gone"},
    {"adds_output", "netc: internal error: after the pass 'adds_output' the graph is unsound: the output 'correct' is new, and "
                    "the pass does not say that it adds such"},
    {"widens_output", "netc: internal error: after the pass 'widens_output' the graph is unsound: the output 'logits' was f32["},
    {"renames_leaf", "netc: internal error: after the pass 'renames_leaf' the graph is unsound: the param \""},
    {"adds_leaf", "netc: internal error: after the pass 'adds_leaf' the graph is unsound: the param \"zzz\" is new"},
    {"initial_value", "netc: internal error: after the pass 'initial_value' the graph is unsound: the param \""},
    {"decay", "netc: internal error: after the pass 'decay' the graph is unsound: the param \""},
    {"position", "netc: internal error: after the pass 'position' the graph is unsound: the param \""},
#ifndef __SANITIZE_ADDRESS__ /* UBSan sees the null pointer before the signal comes */
    {"wild", "netc: internal error: the pass 'wild' crashed (signal 11)"},
#endif
    {"crash", "netc: internal error: the pass 'crash' crashed (signal 6)"},
};
enum { BUGS = sizeof bugs / sizeof *bugs };

START_TEST(bugs_are_reported_with_the_graph) {
    FILE *output = tmpfile();
    pid_t child = fork();
    if (child == 0) {
        dup2(fileno(output), STDERR_FILENO);
        const char *load[] = {PLUGIN_BROKEN};
        char pipeline[64], *message;
        snprintf(pipeline, sizeof pipeline, "lower,split_batch_norm,%s", bugs[_i].pass);
        PassResult result;
        run_text(&(PassOptions){.pipeline = pipeline, .load = load, .nload = 1, .bisect_limit = -1}, MODE_INFER, &message,
                 &result);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 70);
    static char text[1 << 20];
    rewind(output);
    text[fread(text, 1, sizeof text - 1, output)] = 0;
    ck_assert_msg(strstr(text, bugs[_i].message) != NULL, "found: %.300s", text);
    ck_assert_int_ge(occurrences(text, "graph \"resnet\" infer\n"), 1);
    fclose(output);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("driver");
    tcase_add_loop_test(t, mistakes_are_reported, 0, MISTAKES);
    tcase_add_test(t, pipelines);
    tcase_add_test(t, table_and_pipelines_agree);
    tcase_add_test(t, order);
    tcase_add_loop_test(t, work_grows_like_the_graph, 0, 4);
    tcase_add_test(t, graphs_are_printed);
    tcase_add_test(t, chosen_graphs_are_printed);
    tcase_add_loop_test(t, names_without_effect, 0, WITHOUT_EFFECT);
    tcase_add_test(t, lists_are_for_a_mode);
    tcase_add_test(t, changes_of_the_default);
    tcase_add_test(t, options_of_passes);
    tcase_add_test(t, the_pipeline_is_said);
    tcase_add_test(t, a_pass_to_stop_after);
    tcase_add_test(t, loaded_pass_replaces);
    tcase_add_loop_test(t, every_rewrite_is_logged, 0, 2);
    tcase_add_loop_test(t, one_rewrite_is_forbidden, 0, 2);
    tcase_add_test(t, rewrites_are_masked);
    tcase_add_loop_test(t, gradients_have_names_of_their_own, 0, 2);
    tcase_add_test(t, rewrites_are_counted_over_all_passes);
    tcase_add_test(t, loaded_pass_runs);
    tcase_add_test(t, loaded_pass_rewrites);
    tcase_add_loop_test(t, bugs_are_reported_with_the_graph, 0, BUGS);
    return run_cases("passes_driver", t);
}
