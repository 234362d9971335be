/* share_sweeps: maps that are left over after fusion share loops.
 *
 * Over feature maps: two maps merge into one with several OUTPUTs and REDUCEs if the one reads no feature map that the other does
 * not read; and the sums over what a map makes are made by that map. Either saves reading a feature map once.
 *
 * Small maps ([N,C], [C], []) of one space merge if they read a computed value in common, or one the other's result: each kernel
 * costs a call and a barrier, which is more than its arithmetic.
 *
 * Legal is what makes no cycle: neither may depend on the other, except that a merged map computes for itself the OUTPUTs that
 * it used to read. Runs last, so that no merging takes a region from a convolution that could have had it. Each step
 * removes a map, so it ends.
 */
#include "passes/draft.h"

static bool has_args_of(const Draft *d, uint32_t of, uint32_t other, uint32_t except) {
    const Node *a = &d->node[of], *b = &d->node[other];
    for (uint32_t i = 0; i < a->nargs; i++) {
        if (a->args[i].node == except || !draft_is_element(d, a->args[i])) continue;
        bool found = false;
        for (uint32_t k = 0; k < b->nargs && !found; k++) found = ref_equal(a->args[i], b->args[k]);
        if (!found) return false;
    }
    return true;
}

static bool only_sums(const Node *n) {
    for (uint32_t r = 0; r < n->nregions; r++) {
        if (!n->regions[r].gone && !region_sums(n->regions[r].role)) return false;
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
        uint32_t added = draft_add_region(d, into, (DraftRegion){.role = d->node[map].regions[r].role, .expr = body[r]});
        draft_redirect(d, (Ref){map, r}, (Ref){into, added});
    }
    pass_remark(d->context, true, d->node[map].span, "%s shares the loop of %s", draft_label(d, map), draft_label(d, into));
    draft_prune(d, map);
    draft_prune(d, into);
    return true;
}

static bool is_candidate(const Draft *d, uint32_t into, uint32_t map) {
    const Node *a = &d->node[into], *b = &d->node[map];
    return into != map && a->op == OP_MAP && !a->dead && type_equal(a->space, b->space) && worthwhile(d, into, map);
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

Graph *pass_share_sweeps(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (!d->node[order[i]].dead && d->node[order[i]].op == OP_MAP) share(d, order[i]);
    }
    return draft_finish(d);
}
