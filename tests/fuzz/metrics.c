/* Any bytes as the metrics.jsonl of a run's directory, and as its run.jsonl. */
#include "cli/history.h"
#include "cli/report.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char directory[] = "/tmp/netc-fuzz-XXXXXX", link[64], account[64];
    const char *file = fuzz_file(data, size);
    if (!*link) {
        FUZZ_CHECK(mkdtemp(directory));
        snprintf(link, sizeof link, "%s/metrics.jsonl", directory);
        snprintf(account, sizeof account, "%s/run.jsonl", directory);
    }
    FUZZ_CHECK(!symlink(file, link) && !symlink(file, account));
    History h;
    int64_t epoch = -1;
    FUZZ_CHECK(history_open(directory, &h) == EXIT_OK);
    for (uint32_t i = 1; i < h.nepochs; i++) FUZZ_CHECK(h.epoch[i].epoch >= 0);
    FUZZ_CHECK(history_best(&h, &epoch) < 0 || h.nepochs > 0);
    history_result(&h);
    history_seconds(&h);
    history_close(&h);
    char *trained_on = history_data(directory);
    FUZZ_CHECK(!trained_on || strlen(trained_on) <= size);
    free(trained_on);
    FUZZ_CHECK(!unlink(link) && !unlink(account));
    return 0;
}
