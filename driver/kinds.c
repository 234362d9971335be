/* Names of the kinds of kernels (kinds.h). */
#include "driver/kinds.h"

const char *kernel_kind_name(RtKind kind) {
    static const char *const names[RT_KINDS] = {
        [RT_KIND_FORWARD] = "convolution, forward",
        [RT_KIND_BACKWARD] = "convolution, backward in one kernel",
        [RT_KIND_BACKWARD_DATA] = "convolution, backward data",
        [RT_KIND_BACKWARD_WEIGHTS] = "convolution, backward weights",
        [RT_KIND_FILTERS] = "filter transforms",
        [RT_KIND_DENSE] = "dense layers",
        [RT_KIND_MAP] = "maps",
        [RT_KIND_STATISTICS] = "statistics",
        [RT_KIND_LAYOUT] = "input and output layout",
        [RT_KIND_REDUCTION] = "weight reduction across pieces",
        [RT_KIND_OPTIMISER] = "optimiser",
        [RT_KIND_LOSS] = "loss",
        [RT_KIND_POOLING] = "pooling and sums of maps",
        [RT_KIND_OTHER] = "other",
    };
    return names[kind];
}

bool kernel_kind_is_small(RtKind kind) {
    return kind == RT_KIND_REDUCTION || kind == RT_KIND_OPTIMISER || kind == RT_KIND_LOSS || kind == RT_KIND_POOLING;
}
