/* Over the model zoo: whatever passes run, parameters, states and dropout sites keep the numbers that the source gave them, since
 * random numbers are drawn by those; and every graph on the way reads back as it was printed. */
#include "frontend/frontend.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "run_cases.h"
#include <check.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

static Graph *source(const char *path, Mode mode) {
    Model model;
    Diag *diag = diag_new();
    bool ok = frontend_compile(path, &(FrontendOptions){.mode = mode, .batch = 2}, diag, &model);
    if (!ok) diag_print(diag, stderr, false);
    ck_assert_msg(ok, "%s does not compile", path);
    diag_free(diag);
    return model.graph;
}

static PassResult run(const Graph *g, const PassOptions *options) {
    PassResult result;
    Diag *diag = diag_new();
    bool ok = passes_run(g, options, diag, &result);
    if (!ok) diag_print(diag, stderr, false);
    ck_assert(ok);
    diag_free(diag);
    return result;
}

static bool is_numbered(const Value *v) { return v->op == OP_PARAM || v->op == OP_STATE; }

/* Source graphs have their leaves in order, so a leaf's number is its place there. */
static void expect_numbers(const Graph *from, const Graph *g, const char *what) {
    int64_t place[2] = {0};
    for (Val v = 0; v < from->count; v++) {
        const Value *leaf = &from->value[v];
        if (!is_numbered(leaf)) continue;
        ck_assert_int_eq(leaf->attrs.param.position, ++place[leaf->op == OP_STATE]);
        Val kept = 0;
        while (kept < g->count &&
               (g->value[kept].op != leaf->op || strcmp(g->value[kept].attrs.param.name, leaf->attrs.param.name)))
            kept++;
        ck_assert_msg(kept < g->count, "%s: '%s' is gone", what, leaf->attrs.param.name);
        ck_assert_msg(g->value[kept].attrs.param.position == leaf->attrs.param.position, "%s: '%s' has position %lld, not %lld",
                      what, leaf->attrs.param.name, (long long)g->value[kept].attrs.param.position,
                      (long long)leaf->attrs.param.position);
    }
}

/* Every dropout of a training is a mask with its stream, and no other is there. */
static void expect_dropouts(const Graph *from, const Graph *g, const char *what) {
    for (int back = 0; back < 2; back++) {
        const Graph *a = back ? g : from, *b = back ? from : g;
        for (Val v = 0; v < a->count; v++) {
            const Value *site = &a->value[v];
            if (site->op != OP_DROPOUT && site->op != OP_DROPOUT_MASK) continue;
            Val same = 0;
            while (same < b->count && ((b->value[same].op != OP_DROPOUT && b->value[same].op != OP_DROPOUT_MASK) ||
                                       b->value[same].attrs.dropout.stream != site->attrs.dropout.stream ||
                                       b->value[same].attrs.dropout.rate != site->attrs.dropout.rate))
                same++;
            ck_assert_msg(same < b->count, "%s: dropout stream %lld is %s", what, (long long)site->attrs.dropout.stream,
                          back ? "new" : "gone");
        }
    }
}

static void expect_reads_back(const Graph *g, const char *what) {
    char *text = graph_to_string(g), *again;
    Diag *diag = diag_new();
    Graph *read = graph_read(text, strlen(text), diag_add_file(diag, "printed.ir", text, strlen(text)), diag);
    if (!read) diag_print(diag, stderr, false);
    ck_assert_msg(read != NULL, "%s does not read back", what);
    again = graph_to_string(read);
    ck_assert_msg(strcmp(text, again) == 0, "%s reads back as another", what);
    graph_free(read);
    diag_free(diag);
    free(again);
    free(text);
}

static glob_t models;

START_TEST(numbers_are_the_sources) {
    const char *path = models.gl_pathv[_i];
    static const char *const lists[] = {NULL, "-fuse_epilogues", "-canonicalise,-cse,-dce", "lower,split_batch_norm,autodiff"};
    for (int m = 0; m < 2; m++) {
        Graph *g = source(path, (Mode)m);
        expect_reads_back(g, path);
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
            if (m == MODE_INFER && lists[i]) continue; /* where only tensors are looked up, by name */
            PassResult r = run(g, &(PassOptions){.pipeline = lists[i], .bisect_limit = -1});
            expect_numbers(g, r.graph, path);
            if (m == MODE_TRAIN) expect_dropouts(g, r.graph, path);
            passes_result_free(&r);
        }
        if (m == MODE_TRAIN) {
            PassResult r = run(g, &(PassOptions){.bisect_limit = -1, .recompute = 5});
            expect_numbers(g, r.graph, path);
            expect_dropouts(g, r.graph, path);
            passes_result_free(&r);
        }
        graph_free(g);
    }
}
END_TEST

/* Each pass left out, each number of activations computed again. */
START_TEST(numbers_under_any_pipeline) {
    static const char *const nets[] = {"models/se_resnet20.net", "models/resnet50.net"};
    Graph *g = source(nets[_i], MODE_TRAIN);
    for (uint32_t i = 0; i < pass_count(); i++) {
        if (pass_at(i)->required) continue;
        PassResult r = run(g, &(PassOptions){.disable = &pass_at(i)->name, .ndisable = 1, .bisect_limit = -1});
        expect_numbers(g, r.graph, pass_at(i)->name);
        passes_result_free(&r);
    }
    for (uint32_t count = 1, all = 2; count <= all; count += 7) {
        PassResult r = run(g, &(PassOptions){.recompute = count, .bisect_limit = -1});
        expect_numbers(g, r.graph, "recompute");
        all = r.recomputable;
        passes_result_free(&r);
    }
    graph_free(g);
}
END_TEST

/* Every graph that --print-after-all writes. */
START_TEST(what_is_printed_reads_back) {
    const char *path = models.gl_pathv[_i];
    for (int m = 0; m < 2; m++) {
        Graph *g = source(path, (Mode)m);
        char *text, *end;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        PassResult r = run(g, &(PassOptions){.print_after_all = true, .print = out, .bisect_limit = -1});
        passes_result_free(&r);
        fclose(out);
        int graphs = 0;
        for (char *at = text; *at; at = end, graphs++) {
            end = strstr(at, "\n# after ");
            end = end ? end + 1 : text + size;
            Diag *diag = diag_new();
            Graph *read = graph_read(at, (size_t)(end - at), diag_add_file(diag, "printed.ir", at, (size_t)(end - at)), diag);
            if (!read) diag_print(diag, stderr, false);
            ck_assert_msg(read != NULL, "%s: %.40s does not read back", path, at);
            char *again = graph_to_string(read), *heading = strchr(at, '\n') + 1;
            ck_assert_msg(strlen(again) == (size_t)(end - heading) && !memcmp(again, heading, strlen(again)),
                          "%s: %.40s reads back as another", path, at);
            free(again);
            graph_free(read);
            diag_free(diag);
        }
        ck_assert_int_ge(graphs, 14);
        free(text);
        graph_free(g);
    }
}
END_TEST

int main(void) {
    size_t kept = 0;
    if (glob("models/*.net", 0, NULL, &models)) return 1;
    for (size_t i = 0; i < models.gl_pathc; i++) {
        char *path = models.gl_pathv[i];
        if (strstr(path, "blocks.net")) continue; /* it has no net: to the end */
        models.gl_pathv[i] = models.gl_pathv[kept];
        models.gl_pathv[kept++] = path;
    }
    TCase *t = tcase_create("zoo");
    tcase_add_loop_test(t, numbers_are_the_sources, 0, (int)kept);
    tcase_add_loop_test(t, numbers_under_any_pipeline, 0, 2);
    tcase_add_loop_test(t, what_is_printed_reads_back, 0, (int)kept);
    return run_cases("passes_zoo", t);
}
