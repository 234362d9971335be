/* Measuring the ways to compute a model's convolutions, in place: the whole model is compiled once for each candidate, every
 * convolution by its own, and whole steps are run with a clock around every call. So a kernel finds the caches as a training
 * step leaves them, and what it needs besides (filters transformed, partial gradients summed) is counted. The programs are run
 * in turn, so that a slow moment of the machine touches all. */
#ifndef NETC_DRIVER_MEASURE_H
#define NETC_DRIVER_MEASURE_H
#include "codegen/conv/choose.h"
#include "driver/session.h"

/* Convolutions of one kernel. */
typedef struct Convolution {
    ConvSite site;
    const char *label;
    int64_t uses[2];                           /* in train and infer */
    int64_t partner;                           /* index of the other one of a pair that one kernel can compute, or -1 */
    bool weights;                              /* the second one of such a pair, or its only one */
    uint32_t listed[CONV_CANDIDATES], nlisted; /* candidates to measure, pairs first */
    double seconds[CONV_CANDIDATES];           /* medians of one call; of a pair: of both; 0: not measured */
} Convolution;

typedef struct Convolutions {
    Arena *arena;
    const char *cpu;
    Convolution *item;
    int64_t count;
} Convolutions;

/* Zero-initialise; convolutions_free in any case. An exit status; mistakes are printed. */
int convolutions_list(Session *session, const CodegenInput *input, const CodegenOptions *code, Convolutions *out);
/* Which candidates: of each algorithm the first, or all but those predicted to be hopeless; none of the convolutions in `known`.
 */
void convolutions_one_each(Convolutions *c);
void convolutions_promising(Convolutions *c, const ChoiceTable *known);
/* Runs the candidates listed, `rounds` times each program, with the session's threads. */
int convolutions_measure(Session *session, const CodegenInput *input, const CodegenOptions *code, Convolutions *c, int rounds);
void convolutions_free(Convolutions *c);
#endif
