/* The table of recipe forms. Defaults of optimizers are PyTorch's: sgd alone has neither momentum nor weight decay. */
#include "frontend/recipe_table.h"
#include <math.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define FORMS(label, array) {label, array, COUNT(array)}
#define OPTIMIZER(member) offsetof(RtOptimizer, member)
#define SCHEDULE(member) offsetof(RtSchedule, member)

static const Form data_forms[] = {
    {"cifar10", RT_DATA_CIFAR10, 0, {{0}}}, {"cifar100", RT_DATA_CIFAR100, 0, {{0}}}, {"synthetic", RT_DATA_SYNTHETIC, 0, {{0}}}};
const KeyForms recipe_data_forms = FORMS("data set", data_forms);

static const Form fit_forms[] = {{"stretch", RT_FIT_STRETCH, 0, {{0}}}, {"crop", RT_FIT_CROP, 0, {{0}}}};
const KeyForms recipe_fit_forms = FORMS("fit", fit_forms);

static const Form normalize_forms[] = {
    {"none", RT_NORMALIZE_NONE, 0, {{0}}}, {"mean", RT_NORMALIZE_MEAN, 0, {{0}}}, {"mean_std", RT_NORMALIZE_MEAN_STD, 0, {{0}}}};
const KeyForms recipe_normalize_forms = FORMS("normalization", normalize_forms);

#define AUGMENT offsetof(RtAugment, value)
#define VARIANT(name) {name, FIELD_FLAG, offsetof(RtAugment, variant), false, 0, 1, false, false}
static const Form augment_forms[] = {
    {"pad_crop", RT_AUGMENT_PAD_CROP, 2, {{"pixels", FIELD_WHOLE, AUGMENT, NAN, 0, 1024, false, false}, VARIANT("reflect")}},
    {"flip", RT_AUGMENT_FLIP, 1, {VARIANT("alternate")}},
    {"translate", RT_AUGMENT_TRANSLATE, 1, {{"fraction", FIELD_NUMBER, AUGMENT, NAN, 0, 1, false, true}}},
    {"cutout", RT_AUGMENT_CUTOUT, 2, {{"size", FIELD_WHOLE, AUGMENT, NAN, 1, 1024, false, false}, VARIANT("inside")}},
    {"random_erasing",
     RT_AUGMENT_ERASE,
     3,
     {{"probability", FIELD_NUMBER, AUGMENT, 0.5, 0, 1, false, false},
      {"least", FIELD_NUMBER, offsetof(RtAugment, least), 0.02, 0, 1, true, false},
      {"most", FIELD_NUMBER, offsetof(RtAugment, most), 0.33, 0, 1, true, false}}},
    {"rotate", RT_AUGMENT_ROTATE, 1, {{"degrees", FIELD_NUMBER, AUGMENT, NAN, 0, 180, false, false}}},
    {"brightness", RT_AUGMENT_BRIGHTNESS, 1, {{"factor", FIELD_NUMBER, AUGMENT, NAN, 0, 10, false, false}}},
    {"contrast", RT_AUGMENT_CONTRAST, 1, {{"factor", FIELD_NUMBER, AUGMENT, NAN, 0, 10, false, false}}},
    {"saturation", RT_AUGMENT_SATURATION, 1, {{"factor", FIELD_NUMBER, AUGMENT, NAN, 0, 10, false, false}}},
    {"rand_augment",
     RT_AUGMENT_RAND,
     2,
     {{"operations", FIELD_WHOLE, offsetof(RtAugment, operations), 2, 1, 16, false, false},
      {"magnitude", FIELD_WHOLE, AUGMENT, 9, 0, 30, false, false}}},
    {"trivial_augment", RT_AUGMENT_TRIVIAL, 0, {{0}}}};
const KeyForms recipe_augment_forms = FORMS("augmentation", augment_forms);

#define MIX_FIELDS(standard)                                                                                                     \
    {                                                                                                                            \
        {"alpha", FIELD_NUMBER, offsetof(RtMix, alpha), standard, 0, 1000, true, false}, {                                       \
            "probability", FIELD_NUMBER, offsetof(RtMix, probability), 1, 0, 1, false, false                                     \
        }                                                                                                                        \
    }
static const Form mix_forms[] = {{"mixup", RT_MIX_UP, 2, MIX_FIELDS(0.2)}, {"cutmix", RT_MIX_CUT, 2, MIX_FIELDS(1)}};
const KeyForms recipe_mix_forms = FORMS("way to mix images", mix_forms);

static const Form loss_forms[] = {
    {"cross_entropy", 0, 1, {{"label_smoothing", FIELD_NUMBER, offsetof(RtRecipe, label_smoothing), 0, 0, 1, false, true}}}};
const KeyForms recipe_loss_forms = FORMS("loss", loss_forms);

#define LR(standard) {"lr", FIELD_NUMBER, OPTIMIZER(lr), standard, 0, INFINITY, false, false}
#define WEIGHT_DECAY(standard) {"weight_decay", FIELD_NUMBER, OPTIMIZER(weight_decay), standard, 0, INFINITY, false, false}
#define DECAY_BN {"decay_bn", FIELD_FLAG, OPTIMIZER(decay_bn), true, 0, 1, false, false}
#define ADAM_FIELDS(decay)                                                                                                       \
    {LR(1e-3),                                                                                                                   \
     {"beta1", FIELD_NUMBER, OPTIMIZER(beta1), 0.9, 0, 1, false, true},                                                          \
     {"beta2", FIELD_NUMBER, OPTIMIZER(beta2), 0.999, 0, 1, false, true},                                                        \
     {"eps", FIELD_NUMBER, OPTIMIZER(eps), 1e-8, 0, 1, true, false},                                                             \
     WEIGHT_DECAY(decay),                                                                                                        \
     DECAY_BN}
static const Form optimizer_forms[] = {{"sgd",
                                        RT_SGD,
                                        5,
                                        {LR(0.1),
                                         {"momentum", FIELD_NUMBER, OPTIMIZER(momentum), 0, 0, 1, false, true},
                                         {"nesterov", FIELD_FLAG, OPTIMIZER(nesterov), false, 0, 1, false, false},
                                         WEIGHT_DECAY(0),
                                         DECAY_BN}},
                                       {"adam", RT_ADAM, 6, ADAM_FIELDS(0)},
                                       {"adamw", RT_ADAMW, 6, ADAM_FIELDS(0.01)}};
const KeyForms recipe_optimizer_forms = FORMS("optimizer", optimizer_forms);

static const Form group_forms[] = {
    {"group",
     0,
     5,
     {{"pattern", FIELD_PATTERN, offsetof(RtGroup, pattern), NAN, 0, 0, false, false},
      {"lr", FIELD_NUMBER, offsetof(RtGroup, lr), 1, 0, INFINITY, false, false},
      {"weight_decay", FIELD_NUMBER, offsetof(RtGroup, weight_decay), 1, 0, INFINITY, false, false},
      {"frozen", FIELD_FLAG, offsetof(RtGroup, frozen), false, 0, 1, false, false},
      {"frozen_from", FIELD_NUMBER, offsetof(RtGroup, frozen_from), 0, 0, 1e6, false, false}}}};
const KeyForms recipe_group_forms = FORMS("group", group_forms);

#define WARMUP {"warmup", FIELD_NUMBER, SCHEDULE(warmup), 0, 0, 1e6, false, false}
#define FINAL_LR {"final_lr", FIELD_NUMBER, SCHEDULE(final_lr), 0, 0, 1, false, false}
static const Form schedule_forms[] = {
    {"constant", RT_SCHEDULE_CONSTANT, 1, {WARMUP}},
    {"steps",
     RT_SCHEDULE_STEPS,
     3,
     {{"at", FIELD_TIMES, SCHEDULE(at), NAN, 0, 1e6, false, false},
      {"factor", FIELD_NUMBER, SCHEDULE(factor), 0.1, 0, 1, true, false},
      WARMUP}},
    {"cosine", RT_SCHEDULE_COSINE, 2, {FINAL_LR, WARMUP}},
    {"one_cycle", RT_SCHEDULE_ONE_CYCLE, 3, {{"peak", FIELD_NUMBER, SCHEDULE(peak), 0.3, 0, 1, true, true}, FINAL_LR, WARMUP}},
    {"linear",
     RT_SCHEDULE_LINEAR,
     2,
     {{"at", FIELD_TIMES, SCHEDULE(at), NAN, 0, 1, false, false},
      {"factors", FIELD_LEVELS, SCHEDULE(level), NAN, 0, INFINITY, false, false}}},
    {"polynomial",
     RT_SCHEDULE_POLYNOMIAL,
     3,
     {{"power", FIELD_NUMBER, SCHEDULE(power), 1, 0, 100, true, false}, FINAL_LR, WARMUP}}};
const KeyForms recipe_schedule_forms = FORMS("schedule", schedule_forms);

#define AVERAGE(member) offsetof(RtAverage, member)
#define EVERY(standard) {"every", FIELD_WHOLE, AVERAGE(every), standard, 1, 1e6, false, false}
#define STATISTICS(standard) {"statistics", FIELD_FLAG, AVERAGE(statistics), standard, 0, 1, false, false}
static const Form average_forms[] = {
    {"none", RT_AVERAGE_NONE, 0, {{0}}},
    {"ema", RT_AVERAGE_EMA, 3, {{"decay", FIELD_NUMBER, AVERAGE(decay), NAN, 0, 1, false, true}, EVERY(1), STATISTICS(false)}},
    {"lookahead",
     RT_AVERAGE_LOOKAHEAD,
     4,
     {{"decay", FIELD_NUMBER, AVERAGE(decay), NAN, 0, 1, false, false},
      EVERY(5),
      {"power", FIELD_NUMBER, AVERAGE(power), 0, 0, 100, false, false},
      STATISTICS(true)}}};
const KeyForms recipe_average_forms = FORMS("average", average_forms);

static const Form views_forms[] = {
    {"one", RT_VIEWS_ONE, 0, {{0}}}, {"mirror", RT_VIEWS_MIRROR, 0, {{0}}}, {"mirror_shift", RT_VIEWS_MIRROR_SHIFT, 0, {{0}}}};
const KeyForms recipe_views_forms = FORMS("view", views_forms);
