/* A draft: a graph opened for rewriting. The passes that fuse move Exprs between values, merge values and change their order,
 * which append-only building cannot do step by step; so they open the input graph as a draft, edit that, and finish it into
 * a new Graph, ordered and stripped of what nobody reads.
 *
 * A node is a value; a Ref names one of its results by a *slot* that stays valid while regions come and go:
 *     map                    slot i is region i
 *     convolutions           slot 0 is the op's own result, slot 1 + i is region i
 *     other ops              slot i is result i
 * RESULT values dissolve into Refs. An image_sum stands as a map with the one region REDUCE arg0, so that sums need no case
 * of their own, and sum_to and max_to as maps with SUM_TO and MAX_TO; finishing turns them back. Each output is read by a pseudo
 * node at the end, a sink, so outputs count as users.
 *
 * Everything lives in an arena of its own, freed by draft_finish.
 */
#ifndef NETC_PASSES_DRAFT_H
#define NETC_PASSES_DRAFT_H
#include "passes/passes.h"

typedef struct Ref {
    uint32_t node, slot;
} Ref;

typedef struct DraftRegion {
    RegionRole role;
    int operand;
    const Expr *expr;
    bool gone;
} DraftRegion;

typedef struct Node {
    Op op; /* OP_COUNT: a sink */
    Type type, space;
    Span span;
    Attrs attrs;
    const char *name;
    Ref *args;
    uint32_t nargs;
    DraftRegion *regions;
    uint32_t nregions;
    uint32_t *users; /* a node stands here once per argument place that reads this node */
    uint32_t nusers, user_capacity;
    uint32_t key; /* where it wants to stand: the value id it came from */
    bool dead;
    /* draft_order.c */
    uint64_t place;         /* grows along the list */
    uint32_t front, behind; /* neighbours in the list; NO_VAL at its ends */
    uint32_t mark;
    bool misplaced;
} Node;

typedef struct Visit {
    uint32_t node, next; /* which of its arguments is looked at next */
} Visit;

typedef struct Draft {
    Arena *arena;
    const Graph *in;
    PassContext *context;
    Node *node;
    uint32_t count, capacity, sink; /* sink: the first of them, one per output */
    /* draft_order.c: a list of all nodes, each behind what it reads but for those in `misplaced` */
    uint32_t first, last, *newest; /* newest: of each key; NO_VAL */
    uint32_t *misplaced, nmisplaced, misplaced_capacity;
    Visit *stack;
    uint32_t *found, reserved, epoch;
    uint32_t first_event; /* of the log, that is about these nodes */
} Draft;

Draft *draft_open(const Graph *in, PassContext *context);
/* The new graph; the draft is freed. */
Graph *draft_finish(Draft *d);

/* ---- reading ---- */
static inline bool ref_equal(Ref a, Ref b) { return a.node == b.node && a.slot == b.slot; }
Type draft_type(const Draft *d, Ref ref);
static inline bool draft_is_element(const Draft *d, Ref ref) { return draft_type(d, ref).rank == 4; }
/* Is ref as large as what the map `node` runs over, so that a loop streams through it? (A 1 for C, H or W makes it small.) */
static inline bool draft_is_whole(const Draft *d, uint32_t node, Ref ref) {
    return d->node[node].space.rank == 4 && type_equal(draft_type(d, ref), d->node[node].space);
}
/* The region that makes `ref`, or NULL if the op itself does. */
const DraftRegion *draft_region(const Draft *d, Ref ref);
Ref draft_region_ref(const Draft *d, uint32_t node, uint32_t region);
/* How many argument places (outputs included) read `ref`. */
uint32_t draft_uses(const Draft *d, Ref ref);
/* Is there a path from `on` to `node` (or are they the same)? */
bool draft_depends(Draft *d, uint32_t node, uint32_t on);
/* Does `node` stand before `other`, in an order in which each node stands behind what it reads? */
bool draft_stands_before(Draft *d, uint32_t node, uint32_t other);
/* Live nodes but the sinks, in an order that keeps the input's wherever nothing forces another; the caller may edit while
 * walking.
 */
uint32_t *draft_walk(Draft *d, uint32_t *n);
/* How remarks name a node: "basic3.conv_bn1.conv2d", "a sum over …" or the op's text. */
const char *draft_label(const Draft *d, uint32_t node);
/* How the log names a node, in names that survive edits elsewhere. */
const char *draft_site(const Draft *d, uint32_t node);
/* The gate, for a rewrite of `node`: `what` is done with it, or `other`, another node or NO_VAL. (node, other) is the key of what
 * is asked. */
bool draft_allowed(Draft *d, uint32_t node, const char *what, uint32_t other);
/* A rewrite of `node`, with `other` (or NO_VAL), that is not done: why. */
void draft_refuse(Draft *d, uint32_t node, uint32_t other, Span span, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Distinct arguments that the Expr of the map `node` streams through. */
uint32_t draft_element_args(const Draft *d, uint32_t node, const Expr *e);

/* ---- order (draft_order.c), for draft.c ---- */
void draft_order_add(Draft *d, uint32_t node);   /* a new node, behind the others of its key */
void draft_order_check(Draft *d, uint32_t node); /* its arguments have changed */

/* ---- editing ---- */
void draft_set_args(Draft *d, uint32_t node, const Ref *args, uint32_t nargs);
/* Appends a region; node's args must serve its Expr already. Returns its index. */
uint32_t draft_add_region(Draft *d, uint32_t node, DraftRegion region);
/* A map with that one region, placed, named and spanned like node `like`. */
Ref draft_map(Draft *d, Type space, const Ref *args, uint32_t nargs, DraftRegion region, uint32_t like);
/* Another op, placed, named and spanned likewise. */
Ref draft_op(Draft *d, Op op, Type type, Attrs attrs, const Ref *args, uint32_t nargs, uint32_t like);
/* A second node that computes what `node` computes, from `args`, placed just before where node `before` wants to stand. */
uint32_t draft_clone(Draft *d, uint32_t node, const Ref *args, uint32_t nargs, uint32_t before);
/* Everybody who reads `from` reads `to` instead. */
void draft_redirect(Draft *d, Ref from, Ref to);
/* Removes unused regions and arguments of `node`, the node itself if nothing is left, and so on upwards. */
void draft_prune(Draft *d, uint32_t node);

/* ---- Exprs in scope of a node ----
 * Several Exprs under construction over one growing list of leaves: X_ARG i of the builder is leaf[i]. A scope opened for a
 * node starts with the node's arguments, so its own Exprs splice in unchanged, and closes by giving the node its leaves. */
typedef struct Scope {
    Draft *d;
    ExprBuilder b;
    Ref *leaf;
    uint32_t nleaves, leaf_capacity;
    int8_t *rank; /* cache of scope_rank */
    uint32_t ranked, rank_capacity;
} Scope;

enum { SCOPE_KEEP = UINT16_MAX }; /* in `replace`: this argument stays a leaf */

Scope scope_open(Draft *d); /* no leaves */
Scope scope_of(Draft *d, uint32_t node);
uint16_t scope_leaf(Scope *s, Ref ref);
/* Splices an Expr of `node` in. replace (may be NULL): per argument of node, the scope's node to stand for it or SCOPE_KEEP. */
uint16_t scope_splice(Scope *s, uint32_t node, const Expr *e, const uint16_t *replace, uint16_t acc, uint16_t out);
/* Highest rank of a leaf below `node`: 4 varies per element, 2 per image and channel, 1 per channel, 0 not at all. */
int scope_rank(Scope *s, uint16_t node);
/* Would the node have too many arguments? */
bool scope_fits(const Scope *s);
/* A map of its own for the Expr at `root`, in a region of such role and operand; an equal one is found again. False if the Expr
 * is too large for one, or constant. */
bool scope_find(Scope *s, uint16_t root, Type space, DraftRegion kind, Ref *out); /* only if there is one */
bool scope_extract(Scope *s, uint16_t root, Type space, DraftRegion kind, uint32_t like, Ref *out);

/* Each read of `producer`, an OUTPUT of a map, in the map `consumer` replaced by the Expr itself: worked out, and then done. */
typedef struct Inlining {
    uint32_t consumer;
    Ref producer;
    Scope scope;
    const Expr *changed[MAX_REGIONS];
} Inlining;
/* False if it grows too large. */
bool draft_inlining(Draft *d, uint32_t consumer, Ref producer, uint32_t max_nodes, Inlining *inlining);
void draft_inline(Draft *d, const Inlining *inlining);
#endif
