/* Archives stand relative to netc itself, at ../lib/netc/TARGET, in the build tree and installed. The linker is a compiler
 * driver: it knows where the C library is. For another target it is the cross compiler, or clang told the target. */
#include "driver/linker.h"
#include "cli/report.h"
#include "codegen/codegen.h"
#include "driver/process.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *target_archive(const char *target, const char *name) {
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    return join("%s/../lib/netc/%s/lib%s.a", self, target, name);
}

bool target_is_cross(const char *target) { return strcmp(target, NETC_TARGET) != 0; }

static int no_linker(const char *target, const char *cross_gcc) {
    if (!target_is_cross(target))
        return fail(EXIT_INPUT,
                    "there is no linker: install gcc, clang, or lld and libc6-dev; or make an object with --emit=obj");
    return fail(EXIT_INPUT,
                "there is no linker for '%s': install '%s' (Debian's package gcc-%s), or make an object with --emit=obj", target,
                cross_gcc, codegen_target(target)->debian);
}

int linker_run(const char *target, char **argument, int n, const char *hint) {
    char *cross_gcc = join("%s-gcc", target), *cross_clang = join("--target=%s", target);
    struct Linker {
        char *name, *word;
    } native[] = {{"cc"}, {"gcc"}, {"clang"}, {"clang-19"}, {0}},
      cross[] = {{cross_gcc}, {"clang", cross_clang}, {"clang-19", cross_clang}, {0}},
      *linker = target_is_cross(target) ? cross : native;
    int status = PROGRAM_MISSING;
    for (; linker->name && status == PROGRAM_MISSING; linker++) {
        argument[0] = linker->name;
        argument[n] = linker->word;
        status = process_run(argument, NULL, false, NULL);
    }
    bool direct = status == PROGRAM_MISSING;
    argument[n] = direct ? NULL : argument[n];
    if (direct) status = linker_run_directly(target, argument, hint);
    if (status == PROGRAM_MISSING)
        status = no_linker(target, cross_gcc);
    else if (status && !direct)
        status = fail(EXIT_INPUT, "linking by '%s' failed%s", argument[0], hint);
    free(cross_gcc);
    free(cross_clang);
    return status;
}

int target_tool_run(const char *target, const char *tool, char **argument) {
    char *name[] = {target_is_cross(target) ? join("%s-%s", target, tool) : join("%s", tool), join("llvm-%s", tool),
                    join("llvm-%s-19", tool)};
    enum { NAMES = sizeof name / sizeof name[0] };
    int status = PROGRAM_MISSING;
    for (int i = 0; i < NAMES && status == PROGRAM_MISSING; i++) {
        argument[0] = name[i];
        status = process_run(argument, NULL, false, NULL);
    }
    if (status == PROGRAM_MISSING)
        status = fail(EXIT_INPUT, "there is no '%s': install binutils%s%s", name[0], target_is_cross(target) ? " for " : "",
                      target_is_cross(target) ? target : "");
    else if (status)
        status = fail(EXIT_INPUT, "'%s' failed", argument[0]);
    for (int i = 0; i < NAMES; i++) free(name[i]);
    return status;
}

int target_archive_missing(const char *target, const char *path) {
    if (!target_is_cross(target))
        return fail(EXIT_INPUT, "the runtime to link with is not at '%s': install netc whole (cmake --install)", path);
    return fail(EXIT_INPUT, "this netc has no runtime for '%s' at '%s': it is built where %s-gcc is installed", target, path,
                target);
}
