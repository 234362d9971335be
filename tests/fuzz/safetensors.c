/* Any bytes as a safetensors file: refused with a sentence, or every tensor lies within the data and is read. */
#include "runtime/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void check_tensor(const StFile *f, const StTensor *t) {
    FUZZ_CHECK(t->begin >= 0 && t->begin <= t->end && t->end <= f->data_length);
    FUZZ_CHECK(st_find(f, t->name) == t);
    float *out = malloc((size_t)(t->end - t->begin) * 2 + 4); /* F16 becomes twice as long */
    FUZZ_CHECK(out);
    st_read(f, t, out);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    StFile f;
    RtError error = {{0}};
    RtStatus status = st_open_bytes(data, size, &f, &error);
    FUZZ_CHECK(status == RT_OK || *error.text);
    for (uint32_t i = 0; status == RT_OK && i < f.ntensors; i++) check_tensor(&f, &f.tensor[i]);
    for (uint32_t i = 0; status == RT_OK && i < f.npairs; i++) FUZZ_CHECK(st_metadata(&f, f.pair[i].key));
    st_close(&f);
    return 0;
}
