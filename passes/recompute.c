/* recompute: feature maps that backward reads are computed a second time there, so that nobody keeps them in between.
 *
 * Backward reads a map of forward either itself or through maps of it alone (relu of batch norm of a convolution), which fusion
 * recomputes in any case; both make it *kept*. A kept map that this pass takes, an anchor, is read by forward only; in backward a
 * clone stands in its place. Candidates, in the order in which they are taken:
 *
 * 1. Dropout masks: they come from a counter, not from memory.
 *
 * 2. Maps of several feature maps which are all kept themselves, as a block's output relu(x + a*c + b) of its input and of its
 * last convolution. Each reader gets a clone of its own, which becomes part of it: a backward convolution that reads c anyway
 * reads x instead of the output.
 *
 * 3. Convolutions of kept maps, those of few operations per element first, all readers sharing one clone.
 *
 * 4. Convolutions of maps that are themselves recomputed by then. With 3 this leaves the blocks' inputs alone, as "sublinear
 * memory cost" does (Chen et al., 2016). A net without blocks would be recomputed as a whole before backward begins, and so keep
 * everything again: of n convolutions no more than about sqrt(2 n) in a row are computed again, a map between two rows is kept.
 *
 * In 2 every map computed from a candidate is passed over, so that no clone grows a chain of others.
 *
 * A gate of lines, columns or pixels, which loops read along a dimension that it lacks, is no candidate: beside what they read in
 * full it is small, and its clone could become part of none of them.
 *
 * PassContext.recompute says how many candidates to take: who asks knows the sizes and what is to be saved
 * (driver/memory.c). RECOMPUTE_CHEAP takes of 1 to 3, in their order, as many as add up to less than 1/CHEAP_SHARE of the step's
 * work. Measured, that is less than 2 % of the step's time (docs/measurements.md). Runs when maps have merged, so that what is
 * left will be stored, and before convolutions take them up.
 */
#include "passes/events.h"
#include "passes/fuse.h"
#include <stdlib.h>

enum {
    CHEAP_SHARE = 48,
    ELEMENT_MACS = 32,  /* an element that is read or written takes as long as so many multiply-adds: 8 a byte */
    FUNCTION_MACS = 16, /* an exponential, and the like */
    READERS = 3,        /* of a map that each reader in backward computes: two products, and the sums of batch norm */
};

typedef struct Candidate {
    uint32_t node, position;
    int step;     /* 1 to 4, above */
    int64_t macs; /* multiplications for one element */
    int64_t work; /* in multiply-adds for all elements, with their reading and writing */
} Candidate;

typedef struct Recompute {
    Draft *d;
    uint32_t count;     /* of nodes before any was cloned */
    uint32_t *position; /* of those, in the order before that */
    uint32_t boundary;  /* position where backward begins */
    bool *kept;         /* of a node of forward: backward reads it, itself or through maps of it alone */
    bool *gate;         /* it, or a map of it alone, is read along a dimension that it lacks */
    bool *taken;        /* an anchor */
    uint32_t *event;    /* of an anchor that is taken, in the log */
    uint32_t *row;      /* convolutions in a row to be computed again to have a taken node; 0: it is kept */
    uint32_t *clone;    /* of an anchor that is no map; 0: none yet (node 0 is an input) */
    Candidate *candidate;
    uint32_t ncandidates;
} Recompute;

static bool is_forward(const Recompute *r, uint32_t node) { return node < r->count && r->position[node] < r->boundary; }

/* How many feature maps a map with one OUTPUT is made of; 0 if the node is something else. */
static uint32_t map_sources(const Draft *d, uint32_t node) {
    const Node *n = &d->node[node];
    bool plain = n->op == OP_MAP && n->space.rank == 4 && n->nregions == 1 && n->regions[0].role == REGION_OUTPUT;
    return plain ? draft_element_args(d, node, n->regions[0].expr) : 0;
}

/* What a node is made of if one looks through maps of one feature map alone. */
static uint32_t anchor_of(const Draft *d, uint32_t node) {
    while (map_sources(d, node) == 1) {
        const Node *n = &d->node[node];
        uint32_t i = 0;
        while (!draft_is_whole(d, node, n->args[i]) || !expr_uses_arg(n->regions[0].expr, i)) i++;
        node = n->args[i].node;
    }
    return node;
}

static bool is_feature(const Draft *d, Ref ref) {
    return draft_is_element(d, ref) && op_attr_kind(d->node[ref.node].op) != ATTR_PARAM;
}

/* ---- candidates ---- */

static void find_kept(Recompute *r, const uint32_t *order, uint32_t n) {
    const Draft *d = r->d;
    for (uint32_t i = n; i-- > 0;) {
        uint32_t id = order[i];
        const Node *node = &d->node[id];
        bool looked_through = map_sources(d, id) == 1;
        for (uint32_t k = 0; k < node->nargs; k++) {
            uint32_t arg = node->args[k].node;
            if (!draft_is_element(d, node->args[k])) continue;
            bool late = !is_forward(r, id) || (r->kept[id] && looked_through);
            if (late && is_forward(r, arg)) r->kept[arg] = true;
            bool beside = node->op == OP_MAP && node->space.rank == 4 && !draft_is_whole(d, id, node->args[k]);
            r->gate[arg] |= beside || (r->gate[id] && looked_through);
        }
    }
}

/* Do all feature maps that `node` is computed from stay, so that backward has them? */
static bool has_sources(const Recompute *r, uint32_t node, bool untaken) {
    const Node *n = &r->d->node[node];
    for (uint32_t i = 0; i < n->nargs; i++) {
        if (!is_feature(r->d, n->args[i])) continue;
        uint32_t source = anchor_of(r->d, n->args[i].node);
        bool input = r->d->node[source].op == OP_INPUT;
        if (!input && (!r->kept[source] || (untaken && r->taken[source]))) return false;
    }
    return true;
}

static int64_t macs_per_element(const Draft *d, uint32_t node) {
    Type w = draft_type(d, d->node[node].args[1]);
    return w.dim[1] * w.dim[2] * w.dim[3];
}

static int64_t expr_work(const Expr *e) {
    int64_t work = 0;
    for (uint32_t i = 0; i < e->count; i++) switch (e->node[i].op) {
        case X_EXP:
        case X_LOG:
        case X_TANH:
        case X_SIGMOID:
        case X_EXPM1:
        case X_LOG1P:
        case X_ERF:
        case X_POW: work += FUNCTION_MACS; break;
        default: work += expr_op_operands((ExprOp)e->node[i].op) > 0; break;
        }
    return work;
}

/* Of a candidate, in multiply-adds. A map that its readers compute costs no memory: each reads most of its sources anyway. */
static int64_t work(const Draft *d, uint32_t node) {
    const Node *n = &d->node[node];
    int64_t out = type_elements(n->type);
    if (n->op == OP_MAP) return READERS * out * expr_work(n->regions[0].expr);
    if (n->op == OP_DROPOUT_MASK) return READERS * out * FUNCTION_MACS;
    return out * macs_per_element(d, node) + ELEMENT_MACS * (type_elements(draft_type(d, n->args[0])) + out);
}

static void add(Recompute *r, uint32_t node, int step) {
    int64_t macs = r->d->node[node].op == OP_CONV2D ? macs_per_element(r->d, node) : 0;
    r->candidate[r->ncandidates++] = (Candidate){node, r->position[node], step, macs, work(r->d, node)};
    r->taken[node] = true;
}

static int by_cost(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    if (x->step != y->step) return x->step - y->step;
    if (x->macs != y->macs) return x->macs < y->macs ? -1 : 1;
    return x->position < y->position ? -1 : x->position > y->position;
}

/* The convolutions in a row that `node` ends if it is taken, as far as those in front of it are. */
static uint32_t row_to(const Recompute *r, uint32_t node) {
    const Node *n = &r->d->node[node];
    uint32_t longest = 0;
    for (uint32_t i = 0; i < n->nargs; i++) {
        if (!is_feature(r->d, n->args[i])) continue;
        uint32_t row = r->row[anchor_of(r->d, n->args[i].node)];
        longest = row > longest ? row : longest;
    }
    return longest + (n->op == OP_CONV2D);
}

/* Of n convolutions, rows of length l with a kept map between them keep n / l + l maps, least where l * l = n; twice that has
 * room for whole blocks. */
static bool is_short(uint32_t row, uint32_t convolutions) { return (uint64_t)row * row <= 2 * (uint64_t)convolutions; }

static bool is_candidate(const Recompute *r, uint32_t node, int step, uint32_t convolutions) {
    Op op = r->d->node[node].op;
    switch (step) {
    case 1: return op == OP_DROPOUT_MASK && r->d->node[node].type.rank == 4;
    case 2: return map_sources(r->d, node) > 1 && has_sources(r, node, true);
    case 3: return op == OP_CONV2D && has_sources(r, node, true);
    default: return op == OP_CONV2D && has_sources(r, node, false) && is_short(row_to(r, node), convolutions);
    }
}

static void find_candidates(Recompute *r, const uint32_t *order, uint32_t n) {
    uint32_t convolutions = 0;
    for (uint32_t i = 0; i < n; i++) convolutions += r->kept[order[i]] && r->d->node[order[i]].op == OP_CONV2D;
    for (int step = 1; step <= 4; step++)
        for (uint32_t i = 0; i < n && is_forward(r, order[i]); i++) {
            uint32_t node = order[i];
            bool open = r->kept[node] && !r->gate[node] && !r->taken[node];
            if (open && is_candidate(r, node, step, convolutions)) add(r, node, step);
            if (step == 4 && r->taken[node]) r->row[node] = row_to(r, node);
        }
    qsort(r->candidate, r->ncandidates, sizeof *r->candidate, by_cost);
}

/* How many cost next to nothing. A step's work is three times forward's: backward has two products for each of forward. */
static uint32_t count_cheap(const Recompute *r, const uint32_t *order) {
    int64_t rest = 0;
    for (uint32_t i = 0; i < r->boundary; i++)
        if (r->d->node[order[i]].op == OP_CONV2D) rest += 3 * work(r->d, order[i]);
    rest /= CHEAP_SHARE;
    uint32_t count = 0;
    for (; count < r->ncandidates && r->candidate[count].step < 4; count++)
        if ((rest -= r->candidate[count].work) < 0) break;
    return count;
}

/* ---- rewriting ---- */

/* Does backward have to read a clone instead of `node`? */
static bool is_gone(const Recompute *r, uint32_t node) { return is_forward(r, node) && r->taken[anchor_of(r->d, node)]; }

static Ref in_backward(Recompute *r, Ref ref, uint32_t reader);

static uint32_t clone(Recompute *r, uint32_t node, uint32_t reader) {
    Ref args[MAX_ARGS];
    uint32_t nargs = r->d->node[node].nargs;
    for (uint32_t i = 0; i < nargs; i++) args[i] = in_backward(r, r->d->node[node].args[i], reader);
    event_reopen(r->d->context, r->event[anchor_of(r->d, node)]);
    return draft_clone(r->d, node, args, nargs, reader);
}

/* What `reader`, of backward, reads instead of ref. */
static Ref in_backward(Recompute *r, Ref ref, uint32_t reader) {
    if (!draft_is_element(r->d, ref) || !is_gone(r, ref.node)) return ref;
    if (r->d->node[ref.node].op == OP_MAP) return (Ref){clone(r, ref.node, reader), ref.slot};
    if (!r->clone[ref.node]) r->clone[ref.node] = clone(r, ref.node, reader);
    return (Ref){r->clone[ref.node], ref.slot};
}

/* Maps that were cloned for a map become part of it, and likewise within the clones, those from node `first` on; a clone that
 * would make its reader too large is stored. Only when everything has its reader, since an edit removes what nobody reads. */
static void take_in(Recompute *r, uint32_t reader, uint32_t first) {
    Draft *d = r->d;
    int64_t elements = pass_parameter(d->context, "max_elements");
    uint32_t nodes = (uint32_t)pass_parameter(d->context, "max_nodes");
    for (uint32_t i = 0; i < d->node[reader].nargs;) {
        Ref arg = d->node[reader].args[i];
        if (arg.node >= first) take_in(r, arg.node, first);
        Inlining inlining;
        bool own = arg.node >= first && d->node[reader].op == OP_MAP && fuse_is_map_output(d, arg) && draft_uses(d, arg) == 1;
        own = own && fuse_elements_after(d, reader, arg) <= elements && draft_inlining(d, reader, arg, nodes, &inlining);
        if (own)
            draft_inline(d, &inlining);
        else
            i++;
    }
}

static void rewrite(Recompute *r, uint32_t reader) {
    Ref args[MAX_ARGS];
    const Node *n = &r->d->node[reader];
    uint32_t nargs = n->nargs, first = r->d->count;
    bool changed = false;
    for (uint32_t i = 0; i < nargs; i++) changed |= draft_is_element(r->d, n->args[i]) && is_gone(r, n->args[i].node);
    if (!changed) return;
    for (uint32_t i = 0; i < nargs; i++) {
        Ref old = r->d->node[reader].args[i];
        uint32_t same = 0; /* one clone serves all places of a reader */
        while (!ref_equal(r->d->node[reader].args[same], old)) same++;
        args[i] = same < i ? args[same] : in_backward(r, old, reader);
    }
    draft_set_args(r->d, reader, args, nargs);
    take_in(r, reader, first);
}

Graph *pass_recompute(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    Recompute r = {.d = d, .count = d->count, .position = ARENA_ARRAY(d->arena, uint32_t, d->count)};
    for (uint32_t i = 0; i < n; i++) r.position[order[i]] = i;
    while (r.boundary < n && !(op_tier(d->node[order[r.boundary]].op) & TIER_BACKWARD)) r.boundary++;
    r.kept = ARENA_ARRAY(d->arena, bool, d->count);
    r.gate = ARENA_ARRAY(d->arena, bool, d->count);
    r.taken = ARENA_ARRAY(d->arena, bool, d->count);
    r.event = ARENA_ARRAY(d->arena, uint32_t, d->count);
    r.row = ARENA_ARRAY(d->arena, uint32_t, d->count);
    r.clone = ARENA_ARRAY(d->arena, uint32_t, d->count);
    r.candidate = ARENA_ARRAY(d->arena, Candidate, d->count);
    find_kept(&r, order, n);
    find_candidates(&r, order, n);
    context->recomputable = r.ncandidates;
    int64_t most = context->recompute == RECOMPUTE_CHEAP ? count_cheap(&r, order) : context->recompute;
    for (uint32_t i = 0; i < r.ncandidates; i++) {
        const Candidate *c = &r.candidate[i];
        r.taken[c->node] = i < most && draft_allowed(d, c->node, NULL, NO_VAL);
        if (!r.taken[c->node]) continue;
        context->recomputed++;
        r.event[c->node] = event_open(context);
        pass_remark(context, true, d->node[c->node].span, "%s is computed again in backward", draft_label(d, c->node));
    }
    for (uint32_t i = r.boundary; i < n; i++) rewrite(&r, order[i]);
    return draft_finish(d);
}
