/* squeeze: sums over H and W of affine maps become arithmetic on sums that are made anyway.
 *
 *     Σ (k1*p*q + k2*p + k3)  =  k1 * Σ p*q  +  k2 * Σ p  +  H*W * k3          k constant over the pixels of an image
 *     Σ (x - mean)            =  what `moments`, of which the mean is, knows of each image
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
 *   - Another map is looked through where it is what is summed, and only if all resulting sums exist already.
 * It never costs a sweep: every new sum reads a subset of what the old one read (through maps that are not stored), so at worst
 * all of them together are one sweep over the same operands (share_sweeps). Nonlinear parts (select, max, …) stay factors.
 *
 * Numerics. Where terms would cancel they stay together: deviations c - mean are factors, and squares of sums are not
 * multiplied out (linear.c). Running it twice changes nothing: the sums that it makes are bare.
 */
#include "passes/events.h"
#include "passes/fuse.h"
#include "passes/linear.h"

/* What is looked through beside maps that are not stored: nothing, or the summed map itself. */
typedef enum Depth { THROUGH_UNSTORED, THROUGH_SUMMED } Depth;

typedef struct Look {
    Depth depth;
    uint32_t level; /* how many maps are being looked through */
} Look;

static bool look_through(Linear *l, Ref ref, Sum *sum) {
    Draft *d = l->scope->d;
    Look *look = l->context;
    const DraftRegion *r = draft_region(d, ref);
    if (!r || d->node[ref.node].op != OP_MAP || r->role != REGION_OUTPUT || !draft_is_element(d, ref)) return false;
    bool unstored = draft_uses(d, ref) == 1 || draft_element_args(d, ref.node, r->expr) <= 1;
    bool allowed = unstored || (look->depth == THROUGH_SUMMED && look->level == 0);
    if (look->level >= pass_parameter(d->context, "max_looks") || !allowed) return false;
    look->level++;
    *sum = linear_sum(l, ref.node, r->expr);
    look->level--;
    return !linear_is_bare(l, sum) || l->scope->b.node[sum->term[0].factor[0]].op == X_ARG;
}

static Sum take_apart(Scope *s, uint32_t node, Depth depth) {
    Look look = {.depth = depth};
    Linear l = {.scope = s, .degree = LINEAR_MAX_FACTORS, .look_through = look_through, .context = &look};
    return linear_sum(&l, node, s->d->node[node].regions[0].expr);
}

/* Is the term, but for its coefficient, x - mean, of whose moments that mean is? Then those know its sum over each image. */
static bool find_deviations(const Scope *s, const Term *t, Ref *sum) {
    const Draft *d = s->d;
    const ExprNode *factor = &s->b.node[t->factor[0]];
    if (t->factors != 1 || factor->op != X_ARG || !fuse_is_map_output(d, s->leaf[factor->arg[0]])) return false;
    Ref map = s->leaf[factor->arg[0]], x, mean;
    const Expr *e = draft_region(d, map)->expr;
    if (!linear_is_deviation(d, d->node[map.node].args, e, e->count - 1, &x, &mean)) return false;
    Ref sums = d->node[mean.node].args[0];
    const DraftRegion *region = draft_region(d, sums);
    if (d->node[sums.node].op != OP_MAP || region->expr->count != 1 || region->expr->node[0].op != X_ARG) return false;
    *sum = (Ref){mean.node, 2};
    return ref_equal(d->node[sums.node].args[region->expr->node[0].arg[0]], x);
}

static bool find_sum(Scope *s, const Term *t, Type space, Ref *sum) {
    Linear l = {.scope = s};
    return find_deviations(s, t, sum) || scope_find(s, linear_product(&l, t), space, REGION_REDUCE, sum);
}

/* Do the sums of all terms exist already? */
static bool all_exist(Scope *s, const Sum *sum, Type space) {
    for (uint32_t i = 0; i < sum->terms; i++) {
        Ref found;
        if (sum->term[i].factors && !find_sum(s, &sum->term[i], space, &found)) return false;
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
            Ref part;
            if (!find_deviations(s, t, &part) && !scope_extract(s, linear_product(&l, t), space, REGION_REDUCE, like, &part))
                return false;
            value = scope_leaf(s, part);
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
    *sum = take_apart(s, node, THROUGH_SUMMED);
    if (one_bare_product(s, sum) || !all_exist(s, sum, space)) {
        *s = scope_open(d);
        *sum = take_apart(s, node, THROUGH_UNSTORED);
    }
    if (sum->terms > pass_parameter(d->context, "max_sums")) {
        draft_refuse(d, node, NO_VAL, d->node[node].span, "%s not distributed: it would become %u sums", draft_label(d, node),
                     sum->terms);
        return false;
    }
    Ref found;
    if (!one_bare_product(s, sum) || find_deviations(s, &sum->term[0], &found)) return true;
    if (!product_of_arguments(s, sum)) {
        explain(d, node);
        return false;
    }
    bool known = find_sum(s, &sum->term[0], space, &found); /* p*q becomes the sum's own body, unless it is that already */
    return !known || found.node != node;
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

Graph *pass_squeeze(const Graph *in, PassContext *context) {
    Draft *d = draft_open(in, context);
    uint32_t n, *order = draft_walk(d, &n);
    for (uint32_t i = 0; i < n; i++) {
        const Node *node = &d->node[order[i]];
        bool sum = node->op == OP_MAP && node->nregions == 1 && node->regions[0].role == REGION_REDUCE;
        if (sum && !node->dead) squeeze_sum(d, order[i]);
    }
    return draft_finish(d);
}
