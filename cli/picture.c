/* Which kind of picture a file is, and resizing, one axis after the other. */
#include "cli/picture.h"
#include "runtime/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void picture_free(Picture *picture) {
    free(picture->rgb);
    picture->rgb = NULL;
}

#ifdef NETC_WITHOUT_PNG
bool png_read(FILE *file, Picture *picture, char *why, size_t why_size) {
    (void)file, (void)picture;
    snprintf(why, why_size, "this executable reads PPM and PGM alone: there was no libpng for its machine when netc was built");
    return false;
}
void png_library(char *text, size_t size) { snprintf(text, size, "no libpng"); }
#endif

#ifdef NETC_WITHOUT_JPEG
bool jpeg_read(FILE *file, Picture *picture, char *why, size_t why_size) {
    (void)file, (void)picture;
    snprintf(why, why_size, "this executable reads no JPEG: there was no libjpeg for its machine when netc was built");
    return false;
}
void jpeg_library(char *text, size_t size) { snprintf(text, size, "no libjpeg"); }
#endif

void picture_libraries(char *text, size_t size) {
    char png[64], jpeg[64];
    png_library(png, sizeof png);
    jpeg_library(jpeg, sizeof jpeg);
    snprintf(text, size, "%s, %s", png, jpeg);
}

bool picture_read(const char *path, Picture *picture, char *why, size_t why_size) {
    int64_t size;
    const char *reason;
    unsigned char magic[8] = {0};
    *picture = (Picture){0};
    *why = 0;
    FILE *file = file_open(path, &size, &reason);
    if (!file) return snprintf(why, why_size, "%s", reason), false;
    size_t n = fread(magic, 1, sizeof magic, file);
    bool ok = !fseek(file, 0, SEEK_SET) && n >= 2;
    if (ok && magic[0] == 'P' && (magic[1] == '5' || magic[1] == '6'))
        ok = pnm_read(file, size, picture, why, why_size);
    else if (ok && !memcmp(magic, "\x89PNG\r\n\x1a\n", sizeof magic))
        ok = png_read(file, picture, why, why_size);
    else if (ok && !memcmp(magic, "\xff\xd8\xff", 3))
        ok = jpeg_read(file, picture, why, why_size);
    else
        ok = false, snprintf(why, why_size, "%s",
                             ferror(file) ? strerror(errno) : "it is neither a PNG, a JPEG nor a binary PPM (P6) or PGM (P5)");
    fclose(file);
    if (!ok) picture_free(picture);
    if (!ok && !*why) snprintf(why, why_size, "it cannot be read");
    return ok;
}

/* ---- resizing ---- */

/* out[o] = sum of in[i] * triangle((i - centre(o)) / support), normalised. */
typedef struct Axis {
    int64_t in, out;
    double scale, support;
} Axis;

static Axis axis_make(int64_t in, int64_t out) {
    double scale = (double)in / (double)out;
    return (Axis){in, out, scale, scale > 1 ? scale : 1};
}

static double axis_centre(const Axis *a, int64_t o) { return ((double)o + 0.5) * a->scale - 0.5; }

/* How much element i counts in output o; at most 0: not. */
static double axis_weight(const Axis *a, int64_t o, int64_t i) { return 1 - fabs((double)i - axis_centre(a, o)) / a->support; }

/* A row of pixels to out[width][3]. */
static void resample_row(const Axis *a, const uint8_t *in, float *out) {
    for (int64_t o = 0; o < a->out; o++) {
        double centre = axis_centre(a, o), total = 0, sum[3] = {0};
        int64_t first = (int64_t)ceil(centre - a->support), last = (int64_t)floor(centre + a->support);
        for (int64_t i = first < 0 ? 0 : first; i <= last && i < a->in; i++) {
            double weight = axis_weight(a, o, i);
            if (weight <= 0) continue;
            total += weight;
            for (int c = 0; c < 3; c++) sum[c] += weight * in[i * 3 + c];
        }
        for (int c = 0; c < 3; c++) out[o * 3 + c] = (float)(sum[c] / total);
    }
}

/* Adds row i to the sums of the output rows that it counts in, sum[height][1 + line]: the weights, then the row. */
static void add_row(const Axis *a, int64_t i, const float *row, int64_t line, double *sum) {
    int64_t first = (int64_t)floor(((double)i - a->support + 0.5) / a->scale - 0.5) - 1;
    int64_t last = (int64_t)ceil(((double)i + a->support + 0.5) / a->scale - 0.5) + 1;
    for (int64_t o = first < 0 ? 0 : first; o <= last && o < a->out; o++) {
        double weight = axis_weight(a, o, i), *to = sum + o * (1 + line);
        if (weight <= 0) continue;
        to[0] += weight;
        for (int64_t k = 0; k < line; k++) to[1 + k] += weight * row[k];
    }
}

bool picture_resize(const Picture *picture, int64_t width, int64_t height, uint8_t *planes) {
    Axis across = axis_make(picture->width, width), down = axis_make(picture->height, height);
    int64_t line = width * 3;
    float *row = malloc((size_t)line * sizeof *row);
    double *sum = calloc((size_t)(height * (1 + line)), sizeof *sum);
    bool ok = row && sum;
    for (int64_t y = 0; ok && y < picture->height; y++) {
        resample_row(&across, picture->rgb + y * picture->width * 3, row);
        add_row(&down, y, row, line, sum);
    }
    for (int64_t y = 0; ok && y < height; y++)
        for (int64_t k = 0; k < line; k++) {
            const double *from = sum + y * (1 + line);
            planes[(k % 3 * height + y) * width + k / 3] = (uint8_t)lrintf((float)(from[1 + k] / from[0]));
        }
    free(row);
    free(sum);
    return ok;
}

/* ---- fitting ---- */

/* The middle that has the proportion width : height, as large as there is. */
static void crop(Picture *p, int64_t width, int64_t height) {
    int64_t w = p->width, h = p->height;
    if (w * height > h * width)
        w = (int64_t)llround((double)h * (double)width / (double)height);
    else
        h = (int64_t)llround((double)w * (double)height / (double)width);
    w = w < 1 ? 1 : w;
    h = h < 1 ? 1 : h;
    int64_t x = (p->width - w) / 2, y = (p->height - h) / 2;
    for (int64_t row = 0; row < h; row++) memmove(p->rgb + row * w * 3, p->rgb + ((y + row) * p->width + x) * 3, (size_t)w * 3);
    p->width = w;
    p->height = h;
}

bool picture_fit(Picture *picture, RtFit fit, int64_t channels, int64_t width, int64_t height, uint8_t *planes) {
    int64_t plane = width * height;
    if (fit == RT_FIT_CROP) crop(picture, width, height);
    if (channels == 3) return picture_resize(picture, width, height, planes);
    uint8_t *colours = malloc(3 * (size_t)plane);
    bool ok = colours && picture_resize(picture, width, height, colours);
    for (int64_t i = 0; ok && i < plane; i++)
        planes[i] = (uint8_t)lrint(0.299 * colours[i] + 0.587 * colours[plane + i] + 0.114 * colours[2 * plane + i]);
    free(colours);
    return ok;
}

PictureLoad picture_load(const char *path, const PictureShape *shape, uint8_t *planes, int64_t *size, char *why,
                         size_t why_size) {
    Picture picture;
    if (!picture_read(path, &picture, why, why_size)) return PICTURE_BAD;
    if (size) size[0] = picture.width, size[1] = picture.height;
    bool fits = !planes || picture_fit(&picture, shape->fit, shape->channels, shape->width, shape->height, planes);
    if (!fits) snprintf(why, why_size, "out of memory");
    picture_free(&picture);
    return fits ? PICTURE_LOADED : PICTURE_NO_MEMORY;
}
