/* Any bytes as a .net file: the compiler answers with a graph or with diagnostics, and canonical text formats to itself. */
#include "frontend/frontend.h"
#include "tests/fuzz/fuzz.h"

static void check_format(const uint8_t *data, size_t size) {
    Diag *diag = diag_new();
    char *once = frontend_format("fuzz.net", (const char *)data, size, diag);
    if (once) {
        char *twice = frontend_format("fuzz.net", once, strlen(once), diag);
        if (!twice || strcmp(once, twice)) abort();
        free(twice);
    }
    free(once);
    diag_free(diag);
}

static void check_compile(const char *path, Mode mode) {
    FrontendOptions options = {.mode = mode};
    Diag *diag = diag_new();
    Model model;
    if (frontend_compile(path, &options, diag, &model))
        graph_free(model.graph);
    else if (!diag_error_count(diag))
        abort(); /* a refusal without a reason */
    diag_free(diag);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char path[64]; /* frontend_compile reads files, since imports are relative to one */
    if (!*path) snprintf(path, sizeof path, "/dev/shm/netc-fuzz-%d.net", (int)getpid());
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) abort();
    check_compile(path, MODE_TRAIN);
    check_compile(path, MODE_INFER);
    check_format(data, size);
    unlink(path);
    return 0;
}
