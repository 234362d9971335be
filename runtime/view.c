/* See view.h. Normalisation is by table. */
#include "runtime/view.h"
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

int64_t rt_reflected(int64_t x, int64_t n) {
    int64_t period = n > 1 ? 2 * (n - 1) : 1;
    x = ((x % period) + period) % period;
    return x < n ? x : period - x;
}

int rt_views(RtViews views, const RtView **list) {
    static const RtView one[] = {{0, false, 1}}, mirrored[] = {{0, false, 0.5F}, {0, true, 0.5F}};
    static const RtView shifted[] = {{0, false, 0.25F},  {0, true, 0.25F},   {-1, false, 0.125F},
                                     {-1, true, 0.125F}, {1, false, 0.125F}, {1, true, 0.125F}};
    *list = views == RT_VIEWS_ONE ? one : views == RT_VIEWS_MIRROR ? mirrored : shifted;
    return views == RT_VIEWS_ONE ? 1 : views == RT_VIEWS_MIRROR ? 2 : 6;
}

int rt_view_count(RtViews views) {
    const RtView *list;
    return rt_views(views, &list);
}

void rt_view_floats(const RtView *view, int64_t channels, int64_t height, int64_t width, const float *image, float *out) {
    if (!view->shift && !view->mirror) {
        memcpy(out, image, (size_t)(channels * height * width) * sizeof *out);
        return;
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t y = 0; y < height; y++, out += width) {
            const float *row = image + (c * height + rt_reflected(y + view->shift, height)) * width;
            for (int64_t x = 0; x < width; x++)
                out[x] = row[rt_reflected((view->mirror ? width - 1 - x : x) + view->shift, width)];
        }
}
