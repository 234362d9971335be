/* The elementwise ops of the language as Exprs. Extrema are written max(constant, x): by the definition in ir/expr.h the second
 * operand survives if it is NaN, so a network that has diverged shows it in the loss, as in PyTorch. */
#include "ir/ir.h"

/* min(max(x + 3, 0), 6) / 6: x + 3 is exact near -3, where x/6 + 1/2 would be the rounding of x/6 and little else. */
static uint16_t hard_sigmoid(ExprBuilder *b, uint16_t x) {
    uint16_t line = expr_binary(b, X_ADD, x, expr_const(b, 3));
    uint16_t clamped = expr_binary(b, X_MIN, expr_const(b, 6), expr_binary(b, X_MAX, expr_const(b, 0), line));
    return expr_binary(b, X_MUL, clamped, expr_const(b, 1.0 / 6));
}

bool op_elementwise(ExprBuilder *b, Op op, uint16_t x, uint16_t y, uint16_t *body) {
    switch (op) {
    case OP_RELU: *body = expr_binary(b, X_MAX, expr_const(b, 0), x); return true;
    case OP_SIGMOID: *body = expr_unary(b, X_SIGMOID, x); return true;
    case OP_TANH: *body = expr_unary(b, X_TANH, x); return true;
    case OP_HARD_SIGMOID: *body = hard_sigmoid(b, x); return true;
    case OP_HARD_SWISH: *body = expr_binary(b, X_MUL, x, hard_sigmoid(b, x)); return true;
    case OP_SILU: *body = expr_binary(b, X_MUL, x, expr_unary(b, X_SIGMOID, x)); return true;
    case OP_IDENTITY: *body = x; return true;
    case OP_ADD: *body = expr_binary(b, X_ADD, x, y); return true;
    case OP_SUB: *body = expr_binary(b, X_SUB, x, y); return true;
    case OP_MUL: *body = expr_binary(b, X_MUL, x, y); return true;
    case OP_DIV: *body = expr_binary(b, X_DIV, x, y); return true;
    default: return false;
    }
}
