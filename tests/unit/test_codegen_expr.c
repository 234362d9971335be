/* What emitters build on: indices, and every ExprOp as vector code, over inputs chosen to be hard: zeros, denormals, infinities,
 * NaN, the edges of overflow and underflow, and a sweep of ordinary numbers. Functions must be within 2 units in the last place
 * of the double result. */
#include "codegen/emit/emit.h"
#include "codegen_helpers.h"
#include <float.h>

enum { SWEEP = 3000 };

static const float hard[] = {0.0f,        -0.0f,      1.0f,     -1.0f,    0.5f,      2.0f,       0.625f,     -0.625f,
                             88.7f,       88.72284f,  88.8f,    -87.3f,   -87.4f,    -103.9f,    -104.1f,    1e-3f,
                             1e3f,        -1e3f,      1e30f,    -1e30f,   FLT_MIN,   -FLT_MIN,   FLT_MAX,    -FLT_MAX,
                             1e-40f,      -1e-40f,    1.4e-45f, INFINITY, -INFINITY, NAN,        3.1415927f, 0.70710677f,
                             0.70710683f, 1.4142135f, 1e-20f,   -1e-20f,  9.010913f, -9.010913f, 16777216.f, 0.99999994f};
enum { HARD = sizeof hard / sizeof hard[0] };

/* x: the hard ones, then a sweep over magnitudes and signs. */
static float sweep_element(int64_t i, uint64_t salt) {
    if (i < HARD) return hard[i];
    uint64_t h = ((uint64_t)i + salt * 7919) * 0x9e3779b97f4a7c15u;
    double u = (double)(h >> 40) / (1 << 24), v = (double)((h >> 16) & 0xffffff) / (1 << 24);
    double magnitude = i % 3 == 0 ? 100 * u : i % 3 == 1 ? 4 * u : exp2(40 * u - 20);
    return (float)(v < 0.5 ? -magnitude : magnitude);
}

static void fill(Both *both, const char *name, Type type, uint64_t salt) {
    Tensor *t = leaves_add(&both->leaves, name, type);
    for (int64_t i = 0; i < type.dim[0]; i++) {
        int64_t pair = salt ? (i < (int64_t)HARD * HARD ? i / HARD : i) : i < (int64_t)HARD * HARD ? i % HARD : i;
        t->data[i] = sweep_element(pair, salt);
    }
}

static bool close_enough(double got, double want, double ulps) {
    if (isnan(want)) return isnan(got);
    float rounded = (float)want;
    if (isinf(rounded)) return got == rounded || (fabs(want) < 1.0000002 * FLT_MAX && fabs(got) >= 0.9999999 * FLT_MAX);
    double unit = fmax(fabs(want) * 0x1p-23, 0x1p-149);
    return fabs(got - want) <= ulps * unit;
}

/* Sigmoid of very negative numbers loses the denormal range to exp's infinity. */
static double allowance(ExprOp op, double want) {
    return op == X_SIGMOID && fabs(want) < 2 * FLT_MIN ? FLT_MIN / 0x1p-149 * 4 : 2;
}

static const Expr *one_op(Arena *arena, ExprOp op) {
    ExprBuilder b = expr_builder(arena);
    uint16_t x = expr_arg(&b, 0), y = expr_arg(&b, 1), z = expr_arg(&b, 2);
    switch (expr_op_operands(op)) {
    case 1: return expr_finish(&b, expr_unary(&b, op, x));
    case 2: return expr_finish(&b, expr_binary(&b, op, x, y));
    case 3: return expr_finish(&b, expr_select(&b, x, y, z));
    default: break;
    }
    return expr_finish(&b, op == X_CONST ? expr_const(&b, 0.1) : x);
}

/* One map per op over a vector; X_ACC and X_OUT belong to convolutions. */
START_TEST(every_operation) {
    CodegenOptions options = {.cpu = both_cpu(_i)};
    if (!options.cpu) return;
    Graph *g = graph_new("exprs", MODE_TRAIN);
    Both both = {0};
    Type type = type_vector((int64_t)HARD * HARD + SWEEP);
    static const char *const names[3] = {"x", "y", "z"};
    Val args[3];
    for (int i = 0; i < 3; i++) {
        args[i] = graph_add(g, &(ValueSpec){.op = OP_INPUT, .declared = type, .attrs.param.name = names[i]});
        fill(&both, names[i], type, (uint64_t)i);
    }
    ExprOp op_of[EXPR_OP_COUNT];
    for (int op = 0; op < EXPR_OP_COUNT; op++) {
        if (op == X_ACC || op == X_OUT) continue;
        op_of[g->noutputs] = (ExprOp)op;
        Val v = graph_map(g, type, args, 3, one_op(g->arena, (ExprOp)op), (Span){0}, NULL);
        graph_output(g, OUT_GRAD, v, expr_op_text((ExprOp)op));
    }
    both_run(&both, g, &options);
    for (uint32_t i = 0; i < g->noutputs; i++)
        for (int64_t k = 0; k < type.dim[0]; k++) {
            double want = both.want[i].data[k], got = both.got[i][k];
            ck_assert_msg(close_enough(got, want, allowance(op_of[i], want)), "%s of %.9g, %.9g, %.9g on %s: got %.9g, want %.9g",
                          g->output[i].name, both.leaves.tensor[0].data[k], both.leaves.tensor[1].data[k],
                          both.leaves.tensor[2].data[k], options.cpu, got, want);
        }
    both_free(&both);
    graph_free(g);
}
END_TEST

/* A deep Expr: what fusion makes of a chain of activations. */
START_TEST(long_expr) {
    Graph *g = graph_new("long", MODE_TRAIN);
    Type type = type_feature(2, 5, 3, 3);
    Val x = graph_add(g, &(ValueSpec){.op = OP_INPUT, .declared = type, .attrs.param.name = "x"});
    ExprBuilder b = expr_builder(g->arena);
    uint16_t node = expr_arg(&b, 0);
    for (int i = 0; i < 200; i++) {
        node = expr_binary(&b, X_MUL, node, expr_const(&b, 1.001));
        node = expr_binary(&b, X_ADD, node, expr_const(&b, 0.001 * i));
        node = i % 50 == 49 ? expr_unary(&b, X_TANH, node) : expr_binary(&b, X_MAX, node, expr_const(&b, -1));
    }
    graph_output(g, OUT_GRAD, graph_map(g, type, &x, 1, expr_finish(&b, node), (Span){0}, NULL), "x");
    Both both = {0};
    both_run(&both, g, NULL);
    both_check(&both, 0, 1e-5, "long");
    both_free(&both);
    graph_free(g);
}
END_TEST

static int64_t displacement(LLVMValueRef of) { return LLVMConstIntGetSExtValue(LLVMGetOperand(of, 1)); }

/* Indices that differ by constants alone must not cost a register each: the constant is the last thing added. */
START_TEST(constants_of_indices_stay_outermost) {
    Target target;
    char why[256];
    ck_assert_msg(target_open(&target, NULL, "native", why, sizeof why), "%s", why);
    Emitter *e = emitter_open(&target, "indices");
    emitter_begin_kernel(e, "kernel", 1);
    LLVMValueRef i = e->piece, three = emit_add_int(e, i, emit_int(e, 3)), row = emit_mul_int(e, i, 7);
    ck_assert_int_eq(displacement(emit_mul_int(e, three, 16)), 48);
    ck_assert_int_eq(displacement(emit_add_int(e, three, row)), 3);
    ck_assert_int_eq(displacement(emit_add_int(e, emit_int(e, 4), three)), 7);
    ck_assert_int_eq(displacement(emit_offset(e, three, 5, emit_add_int(e, row, emit_int(e, 2)))), 17);
    ck_assert(emit_add_int(e, three, emit_int(e, -3)) == i);
    LLVMValueRef address = emit_address(e, emit_buffer(e, 0), emit_mul_int(e, three, 16));
    ck_assert_int_eq(displacement(address), 48);
    ck_assert(LLVMIsAGetElementPtrInst(LLVMGetOperand(address, 0)) != NULL);
    emitter_end_kernel(e);
    emitter_close(e);
    target_close(&target);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("expr");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, every_operation, 0, BOTH_CPUS);
    tcase_add_test(tests, long_expr);
    tcase_add_test(tests, constants_of_indices_stay_outermost);
    return run_cases("codegen_expr", tests);
}
