/* Exprs: every operation's value and derivative, and that folding never changes a value. */
#include "ir_helpers.h"

/* Operands of every sort: signs, zeros, infinities, NaN, subnormals. */
static const double special[] = {0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, INFINITY, -INFINITY, NAN, 1e-310, -1e300};
enum { SPECIALS = sizeof special / sizeof *special };

static bool same_value(double a, double b) { return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b)); }

/* An Expr of one operation on arguments, put together by hand so that nothing is folded. */
static double plain(ExprOp op, const double *args) {
    ExprNode node[4] = {
        {.op = X_ARG, .arg = {0}}, {.op = X_ARG, .arg = {1}}, {.op = X_ARG, .arg = {2}}, {.op = (uint8_t)op, .arg = {0, 1, 2}}};
    return expr_eval(&(Expr){4, node}, args, 0, 0);
}

static uint16_t build(ExprBuilder *b, ExprOp op, const uint16_t *operand) {
    switch (expr_op_operands(op)) {
    case 1: return expr_unary(b, op, operand[0]);
    case 2: return expr_binary(b, op, operand[0], operand[1]);
    default: return expr_select(b, operand[0], operand[1], operand[2]);
    }
}

static double expected_value(ExprOp op, double a, double b, double c) {
    switch (op) {
    case X_ADD: return a + b;
    case X_SUB: return a - b;
    case X_MUL: return a * b;
    case X_DIV: return a / b;
    case X_MAX: return a > b ? a : b;
    case X_MIN: return a < b ? a : b;
    case X_NEG: return -a;
    case X_EXP: return exp(a);
    case X_LOG: return log(a);
    case X_SQRT: return sqrt(a);
    case X_RSQRT: return 1 / sqrt(a);
    case X_TANH: return tanh(a);
    case X_SIGMOID: return 1 / (1 + exp(-a));
    case X_ABS: return fabs(a);
    case X_EXPM1: return expm1(a);
    case X_LOG1P: return log1p(a);
    case X_ERF: return erf(a);
    case X_POW: return pow(a, b);
    case X_LESS: return a < b;
    case X_LESS_EQUAL: return a <= b;
    case X_EQUAL: return a == b;
    case X_SELECT: return a <= 0 ? c : b;
    default: ck_abort_msg("the operation %s has no case", expr_op_text(op)); return 0;
    }
}

START_TEST(every_operation_computes) {
    for (int op = X_ADD; op < EXPR_OP_COUNT; op++) {
        for (int i = 0; i < SPECIALS * SPECIALS; i++) {
            double args[3] = {special[i / SPECIALS], special[i % SPECIALS], 7};
            ck_assert_msg(same_value(plain((ExprOp)op, args), expected_value((ExprOp)op, args[0], args[1], args[2])),
                          "%s(%g, %g)", expr_op_text((ExprOp)op), args[0], args[1]);
        }
    }
}
END_TEST

/* Each operand is an argument or a constant, in every combination: the builder's answer must be the plain one. */
START_TEST(folding_is_exact) {
    for (int op = X_ADD; op < EXPR_OP_COUNT; op++) {
        for (int i = 0; i < SPECIALS * SPECIALS * 8; i++) {
            double args[3] = {special[i / 8 / SPECIALS], special[i / 8 % SPECIALS], special[i % SPECIALS]};
            Arena *arena = arena_new();
            ExprBuilder b = expr_builder(arena);
            uint16_t operand[3];
            for (int k = 0; k < 3; k++) operand[k] = i >> k & 1 ? expr_const(&b, args[k]) : expr_arg(&b, (uint32_t)k);
            const Expr *e = expr_finish(&b, build(&b, (ExprOp)op, operand));
            ck_assert_msg(same_value(expr_eval(e, args, 0, 0), plain((ExprOp)op, args)), "%s(%g, %g, %g), constants %d",
                          expr_op_text((ExprOp)op), args[0], args[1], args[2], i & 7);
            arena_free(arena);
        }
    }
}
END_TEST

/* Two operations deep on one argument and its negation: where identities like neg(neg x) and a + neg(b) live. */
START_TEST(nested_folding_is_exact) {
    for (int outer = X_ADD; outer < EXPR_OP_COUNT; outer++) {
        for (int inner = X_ADD; inner < EXPR_OP_COUNT; inner++) {
            for (int i = 0; i < SPECIALS * SPECIALS * 2; i++) {
                double args[3] = {special[i / 2 / SPECIALS], special[i / 2 % SPECIALS], 2}, nested[3];
                double value = plain((ExprOp)inner, args);
                bool left = i & 1;
                nested[0] = left ? value : args[1];
                nested[1] = left ? args[1] : value;
                nested[2] = value;
                Arena *arena = arena_new();
                ExprBuilder b = expr_builder(arena);
                uint16_t x[3] = {expr_arg(&b, 0), expr_arg(&b, 1), expr_arg(&b, 2)}, v = build(&b, (ExprOp)inner, x);
                uint16_t root = build(&b, (ExprOp)outer, left ? (uint16_t[]){v, x[1], v} : (uint16_t[]){x[1], v, v});
                ck_assert_msg(same_value(expr_eval(expr_finish(&b, root), args, 0, 0), plain((ExprOp)outer, nested)),
                              "%s of %s at (%g, %g)", expr_op_text((ExprOp)outer), expr_op_text((ExprOp)inner), args[0], args[1]);
                arena_free(arena);
            }
        }
    }
}
END_TEST

START_TEST(identities_and_sharing) {
    Arena *arena = arena_new();
    ExprBuilder b = expr_builder(arena);
    uint16_t x = expr_arg(&b, 0), y = expr_arg(&b, 1), zero = expr_const(&b, 0), one = expr_const(&b, 1);
    ck_assert_uint_eq(expr_binary(&b, X_MUL, one, x), x);
    ck_assert_uint_eq(expr_binary(&b, X_DIV, x, one), x);
    ck_assert_uint_eq(expr_binary(&b, X_SUB, x, zero), x);
    ck_assert_uint_eq(expr_binary(&b, X_ADD, x, expr_const(&b, -0.0)), x);
    ck_assert_uint_ne(expr_binary(&b, X_ADD, x, zero), x); /* -0 + 0 is 0 */
    ck_assert_uint_ne(expr_binary(&b, X_MUL, x, zero), zero);
    ck_assert_uint_eq(expr_unary(&b, X_NEG, expr_unary(&b, X_NEG, x)), x);
    ck_assert_uint_eq(expr_binary(&b, X_ADD, x, expr_unary(&b, X_NEG, y)), expr_binary(&b, X_SUB, x, y));
    ck_assert_uint_eq(expr_binary(&b, X_ADD, x, y), expr_binary(&b, X_ADD, y, x));
    ck_assert_uint_eq(expr_select(&b, x, y, y), y);
    ck_assert_uint_eq(expr_binary(&b, X_DIV, x, expr_const(&b, 4)), expr_binary(&b, X_MUL, x, expr_const(&b, 0.25)));
    ck_assert_uint_eq(b.node[expr_binary(&b, X_DIV, x, expr_const(&b, 3))].op, X_DIV);
    uint16_t relu = expr_binary(&b, X_MAX, zero, x);
    ck_assert_uint_eq(expr_binary(&b, X_MAX, zero, relu), relu);
    arena_free(arena);
}
END_TEST

START_TEST(finish_keeps_what_is_needed) {
    Arena *arena = arena_new();
    ExprBuilder b = expr_builder(arena);
    uint16_t x = expr_arg(&b, 3), dead = expr_unary(&b, X_EXP, x), y = expr_binary(&b, X_MUL, x, expr_leaf(&b, X_ACC));
    ck_assert_uint_ne(dead, y);
    const Expr *e = expr_finish(&b, y);
    ck_assert_uint_eq(e->count, 3);
    ck_assert_uint_eq(e->node[2].op, X_MUL);
    ck_assert(expr_uses_arg(e, 3) && !expr_uses_arg(e, 0) && expr_uses_op(e, X_ACC) && !expr_uses_op(e, X_EXP));
    const Expr *again = expr_finish(&b, y), *other = expr_finish(&b, dead);
    ck_assert(expr_equal(e, again) && !expr_equal(e, other));
    ck_assert(expr_hash(e) == expr_hash(again) && expr_hash(e) != expr_hash(other));
    arena_free(arena);
}
END_TEST

/* Leaves stand before the operation that first reads them, whenever they were made: as reading an Expr's text makes them. */
START_TEST(finish_orders_leaves_as_text) {
    Arena *arena = arena_new();
    ExprBuilder b = expr_builder(arena);
    uint16_t zero = expr_const(&b, 0), x = expr_arg(&b, 0), mask = expr_arg(&b, 2), bias = expr_arg(&b, 1);
    uint16_t sum = expr_binary(&b, X_ADD, expr_select(&b, mask, x, zero), bias);
    const Expr *e = expr_finish(&b, sum);
    static const uint8_t ops[] = {X_ARG, X_ARG, X_CONST, X_SELECT, X_ARG, X_ADD};
    ck_assert_uint_eq(e->count, 6);
    for (uint32_t i = 0; i < 6; i++) ck_assert_uint_eq(e->node[i].op, ops[i]);
    ck_assert_uint_eq(e->node[0].arg[0], 2);
    ck_assert_uint_eq(e->node[1].arg[0], 0);
    ck_assert_uint_eq(e->node[4].arg[0], 1);
    /* What is left of them where a leaf is the value. */
    const Expr *leaf = expr_finish(&b, mask);
    ck_assert_uint_eq(leaf->count, 1);
    ck_assert_uint_eq(leaf->node[0].arg[0], 2);
    arena_free(arena);
}
END_TEST

START_TEST(inline_replaces_leaves) {
    Arena *arena = arena_new();
    ExprBuilder inner = expr_builder(arena), b = expr_builder(arena);
    uint16_t sum = expr_binary(&inner, X_ADD, expr_binary(&inner, X_MUL, expr_arg(&inner, 0), expr_arg(&inner, 1)),
                               expr_binary(&inner, X_SUB, expr_leaf(&inner, X_ACC), expr_leaf(&inner, X_OUT)));
    const Expr *body = expr_finish(&inner, sum);
    uint16_t map[2] = {expr_arg(&b, 5), expr_const(&b, 3)}, root = expr_inline(&b, body, map, expr_arg(&b, 1), expr_arg(&b, 2));
    const Expr *e = expr_finish(&b, root);
    ck_assert(!expr_uses_op(e, X_ACC) && !expr_uses_op(e, X_OUT) && !expr_uses_arg(e, 0));
    ck_assert_double_eq(expr_eval(e, (double[]){0, 10, 4, 0, 0, 2}, 0, 0), 2 * 3 + 10 - 4);
    arena_free(arena);
}
END_TEST

/* d/dx of op(x * y, y + x * x, x) against central differences, at points where the operation is smooth. */
START_TEST(derivatives_match_differences) {
    static const double point[][2] = {{0.7, 0.4}, {1.3, 0.2}, {0.3, 1.9}, {2.1, 1.1}};
    for (int op = X_ADD; op < EXPR_OP_COUNT; op++) {
        for (int p = 0; p < 4; p++) {
            Arena *arena = arena_new();
            ExprBuilder b = expr_builder(arena), d = expr_builder(arena);
            uint16_t x = expr_arg(&b, 0), y = expr_arg(&b, 1);
            uint16_t operand[3] = {expr_binary(&b, X_MUL, x, y), expr_binary(&b, X_ADD, y, expr_binary(&b, X_MUL, x, x)), x};
            const Expr *e = expr_finish(&b, build(&b, (ExprOp)op, operand));
            for (uint32_t index = 0; index < 2; index++) {
                const Expr *derivative = expr_finish(&d, expr_derivative(&d, e, index, NULL));
                double at[2] = {point[p][0], point[p][1]}, step = 1e-6, difference;
                at[index] += step;
                difference = expr_eval(e, at, 0, 0);
                at[index] -= 2 * step;
                difference = (difference - expr_eval(e, at, 0, 0)) / (2 * step);
                assert_near(expr_eval(derivative, point[p], 0, 0), difference, 1e-8, expr_op_text((ExprOp)op), p);
            }
            arena_free(arena);
        }
    }
}
END_TEST

static double derivative_at(ExprBuilder *b, uint16_t root, double x) {
    const Expr *e = expr_finish(b, root);
    ExprBuilder d = expr_builder(b->arena);
    return expr_eval(expr_finish(&d, expr_derivative(&d, e, 0, NULL)), &x, 0, 0);
}

START_TEST(derivatives_at_corners) {
    Arena *arena = arena_new();
    ExprBuilder b = expr_builder(arena);
    uint16_t x = expr_arg(&b, 0), zero = expr_const(&b, 0), one = expr_const(&b, 1);
    uint16_t relu[2] = {expr_binary(&b, X_MAX, x, zero), expr_binary(&b, X_MAX, zero, x)};
    for (int side = 0; side < 2; side++) { /* as PyTorch: relu'(0) is 0 on whichever side the constant stands */
        ck_assert_double_eq(derivative_at(&b, relu[side], 0), 0);
        ck_assert_double_eq(derivative_at(&b, relu[side], 1e-300), 1);
        ck_assert_double_eq(derivative_at(&b, relu[side], -1), 0);
        uint16_t clamp = expr_binary(&b, X_MIN, side ? one : relu[side], side ? relu[side] : one);
        ck_assert_double_eq(derivative_at(&b, clamp, 1), 0);
        ck_assert_double_eq(derivative_at(&b, clamp, 0.5), 1);
    }
    const Expr *constant = expr_finish(&b, expr_unary(&b, X_EXP, expr_arg(&b, 1)));
    ExprBuilder d = expr_builder(arena);
    uint16_t none = expr_derivative(&d, constant, 0, NULL);
    ck_assert(d.node[none].op == X_CONST && d.node[none].value == 0);
    arena_free(arena);
}
END_TEST

START_TEST(derivative_reads_mapped_arguments) {
    Arena *arena = arena_new();
    ExprBuilder b = expr_builder(arena), d = expr_builder(arena);
    const Expr *square = expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_arg(&b, 0)));
    uint16_t map[1] = {expr_arg(&d, 7)};
    const Expr *e = expr_finish(&d, expr_derivative(&d, square, 0, map));
    double args[8] = {[7] = 5};
    ck_assert_double_eq(expr_eval(e, args, 0, 0), 10);
    arena_free(arena);
}
END_TEST

/* Of a - b up to a unit of |a| + |b|, though they cancel, of a - a nothing; the same for the same numbers. */
START_TEST(noise_is_of_the_operands) {
    Arena *arena = arena_new();
    ExprBuilder b = expr_builder(arena);
    const Expr *e = expr_finish(&b, expr_binary(&b, X_SUB, expr_arg(&b, 0), expr_arg(&b, 1)));
    const Expr zero = {2, (ExprNode[]){{.op = X_ARG, .arg = {0}}, {.op = X_SUB, .arg = {0, 0}}}};
    const double args[2] = {1000.5, 1000.5}, unit = 0x1p-24 * 2001;
    double low = 0, high = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        const ExprNoise noise = {0x1p-24, seed};
        double error = expr_eval_noisy(e, args, 0, 0, &noise);
        ck_assert(error == expr_eval_noisy(e, args, 0, 0, &noise) && fabs(error) <= unit);
        low = fmin(low, error), high = fmax(high, error);
        ck_assert(expr_eval_noisy(&zero, args, 0, 0, &noise) == 0);
    }
    ck_assert(low < -0.9 * unit && high > 0.9 * unit);
    const ExprNoise noise = {0x1p-24, 1};
    double first = expr_eval_noisy(e, args, 0, 0, &noise), other = expr_eval_noisy(e, (double[]){1001.5, 1001.5}, 0, 0, &noise);
    ck_assert(first != other);
    ck_assert(expr_eval_noisy(e, (double[]){0x1p24 - 1, 5}, 0, 0, &noise) == 0x1p24 - 6); /* whole numbers that f32 has */
    ck_assert(expr_eval_noisy(e, (double[]){0x1p24, 5}, 0, 0, &noise) != 0x1p24 - 5);
    ck_assert(expr_eval(e, args, 0, 0) == 0 && expr_eval_noisy(e, args, 0, 0, NULL) == 0);
    arena_free(arena);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("expr");
    tcase_add_test(cases, noise_is_of_the_operands);
    tcase_add_test(cases, every_operation_computes);
    tcase_add_test(cases, folding_is_exact);
    tcase_add_test(cases, nested_folding_is_exact);
    tcase_add_test(cases, identities_and_sharing);
    tcase_add_test(cases, finish_keeps_what_is_needed);
    tcase_add_test(cases, finish_orders_leaves_as_text);
    tcase_add_test(cases, inline_replaces_leaves);
    tcase_add_test(cases, derivatives_match_differences);
    tcase_add_test(cases, derivatives_at_corners);
    tcase_add_test(cases, derivative_reads_mapped_arguments);
    return run_cases("ir expr", cases);
}
