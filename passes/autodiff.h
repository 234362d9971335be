/* Reverse-mode differentiation: what the sweep (autodiff.c) and the rules per op (gradients.c) share. Private to passes/.
 *
 * An adjoint may have a lower rank than its value: it is then constant over the missing dimensions, which is what sums
 * leave behind ([C] for the gradient of a batch_sum). So the gradient of batch norm comes out as one map
 * alpha*dr + beta*c + delta with per-channel beta and delta, and nothing is spread over a feature map to be read once. */
#ifndef NETC_PASSES_AUTODIFF_H
#define NETC_PASSES_AUTODIFF_H
#include "passes/build.h"

typedef struct Contributions {
    Val *item;
    uint32_t count, capacity;
} Contributions;

typedef struct Autodiff {
    Graph *g;                /* a copy of the graph, ids unchanged, that the gradients are appended to */
    uint32_t forward;        /* its count before that */
    bool *wanted;            /* per forward value: does it depend on something that needs a gradient? */
    Contributions *received; /* per forward value */
} Autodiff;

/* Which leaves get an OUT_GRAD. Inputs are for tests. */
typedef enum GradientOf { GRADIENT_PARAMS, GRADIENT_PARAMS_AND_INPUTS } GradientOf;
/* A copy of `in` with the gradients of its OUT_LOSS appended. Ops of `lower` and `split_batch_norm` must be gone. */
Graph *autodiff_graph(const Graph *in, GradientOf what);

bool autodiff_wants(const Autodiff *a, Val v);
/* Adds d, of the type of `to` or of a lower rank that broadcasts, to its adjoint. */
void autodiff_give(Autodiff *a, Val to, Val d);
/* The adjoint of a value; NO_VAL if the loss does not depend on it. */
Val autodiff_adjoint(Autodiff *a, Val v);
/* d spread over `type`, for ops that read whole tensors. */
Val autodiff_spread(Autodiff *a, Val d, Type type, Span span);

/* The rule of v's op: gives to the arguments what v's adjoint means for them. A forward op without a rule is a compiler bug. */
void autodiff_rule(Autodiff *a, Val v);
#endif
