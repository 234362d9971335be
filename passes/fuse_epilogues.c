/* fuse_epilogues: what is done with a convolution's result moves into the loop that makes it.
 *
 *   REDUCE    a sum over H and W of an Expr of the result: Σdr and Σdr*(c - mean) backward
 *   MOMENTS   the sums that batch statistics are made of: Σc and Σc*c forward
 *   EPILOGUE  the one element map that reads the raw result, if nobody else does: the raw result is never stored. Forward: bias,
 *             relu, the residual add. Backward: the relu mask and the shortcut's gradient
 *   OUTPUT    an element map, where the raw result is needed as well
 *
 * Legal is what reads nothing that depends on the convolution except its result (fuse_attaches): other operands are computed
 * before it, if need be by moving them up. Convolutions are visited from the last to the first, so a map of two results, as
 * where two branches meet, goes to the later one and nothing has to move.
 *
 * An OUTPUT that reads one feature map and goes to convolutions only is left to their prologues, where it costs no memory.
 * Each step moves one region from a map to a convolution and none moves back, so it ends.
 */
#include "passes/fuse.h"

bool fuse_attaches(Draft *d, uint32_t kernel, uint32_t map, const Expr *e, uint32_t *late) {
    const Node *k = &d->node[kernel], *m = &d->node[map];
    bool looks = false;
    if (m->op != OP_MAP || !type_equal(m->space, k->type)) return false;
    for (uint32_t i = 0; i < m->nargs; i++) {
        if (!expr_uses_arg(e, i)) continue;
        Ref a = m->args[i];
        const DraftRegion *r = draft_region(d, a);
        bool at_hand = a.node == kernel && (!r || r->role == REGION_OUTPUT);
        looks = looks || at_hand;
        *late = a.node;
        if (!at_hand && draft_depends(d, a.node, kernel)) return false;
    }
    return looks;
}

static bool has_epilogue(const Node *k) {
    for (uint32_t r = 0; r < k->nregions; r++) {
        if (!k->regions[r].gone && k->regions[r].role == REGION_EPILOGUE) return true;
    }
    return false;
}

/* The Expr of the map, over the arguments of the kernel, with the kernel's result as X_ACC or X_OUT. NULL if too large. */
static const Expr *over_kernel(Scope *s, uint32_t kernel, uint32_t map, const Expr *e) {
    Draft *d = s->d;
    const Node *m = &d->node[map];
    uint16_t acc = expr_leaf(&s->b, X_ACC), out = has_epilogue(&d->node[kernel]) ? expr_leaf(&s->b, X_OUT) : acc;
    uint16_t replace[MAX_ARGS];
    for (uint32_t i = 0; i < m->nargs; i++) {
        replace[i] = SCOPE_KEEP;
        if (m->args[i].node != kernel || !expr_uses_arg(e, i)) continue;
        const DraftRegion *r = draft_region(d, m->args[i]);
        replace[i] = r ? scope_splice(s, kernel, r->expr, NULL, acc, out) : out;
    }
    const Expr *fused = expr_finish(&s->b, scope_splice(s, map, e, replace, acc, out));
    return scope_fits(s) && fused->count <= pass_parameter(d->context, "max_nodes") ? fused : NULL;
}

/* Makes e the epilogue. One that is there already is what e means by X_OUT, and what other regions go on to mean by it. */
static void set_epilogue(Draft *d, uint32_t kernel, const Expr *e) {
    Node *k = &d->node[kernel];
    Scope s = scope_of(d, kernel);
    const Expr *old = NULL;
    for (uint32_t r = 0; r < k->nregions; r++) {
        if (k->regions[r].gone || k->regions[r].role != REGION_EPILOGUE) continue;
        old = k->regions[r].expr;
        k->regions[r].gone = true;
    }
    if (old) {
        uint16_t acc = expr_leaf(&s.b, X_ACC), out = scope_splice(&s, kernel, old, NULL, acc, acc);
        e = expr_finish(&s.b, scope_splice(&s, kernel, e, NULL, acc, out));
        for (uint32_t r = 0; r < k->nregions; r++) {
            DraftRegion *region = &k->regions[r];
            if (region->gone || !region->expr || !expr_uses_op(region->expr, X_OUT)) continue;
            region->expr = expr_finish(&s.b, scope_splice(&s, kernel, region->expr, NULL, acc, out));
        }
    }
    draft_add_region(d, kernel, (DraftRegion){.role = REGION_EPILOGUE, .expr = e});
}

/* Moves region `r` of `map` into the kernel. */
static bool attach(Draft *d, uint32_t kernel, uint32_t map, uint32_t r, RegionRole role) {
    static const char *const what[] = {
        [REGION_EPILOGUE] = "epilogue", [REGION_OUTPUT] = "output", [REGION_REDUCE] = "sum", [REGION_MOMENTS] = "moments"};
    Scope s = scope_of(d, kernel);
    const Expr *e = over_kernel(&s, kernel, map, d->node[map].regions[r].expr);
    Span span = d->node[map].span;
    if (!e || d->node[kernel].nregions == MAX_REGIONS) {
        draft_refuse(d, map, kernel, span, "%s not fused into %s: the loop would become too large", draft_label(d, map),
                     draft_label(d, kernel));
        return false;
    }
    if (!draft_allowed(d, kernel, what[role], (uint32_t)(map * MAX_REGIONS + r))) return false;
    Ref from = draft_region_ref(d, map, r), to = {kernel, 0};
    draft_set_args(d, kernel, s.leaf, s.nleaves);
    if (role == REGION_EPILOGUE)
        set_epilogue(d, kernel, e);
    else
        to.slot = 1 + draft_add_region(d, kernel, (DraftRegion){.role = role, .expr = e});
    draft_redirect(d, from, to);
    pass_remark(d->context, true, span, "%s fused into %s as %s", draft_label(d, map), draft_label(d, kernel), what[role]);
    draft_prune(d, map);
    return true;
}

static bool reads(const Draft *d, uint32_t map, const Expr *e, Ref ref) {
    const Node *m = &d->node[map];
    for (uint32_t i = 0; i < m->nargs; i++) {
        if (ref_equal(m->args[i], ref) && expr_uses_arg(e, i)) return true;
    }
    return false;
}

/* Is ref read by convolutions only, as operands that they can compute while loading? */
static bool goes_to_prologues(const Draft *d, Ref ref) {
    const Node *n = &d->node[ref.node];
    for (uint32_t i = 0; i < n->nusers; i++) {
        const Node *u = &d->node[n->users[i]];
        for (uint32_t k = 0; k < u->nargs; k++) {
            if (ref_equal(u->args[k], ref) && !op_loads(u->op, k)) return false;
        }
    }
    return true;
}

/* The maps that read the kernel, once each. */
static uint32_t *map_users(Draft *d, uint32_t kernel, uint32_t *n) {
    const Node *k = &d->node[kernel];
    uint32_t *users = arena_array(d->arena, k->nusers, sizeof *users);
    *n = 0;
    for (uint32_t i = 0; i < k->nusers; i++) {
        bool seen = d->node[k->users[i]].op != OP_MAP;
        for (uint32_t j = 0; j < *n && !seen; j++) seen = users[j] == k->users[i];
        if (!seen) users[(*n)++] = k->users[i];
    }
    return users;
}

static bool attach_sums(Draft *d, uint32_t kernel) {
    uint32_t n, *users = map_users(d, kernel, &n), late = 0;
    bool moved = false;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t r = 0; r < d->node[users[i]].nregions; r++) {
            const DraftRegion *region = &d->node[users[i]].regions[r];
            if (region->gone || !region_sums(region->role)) continue;
            if (fuse_attaches(d, kernel, users[i], region->expr, &late)) moved |= attach(d, kernel, users[i], r, region->role);
        }
    }
    return moved;
}

/* An element map that reads the kernel's result 0. */
typedef struct Reader {
    uint32_t map, region;
    bool fits, cheap;
    uint32_t late;
} Reader;

typedef struct Readers {
    Reader *item;
    uint32_t count;
    uint32_t other; /* somebody who reads the raw result and does not fit; NO_VAL if nobody does */
} Readers;

static Readers find_readers(Draft *d, uint32_t kernel) {
    Ref raw = {kernel, 0};
    uint32_t n, *users = map_users(d, kernel, &n);
    Readers all = {.item = ARENA_ARRAY(d->arena, Reader, n * MAX_REGIONS), .other = NO_VAL};
    for (uint32_t i = 0; i < d->node[kernel].nusers; i++) {
        const Node *u = &d->node[d->node[kernel].users[i]];
        for (uint32_t k = 0; k < u->nargs && u->op != OP_MAP; k++) {
            if (ref_equal(u->args[k], raw)) all.other = d->node[kernel].users[i];
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t r = 0; r < d->node[users[i]].nregions; r++) {
            const DraftRegion *region = &d->node[users[i]].regions[r];
            if (region->gone || !reads(d, users[i], region->expr, raw)) continue;
            Reader reader = {.map = users[i], .region = r};
            reader.fits = region->role == REGION_OUTPUT && fuse_attaches(d, kernel, users[i], region->expr, &reader.late);
            reader.cheap =
                draft_element_args(d, users[i], region->expr) == 1 && goes_to_prologues(d, draft_region_ref(d, users[i], r));
            if (!reader.fits) all.other = users[i];
            all.item[all.count++] = reader;
        }
    }
    return all;
}

/* One step: the epilogue if there is a single reader, else outputs until there is, or beside the raw result for good. */
static bool attach_elements(Draft *d, uint32_t kernel) {
    Readers all = find_readers(d, kernel);
    if (all.count == 0) return false;
    if (all.count == 1 && all.other == NO_VAL) return attach(d, kernel, all.item[0].map, all.item[0].region, REGION_EPILOGUE);
    bool raw_needed = all.other != NO_VAL;
    for (uint32_t i = 0; i < all.count; i++) raw_needed |= all.item[i].cheap;
    for (uint32_t i = 0; i < all.count - !raw_needed; i++) {
        const Reader *r = &all.item[i];
        if (r->fits && !r->cheap && attach(d, kernel, r->map, r->region, REGION_OUTPUT)) return true;
    }
    return false;
}

/* Why the readers that are left were not fused. */
static void explain(Draft *d, uint32_t kernel) {
    Readers all = find_readers(d, kernel);
    for (uint32_t i = 0; i < all.count; i++) {
        const Reader *r = &all.item[i];
        const char *label = draft_label(d, r->map), *target = draft_label(d, kernel);
        Span span = d->node[r->map].span;
        if (d->node[r->map].regions[r->region].role != REGION_OUTPUT) continue;
        if (!r->fits) {
            draft_refuse(d, r->map, kernel, span, "epilogue %s not fused into %s: %s, which it reads, comes later", label, target,
                         draft_label(d, r->late));
        } else if (r->cheap && (all.other != NO_VAL || all.count > 1)) {
            uint32_t other = all.other != NO_VAL ? all.other : all.item[i ? 0 : 1].map;
            draft_refuse(d, r->map, kernel, span, "epilogue %s not fused into %s: its raw result is also read by %s", label,
                         target, draft_label(d, other));
        }
    }
}

Graph *pass_fuse_epilogues(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    while (n-- > 0) {
        uint32_t kernel = order[n];
        if (d->node[kernel].dead || !fuse_takes_epilogue(d->node[kernel].op)) continue;
        while (attach_sums(d, kernel) || attach_elements(d, kernel)) continue;
        explain(d, kernel);
    }
    return draft_finish(d);
}
