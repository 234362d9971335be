/* Any lines as --set KEY=VALUE of a net: refused with a diagnostic, or a recipe that stands as text in a file of its own. */
#include "frontend/frontend.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_SETS = 16 };
static const char net[] = "net n(width = 4, rate = 0.5, flag = true, name = \"x\", sides = [3, 1]) {\n"
                          "    input image: f32[3, 8, 8]\n"
                          "    x = conv2d(image, width, sides[0]) as name\n"
                          "    if flag { x = dropout(x, rate) }\n"
                          "    output dense(global_avg_pool(x), 10)\n}\n";

static bool compile(const char *path, const char *const *sets, uint32_t nsets, Model *model) {
    FrontendOptions options = {.mode = MODE_TRAIN, .sets = sets, .nsets = nsets};
    Diag *diag = diag_new();
    bool done = frontend_compile(path, &options, diag, model);
    FUZZ_CHECK(done || diag_error_count(diag));
    diag_free(diag);
    return done;
}

static void write_net(const char *path, const char *recipe) {
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file && fputs(net, file) >= 0 && fputs(recipe, file) >= 0 && !fclose(file));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char path[64];
    if (!*path) snprintf(path, sizeof path, "/dev/shm/netc-fuzz-recipe-%d.net", (int)getpid());
    char *text = fuzz_text(data, size), *rest = text;
    const char *sets[MAX_SETS];
    uint32_t n = 0;
    while (n < MAX_SETS && rest) sets[n++] = strsep(&rest, "\n");
    write_net(path, "");
    Model model, again;
    if (compile(path, sets, n, &model)) {
        write_net(path, model.recipe_text);
        FUZZ_CHECK(compile(path, NULL, 0, &again) && !strcmp(model.recipe_text, again.recipe_text));
        graph_free(model.graph);
        graph_free(again.graph);
    }
    unlink(path);
    free(text);
    return 0;
}
