/* Any bytes as JSON, and as the metrics of a run that is resumed. */
#include "runtime/json.h"
#include "runtime/metrics.h"
#include "tests/fuzz/fuzz.h"
#include <sys/stat.h>

/* What is copied out is what is skipped. */
static void walk(Json *j, int depth) {
    Json before = *j;
    size_t length;
    char *text = json_copy(j, &length);
    if (text) {
        FUZZ_CHECK(text[length] == 0 && length <= (size_t)(j->at - before.at));
        free(text);
        return;
    }
    *j = before;
    double number;
    if (depth < 20 && json_begin(j, '{')) {
        char *key;
        for (bool first = true; json_member(j, first, &key, &length); first = false) {
            FUZZ_CHECK(key[length] == 0);
            free(key);
            walk(j, depth + 1);
        }
    } else if (*j = before, depth < 20 && json_begin(j, '[')) {
        for (bool first = true; json_next(j, '[', first, NULL, 0); first = false) walk(j, depth + 1);
    } else if (*j = before, !json_number(j, &number)) {
        *j = before;
        json_skip(j);
    }
}

static void metrics(const uint8_t *data, size_t size) {
    static char directory[64], path[96];
    RtMetrics m;
    RtError error;
    struct stat s;
    if (!*directory) {
        snprintf(directory, sizeof directory, "/dev/shm/netc-fuzz-json-%d", (int)getpid());
        snprintf(path, sizeof path, "%s/metrics.jsonl", directory);
        FUZZ_CHECK(!mkdir(directory, 0700));
    }
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file && fwrite(data, 1, size, file) == size && !fclose(file));
    FUZZ_CHECK(rt_metrics_open(&m, directory, true, 100, &error) == RT_OK);
    FUZZ_CHECK(!stat(path, &s) && (size_t)s.st_size <= size); /* whole lines are kept */
    rt_metrics_close(&m);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Json skipped = json_open((const char *)data, size), walked = skipped;
    bool good = json_skip(&skipped) && json_end(&skipped);
    walk(&walked, 0);
    FUZZ_CHECK(!good || json_end(&walked));
    metrics(data, size);
    return 0;
}
