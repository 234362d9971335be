/* Expr: a small straight-line scalar program, the body of every elementwise computation.
 *
 * Node k may use nodes 0..k-1; the last node is the value. Leaves read an argument of the graph value that the Expr
 * belongs to (X_ARG i reads args[i] at the current element), a constant, or, inside a kernel op, the kernel's own
 * accumulator (X_ACC: the raw result, X_OUT: the result after the epilogue).
 *
 * How an argument is read (its Access) follows from ranks alone, the iteration space being the op's result type:
 *     iteration rank 4 [N,C,H,W]: rank 4 per element, rank 2 [N,C] per image and channel, rank 1 [C] per channel, rank 0 scalar;
 *                                 rank 4 with 1 in place of C, H or W is read at the same element along that dimension
 *     iteration rank 2 [N,C]:     rank 2 per element, rank 1 [C] per channel, rank 0 scalar
 *     iteration rank 1 / 0:       same rank per element, rank 0 scalar
 */
#ifndef NETC_IR_EXPR_H
#define NETC_IR_EXPR_H
#include "ir/arena.h"
#include <stdbool.h>
#include <stdint.h>

/*      id       text      operands */
#define EXPR_OPS(X)                                                                                                              \
    X(X_ARG, "arg", 0)     /* args[index] at this element */                                                                     \
    X(X_CONST, "const", 0) /* value */                                                                                           \
    X(X_ACC, "acc", 0)     /* a kernel op's raw result */                                                                        \
    X(X_OUT, "out", 0)     /* a kernel op's result after its epilogue */                                                         \
    X(X_ADD, "add", 2)                                                                                                           \
    X(X_SUB, "sub", 2)                                                                                                           \
    X(X_MUL, "mul", 2)                                                                                                           \
    X(X_DIV, "div", 2)                                                                                                           \
    X(X_MAX, "max", 2) /* a > b ? a : b, so a NaN in b survives as in x86 max */                                                 \
    X(X_MIN, "min", 2) /* a < b ? a : b */                                                                                       \
    X(X_NEG, "neg", 1)                                                                                                           \
    X(X_EXP, "exp", 1)                                                                                                           \
    X(X_LOG, "log", 1)                                                                                                           \
    X(X_SQRT, "sqrt", 1)                                                                                                         \
    X(X_RSQRT, "rsqrt", 1) /* 1 / sqrt(a), correctly rounded operations, never the estimate instruction */                       \
    X(X_TANH, "tanh", 1)                                                                                                         \
    X(X_SIGMOID, "sigmoid", 1) /* 1 / (1 + exp(-a)) */                                                                           \
    X(X_ABS, "abs", 1)                                                                                                           \
    X(X_EXPM1, "expm1", 1) /* exp(a) - 1, exact where that cancels */                                                            \
    X(X_LOG1P, "log1p", 1) /* log(1 + a), likewise */                                                                            \
    X(X_ERF, "erf", 1)                                                                                                           \
    X(X_POW, "pow", 2)               /* as C's pow: pow(a, 0) = pow(1, b) = 1 */                                                 \
    X(X_LESS, "less", 2)             /* a < b ? 1 : 0; comparisons with a NaN are 0 */                                           \
    X(X_LESS_EQUAL, "less_equal", 2) /* a <= b ? 1 : 0 */                                                                        \
    X(X_EQUAL, "equal", 2)           /* a == b ? 1 : 0 */                                                                        \
    X(X_SELECT, "select", 3)         /* a <= 0 ? c : b; so a NaN chooses b, as relu's gradient does in PyTorch */

typedef enum ExprOp {
#define X(id, text, n) id,
    EXPR_OPS(X)
#undef X
        EXPR_OP_COUNT
} ExprOp;

typedef struct ExprNode {
    uint8_t op;      /* ExprOp */
    uint16_t arg[3]; /* operand nodes; for X_ARG arg[0] is the argument index */
    double value;    /* X_CONST */
} ExprNode;

enum { EXPR_MAX_NODES = 1024 };

typedef struct Expr {
    uint32_t count;
    ExprNode *node;
} Expr;

const char *expr_op_text(ExprOp op);
int expr_op_operands(ExprOp op);

/* Growing an Expr: equal nodes are shared and constants folded (in double) as nodes are added; x*1, x+0, select with
 * equal arms and the like are simplified where that is exact for every input, NaN and infinity included (so x-0 is x, but x+0
 * stays: -0+0 is +0). A builder holds up to 65535 nodes; an Expr that enters a graph has at most EXPR_MAX_NODES, which who fuses
 * must check. */
typedef struct ExprBuilder {
    Arena *arena;
    ExprNode *node;
    uint32_t count, capacity;
} ExprBuilder;

ExprBuilder expr_builder(Arena *arena);
uint16_t expr_arg(ExprBuilder *b, uint32_t index);
uint16_t expr_const(ExprBuilder *b, double value);
uint16_t expr_leaf(ExprBuilder *b, ExprOp op); /* X_ACC, X_OUT */
uint16_t expr_unary(ExprBuilder *b, ExprOp op, uint16_t a);
uint16_t expr_binary(ExprBuilder *b, ExprOp op, uint16_t a, uint16_t c);
uint16_t expr_select(ExprBuilder *b, uint16_t condition, uint16_t yes, uint16_t no);
/* Splices `body` in, with leaf X_ARG i replaced by node arg_map[i] (X_ACC/X_OUT by acc/out). Returns the node of its value. */
uint16_t expr_inline(ExprBuilder *b, const Expr *body, const uint16_t *arg_map, uint16_t acc, uint16_t out);
/* The finished Expr: only nodes that `root` needs, renumbered, `root` last. Operations keep their order; a leaf stands before the
 * first that reads it, from left to right, as in the text of a graph: so reading that gives this Expr back, node by node, and
 * what is computed from it, such as which of two operands stands left, follows from the text alone. */
const Expr *expr_finish(ExprBuilder *b, uint16_t root);

bool expr_equal(const Expr *a, const Expr *b);
uint64_t expr_hash(const Expr *e);
bool expr_uses_arg(const Expr *e, uint32_t index);
bool expr_uses_op(const Expr *e, ExprOp op);

/* Reference semantics in double. args[i] is the value of X_ARG i at this element. */
double expr_eval(const Expr *e, const double *args, double acc, double out);
/* The same with an error of up to unit * (|a| + |b|) in every sum and difference of two nodes a and b: what arithmetic of that
 * precision leaves where terms cancel, in whatever order and form it adds them. At random, but the same for the same a and b, as
 * rounding is: over a map whose elements are alike errors add up. */
typedef struct ExprNoise {
    double unit;
    uint64_t seed;
} ExprNoise;
double expr_eval_noisy(const Expr *e, const double *args, double acc, double out, const ExprNoise *noise);

/* d e / d args[index], as a new node of b in terms of the same leaves. max, abs and select differentiate as PyTorch does
 * (relu'(0) = abs'(0) = 0), comparisons have no derivative. X_ARG i reads node arg_map[i] (arg_map NULL: leaf i); the node of
 * constant 0 if e does not depend on it. */
uint16_t expr_derivative(ExprBuilder *b, const Expr *e, uint32_t index, const uint16_t *arg_map);
#endif
