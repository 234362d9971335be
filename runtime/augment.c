/* Augmentations on bytes, one image at a time, and normalisation by table. */
#include "runtime/augment.h"
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

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* dst(y, x) = src(y + dy, x + dx); outside the image black, or its nearest pixel. A row is three pieces: what lies left of the
 * source, what is copied, what lies right of it. */
static void shift(const RtData *d, const uint8_t *src, uint8_t *dst, int64_t dy, int64_t dx, bool nearest) {
    int64_t H = d->height, W = d->width, left = clamp(-dx, 0, W), right = clamp(W - dx, left, W);
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t y = 0; y < H; y++, dst += W) {
            const uint8_t *row = src + (c * H + clamp(y + dy, 0, H - 1)) * W;
            bool black = !nearest && (y + dy < 0 || y + dy >= H);
            if (black) {
                memset(dst, 0, (size_t)W);
                continue;
            }
            memset(dst, nearest ? row[0] : 0, (size_t)left);
            memcpy(dst + left, row + clamp(left + dx, 0, W), (size_t)(right - left));
            memset(dst + right, nearest ? row[W - 1] : 0, (size_t)(W - right));
        }
}

static void mirror(const RtData *d, const uint8_t *src, uint8_t *dst) {
    for (int64_t row = 0; row < d->channels * d->height; row++, src += d->width, dst += d->width)
        for (int64_t x = 0; x < d->width; x++) dst[x] = src[d->width - 1 - x];
}

/* An integer in [-reach, reach]. */
static int64_t offset(double u, int64_t reach) { return (int64_t)floor(u * (double)(2 * reach + 1)) - reach; }

/* A square around (y, x), clipped at the border (DeVries & Taylor, 2017). */
static RtRectangle square(const RtData *d, int64_t y, int64_t x, int64_t side) {
    y -= side / 2;
    x -= side / 2;
    return (RtRectangle){clamp(y, 0, d->height), clamp(x, 0, d->width), clamp(y + side, 0, d->height),
                         clamp(x + side, 0, d->width)};
}

int rt_augment_image(const RtRecipe *recipe, const RtData *d, uint64_t seed, uint64_t key, const uint8_t **pixels, uint8_t *work,
                     RtRectangle cut[RT_MAX_AUGMENT]) {
    int64_t size = d->channels * d->height * d->width;
    double H = (double)d->height, W = (double)d->width;
    int side = 0, ncut = 0;
    for (uint32_t i = 0; i < recipe->naugment; i++) {
        const RtAugment *a = &recipe->augment[i];
        double u = rt_uniform(seed, RT_STREAM_AUGMENT, key, 2 * i), v = rt_uniform(seed, RT_STREAM_AUGMENT, key, 2 * i + 1);
        uint8_t *to = work + side * size;
        switch (a->kind) {
        case RT_AUGMENT_PAD_CROP: shift(d, *pixels, to, offset(u, (int64_t)a->value), offset(v, (int64_t)a->value), false); break;
        case RT_AUGMENT_TRANSLATE:
            shift(d, *pixels, to, offset(u, (int64_t)(a->value * H)), offset(v, (int64_t)(a->value * W)), true);
            break;
        case RT_AUGMENT_FLIP:
            if (u >= 0.5) continue;
            mirror(d, *pixels, to);
            break;
        case RT_AUGMENT_CUTOUT: cut[ncut++] = square(d, (int64_t)(u * H), (int64_t)(v * W), (int64_t)a->value); continue;
        }
        *pixels = to;
        side = 1 - side;
    }
    return ncut;
}
