/* Remarks are the events of the log, as sentences or as lines of JSON, that a filter lets through: a pass or a run of it, a place
 * in a source, or the name of a value. */
#include "driver/remarks.h"
#include "cli/report.h"
#include "ir/json_string.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- which ---- */

/* Does `text` have `name` in it, from one end of a name to the other? "basic1" is in "basic1.relu", not in "basic10". */
static bool mentions(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *at = text; at && (at = strstr(at, name)); at++) {
        bool begins = at == text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_' || at[-1] == '.');
        bool ends = !(isalnum((unsigned char)at[length]) || at[length] == '_' || at[length] == ':');
        if (begins && ends) return true;
    }
    return false;
}

/* "resnet.net:12", of which the file may be the end of a path. */
static bool at_place(const Remarks *r, Span span, const char *filter) {
    int line, column;
    const char *colon = strrchr(filter, ':'), *path = diag_file_path(r->diag, span.file);
    if (!colon || !path || !isdigit((unsigned char)colon[1])) return false;
    size_t length = (size_t)(colon - filter), whole = strlen(path);
    diag_line_column(r->diag, span, &line, &column);
    bool same = length <= whole && !strncmp(path + whole - length, filter, length);
    return same && (length == whole || path[whole - length - 1] == '/') && atoi(colon + 1) == line;
}

static bool wanted(const Remarks *r, const Event *e) {
    const char *filter = r->about;
    if (!filter) return false;
    return !*filter || !strcmp(filter, e->pass) || !strcmp(filter, e->run) || at_place(r, e->span, filter) ||
           mentions(e->text, filter) || (e->name && (!strcmp(e->name, filter) || mentions(e->name, filter)));
}

/* ---- as JSON ---- */

static void write_value(const EventValue *v, FILE *out) {
    fputc('{', out);
    if (v->before != NO_VAL) fprintf(out, "\"before\":%u", v->before);
    if (v->after != NO_VAL) fprintf(out, "%s\"after\":%u", v->before != NO_VAL ? "," : "", v->after);
    fputc('}', out);
}

static void write_values(const char *name, const EventValues *list, FILE *out) {
    if (list->count == 0) return;
    fprintf(out, ",\"%s\":[", name);
    for (uint32_t i = 0; i < list->count; i++) {
        if (i) fputc(',', out);
        write_value(&list->item[i], out);
    }
    fputc(']', out);
}

static void write_pairs(const char *name, const EventValues *list, FILE *out) {
    if (list->count == 0) return;
    fprintf(out, ",\"%s\":[", name);
    for (uint32_t i = 0; i < list->count; i += 2) {
        fputs(i ? ",{\"from\":" : "{\"from\":", out);
        write_value(&list->item[i], out);
        fputs(",\"to\":", out);
        write_value(&list->item[i + 1], out);
        fputc('}', out);
    }
    fputc(']', out);
}

static void write_text(const char *name, const char *text, FILE *out) {
    fprintf(out, ",\"%s\":", name);
    json_write_string(out, text);
}

static void write_place(const Remarks *r, Span span, FILE *out) {
    int line, column;
    diag_line_column(r->diag, span, &line, &column);
    if (!line) return;
    write_text("file", diag_file_path(r->diag, span.file), out);
    fprintf(out, ",\"line\":%d,\"column\":%d", line, column);
}

/* One line. */
static void write_event(const Remarks *r, Mode mode, const Event *e, FILE *out) {
    static const char *const kinds[] = {"done", "refused", "forbidden"};
    const char *ordinal = strchr(e->run, '#');
    fprintf(out, "{\"mode\":\"%s\",\"event\":\"%s\"", mode_text(mode), kinds[e->kind]);
    if (e->number) fprintf(out, ",\"number\":%" PRId64, e->number);
    write_text("pass", e->pass, out);
    fprintf(out, ",\"ordinal\":%s", ordinal ? ordinal + 1 : "1");
    if (e->name) write_text("name", e->name, out);
    write_place(r, e->span, out);
    write_text("reason", e->text, out);
    write_values("removed", &e->removed, out);
    write_values("made", &e->made, out);
    write_values("changed", &e->changed, out);
    write_pairs("redirected", &e->redirected, out);
    write_values("about", &e->about, out);
    fputs("}\n", out);
}

/* ---- as text ---- */

static void print_place(const Remarks *r, Span span) {
    int line, column;
    diag_line_column(r->diag, span, &line, &column);
    if (line) fprintf(stderr, "%s:%d:%d: ", diag_file_path(r->diag, span.file), line, column);
}

static void print_event(const Remarks *r, const Event *e) {
    print_place(r, e->span);
    if (e->kind == EVENT_FORBIDDEN)
        fprintf(stderr, "remark: %s (forbidden): rewrite %" PRId64 ", %s\n", e->pass, e->number, e->name);
    else
        fprintf(stderr, "remark: %s%s: %s\n", e->pass, e->kind == EVENT_DONE ? "" : " (not done)", e->text);
}

int remarks_write(Remarks *r, Mode mode, const PassResult *result) {
    for (uint32_t i = 0; i < result->nevents; i++) {
        const Event *e = &result->events[i];
        if (!wanted(r, e)) continue;
        r->remarked = true;
        if (r->json)
            write_event(r, mode, e, stderr);
        else
            print_event(r, e);
    }
    if (!r->log) return EXIT_OK;
    FILE *out = fopen(r->log, r->logged ? "a" : "w");
    if (!out) return fail(EXIT_IO, "cannot write '%s': %s", r->log, strerror(errno));
    r->logged = true;
    for (uint32_t i = 0; i < result->nevents; i++) write_event(r, mode, &result->events[i], out);
    bool failed = ferror(out);
    if (fclose(out) || failed) return fail(EXIT_IO, "cannot write '%s': %s", r->log, strerror(errno));
    return EXIT_OK;
}

void remarks_choice(void *context, Span span, const char *text) {
    Remarks *r = context;
    const char *filter = r->about;
    if (*filter && strcmp(filter, "choose") != 0 && !at_place(r, span, filter) && !mentions(text, filter)) return;
    r->remarked = true;
    if (r->json) {
        fputs("{\"event\":\"done\",\"pass\":\"choose\"", stderr);
        write_place(r, span, stderr);
        write_text("reason", text, stderr);
        fputs("}\n", stderr);
        return;
    }
    print_place(r, span);
    fprintf(stderr, "remark: choose: %s\n", text);
}
