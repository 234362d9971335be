/* Inside runtime/: what a person sees of a training. On a terminal one line that is rewritten, and above it, where the terminal
 * is wide and high enough and takes UTF-8, curves of the loss and the accuracy; elsewhere plain lines, seldom. */
#ifndef NETC_RUNTIME_PROGRESS_H
#define NETC_RUNTIME_PROGRESS_H
#include "runtime/curve.h"
#include "runtime/rt.h"

typedef struct RtProgress {
    FILE *out; /* NULL: silent */
    bool live, color, drawing;
    double shown; /* when the line was last written */
    int width;    /* of the live line, to wipe it */
    int rows;     /* of curves above it */
    RtCurve loss, accuracy;
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
/* An accuracy was measured at this part of the training, in [0, 1]. */
void rt_progress_accuracy(RtProgress *p, double part, double accuracy);
/* A line that stays: printf, after wiping the live one. */
void rt_progress_say(RtProgress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rt_progress_end(RtProgress *p); /* leaves the terminal on a fresh line, below the curves */
#endif
