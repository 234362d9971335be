/* The memory plan: on random graphs no two buffers that live at the same time overlap, everything is aligned and inside the
 * arena, and the arena is no smaller than the largest live sum. On real networks it is near that bound. */
#include "run_cases.h"
#include "tests/unit/fusion_run.h"
#include "tests/unit/fusion_zoo.h"

/* ---- the target: sizes as in a layout with padding, some odd workspaces ---- */

static uint64_t bytes(void *context, const Graph *g, Val v) {
    (void)context;
    Type type = g->value[v].type;
    int64_t channels = type.rank > 1 ? type.dim[1] : type.rank ? type.dim[0] : 1;
    return (uint64_t)(4 * type_elements(type) / channels * ((channels + 7) / 8 * 8));
}

static uint64_t workspace(void *context, const Graph *g, Val v) {
    (void)context;
    return v % 3 == 0 && g->value[v].nargs ? 1000 + v : 0;
}

static bool external(void *context, const Graph *g, Val v, uint32_t result) {
    (void)context, (void)result;
    return op_attr_kind(g->value[v].op) == ATTR_PARAM || g->value[v].op == OP_CONSTANT;
}

static const PlanTarget target = {NULL, bytes, workspace, external};

/* ---- the properties ---- */

typedef struct Life {
    uint64_t begin, end; /* in the arena */
    Val first, last;
} Life;

/* Worked out afresh: from the source's position to the last reader, an output to the end. */
static uint32_t lives(const Graph *g, const Plan *plan, Life *life) {
    uint32_t n = 0;
    for (Val v = 0; v < g->count; v++) {
        Val made = value_source(g, v, NULL), last = v;
        for (Val u = v + 1; u < g->count; u++) {
            for (uint32_t i = 0; g->value[u].op != OP_RESULT && i < g->value[u].nargs; i++) {
                if (g->value[u].args[i] == v) last = u;
            }
        }
        for (uint32_t i = 0; i < g->noutputs; i++) {
            if (g->output[i].value == v) last = g->count;
        }
        bool outside = external(NULL, g, made, 0);
        ck_assert_int_eq(plan->offset[v] == PLAN_NONE, outside);
        if (!outside) life[n++] = (Life){plan->offset[v], plan->offset[v] + bytes(NULL, g, v), made, last};
        uint64_t extra = g->value[v].op == OP_RESULT ? 0 : workspace(NULL, g, v);
        ck_assert_int_eq(plan->workspace[v] == PLAN_NONE, extra == 0);
        if (extra) life[n++] = (Life){plan->workspace[v], plan->workspace[v] + extra, v, v};
    }
    return n;
}

static void check(const Graph *g, const Plan *plan) {
    Life *life = calloc(2 * (size_t)g->count + 1, sizeof *life);
    uint32_t n = lives(g, plan, life);
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_uint_eq(life[i].begin % 64, 0);
        ck_assert_uint_le(life[i].end, plan->bytes);
        for (uint32_t k = 0; k < i; k++) {
            bool together = life[i].first <= life[k].last && life[k].first <= life[i].last;
            bool overlap = life[i].begin < life[k].end && life[k].begin < life[i].end;
            if (together && overlap)
                ck_abort_msg("buffers [%llu, %llu) and [%llu, %llu) live together at %u", (unsigned long long)life[i].begin,
                             (unsigned long long)life[i].end, (unsigned long long)life[k].begin, (unsigned long long)life[k].end,
                             life[i].first);
        }
    }
    ck_assert_uint_ge(plan->bytes, plan->peak_live);
    ck_assert_uint_le(plan->bytes, plan->total);
    free(life);
}

/* ---- the definition ---- */

typedef struct Placed {
    uint64_t bytes, begin;
    Val first, last;
    uint32_t order;
} Placed;

static int largest_first(const void *a, const void *b) {
    const Placed *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int lowest_first(const void *a, const void *b) {
    const Placed *x = *(const Placed *const *)a, *y = *(const Placed *const *)b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Where `b` belongs beside the `n` buffers that are placed: the tightest gap, the lowest of equals, of those that live with it.
 */
static uint64_t tightest_gap(const Placed *b, Placed *all, uint32_t n) {
    const Placed **together = calloc(n + 1, sizeof *together);
    uint32_t count = 0;
    uint64_t end = 0, best = UINT64_MAX, found = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++)
        if (b->first <= all[i].last && all[i].first <= b->last) together[count++] = &all[i];
    qsort(together, count, sizeof *together, lowest_first);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t gap = together[i]->begin > end ? together[i]->begin - end : 0;
        if (gap >= b->bytes && gap < best) best = gap, found = end;
        if (together[i]->begin + together[i]->bytes > end) end = together[i]->begin + together[i]->bytes;
    }
    free(together);
    return found == UINT64_MAX ? end : found;
}

/* Every buffer stands where the definition in plan.c says, by looking at all that were placed before it. */
static void check_definition(const Graph *g, const Plan *plan) {
    Placed *all = calloc(2 * (size_t)g->count + 1, sizeof *all);
    Life *life = calloc(2 * (size_t)g->count + 1, sizeof *life);
    uint32_t n = lives(g, plan, life);
    for (uint32_t i = 0; i < n; i++)
        all[i] = (Placed){(life[i].end - life[i].begin + 63) / 64 * 64, life[i].begin, life[i].first, life[i].last, i};
    qsort(all, n, sizeof *all, largest_first);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t defined = tightest_gap(&all[i], all, i);
        ck_assert_msg(all[i].begin == defined, "buffer %u of %llu bytes stands at %llu, not at %llu", i,
                      (unsigned long long)all[i].bytes, (unsigned long long)all[i].begin, (unsigned long long)defined);
    }
    free(all);
    free(life);
}

/* ---- random graphs ---- */

static uint32_t random_below(uint32_t seed, uint32_t i, uint32_t n) {
    uint32_t out[4];
    philox4x32((uint32_t[]){i, 0, 0, 0}, (uint32_t[]){seed, 11}, out);
    return out[0] % n;
}

static Val random_map(Zoo *z, uint32_t seed, uint32_t i, const Val *known, uint32_t count) {
    Val args[3];
    for (uint32_t k = 0; k < 3; k++) args[k] = known[random_below(seed, 8 * i + k, count)];
    ExprBuilder b = expr_builder(z->g->arena);
    uint16_t sum = expr_binary(&b, X_ADD, expr_binary(&b, X_ADD, expr_arg(&b, 0), expr_arg(&b, 1)), expr_arg(&b, 2));
    Region regions[3];
    uint32_t n = 1 + random_below(seed, 8 * i + 4, 3);
    for (uint32_t r = 0; r < n; r++) regions[r] = (Region){.role = REGION_OUTPUT, .expr = expr_finish(&b, sum)};
    return graph_add(
        z->g, &(ValueSpec){
                  .op = OP_MAP, .args = args, .nargs = 3, .declared = zoo_type(z, args[0]), .regions = regions, .nregions = n});
}

/* Maps of one to three results over feature maps, with readers near and far; and matrices beside them. */
static Graph *random_graph(uint32_t seed) {
    enum { VALUES = 60 };
    Zoo z = zoo_begin("random", MODE_INFER);
    int64_t size = 1 + random_below(seed, 999, 9);
    Val known[4 * VALUES] = {zoo_image(&z, 2, 1 + random_below(seed, 998, 20), size)};
    uint32_t count = 1;
    for (uint32_t i = 0; i < VALUES && count < 3 * VALUES; i++) {
        uint32_t from = random_below(seed, 8 * i + 5, 2) ? 0 : count - 1;
        Val v = random_map(&z, seed, i, known + from, count - from);
        known[count++] = v;
        uint32_t results = value_results(z.g, v);
        for (uint32_t r = 1; r < results; r++) {
            if (random_below(seed, 8 * i + 6, 2)) known[count++] = graph_result(z.g, v, r);
        }
        if (random_below(seed, 8 * i + 7, 4) == 0) zoo_unary(&z, OP_IMAGE_SUM, v);
    }
    for (uint32_t i = 0; i < 3; i++) /* outputs that are made early and must last */
        graph_output(z.g, OUT_GRAD, known[random_below(seed, 990 + i, count)], "image");
    graph_output(z.g, OUT_LOGITS, zoo_unary(&z, OP_IMAGE_SUM, known[random_below(seed, 997, count)]), NULL);
    return z.g;
}

START_TEST(random_graphs) {
    for (uint32_t seed = 10 * (uint32_t)_i; seed < 10 * (uint32_t)_i + 10; seed++) {
        Graph *g = random_graph(seed);
        Plan plan = plan_memory(g, &target), again = plan_memory(g, &target);
        check(g, &plan);
        check_definition(g, &plan);
        ck_assert_int_eq(memcmp(plan.offset, again.offset, g->count * sizeof *plan.offset), 0);
        plan_free(&plan);
        plan_free(&again);
        graph_free(g);
    }
}
END_TEST

/* ---- networks ---- */

static Graph *fused_resnet(Mode mode, bool se, int blocks) {
    Graph *source = zoo_resnet(mode, 8, 16, 32, 3, blocks, se);
    Diag *diag = diag_new();
    PassResult result;
    ck_assert(passes_run(source, &(PassOptions){.bisect_limit = -1}, diag, &result));
    graph_free(source);
    diag_free(diag);
    Graph *g = result.graph;
    result.graph = NULL;
    passes_result_free(&result);
    return g;
}

START_TEST(networks_are_near_the_bound) {
    Graph *g = fused_resnet(_i & 1 ? MODE_INFER : MODE_TRAIN, _i & 2, 3);
    Plan plan = plan_memory(g, &target);
    check(g, &plan);
    check_definition(g, &plan);
    ck_assert_msg((double)plan.bytes <= 1.05 * (double)plan.peak_live, "%llu bytes for %llu that live at once",
                  (unsigned long long)plan.bytes, (unsigned long long)plan.peak_live);
    ck_assert_uint_lt(plan.bytes, plan.total / 2);
    plan_free(&plan);
    graph_free(g);
}
END_TEST

/* In training gradients have a place of their own, as codegen gives them. */
static bool external_gradients(void *context, const Graph *g, Val v, uint32_t result) {
    const bool *outside = context;
    if (external(NULL, g, v, result) || (result == 0 && outside[v])) return true;
    for (Val r = g->value[v].results; r; r = g->value[r].results)
        if (g->value[r].attrs.index == (int64_t)result && outside[r]) return true;
    return false;
}

static uint64_t steps_of(int blocks, Mode mode, bool se) {
    Graph *g = fused_resnet(mode, se, blocks);
    bool *outside = calloc(g->count, sizeof *outside);
    for (uint32_t i = 0; i < g->noutputs; i++)
        outside[g->output[i].value] = g->output[i].kind == OUT_GRAD || g->output[i].kind == OUT_STATE;
    Plan plan = plan_memory(g, &(PlanTarget){outside, bytes, workspace, external_gradients});
    uint64_t steps = plan.steps;
    plan_free(&plan);
    free(outside);
    graph_free(g);
    return steps;
}

START_TEST(work_grows_like_the_graph) {
    Mode mode = _i & 1 ? MODE_INFER : MODE_TRAIN;
    uint64_t once = steps_of(50, mode, _i & 2), twice = steps_of(100, mode, _i & 2);
    ck_assert_msg(once > 0 && (double)twice < 2.5 * (double)once, "%llu steps become %llu", (unsigned long long)once,
                  (unsigned long long)twice);
}
END_TEST

START_TEST(empty_graph) {
    Graph *g = graph_new("empty", MODE_INFER);
    Plan plan = plan_memory(g, &target);
    ck_assert_uint_eq(plan.bytes, 0);
    ck_assert_uint_eq(plan.peak_live, 0);
    plan_free(&plan);
    graph_free(g);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("plan");
    tcase_add_loop_test(t, random_graphs, 0, 10);
    tcase_add_loop_test(t, networks_are_near_the_bound, 0, 4);
    tcase_add_loop_test(t, work_grows_like_the_graph, 0, 4);
    tcase_add_test(t, empty_graph);
    return run_cases("passes_plan", t);
}
