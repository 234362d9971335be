/* Inside runtime/: batches prepared ahead on a helper thread, so that the training step never waits for data.
 *
 * What a batch contains is a function of (seed, epoch, batch index) alone: the order of an epoch is a Fisher-Yates shuffle keyed
 * by (seed, epoch), the augmentation of an image is keyed by (seed, epoch, image). The last, partial batch of an epoch is
 * dropped; shuffling lets other images fall out each time. */
#ifndef NETC_RUNTIME_LOADER_H
#define NETC_RUNTIME_LOADER_H
#include "runtime/status.h"

/* Pixel values 0..255 of each channel as network input. */
typedef struct RtNormalizer {
    float value[4][256];
} RtNormalizer;
RtNormalizer rt_normalizer(const RtData *data, RtNormalize kind);
/* One image u8[C][H][W] into f32[C][H][W]. */
void rt_normalize_image(const RtNormalizer *n, const RtData *data, const uint8_t *pixels, float *out);

/* A part of an image that cutout blanks. */
typedef struct RtRectangle {
    int64_t y0, x0, y1, x1;
} RtRectangle;
/* Applies the recipe's augmentations to one image. work has room for two images. The result is in *pixels (the input, or in
 * work). Returns how many rectangles of cut are to become zero after normalisation: cutouts come last, wherever they stand. */
int rt_augment_image(const RtRecipe *recipe, const RtData *data, uint64_t seed, uint64_t key, const uint8_t **pixels,
                     uint8_t *work, RtRectangle cut[RT_MAX_AUGMENT]);

/* order[i] is the image that stands at place i of this epoch. */
void rt_epoch_order(uint32_t *order, int64_t n, bool shuffle, uint64_t seed, int64_t epoch);

typedef struct RtLoader RtLoader;
/* Starts at batch `batch_index` of `epoch` and goes on over epochs. The data and recipe must outlive it. */
RtLoader *rt_loader_new(const RtData *data, const RtRecipe *recipe, int64_t batch, uint64_t seed, int64_t epoch,
                        int64_t batch_index, RtError *error);
/* Copies the next batch: images f32[batch][C][H][W], labels. */
void rt_loader_next(RtLoader *loader, float *images, int32_t *labels);
void rt_loader_free(RtLoader *loader);
#endif
