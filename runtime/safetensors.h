/* Inside runtime/: the safetensors container: 8 bytes of little-endian header length, a JSON header, the tensors' bytes.
 * https://huggingface.co/docs/safetensors */
#ifndef NETC_RUNTIME_SAFETENSORS_H
#define NETC_RUNTIME_SAFETENSORS_H
#include "runtime/status.h"

enum { ST_NAME = 512, ST_RANK = 8 }; /* of the tensors that netc has; a file's others may have more */

typedef struct StTensor {
    char *name;
    char dtype[16]; /* cut where it is longer, which no known type is */
    uint32_t rank;
    int64_t dim[ST_RANK]; /* the first ones */
    int64_t begin, end;   /* in the data */
} StTensor;

typedef struct StPair {
    char *key, *value;
} StPair;

/* A file read whole. */
typedef struct StFile {
    const char *path; /* borrowed */
    StTensor *tensor;
    uint32_t ntensors;
    StPair *pair;
    uint32_t npairs;
    size_t tensor_capacity, pair_capacity;
    char *owned; /* the file's bytes, if st_open read them */
    const char *bytes, *data;
    int64_t data_length;
} StFile;

/* Checks everything: lengths, JSON, ranges without overlap, dtype against shape where the type is known. What netc does not need
 * it does not judge: tensors of other types and ranks, metadata of any size. Free with st_close, also on failure. If the metadata
 * hold "data_sha256", the data must match it. */
RtStatus st_open(const char *path, StFile *file, RtError *error);
/* The same for a file in memory, which must outlive it. */
RtStatus st_open_bytes(const void *bytes, size_t size, StFile *file, RtError *error);
void st_close(StFile *file);
const StTensor *st_find(const StFile *file, const char *name);
const char *st_metadata(const StFile *file, const char *key); /* NULL if absent */
/* F32, F16, BF16 and F64 as floats; false for other types. */
bool st_read(const StFile *file, const StTensor *t, float *out);

/* A file being written: tensors as F32, in order. */
typedef struct StOut {
    StTensor *tensor;
    uint32_t ntensors;
    size_t capacity;
    char *data;
    size_t length, data_capacity;
    StPair *pair;
    uint32_t npairs;
    size_t pair_capacity;
    bool failed; /* out of memory */
} StOut;
/* Room for the elements of a tensor; NULL when memory is exhausted. Valid until the next call. */
float *st_add(StOut *out, const char *name, uint32_t rank, const int64_t *dim);
void st_add_metadata(StOut *out, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Writes to a temporary file beside path, syncs it, renames it over path and syncs the directory: path holds the old or the
 * new file at every moment. On failure the temporary file is gone and path as it was. */
RtStatus st_write(StOut *out, const char *path, RtError *error);
void st_free(StOut *out);
#endif
