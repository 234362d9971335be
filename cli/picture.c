/* Resizing, one axis after the other. */
#include "cli/picture.h"
#include <math.h>
#include <stdlib.h>

void picture_free(Picture *picture) {
    free(picture->rgb);
    picture->rgb = NULL;
}

/* One axis: out[o][c] = sum of in[i][c] * triangle((i - centre) / support), normalised. Strides are in elements. */
typedef struct Axis {
    int64_t in, out, in_stride, out_stride;
} Axis;

static void resample_line(const Axis *axis, const float *in, float *out) {
    double scale = (double)axis->in / (double)axis->out, support = scale > 1 ? scale : 1;
    for (int64_t o = 0; o < axis->out; o++) {
        double centre = ((double)o + 0.5) * scale - 0.5, total = 0, sum[3] = {0};
        int64_t first = (int64_t)ceil(centre - support), last = (int64_t)floor(centre + support);
        for (int64_t i = first < 0 ? 0 : first; i <= last && i < axis->in; i++) {
            double weight = 1 - fabs((double)i - centre) / support;
            if (weight <= 0) continue;
            total += weight;
            for (int c = 0; c < 3; c++) sum[c] += weight * in[i * axis->in_stride + c];
        }
        for (int c = 0; c < 3; c++) out[o * axis->out_stride + c] = (float)(sum[c] / total);
    }
}

bool picture_resize(const Picture *picture, int64_t width, int64_t height, uint8_t *planes) {
    int64_t in_w = picture->width, in_h = picture->height;
    float *row = malloc((size_t)in_w * 3 * sizeof *row);
    float *narrow = malloc((size_t)in_h * (size_t)width * 3 * sizeof *narrow);
    float *column = malloc((size_t)height * 3 * sizeof *column);
    bool ok = row && narrow && column;
    Axis across = {in_w, width, 3, 3}, down = {in_h, height, width * 3, 3};
    for (int64_t y = 0; ok && y < in_h; y++) {
        for (int64_t i = 0; i < in_w * 3; i++) row[i] = picture->rgb[y * in_w * 3 + i];
        resample_line(&across, row, narrow + y * width * 3);
    }
    for (int64_t x = 0; ok && x < width; x++) {
        resample_line(&down, narrow + x * 3, column);
        for (int64_t y = 0; y < height; y++)
            for (int c = 0; c < 3; c++) planes[((int64_t)c * height + y) * width + x] = (uint8_t)lrintf(column[y * 3 + c]);
    }
    free(row);
    free(narrow);
    free(column);
    return ok;
}
