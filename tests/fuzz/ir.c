/* Any bytes as textual IR: refused with a diagnostic, or a sound graph whose printed form, places included, reads back to the
 * same text. */
#include "ir/stream.h"
#include "ir/text.h"
#include "tests/fuzz/fuzz.h"

static char *print(const Graph *graph, const Diag *diag) {
    TextStream text;
    text_open(&text);
    graph_print(graph, diag, text.file);
    return text_close(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Diag *diag = diag_new();
    Graph *graph = graph_read((const char *)data, size, diag_add_file(diag, "fuzz.ir", (const char *)data, size), diag);
    if (!graph && !diag_error_count(diag)) abort();
    if (graph) {
        free(graph_verify(graph, 0)); /* may refuse, must not crash */
        char *once = print(graph, diag);
        Graph *again = graph_read(once, strlen(once), 0, diag);
        if (!again) abort();
        char *twice = print(again, diag);
        if (strcmp(once, twice)) abort();
        free(once);
        free(twice);
        graph_free(again);
        graph_free(graph);
    }
    diag_free(diag);
    return 0;
}
