/* The progress line. See progress.h. */
#include "runtime/progress.h"
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

RtProgress rt_progress(FILE *out, bool color) {
    return (RtProgress){.out = out, .live = out && isatty(fileno(out)), .color = color, .shown = -1};
}

static void wipe(RtProgress *p) {
    if (p->live && p->width) fprintf(p->out, "\r%*s\r", p->width, "");
    p->width = 0;
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

void rt_progress_step(RtProgress *p, const RtProgressLine *l, double now) {
    if (!p->out) return;
    double every = p->live ? 0.1 : 30;
    if (p->shown < 0 && !p->live) p->shown = now; /* a file's first line waits its half minute too */
    if (p->shown >= 0 && now - p->shown < every) return;
    p->shown = now;
    char left[32], line[256];
    duration(left, sizeof left, l->seconds_left);
    int n = snprintf(line, sizeof line, "epoch %lld/%.10g  step %llu/%llu  loss %.4f  accuracy %5.2f %%  %.0f images/s  %s left",
                     (long long)l->epoch + 1, l->epochs, (unsigned long long)l->step, (unsigned long long)l->total_steps, l->loss,
                     100 * l->accuracy, l->images_per_s, left);
    if (!p->live) {
        fprintf(p->out, "%s\n", line);
    } else {
        int before = p->width;
        fprintf(p->out, "\r%s%s%s", p->color ? "\033[2m" : "", line, p->color ? "\033[0m" : "");
        if (before > n) fprintf(p->out, "%*s", before - n, "");
        p->width = n;
    }
    fflush(p->out);
}

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
    fflush(p->out);
}
