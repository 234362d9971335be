/* Any bytes as a picture. A PNG's chunks carry checksums that changed bytes fail, so the mutator sets them right. */
#include "cli/picture.h"
#include "tests/fuzz/fuzz.h"
#include <zlib.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, max_size);
    if (seed % 8 == 0) return size; /* wrong ones are tried too */
    for (size_t at = 8; at + 12 <= size;) {
        size_t length = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
        if (length > size - at - 12) break;
        uint32_t sum = (uint32_t)crc32(0, data + at + 4, (uInt)length + 4);
        for (int i = 0; i < 4; i++) data[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
        at += length + 12;
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Picture picture;
    char why[256] = "";
    uint8_t planes[3 * 8 * 5];
    if (!picture_read(fuzz_file(data, size), &picture, why, sizeof why)) {
        FUZZ_CHECK(*why && !picture.rgb);
        return 0;
    }
    FUZZ_CHECK(picture.width > 0 && picture.height > 0 && picture.width * picture.height <= PICTURE_PIXELS);
    if (picture.width * picture.height < 1 << 16)
        FUZZ_CHECK(picture_resize(&picture, 5, 8, planes) && picture_fit(&picture, RT_FIT_CROP, 1 + size % 2 * 2, 5, 8, planes) &&
                   picture.width > 0 && picture.height > 0); /* larger ones take too long here */
    picture_free(&picture);
    return 0;
}
