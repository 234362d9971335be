/* Sums of terms. See term_sums.h.
 *
 * Those that follow from others:
 *   - of x - mean, from the moments that the mean is of, which know it for each image;
 *   - of x - k and its square, where k is each image's and follows from x: from Σ x and Σ x², in double (image_moments);
 *   - of u*p over an image, where u is the same along a line (or a column, or all of the image): Σ over lines of u * Σ p along
 * each. The inner sums are those that stand for gates of lines and columns and for their gradients, so the outer ones, over a
 * line or a column of numbers, need no feature map. */
#include "passes/term_sums.h"
#include "passes/fuse.h"

enum { OVER_IMAGE = OVER_HEIGHT | OVER_WIDTH };

static Summing summing(Type space, int over, bool images) {
    DraftRegion region = {.role = images ? REGION_REDUCE : REGION_SUM_TO, .operand = images ? 0 : over};
    return (Summing){space, region, over};
}

Summing summing_of(const Draft *d, uint32_t node) {
    const DraftRegion *r = &d->node[node].regions[0];
    bool images = r->role == REGION_REDUCE;
    return summing(d->node[node].space, images ? OVER_IMAGE : r->operand, images);
}

double summing_elements(const Summing *of) {
    return (double)type_elements(of->space) / (double)type_elements(type_of_region(REGION_SUM_TO, of->over, of->space));
}

Type summing_type(const Summing *of) { return type_of_region(of->region.role, of->region.operand, of->space); }

/* ---- products ---- */

/* The least space over which a node of the scope changes: 1 along height or width where it does not. */
static Type extent_of(Scope *s, uint16_t node, Type space) {
    const Expr *e = expr_finish(&s->b, node);
    Type small = space;
    small.dim[2] = small.dim[3] = 1;
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op != X_ARG) continue;
        Type t = draft_type(s->d, s->leaf[e->node[i].arg[0]]);
        for (int k = 2; k < 4 && t.rank == 4; k++) small.dim[k] = t.dim[k] > 1 ? t.dim[k] : small.dim[k];
    }
    return small;
}

/* The sum of a product, over its own extent: each of its pixels counts `times`. `like`: NULL, only if there is one. */
static bool sum_of_product(Scope *s, uint16_t product, const Summing *of, const uint32_t *like, TermSum *out) {
    Summing own = *of;
    own.space = extent_of(s, product, of->space);
    *out = (TermSum){.times = summing_elements(of) / summing_elements(&own)};
    return like ? scope_extract(s, product, own.space, own.region, *like, &out->sum)
                : scope_find(s, product, own.space, own.region, &out->sum);
}

bool term_sum_exists(Scope *s, const Term *t, const Summing *of, Ref *sum) {
    Linear l = {.scope = s};
    TermSum found;
    bool exists = sum_of_product(s, linear_product(&l, t), of, NULL, &found);
    *sum = found.sum;
    return exists;
}

bool term_joins_a_loop(Scope *s, const Term *t) {
    Linear l = {.scope = s};
    const Expr *e = expr_finish(&s->b, linear_product(&l, t));
    Ref only = {NO_VAL, 0};
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op != X_ARG) continue;
        Ref leaf = s->leaf[e->node[i].arg[0]];
        if (!draft_is_element(s->d, leaf) || (only.node != NO_VAL && !ref_equal(only, leaf))) return false;
        only = leaf;
    }
    return only.node != NO_VAL && fuse_made_by_loop(s->d, only);
}

/* ---- deviations ---- */

/* Is the factor x - centre (linear.h)? */
static bool is_deviation(const Scope *s, uint16_t factor, Ref *x, Ref *centre) {
    const ExprNode *n = &s->b.node[factor];
    if (n->op != X_ARG || !fuse_is_map_output(s->d, s->leaf[n->arg[0]])) return false;
    Ref map = s->leaf[n->arg[0]];
    const Expr *e = draft_region(s->d, map)->expr;
    return linear_is_deviation(s->d, s->d->node[map.node].args, e, e->count - 1, x, centre);
}

/* Is the term x - mean, of whose moments that mean is? Then those know its sum over each image. */
static bool find_deviations(const Scope *s, const Term *t, Type space, Ref *sum) {
    const Draft *d = s->d;
    Ref x, mean;
    if (t->factors != 1 || !is_deviation(s, t->factor[0], &x, &mean) || d->node[mean.node].op != OP_MOMENTS) return false;
    if (!type_equal(draft_type(d, x), space)) return false; /* each of its pixels counts several times */
    Ref sums = d->node[mean.node].args[0];
    const DraftRegion *region = draft_region(d, sums);
    if (d->node[sums.node].op != OP_MAP || region->expr->count != 1 || region->expr->node[0].op != X_ARG) return false;
    *sum = (Ref){mean.node, 2};
    return ref_equal(d->node[sums.node].args[region->expr->node[0].arg[0]], x);
}

/* Is the term x - centre or its square, where the centre is each image's and follows from x? */
static bool about_centre(const Scope *s, const Term *t, Ref *x, Ref *centre) {
    bool power = t->factors == 1 || (t->factors == 2 && t->factor[0] == t->factor[1]);
    return power && is_deviation(s, t->factor[0], x, centre) && draft_type(s->d, *centre).rank == 2;
}

/* The sum of such a term, from image_moments about the centre, which are found again. */
static Ref moments_about(Scope *s, const Term *t, Type space, Ref x, Ref centre, uint32_t like) {
    Draft *d = s->d;
    Ref args[2] = {{0, 0}, centre};
    DraftRegion region = {.role = REGION_MOMENTS};
    scope_extract(s, scope_leaf(s, x), space, region, like, &args[0]); /* a single argument fits */
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

/* ---- lines and columns ---- */

/* The term's factors that do not change in the dimensions `along`, and the others. False if either are none. */
static bool split(Scope *s, const Term *t, Type space, int along, Term *outer, Term *inner) {
    *outer = *inner = (Term){.coefficient = t->coefficient};
    for (uint32_t i = 0; i < t->factors; i++) {
        Term *part = type_is_one(extent_of(s, t->factor[i], space), along) ? outer : inner;
        part->factor[part->factors++] = t->factor[i];
    }
    return outer->factors && inner->factors;
}

/* Is the term u*p with a u that is the same all over an image? Then its sum is u times that of p. */
static bool split_image(Scope *s, const Term *t, const Summing *of, Term *u, Term *p) {
    return of->region.role == REGION_REDUCE && split(s, t, of->space, OVER_IMAGE, u, p);
}

/* Is it u*p with a u that is the same along lines, or columns, and are there sums of p along these? */
static bool split_lines(Scope *s, const Term *t, const Summing *of, Term *u, Summing *along, TermSum *p) {
    static const int directions[] = {OVER_WIDTH, OVER_HEIGHT};
    Linear l = {.scope = s};
    Term inner;
    for (int i = 0; of->region.role == REGION_REDUCE && i < 2; i++) {
        *along = summing(of->space, directions[i], false);
        if (split(s, t, of->space, directions[i], u, &inner) && sum_of_product(s, linear_product(&l, &inner), along, NULL, p))
            return true;
    }
    return false;
}

/* The sum over an image of a term that one of these takes apart. */
static bool sum_of_parts(Scope *s, const Term *t, const Summing *of, uint32_t like, TermSum *out) {
    Linear l = {.scope = s};
    Term u, p;
    Summing along;
    TermSum part;
    if (split_image(s, t, of, &u, &p)) {
        along = *of;
        if (!term_sum(s, &p, of, like, &part)) return false;
    } else if (split_lines(s, t, of, &u, &along, &part))
        part.by_lines = true;
    else
        return false;
    Summing lines = summing(type_of_region(REGION_SUM_TO, along.over, of->space), OVER_IMAGE, true);
    uint16_t product = expr_binary(&s->b, X_MUL, linear_product(&l, &u), scope_leaf(s, part.sum));
    if (!sum_of_product(s, product, &lines, &like, out)) return false;
    out->times *= part.times;
    out->by_lines = part.by_lines;
    return true;
}

/* ---- all of them ---- */

bool term_sum_follows(Scope *s, const Term *t, const Summing *of) {
    Ref x, centre;
    Term u, p;
    Summing along;
    TermSum part;
    if (of->region.role != REGION_REDUCE) return false;
    return find_deviations(s, t, of->space, &x) || about_centre(s, t, &x, &centre) || split_image(s, t, of, &u, &p) ||
           split_lines(s, t, of, &u, &along, &part);
}

bool term_sum_known(Scope *s, const Term *t, const Summing *of) {
    Ref x, centre, sum;
    Term u, p;
    if (of->region.role == REGION_REDUCE && about_centre(s, t, &x, &centre)) return fuse_made_by_loop(s->d, x);
    if (split_image(s, t, of, &u, &p)) return term_sum_known(s, &p, of);
    return term_sum_follows(s, t, of) || term_sum_exists(s, t, of, &sum);
}

bool term_sum(Scope *s, const Term *t, const Summing *of, uint32_t like, TermSum *out) {
    Linear l = {.scope = s};
    Ref x, centre;
    *out = (TermSum){.times = 1};
    if (of->region.role == REGION_REDUCE && about_centre(s, t, &x, &centre)) {
        out->sum = moments_about(s, t, of->space, x, centre, like);
        return true;
    }
    if (of->region.role == REGION_REDUCE && find_deviations(s, t, of->space, &out->sum)) return true;
    return sum_of_parts(s, t, of, like, out) || sum_of_product(s, linear_product(&l, t), of, &like, out);
}
