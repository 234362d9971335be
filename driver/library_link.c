/* Linking a library: kernels, data and the runtime's part become one relocatable object, in which the seven functions get the
 * library's prefix and all else becomes local. */
#include "driver/library.h"
#include "driver/linker.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const functions[] = {"bytes", "init", "run", "free", "normalize", "softmax", "class_name"};
enum { FUNCTIONS = sizeof functions / sizeof functions[0], MAX_ARGUMENTS = 32 };

static char *word(const char *text) { return (char *)(uintptr_t)text; }

static int merge(const LibraryLink *l, char *merged) {
    char *runtime = target_archive(l->target, "netc_standalone"), *gemm = target_archive(l->target, "netc_gemm");
    char *argument[MAX_ARGUMENTS];
    int n = 1, status;
    argument[n++] = word("-r");
    argument[n++] = word("-nostdlib");
    argument[n++] = word("-o");
    argument[n++] = merged;
    argument[n++] = word("-Wl,-u,netc_infer_init"); /* draws what it needs from the archive */
    for (int i = 0; i < l->nobjects; i++) argument[n++] = l->object[i];
    argument[n++] = runtime;
    if (l->needs_gemm) argument[n++] = gemm;
    argument[n + 1] = NULL;
    if (access(runtime, R_OK))
        status = target_archive_missing(l->target, runtime);
    else if (l->needs_gemm && access(gemm, R_OK))
        status = fail(EXIT_INPUT, "the model calls OpenBLAS, which netc cannot link for '%s'", l->target);
    else
        status = linker_run(l->target, argument, n, "");
    free(runtime);
    free(gemm);
    return status;
}

/* The seven functions get their prefix and stay global; debugging information of the runtime goes. */
static int rename_symbols(const LibraryLink *l, char *merged, const char *output) {
    char *renamed[FUNCTIONS], *kept[FUNCTIONS], *argument[2 * FUNCTIONS + 5];
    int n = 1;
    for (int i = 0; i < FUNCTIONS; i++) {
        argument[n++] = renamed[i] = join("--redefine-sym=netc_infer_%s=%s_%s", functions[i], l->prefix, functions[i]);
        argument[n++] = kept[i] = join("--keep-global-symbol=%s_%s", l->prefix, functions[i]);
    }
    argument[n++] = word("--strip-debug");
    argument[n++] = merged;
    argument[n++] = word(output);
    argument[n] = NULL;
    int status = target_tool_run(l->target, "objcopy", argument);
    for (int i = 0; i < FUNCTIONS; i++) free(renamed[i]), free(kept[i]);
    return status;
}

static int link_shared(const LibraryLink *l, char *merged, const char *output) {
    const char *slash = strrchr(output, '/');
    char *soname = join("-Wl,-soname,%s", slash ? slash + 1 : output), *argument[MAX_ARGUMENTS];
    int n = 1;
    argument[n++] = word("-shared");
    argument[n++] = word("-s");
    argument[n++] = word("-Wl,-z,relro,-z,now,-z,noexecstack,-z,defs,--gc-sections");
    argument[n++] = soname;
    argument[n++] = word("-o");
    argument[n++] = word(output);
    argument[n++] = merged;
    if (l->needs_gemm) argument[n++] = word("-lopenblas");
    argument[n++] = word("-lm");
    argument[n++] = word("-pthread");
    argument[n + 1] = NULL;
    int status = linker_run(l->target, argument, n, l->needs_gemm ? "; the model calls OpenBLAS: install it" : "");
    free(soname);
    return status;
}

static int archive_object(const LibraryLink *l, char *merged, const char *output) {
    char *argument[] = {NULL, word("rcs"), word(output), merged, NULL};
    if (remove(output) && !access(output, F_OK)) return fail(EXIT_IO, "cannot replace '%s'", output);
    return target_tool_run(l->target, "ar", argument);
}

int library_link(const LibraryLink *l, const char *output, const char *suffix) {
    char *merged = join("%s/%s.o", l->directory, l->prefix); /* this name is what `ar t` shows */
    int status = merge(l, merged);
    if (!status) status = rename_symbols(l, merged, strcmp(suffix, ".o") ? merged : output);
    if (!status && !strcmp(suffix, ".so")) status = link_shared(l, merged, output);
    if (!status && !strcmp(suffix, ".a")) status = archive_object(l, merged, output);
    free(merged);
    return status;
}
