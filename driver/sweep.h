/* A sweep: a table of models and settings, each trained with several seeds. */
#ifndef NETC_DRIVER_SWEEP_H
#define NETC_DRIVER_SWEEP_H
#include "cli/options.h"
#include "driver/runs.h"

enum { SWEEP_ROWS = 256, SWEEP_SETS = 64, SWEEP_OPTIONS = 64 };

typedef struct SweepRow {
    const char *model, *setting; /* as the file has them; "": no setting */
    char *label;                 /* the model's name and what the model line sets */
    char *name;                  /* of its files */
    const char *set[SWEEP_SETS]; /* KEY=VALUE */
    uint32_t nsets;
} SweepRow;

typedef struct Sweep {
    const char *path;
    char *text; /* the file's, which everything below points into */
    SweepRow row[SWEEP_ROWS];
    uint32_t nrows;
    int64_t seed[MAX_SEEDS];
    uint32_t nseeds;
    const char *option[SWEEP_OPTIONS]; /* of netc train, for all */
    uint32_t noptions;
    char *directory;
} Sweep;

/* Exit status, after a sentence with the line; sweep_free in any case. */
int sweep_read(const char *path, Sweep *sweep);
void sweep_free(Sweep *sweep);
/* DIRECTORY/ROW-SEED and an ending; malloc'd. */
char *sweep_file(const Sweep *sweep, const SweepRow *row, int64_t seed, const char *ending);
/* Writes table.md and table.json into the directory, of what is finished, and prints one of them. */
int sweep_print(const Sweep *sweep, bool json);

/* One training of the table, by what its .cell says. */
typedef enum SweepCell {
    SWEEP_CELL_NEW,
    SWEEP_CELL_BEGUN,
    SWEEP_CELL_DONE,
    SWEEP_CELL_OTHER /* made by what the sweep's file no longer says */
} SweepCell;
/* Writes a file of the directory, into it ("w") or behind it ("a"), and to the disk. Exit status, after a sentence. */
int sweep_write(const char *path, const char *mode, const char *text);
SweepCell sweep_cell(const Sweep *sweep, const SweepRow *row, int64_t seed);
int sweep_cell_begin(const Sweep *sweep, const SweepRow *row, int64_t seed); /* exit status, after a sentence */
int sweep_cell_end(const Sweep *sweep, const SweepRow *row, int64_t seed);
#endif
