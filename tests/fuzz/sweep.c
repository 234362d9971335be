/* Any bytes as the file of a sweep. */
#include "driver/sweep.h"
#include "cli/report.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static Sweep sweep;
    static FILE *nowhere;
    FILE *said = stderr;
    if (!nowhere) nowhere = fopen("/dev/null", "w");
    FUZZ_CHECK(nowhere);
    stderr = nowhere;
    int status = sweep_read(fuzz_file(data, size), &sweep);
    stderr = said;
    FUZZ_CHECK(status == EXIT_OK || status == EXIT_INPUT);
    if (status == EXIT_OK)
        FUZZ_CHECK(sweep.nrows > 0 && sweep.nrows <= SWEEP_ROWS && sweep.nseeds > 0 && sweep.nseeds <= MAX_SEEDS);
    for (uint32_t i = 0; status == EXIT_OK && i < sweep.nrows; i++) {
        const SweepRow *row = &sweep.row[i];
        FUZZ_CHECK(*row->model && *row->name && !strchr(row->name, '/') && row->nsets <= SWEEP_SETS);
        for (uint32_t k = 0; k < i; k++) FUZZ_CHECK(strcmp(row->name, sweep.row[k].name) != 0);
    }
    sweep_free(&sweep);
    return 0;
}
