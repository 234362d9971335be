/* A procedural image set that needs no file: ten shapes and textures at a random place, of random size, colours and contrast,
 * in noise. Position, polarity and colour carry no information about the class, so a linear model of the pixels sees little,
 * while a small convolutional net learns it well. Image i of a split is a function of i alone.
 *
 *     0 disc   1 ring   2 square   3 frame   4 plus   5 diagonal cross   6, 7, 8 stripes (horizontal, vertical, diagonal)   9
 * checks
 *
 * Nets with more than ten classes get the shape from label % 10 and the brightness of the first channel from label / 10. */
#include "runtime/synthetic.h"
#include "runtime/images.h"
#include <math.h>
#include <string.h>

enum { SHAPES = 10, TRAIN_IMAGES = 10000, TEST_IMAGES = 2000, MAX_SIDE = 1024 };
static const uint64_t data_seed = 0x6e657463, test_base = (uint64_t)1 << 40;
static const int64_t split_bytes = (int64_t)128 << 20;

static double draw(uint64_t image, uint32_t k) { return rt_uniform(data_seed, RT_STREAM_SYNTHETIC, image, k); }

/* Is the point (u, v), in units of the shape's half size, on shape `kind`? */
static bool inside(int kind, double u, double v) {
    double r2 = u * u + v * v, side = fmax(fabs(u), fabs(v));
    bool patch = side <= 1;
    switch (kind) {
    case 0: return r2 <= 1;
    case 1: return r2 <= 1 && r2 >= 0.36;
    case 2: return side <= 0.9;
    case 3: return patch && side >= 0.6;
    case 4: return patch && (fabs(u) <= 0.28 || fabs(v) <= 0.28);
    case 5: return patch && (fabs(u - v) <= 0.4 || fabs(u + v) <= 0.4);
    case 6: return patch && fmod(v + 1, 0.8) < 0.4;
    case 7: return patch && fmod(u + 1, 0.8) < 0.4;
    case 8: return patch && fmod(u + v + 2, 0.8) < 0.4;
    default: return patch && (fmod(u + 1, 0.8) < 0.4) != (fmod(v + 1, 0.8) < 0.4);
    }
}

static void paint(const RtData *d, uint64_t image, uint8_t *pixels, uint8_t *label) {
    int64_t H = d->height, W = d->width, side = H < W ? H : W;
    int64_t occurring = d->classes < 256 ? d->classes : 256; /* labels are bytes */
    int64_t class = (int64_t)(draw(image, 0) * (double)occurring);
    double half = (0.19 + 0.11 * draw(image, 1)) * (double)side;
    double cy = half + draw(image, 2) * ((double)H - 2 * half), cx = half + draw(image, 3) * ((double)W - 2 * half);
    *label = (uint8_t)class;
    uint8_t shade[2][256];
    bool *shape = (bool *)pixels; /* the last plane's place, drawn before that plane is painted */
    shape += (d->channels - 1) * H * W;
    for (int64_t i = 0; i < H * W; i++) {
        double u = ((double)(i % W) + 0.5 - cx) / half, v = ((double)(i / W) + 0.5 - cy) / half;
        shape[i] = inside((int)(class % SHAPES), u, v);
    }
    for (int64_t c = 0; c < d->channels; c++) {
        uint32_t k = 8 + 4 * (uint32_t)c;
        double ground = 0.35 + 0.3 * draw(image, k), contrast = 0.2 + 0.15 * draw(image, k + 1);
        if (c == 0 && d->classes > SHAPES) ground = 0.3 + 0.4 * (double)(class / SHAPES) / (double)(d->classes / SHAPES);
        if (draw(image, k + 2) < 0.5) contrast = -contrast;
        for (int g = 0; g < 256; g++) { /* brightness of ground and shape under each of 256 grains of noise */
            double grain = (g / 255.0 - 0.5) * 0.2;
            shade[0][g] = (uint8_t)lrint(255 * fmin(1, fmax(0, ground + grain)));
            shade[1][g] = (uint8_t)lrint(255 * fmin(1, fmax(0, ground + contrast + grain)));
        }
        uint32_t noise[4] = {0}, counter[4] = {(uint32_t)image, (uint32_t)(image >> 32), 0, 0x5e11a0 + (uint32_t)c};
        const uint32_t key[2] = {(uint32_t)data_seed, 1};
        for (int64_t i = 0; i < H * W; i++) {
            if (i % 16 == 0) {
                counter[2] = (uint32_t)(i / 16);
                rt_philox4x32(counter, key, noise);
            }
            pixels[c * H * W + i] = shade[shape[i]][noise[i % 16 / 4] >> (8 * (i % 4)) & 255];
        }
    }
}

RtStatus rt_synthetic_open(int64_t channels, int64_t height, int64_t width, int64_t classes, RtData *data, RtError *error) {
    if (channels < 1 || channels > 4 || height < 1 || width < 1 || height > MAX_SIDE || width > MAX_SIDE || classes < 1)
        return rt_fail(error, RT_INPUT,
                       "the synthetic data set has images of 1 to 4 channels and sides up to %d in any number of classes, found "
                       "%lldx%lldx%lld in %lld",
                       MAX_SIDE, (long long)channels, (long long)height, (long long)width, (long long)classes);
    int64_t image = channels * height * width, most = split_bytes / image;
    *data = (RtData){.channels = channels, .height = height, .width = width, .classes = classes};
    data->ntrain = most < TRAIN_IMAGES ? most : TRAIN_IMAGES;
    data->ntest = most / 4 < TEST_IMAGES ? most / 4 : TEST_IMAGES;
    data->name = strdup("synthetic");
    RtStatus status = rt_data_allocate(data, error);
    if (status != RT_OK) return status;
    for (int64_t i = 0; i < data->ntrain; i++) paint(data, (uint64_t)i, data->train_images + i * image, data->train_labels + i);
    for (int64_t i = 0; i < data->ntest; i++)
        paint(data, test_base + (uint64_t)i, data->test_images + i * image, data->test_labels + i);
    rt_data_measure(data);
    return RT_OK;
}
