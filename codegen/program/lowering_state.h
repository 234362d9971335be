/* What a Lowering is made of, for the walk that fills it (lower/); emitters ask lowering.h. */
#ifndef NETC_CODEGEN_LOWERING_STATE_H
#define NETC_CODEGEN_LOWERING_STATE_H
#include "codegen/program/lowering.h"

struct Lowering {
    ProgramBuilder *p;
    const Graph *g;
    CallList *entry;       /* where calls go */
    CallList *prepare;     /* where calls go that need to be made once; NULL */
    CallList *interrupted; /* the entry to return to */
    bool interrupted_once; /* `once` to return to */
    Place *place;          /* by value id; RT_SPACE_COUNT: none */
    Place *workspace;      /* by value id */
    bool *read;            /* by value id: does anybody read this very result? */
    bool *fixed;           /* by value id: depends on parameters and states alone */
    const ConvSite **site; /* by value id; NULL: not a convolution */
    bool whole;            /* codegen_run_graph */
    int64_t shards;        /* of the batch; g is of one of them */
    const bool *per_image; /* by value id; NULL: the batch is whole */
    bool once;             /* calls are computed for the first shard alone */
    const double *needed;  /* by value id: the epoch from which on nobody needs it (needed.h); NULL: all are always needed */
    double until;          /* RtCall.until of calls from here on */
    uint64_t planned;      /* bytes of all that stands in the arena, side by side */
};

static const Place nowhere = {.space = RT_SPACE_COUNT};

/* The RESULT value of v's result, v itself for 0, or NO_VAL. */
Val lowering_result_value(const Graph *g, Val v, uint32_t result);
#endif
