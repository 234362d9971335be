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
/* What the random numbers of an image's augmentation are drawn by. */
typedef struct RtDraw {
    uint64_t seed;
    int64_t epoch;
    uint32_t image; /* its place in the training set */
} RtDraw;
/* Applies the recipe's augmentations to one image. work has room for two images. The result is in *pixels (the input, or in
 * work). Returns how many rectangles of cut are to become zero after normalisation: cutouts come last, wherever they stand. */
int rt_augment_image(const RtRecipe *recipe, const RtData *data, const RtDraw *draw, const uint8_t **pixels, uint8_t *work,
                     RtRectangle cut[RT_MAX_AUGMENT]);

/* One of the pictures that evaluation makes of an image: moved by `shift` pixels down and right, mirrored at its edges, then
 * perhaps mirrored left to right. Weights of all views add up to 1. */
typedef struct RtView {
    int64_t shift;
    bool mirror;
    float weight;
} RtView;
int rt_views(RtViews views, const RtView **list); /* how many */
/* The view of an image: the image itself, or in work, which has room for two. */
const uint8_t *rt_view_image(const RtView *view, const RtData *data, const uint8_t *pixels, uint8_t *work);
#endif
