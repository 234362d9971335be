/* The progress line and the curves above it. See progress.h. */
#include "runtime/progress.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* From this size on there are curves, and from the second width on that of the accuracy beside that of the loss. */
enum { WIDE = 100, HIGH = 20, BOTH = 130, HEIGHT = 8 };

/* By the environment, as setlocale would have it. */
static bool takes_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    const char *term = getenv("TERM"), *locale = NULL;
    for (int i = 0; i < 3 && !(locale && *locale); i++) locale = getenv(names[i]);
    return term && *term && strcmp(term, "dumb") != 0 && locale && (strcasestr(locale, "utf-8") || strcasestr(locale, "utf8"));
}

RtProgress rt_progress(FILE *out, bool color) {
    bool live = out && isatty(fileno(out));
    return (RtProgress){.out = out, .live = live, .color = color, .drawing = live && takes_utf8(), .shown = -1};
}

/* Columns and rows of the terminal; of one that does not say, such that there is a whole line and no curve. */
static struct winsize size_of(const RtProgress *p) {
    struct winsize size = {0};
    if (ioctl(fileno(p->out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) size = (struct winsize){.ws_col = 0};
    return size;
}

static void wipe(RtProgress *p) {
    if (p->rows)
        fprintf(p->out, "\r\033[%dA\033[J", p->rows);
    else if (p->live && p->width)
        fprintf(p->out, "\r%*s\r", p->width, "");
    p->width = p->rows = 0;
}

/* The curves where the live block begins, each row with its end of line. Returns how many rows. */
static int draw_curves(const RtProgress *p, struct winsize size) {
    char loss[HEIGHT][RT_CURVE_ROW], accuracy[HEIGHT][RT_CURVE_ROW];
    int width = size.ws_col - 2, half = (width - 3) / 2;
    if (!p->drawing || size.ws_col < WIDE || size.ws_row < HIGH) return 0;
    int most = RT_CURVE_WIDTH;
    bool both = size.ws_col >= BOTH && rt_curve_draw(&p->accuracy, "acc. %", 100, half < most ? half : most, HEIGHT, accuracy);
    int rows = rt_curve_draw(&p->loss, "loss", 1, both ? (half < most ? half : most) : width < most ? width : most, HEIGHT, loss);
    const char *first = p->color ? "\033[36m" : "", *second = p->color ? "\033[32m" : "", *plain = p->color ? "\033[0m" : "";
    for (int r = 0; r < rows; r++) {
        fprintf(p->out, "%s%s%s", first, loss[r], plain);
        if (both) fprintf(p->out, "   %s%s%s", second, accuracy[r], plain);
        fputs("\033[K\n", p->out);
    }
    return rows;
}

static void duration(char *text, size_t size, double seconds) {
    long s = seconds > 0 ? (long)(seconds + 0.5) : 0;
    if (s >= 3600)
        snprintf(text, size, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(text, size, "%ld min %02ld s", s / 60, s % 60);
    else
        snprintf(text, size, "%ld s", s);
}

/* Anew, in place: what is there is written over, so that nothing flickers. */
static void draw_live(RtProgress *p, const char *line, int length) {
    struct winsize size = size_of(p);
    if (size.ws_col > 1 && length >= size.ws_col) length = size.ws_col - 1; /* a longer one would begin a second, which stays */
    int before = p->width, rows = p->rows;
    fputc('\r', p->out);
    if (rows) fprintf(p->out, "\033[%dA", rows);
    p->rows = draw_curves(p, size);
    if (rows && !p->rows) fputs("\033[J", p->out); /* it became smaller */
    fprintf(p->out, "\r%s%.*s%s", p->color ? "\033[2m" : "", length, line, p->color ? "\033[0m" : "");
    if (p->rows)
        fputs("\033[K", p->out);
    else if (before > length)
        fprintf(p->out, "%*s", size.ws_col && before >= size.ws_col ? 0 : before - length, "");
    p->width = length;
}

void rt_progress_step(RtProgress *p, const RtProgressLine *l, double now) {
    if (!p->out) return;
    double every = p->live ? 0.1 : 30;
    rt_curve_add(&p->loss, (double)l->step / (double)(l->total_steps ? l->total_steps : 1), l->loss);
    if (p->shown < 0 && !p->live) p->shown = now; /* a file's first line waits its half minute too */
    if (p->shown >= 0 && now - p->shown < every) return;
    p->shown = now;
    char left[32], line[256];
    duration(left, sizeof left, l->seconds_left);
    int n = snprintf(line, sizeof line, "epoch %lld/%.10g  step %llu/%llu  loss %.4f  accuracy %5.2f %%  %.0f images/s  %s left",
                     (long long)l->epoch + 1, l->epochs, (unsigned long long)l->step, (unsigned long long)l->total_steps, l->loss,
                     100 * l->accuracy, l->images_per_s, left);
    if (p->live)
        draw_live(p, line, n);
    else
        fprintf(p->out, "%s\n", line);
    fflush(p->out);
}

void rt_progress_accuracy(RtProgress *p, double part, double accuracy) { rt_curve_add(&p->accuracy, part, accuracy); }

void rt_progress_say(RtProgress *p, const char *format, ...) {
    if (!p->out) return;
    va_list args;
    wipe(p);
    va_start(args, format);
    vfprintf(p->out, format, args);
    va_end(args);
    fputc('\n', p->out);
    fflush(p->out);
}

void rt_progress_end(RtProgress *p) {
    if (!p->out) return;
    wipe(p);
    if (p->live) draw_curves(p, size_of(p));
    fflush(p->out);
}
