/* Any bytes as rules: refused with a diagnostic; or rules whose own form reads back as itself, and which leave a sound graph of
 * small ones (which passes_run sees to). Whether they are right is not asked here. */
#include "passes/rules.h"
#include "frontend/frontend.h"
#include "tests/fuzz/fuzz.h"

static const char net[] = "net n() {\n"
                          "    input image: f32[3, 4, 4]\n"
                          "    x = conv2d(image, 4, 3)\n"
                          "    s = sigmoid(conv2d(image, 4, 1))\n"
                          "    y = max(x, 0.5) * s + exp(-x) * s + sqrt(abs(x)) / (1 + s)\n"
                          "    output dense(global_avg_pool(y), 3)\n}\n";

static Graph *graph(void) {
    static Model model;
    if (model.graph) return model.graph;
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/netc-fuzz-rules-%d.net", (int)getpid());
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file && fputs(net, file) >= 0 && !fclose(file));
    FrontendOptions options = {.mode = MODE_TRAIN, .batch = 2};
    Diag *diag = diag_new();
    FUZZ_CHECK(frontend_compile(path, &options, diag, &model));
    diag_free(diag);
    unlink(path);
    return model.graph;
}

static Rules *read_rules(const char *text, size_t length, Diag *diag) {
    return rules_read("fuzz.rules", text, length, diag_add_file(diag, "fuzz.rules", text, length), diag);
}

/* "a: x => y; b: …" with lines for semicolons, which stand nowhere else. */
static char *own_form(const Rules *rules) {
    char *text = rules_text(rules);
    for (char *c = text; *c; c++)
        if (*c == ';') *c = '\n';
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *nowhere;
    if (!nowhere) nowhere = fopen("/dev/null", "w");
    Diag *diag = diag_new();
    Rules *rules = read_rules((const char *)data, size, diag);
    FUZZ_CHECK((rules != NULL) == (diag_error_count(diag) == 0));
    if (rules) {
        char *once = own_form(rules);
        Rules *again = read_rules(once, strlen(once), diag);
        FUZZ_CHECK(again);
        char *twice = own_form(again);
        FUZZ_CHECK(!strcmp(once, twice));
        free(once);
        free(twice);
        rules_free(again);
        PassOptions o = {.bisect_limit = -1, .print = nowhere, .rules = rules, .pipeline = "default+rules@after:fuse_epilogues"};
        PassResult result;
        FUZZ_CHECK(passes_run(graph(), &o, diag, &result));
        passes_result_free(&result);
        rules_free(rules);
    }
    diag_free(diag);
    return 0;
}
