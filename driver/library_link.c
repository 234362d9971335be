/* Linking a library: kernels, data and the runtime's part become one relocatable object, in which the seven functions get the
 * library's prefix and all else becomes local. */
#include "driver/library.h"
#include "driver/linker.h"
#include "runtime/infer.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the runtime, and behind the prefix. */
static const char *const functions[][2] = {
    {"bytes", "bytes"},     {"init", "init_" RT_INFER_INTERFACE}, {"run", "run"}, {"free", "free"}, {"normalize", "normalize"},
    {"softmax", "softmax"}, {"class_name", "class_name"}};
enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

static int merge(const LibraryLink *l, const char *merged) {
    Words w = {0};
    words_add(&w, "-r");
    words_add(&w, "-nostdlib");
    words_add(&w, "-o");
    words_add(&w, "%s", merged);
    words_add(&w, "-Wl,-u,netc_infer_init"); /* draws what it needs from the archive */
    for (int i = 0; i < l->nobjects; i++) words_add(&w, "%s", l->object[i]);
    int status = words_add_runtime(&w, l->target, l->needs_gemm, "");
    if (!status) status = linker_run(l->target, &w, "");
    words_free(&w);
    return status;
}

/* The seven functions get their prefix and stay global; debugging information of the runtime goes. */
static int rename_symbols(const LibraryLink *l, const char *merged, const char *output) {
    Words w = {0};
    for (int i = 0; i < FUNCTIONS; i++) {
        words_add(&w, "--redefine-sym=netc_infer_%s=%s_%s", functions[i][0], l->prefix, functions[i][1]);
        words_add(&w, "--keep-global-symbol=%s_%s", l->prefix, functions[i][1]);
        words_add(&w, "--keep-global-symbol=netc_infer_%s", functions[i][0]); /* llvm-objcopy keeps by the old names */
    }
    words_add(&w, "--strip-debug");
    words_add(&w, "%s", merged);
    words_add(&w, "%s", output);
    int status = target_tool_run(l->target, "objcopy", &w);
    words_free(&w);
    return status;
}

static int link_shared(const LibraryLink *l, const char *merged, const char *output) {
    const char *slash = strrchr(output, '/');
    Words w = {0};
    words_add(&w, "-shared");
    words_add(&w, "-s");
    words_add(&w, LINK_FLAGS);
    words_add(&w, "-Wl,-z,defs");
    words_add(&w, "-Wl,-soname,%s", slash ? slash + 1 : output);
    words_add(&w, "-o");
    words_add(&w, "%s", output);
    words_add(&w, "%s", merged);
    if (l->needs_gemm) words_add(&w, "-lopenblas");
    words_add(&w, "-lm");
    words_add(&w, "-pthread");
    int status = linker_run(l->target, &w, l->needs_gemm ? "; the model calls OpenBLAS: install it" : "");
    words_free(&w);
    return status;
}

static int archive_object(const LibraryLink *l, const char *merged, const char *output) {
    if (remove(output) && !access(output, F_OK)) return fail(EXIT_IO, "cannot replace '%s'", output);
    Words w = {0};
    words_add(&w, "rcs");
    words_add(&w, "%s", output);
    words_add(&w, "%s", merged);
    int status = target_tool_run(l->target, "ar", &w);
    words_free(&w);
    return status;
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
