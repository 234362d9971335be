/* Augmentations on bytes, one image at a time, and normalisation by table. */
#include "runtime/loader.h"
#include <math.h>
#include <string.h>

RtNormalizer rt_normalizer(const RtData *data, RtNormalize kind) {
    RtNormalizer n;
    for (int c = 0; c < 4; c++)
        for (int v = 0; v < 256; v++) {
            double value = v / 255.0;
            if (kind != RT_NORMALIZE_NONE) value -= data->mean[c];
            if (kind == RT_NORMALIZE_MEAN_STD && data->std[c] > 0) value /= data->std[c];
            n.value[c][v] = (float)value;
        }
    return n;
}

void rt_normalize_image(const RtNormalizer *n, const RtData *data, const uint8_t *pixels, float *out) {
    int64_t plane = data->height * data->width;
    for (int64_t c = 0; c < data->channels; c++) {
        const float *table = n->value[c];
        for (int64_t i = 0; i < plane; i++) out[c * plane + i] = table[pixels[c * plane + i]];
    }
}

/* dst(y, x) = src(y + dy, x + dx); outside the image black, or its nearest pixel. */
static void shift(const RtData *d, const uint8_t *src, uint8_t *dst, int64_t dy, int64_t dx, bool nearest) {
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t y = 0; y < d->height; y++)
            for (int64_t x = 0; x < d->width; x++) {
                int64_t sy = y + dy, sx = x + dx;
                bool out = sy < 0 || sx < 0 || sy >= d->height || sx >= d->width;
                if (out && nearest) {
                    sy = sy < 0 ? 0 : sy >= d->height ? d->height - 1 : sy;
                    sx = sx < 0 ? 0 : sx >= d->width ? d->width - 1 : sx;
                }
                *dst++ = out && !nearest ? 0 : src[(c * d->height + sy) * d->width + sx];
            }
}

static void mirror(const RtData *d, const uint8_t *src, uint8_t *dst) {
    for (int64_t row = 0; row < d->channels * d->height; row++, src += d->width, dst += d->width)
        for (int64_t x = 0; x < d->width; x++) dst[x] = src[d->width - 1 - x];
}

/* An integer in [-reach, reach]. */
static int64_t offset(double u, int64_t reach) { return (int64_t)floor(u * (double)(2 * reach + 1)) - reach; }

void rt_augment_image(const RtRecipe *recipe, const RtData *d, uint64_t seed, uint64_t key, const uint8_t **pixels, uint8_t *work,
                      RtRectangle *cut) {
    int64_t size = d->channels * d->height * d->width;
    int side = 0;
    *cut = (RtRectangle){0};
    for (uint32_t i = 0; i < recipe->naugment; i++) {
        const RtAugment *a = &recipe->augment[i];
        double u = rt_uniform(seed, RT_STREAM_AUGMENT, key, 2 * i), v = rt_uniform(seed, RT_STREAM_AUGMENT, key, 2 * i + 1);
        uint8_t *to = work + side * size;
        int64_t half = (int64_t)a->value / 2, y = (int64_t)(u * (double)d->height), x = (int64_t)(v * (double)d->width);
        switch (a->kind) {
        case RT_AUGMENT_PAD_CROP: shift(d, *pixels, to, offset(u, (int64_t)a->value), offset(v, (int64_t)a->value), false); break;
        case RT_AUGMENT_TRANSLATE: {
            int64_t reach_y = (int64_t)(a->value * (double)d->height), reach_x = (int64_t)(a->value * (double)d->width);
            shift(d, *pixels, to, offset(u, reach_y), offset(v, reach_x), true);
            break;
        }
        case RT_AUGMENT_FLIP:
            if (u >= 0.5) continue;
            mirror(d, *pixels, to);
            break;
        case RT_AUGMENT_CUTOUT: /* a square around (y, x), clipped at the border (DeVries & Taylor, 2017) */
            *cut = (RtRectangle){y - half, x - half, y - half + (int64_t)a->value, x - half + (int64_t)a->value};
            continue;
        }
        *pixels = to;
        side = 1 - side;
    }
    cut->y0 = cut->y0 < 0 ? 0 : cut->y0;
    cut->x0 = cut->x0 < 0 ? 0 : cut->x0;
    cut->y1 = cut->y1 > d->height ? d->height : cut->y1;
    cut->x1 = cut->x1 > d->width ? d->width : cut->x1;
}
