/* The event log, as what rewrites graphs writes it: which values an event removed, made, changed or redirected. An event is open
 * from the gate (pass_allowed) until the next one, or until it is closed. Private to passes/. */
#ifndef NETC_PASSES_EVENTS_H
#define NETC_PASSES_EVENTS_H
#include "passes/passes.h"

enum { EVENT_NONE = UINT32_MAX };

/* The open event's number in the log, EVENT_NONE if there is none; and one that is open again. */
uint32_t event_open(const PassContext *context);
void event_reopen(PassContext *context, uint32_t event);
void event_close(PassContext *context);

typedef enum EventList { EVENT_REMOVED, EVENT_MADE, EVENT_CHANGED, EVENT_ABOUT } EventList;
/* Adds a value to a list of the open event, once. In a draft it is a node, and event_resolve says later which values it is. */
void event_value(PassContext *context, EventList list, uint32_t value);
void event_redirect(PassContext *context, uint32_t from, uint32_t to);
/* What was allowed proved impossible and left nothing that stays: the refusal that follows is the event. */
void event_undo(PassContext *context);

/* A refusal about one or two values (NO_VAL: none), with the first one's name. */
void event_refuse(PassContext *context, const char *subject, const uint32_t about[2], Span span, const char *format,
                  va_list args);

/* From event `first` on, lists hold nodes: of node i, before[i] and after[i] are the values of the graph that the pass got and of
 * the one that it leaves. */
void event_resolve(PassContext *context, uint32_t first, const Val *before, const Val *after);

/* One run of a pass begins, or is over; "cse#2" is its name. */
void events_begin(PassContext *context, const char *run, const Pass *row);
void events_end(PassContext *context);
#endif
