/* Inside runtime/: what a person sees of a training. On a terminal one line that is rewritten; elsewhere plain lines, seldom. */
#ifndef NETC_RUNTIME_PROGRESS_H
#define NETC_RUNTIME_PROGRESS_H
#include "runtime/rt.h"

typedef struct RtProgress {
    FILE *out; /* NULL: silent */
    bool live, color;
    double shown; /* when the line was last written */
    int width;    /* of the live line, to wipe it */
} RtProgress;

/* What the line says. */
typedef struct RtProgressLine {
    int64_t epoch, batch_index, per_epoch;
    double epochs;
    uint64_t step, total_steps;
    double loss, accuracy, lr, images_per_s, seconds_left;
} RtProgressLine;

RtProgress rt_progress(FILE *out, bool color);
/* May do nothing: a terminal's line is renewed ten times a second, a file gets a line every half minute. */
void rt_progress_step(RtProgress *p, const RtProgressLine *line, double now);
/* A line that stays: printf, after wiping the live one. */
void rt_progress_say(RtProgress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rt_progress_end(RtProgress *p); /* leaves the terminal on a fresh line */
#endif
