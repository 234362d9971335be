/* Inside runtime/: event files of TensorBoard, of what metrics.jsonl says, beside it. */
#ifndef NETC_RUNTIME_EVENTS_H
#define NETC_RUNTIME_EVENTS_H
#include "runtime/status.h"

typedef struct RtEvents {
    FILE *file; /* NULL: none are written */
    char *path;
} RtEvents;

/* Begins DIR/events.out.tfevents.TIME.HOST.netc. Of a training that goes on behind `step` it says that what earlier files have of
 * later steps is void. */
RtStatus rt_events_open(RtEvents *e, const char *directory, bool resume, uint64_t step, RtError *error);
void rt_events_close(RtEvents *e);
/* A line of metrics: its numbers become scalars, epoch/… where it is of an epoch, else step/…. */
RtStatus rt_events_line(RtEvents *e, const char *line, RtError *error);
bool rt_events_are(const char *directory); /* is there one of netc's? */
/* Removes those that were written into a directory; false: errno. */
bool rt_events_remove(const char *directory);
#endif
