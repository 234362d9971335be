/* Graphs a little smaller than another: the moves by which netc reduce shrinks one for as long as a failure remains. */
#ifndef NETC_VERIFY_REDUCE_H
#define NETC_VERIFY_REDUCE_H
#include "ir/ir.h"

/* In the order in which they pay: those that make every later trial cheaper stand first. */
typedef enum ReduceMove {
    REDUCE_BATCH,   /* fewer images */
    REDUCE_IMAGES,  /* smaller ones */
    REDUCE_OUTPUTS, /* without some of the outputs, and what only they need */
    REDUCE_BYPASS,  /* whoever reads a value reads an earlier one of its type: whole blocks, then single values */
    REDUCE_LEAF,    /* a value becomes an input, or a parameter: what was before it goes */
    REDUCE_EXTENT,  /* a number of channels, wherever it stands, becomes a smaller one */
    REDUCE_KERNEL,  /* a filter becomes 1x1 */
    REDUCE_REGION,  /* without one region of a value */
    REDUCE_EXPR,    /* a node of an Expr becomes one of its operands */
    REDUCE_MOVES
} ReduceMove;

/* How many moves of a kind there are on g, of which some may not apply. */
uint32_t reduce_count(const Graph *g, ReduceMove move);
/* Move `index` of them; NULL: it does not apply, or what it would leave is not sound. Names of leaves stay, so that they are
 * drawn alike; leaves that nobody reads any more are gone. */
Graph *reduce_apply(const Graph *g, ReduceMove move, uint32_t index);
/* Does move `index` of REDUCE_EXTENT halve a number of channels or units that is no less than 64? */
bool reduce_halves(const Graph *g, uint32_t index);
/* Is a less of a graph than b: less text, or as much with fewer elements? Shrinking ends, since every move that is made is to say
 * so. */
bool reduce_smaller(const Graph *a, const Graph *b);
#endif
