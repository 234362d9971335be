/* What netc ablate finds of one mode, and how it is printed (ablate_print.c). */
#ifndef NETC_DRIVER_ABLATE_H
#define NETC_DRIVER_ABLATE_H
#include "driver/variants.h"

/* A median, and an interval around it. */
typedef struct Estimate {
    double median, low, high;
} Estimate;

typedef struct AblationRow {
    double *seconds; /* of a step, by round; of those that have code of their own */
    double median_seconds;
    Estimate change;        /* of a step's time, as a fraction of the base's */
    uint32_t first, second; /* of a pair: the variants without one of them; else UINT32_MAX */
    Estimate beyond;        /* of a pair: what both change beyond the sum of what each does */
} AblationRow;

typedef struct Ablation {
    const Options *options;
    Mode mode;
    RtPool *pool;
    const char **pass; /* the optional ones, in the order of their first runs */
    uint32_t npasses;
    Variant **variant; /* the first has all passes */
    AblationRow *row;  /* by variant */
    uint32_t count, base;
    int64_t rounds;
    double coverage; /* of intervals: a probability */
} Ablation;

/* As text, JSON or part of a page of HTML, by its options. */
void ablation_print(const Ablation *a);
void ablation_print_head(const char *model);
void ablation_print_tail(void);
#endif
