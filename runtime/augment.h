/* Inside runtime/: from the bytes of an image to what the net reads. */
#ifndef NETC_RUNTIME_AUGMENT_H
#define NETC_RUNTIME_AUGMENT_H
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
#endif
