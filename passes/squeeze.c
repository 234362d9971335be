/* squeeze: sums over H and W of affine maps become arithmetic on sums that are made anyway.
 *
 *     Σ (k1*p*q + k2*p + k3)  =  k1 * Σ p*q  +  k2 * Σ p  +  H*W * k3          k constant over the pixels of an image
 *     Σ (x - mean)            =  what `moments`, of which the mean is, knows of each image
 *     Σ (x - k)², Σ (x - k)   =  what follows in double from Σ x² and Σ x, where k follows from x: the variance of a group or
 *                                instance norm, and its gradient's sums (image_moments)
 *
 * The left side must wait until k1, k2, k3 are known, and then sweeps over p and q. The sums on the right depend on p and q
 * alone, so the kernels that make p or q make them as by-products (fuse_epilogues), and equal ones are shared. That is how the
 * squeeze of an SE block, pooled through batch norm's affine map, follows from the sums of the batch statistics, and how
 * in backward the gate's gradient and those of gamma and beta follow from Σ dr and Σ dr*(c - mean).
 *
 * The rule. A sum is rewritten when its body, taken apart (linear.h), is more than one bare product. (A bare product of feature
 * maps becomes the body of its sum, where later sums find it.)
 *   - Maps of a single feature map, and maps with a single reader, are looked through: fuse_maps recomputes them where they are
 *     needed, so they are not stored.
 *   - One map that is stored is looked through on the way, and only if all resulting sums exist already, or join the loops that
 *     make what they sum and the map then need not be stored.
 *
 * It never costs a sweep: every new sum reads a subset of what the old one read (through maps that are not stored), so at worst
 * all of them together are one sweep over the same operands (share_sweeps). Nonlinear parts (select, max, …) stay factors.
 *
 * Numerics. Where terms would cancel they stay together: deviations c - mean are factors, and squares of sums are not
 * multiplied out (linear.c). Running it twice changes nothing: the sums that it makes are bare.
 */
#include "passes/events.h"
#include "passes/fuse.h"
#include "passes/linear.h"

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

static Sum take_apart(Scope *s, uint32_t node, Depth depth, bool *spared) {
    Look look = {.depth = depth};
    Linear l = {.scope = s, .degree = LINEAR_MAX_FACTORS, .look_through = look_through, .context = &look};
    Sum sum = linear_sum(&l, node, s->d->node[node].regions[0].expr);
    *spared = look.spared;
    return sum;
}

/* Is the factor x - centre (linear.h)? */
static bool is_deviation(const Scope *s, uint16_t factor, Ref *x, Ref *centre) {
    const ExprNode *n = &s->b.node[factor];
    if (n->op != X_ARG || !fuse_is_map_output(s->d, s->leaf[n->arg[0]])) return false;
    Ref map = s->leaf[n->arg[0]];
    const Expr *e = draft_region(s->d, map)->expr;
    return linear_is_deviation(s->d, s->d->node[map.node].args, e, e->count - 1, x, centre);
}

/* Is the term, but for its coefficient, x - mean, of whose moments that mean is? Then those know its sum over each image. */
static bool find_deviations(const Scope *s, const Term *t, Ref *sum) {
    const Draft *d = s->d;
    Ref x, mean;
    if (t->factors != 1 || !is_deviation(s, t->factor[0], &x, &mean) || d->node[mean.node].op != OP_MOMENTS) return false;
    Ref sums = d->node[mean.node].args[0];
    const DraftRegion *region = draft_region(d, sums);
    if (d->node[sums.node].op != OP_MAP || region->expr->count != 1 || region->expr->node[0].op != X_ARG) return false;
    *sum = (Ref){mean.node, 2};
    return ref_equal(d->node[sums.node].args[region->expr->node[0].arg[0]], x);
}

/* Is the term, but for its coefficient, x - centre or its square, where the centre is each image's and follows from x? */
static bool about_centre(const Scope *s, const Term *t, Ref *x, Ref *centre) {
    bool power = t->factors == 1 || (t->factors == 2 && t->factor[0] == t->factor[1]);
    return power && is_deviation(s, t->factor[0], x, centre) && draft_type(s->d, *centre).rank == 2;
}

/* What makes Σ x and Σ x² beside x: a loop that x is made by. */
static bool is_made_by_loop(const Draft *d, Ref x) { return fuse_takes_epilogue(d->node[x.node].op) || fuse_is_map_output(d, x); }

/* The sum of such a term, from image_moments about the centre, which are found again. */
static Ref moments_about(Scope *s, const Term *t, Type space, Ref x, Ref centre, uint32_t like) {
    Draft *d = s->d;
    Ref args[2] = {{0, 0}, centre};
    scope_extract(s, scope_leaf(s, x), space, REGION_MOMENTS, like, &args[0]); /* a single argument fits */
    const Node *n = &d->node[centre.node];
    for (uint32_t i = 0; i < n->nusers; i++) {
        const Node *user = &d->node[n->users[i]];
        if (user->op == OP_IMAGE_MOMENTS && user->nargs == 2 && ref_equal(user->args[0], args[0]) &&
            ref_equal(user->args[1], centre))
            return (Ref){n->users[i], t->factors == 1};
    }
    Attrs count = {.constant = (double)(space.dim[2] * space.dim[3])};
    Ref moments = draft_op(d, OP_IMAGE_MOMENTS, type_matrix(space.dim[0], space.dim[1]), count, args, 2, like);
    return (Ref){moments.node, t->factors == 1};
}

/* The space over which a product is summed, and how often each of its pixels counts: over lines, of what is the same along them.
 */
static Type space_of_product(Scope *s, uint16_t product, Type space, double *times) {
    const Expr *e = expr_finish(&s->b, product);
    Type small = space;
    small.dim[2] = small.dim[3] = 1;
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op != X_ARG) continue;
        Type t = draft_type(s->d, s->leaf[e->node[i].arg[0]]);
        for (int k = 2; k < 4 && t.rank == 4; k++) small.dim[k] = t.dim[k] > 1 ? t.dim[k] : small.dim[k];
    }
    *times = (double)(type_elements(space) / type_elements(small));
    return small;
}

/* The sum of a product over that space; `like`: NULL, only if there is one. */
static bool sum_of_product(Scope *s, uint16_t product, Type space, const uint32_t *like, Ref *sum, double *times) {
    Type own = space_of_product(s, product, space, times);
    return like ? scope_extract(s, product, own, REGION_REDUCE, *like, sum) : scope_find(s, product, own, REGION_REDUCE, sum);
}

/* Is it of one feature map alone, which a loop makes? */
static bool joins_a_loop(Scope *s, uint16_t product) {
    const Expr *e = expr_finish(&s->b, product);
    Ref only = {NO_VAL, 0};
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op != X_ARG) continue;
        Ref leaf = s->leaf[e->node[i].arg[0]];
        if (!draft_is_element(s->d, leaf) || (only.node != NO_VAL && !ref_equal(only, leaf))) return false;
        only = leaf;
    }
    return only.node != NO_VAL && is_made_by_loop(s->d, only);
}

/* Is there nothing to sum for this term that a loop would have to be made for? If a map is spared the sum of what is made in a
 * loop counts, which joins that. */
static bool is_free(Scope *s, const Term *t, Type space, bool spared) {
    Linear l = {.scope = s};
    Ref x, centre;
    if (about_centre(s, t, &x, &centre)) return is_made_by_loop(s->d, x);
    if (spared && joins_a_loop(s, linear_product(&l, t))) return true;
    double times;
    return find_deviations(s, t, &x) || sum_of_product(s, linear_product(&l, t), space, NULL, &x, &times);
}

/* Do the sums of all terms exist already? */
static bool all_exist(Scope *s, const Sum *sum, Type space, bool spared) {
    for (uint32_t i = 0; i < sum->terms; i++) {
        if (sum->term[i].factors && !is_free(s, &sum->term[i], space, spared)) return false;
    }
    return true;
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

/* The right side of the equation above, as a node of the scope. */
static bool combine(Scope *s, const Sum *sum, Type space, uint32_t like, uint16_t *total) {
    Linear l = {.scope = s};
    ExprBuilder *b = &s->b;
    double pixels = (double)(space.dim[2] * space.dim[3]);
    for (uint32_t i = 0; i < sum->terms; i++) {
        const Term *t = &sum->term[i];
        uint16_t value = expr_const(b, pixels);
        if (t->factors) {
            Ref part, x, centre;
            double times = 1;
            if (about_centre(s, t, &x, &centre))
                part = moments_about(s, t, space, x, centre, like);
            else if (!find_deviations(s, t, &part) && !sum_of_product(s, linear_product(&l, t), space, &like, &part, &times))
                return false;
            value = expr_binary(b, X_MUL, scope_leaf(s, part), expr_const(b, times));
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
static bool find_form(Scope *s, uint32_t node, Sum *sum) {
    Draft *d = s->d;
    Type space = d->node[node].space;
    bool spared;
    *sum = take_apart(s, node, THROUGH_STORED, &spared);
    if (one_bare_product(s, sum) || !all_exist(s, sum, space, spared)) {
        *s = scope_open(d);
        *sum = take_apart(s, node, THROUGH_UNSTORED, &spared);
    }
    if (sum->terms > pass_parameter(d->context, "max_sums")) {
        draft_refuse(d, node, NO_VAL, d->node[node].span, "%s not distributed: it would become %u sums", draft_label(d, node),
                     sum->terms);
        return false;
    }
    Ref found, centre;
    const Term *t = &sum->term[0];
    if (!one_bare_product(s, sum) || find_deviations(s, t, &found) || about_centre(s, t, &found, &centre)) return true;
    if (!product_of_arguments(s, sum)) {
        explain(d, node);
        return false;
    }
    Linear l = {.scope = s};
    double times;
    bool known = sum_of_product(s, linear_product(&l, t), space, NULL, &found, &times);
    return !known || found.node != node; /* p*q becomes the sum's own body, unless it is that already */
}

static void squeeze_sum(Draft *d, uint32_t node) {
    Type space = d->node[node].space;
    Scope s = scope_open(d);
    Sum sum;
    uint16_t total = 0;
    Ref replacement;
    if (!find_form(&s, node, &sum) || !draft_allowed(d, node, NULL, NO_VAL)) return;
    bool fits = combine(&s, &sum, space, node, &total);
    if (fits && s.b.node[total].op == X_ARG)
        replacement = s.leaf[s.b.node[total].arg[0]];
    else
        fits = fits && scope_extract(&s, total, type_matrix(space.dim[0], space.dim[1]), REGION_OUTPUT, node, &replacement);
    if (!fits || replacement.node == node) {
        event_undo(d->context);
        draft_refuse(d, node, NO_VAL, d->node[node].span, "%s not distributed: it %s", draft_label(d, node),
                     fits ? "is what it would follow from" : "would read too many values");
        return;
    }
    uint32_t sums = 0;
    for (uint32_t i = 0; i < sum.terms; i++) sums += sum.term[i].factors > 0;
    pass_remark(d->context, true, d->node[node].span, "%s follows from %u sum%s of its factors", draft_label(d, node), sums,
                sums == 1 ? "" : "s");
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
    if (!scope_find(&s, scope_leaf(&s, x), space, REGION_MOMENTS, &moments)) return;
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

static bool is_sum(const Draft *d, uint32_t id) {
    const Node *n = &d->node[id];
    return !n->dead && n->op == OP_MAP && n->nregions == 1 && n->regions[0].role == REGION_REDUCE;
}

Graph *pass_squeeze(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++)
        if (is_sum(d, order[i])) squeeze_sum(d, order[i]);
    order = draft_walk(d, &n); /* with the sums that were made */
    for (uint32_t i = 0; i < n; i++)
        if (is_sum(d, order[i])) take_from_moments(d, order[i]);
    return draft_finish(d);
}
