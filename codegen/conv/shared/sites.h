/* Each convolution of a graph: which ways there are to compute it, and which one was chosen. The choosing pass (conv/choose.c)
 * fills them; lowering is handed the plan. */
#ifndef NETC_CODEGEN_CONV_SITES_H
#define NETC_CODEGEN_CONV_SITES_H
#include "codegen/codegen.h"

typedef struct ConvProblem ConvProblem; /* shape.h */
typedef struct Target Target;

enum { CONV_CANDIDATES = 32 };

typedef struct ConvSite {
    Val value;
    Val partner;     /* of backward data: the weights that one kernel would compute too; of those weights: the data; or NO_VAL */
    bool keeps_dy;   /* of such: others read the dY between them too */
    const char *key; /* of its kernel (choice.h) */
    const ConvProblem *problem;
    ConvChoice choice;
    const void *plan;                      /* by the choice, of both values of a pair; NULL: computed with the partner's */
    bool passed_over;                      /* the measured table has a choice that cannot be, so it is another one */
    ConvChoice candidate[CONV_CANDIDATES]; /* of data: pairs first; of its weights: without pairs */
    const void *candidate_plan[CONV_CANDIDATES];
    double predicted[CONV_CANDIDATES]; /* seconds on one core; of a pair: of both */
    uint32_t ncandidates;
} ConvSite;

/* In arenas of the caller. */
typedef struct ConvSites {
    ConvSite *site;
    uint32_t count;
} ConvSites;

/* The candidate of least seconds[i] among those that are pairs, or that are none; ncandidates: there is none. */
uint32_t conv_site_best(const ConvSite *site, const double *seconds, bool pair);
bool conv_site_own_sizes(const ConvSite *site, uint32_t candidate); /* is it the first of its method? */
const ConvSite *conv_sites_find(const ConvSites *sites, Val v);     /* NULL: not a convolution */
/* "znver5/16", "znver5/16/bf16": the CPU of a table's entries, and the precision of feature maps. */
char *choice_cpu(Arena *arena, const Target *t);
#endif
