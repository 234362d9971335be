/* netc build: a model becomes an executable that trains, evaluates and predicts without netc. The objects, one per CPU level, are
 * linked by the system's compiler driver with the archive that netc finds relative to itself. */
#include "driver/driver.h"
#include "driver/levels.h"
#include "driver/library.h"
#include "driver/linker.h"
#include "driver/process.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 32 };

typedef struct Build {
    Session session;
    const Options *o;
    const char *target; /* "x86_64-linux-gnu" */
    Levels levels;
    char *object[MAX_LEVELS];
    bool needs_gemm;
    char *directory; /* of the objects, while they are linked */
} Build;

static int compile(Build *b, int level, const char *path, const char *dump_asm, const char *dump_llvm) {
    Session *s = &b->session;
    CodegenInput input = {.name = s->train.name,
                          .train = s->train_passes.graph,
                          .infer = s->infer_passes.graph,
                          .recipe = &s->train.recipe,
                          .recipe_text = s->train.recipe_text};
    CodegenOptions code = {.target = b->target,
                           .cpu = b->levels.cpu[level],
                           .conv = session_conv_algorithm(b->o),
                           .dump_asm = dump_asm,
                           .dump_llvm = dump_llvm};
    char symbol[32];
    bool gemm = false;
    snprintf(symbol, sizeof symbol, "netc_program_%d", level);
    bool compiled = codegen_object(&input, &code, symbol, path, &gemm, s->diag);
    b->needs_gemm |= gemm;
    if (compiled) return EXIT_OK;
    session_print_diagnostics(s);
    return EXIT_INPUT;
}

/* ---- linking ---- */

static int link_objects(Build *b) {
    char *standalone = target_archive(b->target, "netc_standalone"), *gemm = target_archive(b->target, "netc_gemm"),
         *argument[MAX_ARGUMENTS];
    int n = 1, status = EXIT_OK;
    argument[n++] = b->o->link_static ? "-static-pie" : "-pie";
    argument[n++] = "-s";
    argument[n++] = "-Wl,-z,relro,-z,now,-z,noexecstack,--gc-sections";
    argument[n++] = "-o";
    argument[n++] = (char *)(uintptr_t)b->o->output;
    for (int i = 0; i < b->levels.count; i++) argument[n++] = b->object[i];
    argument[n++] = standalone;
    if (b->needs_gemm) argument[n++] = gemm, argument[n++] = "-l:libopenblas.a";
    argument[n++] = "-lm";
    argument[n++] = "-pthread";
    argument[n + 1] = NULL;
    if (access(standalone, R_OK))
        status = target_archive_missing(b->target, standalone);
    else if (b->needs_gemm && access(gemm, R_OK))
        status = fail(EXIT_INPUT, "the model calls OpenBLAS, which netc cannot link for '%s'", b->target);
    else
        status = linker_run(b->target, argument, n,
                            b->needs_gemm ? "; the model calls OpenBLAS, so libopenblas.a must be installed" : "");
    free(standalone);
    free(gemm);
    return status;
}

static int build_executable(Build *b) {
    b->directory = directory_temporary();
    if (!b->directory) return EXIT_IO;
    int status = EXIT_OK;
    for (int i = 0; i < b->levels.count && !status; i++) {
        b->object[i] = join("%s/%d.o", b->directory, i);
        status = compile(b, i, b->object[i], NULL, NULL);
    }
    if (!status) status = link_objects(b);
    directory_remove(b->directory);
    free(b->directory);
    return status;
}

/* ---- what is made ---- */

static int emit(Build *b) {
    const char *kind = b->o->emit ? b->o->emit : "exe", *output = b->o->output;
    bool executable = !strcmp(kind, "exe");
    if (!executable && b->levels.count > 1)
        return usage_error("build", "'--emit=%s' is made for one CPU: --cpu=%s", kind, b->levels.cpu[b->levels.count - 1]);
    int status = session_graph(&b->session, MODE_TRAIN, true);
    if (!status) status = session_graph(&b->session, MODE_INFER, true);
    if (status) return status;
    if (executable) return build_executable(b);
    if (!strcmp(kind, "obj")) return compile(b, 0, output, NULL, NULL);
    return !strcmp(kind, "asm") ? compile(b, 0, NULL, output, NULL) : compile(b, 0, NULL, NULL, output);
}

static int choose_target(Build *b) {
    b->target = b->o->target ? b->o->target : NETC_TARGET;
    for (const char *const *known = codegen_targets(); *known; known++)
        if (!strcmp(*known, b->target)) return EXIT_OK;
    return usage_error("build", "there is no target '%s': it is one of %s and %s", b->target, codegen_targets()[0],
                       codegen_targets()[1]);
}

static bool library_option(const Options *o) { return o->weights || o->embed_weights || o->prefix || o->header || o->data; }

int command_build(const Options *options) {
    if (!options->output) return usage_error("build", "no output file given: -o FILE");
    if (options->noperands > 1) return usage_error("build", "one model at a time, found '%s' too", options->operand[1]);
    if (!options->infer && library_option(options))
        return usage_error("build", "'--weights', '--embed-weights', '--prefix', '--header' and '--data' go with '--infer'");
    Build b = {.o = options};
    int status = choose_target(&b);
    if (!status) status = session_find_model(&b.session, options, "build");
    if (!status) status = levels_choose(&b.levels, b.target, options->cpu, options->emit && strcmp(options->emit, "exe"));
    if (!status) status = options->infer ? build_library(&b.session, b.target, &b.levels) : emit(&b);
    for (int i = 0; i < MAX_LEVELS; i++) free(b.object[i]);
    levels_free(&b.levels);
    session_close(&b.session);
    return status;
}
