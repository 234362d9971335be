/* Growing Exprs. Every node passes through `fold` (constants, and identities that hold for every input) and `share` (an
 * equal node is found again), so a finished Expr holds no computation twice. Rules only ever return an existing node or
 * one of strictly fewer operations, so folding ends. */
#include "ir/expr.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUILDER_MAX = UINT16_MAX };

ExprBuilder expr_builder(Arena *arena) { return (ExprBuilder){.arena = arena}; }

static uint16_t append(ExprBuilder *b, ExprNode node) {
    if (b->count == BUILDER_MAX) {
        fprintf(stderr, "netc: internal error: an elementwise expression has more than %d operations\n", BUILDER_MAX);
        exit(70);
    }
    ARENA_GROW(b->arena, b->node, b->count, &b->capacity);
    b->node[b->count] = node;
    return (uint16_t)b->count++;
}

static uint16_t share(ExprBuilder *b, ExprNode node) {
    for (uint32_t i = b->count; i-- > 0;) {
        const ExprNode *n = &b->node[i];
        if (n->op == node.op && memcmp(n->arg, node.arg, sizeof node.arg) == 0 &&
            memcmp(&n->value, &node.value, sizeof node.value) == 0)
            return (uint16_t)i;
    }
    return append(b, node);
}

uint16_t expr_arg(ExprBuilder *b, uint32_t index) { return share(b, (ExprNode){.op = X_ARG, .arg = {(uint16_t)index}}); }

uint16_t expr_const(ExprBuilder *b, double value) { return share(b, (ExprNode){.op = X_CONST, .value = value}); }

uint16_t expr_leaf(ExprBuilder *b, ExprOp op) { return share(b, (ExprNode){.op = (uint8_t)op}); }

static bool is_const(const ExprBuilder *b, uint16_t node, double *value) {
    if (b->node[node].op != X_CONST) return false;
    *value = b->node[node].value;
    return true;
}

static bool is_exactly(const ExprBuilder *b, uint16_t node, double value) {
    return b->node[node].op == X_CONST && memcmp(&b->node[node].value, &value, sizeof value) == 0;
}

/* x / 2^k and x * 2^-k round alike; both powers must be normal in f32, where kernels compute. */
static bool exact_reciprocal(double value, double *reciprocal) {
    int exponent;
    if (!isfinite(value) || fabs(frexp(value, &exponent)) != 0.5 || abs(exponent - 1) > 126) return false;
    *reciprocal = 1 / value;
    return true;
}

static double apply(ExprOp op, double a, double c) {
    ExprNode node[3] = {{.op = X_ARG, .arg = {0}}, {.op = X_ARG, .arg = {1}}, {.op = (uint8_t)op, .arg = {0, 1}}};
    return expr_eval(&(Expr){3, node}, (double[]){a, c}, 0, 0);
}

uint16_t expr_unary(ExprBuilder *b, ExprOp op, uint16_t a) {
    double value;
    if (is_const(b, a, &value)) return expr_const(b, apply(op, value, 0));
    if (op == X_NEG && b->node[a].op == X_NEG) return b->node[a].arg[0];
    return share(b, (ExprNode){.op = (uint8_t)op, .arg = {a}});
}

static uint16_t fold_add(ExprBuilder *b, uint16_t a, uint16_t c) {
    if (is_exactly(b, c, -0.0)) return a;
    if (b->node[c].op == X_NEG) return expr_binary(b, X_SUB, a, b->node[c].arg[0]);
    if (b->node[a].op == X_NEG) return expr_binary(b, X_SUB, c, b->node[a].arg[0]);
    return share(b, (ExprNode){.op = X_ADD, .arg = {a, c}});
}

static uint16_t fold_sub(ExprBuilder *b, uint16_t a, uint16_t c) {
    if (is_exactly(b, c, 0.0)) return a;
    if (is_exactly(b, a, -0.0)) return expr_unary(b, X_NEG, c);
    if (b->node[c].op == X_NEG) return expr_binary(b, X_ADD, a, b->node[c].arg[0]);
    return share(b, (ExprNode){.op = X_SUB, .arg = {a, c}});
}

static uint16_t fold_mul(ExprBuilder *b, uint16_t a, uint16_t c) {
    if (is_exactly(b, c, 1.0)) return a;
    if (is_exactly(b, c, -1.0)) return expr_unary(b, X_NEG, a);
    return share(b, (ExprNode){.op = X_MUL, .arg = {a, c}});
}

static uint16_t fold_div(ExprBuilder *b, uint16_t a, uint16_t c) {
    double value, reciprocal;
    if (is_const(b, c, &value) && exact_reciprocal(value, &reciprocal))
        return expr_binary(b, X_MUL, a, expr_const(b, reciprocal));
    return share(b, (ExprNode){.op = X_DIV, .arg = {a, c}});
}

/* max(max(x, y), y) and max(x, max(x, y)) are max(x, y), a NaN on either side included; min likewise. */
static uint16_t fold_extremum(ExprBuilder *b, ExprOp op, uint16_t a, uint16_t c) {
    if (a == c) return a;
    if (b->node[a].op == op && b->node[a].arg[1] == c) return a;
    if (b->node[c].op == op && b->node[c].arg[0] == a) return c;
    return share(b, (ExprNode){.op = (uint8_t)op, .arg = {a, c}});
}

uint16_t expr_binary(ExprBuilder *b, ExprOp op, uint16_t a, uint16_t c) {
    double left, right;
    if (is_const(b, a, &left) && is_const(b, c, &right)) return expr_const(b, apply(op, left, right));
    if (op == X_ADD || op == X_MUL) { /* commutative: constants stand right, otherwise the earlier node left */
        bool swap = b->node[a].op == X_CONST || (b->node[c].op != X_CONST && c < a);
        if (swap) {
            uint16_t t = a;
            a = c;
            c = t;
        }
    }
    switch (op) {
    case X_ADD: return fold_add(b, a, c);
    case X_SUB: return fold_sub(b, a, c);
    case X_MUL: return fold_mul(b, a, c);
    case X_DIV: return fold_div(b, a, c);
    case X_MAX:
    case X_MIN: return fold_extremum(b, op, a, c);
    default: return share(b, (ExprNode){.op = (uint8_t)op, .arg = {a, c}});
    }
}

uint16_t expr_select(ExprBuilder *b, uint16_t condition, uint16_t yes, uint16_t no) {
    double value;
    if (yes == no) return yes;
    if (is_const(b, condition, &value)) return value <= 0 ? no : yes;
    return share(b, (ExprNode){.op = X_SELECT, .arg = {condition, yes, no}});
}

/* Adds a copy of node n whose operands are operand[0..2]. */
static uint16_t add_node(ExprBuilder *b, const ExprNode *n, const uint16_t operand[3]) {
    switch (expr_op_operands((ExprOp)n->op)) {
    case 1: return expr_unary(b, (ExprOp)n->op, operand[0]);
    case 2: return expr_binary(b, (ExprOp)n->op, operand[0], operand[1]);
    default: return expr_select(b, operand[0], operand[1], operand[2]);
    }
}

uint16_t expr_inline(ExprBuilder *b, const Expr *body, const uint16_t *arg_map, uint16_t acc, uint16_t out) {
    uint16_t *map = ARENA_ARRAY(b->arena, uint16_t, body->count);
    for (uint32_t i = 0; i < body->count; i++) {
        const ExprNode *n = &body->node[i];
        uint16_t operand[3] = {0, 0, 0};
        for (int k = 0; k < expr_op_operands((ExprOp)n->op); k++) operand[k] = map[n->arg[k]];
        switch (n->op) {
        case X_ARG: map[i] = arg_map[n->arg[0]]; break;
        case X_CONST: map[i] = expr_const(b, n->value); break;
        case X_ACC: map[i] = acc; break;
        case X_OUT: map[i] = out; break;
        default: map[i] = add_node(b, n, operand); break;
        }
    }
    return map[body->count - 1];
}

/* Of an Expr that is being finished: what it needs, where each node of the builder stands in it, and which do already. */
typedef struct Finish {
    const ExprBuilder *b;
    Expr *e;
    uint16_t *number;
    bool *placed;
} Finish;

/* Operands that are leaves come first: operations stand before their readers anyway. */
static void place(Finish *f, uint16_t i) {
    ExprNode node = f->b->node[i];
    if (f->placed[i]) return;
    for (int k = 0; k < expr_op_operands((ExprOp)node.op); k++) {
        if (!f->placed[node.arg[k]]) place(f, node.arg[k]);
        node.arg[k] = f->number[node.arg[k]];
    }
    f->placed[i] = true;
    f->number[i] = (uint16_t)f->e->count;
    f->e->node[f->e->count++] = node;
}

const Expr *expr_finish(ExprBuilder *b, uint16_t root) {
    uint32_t size = (uint32_t)root + 1, count = 0;
    bool *needed = ARENA_ARRAY(b->arena, bool, size);
    needed[root] = true;
    for (uint32_t i = size; i-- > 0;) {
        if (!needed[i]) continue;
        count++;
        for (int k = 0; k < expr_op_operands((ExprOp)b->node[i].op); k++) needed[b->node[i].arg[k]] = true;
    }
    Expr *e = ARENA_NEW(b->arena, Expr);
    e->node = ARENA_ARRAY(b->arena, ExprNode, count);
    Finish f = {b, e, ARENA_ARRAY(b->arena, uint16_t, size), ARENA_ARRAY(b->arena, bool, size)};
    for (uint32_t i = 0; i < size; i++)
        if (needed[i] && (expr_op_operands((ExprOp)b->node[i].op) || i == root)) place(&f, (uint16_t)i);
    return e;
}

/* ---- derivative ---- */

/* Forward mode: beside each node of e stand its value and its tangent in the builder. NONE is a tangent that is zero
 * because nothing below depends on the argument; it never becomes a node, since x * 0 could not be folded away. */
typedef struct Dual {
    uint16_t value, tangent;
} Dual;

enum { NONE = UINT16_MAX };

/* What a mask leaves out stays zero, whatever it is multiplied by: infinity too. */
static uint16_t scaled(ExprBuilder *b, uint16_t tangent, uint16_t factor) {
    if (tangent == NONE) return NONE;
    ExprNode n = b->node[tangent];
    if (n.op == X_SELECT && is_exactly(b, n.arg[2], 0.0)) return expr_select(b, n.arg[0], scaled(b, n.arg[1], factor), n.arg[2]);
    if (n.op == X_SELECT && is_exactly(b, n.arg[1], 0.0)) return expr_select(b, n.arg[0], n.arg[1], scaled(b, n.arg[2], factor));
    return expr_binary(b, X_MUL, tangent, factor);
}

static uint16_t sum(ExprBuilder *b, uint16_t a, uint16_t c) {
    if (a == NONE) return c;
    return c == NONE ? a : expr_binary(b, X_ADD, a, c);
}

static uint16_t difference(ExprBuilder *b, uint16_t a, uint16_t c) {
    if (c == NONE) return a;
    return a == NONE ? expr_unary(b, X_NEG, c) : expr_binary(b, X_SUB, a, c);
}

static uint16_t zero(ExprBuilder *b) { return expr_const(b, 0); }

static uint16_t chosen(ExprBuilder *b, uint16_t condition, uint16_t yes, uint16_t no) {
    if (yes == NONE && no == NONE) return NONE;
    return expr_select(b, condition, yes == NONE ? zero(b) : yes, no == NONE ? zero(b) : no);
}

/* y is the node's own value, a its operand's value and d that operand's tangent, which is there. */
static uint16_t unary_tangent(ExprBuilder *b, ExprOp op, uint16_t y, uint16_t a, uint16_t d) {
    switch (op) {
    case X_NEG: return expr_unary(b, X_NEG, d);
    case X_EXP: return scaled(b, d, y);
    case X_LOG: return expr_binary(b, X_DIV, d, a);
    case X_SQRT: return expr_binary(b, X_DIV, scaled(b, d, expr_const(b, 0.5)), y);
    case X_RSQRT: { /* -y^3 / 2 */
        uint16_t cube = expr_binary(b, X_MUL, expr_binary(b, X_MUL, y, y), y);
        return scaled(b, d, expr_binary(b, X_MUL, cube, expr_const(b, -0.5)));
    }
    case X_TANH: return scaled(b, d, expr_binary(b, X_SUB, expr_const(b, 1), expr_binary(b, X_MUL, y, y)));
    case X_ABS: { /* 0 at 0 and of a NaN */
        uint16_t above = expr_binary(b, X_LESS, zero(b), a), below = expr_binary(b, X_LESS, a, zero(b));
        return expr_select(b, above, d, expr_select(b, below, expr_unary(b, X_NEG, d), zero(b)));
    }
    case X_EXPM1: return scaled(b, d, expr_binary(b, X_ADD, y, expr_const(b, 1)));
    case X_LOG1P: return expr_binary(b, X_DIV, d, expr_binary(b, X_ADD, a, expr_const(b, 1)));
    case X_ERF: { /* 2 / sqrt(pi) exp(-a^2) */
        uint16_t bell = expr_unary(b, X_EXP, expr_unary(b, X_NEG, expr_binary(b, X_MUL, a, a)));
        return scaled(b, d, expr_binary(b, X_MUL, bell, expr_const(b, 1.1283791670955126)));
    }
    default: /* sigmoid */ return scaled(b, d, expr_binary(b, X_MUL, y, expr_binary(b, X_SUB, expr_const(b, 1), y)));
    }
}

/* a^b: b a^(b-1) and y log(a), which is 0 where a is 0 and y does not fall to it from infinity. */
static uint16_t power_tangent(ExprBuilder *b, uint16_t y, Dual base, Dual exponent) {
    uint16_t less = expr_binary(b, X_SUB, exponent.value, expr_const(b, 1));
    uint16_t slope = expr_binary(b, X_MUL, exponent.value, expr_binary(b, X_POW, base.value, less));
    uint16_t still = expr_binary(b, X_EQUAL, exponent.value, zero(b)); /* a^0 is 1 everywhere */
    if (base.tangent != NONE) slope = expr_select(b, still, zero(b), slope);
    uint16_t of_base = base.tangent == NONE ? NONE : scaled(b, slope, base.tangent);
    if (exponent.tangent == NONE) return of_base;
    uint16_t flat = expr_binary(b, X_MUL, expr_binary(b, X_EQUAL, base.value, zero(b)),
                                expr_binary(b, X_LESS_EQUAL, zero(b), exponent.value));
    uint16_t growth = expr_binary(b, X_MUL, y, expr_unary(b, X_LOG, base.value));
    return sum(b, of_base, scaled(b, expr_select(b, flat, zero(b), growth), exponent.tangent));
}

/* Where both are equal a constant wins, whichever side it stands on, so relu'(0) = 0. */
static uint16_t extremum_tangent(ExprBuilder *b, ExprOp op, Dual l, Dual r) {
    bool flip = b->node[l.value].op == X_CONST;
    Dual first = flip ? r : l, second = flip ? l : r;
    if (op == X_MAX) return chosen(b, expr_binary(b, X_SUB, first.value, second.value), first.tangent, second.tangent);
    /* a NaN takes the second, as where PyTorch clamps: first if second > first, but not if nobody can tell */
    uint16_t below = expr_binary(b, X_SUB, second.value, first.value), above = expr_binary(b, X_SUB, first.value, second.value);
    return chosen(b, below, chosen(b, above, second.tangent, first.tangent), second.tangent);
}

static uint16_t binary_tangent(ExprBuilder *b, ExprOp op, uint16_t y, Dual l, Dual r) {
    switch (op) {
    case X_ADD: return sum(b, l.tangent, r.tangent);
    case X_SUB: return difference(b, l.tangent, r.tangent);
    case X_MUL: return sum(b, scaled(b, l.tangent, r.value), scaled(b, r.tangent, l.value));
    case X_DIV: {
        uint16_t d = difference(b, l.tangent, scaled(b, r.tangent, y));
        return d == NONE ? NONE : expr_binary(b, X_DIV, d, r.value);
    }
    case X_POW: return l.tangent == NONE && r.tangent == NONE ? NONE : power_tangent(b, y, l, r);
    case X_MAX:
    case X_MIN: return extremum_tangent(b, op, l, r);
    default: return NONE; /* comparisons */
    }
}

static Dual derive_node(ExprBuilder *b, const ExprNode *n, const Dual *dual, uint32_t index, const uint16_t *arg_map) {
    switch (n->op) {
    case X_ARG:
        return (Dual){arg_map ? arg_map[n->arg[0]] : expr_arg(b, n->arg[0]), n->arg[0] == index ? expr_const(b, 1) : NONE};
    case X_CONST: return (Dual){expr_const(b, n->value), NONE};
    case X_ACC:
    case X_OUT: return (Dual){expr_leaf(b, (ExprOp)n->op), NONE};
    default: break;
    }
    Dual operand[3] = {{0, NONE}, {0, NONE}, {0, NONE}};
    uint16_t value[3] = {0, 0, 0};
    int operands = expr_op_operands((ExprOp)n->op);
    for (int k = 0; k < operands; k++) operand[k] = dual[n->arg[k]], value[k] = operand[k].value;
    Dual result = {add_node(b, n, value), NONE};
    if (operands == 1 && operand[0].tangent != NONE)
        result.tangent = unary_tangent(b, (ExprOp)n->op, result.value, value[0], operand[0].tangent);
    if (operands == 2) result.tangent = binary_tangent(b, (ExprOp)n->op, result.value, operand[0], operand[1]);
    if (operands == 3) result.tangent = chosen(b, value[0], operand[1].tangent, operand[2].tangent);
    return result;
}

uint16_t expr_derivative(ExprBuilder *b, const Expr *e, uint32_t index, const uint16_t *arg_map) {
    Dual *dual = ARENA_ARRAY(b->arena, Dual, e->count);
    for (uint32_t i = 0; i < e->count; i++) dual[i] = derive_node(b, &e->node[i], dual, index, arg_map);
    uint16_t tangent = dual[e->count - 1].tangent;
    return tangent == NONE ? expr_const(b, 0) : tangent;
}
