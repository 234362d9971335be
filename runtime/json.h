/* Inside runtime/: just enough JSON for safetensors headers and our own metrics lines. Strict (RFC 8259), bounded in depth. */
#ifndef NETC_RUNTIME_JSON_H
#define NETC_RUNTIME_JSON_H
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
/* The next member or element: false at the closing bracket, which is consumed. For an object, key receives its name. */
bool json_next(Json *j, char bracket, bool first, char *key, size_t key_size);
bool json_string(Json *j, char *out, size_t size); /* decoded, must fit */
bool json_integer(Json *j, int64_t *out);          /* digits only, not negative */
bool json_number(Json *j, double *out);
bool json_skip(Json *j); /* any value */
bool json_end(Json *j);  /* nothing but white space is left */

void json_write_string(FILE *out, const char *text); /* quoted and escaped */
#endif
