/* Taking Exprs apart into sums of products. See linear.h.
 *
 * Bottom up: each node of the Expr has a Sum. Where the algebra ends (a nonlinear node, a product of too high a degree, too
 * many terms) the operands become nodes again and the new node is a factor.
 *
 * A product of two sums that share a factor is not multiplied out unless both are one term: (p + k)^2 as p*p + 2*k*p + k*k is
 * where a variance would cancel in f32, and s * (1 - s), of a sigmoid near 1, as s - s*s where a gradient would. Products of
 * different quantities, dr * (c - mean), are. */
#include "passes/linear.h"
#include <string.h>

static Sum constant_sum(uint16_t coefficient) { return (Sum){.term = {{.coefficient = coefficient}}, .terms = 1}; }

static Sum factor_sum(Linear *l, uint16_t node) {
    Term t = {.coefficient = expr_const(&l->scope->b, 1), .factor = {node}, .factors = 1};
    return (Sum){.term = {t}, .terms = 1};
}

static bool is_const(const Linear *l, uint16_t node, double value) {
    const ExprNode *n = &l->scope->b.node[node];
    return n->op == X_CONST && n->value == value;
}

static bool is_coefficient(const Sum *s) { return s->terms == 1 && s->term[0].factors == 0; }

bool linear_is_bare(const Linear *l, const Sum *s) {
    return s->terms == 1 && s->term[0].factors == 1 && is_const(l, s->term[0].coefficient, 1);
}

static bool same_factors(const Term *a, const Term *b) {
    return a->factors == b->factors && memcmp(a->factor, b->factor, a->factors * sizeof *a->factor) == 0;
}

/* sum += sign * term. False if there is no room. */
static bool add_term(Linear *l, Sum *sum, const Term *term, bool negative) {
    ExprBuilder *b = &l->scope->b;
    for (uint32_t i = 0; i < sum->terms; i++) {
        Term *t = &sum->term[i];
        if (!same_factors(t, term)) continue;
        t->coefficient = expr_binary(b, negative ? X_SUB : X_ADD, t->coefficient, term->coefficient);
        return true;
    }
    if (sum->terms == LINEAR_MAX_TERMS) return false;
    Term *t = &sum->term[sum->terms++];
    *t = *term;
    if (negative) t->coefficient = expr_unary(b, X_NEG, t->coefficient);
    return true;
}

static bool add(Linear *l, const Sum *a, const Sum *c, bool negative, Sum *out) {
    *out = *a;
    for (uint32_t i = 0; i < c->terms; i++) {
        if (!add_term(l, out, &c->term[i], negative)) return false;
    }
    return true;
}

static bool share_factor(const Sum *a, const Sum *c) {
    for (uint32_t i = 0; i < a->terms; i++) {
        for (uint32_t j = 0; j < c->terms; j++) {
            for (uint32_t p = 0; p < a->term[i].factors; p++) {
                for (uint32_t q = 0; q < c->term[j].factors; q++) {
                    if (a->term[i].factor[p] == c->term[j].factor[q]) return true;
                }
            }
        }
    }
    return false;
}

static void insert_factor(Term *t, uint16_t factor) {
    uint32_t at = t->factors++;
    for (; at > 0 && t->factor[at - 1] > factor; at--) t->factor[at] = t->factor[at - 1];
    t->factor[at] = factor;
}

static bool multiply(Linear *l, const Sum *a, const Sum *c, Sum *out) {
    bool several = a->terms > 1 || c->terms > 1;
    if (several && share_factor(a, c)) return false;
    *out = (Sum){.terms = 0};
    for (uint32_t i = 0; i < a->terms; i++) {
        for (uint32_t j = 0; j < c->terms; j++) {
            Term t = a->term[i];
            if (t.factors + c->term[j].factors > l->degree) return false;
            t.coefficient = expr_binary(&l->scope->b, X_MUL, t.coefficient, c->term[j].coefficient);
            for (uint32_t q = 0; q < c->term[j].factors; q++) insert_factor(&t, c->term[j].factor[q]);
            if (!add_term(l, out, &t, false)) return false;
        }
    }
    return true;
}

static Sum divide(Linear *l, const Sum *a, uint16_t divisor) {
    Sum out = *a;
    for (uint32_t i = 0; i < out.terms; i++) {
        out.term[i].coefficient = expr_binary(&l->scope->b, X_DIV, out.term[i].coefficient, divisor);
    }
    return out;
}

uint16_t linear_product(Linear *l, const Term *t) {
    if (t->factors == 0) return expr_const(&l->scope->b, 1);
    uint16_t product = t->factor[0];
    for (uint32_t i = 1; i < t->factors; i++) product = expr_binary(&l->scope->b, X_MUL, product, t->factor[i]);
    return product;
}

uint16_t linear_node(Linear *l, const Sum *sum) {
    ExprBuilder *b = &l->scope->b;
    uint16_t total = 0;
    bool first = true;
    for (int constant = 0; constant < 2; constant++) { /* the term without factors stands last */
        for (uint32_t i = 0; i < sum->terms; i++) {
            const Term *t = &sum->term[i];
            if ((t->factors == 0) != (constant == 1)) continue;
            /* 0 * x is no constant: it keeps a NaN, and makes one of infinity */
            uint16_t k = l->lift ? l->lift(l, t->coefficient) : t->coefficient;
            uint16_t node = t->factors ? expr_binary(b, X_MUL, linear_product(l, t), k) : k;
            total = first ? node : expr_binary(b, X_ADD, total, node);
            first = false;
        }
    }
    return first ? expr_const(b, 0) : total;
}

/* ---- nodes ---- */

/* x * select(c, k, 0) is select(c, x * k, 0): the mask of a relu's gradient, as PyTorch masks. */
static bool masked(Linear *l, const Sum *x, const Sum *mask, Sum *out) {
    ExprBuilder *b = &l->scope->b;
    if (!linear_is_bare(l, mask)) return false;
    ExprNode n = b->node[mask->term[0].factor[0]];
    if (n.op != X_SELECT || !is_const(l, n.arg[2], 0) || scope_rank(l->scope, n.arg[1]) == 4) return false;
    uint16_t value = expr_binary(b, X_MUL, linear_node(l, x), n.arg[1]);
    *out = factor_sum(l, expr_select(b, n.arg[0], value, n.arg[2]));
    return true;
}

static Sum product(Linear *l, const Sum *a, const Sum *c) {
    Sum out;
    if (multiply(l, a, c, &out)) return out;
    if (l->degree == 1 && (masked(l, a, c, &out) || masked(l, c, a, &out))) return out;
    return factor_sum(l, expr_binary(&l->scope->b, X_MUL, linear_node(l, a), linear_node(l, c)));
}

/* max(0, u) > 0 just when u > 0. */
static uint16_t condition_of(const Linear *l, uint16_t node) {
    const ExprNode *n = &l->scope->b.node[node];
    return n->op == X_MAX && is_const(l, n->arg[0], 0) ? n->arg[1] : node;
}

static Sum choice(Linear *l, const Sum *condition, const Sum *yes, const Sum *no) {
    ExprBuilder *b = &l->scope->b;
    uint16_t c = condition_of(l, linear_node(l, condition));
    bool zero = is_coefficient(no) && is_const(l, no->term[0].coefficient, 0);
    if (l->degree > 1 && zero && yes->terms == 1) { /* a constant factor comes out */
        Sum out = factor_sum(l, expr_select(b, c, linear_product(l, &yes->term[0]), linear_node(l, no)));
        out.term[0].coefficient = yes->term[0].coefficient;
        return out;
    }
    return factor_sum(l, expr_select(b, c, linear_node(l, yes), linear_node(l, no)));
}

static Sum node_sum(Linear *l, const ExprNode *n, const Sum *const operand[3]) {
    ExprBuilder *b = &l->scope->b;
    int operands = expr_op_operands((ExprOp)n->op);
    bool constant = true;
    for (int k = 0; k < operands; k++) constant = constant && is_coefficient(operand[k]);
    Sum out;
    if (n->op == X_NEG) {
        Sum zero = {.terms = 0};
        add(l, &zero, operand[0], true, &out);
        return out;
    }
    if ((n->op == X_ADD || n->op == X_SUB) && add(l, operand[0], operand[1], n->op == X_SUB, &out)) return out;
    if (n->op == X_MUL) return product(l, operand[0], operand[1]);
    if (n->op == X_DIV && is_coefficient(operand[1])) return divide(l, operand[0], operand[1]->term[0].coefficient);
    if (n->op == X_SELECT && !constant) return choice(l, operand[0], operand[1], operand[2]);
    uint16_t node[3] = {0, 0, 0}, made;
    for (int k = 0; k < operands; k++) node[k] = constant ? operand[k]->term[0].coefficient : linear_node(l, operand[k]);
    if (operands == 1)
        made = expr_unary(b, (ExprOp)n->op, node[0]);
    else if (operands == 2)
        made = expr_binary(b, (ExprOp)n->op, node[0], node[1]);
    else
        made = expr_select(b, node[0], node[1], node[2]);
    return constant ? constant_sum(made) : factor_sum(l, made);
}

/* What is read along a dimension that it lacks is of another space: it is not looked through. */
static Sum argument_sum(Linear *l, Ref ref, Type space) {
    Sum sum;
    bool same = type_equal(draft_type(l->scope->d, ref), space);
    if (same && l->look_through && l->look_through(l, ref, &sum)) return sum;
    uint16_t leaf = scope_leaf(l->scope, ref);
    Type t = draft_type(l->scope->d, ref);
    bool factor = t.rank == 4 && !(l->along && type_is_one(t, l->along));
    return factor ? factor_sum(l, leaf) : constant_sum(leaf);
}

/* What x is computed from, map by map: as long as that is a single feature map. */
static uint32_t origin(const Draft *d, Ref x) {
    while (d->node[x.node].op == OP_MAP && draft_element_args(d, x.node, draft_region(d, x)->expr) == 1) {
        const Node *n = &d->node[x.node];
        uint32_t i = 0;
        while (!draft_is_whole(d, x.node, n->args[i]) || !expr_uses_arg(draft_region(d, x)->expr, i)) i++;
        x = n->args[i];
    }
    return x.node;
}

bool linear_is_deviation(Draft *d, const Ref *args, const Expr *e, uint32_t node, Ref *x, Ref *mean) {
    const ExprNode *n = &e->node[node];
    if (n->op != X_SUB || e->node[n->arg[0]].op != X_ARG || e->node[n->arg[1]].op != X_ARG) return false;
    *x = args[e->node[n->arg[0]].arg[0]];
    *mean = args[e->node[n->arg[1]].arg[0]];
    if (!draft_is_element(d, *x)) return false;
    if (d->node[mean->node].op == OP_MOMENTS) return mean->slot == 0;
    Type of = draft_type(d, *x), t = draft_type(d, *mean);
    bool wider = t.rank == 2 || (t.rank == 4 && !type_equal(t, of)); /* an image's, a pixel's, a line's */
    return wider && draft_depends(d, mean->node, origin(d, *x));
}

Sum linear_sum(Linear *l, uint32_t node, const Expr *e) {
    Draft *d = l->scope->d;
    Arena *arena = d->arena;
    Ref x, mean;
    Sum *sum = ARENA_ARRAY(arena, Sum, e->count);
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *n = &e->node[i];
        const Sum *operand[3] = {NULL, NULL, NULL};
        for (int k = 0; k < expr_op_operands((ExprOp)n->op); k++) operand[k] = &sum[n->arg[k]];
        if (linear_is_deviation(d, d->node[node].args, e, i, &x, &mean))
            sum[i] = factor_sum(l, expr_binary(&l->scope->b, X_SUB, scope_leaf(l->scope, x), scope_leaf(l->scope, mean)));
        else if (n->op == X_ARG)
            sum[i] = argument_sum(l, d->node[node].args[n->arg[0]], d->node[node].space);
        else if (n->op == X_CONST)
            sum[i] = constant_sum(expr_const(&l->scope->b, n->value));
        else
            sum[i] = node_sum(l, n, operand);
    }
    return sum[e->count - 1];
}
