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

static char *diagnostics(const Diag *diag) {
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
    {"lower,,dce", NULL, NULL, "error: there is no pass ''"},
    {"-nothing_such", NULL, NULL, "error: there is no pass 'nothing_such'"},
    {"-lower", NULL, NULL, "error: the pass 'lower' is required"},
    {"-cse,dce", NULL, NULL, "error: a list of passes either names passes to run or, with '-', passes to leave out; 'dce' mixes"},
    {"cse,-dce", NULL, NULL,
     "error: a list of passes either names passes to run or, with '-', passes to leave out; '-dce' mixes"},
    {NULL, "autodiff", NULL, "error: the pass 'autodiff' is required"},
    {NULL, "nothing_such", NULL, "error: there is no pass 'nothing_such'"},
    {NULL, NULL, "/nowhere/at_all.so", "error: cannot load the passes of '/nowhere/at_all.so'"},
    {NULL, NULL, PLUGIN_FOREIGN, "error: '" PLUGIN_FOREIGN "' was built for version "},
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

/* The names in the timing table, in order. */
static void expect_passes(const PassOptions *options, Mode mode, const char *names) {
    PassOptions timed = *options;
    timed.time_passes = true;
    char *table = printed(timed, mode), found[1024] = "";
    for (char *line = strtok(table, "\n"); line; line = strtok(NULL, "\n")) {
        char name[64] = "";
        sscanf(line, "%63s", name);
        if (!strcmp(name, "pass") || !strcmp(name, "all")) continue;
        if (*found) strcat(found, ",");
        strcat(found, name);
    }
    ck_assert_str_eq(found, names);
    free(table);
}

START_TEST(pipelines) {
    expect_passes(&(PassOptions){.pipeline = NULL}, MODE_TRAIN, pass_default_pipeline(MODE_TRAIN));
    expect_passes(&(PassOptions){.pipeline = NULL}, MODE_INFER, pass_default_pipeline(MODE_INFER));
    expect_passes(&(PassOptions){.pipeline = ""}, MODE_TRAIN, "");
    expect_passes(&(PassOptions){.pipeline = "lower,dce,lower"}, MODE_TRAIN, "lower,dce,lower");
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

/* ---- printing ---- */

static int occurrences(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

START_TEST(graphs_are_printed) {
    char *text = printed((PassOptions){.pipeline = "lower,dce", .print_before_all = true}, MODE_INFER);
    ck_assert_int_eq(occurrences(text, "# before "), 2);
    ck_assert_int_eq(occurrences(text, "graph \"resnet\" infer\n"), 2);
    free(text);
    text = printed((PassOptions){.pipeline = "lower,dce", .print_after_all = true, .print_before = "dce"}, MODE_INFER);
    ck_assert_int_eq(occurrences(text, "# after "), 2);
    ck_assert_int_eq(occurrences(text, "# before dce\n"), 1);
    free(text);
    text = printed((PassOptions){.pipeline = "lower,dce", .print_after = "lower"}, MODE_INFER);
    ck_assert_int_eq(occurrences(text, "# after lower\n"), 1);
    ck_assert_int_eq(occurrences(text, "graph \""), 1);
    free(text);
}
END_TEST

/* ---- limits and remarks ---- */

START_TEST(rewrites_are_counted_over_all_passes) {
    PassResult result;
    char *message, *text = run_text(&(PassOptions){.bisect_limit = -1}, MODE_TRAIN, &message, &result);
    int64_t all = result.rewrites;
    ck_assert_int_gt(all, 10);
    ck_assert_uint_gt(result.nremarks, 0);
    for (uint32_t i = 0; i < result.nremarks; i++) ck_assert(pass_find(result.remarks[i].pass) && *result.remarks[i].text);
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
    ck_assert_uint_eq(result.nremarks, 1);
    ck_assert_str_eq(result.remarks[0].pass, "double");
    ck_assert_str_eq(result.remarks[0].text, "a sum of equal terms became a product");
    ck_assert_int_eq(result.rewrites, 1);
    passes_result_free(&result);
    diag_free(diag);
    graph_free(z.g);
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
    tcase_add_test(t, graphs_are_printed);
    tcase_add_test(t, rewrites_are_counted_over_all_passes);
    tcase_add_test(t, loaded_pass_runs);
    tcase_add_test(t, loaded_pass_rewrites);
    tcase_add_loop_test(t, bugs_are_reported_with_the_graph, 0, BUGS);
    return run_cases("passes_driver", t);
}
