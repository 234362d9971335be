/* Augmentations on bytes, one image at a time. */
#include "runtime/augment.h"
#include "runtime/operate.h"
#include <math.h>
#include <string.h>

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

typedef enum Edge { EDGE_BLACK, EDGE_NEAREST, EDGE_REFLECT } Edge; /* REFLECT: ... 2 1 [0 1 2 ... */

/* dst(y, x) = src(y + dy, x + dx); outside the image black, its nearest pixel, or the image mirrored. A row is three pieces: what
 * lies left of the source, what is copied, what lies right of it. */
static void shift(const RtData *d, const uint8_t *src, uint8_t *dst, int64_t dy, int64_t dx, Edge edge) {
    int64_t H = d->height, W = d->width, left = clamp(-dx, 0, W), right = clamp(W - dx, left, W);
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t y = 0; y < H; y++, dst += W) {
            const uint8_t *row = src + (c * H + (edge == EDGE_REFLECT ? rt_reflected(y + dy, H) : clamp(y + dy, 0, H - 1))) * W;
            bool black = edge == EDGE_BLACK && (y + dy < 0 || y + dy >= H);
            if (black) {
                memset(dst, 0, (size_t)W);
                continue;
            }
            memset(dst, edge == EDGE_NEAREST ? row[0] : 0, (size_t)left);
            memcpy(dst + left, row + clamp(left + dx, 0, W), (size_t)(right - left));
            memset(dst + right, edge == EDGE_NEAREST ? row[W - 1] : 0, (size_t)(W - right));
            if (edge != EDGE_REFLECT) continue;
            for (int64_t x = 0; x < left; x++) dst[x] = row[rt_reflected(x + dx, W)];
            for (int64_t x = right; x < W; x++) dst[x] = row[rt_reflected(x + dx, W)];
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

/* One that lies wholly in the image, every place as likely; the image itself if it is no larger. */
static RtRectangle inner_square(const RtData *d, double u, double v, int64_t side) {
    int64_t height = side < d->height ? side : d->height, width = side < d->width ? side : d->width;
    int64_t y = (int64_t)(u * (double)(d->height - height + 1)), x = (int64_t)(v * (double)(d->width - width + 1));
    return (RtRectangle){y, x, y + height, x + width};
}

static RtRectangle cutout(const RtAugment *a, const RtData *d, double u, double v) {
    if (a->variant) return inner_square(d, u, v, (int64_t)a->value);
    return square(d, (int64_t)(u * (double)d->height), (int64_t)(v * (double)d->width), (int64_t)a->value);
}

/* Alternating flips: a coin in the first epoch, then each time the other way (Jordan, 2024). */
static bool flips(const RtAugment *a, const RtDraw *draw, uint32_t number, double u) {
    if (!a->variant) return u < 0.5;
    bool first = rt_uniform(draw->seed, RT_STREAM_AUGMENT, draw->image, number) < 0.5;
    return first != (draw->epoch % 2 == 1);
}

/* Numbers of an augmentation that takes more than two. */
static double extra(const RtDraw *draw, uint64_t key, uint32_t i, uint32_t number) {
    return rt_uniform(draw->seed, RT_STREAM_AUGMENT, key, 1024 + 64 * i + number);
}

/* A rectangle of random area and proportion, from 0.3 to 3.3, ten tries to find one that fits (Zhong et al., 2017; the formula
 * of torchvision's RandomErasing). False: none. */
static bool erase(const RtAugment *a, const RtData *d, const RtDraw *draw, uint64_t key, uint32_t i, RtRectangle *cut) {
    enum { TRIES = 10 };
    double H = (double)d->height, W = (double)d->width;
    for (uint32_t t = 0; t < TRIES; t++) {
        double area = H * W * (a->least + (a->most - a->least) * extra(draw, key, i, 4 * t));
        double ratio = exp(log(0.3) + (log(3.3) - log(0.3)) * extra(draw, key, i, 4 * t + 1));
        int64_t h = (int64_t)lrint(sqrt(area * ratio)), w = (int64_t)lrint(sqrt(area / ratio));
        if (h < 1 || w < 1 || h >= d->height || w >= d->width) continue;
        int64_t y = (int64_t)(extra(draw, key, i, 4 * t + 2) * (double)(d->height - h + 1));
        int64_t x = (int64_t)(extra(draw, key, i, 4 * t + 3) * (double)(d->width - w + 1));
        *cut = (RtRectangle){y, x, y + h, x + w};
        return true;
    }
    return false;
}

/* Jitter of torchvision's ColorJitter: the factor is 1 and a random number up to `value` away, but not below 0. */
static double jitter(const RtAugment *a, double u) {
    double low = a->value < 1 ? 1 - a->value : 0;
    return low + (1 + a->value - low) * u - 1;
}

static int64_t below(double u, int64_t n) { return (int64_t)(u * (double)n); }

/* Operations of torchvision's RandAugment, all of one strength, or of its TrivialAugmentWide, one of any strength. Returns the
 * side of work that has the image then; it is in dst if their number is odd. */
static const uint8_t *operate(const RtAugment *a, const RtData *d, const RtDraw *draw, uint64_t key, uint32_t i,
                              const uint8_t *src, uint8_t *work, int *side) {
    bool wide = a->kind == RT_AUGMENT_TRIVIAL;
    for (uint32_t k = 0; k < (wide ? 1 : (uint32_t)a->operations); k++) {
        RtOperation operation = (RtOperation)below(extra(draw, key, i, 3 * k), RT_OPERATION_COUNT);
        int strength = wide ? (int)below(extra(draw, key, i, 3 * k + 1), RT_STRENGTHS) : (int)a->value;
        bool sign;
        double magnitude = rt_operation_magnitude(operation, wide, strength, d, &sign);
        if (sign && extra(draw, key, i, 3 * k + 2) < 0.5) magnitude = -magnitude;
        if (operation == RT_OPERATE_IDENTITY) continue;
        uint8_t *to = work + *side * d->channels * d->height * d->width;
        rt_operate(operation, magnitude, d, src, to);
        src = to;
        *side = 1 - *side;
    }
    return src;
}

int rt_augment_image(const RtRecipe *recipe, const RtData *d, const RtDraw *draw, const uint8_t **pixels, uint8_t *work,
                     RtRectangle cut[RT_MAX_AUGMENT]) {
    int64_t size = d->channels * d->height * d->width;
    double H = (double)d->height, W = (double)d->width;
    uint64_t key = (uint64_t)draw->epoch << 32 | draw->image;
    int side = 0, ncut = 0;
    for (uint32_t i = 0; i < recipe->naugment; i++) {
        const RtAugment *a = &recipe->augment[i];
        double u = rt_uniform(draw->seed, RT_STREAM_AUGMENT, key, 2 * i);
        double v = rt_uniform(draw->seed, RT_STREAM_AUGMENT, key, 2 * i + 1);
        uint8_t *to = work + side * size;
        switch (a->kind) {
        case RT_AUGMENT_PAD_CROP:
            shift(d, *pixels, to, offset(u, (int64_t)a->value), offset(v, (int64_t)a->value),
                  a->variant ? EDGE_REFLECT : EDGE_BLACK);
            break;
        case RT_AUGMENT_TRANSLATE:
            shift(d, *pixels, to, offset(u, (int64_t)(a->value * H)), offset(v, (int64_t)(a->value * W)), EDGE_NEAREST);
            break;
        case RT_AUGMENT_FLIP:
            if (!flips(a, draw, 2 * i, u)) continue;
            mirror(d, *pixels, to);
            break;
        case RT_AUGMENT_CUTOUT: cut[ncut++] = cutout(a, d, u, v); continue;
        case RT_AUGMENT_ERASE:
            if (u < a->value && erase(a, d, draw, key, i, &cut[ncut])) ncut++;
            continue;
        case RT_AUGMENT_ROTATE: rt_turn(d, *pixels, to, a->value * (1 - 2 * u)); break;
        case RT_AUGMENT_BRIGHTNESS: rt_operate(RT_OPERATE_BRIGHTNESS, jitter(a, u), d, *pixels, to); break;
        case RT_AUGMENT_CONTRAST: rt_operate(RT_OPERATE_CONTRAST, jitter(a, u), d, *pixels, to); break;
        case RT_AUGMENT_SATURATION: rt_operate(RT_OPERATE_COLOR, jitter(a, u), d, *pixels, to); break;
        case RT_AUGMENT_RAND:
        case RT_AUGMENT_TRIVIAL: *pixels = operate(a, d, draw, key, i, *pixels, work, &side); continue;
        }
        *pixels = to;
        side = 1 - side;
    }
    return ncut;
}

/* ---- views ---- */

const uint8_t *rt_view_image(const RtView *view, const RtData *d, const uint8_t *pixels, uint8_t *work) {
    if (view->shift) {
        shift(d, pixels, work, view->shift, view->shift, EDGE_REFLECT);
        pixels = work;
    }
    if (!view->mirror) return pixels;
    uint8_t *to = work + d->channels * d->height * d->width;
    mirror(d, pixels, to);
    return to;
}
