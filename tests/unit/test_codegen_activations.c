/* The library's activations, and what gates cost: values and slopes are PyTorch's, by the Expr that the frontend makes of a call;
 * and compiled code computes both over all ordinary numbers, far out too. The numbers are what torch 1.13 prints in double
 * (tests/e2e/torch_activations.py compares them again where PyTorch is). */
#include "codegen_nets.h"

enum { INPUTS = 15 };
static const double inputs[INPUTS] = {-100, -20, -6, -3, -1, -0.5, -0.01, 0, 0.01, 0.3, 0.5, 1, 6, 20, 100};

typedef struct Activation {
    const char *call;
    double y[INPUTS], dx[INPUTS];
} Activation;

// clang-format off
static const Activation activations[] = {
    {"relu6(x)",
     {0, 0, 0, 0, 0, 0, 0, 0, 0.01, 0.3, 0.5, 1, 6, 6, 6},
     {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0}},
    {"leaky_relu(x)",
     {-1, -0.2, -0.06, -0.03, -0.01, -0.005, -0.0001, 0, 0.01, 0.3, 0.5, 1, 6, 20, 100},
     {0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 1, 1, 1, 1, 1, 1, 1}},
    {"leaky_relu(x, slope = 0.2)",
     {-20, -4, -1.2, -0.6, -0.2, -0.1, -0.002, 0, 0.01, 0.3, 0.5, 1, 6, 20, 100},
     {0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 1, 1, 1, 1, 1, 1, 1}},
    {"prelu(x)",
     {-25, -5, -1.5, -0.75, -0.25, -0.125, -0.0025, 0, 0.01, 0.3, 0.5, 1, 6, 20, 100},
     {0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 1, 1, 1, 1, 1, 1, 1}},
    {"elu(x)",
     {-1, -0.9999999979, -0.9975212478, -0.9502129316, -0.6321205588, -0.3934693403, -0.009950166251, 0, 0.01, 0.3, 0.5, 1, 6, 20, 100},
     {3.720075976e-44, 2.061153622e-09, 0.002478752177, 0.04978706837, 0.3678794412, 0.6065306597, 0.9900498337, 1, 1, 1, 1, 1, 1, 1, 1}},
    {"elu(x, alpha = 0.5)",
     {-0.5, -0.499999999, -0.4987606239, -0.4751064658, -0.3160602794, -0.1967346701, -0.004975083125, 0, 0.01, 0.3, 0.5, 1, 6, 20, 100},
     {1.860037988e-44, 1.030576811e-09, 0.001239376088, 0.02489353418, 0.1839397206, 0.3032653299, 0.4950249169, 0.5, 1, 1, 1, 1, 1, 1, 1}},
    {"celu(x, alpha = 2)",
     {-2, -1.9999092, -1.900425863, -1.55373968, -0.7869386806, -0.4423984339, -0.009975041615, 0, 0.01, 0.3, 0.5, 1, 6, 20, 100},
     {1.928749848e-22, 4.539992976e-05, 0.04978706837, 0.2231301601, 0.6065306597, 0.7788007831, 0.9950124792, 1, 1, 1, 1, 1, 1, 1, 1}},
    {"selu(x)",
     {-1.758099341, -1.758099337, -1.753741448, -1.670568729, -1.111330738, -0.6917581878, -0.01749338073, 0, 0.01050700987, 0.3152102962, 0.5253504937, 1.050700987, 6.304205924, 21.01401975, 105.0700987},
     {6.540263121e-44, 3.623712825e-09, 0.004357892568, 0.08753061208, 0.646768603, 1.066341153, 1.74060596, 1.758099341, 1.050700987, 1.050700987, 1.050700987, 1.050700987, 1.050700987, 1.050700987, 1.050700987}},
    {"gelu(x)",
     {0, 0, -5.919525869e-09, -0.004049694095, -0.1586552539, -0.1542687694, -0.004960106437, 0, 0.005039893563, 0.1853734267, 0.3457312306, 0.8413447461, 5.999999994, 20, 100},
     {0, -1.104189672e-86, -3.546870945e-08, -0.0119456472, -0.08331547059, 0.1325048753, 0.4920214203, 0.5, 0.5079785797, 0.7323277668, 0.8674951247, 1.083315471, 1.000000035, 1, 1}},
    {"gelu(x, approximate = \"tanh\")",
     {0, 0, -8.43964898e-11, -0.003637392082, -0.1588080094, -0.1542859902, -0.00496010644, 0, 0.00503989356, 0.1853709235, 0.3457140098, 0.8411919906, 6, 20, 100},
     {0, 0, -7.709976013e-10, -0.01158416663, -0.08296408385, 0.1326300965, 0.4920214217, 0.5, 0.5079785783, 0.7322954516, 0.8673699035, 1.082964084, 1.000000001, 1, 1}},
    {"softplus(x)",
     {3.720075976e-44, 2.06115362e-09, 0.002475685138, 0.04858735157, 0.3132616875, 0.4740769842, 0.6881596805, 0.6931471806, 0.6981596805, 0.8543552445, 0.9740769842, 1.313261688, 6.002475685, 20, 100},
     {3.720075976e-44, 2.061153618e-09, 0.002472623157, 0.04742587318, 0.2689414214, 0.3775406688, 0.4975000208, 0.5, 0.5024999792, 0.5744425168, 0.6224593312, 0.7310585786, 0.9975273768, 0.9999999979, 1}},
    {"softplus(x, beta = 2)",
     {6.919482634e-88, 2.124177128e-18, 3.072096739e-06, 0.001237842569, 0.06346400552, 0.1566308438, 0.3415985899, 0.3465735903, 0.3515985899, 0.5187439752, 0.6566308438, 1.063464006, 6.000003072, 20, 100},
     {1.383896527e-87, 4.248354255e-18, 6.144174602e-06, 0.002472623157, 0.119202922, 0.2689414214, 0.4950001667, 0.5, 0.5049998333, 0.6456563062, 0.7310585786, 0.880797078, 0.9999938558, 1, 1}},
    {"log_sigmoid(x)",
     {-100, -20, -6.002475685, -3.048587352, -1.313261688, -0.9740769842, -0.6981596805, -0.6931471806, -0.6881596805, -0.5543552445, -0.4740769842, -0.3132616875, -0.002475685138, -2.06115362e-09, -3.720075976e-44},
     {1, 0.9999999979, 0.9975273768, 0.9525741268, 0.7310585786, 0.6224593312, 0.5024999792, 0.5, 0.4975000208, 0.4255574832, 0.3775406688, 0.2689414214, 0.002472623157, 2.061153618e-09, 3.720075976e-44}},
    {"mish(x)",
     {-3.720075976e-42, -4.122307241e-08, -0.01485408048, -0.1456474613, -0.3034014614, -0.2207437747, -0.005967984459, 0, 0.006031983541, 0.2080013723, 0.3752452113, 0.8650983883, 5.999926634, 20, 100},
     {-3.682875216e-42, -3.916191874e-08, -0.01235996793, -0.09339311453, 0.05921675588, 0.2895106779, 0.5935953834, 0.6, 0.6063950165, 0.7828272996, 0.8864243754, 1.04903622, 1.000134141, 1, 1}},
    {"softsign(x)",
     {-0.9900990099, -0.9523809524, -0.8571428571, -0.75, -0.5, -0.3333333333, -0.009900990099, 0, 0.009900990099, 0.2307692308, 0.3333333333, 0.5, 0.8571428571, 0.9523809524, 0.9900990099},
     {9.802960494e-05, 0.002267573696, 0.02040816327, 0.0625, 0.25, 0.4444444444, 0.9802960494, 1, 0.9802960494, 0.5917159763, 0.4444444444, 0.25, 0.02040816327, 0.002267573696, 9.802960494e-05}},
    {"tanh_shrink(x)",
     {-99, -19, -5.000012288, -2.004945246, -0.238405844, -0.03788284274, -3.333200005e-07, 0, 3.333200005e-07, 0.008687387548, 0.03788284274, 0.238405844, 5.000012288, 19, 99},
     {1, 1, 0.9999754235, 0.9901339628, 0.5800256584, 0.213552267, 9.999333371e-05, 0, 9.999333371e-05, 0.08486303817, 0.213552267, 0.5800256584, 0.9999754235, 1, 1}},
    {"hard_tanh(x)",
     {-1, -1, -1, -1, -1, -0.5, -0.01, 0, 0.01, 0.3, 0.5, 1, 1, 1, 1},
     {0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}},
    {"hard_tanh(x, -2, 0.5)",
     {-2, -2, -2, -2, -1, -0.5, -0.01, 0, 0.01, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5},
     {0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}},
    {"hard_shrink(x)",
     {-100, -20, -6, -3, -1, 0, 0, 0, 0, 0, 0, 1, 6, 20, 100},
     {1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1}},
    {"soft_shrink(x)",
     {-99.5, -19.5, -5.5, -2.5, -0.5, 0, 0, 0, 0, 0, 0, 0.5, 5.5, 19.5, 99.5},
     {1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1}},
    {"threshold(x, 0.25, 20)",
     {20, 20, 20, 20, 20, 20, 20, 20, 20, 0.3, 0.5, 1, 6, 20, 100},
     {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}},
};
// clang-format on
enum { ACTIVATIONS = sizeof activations / sizeof activations[0] };

/* What the call became: one map, its parameter (a slope) at the value it starts with. */
static const Expr *body_of(Arena *arena, const char *call) {
    char text[400];
    snprintf(text, sizeof text, "net n() {\n    input x: f32[1, 1, 15]\n    output flatten(%s)\n}\n", call);
    Graph *g = net_graph(text, MODE_INFER, 1, false);
    const Value *map = NULL;
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op != OP_MAP) continue;
        ck_assert_msg(!map, "%s is more than one map", call);
        map = &g->value[v];
    }
    ck_assert_msg(map && map->nargs <= 2, "%s is no map", call);
    ExprBuilder b = expr_builder(arena);
    uint16_t leaf[2];
    for (uint32_t i = 0; i < map->nargs; i++) {
        const Value *arg = &g->value[map->args[i]];
        leaf[i] = arg->op == OP_PARAM ? expr_const(&b, arg->attrs.param.init.value) : expr_arg(&b, 0);
    }
    const Expr *body = expr_finish(&b, expr_inline(&b, map->regions[0].expr, leaf, 0, 0));
    graph_free(g);
    return body;
}

static const Expr *slope_of(Arena *arena, const Expr *body) {
    ExprBuilder b = expr_builder(arena);
    return expr_finish(&b, expr_derivative(&b, body, 0, NULL));
}

static void assert_close(const char *call, const char *what, double x, double got, double want, double tolerance) {
    ck_assert_msg(fabs(got - want) <= tolerance, "%s %s at %g: got %.10g, want %.10g", what, call, x, got, want);
}

START_TEST(values_are_pytorchs) {
    const Activation *a = &activations[_i];
    Arena *arena = arena_new();
    const Expr *body = body_of(arena, a->call), *slope = slope_of(arena, body);
    for (int i = 0; i < INPUTS; i++) {
        double unit = 1e-9 * (1 + fabs(a->y[i]));
        assert_close(a->call, "value of", inputs[i], expr_eval(body, &inputs[i], 0, 0), a->y[i], unit);
        assert_close(a->call, "slope of", inputs[i], expr_eval(slope, &inputs[i], 0, 0), a->dx[i], unit);
    }
    ck_assert(isnan(expr_eval(body, (double[]){NAN}, 0, 0)));
    arena_free(arena);
}
END_TEST

enum { SWEEP = 4000 };

/* The table's inputs, then a sweep from -40 to 40 and out to +-2000. */
static double sweep_input(int64_t i) {
    if (i < INPUTS) return (float)inputs[i];
    double u = (double)(i - INPUTS) / (SWEEP - INPUTS) * 2 - 1;
    return (float)(i % 2 ? 40 * u : 2000 * u * u * u);
}

START_TEST(compiled_as_evaluated) {
    CodegenOptions options = {.cpu = both_cpu(_i)};
    if (!options.cpu) return;
    Graph *g = graph_new("activations", MODE_TRAIN);
    Both both = {0};
    Type type = type_vector(SWEEP);
    Val x = graph_add(g, &(ValueSpec){.op = OP_INPUT, .declared = type, .attrs.param.name = "x"});
    Tensor *t = leaves_add(&both.leaves, "x", type);
    for (int64_t i = 0; i < SWEEP; i++) t->data[i] = sweep_input(i);
    for (int i = 0; i < ACTIVATIONS; i++) {
        const Expr *body = body_of(g->arena, activations[i].call);
        graph_output(g, OUT_GRAD, graph_map(g, type, &x, 1, body, (Span){0}, NULL), activations[i].call);
        graph_output(g, OUT_GRAD, graph_map(g, type, &x, 1, slope_of(g->arena, body), (Span){0}, NULL), activations[i].call);
    }
    both_run(&both, g, &options);
    for (uint32_t i = 0; i < g->noutputs; i++) {
        for (int64_t k = 0; k < SWEEP; k++) { /* gelu and mish cancel for x far below 0, in units of x */
            double want = both.want[i].data[k], near = fmin(fabs(t->data[k]), 20);
            assert_close(g->output[i].name, i % 2 ? "slope of" : "value of", t->data[k], both.got[i][k], want,
                         0x1p-22 * (fabs(want) + near + 0.5));
        }
    }
    both_free(&both);
    graph_free(g);
}
END_TEST

/* ---- sweeps ---- */

static bool is_whole(Type t) { return t.rank == 4 && t.dim[1] > 2 && t.dim[2] > 1 && t.dim[3] > 1; }

/* Values beside convolutions that read or make a feature map of all channels, lines and columns. */
static int count_sweeps(const Graph *g) {
    int count = 0;
    for (Val v = 0; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (op_is_convolution(value->op) || value->op == OP_RESULT || value->op == OP_INPUT || value->op == OP_PARAM ||
            value->op == OP_SCALE_FILTERS)
            continue;
        bool sweeps = is_whole(value->type);
        for (uint32_t i = 0; i < value->nargs; i++) {
            Type t = g->value[value->args[i]].type;
            sweeps = sweeps || (is_whole(t) && t.dim[0] == 4);
        }
        count += sweeps;
    }
    return count;
}

/* A residual net: `inner` behind the first norm of a block, `outer` behind the sum. */
static int sweeps_with(const char *inner, const char *outer, const char *attention, Mode mode) {
    char text[2000];
    snprintf(text, sizeof text,
             "block inner(x) { return %s }\n"
             "block outer(x) { return %s }\n"
             "block attend(x) { return %s }\n"
             "block norm(x) { return batch_norm(conv2d(x, 16, 3, bias = false)) }\n"
             "block basic(x) { return outer(x + attend(norm(inner(norm(x))))) }\n"
             "net n() {\n    input x: f32[3, 8, 8]\n    x = inner(norm(x))\n    for i in 0..3 { x = basic(x) }\n"
             "    output dense(global_avg_pool(x), 10)\n}\n",
             inner, outer, attention);
    Graph *g = net_graph(text, mode, 4, true);
    int count = count_sweeps(g);
    graph_free(g);
    return count;
}

/* Every activation moves into the convolutions around it as relu does. Behind a sum of feature maps a smooth one needs the sum
 * again in backward, where relu asks its own result for the sign: then the sum is stored, for silu, which is an op, as for all.
 */
START_TEST(activations_cost_no_sweep) {
    Mode mode = _i % 2 ? MODE_INFER : MODE_TRAIN;
    const char *call = activations[_i / 2].call;
    ck_assert_int_eq(sweeps_with(call, "relu(x)", "x", mode), sweeps_with("relu(x)", "relu(x)", "x", mode));
    ck_assert_int_le(sweeps_with("relu(x)", call, "x", mode), (mode == MODE_TRAIN ? 3 + 1 : 0));
}
END_TEST

/* What a block with attention sweeps: forward all its sums and maxima in one loop, which computes the normed map while it loads;
 * backward the sums that the gates' gradients are, and behind them batch norm's, which follow from the others where gates are of
 * lines and columns; their last block's output shares the loop of its gradient. Multiplying by the gates costs nothing anywhere:
 * a prologue or an epilogue does. */
START_TEST(gates_per_pixel_cost_their_sums_only) {
    const char *spatial =
        "x * sigmoid(conv2d(concat(mean_over(x, \"channels\"), max_over(x, \"channels\")), 1, 7, bias = false))";
    const char *coordinate =
        "x * sigmoid(conv2d(mean_over(x, \"width\"), 16, 1)) * sigmoid(conv2d(mean_over(x, \"height\"), 16, 1))";
    int plain = sweeps_with("relu(x)", "relu(x)", "x", MODE_INFER), trained = sweeps_with("relu(x)", "relu(x)", "x", MODE_TRAIN);
    ck_assert_int_eq(sweeps_with("relu(x)", "relu(x)", spatial, MODE_INFER) - plain, 3 * 1 + 1); /* and the pool */
    ck_assert_int_eq(sweeps_with("relu(x)", "relu(x)", coordinate, MODE_INFER) - plain, 3 * 1 + 1);
    ck_assert_int_eq(sweeps_with("relu(x)", "relu(x)", spatial, MODE_TRAIN) - trained, 3 * 3);
    ck_assert_int_eq(sweeps_with("relu(x)", "relu(x)", coordinate, MODE_TRAIN) - trained, 3 * 2 - 1);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("activations");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, values_are_pytorchs, 0, ACTIVATIONS);
    tcase_add_loop_test(tests, compiled_as_evaluated, 0, BOTH_CPUS);
    tcase_add_loop_test(tests, activations_cost_no_sweep, 0, 2 * ACTIVATIONS);
    tcase_add_test(tests, gates_per_pixel_cost_their_sums_only);
    return run_cases("codegen_activations", tests);
}
