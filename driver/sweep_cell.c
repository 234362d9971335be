/* NAME.cell: by what a training of a sweep is made, and whether it is done. */
#include "cli/report.h"
#include "driver/session.h"
#include "driver/sweep.h"
#include "runtime/sha256.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The text of a model's file decides too, as far as it does not import others. */
static char *model_identity(const char *model) {
    char *file = NULL, *shipped = NULL, hex[65] = "";
    if (access(model, F_OK) && !strchr(model, '/') && !strchr(model, '.')) {
        file = join("%s.net", model);
        shipped = session_shipped_file("models", file);
    }
    FILE *in = fopen(shipped ? shipped : model, "r");
    free(file);
    free(shipped);
    if (!in) return join("not there");
    RtSha256 sum;
    unsigned char part[4096];
    rt_sha256_init(&sum);
    for (size_t n; (n = fread(part, 1, sizeof part, in)) > 0;) rt_sha256_update(&sum, part, n);
    fclose(in);
    rt_sha256_final(&sum, hex);
    return join("%s", hex);
}

static char *cell_text(const Sweep *s, const SweepRow *row, int64_t seed) {
    char *identity = model_identity(row->model), *text = join("model %s (sha256 %s)\n", row->model, identity);
    free(identity);
    for (uint32_t i = 0; i < row->nsets + s->noptions; i++) {
        bool set = i < row->nsets;
        char *longer = join("%s%s %s\n", text, set ? "set" : "option", set ? row->set[i] : s->option[i - row->nsets]);
        free(text);
        text = longer;
    }
    char *whole = join("%sseed %" PRId64 "\n", text, seed);
    free(text);
    return whole;
}

SweepCell sweep_cell(const Sweep *s, const SweepRow *row, int64_t seed) {
    char *path = sweep_file(s, row, seed, ".cell"), *wanted = cell_text(s, row, seed);
    size_t length = strlen(wanted), most = length + sizeof "done\n"; /* a longer one is another's */
    char *found = join("%*s", (int)most, "");
    FILE *in = fopen(path, "r");
    size_t n = in ? fread(found, 1, most, in) : 0;
    SweepCell state = SWEEP_CELL_NEW;
    found[n] = 0;
    if (in) fclose(in);
    if (n && strncmp(found, wanted, length) != 0)
        state = SWEEP_CELL_OTHER;
    else if (n)
        state = !strcmp(found + length, "done\n") ? SWEEP_CELL_DONE : SWEEP_CELL_BEGUN;
    free(path);
    free(wanted);
    free(found);
    return state;
}

int sweep_write(const char *path, const char *mode, const char *text) {
    FILE *out = fopen(path, mode);
    bool written = out && fputs(text, out) != EOF && fflush(out) == 0 && fsync(fileno(out)) == 0;
    return out && fclose(out) == 0 && written ? EXIT_OK : fail(EXIT_IO, "cannot write %s: %s", path, strerror(errno));
}

static int write_cell(const Sweep *s, const SweepRow *row, int64_t seed, const char *mode, const char *text) {
    char *path = sweep_file(s, row, seed, ".cell");
    int status = sweep_write(path, mode, text);
    free(path);
    return status;
}

int sweep_cell_begin(const Sweep *s, const SweepRow *row, int64_t seed) {
    char *text = cell_text(s, row, seed);
    int status = write_cell(s, row, seed, "w", text);
    free(text);
    return status;
}

int sweep_cell_end(const Sweep *s, const SweepRow *row, int64_t seed) { return write_cell(s, row, seed, "a", "done\n"); }
