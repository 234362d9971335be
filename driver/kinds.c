/* A kernel is named after its op (codegen), so the longest known beginning of the name says its kind. */
#include "driver/kinds.h"
#include <stddef.h>
#include <string.h>

typedef struct Beginning {
    const char *text;
    KernelKind kind;
} Beginning;

static const Beginning beginnings[] = {
    {"conv2d_", KIND_FORWARD},
    {"conv2d_bwd_", KIND_BACKWARD},
    {"conv2d_bwd_data_", KIND_BACKWARD_DATA},
    {"conv2d_bwd_weights_", KIND_BACKWARD_WEIGHTS},
    {"winograd_filters", KIND_FILTERS},
    {"conv_pack_transposed", KIND_FILTERS},
    {"scale_filters", KIND_FILTERS},
    {"conv_sum_partials", KIND_REDUCTION},
    {"conv_sums", KIND_STATISTICS},
    {"dense", KIND_DENSE},
    {"map", KIND_MAP},
    {"dropout", KIND_MAP},
    {"concat", KIND_MAP},
    {"slice_channels", KIND_MAP},
    {"pad_channels", KIND_MAP},
    {"flatten", KIND_MAP},
    {"unflatten", KIND_MAP},
    {"softmax", KIND_MAP},
    {"moments", KIND_STATISTICS},
    {"batch_sum", KIND_STATISTICS},
    {"channel_sum", KIND_STATISTICS},
    {"pack_images", KIND_INPUT},
    {"unpad_rows", KIND_INPUT},
    {"sgd", KIND_OPTIMISER},
    {"adam", KIND_OPTIMISER},
    {"cross_entropy", KIND_LOSS},
    {"correct", KIND_LOSS},
    {"max_pool", KIND_POOLING},
    {"avg_pool", KIND_POOLING},
    {"image_sum", KIND_POOLING},
    {"map_reduce", KIND_POOLING}, /* a map with sums over images: what global pooling becomes */
};

KernelKind kernel_kind(const char *kernel) {
    KernelKind kind = KIND_OTHER;
    size_t longest = 0;
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        size_t length = strlen(beginnings[i].text);
        if (length <= longest || strncmp(kernel, beginnings[i].text, length) != 0) continue;
        longest = length;
        kind = beginnings[i].kind;
    }
    return kind;
}

const char *kernel_kind_name(KernelKind kind) {
    static const char *const names[KERNEL_KINDS] = {
        [KIND_FORWARD] = "convolution, forward",
        [KIND_BACKWARD] = "convolution, backward in one sweep",
        [KIND_BACKWARD_DATA] = "convolution, backward data",
        [KIND_BACKWARD_WEIGHTS] = "convolution, backward weights",
        [KIND_FILTERS] = "filter transforms",
        [KIND_DENSE] = "dense layers",
        [KIND_MAP] = "maps",
        [KIND_STATISTICS] = "statistics",
        [KIND_INPUT] = "input and output layout",
        [KIND_REDUCTION] = "weight reduction across pieces",
        [KIND_OPTIMISER] = "optimiser",
        [KIND_LOSS] = "loss",
        [KIND_POOLING] = "pooling and sums of maps",
        [KIND_OTHER] = "other",
    };
    return names[kind];
}

bool kernel_kind_is_small(KernelKind kind) {
    return kind == KIND_REDUCTION || kind == KIND_OPTIMISER || kind == KIND_LOSS || kind == KIND_POOLING;
}
