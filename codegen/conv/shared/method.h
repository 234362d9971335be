/* A convolution method as a row: everything that anybody else knows of it. The list of rows is in conv/methods.def; what several
 * methods need is in this folder.
 *
 * A plan is whatever the method wants to know before code is emitted: tiles, bands, pieces, bytes. It is made once, for each
 * candidate of a convolution, in an arena that outlives its use; the cost model and the emitters read it. */
#ifndef NETC_CODEGEN_CONV_METHOD_H
#define NETC_CODEGEN_CONV_METHOD_H
#include "codegen/choice.h"
#include "codegen/conv/shared/shape.h"

typedef struct Lowering Lowering;

/* What a kernel costs a core, beside feature maps in and out of memory (shared/cost.c). */
typedef struct ConvWork {
    double fma_cycles; /* of multiply-adds */
    double transforms; /* vector instructions */
    double copied;     /* bytes within caches */
} ConvWork;

/* Backward data and weights of one convolution in one kernel, in which dY is staged once (shared/pairs.h). */
typedef struct ConvPairMethod {
    /* NULL: they cannot be computed together, or not by these sizes, which are data's. */
    const void *(*plan)(Arena *arena, const ConvProblem *data, const ConvProblem *weights, const ConvChoice *choice);
    uint32_t (*candidates)(const ConvProblem *data, const void *own, ConvChoice *out); /* as ConvMethod's */
    ConvWork (*work)(const ConvProblem *data, const ConvProblem *weights, const void *plan);
    uint64_t (*workspace)(const void *plan);
    void (*lower)(Lowering *l, Val data, Val weights, const void *plan);
} ConvPairMethod;

enum { CONV_MAX_SIZES = 8 };
/* How a method computes a direction, or two that are alike. */
typedef struct ConvWay {
    bool (*applies)(const ConvProblem *p); /* NULL: to everything */
    /* NULL: not by these sizes. Sizes of 0 are the method's own. Without a plan function: not in this direction. */
    const void *(*plan)(Arena *arena, const ConvProblem *p, const ConvChoice *choice);
    /* Sizes worth trying, its own first: fills sizes[] of up to CONV_MAX_SIZES choices. own: the plan by its own sizes. NULL:
     * there are no sizes to choose. */
    uint32_t (*candidates)(const ConvProblem *p, const void *own, ConvChoice *out);
    ConvWork (*work)(const ConvProblem *p, const void *plan);
    /* Bytes; with fixed_filters, filters in other orders are kept elsewhere (lowering_make_once). NULL: none. */
    uint64_t (*workspace)(const void *plan, bool fixed_filters);
    void (*lower)(Lowering *l, Val v, const void *plan);
} ConvWay;

struct ConvMethod {
    const char *name;           /* "winograd": what --conv and choice texts say */
    const char *sizes;          /* how choice texts call its sizes: "block"; NULL: it has none */
    int nsizes;                 /* "block 16", "tile 1x8x2" */
    bool last_resort;           /* by itself the cost model only takes it where nothing else applies */
    ConvWay correlation;        /* forward and backward data */
    ConvWay weights;            /* the gradient of the filters */
    const ConvPairMethod *pair; /* NULL: it has none */
};
/* What p's direction is computed by. */
static inline const ConvWay *conv_way(const ConvMethod *m, const ConvProblem *p) {
    return p->direction == CONV_WEIGHTS ? &m->weights : &m->correlation;
}
static inline bool conv_applies(const ConvMethod *m, const ConvProblem *p) {
    const ConvWay *way = conv_way(m, p);
    return way->plan && (!way->applies || way->applies(p));
}

/* A plan in the arena. */
#define CONV_PLAN(arena, plan) arena_copy((arena), &(plan), sizeof(plan))
#endif
