/* Any bytes as numpy's: by the first byte an .npy array, or a zip archive of which every entry is read. A zip's entries carry
 * checksums and lengths; the mutator leaves those to luck, and so .npy has its own way in. */
#include "cli/npy.h"
#include "cli/zip.h"
#include "tests/fuzz/fuzz.h"

static void read_elements(const Npy *a) {
    for (int64_t i = 0; i < a->count && i < 64; i++) {
        int64_t value;
        char *text = npy_text(a, i);
        FUZZ_CHECK(!text || a->kind == 'U' || a->kind == 'S');
        FUZZ_CHECK(!npy_integer(a, i, &value) || a->kind == 'i' || (a->kind == 'u' && value >= 0));
        free(text);
    }
}

static void read_array(const uint8_t *bytes, size_t length) {
    Npy a;
    char why[160] = "";
    uint8_t *copy = malloc(length + 1); /* what is read behind its end is found */
    FUZZ_CHECK(copy);
    memcpy(copy, bytes, length);
    if (npy_parse(copy, length, &a, why, sizeof why)) {
        FUZZ_CHECK(a.data + (size_t)a.count * a.size * a.characters == copy + length && a.rank <= NPY_RANK);
        read_elements(&a);
    } else {
        FUZZ_CHECK(*why);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Zip zip;
    char why[160] = "";
    if (size < 1) return 0;
    if (*data % 2) {
        read_array(data + 1, size - 1);
        return 0;
    }
    bool opened = zip_open(fuzz_file(data + 1, size - 1), &zip, why, sizeof why);
    FUZZ_CHECK(opened || *why);
    for (uint32_t i = 0; opened && i < zip.count && i < 8; i++) {
        *why = 0;
        uint8_t *bytes = zip_read(&zip, &zip.entry[i], why, sizeof why);
        FUZZ_CHECK(bytes || *why);
        if (bytes) read_array(bytes, (size_t)zip.entry[i].length);
        free(bytes);
    }
    zip_close(&zip);
    return 0;
}
