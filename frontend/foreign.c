/* Names that other frameworks have for what netc calls otherwise, or does not have: only messages know them. */
#include "frontend/foreign.h"
#include <string.h>

typedef struct Foreign {
    const char *of;   /* the operation; NULL: any */
    const char *name; /* elsewhere */
    const char *own;  /* here; NULL: there is none, and `remark` says why */
    const char *remark;
} Foreign;

static const Foreign params[] = {
    {"random_erasing", "p", "probability", NULL},
    {"random_erasing", "scale", "least", NULL},
    {"pad_crop", "padding", "pixels", NULL},
    {"cutout", "length", "size", NULL},
    {"steps", "milestones", "at", NULL},
    {"steps", "gamma", "factor", NULL},
    {"cosine", "eta_min", "final_lr", NULL},
    {"one_cycle", "pct_start", "peak", NULL},
    {NULL, "padding", "pad", NULL},
    {NULL, "strides", "stride", NULL},
    {NULL, "kernel_size", "kernel", NULL},
    {NULL, "pool_size", "kernel", NULL},
    {NULL, "out_channels", "filters", NULL},
    {NULL, "num_filters", "filters", NULL},
    {NULL, "out_features", "units", NULL},
    {NULL, "dilation_rate", "dilation", NULL},
    {NULL, "use_bias", "bias", NULL},
    {NULL, "kernel_initializer", "init", NULL},
    {NULL, "bias_initializer", "bias_init", NULL},
    {NULL, "gamma_initializer", "gamma", NULL},
    {NULL, "epsilon", "eps", NULL},
    {NULL, "p", "rate", NULL},
    {"leaky_relu", "negative_slope", "slope", NULL},
    {"leaky_relu", "alpha", "slope", NULL},
    {"hard_tanh", "min_val", "low", NULL},
    {"hard_tanh", "max_val", "high", NULL},
    {NULL, "lambd", "bound", NULL},
    {"prelu", "num_parameters", NULL, "there is one slope per channel, or one in all with shared = true"},
    {NULL, "learning_rate", "lr", NULL},
    {NULL, "input", "x", NULL},
    {NULL, "in_channels", NULL, "it follows from x"},
    {NULL, "in_features", NULL, "it follows from x"},
    {NULL, "padding_mode", NULL, "padding is by zeros"},
    {NULL, "activation", NULL, "call the activation on the result: relu(...)"},
    {NULL, "inplace", NULL, "values are never changed in place"},
    {"batch_norm", "num_features", NULL, "it follows from x"},
    {"batch_norm", "affine", NULL, "scale = false and shift = false leave the two parameters away"},
    {"batch_norm", "center", "shift", NULL},
    {"group_norm", "num_groups", "groups", NULL},
    {"group_norm", "num_channels", NULL, "it follows from x"},
    {"layer_norm", "normalized_shape", NULL, "it follows from x: over the channels of each pixel"},
    {"drop_path", "drop_prob", "rate", NULL},
    {"drop_path", "mode", "per", NULL},
    {"upsample", "scale_factor", "times", NULL},
    {"upsample", "size", NULL, "give a whole factor: times = size / height(x)"},
    {NULL, "dim", "axes", NULL},
    {NULL, "axis", "axes", NULL},
    {"split", "split_size_or_sections", "parts", NULL},
    {"batch_norm", "track_running_stats", NULL, "batch_norm always keeps running statistics"},
    {NULL, "ceil_mode", NULL, "sizes are rounded down"},
    {NULL, "count_include_pad", NULL, "the padding is counted"},
};

static const Foreign operations[] = {
    {NULL, "conv", "conv2d", NULL},
    {NULL, "linear", "dense", NULL},
    {NULL, "Linear", "dense", NULL},
    {NULL, "Dense", "dense", NULL},
    {NULL, "fc", "dense", NULL},
    {NULL, "batch_norm2d", "batch_norm", NULL},
    {NULL, "BatchNorm2d", "batch_norm", NULL},
    {NULL, "bn", "batch_norm", NULL},
    {NULL, "ReLU", "relu", NULL},
    {NULL, "swish", "silu", NULL},
    {NULL, "hardswish", "hard_swish", NULL},
    {NULL, "hardsigmoid", "hard_sigmoid", NULL},
    {NULL, "max_pool2d", "max_pool", NULL},
    {NULL, "avg_pool2d", "avg_pool", NULL},
    {NULL, "MaxPool2d", "max_pool", NULL},
    {NULL, "AvgPool2d", "avg_pool", NULL},
    {NULL, "adaptive_avg_pool2d", "global_avg_pool", NULL},
    {NULL, "AdaptiveAvgPool2d", "global_avg_pool", NULL},
    {NULL, "cat", "concat", NULL},
    {NULL, "concatenate", "concat", NULL},
    {NULL, "Conv2d", "conv2d", NULL},
    {NULL, "Conv2D", "conv2d", NULL},
    {NULL, "Dropout", "dropout", NULL},
    {NULL, "Flatten", "flatten", NULL},
    {NULL, "Identity", "identity", NULL},
    {NULL, "Softmax", "softmax", NULL},
    {NULL, "Sigmoid", "sigmoid", NULL},
    {NULL, "Tanh", "tanh", NULL},
    {NULL, "SiLU", "silu", NULL},
    {NULL, "Swish", "silu", NULL},
    {NULL, "Hardswish", "hard_swish", NULL},
    {NULL, "Hardsigmoid", "hard_sigmoid", NULL},
    {NULL, "ReLU6", "relu6", NULL},
    {NULL, "LeakyReLU", "leaky_relu", NULL},
    {NULL, "PReLU", "prelu", NULL},
    {NULL, "ELU", "elu", NULL},
    {NULL, "CELU", "celu", NULL},
    {NULL, "SELU", "selu", NULL},
    {NULL, "GELU", "gelu", NULL},
    {NULL, "Mish", "mish", NULL},
    {NULL, "Softplus", "softplus", NULL},
    {NULL, "Softsign", "softsign", NULL},
    {NULL, "LogSigmoid", "log_sigmoid", NULL},
    {NULL, "logsigmoid", "log_sigmoid", NULL},
    {NULL, "hardtanh", "hard_tanh", NULL},
    {NULL, "Hardtanh", "hard_tanh", NULL},
    {NULL, "tanhshrink", "tanh_shrink", NULL},
    {NULL, "Tanhshrink", "tanh_shrink", NULL},
    {NULL, "hardshrink", "hard_shrink", NULL},
    {NULL, "Hardshrink", "hard_shrink", NULL},
    {NULL, "softshrink", "soft_shrink", NULL},
    {NULL, "Softshrink", "soft_shrink", NULL},
    {NULL, "GroupNorm", "group_norm", NULL},
    {NULL, "LayerNorm", "layer_norm", NULL},
    {NULL, "InstanceNorm2d", "instance_norm", NULL},
    {NULL, "DropPath", "drop_path", NULL},
    {NULL, "stochastic_depth", "drop_path", NULL},
    {NULL, "conv1d", "channel_conv", NULL},
    {NULL, "reshape", "unflatten", NULL},
    {NULL, "view", "unflatten", NULL},
    {NULL, "chunk", "split", NULL},
    {NULL, "Upsample", "upsample", NULL},
    {NULL, "UpSampling2D", "upsample", NULL},
    {NULL, "interpolate", "upsample", NULL},
    {NULL, "ChannelShuffle", "channel_shuffle", NULL},
    {NULL, "adaptive_max_pool2d", "global_max_pool", NULL},
    {NULL, "AdaptiveMaxPool2d", "global_max_pool", NULL},
    {NULL, "narrow", "slice", NULL},
    {NULL, "mean", "mean_over", NULL},
    {NULL, "sum", "sum_over", NULL},
    {NULL, "amax", "max_over", NULL},
    {NULL, "matmul", NULL, "products of two activations (self-attention) are outside of what netc compiles"},
    {NULL, "MultiheadAttention", NULL, "products of two activations (self-attention) are outside of what netc compiles"},
    {NULL, "attention", NULL, "products of two activations (self-attention) are outside of what netc compiles"},
    {NULL, "maximum", "max", NULL},
    {NULL, "minimum", "min", NULL},
    {NULL, "where", "select", NULL},
    {NULL, "Parameter", "param", NULL},
    {NULL, "parameter", "param", NULL},
    {NULL, "clamp", NULL, "bounds are written min(max(x, low), high)"},
    {NULL, "clip", NULL, "bounds are written min(max(x, low), high)"},
    {NULL, "square", NULL, "a square is written x * x"},
    {NULL, "rsqrt", NULL, "it is written 1 / sqrt(x)"},
    {NULL, "add", NULL, "a sum is written a + b"},
    {NULL, "mul", NULL, "a product is written a * b"},
    {NULL, "multiply", NULL, "a product is written a * b"},
};

static const Foreign keys[] = {
    {NULL, "tta", "views", NULL},
    {NULL, "test_time_augmentation", "views", NULL},
    {NULL, "grad_clip", "clip", NULL},
    {NULL, "clip_grad_norm", "clip", NULL},
    {NULL, "max_norm", "clip", NULL},
    {NULL, "grad_accum", "accumulate", NULL},
    {NULL, "gradient_accumulation", "accumulate", NULL},
    {NULL, "accumulation_steps", "accumulate", NULL},
    {NULL, "val_split", "validation", NULL},
    {NULL, "validation_split", "validation", NULL},
    {NULL, "early_stopping", "patience", NULL},
    {NULL, "batch_size", "batch", NULL},
    {NULL, "num_epochs", "epochs", NULL},
    {NULL, "dataset", "data", NULL},
    {NULL, "transform", "augment", NULL},
    {NULL, "transforms", "augment", NULL},
    {NULL, "criterion", "loss", NULL},
    {NULL, "scheduler", "schedule", NULL},
    {NULL, "lr_scheduler", "schedule", NULL},
    {NULL, "param_groups", "groups", NULL},
    {NULL, "swa", "average", NULL},
    {NULL, "resize", "fit", NULL},
    {NULL, "lr", NULL, "it is the optimizer's: optimizer = sgd(lr = 0.1)"},
    {NULL, "learning_rate", NULL, "it is the optimizer's: optimizer = sgd(lr = 0.1)"},
    {NULL, "momentum", NULL, "it is the optimizer's: optimizer = sgd(lr = 0.1, momentum = 0.9)"},
    {NULL, "weight_decay", NULL, "it is the optimizer's: optimizer = sgd(lr = 0.1, weight_decay = 1e-4)"},
    {NULL, "warmup", NULL, "it is the schedule's: schedule = cosine(warmup = 5)"},
    {NULL, "label_smoothing", NULL, "it is the loss's: loss = cross_entropy(label_smoothing = 0.1)"},
};

static const char *find(const Foreign *table, size_t count, const char *of, const char *name, const char **remark) {
    *remark = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) || (table[i].of && strcmp(table[i].of, of))) continue;
        *remark = table[i].remark;
        return table[i].own;
    }
    return NULL;
}

const char *foreign_param(const char *operation, const char *name, const char **remark) {
    return find(params, sizeof params / sizeof *params, operation, name, remark);
}

const char *foreign_operation(const char *name, const char **remark) {
    return find(operations, sizeof operations / sizeof *operations, "", name, remark);
}

const char *foreign_key(const char *name, const char **remark) {
    return find(keys, sizeof keys / sizeof *keys, "", name, remark);
}
