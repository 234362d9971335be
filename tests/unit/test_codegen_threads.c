/* Compiling is a function of its input: two threads compile at once, two models or one graph twice, and nothing is left behind,
 * neither in the caller's graph nor in the process. Run under TSan by ./get-started test. */
#include "codegen/codegen.h"
#include "codegen/target/target.h"
#include "passes/passes.h"
#include "run_cases.h"
#include "tests/unit/fusion_zoo.h"
#include <ftw.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AT_ONCE = 4, COMPILES = 200, WARM = 20 };

typedef struct Job {
    const Graph *graph;
    const char *cache;
    uint64_t arena_bytes, code_bytes;
    uint32_t kernels, calls;
} Job;

/* Of a fused graph. */
static void *compile_fused(void *argument) {
    Job *job = argument;
    Diag *diag = diag_new();
    CodegenInput input = {.name = "threads", .train = job->graph};
    Jit *jit = codegen_jit(&input, &(CodegenOptions){.cache = job->cache}, diag);
    if (!jit) diag_print(diag, stderr, false), abort();
    job->arena_bytes = jit_program(jit)->arena_bytes;
    job->kernels = jit_stats(jit)->kernels;
    job->calls = jit_stats(jit)->calls;
    job->code_bytes = jit_stats(jit)->code_bytes;
    jit_free(jit);
    diag_free(diag);
    return NULL;
}

static PassResult fuse(const Graph *g) {
    Diag *diag = diag_new();
    PassResult passes;
    if (!passes_run(g, &(PassOptions){.bisect_limit = -1}, diag, &passes)) diag_print(diag, stderr, false), abort();
    diag_free(diag);
    return passes;
}

/* Passes and code generation. */
static void *compile(void *argument) {
    Job *job = argument;
    const Graph *source = job->graph;
    PassResult passes = fuse(source);
    job->graph = passes.graph;
    compile_fused(job);
    job->graph = source;
    passes_result_free(&passes);
    return NULL;
}

static void compile_at_once(void *(*work)(void *), Job *job, int n) {
    pthread_t thread[AT_ONCE];
    for (int i = 0; i < n; i++) ck_assert_int_eq(pthread_create(&thread[i], NULL, work, &job[i]), 0);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
}

static void expect_same(const Job *a, const Job *b) {
    ck_assert_uint_gt(a->kernels, 0);
    ck_assert_uint_eq(a->kernels, b->kernels);
    ck_assert_uint_eq(a->calls, b->calls);
    ck_assert_uint_eq(a->arena_bytes, b->arena_bytes);
    ck_assert_uint_eq(a->code_bytes, b->code_bytes);
}

START_TEST(two_models) {
    Graph *net[] = {zoo_resnet(MODE_TRAIN, 2, 8, 8, 1, 1, false), zoo_resnet(MODE_TRAIN, 2, 8, 8, 1, 1, true)};
    Job alone[2] = {{.graph = net[0]}, {.graph = net[1]}}, both[2] = {alone[0], alone[1]};
    for (int i = 0; i < 2; i++) compile(&alone[i]);
    compile_at_once(compile, both, 2);
    for (int i = 0; i < 2; i++) {
        expect_same(&both[i], &alone[i]);
        graph_free(net[i]);
    }
}
END_TEST

/* The same fused graph in the hands of two compilers, which must not write into it. */
START_TEST(one_graph_twice) {
    Graph *g = zoo_resnet(MODE_TRAIN, 2, 8, 8, 1, 1, true);
    PassResult passes = fuse(g);
    Job job[3] = {{.graph = passes.graph}, {.graph = passes.graph}, {.graph = passes.graph}};
    compile_fused(&job[2]);
    compile_at_once(compile_fused, job, 2);
    for (int i = 0; i < 2; i++) expect_same(&job[i], &job[2]);
    passes_result_free(&passes);
    graph_free(g);
}
END_TEST

/* ---- a process that has not compiled yet ---- */

enum { COLD_STARTS = 100 };
static pthread_barrier_t start;

static void *open_target(void *name) {
    Target target;
    char why[256];
    pthread_barrier_wait(&start);
    bool opened = target_open(&target, name, NULL, why, sizeof why);
    if (!opened) fprintf(stderr, "%s: %s\n", (char *)name, why);
    target_close(&target);
    return opened ? NULL : name;
}

/* The first two that ask LLVM for its targets ask at once, for one architecture or for two. */
static void cold_start(bool foreign) {
    char *name[2] = {"x86_64-linux-gnu", foreign ? "aarch64-linux-gnu" : "x86_64-linux-gnu"};
    pthread_t thread[2];
    pthread_barrier_init(&start, NULL, 2);
    bool good = true;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, open_target, name[i])) _exit(2);
    for (int i = 0; i < 2; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        good &= !failed;
    }
    _exit(good ? 0 : 1);
}

START_TEST(first_use_at_once) {
    for (int i = 0; i < COLD_STARTS; i++) {
        pid_t child = fork();
        if (child == 0) cold_start(i % 2);
        int status = -1;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
}
END_TEST

/* ---- memory ---- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)type, (void)walk;
    return remove(path);
}

static size_t allocated(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd; /* small and mapped */
}

START_TEST(nothing_is_left_behind) {
    char cache[] = "/tmp/netc-threads-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(cache));
    Graph *g = zoo_resnet(MODE_TRAIN, 2, 8, 8, 1, 1, false);
    PassResult passes = fuse(g);
    Job job = {.graph = passes.graph, .cache = cache}; /* kernels come from the cache: the rest is what 200 compiles do */
    size_t before = 0;
    for (int i = 0; i < WARM + COMPILES; i++) {
        if (i == WARM) before = allocated();
        compile_fused(&job);
    }
    size_t after = allocated();
    nftw(cache, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    passes_result_free(&passes);
    graph_free(g);
    ck_assert_msg(after < before + 512 * COMPILES, "%d compiles leave %zu bytes", COMPILES, after - before);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("threads");
    tcase_add_test(cases, two_models);
    tcase_add_test(cases, one_graph_twice);
    tcase_add_test(cases, first_use_at_once);
    tcase_add_test(cases, nothing_is_left_behind);
    return run_cases("codegen threads", cases);
}
