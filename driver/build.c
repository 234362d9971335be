/* netc build: a model becomes an executable that trains, evaluates and predicts without netc. The objects, one per CPU level, are
 * linked by the system's compiler driver with the archive that netc finds relative to itself. */
#include "driver/cache.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/levels.h"
#include "driver/library.h"
#include "driver/linker.h"
#include "driver/process.h"
#include "driver/tune.h"
#include "ir/text.h"
#include "runtime/json.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Build {
    Session session;
    const Options *o;
    const char *target; /* "x86_64-linux-gnu" */
    Levels levels;
    char *object[MAX_LEVELS];
    const char *kind, *output; /* --emit and -o, or what they are by default */
    char *default_output;
    GemmUse gemm;
    char *cache;     /* of compiled kernels; NULL */
    char *directory; /* of the objects, while they are linked */
} Build;

static int compile(Build *b, int level, const char *path, const char *dump_asm, const char *dump_llvm) {
    Session *s = &b->session;
    CodegenInput input = session_input(s);
    CodegenOptions code = session_code_for(s, b->target, b->levels.cpu[level]);
    code.cache = b->cache;
    code.parts = b->directory;
    code.dump_asm = dump_asm;
    code.dump_llvm = dump_llvm;
    session_remarks(s, &code);
    int status = tuning_choose(s, &input, &code);
    if (status) return status;
    char symbol[32];
    GemmUse gemm = GEMM_NONE;
    snprintf(symbol, sizeof symbol, "netc_program_%d", level);
    bool compiled = codegen_object(&input, &code, symbol, path, &gemm, s->diag);
    if (gemm) b->gemm = gemm;
    if (compiled) return EXIT_OK;
    return session_compile_failed(s);
}

/* ---- linking ---- */

static int link_objects(Build *b) {
    bool needs_gemm = b->gemm == GEMM_OPENBLAS;
    Words w = {0};
    words_add(&w, "%s", b->o->link_static ? "-static-pie" : "-pie");
    words_add(&w, "-s");
    words_add(&w, LINK_FLAGS);
    words_add(&w, "-o");
    words_add(&w, "%s", b->output);
    for (int i = 0; i < b->levels.count; i++) words_add(&w, "%s", b->object[i]);
    words_add(&w, "@%s/objects", b->directory);
    int status = words_add_runtime(&w, b->target, needs_gemm, ": build without --gemm=openblas");
    if (needs_gemm) words_add(&w, "-l:libopenblas.a");
    words_add(&w, "-lm");
    words_add(&w, "-pthread");
    const char *hint = needs_gemm ? "; the model calls OpenBLAS: install libopenblas.a, or build without --gemm=openblas" : "";
    if (!status) status = linker_run(b->target, &w, hint);
    words_free(&w);
    return status;
}

static int build_executable(Build *b) {
    b->directory = directory_temporary();
    if (!b->directory) return EXIT_IO;
    b->cache = cache_open(b->o);
    int status = EXIT_OK;
    for (int i = 0; i < b->levels.count && !status; i++) {
        b->object[i] = join("%s/%d.o", b->directory, i);
        status = compile(b, i, b->object[i], NULL, NULL);
    }
    if (!status) status = link_objects(b);
    directory_remove(b->directory);
    free(b->directory);
    free(b->cache);
    return status;
}

/* ---- what is made ---- */

/* As 'netc ir --mode=both --stage=final' prints them. */
static int write_graphs(const Build *b) {
    FILE *out = fopen(b->output, "w");
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", b->output, strerror(errno));
    fputs(b->session.train.recipe_text, out);
    graph_print(b->session.train_passes.graph, b->session.diag, out);
    graph_print(b->session.infer_passes.graph, b->session.diag, out);
    bool failed = ferror(out);
    return fclose(out) || failed ? fail(EXIT_IO, "cannot write '%s': %s", b->output, strerror(errno)) : EXIT_OK;
}

static int emit(Build *b) {
    b->session.target = b->target;
    b->session.levels = &b->levels;
    b->session.keeps_graphs = !strcmp(b->kind, "exe") || !strcmp(b->kind, "obj");
    int status = compile_modes(&b->session, PASS_TRAIN | PASS_INFER, "build");
    if (!status) status = compile_graph(&b->session, MODE_TRAIN, true);
    if (!status && strcmp(b->kind, "ir")) status = session_check_graph(b->session.train_passes.graph);
    bool as_printed = !strcmp(b->kind, "ir");
    if (!status) status = as_printed ? compile_graph(&b->session, MODE_INFER, true) : compile_infer(&b->session);
    if (!status) status = session_check_met(&b->session);
    if (status) return status;
    if (!strcmp(b->kind, "exe")) status = build_executable(b);
    if (!strcmp(b->kind, "obj")) status = compile(b, 0, b->output, NULL, NULL);
    if (!strcmp(b->kind, "asm")) status = compile(b, 0, NULL, b->output, NULL);
    if (!strcmp(b->kind, "llvm")) status = compile(b, 0, NULL, NULL, b->output);
    if (!strcmp(b->kind, "ir")) status = write_graphs(b);
    return status;
}

/* ---- what is asked for ---- */

/* -c and -S are short for an --emit; two words must not say two things. */
static int choose_kind(Build *b) {
    const Options *o = b->o;
    const char *letter = o->emit_object ? "-c" : "-S", *meant = o->emit_object ? "obj" : o->emit_assembly ? "asm" : NULL;
    if (o->emit_object && o->emit_assembly) return usage_error("build", "'-c' and '-S' exclude each other");
    if (meant && o->emit && strcmp(o->emit, meant) != 0)
        return usage_error("build", "'%s' means '--emit=%s', but '--emit=%s' is given too", letter, meant, o->emit);
    b->kind = meant ? meant : o->emit ? o->emit : "exe";
    if (o->link_static && strcmp(b->kind, "exe") != 0)
        return usage_error("build", "'--static' is said of an executable, not of '--emit=%s'", b->kind);
    return EXIT_OK;
}

/* As a C compiler names its outputs: the model's name in this directory, with the ending of what is made; an executable has none.
 */
static int choose_output(Build *b) {
    static const char *const endings[][2] = {{"exe", ""}, {"obj", ".o"}, {"asm", ".s"}, {"llvm", ".ll"}, {"ir", ".ir"}};
    b->output = b->o->output;
    if (b->output) return EXIT_OK;
    const char *slash = strrchr(b->session.path, '/'), *name = slash ? slash + 1 : b->session.path, *ending = "";
    size_t length = strlen(name);
    if (length > 4 && !strcmp(name + length - 4, ".net"))
        length -= 4;
    else if (length > 3 && !strcmp(name + length - 3, ".ir") && strcmp(b->kind, "ir") != 0) /* not over the model itself */
        length -= 3;
    else if (!strcmp(b->kind, "exe"))
        return usage_error("build", "no name for the executable follows from '%s': -o FILE", name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (!strcmp(endings[i][0], b->kind)) ending = endings[i][1];
    b->output = b->default_output = join("%.*s%s", (int)length, name, ending);
    return EXIT_OK;
}

/* Before anything is compiled: a place where no file can be made. */
static int check_output(const char *path) {
    struct stat info = {0};
    char *directory = join("%s", path), *slash = strrchr(directory, '/');
    if (slash) slash[1] = 0;
    bool bad = stat(path, &info) ? access(slash ? directory : ".", W_OK) : S_ISDIR(info.st_mode);
    int status = bad ? fail(EXIT_IO, "cannot write '%s': %s", path, strerror(S_ISDIR(info.st_mode) ? EISDIR : errno)) : EXIT_OK;
    free(directory);
    return status;
}

static int choose_target(Build *b) {
    b->target = b->o->target ? b->o->target : NETC_TARGET;
    if (codegen_target(b->target)) return EXIT_OK;
    char names[256];
    codegen_target_names(names, sizeof names);
    return usage_error("build", "there is no target '%s': it is one of %s", b->target, names);
}

static bool library_option(const Options *o) {
    return o->weights || o->embed_weights || o->prefix || o->header || o->data || o->views;
}

static int choose_levels(Build *b) {
    bool one = strcmp(b->kind, "exe") != 0;
    int status = levels_choose(&b->levels, b->target, session_precision(b->o), b->o->cpu, one);
    if (status || !one || b->levels.count == 1) return status;
    return usage_error("build", "'--emit=%s' is made for one CPU: --cpu=%s", b->kind, b->levels.cpu[b->levels.count - 1]);
}

/* With --json: what was made. */
static void print_made(const Build *b, const char *output) {
    struct stat info = {0};
    const Model *model = b->session.train.name ? &b->session.train : &b->session.infer;
    printf("{\"model\": ");
    json_write_string(stdout, model->name);
    json_write_text(stdout, "kind", b->o->infer ? "library" : b->kind);
    json_write_text(stdout, "file", output);
    if (!stat(output, &info)) printf(", \"bytes\": %lld", (long long)info.st_size);
    if (b->o->infer) {
        char *header = library_header_path(b->o);
        json_write_text(stdout, "header", header);
        free(header);
    }
    json_write_text(stdout, "target", b->target);
    printf(", \"cpus\": [");
    for (int i = 0; i < b->levels.count; i++) {
        if (i) fputs(", ", stdout);
        json_write_string(stdout, b->levels.cpu[i]);
    }
    puts("]}");
}

int command_build(const Options *options) {
    if (options->noperands > 1) return usage_error("build", "one model at a time, found '%s' too", options->operand[1]);
    if (!options->infer && library_option(options))
        return usage_error("build",
                           "'--weights', '--embed-weights', '--prefix', '--header', '--data' and '--views' go with '--infer'");
    Build b = {.o = options};
    int status = choose_kind(&b);
    if (!status) status = choose_target(&b);
    if (!status) status = session_find_model(&b.session, options, "build");
    if (!status) status = choose_levels(&b);
    if (!status && !options->infer) status = choose_output(&b);
    const char *output = options->infer ? options->output : b.output;
    if (!status && output) status = check_output(output);
    if (!status && options->header) status = check_output(options->header);
    if (!status) status = options->infer ? build_library(&b.session, b.target, &b.levels) : emit(&b);
    if (!status && options->json) print_made(&b, output);
    for (int i = 0; i < MAX_LEVELS; i++) free(b.object[i]);
    levels_free(&b.levels);
    free(b.default_output);
    session_close(&b.session);
    return status;
}
