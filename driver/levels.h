/* The CPUs that one executable holds code for. */
#ifndef NETC_DRIVER_LEVELS_H
#define NETC_DRIVER_LEVELS_H
#include "codegen/codegen.h"
#include <stdbool.h>

enum { MAX_LEVELS = 4 };

/* In the order in which they are tried, from the last: no level needs all that a later one needs, and more. */
typedef struct Levels {
    char *cpu[MAX_LEVELS], *features[MAX_LEVELS];
    int count;
} Levels;

/* The levels of --cpu, or without one those that netc builds for: `one`, of several. What they need is of code for maps of this
 * precision. Exit status, after a sentence. */
int levels_choose(Levels *levels, const char *target, Precision precision, const char *list, bool one);
void levels_free(Levels *levels);
#endif
