/* See drawing.h. What is drawn goes into both pictures at once: as an element of the SVG, and as pixels. A pixel is covered by a
 * line as far as it lies within half a width of it, and letters are lines. */
#include "driver/drawing.h"
#include "cli/report.h"
#include "driver/picture.h"
#include "ir/stream.h"
#include "ir/utf8.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SCALE = 2, FAR = 100000 };

struct Drawing {
    int width, height;
    TextStream svg;
    Picture pixels;
};

Drawing *drawing_new(int width, int height) {
    Drawing *d = calloc(1, sizeof *d);
    size_t bytes = (size_t)width * SCALE * (size_t)height * SCALE * 3;
    uint8_t *rgb = malloc(bytes);
    if (!d || !rgb) exit(fail(EXIT_IO, "out of memory"));
    memset(rgb, 255, bytes);
    *d = (Drawing){.width = width, .height = height, .pixels = {(int64_t)width * SCALE, (int64_t)height * SCALE, rgb}};
    text_open(&d->svg);
    fprintf(
        d->svg.file,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\">\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
        width, height, width, height, width, height);
    return d;
}

void drawing_free(Drawing *d) {
    text_close(&d->svg);
    free(d->svg.text);
    picture_free(&d->pixels);
    free(d);
}

/* ---- pixels ---- */

static void blend(Drawing *d, int64_t x, int64_t y, uint32_t colour, double cover) {
    if (x < 0 || y < 0 || x >= d->pixels.width || y >= d->pixels.height || !(cover > 0)) return;
    uint8_t *p = d->pixels.rgb + 3 * (y * d->pixels.width + x);
    if (cover > 1) cover = 1;
    for (int c = 0; c < 3; c++) {
        double to = colour >> (16 - 8 * c) & 255;
        p[c] = (uint8_t)lrint(p[c] + cover * (to - p[c]));
    }
}

/* A place in pixels as one that is in the picture. */
static int64_t inside(double at, int64_t pixels) { return (int64_t)fmin(fmax(at, 0), (double)pixels - 1); }

/* A segment, in pixels. */
static void paint_segment(Drawing *d, Point a, Point b, double width, uint32_t colour) {
    double dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy, reach = width / 2 + 1;
    int64_t x0 = inside(fmin(a.x, b.x) - reach, d->pixels.width), x1 = inside(fmax(a.x, b.x) + reach, d->pixels.width);
    int64_t y0 = inside(fmin(a.y, b.y) - reach, d->pixels.height), y1 = inside(fmax(a.y, b.y) + reach, d->pixels.height);
    for (int64_t y = y0; y <= y1; y++)
        for (int64_t x = x0; x <= x1; x++) {
            double px = (double)x + 0.5 - a.x, py = (double)y + 0.5 - a.y;
            double t = length > 0 ? fmin(fmax((px * dx + py * dy) / length, 0), 1) : 0;
            blend(d, x, y, colour, width / 2 + 0.5 - hypot(px - t * dx, py - t * dy));
        }
}

/* The part of a segment from fraction s to t. */
static void paint_part(Drawing *d, Point a, Point b, double s, double t, Line line) {
    Point from = {SCALE * (a.x + s * (b.x - a.x)), SCALE * (a.y + s * (b.y - a.y))};
    Point to = {SCALE * (a.x + t * (b.x - a.x)), SCALE * (a.y + t * (b.y - a.y))};
    paint_segment(d, from, to, SCALE * line.width, line.colour);
}

static void paint_line(Drawing *d, const Point *p, uint32_t n, Line line) {
    double walked = 0;
    if (n == 1) paint_part(d, p[0], p[0], 0, 1, line);
    for (uint32_t i = 1; i < n; i++) {
        double length = hypot(p[i].x - p[i - 1].x, p[i].y - p[i - 1].y);
        bool dashes = line.dash > 0 && length > 0 && length < FAR; /* dashes of a longer one are nothing but time */
        if (!dashes) {
            paint_part(d, p[i - 1], p[i], 0, 1, line);
            continue;
        }
        for (double at = 0; at < length;) {
            double phase = fmod(walked + at, 2 * line.dash), rest = phase < line.dash ? line.dash - phase : 2 * line.dash - phase;
            double end = fmin(at + fmax(rest, 1e-3), length);
            if (phase < line.dash) paint_part(d, p[i - 1], p[i], at / length, end / length, line);
            at = end;
        }
        walked += length;
    }
}

/* ---- letters ---- */

/* From '!' on: strokes of two digits a point, x from 0 to 4 and y from 0 to 8, where 2 is the height of small letters and 6 the
 * base line; a blank lifts the pen. */
static const char *const letters[] = {"2024 2626",
                                      "1012 3032",
                                      "1016 3036 0242 0444",
                                      "413010010213334445361605 2027",
                                      "0640 0010110100 3545463635",
                                      "461120310405162644",
                                      "2022",
                                      "30121436",
                                      "10323416",
                                      "2125 0143 0341",
                                      "2125 0343",
                                      "2618",
                                      "1333",
                                      "2626",
                                      "0640",
                                      "103041453616050110",
                                      "112026 1636",
                                      "01103041420646",
                                      "0110304142334445361605 1333",
                                      "36300444",
                                      "40000323334445361605",
                                      "4130100105163645443303",
                                      "004016",
                                      "103041423313020110 133344453616050413",
                                      "0516364541301001021343",
                                      "2222 2626",
                                      "2222 2618",
                                      "410345",
                                      "0242 0444",
                                      "014305",
                                      "01103041422324 2626",
                                      "4616050110304144342432",
                                      "062046 1434",
                                      "00063645443303 3342413000",
                                      "4130100105163645",
                                      "00062644422000",
                                      "40000646 0333",
                                      "400006 0333",
                                      "41301001051636454323",
                                      "0006 4046 0343",
                                      "1030 2026 1636",
                                      "4045361605",
                                      "0006 4004 1346",
                                      "000646",
                                      "0600234046",
                                      "06004640",
                                      "103041453616050110",
                                      "06003041423303",
                                      "103041453616050110 2446",
                                      "06003041423303 2346",
                                      "413010010213334445361605",
                                      "0040 2026",
                                      "000516364540",
                                      "002640",
                                      "0016233640",
                                      "0046 0640",
                                      "002340 2326",
                                      "00400646",
                                      "30101636",
                                      "0046",
                                      "10303616",
                                      "021042",
                                      "0747",
                                      "1021",
                                      "1232434616051444",
                                      "00063645433203",
                                      "4332120305163645",
                                      "40461605031242",
                                      "044443321203051646",
                                      "30201116 0232",
                                      "421203051646 42473818",
                                      "0006 0312324346",
                                      "2020 2226",
                                      "3030 32372818",
                                      "0006 3204 1336",
                                      "10202536",
                                      "0206 03122326 23324346",
                                      "0206 0312324346",
                                      "123243453616050312",
                                      "0208 03123243453606",
                                      "4248 43321203051646",
                                      "0206 03123243",
                                      "4212031434453606",
                                      "10152636 0232",
                                      "0205163645 4246",
                                      "022642",
                                      "0216233642",
                                      "0246 0642",
                                      "0226 4218",
                                      "02420646",
                                      "30212213242536",
                                      "2027",
                                      "10212233242516",
                                      "04133443"};
_Static_assert(sizeof letters / sizeof *letters == '~' - '!' + 1, "a letter for each character");

/* Steps of the grid and from one letter to the next, by the size of the words. */
static const double ACROSS = 0.09, DOWN = 0.12, ADVANCE = 0.54;

static void paint_letter(Drawing *d, Point at, const WordStyle *s, int c) {
    Line line = {s->colour, 0.095 * s->size, 0};
    Point p[32];
    uint32_t n = 0;
    for (const char *k = c > ' ' && c <= '~' ? letters[c - '!'] : "";; k += 2) {
        if (*k == ' ' || !*k) {
            if (n) paint_line(d, p, n, line);
            n = 0;
            if (!*k++) return;
        }
        double x = ACROSS * s->size * (*k - '0'), y = DOWN * s->size * (k[1] - '6');
        p[n++] = s->up ? (Point){at.x + y, at.y - x} : (Point){at.x + x, at.y + y};
    }
}

static void paint_words(Drawing *d, Point at, const WordStyle *s, const char *text) {
    double length = 0, move;
    for (const char *c = text; *c; c++) length += ((unsigned char)*c & 0xC0) != 0x80 ? ADVANCE * s->size : 0;
    move = s->anchor == ANCHOR_MIDDLE ? length / 2 : s->anchor == ANCHOR_END ? length : 0;
    *(s->up ? &at.y : &at.x) += s->up ? move : -move;
    for (const char *c = text; *c;) {
        size_t bytes = utf8_length(c);
        paint_letter(d, at, s, bytes > 1 ? '?' : *c);
        *(s->up ? &at.y : &at.x) += s->up ? -ADVANCE * s->size : ADVANCE * s->size;
        c += bytes ? bytes : 1;
    }
}

/* ---- both ---- */

void drawing_line(Drawing *d, const Point *points, uint32_t n, Line line) {
    if (!n) return;
    fprintf(d->svg.file, "<polyline fill=\"none\" stroke=\"#%06x\" stroke-width=\"%g\" stroke-linecap=\"%s\"", line.colour,
            line.width, line.dash > 0 ? "butt" : "round");
    if (line.dash > 0) fprintf(d->svg.file, " stroke-dasharray=\"%g\"", line.dash);
    fputs(" points=\"", d->svg.file);
    for (uint32_t i = 0; i < n; i++) fprintf(d->svg.file, "%s%.2f,%.2f", i ? " " : "", points[i].x, points[i].y);
    if (n == 1) fprintf(d->svg.file, " %.2f,%.2f", points[0].x, points[0].y);
    fputs("\"/>\n", d->svg.file);
    paint_line(d, points, n, line);
}

void drawing_box(Drawing *d, Point corner, double width, double height, uint32_t colour, double opacity) {
    fprintf(d->svg.file, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"#%06x\"", corner.x, corner.y, width,
            height, colour);
    if (opacity < 1) fprintf(d->svg.file, " fill-opacity=\"%g\"", opacity);
    fputs("/>\n", d->svg.file);
    double x0 = SCALE * corner.x, y0 = SCALE * corner.y, x1 = x0 + SCALE * width, y1 = y0 + SCALE * height;
    int64_t right = inside(ceil(x1), d->pixels.width), bottom = inside(ceil(y1), d->pixels.height);
    for (int64_t y = inside(floor(y0), d->pixels.height); y <= bottom; y++)
        for (int64_t x = inside(floor(x0), d->pixels.width); x <= right; x++) {
            double across = fmin(x1, (double)x + 1) - fmax(x0, (double)x), down = fmin(y1, (double)y + 1) - fmax(y0, (double)y);
            if (across > 0 && down > 0) blend(d, x, y, colour, opacity * across * down);
        }
}

static void write_escaped(FILE *out, const char *text) {
    for (const char *c = text; *c;) {
        size_t bytes = utf8_length(c);
        if (*c == '<' || *c == '&' || *c == '>')
            fputs(*c == '<' ? "&lt;" : *c == '>' ? "&gt;" : "&amp;", out);
        else if (!bytes || (unsigned char)*c < ' ' || *c == 127)
            fputs("\xef\xbf\xbd", out); /* no text, or none that XML allows */
        else
            fwrite(c, 1, bytes, out);
        c += bytes ? bytes : 1;
    }
}

void drawing_words(Drawing *d, Point at, WordStyle style, const char *text) {
    static const char *const anchors[] = {[ANCHOR_START] = "start", [ANCHOR_MIDDLE] = "middle", [ANCHOR_END] = "end"};
    fprintf(d->svg.file, "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%g\" text-anchor=\"%s\" fill=\"#%06x\"", at.x, at.y, style.size,
            anchors[style.anchor], style.colour);
    if (style.up) fprintf(d->svg.file, " transform=\"rotate(-90 %.2f %.2f)\"", at.x, at.y);
    fputc('>', d->svg.file);
    write_escaped(d->svg.file, text);
    fputs("</text>\n", d->svg.file);
    paint_words(d, at, &style, text);
}

int drawing_write(const Drawing *d, const char *path) {
    char *svg = join("%s.svg", path), *png = join("%s.png", path), why[256];
    fflush(d->svg.file);
    FILE *out = fopen(svg, "w");
    bool ok = out && fwrite(d->svg.text, 1, d->svg.length, out) == d->svg.length && fputs("</svg>\n", out) >= 0;
    if (out && fclose(out)) ok = false;
    int status = ok ? EXIT_OK : fail(EXIT_IO, "cannot write '%s': %s", svg, strerror(errno));
    if (!status && !picture_write(png, &d->pixels, why, sizeof why)) status = fail(EXIT_IO, "cannot write '%s': %s", png, why);
    free(svg);
    free(png);
    return status;
}
