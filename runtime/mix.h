/* Inside runtime/: images of a batch mixed with others of it (RtMix). */
#ifndef NETC_RUNTIME_MIX_H
#define NETC_RUNTIME_MIX_H
#include "runtime/augment.h"

/* What becomes of a batch: image i keeps `share` of itself and gets the rest from the image before it in the batch (the first one
 * from the last), as torchvision's MixUp and CutMix have it. */
typedef struct RtMixed {
    float share; /* 1: nothing is mixed */
    bool cut;    /* the other's rectangle `part` replaces the image's; else pixels are added up */
    RtRectangle part;
} RtMixed;
/* A function of the seed and the place of the batch alone: `number` counts batches of the epoch. */
RtMixed rt_mix_draw(const RtRecipe *recipe, const RtData *data, uint64_t seed, int64_t epoch, int64_t number);
/* One image f32[C][H][W], normalised, and the one before it. */
void rt_mix_image(const RtMixed *mixed, const RtData *data, float *image, const float *other);

/* A number of the distribution Beta(alpha, alpha), drawn by `key`. */
double rt_beta(double alpha, uint64_t seed, uint64_t key);
#endif
