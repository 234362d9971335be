/* mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019) by the formulas of torchvision.transforms.v2.MixUp and CutMix. */
#include "runtime/mix.h"
#include <math.h>

enum { FIRST = 8 }; /* numbers of a key before those of gamma */

static double draw(uint64_t seed, uint64_t key, uint32_t number) { return rt_uniform(seed, RT_STREAM_MIX, key, number); }

/* The logarithm of a number of the distribution Gamma(alpha): it may be too small for a double (Marsaglia & Tsang, 2000; below 1
 * by Gamma(alpha) = Gamma(alpha + 1) U^(1/alpha)). */
static double log_gamma_drawn(double alpha, uint64_t seed, uint64_t key, uint32_t number) {
    double boost = alpha < 1 ? log(1 - draw(seed, key, number)) / alpha : 0, shape = alpha < 1 ? alpha + 1 : alpha;
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) { /* more than 95 of 100 tries are taken */
        double x = rt_normal(seed, RT_STREAM_MIX, key, number + 1), u = 1 - draw(seed, key, number + 2), v = 1 + c * x;
        v = v * v * v;
        number += 2;
        if (v > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) return log(d * v) + boost;
    }
}

double rt_beta(double alpha, uint64_t seed, uint64_t key) {
    enum { APART = 1 << 20 };
    double a = log_gamma_drawn(alpha, seed, key, FIRST), b = log_gamma_drawn(alpha, seed, key, FIRST + APART);
    return 1 / (1 + exp(b - a));
}

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* A rectangle of 1 - lambda of the area around a random pixel, clipped at the border; the share is what it leaves. */
static RtMixed cut(const RtData *d, double lambda, double u, double v) {
    double r = 0.5 * sqrt(1 - lambda);
    int64_t x = (int64_t)(u * (double)d->width), y = (int64_t)(v * (double)d->height);
    int64_t half_width = (int64_t)(r * (double)d->width), half_height = (int64_t)(r * (double)d->height);
    RtRectangle part = {clamp(y - half_height, 0, d->height), clamp(x - half_width, 0, d->width),
                        clamp(y + half_height, 0, d->height), clamp(x + half_width, 0, d->width)};
    double area = (double)((part.y1 - part.y0) * (part.x1 - part.x0));
    return (RtMixed){(float)(1 - area / (double)(d->width * d->height)), true, part};
}

RtMixed rt_mix_draw(const RtRecipe *recipe, const RtData *d, uint64_t seed, int64_t epoch, int64_t number) {
    uint64_t key = (uint64_t)epoch << 32 | (uint64_t)number;
    RtMixed none = {.share = 1};
    if (!recipe->nmix) return none;
    const RtMix *mix = &recipe->mix[(uint32_t)(draw(seed, key, 0) * recipe->nmix)];
    if (draw(seed, key, 1) >= mix->probability) return none;
    double lambda = rt_beta(mix->alpha, seed, key);
    if (mix->kind == RT_MIX_CUT) return cut(d, lambda, draw(seed, key, 2), draw(seed, key, 3));
    return (RtMixed){.share = (float)lambda};
}

void rt_mix_image(const RtMixed *m, const RtData *d, float *image, const float *other) {
    float rest = 1 - m->share;
    if (!m->cut) {
        for (int64_t i = 0; i < d->channels * d->height * d->width; i++) image[i] = other[i] * rest + image[i] * m->share;
        return;
    }
    for (int64_t c = 0; c < d->channels; c++)
        for (int64_t y = m->part.y0; y < m->part.y1; y++)
            for (int64_t x = m->part.x0; x < m->part.x1; x++) {
                int64_t at = (c * d->height + y) * d->width + x;
                image[at] = other[at];
            }
}
