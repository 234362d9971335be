/* See plots.h. The same plots as on the page (report.html), each with its key. */
#include "driver/plots.h"
#include "cli/report.h"
#include "driver/drawing.h"
#include "ir/utf8.h"
#include "runtime/json.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 590, PLOT = 300, LEFT = 62, RIGHT = 24, TOP = 26, BOTTOM = 36, KEY_LINE = 15, TICKS = 5, CURVES = 3, TICK = 32 };

static const uint32_t colours[] = {0x1f77b4, 0xd62728, 0x2ca02c, 0x9467bd, 0xff7f0e,
                                   0x8c564b, 0x17becf, 0x7f7f7f, 0xbcbd22, 0xe377c2};
static const double MOST = 1e300; /* of what is a number; a file may be damaged */
static const uint32_t INK = 0x1c2128, GRID = 0xe3e6ea, GRAY = 0x999999;

static uint32_t colour_of(uint32_t run) { return colours[run % (sizeof colours / sizeof *colours)]; }

/* Points of a run, in data's units; those that are NAN are left out. */
typedef struct Curve {
    Point *point;
    uint32_t n, run;
    bool dashed;
} Curve;

/* What is drawn on axes. */
typedef struct Plot {
    const char *title, *x, *note; /* note: below; NULL */
    bool percent, log, zero_x, zero_y;
    const RunList *runs; /* of the key */
    Curve *curve;
    uint32_t ncurves;
} Plot;

/* Where data's units are in the drawing. */
typedef struct Axes {
    double x0, x1, y0, y1;
    bool log;
} Axes;

static double scaled(const Axes *a, double y) { return a->log ? log10(y) : y; }

static Point place(const Axes *a, Point p) {
    return (Point){LEFT + (WIDTH - LEFT - RIGHT) * (p.x - a->x0) / (a->x1 - a->x0),
                   PLOT - BOTTOM - (PLOT - BOTTOM - TOP) * (scaled(a, p.y) - a->y0) / (a->y1 - a->y0)};
}

/* Its points are on the axes: any two differ by a number, since greater ones than MOST are left out (add_point). False: there is
 * no number. */
static bool fit_axes(const Plot *p, Axes *a) {
    Axes of = {INFINITY, -INFINITY, INFINITY, -INFINITY, p->log};
    for (uint32_t c = 0; c < p->ncurves; c++)
        for (uint32_t i = 0; i < p->curve[c].n; i++) {
            Point at = p->curve[c].point[i];
            of.x0 = fmin(of.x0, at.x), of.x1 = fmax(of.x1, at.x);
            of.y0 = fmin(of.y0, at.y), of.y1 = fmax(of.y1, at.y);
        }
    if (!(of.x0 <= of.x1)) return false;
    if (!(of.y0 > 0)) of.log = false;
    if (of.log) of.y0 = log10(of.y0), of.y1 = log10(of.y1);
    if (p->zero_x) of.x0 = fmin(of.x0, 0), of.x1 = fmax(of.x1, 0);
    if (p->zero_y && !of.log) of.y0 = fmin(of.y0, 0), of.y1 = fmax(of.y1, 0);
    if (of.x1 <= of.x0) of.x1 = of.x0 + fmax(1, 1e-3 * fabs(of.x0));
    if (of.y1 <= of.y0) of.y1 = of.y0 + (of.y0 != 0 ? fmax(0.1 * fabs(of.y0), DBL_MIN) : 1);
    *a = of;
    return true;
}

/* A number of four digits, as a power of ten only where there is no room for it as it is. `span`: of the axis, of which rounding
 * leaves something in place of zero. */
static void tick(char text[TICK], double value, double span) {
    snprintf(text, TICK, "%.4g", fabs(value) < 1e-9 * span ? 0 : value);
    snprintf(text, TICK, "%.9g", strtod(text, NULL));
}

static void draw_axes(Drawing *d, const Axes *a, const char *title, const char *x, bool percent) {
    char text[TICK];
    const WordStyle ends = {11, ANCHOR_END, false, INK}, middle = {11, ANCHOR_MIDDLE, false, INK};
    drawing_words(d, (Point){WIDTH / 2., 16}, (WordStyle){13, ANCHOR_MIDDLE, false, INK}, title);
    for (int i = 0; i <= TICKS; i++) {
        double part = (double)i / TICKS, value = a->y0 + (a->y1 - a->y0) * part, at = a->x0 + (a->x1 - a->x0) * part;
        double y = PLOT - BOTTOM - (PLOT - BOTTOM - TOP) * part, left = LEFT + (WIDTH - LEFT - RIGHT) * part;
        drawing_line(d, (Point[]){{LEFT, y}, {WIDTH - RIGHT, y}}, 2, (Line){GRID, 1, 0});
        if (percent && fabs(value) < 100)
            snprintf(text, sizeof text, "%.*f %%", a->y1 - a->y0 < 0.05 ? 2 : 0, 100 * value);
        else
            tick(text, a->log ? pow(10, value) : value, a->log ? 0 : a->y1 - a->y0);
        drawing_words(d, (Point){LEFT - 6, y + 4}, ends, text);
        tick(text, at, a->x1 - a->x0);
        drawing_words(d, (Point){left, PLOT - BOTTOM + 15}, middle, text);
    }
    drawing_words(d, (Point){(LEFT + WIDTH - RIGHT) / 2., PLOT - 6}, middle, x);
}

static void draw_curve(Drawing *d, const Axes *a, const Curve *c) {
    Point *at = malloc((c->n + 1) * sizeof *at);
    if (!at) exit(fail(EXIT_IO, "out of memory"));
    for (uint32_t i = 0; i < c->n; i++) at[i] = place(a, c->point[i]);
    drawing_line(d, at, c->n, (Line){colour_of(c->run), c->n > 1 ? 1.5 : 6, c->dashed ? 3 : 0});
    free(at);
}

/* A line for each run, and the note. */
static void draw_key(Drawing *d, const Plot *p) {
    double y = PLOT + 6;
    const WordStyle style = {11, ANCHOR_START, false, INK};
    if (p->note) drawing_words(d, (Point){LEFT, y}, (WordStyle){11, ANCHOR_START, false, GRAY}, p->note), y += KEY_LINE;
    for (uint32_t i = 0; i < p->runs->count; i++, y += KEY_LINE) {
        drawing_box(d, (Point){LEFT, y - 6}, 14, 4, colour_of(i), 1);
        drawing_words(d, (Point){LEFT + 20, y}, style, p->runs->run[i].path);
    }
}

/* Writes a drawing, frees it, and adds its files to the names. */
static int finish(Drawing *d, const char *directory, const char *name, FILE *names) {
    char *path = join("%s/%s", directory, name);
    int status = drawing_write(d, path);
    for (int i = 0; i < 2 && !status; i++) {
        char *file = join("%s.%s", path, i ? "png" : "svg");
        fputs(", ", names);
        json_write_string(names, file);
        free(file);
    }
    drawing_free(d);
    free(path);
    return status;
}

static int draw_plot(const Plot *p, const char *directory, const char *name, FILE *names) {
    Axes a;
    if (!fit_axes(p, &a)) return EXIT_OK;
    Drawing *d = drawing_new(WIDTH, PLOT + KEY_LINE * ((int)p->runs->count + (p->note != NULL)));
    draw_axes(d, &a, p->title, p->x, p->percent);
    for (uint32_t c = 0; c < p->ncurves; c++) draw_curve(d, &a, &p->curve[c]);
    draw_key(d, p);
    return finish(d, directory, name, names);
}

/* ---- curves ---- */

/* A value of an epoch; NAN: it has none. */
typedef double (*OfEpoch)(const HistoryEpoch *e);
static double judged(double validation, double test) { return isnan(validation) ? test : validation; }
static double accuracy(const HistoryEpoch *e) { return judged(e->validation, e->test); }
static double judged_loss(const HistoryEpoch *e) { return judged(e->validation_loss, e->test_loss); }
static double trained(const HistoryEpoch *e) { return e->train; }
static double trained_loss(const HistoryEpoch *e) { return e->loss; }
static double speed(const HistoryEpoch *e) { return e->images_per_s; }

static void add_point(Curve *c, double x, double y) {
    if (fabs(x) <= MOST && fabs(y) <= MOST) c->point[c->n++] = (Point){x, y};
}

static Curve *new_curve(Plot *p, uint32_t run, bool dashed) {
    const History *h = &p->runs->run[run].history;
    Curve *c = &p->curve[p->ncurves++];
    *c = (Curve){calloc((size_t)h->nepochs + h->nsteps + 1, sizeof *c->point), 0, run, dashed};
    if (!c->point) exit(fail(EXIT_IO, "out of memory"));
    return c;
}

static void add_epochs(Plot *p, OfEpoch of, bool dashed) {
    for (uint32_t r = 0; r < p->runs->count; r++) {
        Curve *c = new_curve(p, r, dashed);
        const History *h = &p->runs->run[r].history;
        for (uint32_t i = 0; i < h->nepochs; i++) add_point(c, h->epoch[i].epoch + 1, of(&h->epoch[i]));
    }
}

/* By minutes. */
static void add_times(Plot *p) {
    for (uint32_t r = 0; r < p->runs->count; r++) {
        Curve *c = new_curve(p, r, false);
        const History *h = &p->runs->run[r].history;
        double minutes = 0;
        for (uint32_t i = 0; i < h->nepochs; i++) {
            const HistoryEpoch *e = &h->epoch[i];
            minutes += isfinite(e->seconds) ? e->seconds / 60 : 0;
            add_point(c, minutes, isnan(accuracy(e)) ? e->train : accuracy(e));
        }
    }
}

/* Of steps that were logged; of rates, where none were, those of epochs' ends. */
static void add_steps(Plot *p, bool rates) {
    for (uint32_t r = 0; r < p->runs->count; r++) {
        Curve *c = new_curve(p, r, false);
        const History *h = &p->runs->run[r].history;
        for (uint32_t i = 0; i < h->nsteps; i++) add_point(c, h->step[i].step, rates ? h->step[i].lr : h->step[i].loss);
        for (uint32_t i = 0; i < h->nepochs && rates && !h->nsteps; i++) add_point(c, h->epoch[i].step, h->epoch[i].lr);
    }
}

/* Drawn unless something failed before. */
static int end_plot(int status, Plot *p, const char *directory, const char *name, FILE *names) {
    if (!status) status = draw_plot(p, directory, name, names);
    for (uint32_t c = 0; c < p->ncurves; c++) free(p->curve[c].point);
    p->ncurves = 0;
    return status;
}

int plots_curves(const char *directory, const RunList *list, FILE *names) {
    static const char dashed[] = "test or validation images; dashed: training images, as augmented";
    Curve *room = calloc(CURVES * (size_t)list->count, sizeof *room);
    if (!room) exit(fail(EXIT_IO, "out of memory"));
    Plot p = {"accuracy", "epoch", dashed, .percent = true, .runs = list, .curve = room};
    add_epochs(&p, accuracy, false);
    add_epochs(&p, trained, true);
    int status = end_plot(EXIT_OK, &p, directory, "accuracy", names);
    p = (Plot){"loss", "epoch", dashed, .log = true, .runs = list, .curve = room};
    add_epochs(&p, judged_loss, false);
    add_epochs(&p, trained_loss, true);
    status = end_plot(status, &p, directory, "loss", names);
    p = (Plot){"loss of single steps", "step", NULL, .log = true, .runs = list, .curve = room};
    add_steps(&p, false);
    status = end_plot(status, &p, directory, "step-loss", names);
    p = (Plot){"learning rate", "step", NULL, .zero_y = true, .runs = list, .curve = room};
    add_steps(&p, true);
    status = end_plot(status, &p, directory, "learning-rate", names);
    p = (Plot){"accuracy by time", "minutes", NULL, .percent = true, .zero_x = true, .runs = list, .curve = room};
    add_times(&p);
    status = end_plot(status, &p, directory, "accuracy-by-time", names);
    p = (Plot){"images a second", "epoch", "of training, since the process began", .zero_y = true, .runs = list, .curve = room};
    add_epochs(&p, speed, false);
    status = end_plot(status, &p, directory, "images-a-second", names);
    free(room);
    return status;
}

/* ---- predictions ---- */

static bool is_taken(const char *text, char *const *name, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(name[i], text)) return true;
    return false;
}

char **plots_names(const RunList *list) {
    char **name = calloc((size_t)list->count + 1, sizeof *name);
    if (!name) exit(fail(EXIT_IO, "out of memory"));
    for (uint32_t i = 0; i < list->count; i++) {
        const char *run = list->run[i].path;
        while (*run == '/' || *run == '.') run++;
        size_t length = strlen(run);
        while (length && run[length - 1] == '/') length--;
        char *wanted = length ? join("%.*s", (int)length, run) : join("run");
        for (char *c = wanted; *c; c++)
            if (*c == '/') *c = '-';
        name[i] = join("%s", wanted);
        for (uint32_t number = 2; is_taken(name[i], name, i); number++) free(name[i]), name[i] = join("%s-%u", wanted, number);
        free(wanted);
    }
    return name;
}

static int draw_reliability(const PlotTest *t, const char *directory, FILE *names) {
    const Axes a = {0, 1, 0, 1, false};
    Drawing *d = drawing_new(WIDTH, PLOT);
    char *title = join("reliability of %s", t->run), *name = join("%s-reliability", t->name);
    draw_axes(d, &a, title, "probability of the class that is predicted", true);
    for (int b = 0; b < t->bins; b++) {
        if (isnan(t->bin[b][0])) continue;
        Point low = place(&a, (Point){t->bin[b][0] - 0.03, 0}), high = place(&a, (Point){t->bin[b][0] + 0.03, t->bin[b][1]});
        drawing_box(d, (Point){low.x, high.y}, high.x - low.x, low.y - high.y, colour_of(0), 0.55);
    }
    drawing_line(d, (Point[]){place(&a, (Point){0, 0}), place(&a, (Point){1, 1})}, 2, (Line){GRAY, 1, 4});
    int status = finish(d, directory, name, names);
    free(title);
    free(name);
    return status;
}

static uint32_t shade(double part) {
    double blue = 255 - part * (255 - 0xb4), green = 255 - part * (255 - 0x77), red = 255 - part * (255 - 0x1f);
    return (uint32_t)lrint(red) << 16 | (uint32_t)lrint(green) << 8 | (uint32_t)lrint(blue);
}

/* A box for each pair that there is, as dark as the part of a class's images that it has; numbers and names where there is room.
 */
static int draw_confusion(const PlotTest *t, const char *directory, FILE *names) {
    enum { NUMBERED = 20, NAMED = 60, MARGIN = 100, HEAD = 40, SIDE = 480 };
    int64_t K = t->classes;
    double cell = fmin(34, (double)SIDE / (double)K), size = fmin(11, 0.8 * cell), side = cell * (double)K;
    int width = (int)fmax(MARGIN + side + 20, 320), height = (int)(HEAD + side + MARGIN);
    Drawing *d = drawing_new(width, height);
    char *title = join("confusion of %s", t->run), *name = join("%s-confusion", t->name), text[32];
    drawing_words(d, (Point){width / 2., 16}, (WordStyle){13, ANCHOR_MIDDLE, false, INK}, title);
    drawing_words(d, (Point){width / 2., 32}, (WordStyle){11, ANCHOR_MIDDLE, false, GRAY},
                  "rows: what it is; columns: what it is taken for");
    for (int64_t i = 0; i < K; i++) {
        double y = HEAD + cell * (double)i, middle = 0.35 * size + cell / 2, sum = 0;
        for (int64_t k = 0; k < K; k++) sum += (double)t->confusion[i * K + k];
        for (int64_t k = 0; k < K; k++) {
            int64_t n = t->confusion[i * K + k];
            if (!n) continue;
            double part = (double)n / sum, x = MARGIN + cell * (double)k;
            drawing_box(d, (Point){x, y}, cell, cell, shade(part), 1);
            snprintf(text, sizeof text, "%" PRId64, n);
            if (K <= NUMBERED)
                drawing_words(d, (Point){x + cell / 2, y + middle},
                              (WordStyle){fmin(10, size), ANCHOR_MIDDLE, false, part > 0.5 ? 0xffffff : INK}, text);
        }
        if (K > NAMED) continue;
        char *short_name = join("%.*s", (int)utf8_within(t->class_name[i], 16), t->class_name[i]);
        drawing_words(d, (Point){MARGIN - 5, y + middle}, (WordStyle){size, ANCHOR_END, false, INK}, short_name);
        drawing_words(d, (Point){MARGIN + cell * (double)i + middle, HEAD + side + 5}, (WordStyle){size, ANCHOR_END, true, INK},
                      short_name);
        free(short_name);
    }
    int status = finish(d, directory, name, names);
    free(title);
    free(name);
    return status;
}

int plots_test(const char *directory, const PlotTest *test, FILE *names) {
    int status = draw_reliability(test, directory, names);
    return status ? status : draw_confusion(test, directory, names);
}
