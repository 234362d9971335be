/* Any bytes as one IDX file, of images or of labels by the first byte. */
#include "runtime/idx.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    RtError error = {{0}};
    RtStatus status = RT_OK;
    int64_t dim[3] = {1, 1, 1};
    uint8_t *bytes = rt_idx_read(fuzz_file(data + 1, size - 1), *data % 2 ? 3 : 1, dim, &status, &error);
    FUZZ_CHECK(bytes ? status == RT_OK : status == RT_INPUT && *error.text);
    if (bytes) FUZZ_CHECK(dim[0] * dim[1] * dim[2] + (*data % 2 ? 16 : 8) == (int64_t)size - 1);
    free(bytes);
    return 0;
}
