/* Inside runtime/: just enough JSON for safetensors headers and our own metrics lines. Strict (RFC 8259), bounded in depth. */
#ifndef NETC_RUNTIME_JSON_H
#define NETC_RUNTIME_JSON_H
#include "ir/json_string.h" // IWYU pragma: export
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Json {
    const char *at, *end;
    int depth;
    bool failed;
} Json;

Json json_open(const char *text, size_t length);
/* Each returns false, and marks the reader failed, if the text says something else. */
bool json_begin(Json *j, char bracket); /* '{' or '[' */
/* The next member or element: false at the closing bracket, which is consumed. For an object, key receives its name, cut where it
 * is longer: so key_size is more than the longest name asked for has with its end. */
bool json_next(Json *j, char bracket, bool first, char *key, size_t key_size);
/* The next member of an object with its whole name, malloc'd into *key (NULL otherwise). *length tells it from one with a zero
 * byte. */
bool json_member(Json *j, bool first, char **key, size_t *length);
bool json_string(Json *j, char *out, size_t size); /* decoded, must fit, has no zero byte */
char *json_copy(Json *j, size_t *length);          /* decoded, malloc'd, with a zero behind it; NULL */
bool json_integer(Json *j, int64_t *out);          /* digits only, not negative */
bool json_number(Json *j, double *out);
bool json_skip(Json *j); /* any value */
bool json_end(Json *j);  /* nothing but white space is left */

/* And json_write_string, of ir/json_string.h. */
void json_write_number(FILE *out,
                       double value); /* 9 digits, enough for a float; null if it is not finite, for which JSON has no word */
void json_write_member(FILE *out, const char *key, double value);   /* , "key": value */
void json_write_text(FILE *out, const char *key, const char *text); /* , "key": "text"; null for NULL */
#endif
