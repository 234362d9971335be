/* Any text as --passes, --disable-pass and --print-after, over a small graph of each mode: refused with a diagnostic, or a graph
 * that the verifier takes (which passes_run sees to). The first byte says which options the rest is. */
#include "passes/passes.h"
#include "frontend/frontend.h"
#include "tests/fuzz/fuzz.h"

static const char net[] = "net n() {\n"
                          "    input image: f32[3, 4, 4]\n"
                          "    x = relu(batch_norm(conv2d(image, 4, 3, bias = false)))\n"
                          "    s = sigmoid(dense(global_avg_pool(x), 4))\n"
                          "    output dense(global_avg_pool(x * s + x), 3)\n}\n";

static Graph *graph(Mode mode) {
    static Model model[2];
    static bool made;
    for (int m = 0; m < 2 && !made; m++) {
        char path[64];
        snprintf(path, sizeof path, "/dev/shm/netc-fuzz-passes-%d.net", (int)getpid());
        FILE *file = fopen(path, "wb");
        FUZZ_CHECK(file && fputs(net, file) >= 0 && !fclose(file));
        FrontendOptions options = {.mode = m ? MODE_INFER : MODE_TRAIN, .batch = 2};
        Diag *diag = diag_new();
        FUZZ_CHECK(frontend_compile(path, &options, diag, &model[m]));
        diag_free(diag);
        unlink(path);
    }
    made = true;
    return model[mode == MODE_INFER].graph;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static FILE *nowhere;
    if (!nowhere) nowhere = fopen("/dev/null", "w");
    if (size == 0) return 0;
    char *text = fuzz_text(data + 1, size - 1);
    const char *disable[1] = {text};
    PassOptions o = {.bisect_limit = -1, .print = nowhere};
    if (data[0] & 1) o.pipeline = text;
    if (data[0] & 2) o.disable = disable, o.ndisable = 1;
    if (data[0] & 4) o.print_after = disable, o.nprint_after = 1;
    if (data[0] & 8) o.bisect_limit = data[0] >> 4;
    for (int mode = 0; mode < 2; mode++) {
        Diag *diag = diag_new();
        PassResult result;
        if (passes_run(graph(mode ? MODE_INFER : MODE_TRAIN), &o, diag, &result))
            passes_result_free(&result);
        else
            FUZZ_CHECK(diag_error_count(diag));
        diag_free(diag);
    }
    free(text);
    return 0;
}
