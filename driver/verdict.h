/* What netc verify found of one graph, and how it says so: a line for each thing that was held to the evaluator, or an object of
 * JSON. */
#ifndef NETC_DRIVER_VERDICT_H
#define NETC_DRIVER_VERDICT_H
#include "verify/wanted.h"

typedef struct VerdictItem {
    char *what, *file; /* "the pass cse#2", the shared object it came from or NULL */
    double of_tolerance;
    char *about; /* the output that is furthest off, or what is wrong with it */
    bool wrong;
} VerdictItem;

typedef struct Verdict {
    const char *model;
    Mode mode;
    Type images, declared; /* as verified, and as the file says; rank 0: no images */
    uint64_t seed;
    VerdictItem *item;
    uint32_t count, capacity;
} Verdict;

/* All texts are copied; file may be NULL. */
void verdict_add(Verdict *v, bool wrong, double of_tolerance, const char *file, const char *about, const char *what, ...)
    __attribute__((format(printf, 6, 7)));
bool verdict_is_right(const Verdict *v);
void verdict_print(const Verdict *v, bool json);
void verdict_free(Verdict *v);
#endif
