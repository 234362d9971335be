/* The training recipe: what a .net file's `train { }` says, as plain data. Made by the frontend, carried in the Program,
 * obeyed by the runtime. Includes nobody, so that every folder may see it. */
#ifndef NETC_RUNTIME_RECIPE_H
#define NETC_RUNTIME_RECIPE_H
#include <stdbool.h>
#include <stdint.h>

enum { RT_MAX_AUGMENT = 12, RT_MAX_STEPS = 16, RT_MAX_GROUPS = 16, RT_MAX_SHARDS = 256, RT_MAX_MIX = 4, RT_PATTERN = 128 };

typedef enum RtDataset { RT_DATA_CIFAR10, RT_DATA_CIFAR100, RT_DATA_SYNTHETIC } RtDataset;
typedef enum RtNormalize {
    RT_NORMALIZE_NONE,
    RT_NORMALIZE_MEAN,
    RT_NORMALIZE_MEAN_STD
} RtNormalize; /* pixels in [0,1], minus channel mean, over channel std */
typedef enum RtAugmentKind {
    RT_AUGMENT_PAD_CROP,
    RT_AUGMENT_FLIP,
    RT_AUGMENT_TRANSLATE,
    RT_AUGMENT_CUTOUT,
    RT_AUGMENT_ERASE,
    RT_AUGMENT_ROTATE,
    RT_AUGMENT_BRIGHTNESS,
    RT_AUGMENT_CONTRAST,
    RT_AUGMENT_SATURATION,
    RT_AUGMENT_RAND,
    RT_AUGMENT_TRIVIAL
} RtAugmentKind;
typedef struct RtAugment {
    RtAugmentKind kind;
    double value;       /* pad_crop: pixels; translate: fraction of the side; cutout: side in pixels; erase: probability;
                           rotate: degrees; brightness, contrast, saturation: by how much a factor may differ from 1; rand_augment: the
                           strength of operations */
    bool variant;       /* pad_crop: reflect; flip: alternate; cutout: wholly inside */
    double least, most; /* erase: fractions of the image's area */
    double operations;  /* rand_augment: how many */
} RtAugment;
/* Images of a batch mixed with others of it, and their labels, in the same shares (mix.h). Of several ways each batch takes one.
 */
typedef enum RtMixKind { RT_MIX_UP, RT_MIX_CUT } RtMixKind;
typedef struct RtMix {
    RtMixKind kind;
    double alpha;       /* shares are drawn from Beta(alpha, alpha) */
    double probability; /* that a batch is mixed */
} RtMix;
typedef enum RtOptimizerKind { RT_SGD, RT_ADAM, RT_ADAMW } RtOptimizerKind;
typedef struct RtOptimizer {
    RtOptimizerKind kind;
    double lr, momentum, weight_decay, beta1, beta2, eps;
    bool nesterov;
    bool decay_bn; /* weight decay on batch-norm gamma/beta and biases too (PyTorch's default behaviour: true) */
} RtOptimizer;
/* What the optimiser does otherwise for the parameters whose names match. Of several groups the first that matches counts. */
typedef struct RtGroup {
    char pattern[RT_PATTERN]; /* ir/pattern.h; zeros behind its end */
    double lr, weight_decay;  /* factors on the optimiser's */
    bool frozen;              /* never updated */
    double frozen_from;       /* updated until this epoch, which may be fractional; 0: to the end */
} RtGroup;
typedef enum RtScheduleKind {
    RT_SCHEDULE_CONSTANT,
    RT_SCHEDULE_STEPS,
    RT_SCHEDULE_COSINE,
    RT_SCHEDULE_ONE_CYCLE,
    RT_SCHEDULE_LINEAR,
    RT_SCHEDULE_POLYNOMIAL
} RtScheduleKind;
typedef struct RtSchedule {
    RtScheduleKind kind;
    double warmup;              /* epochs (may be fractional) of linear warm-up from 0 */
    double at[RT_MAX_STEPS];    /* STEPS: epochs at which lr is multiplied by factor; LINEAR: fractions of the run */
    double level[RT_MAX_STEPS]; /* LINEAR: the rate there, as a fraction of lr */
    uint32_t nat, nlevel;
    double factor;   /* STEPS */
    double final_lr; /* COSINE, ONE_CYCLE, POLYNOMIAL: lr at the end, as a fraction of lr */
    double power;    /* POLYNOMIAL */
    double peak;     /* ONE_CYCLE: fraction of the run at which lr peaks */
} RtSchedule;

typedef enum RtAverageKind { RT_AVERAGE_NONE, RT_AVERAGE_EMA, RT_AVERAGE_LOOKAHEAD } RtAverageKind;
/* Averages of the weights, moved after every `every`-th step by the fraction that is not kept. EMA: they keep decay^every, and
 * evaluation uses them. LOOKAHEAD (Zhang et al., 2019): they keep decay^every * t^power, t being the fraction of the run, and
 * training goes on from them; at its end they are the weights. */
typedef struct RtAverage {
    RtAverageKind kind;
    double decay, every, power;
    bool statistics; /* running statistics are averaged with the weights */
} RtAverage;

/* What evaluation shows the net of each image; its scores are the weighted mean. */
typedef enum RtViews {
    RT_VIEWS_ONE,
    RT_VIEWS_MIRROR,      /* the image and its mirror image */
    RT_VIEWS_MIRROR_SHIFT /* these, weighing one half, and both moved by a pixel up and left, and down and right */
} RtViews;

/* How a picture of another size becomes an image: resized as it is, or its middle of the image's proportion. */
typedef enum RtFit { RT_FIT_STRETCH, RT_FIT_CROP } RtFit;

typedef struct RtRecipe {
    RtDataset data;
    RtFit fit;
    RtNormalize normalize;
    RtAugment augment[RT_MAX_AUGMENT];
    uint32_t naugment, nmix;
    RtMix mix[RT_MAX_MIX];
    double label_smoothing;
    RtOptimizer optimizer;
    RtSchedule schedule;
    RtGroup group[RT_MAX_GROUPS];
    uint32_t ngroups;
    double epochs; /* fractions of one: rounded up to whole steps */
    int64_t batch;
    double accumulate; /* batches whose gradients' mean one step takes; 0 is 1 */
    int64_t shards;    /* equal parts of a batch, which ranks share; 0 is 1 */
    double clip;       /* the greatest norm of all gradients; 0: any */
    double validation; /* training images that are kept out of training, to choose by: how many, or below 1 which part of them */
    double patience;   /* epochs without a better accuracy on these after which the run ends; 0: none */
    bool shuffle;
    RtAverage average;
    RtViews views;
} RtRecipe;
#endif
