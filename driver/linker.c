/* Archives stand relative to netc itself, at ../lib/netc/TARGET, in the build tree and installed. The linker is a compiler
 * driver: it knows where the C library is. For another target it is the cross compiler, or clang told the target. */
#include "driver/linker.h"
#include "cli/report.h"
#include "codegen/codegen.h"
#include "driver/process.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool target_is_cross(const char *target) { return strcmp(target, NETC_TARGET) != 0; }

/* ---- command lines ---- */

void words_add(Words *w, const char *format, ...) {
    if (w->count == 0) w->count = 1;
    if (w->count > MAX_WORDS) abort(); /* what netc runs is short: kernels come in a file (@objects) */
    va_list args;
    va_start(args, format);
    if (vasprintf(&w->word[w->count++], format, args) < 0) exit(fail(EXIT_IO, "out of memory"));
    va_end(args);
}

void words_free(Words *w) {
    for (int i = 1; i < w->count; i++) free(w->word[i]);
    *w = (Words){0};
}

/* ---- archives ---- */

/* lib<name>.a among the target's archives; malloc'd. */
static char *archive(const char *target, const char *name) {
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    return join("%s/../lib/netc/%s/lib%s.a", self, target, name);
}

static int no_runtime(const char *target, const char *path) {
    if (!target_is_cross(target))
        return fail(EXIT_INPUT, "the runtime to link with is not at '%s': install netc whole (cmake --install)", path);
    return fail(EXIT_INPUT, "this netc has no runtime for '%s' at '%s': it is built where %s-gcc is installed", target, path,
                target);
}

int words_add_runtime(Words *w, const char *target, bool needs_gemm, const char *advice) {
    char *runtime = archive(target, "netc_standalone"), *gemm = archive(target, "netc_gemm");
    int status = EXIT_OK;
    if (access(runtime, R_OK))
        status = no_runtime(target, runtime);
    else if (needs_gemm && access(gemm, R_OK))
        status = fail(EXIT_INPUT, "the model calls OpenBLAS, which netc cannot link for '%s'%s", target, advice);
    words_add(w, "%s", runtime);
    if (needs_gemm) words_add(w, "%s", gemm);
    free(runtime);
    free(gemm);
    return status;
}

/* ---- linking ---- */

static int no_linker(const char *target, const char *cross_gcc) {
    if (!target_is_cross(target))
        return fail(EXIT_INPUT,
                    "there is no linker: install gcc, clang, or lld and libc6-dev; or make an object with --emit=obj");
    return fail(EXIT_INPUT,
                "there is no linker for '%s': install '%s' (Debian's package gcc-%s), or make an object with --emit=obj", target,
                cross_gcc, codegen_target(target)->debian);
}

int linker_run(const char *target, Words *w, const char *hint) {
    char *cross_gcc = join("%s-gcc", target), *cross_clang = join("--target=%s", target);
    struct Linker {
        char *name, *word;
    } native[] = {{"cc"}, {"gcc"}, {"clang"}, {"clang-19"}, {0}},
      cross[] = {{cross_gcc}, {"clang", cross_clang}, {"clang-19", cross_clang}, {0}},
      *linker = target_is_cross(target) ? cross : native;
    int status = PROGRAM_MISSING;
    for (; linker->name && status == PROGRAM_MISSING; linker++) {
        w->word[0] = linker->name;
        w->word[w->count] = linker->word;
        status = process_run(w->word, NULL, false, NULL);
    }
    w->word[w->count] = NULL;
    bool direct = status == PROGRAM_MISSING;
    if (direct) status = linker_run_directly(target, w, hint);
    if (status == PROGRAM_MISSING)
        status = no_linker(target, cross_gcc);
    else if (status && !direct)
        status = fail(EXIT_INPUT, "linking by '%s' failed%s", w->word[0], hint);
    free(cross_gcc);
    free(cross_clang);
    return status;
}

int target_tool_run(const char *target, const char *tool, Words *w) {
    char *name[] = {target_is_cross(target) ? join("%s-%s", target, tool) : join("%s", tool), join("llvm-%s", tool),
                    join("llvm-%s-19", tool)};
    enum { NAMES = sizeof name / sizeof name[0] };
    int status = PROGRAM_MISSING;
    for (int i = 0; i < NAMES && status == PROGRAM_MISSING; i++) {
        w->word[0] = name[i];
        status = process_run(w->word, NULL, false, NULL);
    }
    if (status == PROGRAM_MISSING)
        status = fail(EXIT_INPUT, "there is no '%s': install binutils%s%s", name[0], target_is_cross(target) ? " for " : "",
                      target_is_cross(target) ? target : "");
    else if (status)
        status = fail(EXIT_INPUT, "'%s' failed", w->word[0]);
    for (int i = 0; i < NAMES; i++) free(name[i]);
    return status;
}
