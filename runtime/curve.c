/* See curve.h. */
#include "runtime/curve.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

enum { MAX_HEIGHT = 16 };

void rt_curve_add(RtCurve *c, double x, double y) {
    if (!isfinite(x) || !isfinite(y) || x < 0) return;
    int i = x < 1 ? (int)(x * RT_CURVE_POINTS) : RT_CURVE_POINTS - 1;
    c->sum[i] += y;
    c->count[i]++;
}

/* The curve by columns of dots; NAN: nothing is there. Returns how many columns have something. */
static int by_columns(const RtCurve *c, double factor, int columns, double *value) {
    double sum[2 * RT_CURVE_WIDTH] = {0};
    double count[2 * RT_CURVE_WIDTH] = {0};
    int some = 0;
    for (int i = 0; i < RT_CURVE_POINTS; i++) {
        int at = i * columns / RT_CURVE_POINTS;
        sum[at] += c->sum[i], count[at] += c->count[i];
    }
    for (int i = 0; i < columns; i++) {
        value[i] = count[i] > 0 ? factor * sum[i] / count[i] : NAN;
        some += count[i] > 0;
    }
    return some;
}

typedef struct Dots {
    uint8_t cell[MAX_HEIGHT][RT_CURVE_WIDTH];
    int height;
} Dots;

/* Dot (x, y), y from the bottom. */
static void set_dot(Dots *d, int x, int y) {
    static const uint8_t bit[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    int down = 4 * d->height - 1 - y;
    d->cell[down / 4][x / 2] |= bit[down % 4][x % 2];
}

/* From the last column that has a value, straight to each next one. */
static void draw_line(Dots *d, const double *value, int columns, double least, double most) {
    int top = 4 * d->height - 1, before = -1, x0 = -1;
    for (int x = 0; x < columns; x++) {
        if (isnan(value[x])) continue;
        int y = (int)lrint((value[x] - least) / (most - least) * top);
        if (before < 0) before = y, x0 = x;
        for (int at = x0; at <= x; at++) {
            int span = x > x0 ? x - x0 : 1, from = before + (y - before) * (at - x0) / span,
                to = at < x ? before + (y - before) * (at + 1 - x0) / span : y;
            for (int k = from < to ? from : to; k <= (from < to ? to : from); k++) set_dot(d, at, k);
        }
        before = y, x0 = x;
    }
}

static void write_label(char *label, size_t size, double value) {
    if (snprintf(label, size, "%.4g", value) > RT_CURVE_LABEL - 2) snprintf(label, size, "%.1g", value); /* 5.123e-05 */
}

int rt_curve_draw(const RtCurve *c, const char *name, double factor, int width, int height, char row[][RT_CURVE_ROW]) {
    double value[2 * RT_CURVE_WIDTH], least = INFINITY, most = -INFINITY;
    int cells = width - RT_CURVE_LABEL;
    Dots dots = {.height = height};
    if (cells < 8 || width > RT_CURVE_WIDTH || height < 2 || height > MAX_HEIGHT || by_columns(c, factor, 2 * cells, value) < 2)
        return 0;
    for (int x = 0; x < 2 * cells; x++) {
        least = isnan(value[x]) || value[x] > least ? least : value[x];
        most = isnan(value[x]) || value[x] < most ? most : value[x];
    }
    if (!(most - least > 1e-9 * fabs(most))) least -= 0.5, most += 0.5;
    draw_line(&dots, value, 2 * cells, least, most);
    for (int r = 0; r < height; r++) {
        char label[16] = "", *out = row[r];
        if (r == 0 || r == height - 1)
            write_label(label, sizeof label, r ? least : most);
        else if (r == height / 2)
            snprintf(label, sizeof label, "%.7s", name);
        out += sprintf(out, "%*.7s %s", RT_CURVE_LABEL - 2, label, r == height - 1 ? "└" : "│");
        for (int x = 0; x < cells; x++) { /* U+2800 and the dots */
            uint8_t bits = dots.cell[r][x];
            *out++ = (char)0xe2, *out++ = (char)(0xa0 | bits >> 6), *out++ = (char)(0x80 | (bits & 0x3f));
        }
        *out = 0;
    }
    return height;
}
