/* squeeze: sums over H and W of affine maps become arithmetic on sums that are made anyway.
 *
 *     Σ (k1*p*q + k2*p + k3)  =  k1 * Σ p*q  +  k2 * Σ p  +  H*W * k3          k constant over the pixels of an image
 *     Σ (x - mean)            =  what `moments`, of which the mean is, knows of each image
 *     Σ (x - k)², Σ (x - k)   =  what follows in double from Σ x² and Σ x, where k follows from x: the variance of a group or
 *                                instance norm, and its gradient's sums (image_moments)
 *     Σ u*p                   =  Σ over lines of u * Σ along each of p         u the same along lines, and those sums of p exist
 *
 * The left side must wait until k1, k2, k3 are known, and then sweeps over p and q. The sums on the right depend on p and q
 * alone, so the kernels that make p or q make them as by-products (fuse_epilogues), and equal ones are shared. That is how the
 * squeeze of an SE block, pooled through batch norm's affine map, follows from the sums of the batch statistics, and how
 * in backward the gate's gradient and those of gamma and beta follow from Σ dr and Σ dr*(c - mean).
 *
 * Sums along lines or columns are rewritten likewise and first, their k constant along a line: so what the gates of coordinate
 * attention and their gradients are of are Σ (c - mean) along lines, Σ dr*v and Σ dr*v*(c - mean), v the other gate. Of these
 * follow batch norm's sums over all pixels.
 *
 * The rule. A sum is rewritten when its body, taken apart (linear.h), is more than one bare product. (A bare product of feature
 * maps becomes the body of its sum, where later sums find it.)
 *   - Maps of a single feature map, and maps with a single reader, are looked through: fuse_maps recomputes them where they are
 *     needed, so they are not stored.
 *   - One map that is stored is looked through on the way, and only if all resulting sums exist already, or join the loops that
 *     make what they sum and the map then need not be stored.
 *
 * It never costs a sweep: every new sum reads a subset of what the old one read (through maps that are not stored), so at worst
 * all of them together are one sweep over the same operands (share_sweeps). No convolution's loop takes up sums along lines, so
 * of those that one becomes one must read what all of them read. Nonlinear parts (select, max, …) stay factors.
 *
 * Numerics. Where terms would cancel they stay together: deviations c - mean are factors, and squares of sums are not
 * multiplied out (linear.c). Running it twice changes nothing: the sums that it makes are bare.
 */
#include "passes/events.h"
#include "passes/fuse.h"
#include "passes/term_sums.h"

/* What is looked through beside maps that are not stored: nothing, or one map, as a rule the summed one. */
typedef enum Depth { THROUGH_UNSTORED, THROUGH_STORED } Depth;

typedef struct Look {
    Depth depth;
    uint32_t level, stored; /* how many maps are being looked through, and how many of these are stored */
    bool spared;            /* a stored one has one other reader, which can take it up if no sum is left that reads it */
} Look;

static bool look_through(Linear *l, Ref ref, Sum *sum) {
    Draft *d = l->scope->d;
    Look *look = l->context;
    const DraftRegion *r = draft_region(d, ref);
    if (!r || d->node[ref.node].op != OP_MAP || r->role != REGION_OUTPUT || !draft_is_element(d, ref)) return false;
    bool unstored = draft_uses(d, ref) == 1 || draft_element_args(d, ref.node, r->expr) <= 1;
    bool allowed = unstored || (look->depth == THROUGH_STORED && look->stored == 0);
    if (look->level >= pass_parameter(d->context, "max_looks") || !allowed) return false;
    look->level++;
    look->stored += !unstored;
    look->spared |= !unstored && draft_uses(d, ref) == 2;
    *sum = linear_sum(l, ref.node, r->expr);
    look->level--;
    look->stored -= !unstored;
    return !linear_is_bare(l, sum) || l->scope->b.node[sum->term[0].factor[0]].op == X_ARG;
}

static Sum take_apart(Scope *s, uint32_t node, const Summing *of, Depth depth, bool *spared) {
    Look look = {.depth = depth};
    Linear l = {.scope = s,
                .degree = LINEAR_MAX_FACTORS,
                .along = of->region.role == REGION_SUM_TO ? of->over : 0,
                .look_through = look_through,
                .context = &look};
    Sum sum = linear_sum(&l, node, s->d->node[node].regions[0].expr);
    *spared = look.spared && of->region.role == REGION_REDUCE;
    return sum;
}

/* Is there nothing to sum that a loop would have to be made for? If a map is spared the sum of what is made in a loop counts,
 * which joins that. */
static bool is_free(Scope *s, const Sum *sum, const Summing *of, bool spared) {
    for (uint32_t i = 0; i < sum->terms; i++) {
        const Term *t = &sum->term[i];
        if (t->factors && !term_sum_known(s, t, of) && !(spared && term_joins_a_loop(s, t))) return false;
    }
    return true;
}

static bool reads_all_of(Scope *s, const Term *t, const Term *other) {
    Linear l = {.scope = s};
    const Expr *own = expr_finish(&s->b, linear_product(&l, t)), *e = expr_finish(&s->b, linear_product(&l, other));
    for (uint32_t i = 0; i < e->count; i++)
        if (e->node[i].op == X_ARG && !expr_uses_arg(own, e->node[i].arg[0])) return false;
    return true;
}

/* Does one term read what all of them read, so that one loop can make all their sums? */
static bool is_one_loop(Scope *s, const Sum *sum) {
    for (uint32_t i = 0; i < sum->terms; i++) {
        bool all = true;
        for (uint32_t k = 0; k < sum->terms && all; k++) all = reads_all_of(s, &sum->term[i], &sum->term[k]);
        if (all) return true;
    }
    return false;
}

static bool one_bare_product(const Scope *s, const Sum *sum) {
    const ExprNode *k = &s->b.node[sum->term[0].coefficient];
    return sum->terms == 1 && sum->term[0].factors > 0 && k->op == X_CONST && k->value == 1;
}

static bool product_of_arguments(const Scope *s, const Sum *sum) {
    bool arguments = sum->term[0].factors > 1;
    for (uint32_t i = 0; i < sum->term[0].factors; i++) arguments &= s->b.node[sum->term[0].factor[i]].op == X_ARG;
    return arguments;
}

/* The right side of the equations above, as a node of the scope; `lines`: how many sums follow from those over lines. */
static bool combine(Scope *s, const Sum *sum, const Summing *of, uint32_t like, uint16_t *total, uint32_t *lines) {
    ExprBuilder *b = &s->b;
    for (uint32_t i = 0; i < sum->terms; i++) {
        const Term *t = &sum->term[i];
        uint16_t value = expr_const(b, summing_elements(of));
        if (t->factors) {
            TermSum part;
            if (!term_sum(s, t, of, like, &part)) return false;
            *lines += part.by_lines;
            value = expr_binary(b, X_MUL, scope_leaf(s, part.sum), expr_const(b, part.times));
        }
        value = expr_binary(b, X_MUL, value, t->coefficient);
        *total = i ? expr_binary(b, X_ADD, *total, value) : value;
    }
    return true;
}

/* Why the sum over a map stays as it is. */
static void explain(Draft *d, uint32_t node) {
    const Node *n = &d->node[node];
    if (n->nargs != 1 || !fuse_is_map_output(d, n->args[0])) return;
    Ref body = n->args[0];
    bool stored = draft_uses(d, body) > 1 && draft_element_args(d, body.node, draft_region(d, body)->expr) > 1;
    draft_refuse(d, node, body.node, n->span, "%s not distributed: %s is %s", draft_label(d, node), draft_label(d, body.node),
                 stored ? "stored in any case" : "not linear in the feature maps that it reads");
}

/* The sum's body taken apart; false if it stays as it is. */
static bool find_form(Scope *s, uint32_t node, const Summing *of, Sum *sum) {
    Draft *d = s->d;
    bool spared;
    *sum = take_apart(s, node, of, THROUGH_STORED, &spared);
    bool known = !one_bare_product(s, sum) && is_free(s, sum, of, spared);
    if (!known) {
        *s = scope_open(d);
        *sum = take_apart(s, node, of, THROUGH_UNSTORED, &spared);
    }
    if (sum->terms > pass_parameter(d->context, "max_sums")) {
        draft_refuse(d, node, NO_VAL, d->node[node].span, "%s not distributed: it would become %u sums", draft_label(d, node),
                     sum->terms);
        return false;
    }
    if (!known && of->region.role == REGION_SUM_TO && !is_one_loop(s, sum)) {
        draft_refuse(d, node, NO_VAL, d->node[node].span, "%s not distributed: no one loop would make what it becomes",
                     draft_label(d, node));
        return false;
    }
    const Term *t = &sum->term[0];
    if (!one_bare_product(s, sum) || term_sum_follows(s, t, of)) return true;
    if (!product_of_arguments(s, sum)) {
        explain(d, node);
        return false;
    }
    Ref found;
    return !term_sum_exists(s, t, of, &found) || found.node != node; /* p*q becomes the sum's own body, unless it is that */
}

static void squeeze_sum(Draft *d, uint32_t node) {
    Summing of = summing_of(d, node);
    Scope s = scope_open(d);
    Sum sum;
    uint16_t total = 0;
    uint32_t lines = 0;
    Ref replacement;
    if (!find_form(&s, node, &of, &sum) || !draft_allowed(d, node, NULL, NO_VAL)) return;
    DraftRegion output = {.role = REGION_OUTPUT};
    bool fits = combine(&s, &sum, &of, node, &total, &lines);
    const ExprNode *only = &s.b.node[total];
    if (fits && only->op == X_ARG && type_equal(draft_type(d, s.leaf[only->arg[0]]), summing_type(&of)))
        replacement = s.leaf[only->arg[0]];
    else
        fits = fits && scope_extract(&s, total, summing_type(&of), output, node, &replacement);
    if (!fits || replacement.node == node) {
        event_undo(d->context);
        draft_refuse(d, node, NO_VAL, d->node[node].span, "%s not distributed: it %s", draft_label(d, node),
                     fits ? "is what it would follow from" : "would read too many values");
        return;
    }
    uint32_t sums = 0;
    for (uint32_t i = 0; i < sum.terms; i++) sums += sum.term[i].factors > 0;
    const char *of_lines = lines ? arena_printf(d->arena, ", %u of them from sums along lines or columns", lines) : "";
    pass_remark(d->context, true, d->node[node].span, "%s follows from %u sum%s of its factors%s", draft_label(d, node), sums,
                sums == 1 ? "" : "s", of_lines);
    draft_redirect(d, (Ref){node, 0}, replacement);
    draft_prune(d, node);
}

/* Where moments over x are made, they know Σ x in double. */
static void take_from_moments(Draft *d, uint32_t node) {
    Node *n = &d->node[node];
    const Expr *e = n->regions[0].expr;
    if (e->count != 1 || e->node[0].op != X_ARG || !type_equal(draft_type(d, n->args[0]), n->space)) return;
    Scope s = scope_open(d);
    Ref x = n->args[0], moments;
    Type space = n->space;
    DraftRegion region = {.role = REGION_MOMENTS};
    if (!scope_find(&s, scope_leaf(&s, x), space, region, &moments)) return;
    bool about = false; /* those of batch norms alone are summed over the batch */
    for (uint32_t i = 0; i < d->node[moments.node].nusers; i++)
        about |= d->node[d->node[moments.node].users[i]].op == OP_IMAGE_MOMENTS;
    if (!about || !draft_allowed(d, node, "moments", NO_VAL)) return;
    Attrs count = {.constant = (double)(space.dim[2] * space.dim[3])};
    Ref sums = draft_op(d, OP_IMAGE_MOMENTS, type_matrix(space.dim[0], space.dim[1]), count, &moments, 1, node);
    pass_remark(d->context, true, d->node[node].span, "%s follows from moments that are made anyway", draft_label(d, node));
    draft_redirect(d, (Ref){node, 0}, (Ref){sums.node, 1});
    draft_prune(d, node);
}

static bool is_sum(const Draft *d, uint32_t id, RegionRole role) {
    const Node *n = &d->node[id];
    if (n->dead || n->op != OP_MAP || n->nregions != 1 || n->regions[0].role != role) return false;
    return role == REGION_REDUCE || n->regions[0].operand != OVER_CHANNELS;
}

static void for_each_sum(Draft *d, RegionRole role, void (*rewrite)(Draft *d, uint32_t node)) {
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++)
        if (is_sum(d, order[i], role)) rewrite(d, order[i]);
}

Graph *pass_squeeze(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    for_each_sum(d, REGION_SUM_TO, squeeze_sum);
    for_each_sum(d, REGION_REDUCE, squeeze_sum);
    for_each_sum(d, REGION_REDUCE, take_from_moments); /* those that were made, too */
    return draft_finish(d);
}
