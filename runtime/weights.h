/* Inside runtime/: blocks of memory as the tensors of a safetensors file. */
#ifndef NETC_RUNTIME_WEIGHTS_H
#define NETC_RUNTIME_WEIGHTS_H
#include "runtime/safetensors.h"

/* A block laid out by `tensors`; in a file their names follow the prefix. */
typedef struct RtPart {
    const char *prefix;
    const RtTensor *tensors;
    uint32_t count;
    char *block; /* NULL: what is read is only checked */
    uint64_t bytes;
} RtPart;

enum { RT_MAX_PARTS = 6 };

/* Reads a tensor of the file as t's numbers, in logical order; found may be NULL. False if it is not there, of another shape or
 * of a type that cannot be read: `why` says which. */
bool rt_tensor_takes(const StFile *f, const StTensor *found, const RtTensor *t, float *logical, char *why, size_t size);
/* Weights and running statistics, in a machine if there is one; returns how many parts. */
int rt_weights_parts(const RtProgram *p, RtMachine *m, RtPart parts[RT_MAX_PARTS]);
/* Reads all parts; moves them into place only if every one is whole. */
RtStatus rt_parts_load(const StFile *f, const RtProgram *p, const RtPart *parts, int nparts, RtError *error);
/* Copies of all parts go into place, if that status is RT_OK, and are freed. */
void rt_parts_settle(const RtPart *parts, int nparts, char *const *copy, RtStatus status);
/* Warns of numbers that are NaN or infinite in what `path` was read into. */
void rt_parts_warn(const char *path, const RtPart *parts, int nparts, RtSay say);
/* Names that stand a line each and in messages have no control characters, which here are those of ASCII. */
bool rt_name_is_plain(const char *name);
/* rt_weights_describe of an open file. If the file says, and it cannot be read, `why` has a sentence, else it is left alone. */
bool rt_weights_trained_on(const StFile *f, RtData *data, RtError *why);
/* rt_weights_load of an open file. */
RtStatus rt_weights_read(const StFile *file, RtMachine *m, RtError *error);
#endif
