/* Any bytes as the files of a CIFAR set, of a few records instead of 60,000. */
#include "tests/fuzz/fuzz.h"

#include "runtime/cifar.c" /* its kinds are of fixed sizes; the functions that read files take any */

static const Cifar small = {"small", "small", {"train.bin", "test.bin"}, {3, 2}, 2, 100};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char directory[64], path[2][80];
    RtError error = {{0}};
    size_t first = 3 * (2 + PIXELS);
    if (!*directory) {
        snprintf(directory, sizeof directory, "/dev/shm/netc-fuzz-cifar-%d", (int)getpid());
        FUZZ_CHECK(!mkdir(directory, 0700));
        for (int i = 0; i < 2; i++) snprintf(path[i], sizeof path[i], "%s/%s", directory, small.file[i]);
    }
    if (first > size) first = size;
    /* Repeated to full length unless the input is that long itself, so that short inputs reach the records too. */
    for (int i = 0; i < 2; i++) {
        const uint8_t *from = i ? data + first : data;
        size_t n = i ? size - first : first, whole = (size_t)small.records[i] * (2 + PIXELS);
        FILE *file = fopen(path[i], "wb");
        FUZZ_CHECK(file && fwrite(from, 1, n, file) == n);
        if (size % 2 && n < whole) FUZZ_CHECK(!fflush(file) && !ftruncate(fileno(file), (off_t)whole));
        FUZZ_CHECK(!fclose(file));
    }
    RtData all = {.channels = 3, .height = 32, .width = 32, .classes = 100, .ntrain = 3, .ntest = 2, .name = strdup("small")};
    FUZZ_CHECK(rt_data_allocate(&all, &error) == RT_OK);
    bool fits = check_files(&small, directory, &error) == RT_OK;
    for (int i = 0; i < 2; i++) {
        RtStatus status = read_file(&small, directory, i, i ? all.test_images : all.train_images,
                                    i ? all.test_labels : all.train_labels, &error);
        for (int k = 0; fits && status == RT_OK && k < small.records[i]; k++)
            FUZZ_CHECK((i ? all.test_labels : all.train_labels)[k] < 100);
    }
    RtData opened = {0};
    FUZZ_CHECK(rt_cifar_open(directory, &opened, &error) != RT_OK && *error.text); /* never 60,000 */
    rt_data_free(&opened);
    for (int i = 0; i < 2; i++) unlink(path[i]);
    rt_data_free(&all);
    return 0;
}
