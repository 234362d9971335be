/* What a running pass asks of its driver: its options, the gate that every single rewrite goes through, and the event log, which
 * the gate and the remarks write.
 *
 * A rewrite that is forbidden is often asked for again, since the pass finds it again; so the gate remembers it by its subject
 * and key and neither counts nor logs it twice. Rewrites that are allowed are new each time. */
#include "passes/events.h"
#include <fnmatch.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t pass_parameter(const PassContext *context, const char *name) {
    const PassParameter *p = context->row->parameters;
    for (uint32_t i = 0; i < PASS_PARAMETERS && p[i].name; i++) {
        if (strcmp(p[i].name, name) == 0) return context->parameter ? context->parameter[i] : p[i].value;
    }
    fprintf(stderr, "netc: internal error: the pass '%s' has no option '%s'\n", context->pass, name);
    abort();
}

/* ---- subjects of this run ---- */

/* How often a subject has been asked for (key 0, count), or a forbidden rewrite. */
struct PassSubject {
    const char *subject; /* NULL: an empty slot */
    uint64_t key;
    bool forbidden;
    uint32_t count;
};

static uint64_t hash_subject(const char *subject, uint64_t key, bool forbidden) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ key * 2 ^ forbidden;
    for (const char *c = subject; *c; c++) hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 29;
}

static PassSubject *find_subject(PassContext *c, const char *subject, uint64_t key, bool forbidden) {
    for (uint64_t i = hash_subject(subject, key, forbidden);; i++) {
        PassSubject *slot = &c->subjects[i & (c->subject_slots - 1)];
        if (!slot->subject) return slot;
        if (slot->key == key && slot->forbidden == forbidden && strcmp(slot->subject, subject) == 0) return slot;
    }
}

static void add_subject(PassContext *c, PassSubject new) {
    if (2 * (c->nsubjects + 1) > c->subject_slots) {
        PassSubject *old = c->subjects;
        uint32_t slots = c->subject_slots;
        c->subject_slots = slots ? 2 * slots : 64;
        c->subjects = ARENA_ARRAY(c->arena, PassSubject, c->subject_slots);
        for (uint32_t i = 0; i < slots; i++)
            if (old[i].subject) *find_subject(c, old[i].subject, old[i].key, old[i].forbidden) = old[i];
    }
    *find_subject(c, new.subject, new.key, new.forbidden) = new;
    c->nsubjects++;
}

/* ---- events ---- */

uint32_t event_open(const PassContext *context) { return context->open ? context->open - 1 : EVENT_NONE; }

void event_reopen(PassContext *context, uint32_t event) { context->open = event == EVENT_NONE ? 0 : event + 1; }

void event_close(PassContext *context) {
    if (context->open && !context->events[context->open - 1].text)
        context->events[context->open - 1].text =
            context->row && context->row->summary ? arena_strdup(context->arena, context->row->summary) : "";
    context->open = 0;
}

static Event *append_event(PassContext *c, EventKind kind, const char *name) {
    event_close(c);
    ARENA_GROW(c->arena, c->events, c->nevents, &c->event_capacity);
    Event *e = &c->events[c->nevents++];
    *e = (Event){.kind = kind, .pass = c->pass, .run = c->run ? c->run : c->pass, .name = name};
    return e;
}

static void add_value(PassContext *c, EventValues *list, EventValue value) {
    for (uint32_t i = 0; i < list->count; i++)
        if (list->item[i].before == value.before && list->item[i].after == value.after) return;
    ARENA_GROW(c->arena, list->item, list->count, &list->capacity);
    list->item[list->count++] = value;
}

static EventValues *list_of(Event *e, EventList list) {
    switch (list) {
    case EVENT_REMOVED: return &e->removed;
    case EVENT_MADE: return &e->made;
    case EVENT_CHANGED: return &e->changed;
    default: return &e->about;
    }
}

static bool holds(const EventValues *list, uint32_t value) {
    for (uint32_t i = 0; i < list->count; i++)
        if (list->item[i].before == value) return true;
    return false;
}

void event_value(PassContext *context, EventList list, uint32_t value) {
    if (!context->open) return;
    Event *e = &context->events[context->open - 1];
    if (list == EVENT_CHANGED && holds(&e->made, value)) return;
    add_value(context, list_of(e, list), (EventValue){value, NO_VAL});
}

void event_undo(PassContext *context) {
    if (!context->open) return;
    Event *e = &context->events[context->open - 1];
    e->made.count = e->removed.count = e->changed.count = e->redirected.count = 0;
}

void event_redirect(PassContext *context, uint32_t from, uint32_t to) {
    if (!context->open) return;
    Event *e = &context->events[context->open - 1];
    EventValue pair[] = {{from, NO_VAL}, {to, NO_VAL}};
    for (int i = 0; i < 2; i++) { /* pairs stand one behind the other, so equal values stay */
        ARENA_GROW(context->arena, e->redirected.item, e->redirected.count, &e->redirected.capacity);
        e->redirected.item[e->redirected.count++] = pair[i];
    }
}

void event_resolve(PassContext *context, uint32_t first, const Val *before, const Val *after) {
    for (uint32_t i = first; i < context->nevents; i++) {
        Event *e = &context->events[i];
        EventValues *const lists[] = {&e->removed, &e->made, &e->changed, &e->about, &e->redirected};
        for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
            for (uint32_t v = 0; v < lists[k]->count; v++) {
                uint32_t node = lists[k]->item[v].before;
                lists[k]->item[v] = (EventValue){before[node], after[node]};
            }
    }
}

void pass_replaced(PassContext *context, Val before, Val after, const Graph *out, uint32_t count) {
    if (!context->open) return;
    Event *e = &context->events[context->open - 1];
    for (Val v = count; v < out->count; v++) add_value(context, &e->made, (EventValue){NO_VAL, v});
    add_value(context, &e->removed, (EventValue){before, NO_VAL});
    if (after == NO_VAL) return;
    event_redirect(context, before, NO_VAL);
    e->redirected.item[e->redirected.count - 1] = (EventValue){NO_VAL, after};
}

void events_begin(PassContext *context, const char *run, const Pass *row) {
    context->row = row;
    context->pass = arena_strdup(context->arena, row->name); /* a shared object may be gone when the log is read */
    context->run = run;
    context->subjects = NULL;
    context->nsubjects = context->subject_slots = 0;
}

void events_end(PassContext *context) { event_close(context); }

/* ---- the gate ---- */

static bool is_number(const char *text) { return *text && text[strspn(text, "0123456789")] == 0; }

/* Does a mask name the rewrite? Behind "train:" or "infer:" it is for that mode only. */
static bool mask_names(const PassContext *c, const char *mask, int64_t number, const char *name, const char *subject) {
    bool train = !strncmp(mask, "train:", 6), infer = !strncmp(mask, "infer:", 6);
    if ((train && c->mode != MODE_TRAIN) || (infer && c->mode != MODE_INFER)) return false;
    if (train || infer) mask += 6;
    if (is_number(mask)) return strtoll(mask, NULL, 10) == number;
    if (!strcmp(mask, name) || fnmatch(mask, name, 0) == 0) return true;
    const char *any = arena_printf(c->arena, "%s@%s", c->pass, subject); /* in whichever run */
    return !strcmp(mask, any) || fnmatch(mask, any, 0) == 0;
}

static bool any_names(const PassContext *c, PassMask *mask, uint32_t count, int64_t number, const char *name,
                      const char *subject) {
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        bool names = mask_names(c, mask[i].text, number, name, subject);
        mask[i].met |= names;
        any |= names;
    }
    return any;
}

bool pass_allowed_for(PassContext *c, const char *subject, uint64_t key) {
    if (!c->subject_slots || find_subject(c, subject, 0, false)->subject == NULL) {
        subject = arena_strdup(c->arena, subject);
        add_subject(c, (PassSubject){.subject = subject});
    } else if (find_subject(c, subject, key, true)->subject) {
        event_close(c);
        return false;
    }
    PassSubject *all = find_subject(c, subject, 0, false);
    subject = all->subject;
    uint32_t nth = ++all->count;
    const char *unique = nth == 1 ? subject : arena_printf(c->arena, "%s~%u", subject, nth);
    const char *name = arena_printf(c->arena, "%s@%s", c->run ? c->run : c->pass ? c->pass : "pass", unique);
    int64_t number = ++c->asked;
    bool forbidden = any_names(c, c->forbid, c->nforbid, number, name, unique);
    forbidden |= c->npermit && !any_names(c, c->permit, c->npermit, number, name, unique);
    forbidden |= c->bisect_limit >= 0 && number > c->bisect_limit;
    if (forbidden) add_subject(c, (PassSubject){.subject = subject, .key = key, .forbidden = true});
    Event *e = append_event(c, forbidden ? EVENT_FORBIDDEN : EVENT_DONE, name);
    e->number = number;
    if (forbidden) e->text = "an option forbids it";
    if (forbidden) return false;
    c->open = c->nevents;
    c->rewrites++;
    return true;
}

bool pass_allowed(PassContext *context) { return pass_allowed_for(context, "rewrite", context->nevents + 1); }

/* ---- remarks ---- */

static const char *format_text(PassContext *c, const char *format, va_list args) {
    char text[1024];
    vsnprintf(text, sizeof text, format, args);
    return arena_strdup(c->arena, text);
}

/* An open event of which nothing has been said or done is what the remark is about: what was allowed proved impossible. */
static Event *refused(PassContext *c, const char *name) {
    Event *e = c->open ? &c->events[c->open - 1] : NULL;
    if (!e || e->text || e->made.count || e->removed.count || e->changed.count) return append_event(c, EVENT_REFUSED, name);
    e->kind = EVENT_REFUSED;
    return e;
}

void event_refuse(PassContext *context, const char *subject, const uint32_t about[2], Span span, const char *format,
                  va_list args) {
    Event *e = refused(context, arena_printf(context->arena, "%s@%s", context->run ? context->run : context->pass, subject));
    for (int i = 0; i < 2; i++)
        if (about[i] != NO_VAL) add_value(context, &e->about, (EventValue){about[i], NO_VAL});
    e->span = span;
    e->text = format_text(context, format, args);
    context->open = 0;
}

void pass_remark(PassContext *context, bool applied, Span span, const char *format, ...) {
    va_list args;
    va_start(args, format);
    Event *e = context->open ? &context->events[context->open - 1] : NULL;
    if (!applied) e = refused(context, NULL);
    if (applied && (!e || e->text)) e = append_event(context, EVENT_DONE, NULL);
    e->span = span;
    e->text = format_text(context, format, args);
    if (!applied) context->open = 0;
    va_end(args);
}
