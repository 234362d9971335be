/* fuse_prologues: a map that a convolution reads is computed while the convolution loads its operand.
 *
 * The operand's argument becomes one of the feature maps that the map reads, and the map's Expr the PROLOGUE. Which reader does
 * so:
 *   - a map of one feature map, read by convolutions only: all of them; recomputing costs no traffic, nothing is stored;
 *   - otherwise, if it must be stored (several feature maps and several readers, or a reader that is no convolution): one
 *     convolution computes and stores it (STORE), all others read what it stored, and therefore come after it;
 *   - if it has a single reader, that one.
 *
 * The convolution that stores must not depend on another reader, and must visit each element of the operand: the window of
 * a strided 1x1 convolution skips some. Backward data is preferred to backward weights, since the rest of backward waits for it.
 * Filters get no prologue. A map without feature maps (a broadcast) has nothing to load and stays a map.
 *
 * Each step removes an argument place that reads a map, so it ends.
 */
#include "passes/draft.h"

/* One argument place that reads the map. */
typedef struct Place {
    uint32_t node, arg;
    bool loads; /* an operand that can be computed while it is loaded */
} Place;

typedef struct Places {
    Place *item;
    uint32_t count, loading;
} Places;

/* An operand that is a feature map; not one that a region (its prologue, or an epilogue that adds it) reads as well. */
static bool loads_operand(const Node *k, uint32_t arg) {
    for (uint32_t r = 0; r < k->nregions; r++) {
        if (!k->regions[r].gone && k->regions[r].expr && expr_uses_arg(k->regions[r].expr, arg)) return false;
    }
    return op_loads(k->op, arg);
}

static Places find_places(Draft *d, Ref map) {
    const Node *m = &d->node[map.node];
    Places p = {.item = ARENA_ARRAY(d->arena, Place, m->nusers)};
    for (uint32_t i = 0; i < m->nusers; i++) {
        bool seen = false;
        for (uint32_t j = 0; j < i && !seen; j++) seen = m->users[j] == m->users[i];
        const Node *u = &d->node[m->users[i]];
        for (uint32_t k = 0; k < u->nargs && !seen; k++) {
            if (!ref_equal(u->args[k], map)) continue;
            bool loads = loads_operand(u, k);
            p.item[p.count++] = (Place){m->users[i], k, loads};
            p.loading += loads;
        }
    }
    return p;
}

/* Does each element of the operand lie under some window? Gradients with respect to the output, dy, always do. */
static bool covers(const Draft *d, Place p) {
    const Node *k = &d->node[p.node];
    bool is_dy = k->op == OP_CONV2D_BWD_DATA || p.arg == 1;
    if (is_dy) return true;
    Type x = draft_type(d, k->args[p.arg]);
    for (int axis = 0; axis < 2; axis++) {
        int64_t kernel = k->attrs.window.kernel[axis], stride = k->attrs.window.stride[axis];
        int64_t dilation = k->attrs.window.dilation[axis], before = k->attrs.window.pad[axis],
                after = k->attrs.window.pad[axis + 2];
        int64_t span = (kernel - 1) * dilation + 1, last = (x.dim[2 + axis] + before + after - span) / stride * stride;
        bool gap = kernel < stride || (stride > 1 && dilation > 1) || (dilation > 1 && last + 1 < dilation);
        if (gap || last + span - before < x.dim[2 + axis]) return false;
    }
    return true;
}

static const char *why_not_store(Draft *d, const Places *all, Place p) {
    if (!covers(d, p)) return "its windows skip some of the elements";
    for (uint32_t i = 0; i < all->count; i++) {
        Place other = all->item[i];
        if (other.node == p.node && other.arg != p.arg) return "it reads it in another place, too";
        if (other.node != p.node && draft_depends(d, p.node, other.node)) return "it depends on another reader";
    }
    return NULL;
}

/* The earliest convolution that may store, backward weights last; NULL if there is none. */
static const Place *choose(Draft *d, Ref map, const Places *all) {
    const Place *best = NULL;
    for (uint32_t i = 0; i < all->count; i++) {
        const Place *p = &all->item[i];
        if (!p->loads) continue;
        const char *why = why_not_store(d, all, *p);
        if (why) {
            draft_refuse(d, map.node, p->node, d->node[p->node].span, "prologue %s not fused into %s: %s",
                         draft_label(d, map.node), draft_label(d, p->node), why);
            continue;
        }
        bool late = d->node[p->node].op == OP_CONV2D_BWD_WEIGHTS;
        bool best_late = best && d->node[best->node].op == OP_CONV2D_BWD_WEIGHTS;
        if (!best || (late != best_late ? best_late : draft_stands_before(d, p->node, best->node))) best = p;
    }
    return best;
}

/* The first argument that is as large as the map, which the convolution can load in its place; nargs if there is none. */
static uint32_t first_element(const Draft *d, Ref map) {
    const Node *m = &d->node[map.node];
    uint32_t i = 0;
    while (i < m->nargs && (!type_equal(draft_type(d, m->args[i]), m->space) || !expr_uses_arg(draft_region(d, map)->expr, i)))
        i++;
    return i;
}

/* The map becomes the prologue of the operand; returns the Ref of its stored value if `store`. */
static bool load_as(Draft *d, Ref map, Place p, bool store, Ref *stored) {
    Scope s = scope_of(d, p.node);
    const Expr *body = draft_region(d, map)->expr;
    s.leaf[p.arg] = d->node[map.node].args[first_element(d, map)];
    const Expr *e = expr_finish(&s.b, scope_splice(&s, map.node, body, NULL, 0, 0));
    if (!scope_fits(&s) || d->node[p.node].nregions + 2 > MAX_REGIONS ||
        !draft_allowed(d, p.node, "prologue", (uint32_t)(map.node * MAX_REGIONS + map.slot)))
        return false;
    draft_set_args(d, p.node, s.leaf, s.nleaves);
    draft_add_region(d, p.node, (DraftRegion){.role = REGION_PROLOGUE, .operand = (int)p.arg, .expr = e});
    if (store) {
        uint32_t r = draft_add_region(d, p.node, (DraftRegion){.role = REGION_STORE, .operand = (int)p.arg});
        *stored = draft_region_ref(d, p.node, r);
    }
    pass_remark(d->context, true, d->node[map.node].span, "%s computed by %s while it loads%s", draft_label(d, map.node),
                draft_label(d, p.node), store ? ", and stored" : "");
    return true;
}

static void fuse_map(Draft *d, Ref map) {
    Places all = find_places(d, map);
    uint32_t elements = draft_element_args(d, map.node, draft_region(d, map)->expr);
    if (all.loading == 0) return;
    if (first_element(d, map) == d->node[map.node].nargs) {
        draft_refuse(d, map.node, NO_VAL, d->node[map.node].span, "prologue %s not fused: it reads no feature map",
                     draft_label(d, map.node));
        return;
    }
    bool store = all.loading < all.count || (elements > 1 && all.count > 1);
    Ref stored;
    if (store) {
        const Place *p = choose(d, map, &all);
        if (p && load_as(d, map, *p, true, &stored)) draft_redirect(d, map, stored);
    } else {
        for (uint32_t i = 0; i < all.count; i++) load_as(d, map, all.item[i], false, &stored);
    }
    draft_prune(d, map.node);
}

Graph *pass_fuse_prologues(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t r = 0; r < d->node[order[i]].nregions; r++) {
            const Node *m = &d->node[order[i]];
            if (m->dead || m->op != OP_MAP || m->space.rank != 4 || m->regions[r].gone) continue;
            if (m->regions[r].role == REGION_OUTPUT) fuse_map(d, (Ref){order[i], r});
        }
    }
    return draft_finish(d);
}
