/* Diagnostics: messages are formatted when they are reported and printed in that order. Sources are copied, so that a span
 * stays printable whatever becomes of the reader's buffers. */
#include "ir/diag.h"
#include "ir/arena.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_ERRORS = 20, MAX_WIDTH = 160, CONTEXT_LEFT = 60 };

typedef struct Source {
    const char *path, *text; /* text NULL: spans are lines and columns */
    uint32_t length;
    bool hidden; /* graphs as text */
} Source;

typedef struct Message {
    Severity severity;
    Span span;
    const char *text;
} Message;

struct Diag {
    Arena *arena;
    Source *source;
    uint32_t nsources, source_capacity;
    Message *message;
    uint32_t nmessages, message_capacity, printed;
    int errors;
    bool system_failed;
};

Diag *diag_new(void) {
    Arena *arena = arena_new();
    Diag *diag = ARENA_NEW(arena, Diag);
    diag->arena = arena;
    return diag;
}

void diag_free(Diag *diag) {
    if (diag) arena_free(diag->arena);
}

uint32_t diag_add_file(Diag *diag, const char *path, const char *text, size_t length) {
    ARENA_GROW(diag->arena, diag->source, diag->nsources, &diag->source_capacity);
    if (length > UINT32_MAX) length = UINT32_MAX; /* spans cannot point further */
    Source *source = &diag->source[diag->nsources++];
    *source = (Source){
        .path = arena_strdup(diag->arena, path), .text = arena_strndup(diag->arena, text, length), .length = (uint32_t)length};
    return diag->nsources;
}

uint32_t diag_add_places(Diag *diag, const char *path) {
    for (uint32_t i = 0; i < diag->nsources; i++)
        if (!diag->source[i].text && !strcmp(diag->source[i].path, path)) return i + 1;
    ARENA_GROW(diag->arena, diag->source, diag->nsources, &diag->source_capacity);
    diag->source[diag->nsources++] = (Source){.path = arena_strdup(diag->arena, path)};
    return diag->nsources;
}

void diag_hide_places(Diag *diag, uint32_t file) {
    if (file >= 1 && file <= diag->nsources) diag->source[file - 1].hidden = true;
}

bool diag_hides_places(const Diag *diag, uint32_t file) {
    return file < 1 || file > diag->nsources || diag->source[file - 1].hidden;
}

static const Source *find_source(const Diag *diag, uint32_t file) {
    return file >= 1 && file <= diag->nsources ? &diag->source[file - 1] : NULL;
}

const char *diag_file_path(const Diag *diag, uint32_t file) {
    const Source *source = find_source(diag, file);
    return source ? source->path : NULL;
}

const char *diag_file_text(const Diag *diag, uint32_t file) {
    const Source *source = find_source(diag, file);
    return source ? source->text : NULL;
}

static uint32_t clamp(uint32_t at, const Source *source) { return at < source->length ? at : source->length; }

static uint32_t line_begin(const Source *source, uint32_t at) {
    while (at > 0 && source->text[at - 1] != '\n') at--;
    return at;
}

static uint32_t line_end(const Source *source, uint32_t at) {
    while (at < source->length && source->text[at] != '\n') at++;
    return at;
}

void diag_line_column(const Diag *diag, Span span, int *line, int *column) {
    const Source *source = find_source(diag, span.file);
    *line = *column = 0;
    if (!source) return;
    if (!source->text) {
        *line = (int)span.begin, *column = (int)span.end;
        return;
    }
    uint32_t at = clamp(span.begin, source);
    *line = 1;
    for (uint32_t i = 0; i < at; i++) *line += source->text[i] == '\n';
    *column = (int)(at - line_begin(source, at)) + 1;
}

void diag_vreport(Diag *diag, Severity severity, Span span, const char *format, va_list args) {
    if (severity == SEV_ERROR) diag->errors++;
    if (diag->errors > MAX_ERRORS) return; /* with the notes that belong to it */
    ARENA_GROW(diag->arena, diag->message, diag->nmessages, &diag->message_capacity);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = arena_alloc(diag->arena, length < 0 ? 1 : (size_t)length + 1);
    vsnprintf(text, length < 0 ? 1 : (size_t)length + 1, format, again);
    va_end(again);
    diag->message[diag->nmessages++] = (Message){severity, span, text};
}

void diag_report(Diag *diag, Severity severity, Span span, const char *format, ...) {
    va_list args;
    va_start(args, format);
    diag_vreport(diag, severity, span, format, args);
    va_end(args);
}

void diag_cannot_write(Diag *diag, const char *path, const char *reason) {
    diag_error(diag, (Span){0}, "cannot write '%s': %s", path, reason);
    diag->system_failed = true;
}

void diag_cannot_read(Diag *diag, Span span, const char *path, const char *reason) {
    diag_error(diag, span, "cannot read '%s': %s", path, reason);
    diag->system_failed = true;
}

bool diag_system_failed(const Diag *diag) { return diag->system_failed; }

int diag_error_count(const Diag *diag) { return diag->errors; }

/* ---- printing ---- */

typedef struct Style {
    const char *bold, *severity[4], *caret, *off;
} Style;

static const Style plain = {"", {"", "", "", ""}, "", ""};
static const Style colored = {"\033[1m", {"\033[1;31m", "\033[1;35m", "\033[1;36m", "\033[1;34m"}, "\033[1;32m", "\033[0m"};
static const char *const severity_text[4] = {"error", "warning", "note", "remark"};

/* A terminal shows one column for the bytes of one UTF-8 character. */
static bool starts_character(char c) { return ((unsigned char)c & 0xC0) != 0x80; }

static void print_source_bytes(const Source *source, uint32_t begin, uint32_t end, FILE *out) {
    for (uint32_t i = begin; i < end; i++) {
        unsigned char c = (unsigned char)source->text[i];
        fputc(c == '\t' || c >= 0x80 ? c : c < 0x20 || c == 0x7F ? '?' : c, out);
    }
}

/* The source line, clipped around the span if it is very long, and carets under the span's part of that line. */
static void print_excerpt(const Source *source, Span span, int line, const Style *style, FILE *out) {
    uint32_t at = clamp(span.begin, source), begin = line_begin(source, at), end = line_end(source, at);
    if (end > begin && source->text[end - 1] == '\r') end--;
    if (at > end) at = end;
    bool cut_left = end - begin > MAX_WIDTH && at - begin > CONTEXT_LEFT;
    if (cut_left) begin = at - CONTEXT_LEFT;
    while (cut_left && begin < at && !starts_character(source->text[begin])) begin++;
    bool cut_right = end - begin > MAX_WIDTH;
    if (cut_right) end = begin + MAX_WIDTH;
    while (cut_right && end > at && !starts_character(source->text[end])) end--;

    fprintf(out, "%6d | %s", line, cut_left ? "..." : "");
    print_source_bytes(source, begin, end, out);
    fprintf(out, "%s\n       | %s", cut_right ? "..." : "", cut_left ? "   " : "");
    for (uint32_t i = begin; i < at; i++) {
        if (starts_character(source->text[i])) fputc(source->text[i] == '\t' ? '\t' : ' ', out);
    }
    fputs(style->caret, out);
    fputc('^', out);
    for (uint32_t i = at + 1; i < end && i < span.end; i++) {
        if (starts_character(source->text[i])) fputc('^', out);
    }
    fprintf(out, "%s\n", style->off);
}

static void print_message(const Diag *diag, const Message *message, const Style *style, FILE *out) {
    const Source *source = find_source(diag, message->span.file);
    int line, column;
    diag_line_column(diag, message->span, &line, &column);
    if (source) fprintf(out, "%s%s:%d:%d:%s ", style->bold, source->path, line, column, style->off);
    fprintf(out, "%s%s:%s %s%s%s\n", style->severity[message->severity], severity_text[message->severity], style->off,
            style->bold, message->text, style->off);
    if (source && source->text && message->severity != SEV_NOTE) print_excerpt(source, message->span, line, style, out);
}

void diag_print(Diag *diag, FILE *out, bool color) {
    const Style *style = color ? &colored : &plain;
    while (diag->printed < diag->nmessages) print_message(diag, &diag->message[diag->printed++], style, out);
    int dropped = diag->errors - MAX_ERRORS;
    if (dropped == 1) fprintf(out, "%serror:%s 1 more error is not shown\n", style->severity[SEV_ERROR], style->off);
    if (dropped > 1) {
        fprintf(out, "%serror:%s %d more errors are not shown\n", style->severity[SEV_ERROR], style->off, dropped);
    }
}
