/* fuse_maps: maps merge into the maps that read them, and what does not change from pixel to pixel moves out of the loop.
 *
 *   1. Masks of relu: where select(z, …) asks for the sign of z and r = max(0, z) exists, r is asked instead: r is what is
 *      stored, or what can be recomputed, in any case.
 *   2. Invariants: a map over feature maps becomes k1*p + k2*q + k3 as far as it is linear, each k a map of its own over [C] or
 *      [N,C], computed once instead of per pixel and shared by all loops that need it (linear.h). In forward also through
 *      x - mean, what deviates from a batch's mean: normalised activations are one multiply-add, which may be off by what f32
 *      makes of k*mean. In backward that stays a factor: there the same offset at every pixel would add up in the gradients of
 *      filters.
 *   3. A map is inlined into a map that reads it
 *        - if nobody else reads it, or
 *        - if it reads at most one feature map: recomputing relu(a*c + b) from c costs the traffic of reading it. Except where it
 *          will be the epilogue of the convolution that makes c, for then c itself need not be stored.
 *      A map of several feature maps and several users stays: it is stored once, by the first convolution that reads it
 *      (fuse_prologues) or by a sweep of its own. Small maps ([N,C], [C], []) are inlined only into their single reader.
 *      Limits (passes.def) keep fused loops from growing without bound: consumers are visited in order, so a producer has its
 *      final form when it is inlined, and each step removes an edge of the graph.
 *   4. Invariants again, for the coefficients have merged: gate*(a*c + b) has become (gate*a)*c + gate*b.
 */
#include "passes/events.h"
#include "passes/fuse.h"
#include "passes/linear.h"

/* ---- masks ---- */

/* max(0, z) of a z as large as itself: what reads a smaller z could not read it. */
static bool is_relu(const Draft *d, uint32_t node) {
    const Node *n = &d->node[node];
    if (n->op != OP_MAP || n->nregions != 1 || n->regions[0].role != REGION_OUTPUT) return false;
    const Expr *e = n->regions[0].expr;
    const ExprNode *max = &e->node[e->count - 1];
    if (e->count != 3 || max->op != X_MAX) return false;
    const ExprNode *zero = &e->node[max->arg[0]], *z = &e->node[max->arg[1]];
    return zero->op == X_CONST && zero->value == 0 && z->op == X_ARG && draft_is_whole(d, node, n->args[z->arg[0]]);
}

static bool asks_sign(const Node *n, uint32_t arg) {
    for (uint32_t r = 0; n->op == OP_MAP && r < n->nregions; r++) {
        const Expr *e = n->regions[r].expr;
        for (uint32_t i = 0; i < e->count && !n->regions[r].gone; i++) {
            const ExprNode *c = e->node[i].op == X_SELECT ? &e->node[e->node[i].arg[0]] : &e->node[i];
            if (e->node[i].op == X_SELECT && c->op == X_ARG && c->arg[0] == arg) return true;
        }
    }
    return false;
}

/* The Expr of `node` with the condition z of its selects replaced by r. */
static const Expr *mask_by(Scope *s, uint32_t node, const Expr *e, Ref z, Ref r) {
    const Node *n = &s->d->node[node];
    uint16_t map[EXPR_MAX_NODES] = {0};
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *x = &e->node[i];
        uint16_t a = map[x->arg[0]], b = map[x->arg[1]], c = map[x->arg[2]];
        switch (expr_op_operands((ExprOp)x->op)) {
        case 0: map[i] = x->op == X_ARG ? scope_leaf(s, n->args[x->arg[0]]) : expr_const(&s->b, x->value); break;
        case 1: map[i] = expr_unary(&s->b, (ExprOp)x->op, a); break;
        case 2: map[i] = expr_binary(&s->b, (ExprOp)x->op, a, b); break;
        default: {
            const ExprNode *condition = &e->node[x->arg[0]];
            bool is_z = condition->op == X_ARG && ref_equal(n->args[condition->arg[0]], z);
            map[i] = expr_select(&s->b, is_z ? scope_leaf(s, r) : a, b, c);
        }
        }
    }
    return expr_finish(&s->b, map[e->count - 1]);
}

static void mask_user(Draft *d, uint32_t user, Ref z, Ref r) {
    Node *n = &d->node[user];
    uint32_t arg = 0;
    while (arg < n->nargs && !ref_equal(n->args[arg], z)) arg++;
    if (user == r.node || arg == n->nargs || !asks_sign(n, arg) || n->nargs == MAX_ARGS ||
        !draft_allowed(d, user, "mask", r.node))
        return;
    Scope s = scope_of(d, user);
    for (uint32_t i = 0; i < n->nregions; i++) {
        if (!n->regions[i].gone) n->regions[i].expr = mask_by(&s, user, n->regions[i].expr, z, r);
    }
    draft_set_args(d, user, s.leaf, s.nleaves);
    draft_prune(d, user);
    pass_remark(d->context, true, d->node[user].span, "%s asks %s for the sign", draft_label(d, user), draft_label(d, r.node));
}

static void mask_by_relu(Draft *d, uint32_t relu) {
    Ref z = d->node[relu].args[0];
    const Node *source = &d->node[z.node];
    uint32_t n = source->nusers, *users = arena_copy(d->arena, source->users, n * sizeof *users);
    for (uint32_t i = 0; i < n; i++) mask_user(d, users[i], z, (Ref){relu, 0});
}

/* ---- invariants ---- */

static bool worth_lifting(const Scope *s, uint16_t k) {
    const ExprNode *n = &s->b.node[k];
    if (n->op == X_NEG) n = &s->b.node[n->arg[0]]; /* p - k and -k*p are no dearer than p + k */
    return n->op != X_ARG && n->op != X_CONST;
}

typedef struct Lifting {
    uint32_t node, count; /* the map whose coefficients are lifted, and how many */
    bool trial;           /* count only */
    bool forward;         /* is the map part of forward? */
} Lifting;

static uint16_t lift(Linear *l, uint16_t k) {
    Lifting *lifting = l->context;
    Scope *s = l->scope;
    if (!worth_lifting(s, k)) return k;
    lifting->count++;
    if (lifting->trial) return k;
    Type space = s->d->node[lifting->node].space;
    int rank = scope_rank(s, k);
    Type type = rank == 2 ? type_matrix(space.dim[0], space.dim[1]) : rank == 1 ? type_vector(space.dim[1]) : type_scalar();
    DraftRegion output = {.role = REGION_OUTPUT};
    Ref ref;
    return scope_extract(s, k, type, output, lifting->node, &ref) ? scope_leaf(s, ref) : k;
}

/* x - mean, a map of its own, as the sum that it is. */
static bool look_through_deviation(Linear *l, Ref ref, Sum *sum) {
    Draft *d = l->scope->d;
    Ref x, mean;
    if (!fuse_is_map_output(d, ref)) return false;
    const Expr *e = draft_region(d, ref)->expr;
    if (!linear_is_deviation(d, d->node[ref.node].args, e, e->count - 1, &x, &mean)) return false;
    if (draft_is_element(d, mean)) return false; /* no constant */
    ExprBuilder *b = &l->scope->b;
    uint16_t factor = scope_leaf(l->scope, x), constant = expr_unary(b, X_NEG, scope_leaf(l->scope, mean));
    *sum = (Sum){.term = {{.coefficient = expr_const(b, 1), .factor = {factor}, .factors = 1}, {.coefficient = constant}},
                 .terms = 2};
    return true;
}

static const Expr *linear_form(Scope *s, const Expr *e, Lifting *lifting) {
    Linear l = {.scope = s, .degree = 1, .lift = lift, .context = lifting};
    if (lifting->forward) l.look_through = look_through_deviation;
    Sum sum = linear_sum(&l, lifting->node, e);
    return expr_finish(&s->b, linear_node(&l, &sum));
}

static void lift_invariants(Draft *d, uint32_t node, bool forward) {
    for (uint32_t r = 0; r < d->node[node].nregions; r++) {
        const DraftRegion *region = &d->node[node].regions[r];
        if (region->gone) continue;
        Lifting trial = {.node = node, .trial = true, .forward = forward}, lifting = {.node = node, .forward = forward};
        Scope s = scope_of(d, node);
        bool simpler = linear_form(&s, region->expr, &trial)->count < region->expr->count;
        if ((trial.count == 0 && !simpler) || !draft_allowed(d, node, "invariants", r)) continue;
        s = scope_of(d, node);
        const Expr *form = linear_form(&s, region->expr, &lifting);
        if (!scope_fits(&s) || form->count > EXPR_MAX_NODES) {
            event_undo(d->context);
            draft_refuse(d, node, NO_VAL, d->node[node].span,
                         "coefficients of %s not moved out of the loop: it would read too much", draft_label(d, node));
            continue;
        }
        d->node[node].regions[r].expr = form;
        draft_set_args(d, node, s.leaf, s.nleaves);
        draft_prune(d, node);
        if (lifting.count)
            pass_remark(d->context, true, d->node[node].span, "%u coefficient%s of %s moved out of the loop over pixels",
                        lifting.count, lifting.count == 1 ? "" : "s", draft_label(d, node));
        else
            pass_remark(d->context, true, d->node[node].span, "%s became a sum of products, which is shorter",
                        draft_label(d, node));
    }
}

/* The index of a maximum belongs to the loop that makes the maximum, in forward, and its operand is to be the same there. */
static bool is_index(const Node *n) { return n->nregions == 1 && n->regions[0].role == REGION_INDEX_TO; }

static void lift_all(Draft *d) {
    uint32_t n, *order = draft_walk(d, &n);
    bool forward = true;
    for (uint32_t i = 0; i < n; i++) {
        const Node *node = &d->node[order[i]];
        forward &= op_tier(node->op) != TIER_BACKWARD;
        if (!node->dead && node->op == OP_MAP && node->space.rank == 4) lift_invariants(d, order[i], forward || is_index(node));
    }
}

/* ---- inlining ---- */

/* Will ref, a map of one convolution's result, be that convolution's epilogue, so that the raw result vanishes? */
static bool becomes_epilogue(Draft *d, Ref ref) {
    const Node *p = &d->node[ref.node];
    uint32_t late;
    for (uint32_t i = 0; i < p->nargs; i++) {
        uint32_t kernel = p->args[i].node;
        if (!fuse_takes_epilogue(d->node[kernel].op) || p->args[i].slot != 0) continue;
        if (!fuse_attaches(d, kernel, ref.node, draft_region(d, ref)->expr, &late)) return false;
        for (uint32_t u = 0; u < d->node[kernel].nusers; u++) {
            uint32_t user = d->node[kernel].users[u];
            const Node *other = &d->node[user];
            if (user == ref.node) continue;
            if (other->op != OP_MAP || other->nregions != 1 || !region_sums(other->regions[0].role)) return false;
            if (!fuse_attaches(d, kernel, user, other->regions[0].expr, &late)) return false;
        }
        return true;
    }
    return false;
}

uint32_t fuse_elements_after(const Draft *d, uint32_t consumer, Ref producer) {
    const Node *c = &d->node[consumer], *p = &d->node[producer.node];
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->nargs; i++) count += draft_is_whole(d, consumer, c->args[i]) && !ref_equal(c->args[i], producer);
    for (uint32_t i = 0; i < p->nargs; i++) {
        bool shared = !draft_is_whole(d, producer.node, p->args[i]);
        for (uint32_t k = 0; k < c->nargs && !shared; k++) shared = ref_equal(c->args[k], p->args[i]);
        count += !shared;
    }
    return count;
}

static void refuse(Draft *d, uint32_t consumer, Ref producer, const char *reason) {
    draft_refuse(d, producer.node, consumer, d->node[consumer].span, "%s not merged into %s: %s", draft_label(d, producer.node),
                 draft_label(d, consumer), reason);
}

static bool may_inline(Draft *d, uint32_t consumer, Ref producer) {
    const Node *c = &d->node[consumer], *p = &d->node[producer.node];
    if (!fuse_is_map_output(d, producer)) return false;
    uint32_t uses = draft_uses(d, producer);
    if (c->space.rank < 4) return uses == 1 && p->space.rank <= c->space.rank;
    if (p->space.rank < 4 || !type_equal(p->space, c->space)) return false; /* computed once, outside */
    uint32_t elements = draft_element_args(d, producer.node, draft_region(d, producer)->expr);
    if (elements > 1 && uses > 1) {
        if (p->users[0] == consumer) /* said once */
            refuse(d, consumer, producer, "it reads several feature maps and has several readers, so it is stored");
        return false;
    }
    if (uses > 1 && becomes_epilogue(d, producer)) return false;
    if (fuse_elements_after(d, consumer, producer) <= pass_parameter(d->context, "max_elements")) return true;
    refuse(d, consumer, producer, "one loop would read too many feature maps");
    return false;
}

static void inline_producers(Draft *d, uint32_t consumer) {
    for (uint32_t i = 0; i < d->node[consumer].nargs;) {
        Ref producer = d->node[consumer].args[i];
        Inlining inlining;
        bool fits = false, may = may_inline(d, consumer, producer);
        if (may) fits = draft_inlining(d, consumer, producer, (uint32_t)pass_parameter(d->context, "max_nodes"), &inlining);
        if (may && !fits) refuse(d, consumer, producer, "the fused expression would be too long");
        if (!fits || !draft_allowed(d, consumer, NULL, producer.node)) {
            i++;
            continue;
        }
        const char *label = draft_label(d, producer.node);
        draft_inline(d, &inlining);
        pass_remark(d->context, true, d->node[consumer].span, "%s merged into %s", label, draft_label(d, consumer));
    }
}

static void inline_all(Draft *d, int max_rank) {
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        const Node *node = &d->node[order[i]];
        if (!node->dead && node->op == OP_MAP && node->space.rank <= max_rank) inline_producers(d, order[i]);
    }
}

Graph *pass_fuse_maps(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (!d->node[order[i]].dead && is_relu(d, order[i])) mask_by_relu(d, order[i]);
    }
    lift_all(d);
    inline_all(d, 4);
    lift_all(d);
    inline_all(d, 2); /* the new small maps */
    return draft_finish(d);
}
