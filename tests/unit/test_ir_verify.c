/* The verifier's refusals: each case damages a sound graph in one place. */
#include "ir_helpers.h"

static const char sound[] = {
    "graph \"t\" train\n"
    "%0 = input {name=\"x\"} : f32[2,3,8,8]\n"
    "%1 = param {name=\"w\", init=he_normal(1), decay=true} : f32[4,3,3,3]\n"
    "%2 = state {name=\"mean\", init=constant(0)} : f32[4]\n"
    "%3 = conv2d %0, %1 {kernel=[3,3], stride=[1,1], pad=[1,1,1,1], dilation=[1,1], groups=1} : f32[2,4,8,8]\n"
    "  epilogue { t0 = max acc, 0; t0 }\n"
    "  reduce { out }\n"
    "%4 = result %3 {index=1} : f32[2,4]\n"
    "%5 = batch_sum %4 : f32[4]\n"
    "%6 = channel_sum %5 : f32[]\n"
    "return logits %4\n"
    "return loss %6\n"
    "return state \"mean\" %5\n"
    "return grad \"w\" %1\n"};

static void damage_argument_order(Graph *g) { g->value[3].args[0] = 4; }
static void damage_own_argument(Graph *g) { g->value[5].args[0] = 5; }
static void damage_arity(Graph *g) { g->value[5].nargs = 0; }
static void damage_op(Graph *g) { g->value[5].op = (Op)1000; }
static void damage_type(Graph *g) { g->value[5].type = type_vector(5); }
static void damage_attribute(Graph *g) { g->value[3].attrs.window.stride[0] = 0; }
static void damage_region_operand(Graph *g) { g->value[3].regions[0].expr->node[2].arg[0] = 2; }
static void damage_region_role(Graph *g) { g->value[3].regions[1].role = REGION_PROLOGUE; }
static void damage_result_index(Graph *g) { g->value[4].attrs.index = 2; }
static void damage_name(Graph *g) { g->value[1].attrs.param.name = "x"; }
static void damage_output_value(Graph *g) { g->output[0].value = 99; }
static void damage_output_kind(Graph *g) { g->output[0].kind = (OutputKind)9; }
static void damage_output_type(Graph *g) { g->output[1].value = 5; }
static void damage_output_name(Graph *g) { g->output[2].name = NULL; }
static void damage_output_unknown(Graph *g) { g->output[2].name = "variance"; }
static void damage_output_not_state(Graph *g) { g->output[2].name = "w"; }
static void damage_output_not_param(Graph *g) { g->output[3].name = "mean"; }
static void damage_gradient_type(Graph *g) { g->output[3].value = 5; }
static void damage_gradient_shape(Graph *g) { g->output[3].value = 0; }
static void damage_output_twice(Graph *g) { graph_output(g, OUT_LOSS, 6, NULL); }
static void damage_state_twice(Graph *g) { graph_output(g, OUT_STATE, 5, "mean"); }

static void damage_leaf_name(Graph *g) { g->value[1].attrs.param.name = NULL; }
static void damage_graph_name(Graph *g) { g->name = NULL; }
static void damage_position(Graph *g) { g->value[1].attrs.param.position = 0; }

static void damage_positions(Graph *g) {
    graph_add(g, &(ValueSpec){.op = OP_PARAM, .attrs.param = {.name = "v", .position = 1}, .declared = type_scalar()});
}

static void damage_double_result(Graph *g) {
    Val source = 3;
    graph_add(g, &(ValueSpec){.op = OP_RESULT, .args = &source, .nargs = 1, .attrs.index = 1});
}

static const struct {
    void (*damage)(Graph *g);
    const char *sentence;
} cases_table[] = {
    {damage_argument_order, "%3: conv2d: argument 1 is not an earlier value"},
    {damage_own_argument, "%5: batch_sum: argument 1 is not an earlier value"},
    {damage_arity, "%5: batch_sum: needs 1 argument, found 0"},
    {damage_op, "%5: there is no op number 1000"},
    {damage_type, "%5: batch_sum has the type f32[5], its shape rule gives f32[4]"},
    {damage_attribute, "%3: conv2d: the stride must be between 1 and 2^20, found 0"},
    {damage_region_operand, "%3: conv2d: the region 'epilogue' uses a value before it is computed"},
    {damage_region_role, "%3: conv2d: the region 'prologue' cannot read the op's output"},
    {damage_result_index, "%4: result: conv2d has 2 results, there is no result 2"},
    {damage_name, "the name \"x\" is taken twice"},
    {damage_output_value, "the output 'logits' is %99, which does not exist"},
    {damage_output_kind, "there is no output kind number 9"},
    {damage_output_type, "the output 'loss' must be f32[], found f32[4]"},
    {damage_output_name, "the output 'state' of %5 needs a name"},
    {damage_output_unknown, "the output 'state' names \"variance\", but there is no such state"},
    {damage_output_not_state, "the output 'state' names \"w\", but there is no such state"},
    {damage_output_not_param, "the output 'grad' names \"mean\", but there is no such parameter or input"},
    {damage_gradient_type, "the output 'grad' \"w\" must be f32[4,3,3,3], found f32[4]"},
    {damage_gradient_shape, "the output 'grad' \"w\" must be f32[4,3,3,3], found f32[2,3,8,8]"},
    {damage_output_twice, "the output 'loss' is given twice"},
    {damage_state_twice, "the output 'state' \"mean\" is given twice"},
    {damage_leaf_name, "%1: param: needs a name"},
    {damage_graph_name, "the graph has no name"},
    {damage_position, "\"w\" has the position 0; positions count from 1"},
    {damage_positions, "\"v\" and \"w\" have the same position 1"},
    {damage_double_result, "%7: result 1 of %3 is already %4"},
};

START_TEST(damage_is_found) {
    Graph *g = must_read(sound);
    ck_assert_ptr_null(graph_verify(g, 0));
    cases_table[_i].damage(g);
    char *why = graph_verify(g, 0);
    ck_assert_msg(why != NULL, "not found: %s", cases_table[_i].sentence);
    ck_assert_str_eq(why, cases_table[_i].sentence);
    free(why);
    graph_free(g);
}
END_TEST

START_TEST(tiers_are_kept_apart) {
    Graph *g = must_read(sound);
    graph_unary(g, OP_RELU, 4, (Span){0});
    ck_assert_ptr_null(graph_verify(g, TIER_SOURCE | TIER_NET));
    char *why = graph_verify(g, TIER_NET);
    ck_assert_str_eq(why, "%7: relu does not belong into a graph of this stage");
    free(why);
    graph_free(g);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("verify");
    tcase_add_loop_test(cases, damage_is_found, 0, sizeof cases_table / sizeof *cases_table);
    tcase_add_test(cases, tiers_are_kept_apart);
    return run_cases("ir verify", cases);
}
