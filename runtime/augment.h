/* Inside runtime/: from the bytes of an image to what the net reads. */
#ifndef NETC_RUNTIME_AUGMENT_H
#define NETC_RUNTIME_AUGMENT_H
#include "runtime/view.h"

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

/* The view of an image: the image itself, or in work, which has room for two. */
const uint8_t *rt_view_image(const RtView *view, const RtData *data, const uint8_t *pixels, uint8_t *work);
#endif
