/* Sums of products: what squeeze and fuse_maps know of algebra.
 *
 * Over an iteration space of rank 4 an Expr is taken apart into terms  k * p * q * …  where k does not change from pixel to
 * pixel (it reads arguments of rank <= 2, and where sums along a line are asked for, what is the same along it) and p, q, … are
 * *factors*: nodes that do, and that cannot be taken apart further (arguments of rank 4, max, select, exp, …). Relies on ordinary
 * real algebra, so results are reassociated.
 *
 * What deviates from a mean of its own, x - mean, is a factor: multiplied out, k*x - k*mean would cancel in f32 as soon as
 * |mean| exceeds the deviations, and so would sums of products with it.
 */
#ifndef NETC_PASSES_LINEAR_H
#define NETC_PASSES_LINEAR_H
#include "passes/draft.h"

enum { LINEAR_MAX_TERMS = 12, LINEAR_MAX_FACTORS = 4 }; /* 12: also the most that squeeze{max_sums} takes (passes.def) */

typedef struct Term {
    uint16_t coefficient, factor[LINEAR_MAX_FACTORS]; /* nodes of the scope; factors in ascending order */
    uint32_t factors;
} Term;

typedef struct Sum {
    Term term[LINEAR_MAX_TERMS];
    uint32_t terms;
} Sum;

typedef struct Linear Linear;
struct Linear {
    Scope *scope;
    uint32_t degree; /* products of up to this many factors are multiplied out; 1: none */
    int along;       /* what is 1 in all of these dimensions (a mask, as SUM_TO has it) is no factor; 0: all of rank 4 is */
    /* The Sum that argument `ref` stands for; false: it is a leaf. */
    bool (*look_through)(Linear *l, Ref ref, Sum *sum);
    /* The node that stands for a coefficient when the Sum becomes a node again (NULL: the coefficient itself). */
    uint16_t (*lift)(Linear *l, uint16_t coefficient);
    void *context; /* the callbacks' */
};

/* Takes apart an Expr of `node`. */
Sum linear_sum(Linear *l, uint32_t node, const Expr *e);
/* A Sum as a node of the scope. */
uint16_t linear_node(Linear *l, const Sum *sum);
/* One term's product without its coefficient; the constant 1 without factors. */
uint16_t linear_product(Linear *l, const Term *term);
/* Is the node x - mean, with mean the batch's mean (of moments), or a value per image and channel, pixel or line that follows
 * from x, as a group or layer norm's mean does? If so, *x and *mean are their Refs. */
bool linear_is_deviation(Draft *d, const Ref *args, const Expr *e, uint32_t node, Ref *x, Ref *mean);
/* Is it one factor and nothing else? */
bool linear_is_bare(const Linear *l, const Sum *sum);
#endif
