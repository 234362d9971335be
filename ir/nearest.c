/* Edit distance over short names. */
#include "ir/nearest.h"
#include <string.h>

enum { MAX_BYTES = 64 }; /* longer names have no neighbours */

/* Edit distance of two short names (Levenshtein), or more than `limit`. */
static uint32_t distance(const char *a, const char *b, uint32_t limit) {
    uint32_t row[MAX_BYTES + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > MAX_BYTES || lb > MAX_BYTES) return limit + 1;
    for (uint32_t j = 0; j <= lb; j++) row[j] = j;
    for (uint32_t i = 1; i <= la; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= lb; j++) {
            uint32_t replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            uint32_t best = replace < row[j] + 1 ? replace : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[lb];
}

/* The only name that begins so; NULL where there are several, or too little of it. */
static const char *begun_name(const char *text, const char *const *candidate, uint32_t count) {
    const char *found = NULL;
    size_t length = strlen(text);
    for (uint32_t i = 0; i < count && length >= 4; i++) {
        if (strncmp(candidate[i], text, length) != 0) continue;
        if (found) return NULL;
        found = candidate[i];
    }
    return found;
}

const char *nearest_name(const char *text, const char *const *candidate, uint32_t count) {
    uint32_t limit = strlen(text) < 4 ? 1 : 2, best = limit + 1;
    const char *found = NULL;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t d = distance(text, candidate[i], limit);
        if (d < best) {
            best = d;
            found = candidate[i];
        }
    }
    return found ? found : begun_name(text, candidate, count);
}
