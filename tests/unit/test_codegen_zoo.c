/* The nets of models/, lowered but not compiled: every kernel says what kind it is. And lowering leaves the graph alone: two
 * threads may lower one graph at once, and a process that does it again and again does not grow. */
#include "codegen/link/jit.h"
#include "codegen/lower/build.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "run_cases.h"
#include <check.h>
#include <dirent.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>

typedef struct Net {
    Model model[2];
    PassResult fused[2]; /* train, infer */
} Net;

static Net net_open(const char *path) {
    Net net = {0};
    Diag *diag = diag_new();
    for (int i = 0; i < 2; i++) {
        FrontendOptions front = {.mode = i ? MODE_INFER : MODE_TRAIN, .batch = 2};
        bool good = frontend_compile(path, &front, diag, &net.model[i]) &&
                    passes_run(net.model[i].graph, &(PassOptions){0}, diag, &net.fused[i]);
        if (!good) diag_print(diag, stderr, false);
        ck_assert_msg(good, "%s", path);
    }
    diag_free(diag);
    return net;
}

static void net_close(Net *net) {
    for (int i = 0; i < 2; i++) {
        passes_result_free(&net->fused[i]);
        graph_free(net->model[i].graph);
    }
}

/* Lowered for this machine; `check` sees the program before it goes. */
static bool lower(const Net *net, const CodegenOptions *options, void (*check)(const ProgramBuilder *p, const char *what),
                  const char *what) {
    Diag *diag = diag_new();
    Target target;
    ProgramBuilder p;
    RtProgram shape;
    bool good = jit_open(&target, &p, "zoo", options, diag);
    if (good) {
        program_build(&p,
                      &(CodegenInput){.name = "zoo",
                                      .train = net->fused[0].graph,
                                      .infer = net->fused[1].graph,
                                      .recipe = &net->model[0].recipe,
                                      .recipe_text = ""},
                      &shape);
        good = !p.failed;
        if (good && check) check(&p, what);
        program_close(&p);
        target_close(&target);
    }
    if (!good) diag_print(diag, stderr, false);
    diag_free(diag);
    return good;
}

/* ---- kinds ---- */

static void check_kinds(const ProgramBuilder *p, const char *what) {
    const CallList *lists[] = {&p->train_step, &p->apply_update, &p->prepare_eval, &p->eval_step};
    uint32_t calls = 0;
    for (int e = 0; e < 4; e++)
        for (uint32_t i = 0; i < lists[e]->count; i++, calls++) {
            const RtCall *call = &lists[e]->call[i].call;
            if (call->kind == RT_KIND_OTHER || call->kind >= RT_KINDS) ck_abort_msg("%s: %s has no kind", what, call->name);
        }
    ck_assert_uint_gt(calls, 20);
}

START_TEST(every_kernel_has_a_kind) {
    DIR *folder = opendir("models");
    ck_assert_ptr_nonnull(folder);
    int nets = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[300], text[20000];
        snprintf(path, sizeof path, "models/%s", entry->d_name);
        FILE *file = strstr(entry->d_name, ".net") ? fopen(path, "r") : NULL;
        size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
        if (file) fclose(file);
        text[length] = 0;
        if (strncmp(text, "net ", 4) && !strstr(text, "\nnet ")) continue; /* only blocks */
        Net net = net_open(path);
        ck_assert(lower(&net, &(CodegenOptions){0}, check_kinds, path));
        if (strstr(path, "resnet20") || strstr(path, "mobilenet")) { /* other kernels, the same for all nets */
            ck_assert(lower(&net, &(CodegenOptions){.precision = PRECISION_BF16}, check_kinds, path));
            ck_assert(lower(&net, &(CodegenOptions){.conv = conv_method("gemm")}, check_kinds, path));
        }
        net_close(&net);
        nets++;
    }
    closedir(folder);
    ck_assert_int_ge(nets, 18);
}
END_TEST

/* ---- the graph is read only ---- */

static void *lower_often(void *context) {
    for (int i = 0; i < 4; i++)
        if (!lower(context, &(CodegenOptions){0}, NULL, "")) return context;
    return NULL;
}

START_TEST(two_threads_lower_one_graph) {
    Net net = net_open("models/se_resnet20.net");
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&thread[i], NULL, lower_often, &net), 0);
    for (int i = 0; i < 2; i++) {
        void *failed;
        ck_assert_int_eq(pthread_join(thread[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    net_close(&net);
}
END_TEST

START_TEST(nothing_is_left_behind) {
    Net net = net_open("tests/e2e/small.net");
    size_t before = 0;
    for (int i = 0; i < 200; i++) {
        ck_assert(lower(&net, &(CodegenOptions){0}, NULL, ""));
        if (i == 20) before = mallinfo2().uordblks; /* LLVM keeps some tables of its own */
    }
    size_t after = mallinfo2().uordblks;
    ck_assert_msg(after < before + 256 * 1024, "180 more compilations hold %zu bytes more", after - before);
    net_close(&net);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("zoo");
    tcase_set_timeout(tests, 280);
    tcase_add_test(tests, every_kernel_has_a_kind);
    tcase_add_test(tests, two_threads_lower_one_graph);
    tcase_add_test(tests, nothing_is_left_behind);
    return run_cases("codegen_zoo", tests);
}
