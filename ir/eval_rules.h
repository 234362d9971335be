/* What the evaluator's rules share: the op under evaluation with its operands, and elementwise loops. Private to ir/. */
#ifndef NETC_IR_EVAL_RULES_H
#define NETC_IR_EVAL_RULES_H
#include "ir/eval.h"

typedef struct EvalOp {
    const Graph *g;
    const Value *v;
    const EvalOptions *options;
    EvalLookup lookup;
    void *context;
    const Tensor *arg[MAX_ARGS];
    Tensor *result; /* all results, zeroed, of their types */
    char *why;
    size_t why_size;
} EvalOp;

/* Writes the sentence; always false. */
bool eval_refuse(const EvalOp *op, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An iteration space as images x channels x pixels, whatever its rank. */
typedef struct Space {
    int64_t n, c, p;
} Space;
Space space_of(Type t);

/* A tensor read over a space by the broadcasting rule of ir/expr.h: its steps along images, channels, rows and columns. */
typedef struct View {
    const double *data;
    int64_t n, c, y, x, width; /* width: of the space */
} View;
View view_of(const Tensor *t, Type space);
/* At pixel p of channel c of image n. */
double view_at(const View *v, int64_t n, int64_t c, int64_t p);

/* to = e at each element of `space`, or (reduce) its sums over the pixels. acc and out are dense over the space or NULL. */
void eval_expr_over(const EvalOp *op, const Expr *e, Type space, const double *acc, const double *out, RegionRole role,
                    Tensor *to);

/* y = the sum or the maximum of x over what is 1 in y, or where along that the first maximum is. */
void eval_sum_to(const Tensor *x, Tensor *y);
void eval_max_to(const Tensor *x, Tensor *y);
void eval_index_to(const Tensor *x, Tensor *y);

/* An operand of a convolution as its PROLOGUE computes it, in a fresh tensor; also makes its STORE result. */
Tensor eval_prologue(const EvalOp *op, int operand);
/* Result 0 holds the raw accumulator: applies EPILOGUE, then makes the OUTPUT and REDUCE results. */
void eval_epilogue(const EvalOp *op);

/* One rule per op; false with a sentence if the data forbid it. */
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) bool eval_##ID(const EvalOp *op);
#include "ir/ops.def"
#undef OP
#endif
