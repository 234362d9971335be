/* Exprs as data: the op table, comparison, queries and the reference semantics. Growing them is expr_build.c's. */
#include "ir/expr.h"
#include <math.h>
#include <string.h>

static const struct {
    const char *text;
    int operands;
} expr_table[] = {
#define X(id, text, n) {text, n},
    EXPR_OPS(X)
#undef X
};

const char *expr_op_text(ExprOp op) { return expr_table[op].text; }

int expr_op_operands(ExprOp op) { return expr_table[op].operands; }

/* Bits, not values: 0 and -0 differ, a NaN equals itself. */
static bool same_bits(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

static bool node_equal(const ExprNode *a, const ExprNode *b) {
    return a->op == b->op && a->arg[0] == b->arg[0] && a->arg[1] == b->arg[1] && a->arg[2] == b->arg[2] &&
           same_bits(a->value, b->value);
}

bool expr_equal(const Expr *a, const Expr *b) {
    if (a == b) return true;
    if (!a || !b || a->count != b->count) return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (!node_equal(&a->node[i], &b->node[i])) return false;
    }
    return true;
}

/* FNV-1a over the words of all nodes. */
static uint64_t mix(uint64_t hash, uint64_t word) {
    for (int i = 0; i < 8; i++) hash = (hash ^ (word >> (8 * i) & 0xFF)) * UINT64_C(0x100000001B3);
    return hash;
}

uint64_t expr_hash(const Expr *e) {
    uint64_t hash = mix(UINT64_C(0xCBF29CE484222325), e->count);
    for (uint32_t i = 0; i < e->count; i++) {
        const ExprNode *n = &e->node[i];
        uint64_t bits;
        memcpy(&bits, &n->value, sizeof bits);
        hash = mix(hash, (uint64_t)n->op | (uint64_t)n->arg[0] << 16 | (uint64_t)n->arg[1] << 32 | (uint64_t)n->arg[2] << 48);
        hash = mix(hash, bits);
    }
    return hash;
}

bool expr_uses_arg(const Expr *e, uint32_t index) {
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op == X_ARG && e->node[i].arg[0] == index) return true;
    }
    return false;
}

bool expr_uses_op(const Expr *e, ExprOp op) {
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->node[i].op == op) return true;
    }
    return false;
}

/* From -1 to 1, of two numbers: two rounds of splitmix64 (Steele, Lea and Flood, 2014). */
static double random_sign(uint64_t seed, double a, double b) {
    const double number[2] = {a, b};
    uint64_t z = seed;
    for (int i = 0; i < 2; i++) {
        uint64_t bits;
        memcpy(&bits, &number[i], sizeof bits);
        z = (z ^ bits) + 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
    }
    return (double)(z >> 11) * 0x1p-52 - 1;
}

/* A whole number that f32 has, with all below it: sums of such are exact in any order, as those that count positions are. */
static bool is_whole(double a) { return fabs(a) < 0x1p24 && a == (double)(int32_t)a; }

/* The sum or difference of a and b, of which n is the node. x - x is zero in any form. */
static double noisy(const ExprNoise *noise, const ExprNode *n, double sum, double a, double b) {
    if (!noise || n->arg[0] == n->arg[1] || (is_whole(a) && is_whole(b) && is_whole(sum))) return sum;
    return sum + noise->unit * (fabs(a) + fabs(b)) * random_sign(noise->seed, a, b);
}

double expr_eval(const Expr *e, const double *args, double acc, double out) { return expr_eval_noisy(e, args, acc, out, NULL); }

double expr_eval_noisy(const Expr *e, const double *args, double acc, double out, const ExprNoise *noise) {
    double v[EXPR_MAX_NODES];
    uint32_t count = e->count <= EXPR_MAX_NODES ? e->count : EXPR_MAX_NODES;
    for (uint32_t i = 0; i < count; i++) {
        const ExprNode *n = &e->node[i];
        double a = 0, b = 0;
        int operands = expr_table[n->op].operands;
        if (operands > 0) a = v[n->arg[0]];
        if (operands > 1) b = v[n->arg[1]];
        switch ((ExprOp)n->op) {
        case X_ARG: v[i] = args[n->arg[0]]; break;
        case X_CONST: v[i] = n->value; break;
        case X_ACC: v[i] = acc; break;
        case X_OUT: v[i] = out; break;
        case X_ADD: v[i] = noisy(noise, n, a + b, a, b); break;
        case X_SUB: v[i] = noisy(noise, n, a - b, a, b); break;
        case X_MUL: v[i] = a * b; break;
        case X_DIV: v[i] = a / b; break;
        case X_MAX: v[i] = a > b ? a : b; break;
        case X_MIN: v[i] = a < b ? a : b; break;
        case X_NEG: v[i] = -a; break;
        case X_EXP: v[i] = exp(a); break;
        case X_LOG: v[i] = log(a); break;
        case X_SQRT: v[i] = sqrt(a); break;
        case X_RSQRT: v[i] = 1 / sqrt(a); break;
        case X_TANH: v[i] = tanh(a); break;
        case X_SIGMOID: v[i] = 1 / (1 + exp(-a)); break;
        case X_ABS: v[i] = fabs(a); break;
        case X_EXPM1: v[i] = expm1(a); break;
        case X_LOG1P: v[i] = log1p(a); break;
        case X_ERF: v[i] = erf(a); break;
        case X_POW: v[i] = pow(a, b); break;
        case X_LESS: v[i] = a < b; break;
        case X_LESS_EQUAL: v[i] = a <= b; break;
        case X_EQUAL: v[i] = a == b; break;
        case X_SELECT: v[i] = a <= 0 ? v[n->arg[2]] : b; break;
        case EXPR_OP_COUNT: break;
        }
    }
    return count ? v[count - 1] : 0;
}
