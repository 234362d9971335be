/* What netc knows about the data sets it can fetch: files, sizes, sums, where they come from. */
#ifndef NETC_DRIVER_DATASETS_H
#define NETC_DRIVER_DATASETS_H
#include "runtime/rt.h"
#include <stdint.h>

typedef struct DataFile {
    const char *name;
    int64_t bytes;
    const char *sha256; /* NULL: not published, so only the archive's sum stands for it */
} DataFile;

typedef struct DataSet {
    const char *name;
    const DataFile *files;
    int nfiles;
    int label_bytes; /* per record, before 3072 pixels */
    const char *url, *archive_md5, *archive_folder;
    int64_t archive_bytes;
} DataSet;

extern const DataSet data_sets[];
extern const int data_set_count;
const DataSet *data_set_find(const char *name); /* NULL if there is none */
/* The set whose files lie in a directory, by the name of its first file; NULL if none. */
const DataSet *data_set_in(const char *directory);

typedef enum FileState { FILE_GOOD, FILE_MISSING, FILE_SIZE, FILE_SUM, FILE_UNREADABLE } FileState;
/* Checks size and SHA-256 of one file. */
FileState data_file_check(const char *directory, const DataFile *file);

/* Fetches, checks, and moves into place. Returns the exit status; what fails is said on the way. */
int data_get(const DataSet *set, const char *directory);
#endif
