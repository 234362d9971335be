/* Inside runtime/: what is made of an image wherever a net reads it, in libraries for inference too. */
#ifndef NETC_RUNTIME_VIEW_H
#define NETC_RUNTIME_VIEW_H
#include "runtime/status.h"

/* Pixel values 0..255 of each channel as network input. */
typedef struct RtNormalizer {
    float value[4][256];
} RtNormalizer;
RtNormalizer rt_normalizer(const RtData *data, RtNormalize kind);
/* One image u8[C][H][W] into f32[C][H][W]. */
void rt_normalize_image(const RtNormalizer *n, const RtData *data, const uint8_t *pixels, float *out);

/* The place in [0, n) that is seen at x, mirrored at the middles of the outermost pixels; any x. */
int64_t rt_reflected(int64_t x, int64_t n);

/* One of the pictures that evaluation makes of an image: moved by `shift` pixels down and right, mirrored at its edges, then
 * perhaps mirrored left to right. Weights of all views add up to 1. */
typedef struct RtView {
    int64_t shift;
    bool mirror;
    float weight;
} RtView;
int rt_views(RtViews views, const RtView **list); /* how many */
/* The view of an image that is normalised already, f32[C][H][W]. */
void rt_view_floats(const RtView *view, int64_t channels, int64_t height, int64_t width, const float *image, float *out);
#endif
