/* Inside runtime/: metrics.jsonl, one JSON object a line. */
#ifndef NETC_RUNTIME_METRICS_H
#define NETC_RUNTIME_METRICS_H
#include "runtime/events.h"

typedef struct RtMetrics {
    FILE *file;
    char *path;
    RtEvents events; /* where its lines go too, if it was opened */
} RtMetrics;

/* Opens DIR/metrics.jsonl: anew, or, when resuming at `step`, with every line behind that step removed. */
RtStatus rt_metrics_open(RtMetrics *m, const char *directory, bool resume, uint64_t step, RtError *error);
void rt_metrics_close(RtMetrics *m);
RtStatus rt_metrics_sync(RtMetrics *m, RtError *error); /* durable so far */
/* Appends a line made by printf and flushes it. */
RtStatus rt_metrics_line(RtMetrics *m, RtError *error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A number as JSON: 9 digits, which is enough for a float; null if it is not finite. text has 32 bytes. */
const char *rt_metrics_number(char *text, double value);
#endif
