/* The training recipe: what a .net file's `train { }` says, as plain data. Made by the frontend, carried in the Program,
 * obeyed by the runtime. Includes nobody, so that every folder may see it. */
#ifndef NETC_RUNTIME_RECIPE_H
#define NETC_RUNTIME_RECIPE_H
#include <stdbool.h>
#include <stdint.h>

enum { RT_MAX_AUGMENT = 8, RT_MAX_STEPS = 16 };

typedef enum RtDataset { RT_DATA_CIFAR10, RT_DATA_CIFAR100, RT_DATA_SYNTHETIC } RtDataset;
typedef enum RtNormalize {
    RT_NORMALIZE_NONE,
    RT_NORMALIZE_MEAN,
    RT_NORMALIZE_MEAN_STD
} RtNormalize; /* pixels in [0,1], minus channel mean, over channel std */
typedef enum RtAugmentKind { RT_AUGMENT_PAD_CROP, RT_AUGMENT_FLIP, RT_AUGMENT_TRANSLATE, RT_AUGMENT_CUTOUT } RtAugmentKind;
typedef struct RtAugment {
    RtAugmentKind kind;
    double value; /* pad_crop: pixels; translate: fraction of the side; cutout: side in pixels */
} RtAugment;
typedef enum RtOptimizerKind { RT_SGD, RT_ADAM, RT_ADAMW } RtOptimizerKind;
typedef struct RtOptimizer {
    RtOptimizerKind kind;
    double lr, momentum, weight_decay, beta1, beta2, eps;
    bool nesterov;
    bool decay_bn; /* weight decay on batch-norm gamma/beta and biases too (PyTorch's default behaviour: true) */
} RtOptimizer;
typedef enum RtScheduleKind { RT_SCHEDULE_CONSTANT, RT_SCHEDULE_STEPS, RT_SCHEDULE_COSINE, RT_SCHEDULE_ONE_CYCLE } RtScheduleKind;
typedef struct RtSchedule {
    RtScheduleKind kind;
    double warmup;           /* epochs (may be fractional) of linear warm-up from 0 */
    double at[RT_MAX_STEPS]; /* STEPS: epochs at which lr is multiplied by factor */
    uint32_t nat;
    double factor;   /* STEPS */
    double final_lr; /* COSINE, ONE_CYCLE: lr at the end, as a fraction of lr */
    double peak;     /* ONE_CYCLE: fraction of the run at which lr peaks */
} RtSchedule;

typedef struct RtRecipe {
    RtDataset data;
    RtNormalize normalize;
    RtAugment augment[RT_MAX_AUGMENT];
    uint32_t naugment;
    double label_smoothing;
    RtOptimizer optimizer;
    RtSchedule schedule;
    int64_t epochs, batch;
    bool shuffle;
    double ema; /* decay of the exponential moving average of the weights used in evaluation; 0 = off */
} RtRecipe;
#endif
