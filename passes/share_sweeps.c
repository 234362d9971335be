/* share_sweeps: maps that are left over after fusion share loops.
 *
 * Over feature maps: two maps merge into one with several OUTPUTs and REDUCEs if the one reads no feature map that the other does
 * not read; and the sums over what a map makes are made by that map. Either saves reading a feature map once.
 *
 * Small maps ([N,C], [C], []) of one space merge if they read a computed value in common, or one the other's result: each kernel
 * costs a call and a barrier, which is more than its arithmetic.
 *
 * Sums and maxima over channels, and over lines or columns, share loops likewise, each with their own kind (region_shares_loop).
 * What sweeps feature maps in the end besides the convolutions is said in a remark each, with the reason.
 *
 * Legal is what makes no cycle: neither may depend on the other, except that a merged map computes for itself the OUTPUTs that
 * it used to read. Runs last, so that no merging takes a region from a convolution that could have had it. Each step
 * removes a map, so it ends.
 */
#include "passes/draft.h"

static bool has_args_of(const Draft *d, uint32_t of, uint32_t other, uint32_t except) {
    const Node *a = &d->node[of], *b = &d->node[other];
    for (uint32_t i = 0; i < a->nargs; i++) {
        if (a->args[i].node == except || !draft_is_whole(d, of, a->args[i])) continue;
        bool found = false;
        for (uint32_t k = 0; k < b->nargs && !found; k++) found = ref_equal(a->args[i], b->args[k]);
        if (!found) return false;
    }
    return true;
}

static bool only_sums(const Node *n) {
    for (uint32_t r = 0; r < n->nregions; r++) {
        RegionRole role = n->regions[r].role;
        if (!n->regions[r].gone && !region_sums(role) && !region_reduces(role)) return false;
    }
    return true;
}

/* Would one loop for both read less than two? `into` stands before `map`. */
static bool worthwhile(const Draft *d, uint32_t into, uint32_t map) {
    const Node *b = &d->node[map];
    if (b->space.rank < 4) return true;
    bool reads_it = false;
    for (uint32_t i = 0; i < b->nargs; i++) reads_it |= b->args[i].node == into;
    if (reads_it && !only_sums(b)) return false; /* its element results may yet be better off reading the stored value */
    return reads_it || has_args_of(d, map, into, into) || has_args_of(d, into, map, into);
}

/* Can one loop make what both make? */
static bool one_loop(const Node *a, const Node *b) {
    unsigned loops = 0;
    bool fits = true;
    for (uint32_t r = 0; r < a->nregions; r++)
        fits &= a->regions[r].gone || region_shares_loop(a->regions[r].role, a->regions[r].operand, &loops);
    for (uint32_t r = 0; r < b->nregions; r++)
        fits &= b->regions[r].gone || region_shares_loop(b->regions[r].role, b->regions[r].operand, &loops);
    return fits;
}

static bool acyclic(Draft *d, uint32_t into, uint32_t map) {
    const Node *b = &d->node[map];
    if (draft_depends(d, into, map)) return false;
    for (uint32_t i = 0; i < b->nargs; i++) {
        bool own = b->args[i].node == into && draft_region(d, b->args[i])->role == REGION_OUTPUT;
        if (!own && draft_depends(d, b->args[i].node, into)) return false;
    }
    return true;
}

static bool merge(Draft *d, uint32_t into, uint32_t map) {
    const Node *b = &d->node[map];
    Scope s = scope_of(d, into);
    uint16_t replace[MAX_ARGS];
    const Expr *body[MAX_REGIONS];
    for (uint32_t i = 0; i < b->nargs; i++) {
        bool own = b->args[i].node == into;
        replace[i] = own ? scope_splice(&s, into, draft_region(d, b->args[i])->expr, NULL, 0, 0) : SCOPE_KEEP;
    }
    for (uint32_t r = 0; r < b->nregions; r++) {
        if (b->regions[r].gone) continue;
        body[r] = expr_finish(&s.b, scope_splice(&s, map, b->regions[r].expr, replace, 0, 0));
        if (body[r]->count > pass_parameter(d->context, "max_nodes")) return false;
    }
    if (!scope_fits(&s) || d->node[into].nregions + b->nregions > MAX_REGIONS || !draft_allowed(d, into, NULL, map)) return false;
    draft_set_args(d, into, s.leaf, s.nleaves);
    for (uint32_t r = 0; r < d->node[map].nregions; r++) {
        if (d->node[map].regions[r].gone) continue;
        uint32_t added = draft_add_region(
            d, into,
            (DraftRegion){.role = d->node[map].regions[r].role, .operand = d->node[map].regions[r].operand, .expr = body[r]});
        draft_redirect(d, (Ref){map, r}, (Ref){into, added});
    }
    pass_remark(d->context, true, d->node[map].span, "%s shares the loop of %s", draft_label(d, map), draft_label(d, into));
    draft_prune(d, map);
    draft_prune(d, into);
    return true;
}

static bool is_candidate(const Draft *d, uint32_t into, uint32_t map) {
    const Node *a = &d->node[into], *b = &d->node[map];
    return into != map && a->op == OP_MAP && !a->dead && type_equal(a->space, b->space) && one_loop(a, b) &&
           worthwhile(d, into, map);
}

/* Finds an earlier map to share with: a producer, or another reader of a computed value that `map` reads. */
static bool share(Draft *d, uint32_t map) {
    for (uint32_t i = 0; i < d->node[map].nargs; i++) {
        uint32_t arg = d->node[map].args[i].node;
        if (is_candidate(d, arg, map) && acyclic(d, arg, map) && merge(d, arg, map)) return true;
        bool computed = d->node[arg].nargs > 0 || d->node[map].space.rank == 4;
        for (uint32_t u = 0; computed && u < d->node[arg].nusers; u++) {
            uint32_t other = d->node[arg].users[u];
            if (!is_candidate(d, other, map) || !draft_stands_before(d, other, map)) continue;
            if (acyclic(d, other, map) && merge(d, other, map)) return true;
        }
    }
    return false;
}

/* ---- what is left ---- */

static bool is_plane(Type t) { return t.rank == 4 && t.dim[1] > 1 && t.dim[2] > 1 && t.dim[3] > 1; }

static bool is_feature_map(const Draft *d, Ref ref) {
    Op op = d->node[ref.node].op;
    return is_plane(draft_type(d, ref)) && op != OP_PARAM && !op_makes_filters(op);
}

/* A loop over feature maps that is no convolution's. */
static bool is_sweep(const Draft *d, uint32_t id) {
    const Node *n = &d->node[id];
    if (n->dead || n->op == OP_COUNT || op_is_convolution(n->op) || n->nargs == 0) return false;
    for (uint32_t i = 0; i < n->nargs; i++)
        if (is_feature_map(d, n->args[i])) return true;
    return n->op != OP_MAP && !op_makes_filters(n->op) && is_plane(n->type);
}

/* An operand that follows from the whole of another, a feature map: no loop that makes that one knows it. */
static const char *late_operand(Draft *d, uint32_t id) {
    const Node *n = &d->node[id];
    for (uint32_t i = 0; i < n->nargs; i++) {
        for (uint32_t k = 0; k < n->nargs; k++) {
            if (draft_is_whole(d, id, n->args[i]) || !draft_is_whole(d, id, n->args[k])) continue;
            if (draft_depends(d, n->args[i].node, n->args[k].node))
                return arena_printf(d->arena, "it reads %s, which follows from the whole of %s", draft_label(d, n->args[i].node),
                                    draft_label(d, n->args[k].node));
        }
    }
    return NULL;
}

static const char *why_left(Draft *d, uint32_t id) {
    const Node *n = &d->node[id];
    if (n->op != OP_MAP) return arena_printf(d->arena, "%s is no map and has a loop of its own", op_text(n->op));
    for (uint32_t r = 0; r < n->nregions; r++) {
        if (n->regions[r].gone || !region_reduces(n->regions[r].role)) continue;
        if (n->regions[r].operand == OVER_CHANNELS)
            return "it is over channels, and the loop of a convolution has a few of them at a time";
        if (n->regions[r].operand == (OVER_HEIGHT | OVER_WIDTH))
            return "the loop of a convolution makes sums of an image, no maxima";
        return "it is over lines or columns, which go on from one tile of a convolution to the next";
    }
    const char *late = late_operand(d, id);
    return late ? late : "no convolution has all that it reads, or makes it for all that read it";
}

static void explain(Draft *d, uint32_t id) {
    if (is_sweep(d, id))
        draft_refuse(d, id, NO_VAL, d->node[id].span, "a sweep over feature maps is left for %s: %s", draft_label(d, id),
                     why_left(d, id));
}

Graph *pass_share_sweeps(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (!d->node[order[i]].dead && d->node[order[i]].op == OP_MAP) share(d, order[i]);
    }
    for (uint32_t i = 0; i < n; i++) explain(d, order[i]);
    return draft_finish(d);
}
