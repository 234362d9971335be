/* Diagnostics with source spans, collected so that one run reports several mistakes.
 *
 * Printed form, the same for every stage:
 *     models/x.net:12:9: error: 'add' needs equal shapes or a [N,C] gate; left is [128,16,32,32], right is [128,32,16,16]
 *        12 |     y = x + z
 *           |         ^^^^^
 *     models/x.net:20:5: note: in block 'basic' called here
 */
#ifndef NETC_IR_DIAG_H
#define NETC_IR_DIAG_H
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A half-open byte range of a registered file. file 0 means "no place known". */
typedef struct Span {
    uint32_t file, begin, end;
} Span;

typedef enum Severity { SEV_ERROR, SEV_WARNING, SEV_NOTE, SEV_REMARK } Severity;

typedef struct Diag Diag; /* owns copies of the sources and all messages */

Diag *diag_new(void);
void diag_free(Diag *diag);

/* Registers a source text (copied) under the path shown in messages; returns its file id, from 1. */
uint32_t diag_add_file(Diag *diag, const char *path, const char *text, size_t length);
/* A file of which only the path is known, the same id each time: a span into it has the line for `begin` and the column for
 * `end`. Such are the places that graphs as text tell of their values. */
uint32_t diag_add_places(Diag *diag, const char *path);
/* The file holds graphs as text: what was read from it and tells of no place has none that is worth printing with it. */
void diag_hide_places(Diag *diag, uint32_t file);
bool diag_hides_places(const Diag *diag, uint32_t file);
const char *diag_file_path(const Diag *diag, uint32_t file);
const char *diag_file_text(const Diag *diag, uint32_t file); /* NULL: there is no such file, or only its path is known */
/* 1-based line and column (columns count bytes) of the start of a span. Zeros when the span has no file. */
void diag_line_column(const Diag *diag, Span span, int *line, int *column);

/* A note or remark belongs to the error before it. After 20 errors further ones are counted, not kept. */
void diag_report(Diag *diag, Severity severity, Span span, const char *format, ...) __attribute__((format(printf, 4, 5)));
void diag_vreport(Diag *diag, Severity severity, Span span, const char *format, va_list args);
#define diag_error(diag, span, ...) diag_report((diag), SEV_ERROR, (span), __VA_ARGS__)
#define diag_note(diag, span, ...) diag_report((diag), SEV_NOTE, (span), __VA_ARGS__)

/* Errors that are no mistakes of the input: a file cannot be written, or, though it is there, read. `reason` is strerror's. */
void diag_cannot_write(Diag *diag, const char *path, const char *reason);
void diag_cannot_read(Diag *diag, Span span, const char *path, const char *reason);
bool diag_system_failed(const Diag *diag); /* was there one? */

int diag_error_count(const Diag *diag);
/* What has been reported since the last time: a warning is printed where it is known, and not again with an error that follows.
 */
void diag_print(Diag *diag, FILE *out, bool color);
#endif
