/* The pass that decides, before a graph is lowered, how each of its convolutions is computed in each direction.
 *
 * For every convolution it lists the candidates that are legal for its shape and its fused regions, asks the cost model
 * (conv/cost.c) how long each will take, and takes what is pinned, what was measured, or the cheapest, in this order. Backward
 * data and weights that one sweep could compute are decided together: the sweep against the best two kernels. */
#ifndef NETC_CODEGEN_CHOOSE_H
#define NETC_CODEGEN_CHOOSE_H
#include "codegen/codegen.h"
#include "ir/ir.h"

typedef struct Target Target;

enum { CONV_CANDIDATES = 16 };

/* One convolution value. */
typedef struct ConvSite {
    Val value;
    Val partner;     /* of backward data: the weights that a sweep would compute too; of those weights: the data; or NO_VAL */
    const char *key; /* of its kernel (choice.h) */
    ConvChoice choice;
    bool passed_over;                      /* the measured table has a choice that cannot be, so it is another one */
    ConvChoice candidate[CONV_CANDIDATES]; /* of data: sweeps first; of its weights: without sweeps */
    double predicted[CONV_CANDIDATES];     /* seconds on one core; of a sweep: of both */
    uint32_t ncandidates;
} ConvSite;

/* In arenas of the caller. */
typedef struct ConvSites {
    ConvSite *site;
    uint32_t count;
} ConvSites;

/* False with a diagnostic if a pinned table lacks a convolution or asks for what cannot be. */
bool choose_convolutions(Arena *arena, const Target *t, const CodegenOptions *options, const Graph *g, Diag *diag,
                         ConvSites *out);
/* The candidate of least seconds[i] among those that are sweeps, or that are none; ncandidates: there is none. */
uint32_t conv_site_best(const ConvSite *site, const double *seconds, bool sweep);
bool conv_site_own_sizes(const ConvSite *site, uint32_t candidate); /* is it the first of its algorithm? */
const ConvSite *conv_sites_find(const ConvSites *sites, Val v);     /* NULL: not a convolution */
/* The pass alone, on the machine that the options name: train's convolutions and infer's (none where there is no graph). *cpu is
 * in the arena too. False with a diagnostic. */
bool codegen_convolutions(const CodegenInput *input, const CodegenOptions *options, Arena *arena, ConvSites out[2],
                          const char **cpu, Diag *diag);
/* The cost model (conv/cost.c): seconds on one core of a convolution by a choice, and of backward data and weights in one sweep.
 */
double conv_cost(const Target *t, const ConvChoice *choice, const Graph *g, const bool *read, Val v);
double conv_sweep_cost(const Target *t, const ConvChoice *choice, const Graph *g, const bool *read, Val data, Val weights);
/* By value id: does anybody read this very result? */
bool *graph_reads(Arena *arena, const Graph *g);
/* "znver5/16", "znver5/16/bf16": the CPU of a table's entries, and the precision of feature maps. */
char *choice_cpu(Arena *arena, const Target *t);
#endif
