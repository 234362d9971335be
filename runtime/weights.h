/* Inside runtime/: blocks of memory as the tensors of a safetensors file. */
#ifndef NETC_RUNTIME_WEIGHTS_H
#define NETC_RUNTIME_WEIGHTS_H
#include "runtime/safetensors.h"

/* A block laid out by `tensors`; in a file their names follow the prefix. */
typedef struct RtPart {
    const char *prefix;
    const RtTensor *tensors;
    uint32_t count;
    char *block;
    uint64_t bytes;
} RtPart;

enum { RT_MAX_PARTS = 5 };

/* Weights and running statistics; returns how many parts. */
int rt_weights_parts(RtMachine *m, RtPart parts[RT_MAX_PARTS]);
/* Reads all parts; moves them into place only if every one is whole. */
RtStatus rt_parts_load(const StFile *f, const RtProgram *p, const RtPart *parts, int nparts, RtError *error);
/* rt_weights_load of an open file. */
RtStatus rt_weights_read(const StFile *file, RtMachine *m, RtError *error);
#endif
