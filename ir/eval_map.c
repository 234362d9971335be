/* Elementwise evaluation: iteration spaces, broadcasting views, maps, the regions of fused kernels, and the source tier's
 * elementwise ops in their own words (not as Exprs, so that `lower` is checked against something independent). */
#include "ir/eval_rules.h"
#include <math.h>
#include <string.h>

Space space_of(Type t) {
    switch (t.rank) {
    case 4: return (Space){t.dim[0], t.dim[1], t.dim[2] * t.dim[3]};
    case 2: return (Space){t.dim[0], t.dim[1], 1};
    default: return (Space){1, type_elements(t), 1};
    }
}

View view_of(const Tensor *t, Type space) {
    const int64_t *dim = t->type.dim, width = space.rank == 4 ? space.dim[3] : 1;
    if (t->type.rank == 4) {
        int64_t plane = dim[2] * dim[3];
        return (View){t->data, dim[1] * plane, dim[1] == 1 ? 0 : plane, dim[2] == 1 ? 0 : dim[3], dim[3] == 1 ? 0 : 1, width};
    }
    if (t->type.rank == 2) return (View){t->data, dim[1], 1, 0, 0, width};
    if (t->type.rank == 1) return (View){t->data, 0, 1, 0, 0, width};
    if (t->type.rank == space.rank) { /* rank 0 and 3: one line */
        Space s = space_of(space);
        return (View){t->data, s.c * s.p, s.p, 0, 0, width};
    }
    return (View){t->data, 0, 0, 0, 0, width};
}

double view_at(const View *v, int64_t n, int64_t c, int64_t p) {
    return v->data[n * v->n + c * v->c + p / v->width * v->y + p % v->width * v->x];
}

void eval_expr_over(const EvalOp *op, const Expr *e, Type space, const double *acc, const double *out, RegionRole role,
                    Tensor *to) {
    Space s = space_of(space);
    View view[MAX_ARGS];
    double value[MAX_ARGS] = {0};
    bool used[MAX_ARGS];
    for (uint32_t a = 0; a < op->v->nargs; a++) {
        used[a] = expr_uses_arg(e, a);
        if (used[a]) view[a] = view_of(op->arg[a], space);
    }
    double *target = to->data;
    for (int64_t n = 0, i = 0; n < s.n; n++) {
        for (int64_t c = 0; c < s.c; c++) {
            long double sum = 0, squares = 0; /* of values with a large mean, whose variance moments will take from them */
            for (int64_t p = 0; p < s.p; p++, i++) {
                for (uint32_t a = 0; a < op->v->nargs; a++) {
                    if (used[a]) value[a] = view_at(&view[a], n, c, p);
                }
                double result = expr_eval_noisy(e, value, acc ? acc[i] : 0, out ? out[i] : 0, op->options->noise);
                sum += result;
                squares += (long double)result * result;
                if (!region_sums(role)) target[i] = result;
            }
            if (role == REGION_REDUCE) target[n * s.c + c] = (double)sum;
            if (role != REGION_MOMENTS) continue;
            target[2 * n * s.c + c] = (double)sum;
            target[(2 * n + 1) * s.c + c] = (double)squares;
        }
    }
}

/* SUM_TO, MAX_TO, INDEX_TO: of the elements that an OUTPUT would have. */
static void eval_reduction(const EvalOp *op, const Region *r, Tensor *to) {
    Tensor elements = tensor_new(op->v->space);
    eval_expr_over(op, r->expr, op->v->space, NULL, NULL, REGION_OUTPUT, &elements);
    (r->role == REGION_SUM_TO ? eval_sum_to : r->role == REGION_MAX_TO ? eval_max_to : eval_index_to)(&elements, to);
    tensor_free(&elements);
}

bool eval_MAP(const EvalOp *op) {
    for (uint32_t i = 0; i < op->v->nregions; i++) {
        const Region *r = &op->v->regions[i];
        if (region_reduces(r->role)) {
            eval_reduction(op, r, &op->result[i]);
            continue;
        }
        eval_expr_over(op, r->expr, op->v->space, NULL, NULL, r->role, &op->result[i]);
    }
    return true;
}

/* ---- regions of the convolutions ---- */

/* Results behind result 0 stand in region order. */
static Tensor *result_of_region(const EvalOp *op, const Region *wanted) {
    uint32_t index = 1;
    for (const Region *r = op->v->regions; r < wanted; r++) {
        index += region_makes_result(r->role);
    }
    return &op->result[index];
}

Tensor eval_prologue(const EvalOp *op, int operand) {
    const Tensor *x = op->arg[operand];
    const Region *prologue = value_region(op->v, REGION_PROLOGUE, operand);
    const Region *store = value_region(op->v, REGION_STORE, operand);
    Tensor loaded = tensor_new(x->type);
    size_t bytes = (size_t)type_elements(x->type) * sizeof *x->data;
    if (prologue)
        eval_expr_over(op, prologue->expr, x->type, NULL, NULL, REGION_PROLOGUE, &loaded);
    else
        memcpy(loaded.data, x->data, bytes);
    if (store) memcpy(result_of_region(op, store)->data, loaded.data, bytes);
    return loaded;
}

void eval_epilogue(const EvalOp *op) {
    if (op->v->nregions == 0) return;
    Type space = op->v->type;
    Tensor acc = tensor_new(space), *out = &op->result[0];
    memcpy(acc.data, out->data, (size_t)type_elements(space) * sizeof *acc.data);
    const Region *epilogue = value_region(op->v, REGION_EPILOGUE, 0);
    if (epilogue) eval_expr_over(op, epilogue->expr, space, acc.data, NULL, REGION_EPILOGUE, out);
    for (uint32_t i = 0; i < op->v->nregions; i++) {
        const Region *r = &op->v->regions[i];
        if (r->role != REGION_OUTPUT && !region_sums(r->role)) continue;
        eval_expr_over(op, r->expr, space, acc.data, out->data, r->role, result_of_region(op, r));
    }
    tensor_free(&acc);
}

/* ---- source tier ---- */

/* Comparisons stand so that a NaN survives. */
static double relu(double x) { return 0 > x ? 0 : x; }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double hard_sigmoid(double x) {
    double y = relu(x / 6 + 0.5);
    return 1 < y ? 1 : y;
}
static double hard_swish(double x) { return x * hard_sigmoid(x); }
static double silu(double x) { return x * sigmoid(x); }
static double identity(double x) { return x; }

static bool each(const EvalOp *op, double (*f)(double)) {
    for (int64_t i = 0, n = type_elements(op->v->type); i < n; i++) op->result[0].data[i] = f(op->arg[0]->data[i]);
    return true;
}

bool eval_RELU(const EvalOp *op) { return each(op, relu); }
bool eval_SIGMOID(const EvalOp *op) { return each(op, sigmoid); }
bool eval_TANH(const EvalOp *op) { return each(op, tanh); }
bool eval_HARD_SIGMOID(const EvalOp *op) { return each(op, hard_sigmoid); }
bool eval_HARD_SWISH(const EvalOp *op) { return each(op, hard_swish); }
bool eval_SILU(const EvalOp *op) { return each(op, silu); }
bool eval_IDENTITY(const EvalOp *op) { return each(op, identity); }

static double add(double a, double b) { return a + b; }
static double sub(double a, double b) { return a - b; }
static double mul(double a, double b) { return a * b; }
static double divide(double a, double b) { return a / b; }

static bool each_pair(const EvalOp *op, double (*f)(double, double)) {
    Space s = space_of(op->v->type);
    View a = view_of(op->arg[0], op->v->type), b = view_of(op->arg[1], op->v->type);
    double *y = op->result[0].data;
    for (int64_t n = 0; n < s.n; n++) {
        for (int64_t c = 0; c < s.c; c++) {
            for (int64_t p = 0; p < s.p; p++) *y++ = f(view_at(&a, n, c, p), view_at(&b, n, c, p));
        }
    }
    return true;
}

bool eval_ADD(const EvalOp *op) { return each_pair(op, add); }
bool eval_SUB(const EvalOp *op) { return each_pair(op, sub); }
bool eval_MUL(const EvalOp *op) { return each_pair(op, mul); }
bool eval_DIV(const EvalOp *op) { return each_pair(op, divide); }
