/* Lines, boxes and words, as an SVG file and as a PNG of twice its size: what a plot is made of (driver/plots.c). */
#ifndef NETC_DRIVER_DRAWING_H
#define NETC_DRIVER_DRAWING_H
#include <stdbool.h>
#include <stdint.h>

typedef struct Point {
    double x, y; /* from the left and from the top */
} Point;

typedef struct Line {
    uint32_t colour;    /* 0xRRGGBB */
    double width, dash; /* dash: length of strokes and of gaps; 0: none */
} Line;

typedef enum Anchor { ANCHOR_START, ANCHOR_MIDDLE, ANCHOR_END } Anchor;

/* How words stand at their place, which is on their base line. */
typedef struct WordStyle {
    double size;
    Anchor anchor;
    bool up; /* from bottom to top */
    uint32_t colour;
} WordStyle;

/* Drawn later is drawn above. */
typedef struct Drawing Drawing;
Drawing *drawing_new(int width, int height);                               /* white */
void drawing_line(Drawing *d, const Point *points, uint32_t n, Line line); /* one point, or the same twice: a dot */
void drawing_box(Drawing *d, Point corner, double width, double height, uint32_t colour, double opacity);
void drawing_words(Drawing *d, Point at, WordStyle style, const char *text);
/* Writes PATH.svg and PATH.png. Exit status, after a sentence. */
int drawing_write(const Drawing *d, const char *path);
void drawing_free(Drawing *d);
#endif
