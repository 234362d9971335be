/* squeeze: which sums over feature maps are left, and that what replaces the others is as accurate in f32. That it keeps the
 * values is test_passes_fuse.c's; single rewrites, fired and refused, are tests/golden/fusion/squeeze_*. */
#include "run_cases.h"
#include "tests/unit/fusion_run.h"
#include "tests/unit/fusion_zoo.h"

static Graph *squeezed(Graph *g) {
    PassContext context = new_context(-1);
    g = run(prepare(g), "squeeze", pass_squeeze, &context);
    arena_free(context.arena);
    return g;
}

static int count_sums(const Graph *g) {
    int sums = 0;
    for (Val v = 0; v < g->count; v++) {
        sums += g->value[v].op == OP_IMAGE_SUM;
        for (uint32_t r = 0; r < g->value[v].nregions; r++) sums += region_sums(g->value[v].regions[r].role);
    }
    return sums;
}

/* Per batch norm its moments forward and two sums backward; one of the last block's output, and the gradient of that pool needs
 * the two sums of its mask in place of two of dr. Gates need none of their own. */
START_TEST(a_gate_adds_no_sum) {
    Graph *plain = squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 8, 2, 2, false)),
          *se = squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 8, 2, 2, true));
    int batch_norms = 9;
    ck_assert_int_eq(count_sums(plain), 3 * batch_norms + 1);
    ck_assert_int_eq(count_sums(se), count_sums(plain));
    graph_free(plain);
    graph_free(se);
}
END_TEST

START_TEST(a_gate_adds_no_sum_in_inference) {
    Graph *plain = squeezed(zoo_resnet(MODE_INFER, 2, 4, 8, 2, 2, false)),
          *se = squeezed(zoo_resnet(MODE_INFER, 2, 4, 8, 2, 2, true));
    ck_assert_int_eq(count_sums(plain), 1);
    ck_assert_int_eq(count_sums(se), 1 + 4); /* of raw results: the squeezes themselves */
    for (Val v = 0; v < se->count; v++) {
        const Value *sum = &se->value[v];
        if (sum->op != OP_IMAGE_SUM || se->value[sum->args[0]].op == OP_CONV2D) continue;
        ck_assert_int_eq(se->value[sum->args[0]].op, OP_MAP); /* the pool at the end, behind a relu */
    }
    graph_free(plain);
    graph_free(se);
}
END_TEST

/* A second run finds nothing to do. */
START_TEST(it_ends) {
    Graph *g = squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 8, 2, 2, true));
    PassContext context = new_context(-1);
    context.row = pass_find("squeeze");
    Graph *twice = pass_squeeze(g, &context);
    ck_assert_int_eq(context.rewrites, 0);
    char *before = graph_to_string(g), *after = graph_to_string(twice);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    graph_free(g);
    graph_free(twice);
    arena_free(context.arena);
}
END_TEST

static double distance(const Tensor *a, const Tensor *b, uint32_t output) {
    double difference = 0, norm = 0;
    for (int64_t k = 0; k < type_elements(a[output].type); k++) {
        difference += pow(a[output].data[k] - b[output].data[k], 2);
        norm += pow(b[output].data[k], 2);
    }
    return norm > 0 ? sqrt(difference / norm) : 0;
}

/* With every value rounded to f32, gradients are as far from those in double as without the pass, within a small factor. */
START_TEST(no_accuracy_is_lost_in_f32) {
    Graph *plain = prepare(zoo_resnet(MODE_TRAIN, 2, 4, 16, 2, 1, true)),
          *fast = squeezed(zoo_resnet(MODE_TRAIN, 2, 4, 16, 2, 1, true));
    Leaves leaves = {.count = 0};
    Tensor *exact = evaluate(plain, &leaves, false), *rounded = evaluate(plain, &leaves, true),
           *ours = evaluate(fast, &leaves, true);
    for (uint32_t i = 0; i < plain->noutputs; i++) {
        double reference = distance(rounded, exact, i), found = distance(ours, exact, i);
        ck_assert_msg(found <= 8 * reference + 4e-6, "output %u: relative error %g, without squeeze %g", i, found, reference);
    }
    free_outputs(plain, exact);
    free_outputs(plain, rounded);
    free_outputs(fast, ours);
    free_leaves(&leaves);
    graph_free(plain);
    graph_free(fast);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("squeeze");
    tcase_add_test(tests, a_gate_adds_no_sum);
    tcase_add_test(tests, a_gate_adds_no_sum_in_inference);
    tcase_add_test(tests, it_ends);
    tcase_add_test(tests, no_accuracy_is_lost_in_f32);
    return run_cases("passes_squeeze", tests);
}
