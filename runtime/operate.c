/* Operations on pixels. Where a formula of torchvision's is in f32 it is so here, since what is cut off to a byte depends on it.
 */
#include "runtime/operate.h"
#include <math.h>
#include <string.h>

/* ---- places ---- */

/* dst(y, x) is the pixel next to (m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]), both counted from the image's middle; black
 * outside (grid_sample with nearest neighbours). */
static void resample(const RtData *d, const uint8_t *src, uint8_t *dst, const double m[6]) {
    int64_t H = d->height, W = d->width, plane = H * W;
    double my = (double)(H - 1) / 2, mx = (double)(W - 1) / 2;
    for (int64_t y = 0; y < H; y++)
        for (int64_t x = 0; x < W; x++) {
            double fx = (double)x - mx, fy = (double)y - my;
            int64_t px = (int64_t)nearbyint(m[0] * fx + m[1] * fy + m[2] + mx),
                    py = (int64_t)nearbyint(m[3] * fx + m[4] * fy + m[5] + my);
            bool inside = px >= 0 && py >= 0 && px < W && py < H;
            for (int64_t c = 0; c < d->channels; c++) dst[c * plane + y * W + x] = inside ? src[c * plane + py * W + px] : 0;
        }
}

/* A shear leaves the corner above on the left where it is (torchvision's center = [0, 0]). */
static void place(RtOperation operation, double magnitude, const RtData *d, const uint8_t *src, uint8_t *dst) {
    double c = cos(magnitude * M_PI / 180), s = sin(magnitude * M_PI / 180),
           whole = trunc((float)magnitude); /* torchvision's are f32 */
    double m[6] = {1, 0, 0, 0, 1, 0};
    if (operation == RT_OPERATE_SHEAR_X) m[1] = magnitude, m[2] = magnitude * (double)d->height / 2;
    if (operation == RT_OPERATE_SHEAR_Y) m[3] = magnitude, m[5] = magnitude * (double)d->width / 2;
    if (operation == RT_OPERATE_TRANSLATE_X) m[2] = -whole;
    if (operation == RT_OPERATE_TRANSLATE_Y) m[5] = -whole;
    if (operation == RT_OPERATE_ROTATE) m[0] = c, m[1] = -s, m[3] = s, m[4] = c;
    resample(d, src, dst, m);
}

void rt_turn(const RtData *d, const uint8_t *src, uint8_t *dst, double degrees) {
    int64_t H = d->height, W = d->width;
    double c = cos(degrees * M_PI / 180), s = sin(degrees * M_PI / 180), my = (double)(H - 1) / 2, mx = (double)(W - 1) / 2;
    for (int64_t y = 0; y < H; y++)
        for (int64_t x = 0; x < W; x++) {
            double fx = c * ((double)x - mx) - s * ((double)y - my) + mx, fy = c * ((double)y - my) + s * ((double)x - mx) + my;
            int64_t x0 = (int64_t)floor(fx), y0 = (int64_t)floor(fy);
            for (int64_t k = 0; k < d->channels; k++) {
                double sum = 0;
                for (int64_t corner = 0; corner < 4; corner++) {
                    int64_t px = x0 + corner % 2, py = y0 + corner / 2;
                    if (px < 0 || py < 0 || px >= W || py >= H) continue;
                    sum += (1 - fabs(fx - (double)px)) * (1 - fabs(fy - (double)py)) * src[(k * H + py) * W + px];
                }
                dst[(k * H + y) * W + x] = (uint8_t)lrint(sum);
            }
        }
}

/* ---- levels ---- */

static uint8_t level(float x) { return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x); }

/* Of torchvision's _blend. */
static uint8_t blend(double factor, uint8_t pixel, float other) {
    return level((float)factor * (float)pixel + (float)(1 - factor) * other);
}

static uint8_t gray(const RtData *d, const uint8_t *src, int64_t i) {
    int64_t plane = d->height * d->width;
    if (d->channels != 3) return src[i % plane];
    return level(0.2989F * (float)src[i % plane] + 0.587F * (float)src[plane + i % plane] +
                 0.114F * (float)src[2 * plane + i % plane]);
}

/* The weighted mean of the pixels around, but for the border, which stays. */
static float smooth(const RtData *d, const uint8_t *src, int64_t i) {
    int64_t W = d->width, y = i / W % d->height, x = i % W;
    int sum = 4 * src[i];
    if (y == 0 || x == 0 || y == d->height - 1 || x == W - 1) return src[i];
    for (int64_t k = 0; k < 9; k++) sum += src[i + (k / 3 - 1) * W + k % 3 - 1];
    return (float)nearbyint(sum / 13.0);
}

/* A blend with black, each pixel's gray, the mean gray, or the image smoothed. */
static void recolour(RtOperation operation, double factor, const RtData *d, const uint8_t *src, uint8_t *dst) {
    int64_t plane = d->height * d->width;
    double sum = 0;
    if (operation == RT_OPERATE_CONTRAST)
        for (int64_t i = 0; i < plane; i++) sum += gray(d, src, i);
    float mean = (float)(sum / (double)plane);
    bool tiny = d->height <= 2 || d->width <= 2;
    for (int64_t i = 0; i < d->channels * plane; i++) {
        float other = operation == RT_OPERATE_COLOR       ? (float)(d->channels == 3 ? gray(d, src, i) : src[i])
                      : operation == RT_OPERATE_CONTRAST  ? mean
                      : operation == RT_OPERATE_SHARPNESS ? smooth(d, src, i)
                                                          : 0;
        dst[i] = operation == RT_OPERATE_SHARPNESS && tiny ? src[i] : blend(factor, src[i], other);
    }
}

/* Levels from the least to the greatest become all there are; of one channel. */
static void stretch(const uint8_t *src, uint8_t *dst, int64_t n) {
    uint8_t least = 255, most = 0;
    for (int64_t i = 0; i < n; i++) least = src[i] < least ? src[i] : least, most = src[i] > most ? src[i] : most;
    float scale = 255.0F / (float)(most - least);
    for (int64_t i = 0; i < n; i++) dst[i] = most > least ? level((float)(src[i] - least) * scale) : src[i];
}

/* Each level becomes about as frequent as the others; of one channel. */
static void equalize(const uint8_t *src, uint8_t *dst, int64_t n) {
    int64_t count[256] = {0}, below = 0;
    uint8_t most = 0, table[256];
    for (int64_t i = 0; i < n; i++) count[src[i]]++, most = src[i] > most ? src[i] : most;
    int64_t step = (n - count[most]) / 255;
    for (int v = 0; v < 256; v++) {
        int64_t to = step ? (below + step / 2) / step : v;
        table[v] = (uint8_t)(to > 255 ? 255 : to);
        below += count[v];
    }
    for (int64_t i = 0; i < n; i++) dst[i] = table[src[i]];
}

void rt_operate(RtOperation operation, double magnitude, const RtData *d, const uint8_t *src, uint8_t *dst) {
    int64_t plane = d->height * d->width, size = d->channels * plane;
    switch (operation) {
    case RT_OPERATE_IDENTITY:
    case RT_OPERATION_COUNT: memcpy(dst, src, (size_t)size); break;
    case RT_OPERATE_SHEAR_X:
    case RT_OPERATE_SHEAR_Y:
    case RT_OPERATE_TRANSLATE_X:
    case RT_OPERATE_TRANSLATE_Y:
    case RT_OPERATE_ROTATE: place(operation, magnitude, d, src, dst); break;
    case RT_OPERATE_BRIGHTNESS:
    case RT_OPERATE_COLOR:
    case RT_OPERATE_CONTRAST:
    case RT_OPERATE_SHARPNESS: recolour(operation, 1 + magnitude, d, src, dst); break;
    case RT_OPERATE_POSTERIZE:
        for (int64_t i = 0; i < size; i++) dst[i] = (uint8_t)(src[i] & (0xff00 >> (int)magnitude));
        break;
    case RT_OPERATE_SOLARIZE:
        for (int64_t i = 0; i < size; i++) dst[i] = src[i] >= magnitude ? (uint8_t)(255 - src[i]) : src[i];
        break;
    case RT_OPERATE_AUTO_CONTRAST:
        for (int64_t c = 0; c < d->channels; c++) stretch(src + c * plane, dst + c * plane, plane);
        break;
    case RT_OPERATE_EQUALIZE:
        for (int64_t c = 0; c < d->channels; c++) equalize(src + c * plane, dst + c * plane, plane);
        break;
    }
}

double rt_operation_magnitude(RtOperation operation, bool wide, int strength, const RtData *d, bool *sign) {
    double part = (double)strength / (RT_STRENGTHS - 1);
    *sign = operation >= RT_OPERATE_SHEAR_X && operation <= RT_OPERATE_SHARPNESS;
    switch (operation) {
    case RT_OPERATE_SHEAR_X:
    case RT_OPERATE_SHEAR_Y: return part * (wide ? 0.99 : 0.3);
    case RT_OPERATE_TRANSLATE_X: return part * (wide ? 32 : 150.0 / 331 * (double)d->width);
    case RT_OPERATE_TRANSLATE_Y: return part * (wide ? 32 : 150.0 / 331 * (double)d->height);
    case RT_OPERATE_ROTATE: return part * (wide ? 135 : 30);
    case RT_OPERATE_BRIGHTNESS:
    case RT_OPERATE_COLOR:
    case RT_OPERATE_CONTRAST:
    case RT_OPERATE_SHARPNESS: return part * (wide ? 0.99 : 0.9);
    case RT_OPERATE_POSTERIZE: return 8 - nearbyint(part * (wide ? 6 : 4));
    case RT_OPERATE_SOLARIZE: return 8.5 * (RT_STRENGTHS - 1 - strength); /* exact, as a pixel may be equal to it */
    default: return 0;
    }
}
