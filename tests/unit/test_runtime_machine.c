/* The machine: layouts against their written formula, initial values, references, entries on any number of threads. */
#include "run_cases.h"
#include "runtime_softmax.h"
#include <float.h>
#include <pthread.h>
#include <unistd.h>

/* Layouts, spelt out from abi.h element by element, independently of the code. */
typedef struct Case {
    RtLayout layout;
    uint32_t rank;
    int64_t dim[4], block;
} Case;

static const Case cases_of_layout[] = {
    {RT_LAYOUT_VECTOR, 1, {10}, 16},         {RT_LAYOUT_VECTOR, 1, {16}, 16},           {RT_LAYOUT_ROWS, 2, {3, 17}, 8},
    {RT_LAYOUT_ROWS, 2, {10, 64}, 16},       {RT_LAYOUT_FILTERS, 4, {16, 3, 3, 3}, 16}, {RT_LAYOUT_FILTERS, 4, {17, 33, 1, 5}, 8},
    {RT_LAYOUT_FILTERS, 4, {8, 1, 3, 3}, 4}, /* depthwise: I is 1 per group */
    {RT_LAYOUT_DENSE, 4, {2, 3, 4, 5}, 16},
};

static int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static int64_t physical_floats(const Case *c) {
    int64_t dense = 1;
    for (uint32_t i = 0; i < c->rank; i++) dense *= c->dim[i];
    switch (c->layout) {
    case RT_LAYOUT_ROWS: return c->dim[0] * up(c->dim[1], c->block);
    case RT_LAYOUT_FILTERS: return up(c->dim[0], c->block) * up(c->dim[1], c->block) * c->dim[2] * c->dim[3];
    default: return up(dense, c->block);
    }
}

START_TEST(layouts) {
    const Case *c = &cases_of_layout[_i];
    int64_t V = c->block, floats = up(physical_floats(c), 16), n = 1, shift = 32;
    for (uint32_t i = 0; i < c->rank; i++) n *= c->dim[i];
    RtProgram program = {.block = V};
    RtTensor t = {
        .name = "t", .rank = c->rank, .layout = c->layout, .offset = (uint64_t)shift * 4, .bytes = (uint64_t)floats * 4};
    memcpy(t.dim, c->dim, sizeof t.dim);
    float *logical = malloc((size_t)n * 4), *back = malloc((size_t)n * 4), *block = malloc((size_t)(floats + 2 * shift) * 4);
    float *expected = malloc((size_t)(floats + 2 * shift) * 4);
    for (int64_t i = 0; i < n; i++) logical[i] = (float)(i + 1);
    for (int64_t i = 0; i < floats + 2 * shift; i++) block[i] = expected[i] = -1; /* neighbours stay */
    for (int64_t i = 0; i < floats; i++) expected[shift + i] = 0;                 /* padding is zero */
    if (c->layout == RT_LAYOUT_FILTERS) {
        int64_t O = c->dim[0], I = c->dim[1], T = c->dim[2] * c->dim[3], IB = up(I, V) / V;
        for (int64_t o = 0; o < O; o++)
            for (int64_t i = 0; i < I; i++)
                for (int64_t k = 0; k < T; k++)
                    expected[shift + (o / V) * IB * T * V * V + (i / V) * T * V * V + k * V * V + (i % V) * V + o % V] =
                        logical[(o * I + i) * T + k];
    } else if (c->layout == RT_LAYOUT_ROWS) {
        for (int64_t r = 0; r < c->dim[0]; r++)
            for (int64_t k = 0; k < c->dim[1]; k++) expected[shift + r * up(c->dim[1], V) + k] = logical[r * c->dim[1] + k];
    } else {
        memcpy(expected + shift, logical, (size_t)n * 4);
    }
    rt_tensor_pack(&program, &t, logical, (char *)block);
    ck_assert_mem_eq(block, expected, (size_t)(floats + 2 * shift) * 4);
    rt_tensor_unpack(&program, &t, (const char *)block, back);
    ck_assert_mem_eq(back, logical, (size_t)n * 4);
    free(logical), free(back), free(block), free(expected);
}
END_TEST

START_TEST(initial_values) {
    Softmax x;
    softmax_program(&x, 4, 3, 32, 32, 10);
    Bench one = bench_new(&x, 1), three = bench_new(&x, 3);
    rt_machine_init_params(one.machine, 5);
    rt_machine_init_params(three.machine, 5);
    ck_assert_mem_eq(rt_machine_space(one.machine, RT_PARAMS), rt_machine_space(three.machine, RT_PARAMS),
                     x.program.params_bytes);
    float *weight = malloc(10 * 3072 * sizeof *weight), bias[10], mean[10];
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(one.machine, RT_PARAMS), weight);
    rt_tensor_unpack(&x.program, &x.params[1], rt_machine_space(one.machine, RT_PARAMS), bias);
    rt_tensor_unpack(&x.program, &x.state[0], rt_machine_space(one.machine, RT_STATE), mean);
    double sum = 0, squares = 0;
    for (int i = 0; i < 30720; i++) sum += weight[i], squares += (double)weight[i] * weight[i];
    ck_assert_double_lt(fabs(sum / 30720), 0.0003);
    ck_assert_double_lt(fabs(sqrt(squares / 30720) - 0.01), 0.0002);
    for (int i = 0; i < 10; i++) ck_assert(bias[i] == 0 && mean[i] == 0.5f);
    rt_machine_init_params(three.machine, 6);
    ck_assert_mem_ne(rt_machine_space(one.machine, RT_PARAMS), rt_machine_space(three.machine, RT_PARAMS), 4096);
    free(weight);
    bench_free(&one);
    bench_free(&three);
}
END_TEST

START_TEST(uniform_initial_values) {
    Softmax x;
    softmax_program(&x, 4, 1, 20, 20, 10);
    x.params[0].init = RT_INIT_UNIFORM;
    x.params[0].init_value = 0.25;
    Bench b = bench_new(&x, 2);
    rt_machine_init_params(b.machine, 1);
    float *weight = malloc(4000 * sizeof *weight), low = 1, high = -1;
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), weight);
    for (int i = 0; i < 4000; i++) low = fminf(low, weight[i]), high = fmaxf(high, weight[i]);
    ck_assert(low >= -0.25f && low < -0.24f && high <= 0.25f && high > 0.24f);
    float first = weight[0]; /* its place in the table does not matter, its position does */
    RtTensor swapped[] = {x.params[1], x.params[0]};
    x.program.params = swapped;
    rt_machine_init_params(b.machine, 1);
    rt_tensor_unpack(&x.program, &swapped[1], rt_machine_space(b.machine, RT_PARAMS), weight);
    ck_assert(weight[0] == first);
    swapped[1].position = 3;
    rt_machine_init_params(b.machine, 1);
    rt_tensor_unpack(&x.program, &swapped[1], rt_machine_space(b.machine, RT_PARAMS), weight);
    ck_assert(weight[0] != first);
    free(weight);
    bench_free(&b);
}
END_TEST

/* As torch.nn.init.dirac_(w[:w.size(1)]) leaves a fresh weight: the rest stays PyTorch's default. */
START_TEST(dirac_initial_values) {
    Softmax x;
    softmax_program(&x, 4, 3, 8, 8, 10);
    static const int64_t shapes[][4] = {{10, 4, 3, 3}, {2, 4, 3, 3}, {5, 5, 2, 3}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        int64_t O = shapes[k][0], I = shapes[k][1], kh = shapes[k][2], kw = shapes[k][3];
        x.params[0].init = RT_INIT_DIRAC;
        memcpy(x.params[0].dim, shapes[k], sizeof shapes[k]);
        Bench b = bench_new(&x, 2);
        rt_machine_init_params(b.machine, 1);
        float weight[10 * 4 * 9], high = 0, bound = (float)(1 / sqrt((double)(I * kh * kw)));
        rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), weight);
        for (int64_t i = 0; i < O * I * kh * kw; i++) {
            int64_t o = i / (I * kh * kw), in = i / (kh * kw) % I, y = i / kw % kh, c = i % kw;
            if (o < I)
                ck_assert(weight[i] == (o == in && y == kh / 2 && c == kw / 2 ? 1 : 0));
            else
                high = fmaxf(high, fabsf(weight[i]));
        }
        ck_assert(high <= bound && (O <= I || high > 0.9F * bound));
        bench_free(&b);
    }
}
END_TEST

START_TEST(blocks) {
    Softmax x;
    softmax_program(&x, 100, 3, 64, 64, 10); /* images of 4.9 MB: the large kind of block */
    Bench b = bench_new(&x, 2);
    ck_assert_ptr_eq(rt_machine_program(b.machine), &x.program);
    for (int s = 0; s < RT_SPACE_COUNT; s++) {
        if (s == RT_CONSTANT) continue;
        ck_assert_uint_eq((uintptr_t)rt_machine_space(b.machine, (RtSpace)s) % 64, 0);
    }
    const float *images = rt_machine_space(b.machine, RT_IMAGES);
    bool zero = true;
    for (int i = 0; i < 100 * 3 * 64 * 64; i++) zero = zero && images[i] == 0;
    ck_assert(zero);
    bench_free(&b);
}
END_TEST

START_TEST(timed_run_is_the_same_run) {
    Softmax x;
    softmax_program(&x, 8, 3, 8, 8, 10);
    Bench a = bench_new(&x, 1), b = bench_new(&x, 4);
    double seconds[3] = {0};
    rt_machine_init_params(a.machine, 1);
    rt_machine_init_params(b.machine, 1);
    for (Bench *m = &a; m; m = m == &a ? &b : NULL) {
        float *images = rt_machine_space(m->machine, RT_IMAGES);
        for (uint64_t i = 0; i < 8 * 192; i++) images[i] = (float)rt_normal(1, RT_STREAM_AUGMENT, i, 0);
    }
    rt_machine_run(a.machine, &x.program.train_step);
    rt_machine_run_timed(b.machine, &x.program.train_step, seconds);
    ck_assert_mem_eq(rt_machine_space(a.machine, RT_GRADS), rt_machine_space(b.machine, RT_GRADS), x.program.params_bytes);
    for (int i = 0; i < 3; i++) ck_assert(seconds[i] > 0 && seconds[i] < 5);
    bench_free(&a);
    bench_free(&b);
}
END_TEST

/* In memory of the caller, exactly as much as it says (ASan sees more), whatever was there before; without a pool. */
START_TEST(placed) {
    Softmax x;
    softmax_program(&x, 8, 3, 8, 8, 10);
    Bench a = bench_new(&x, 1);
    RtError error = {{0}};
    uint64_t bytes = rt_machine_bytes(&x.program, 1);
    void *memory = aligned_alloc(64, bytes);
    memset(memory, 0xa5, bytes);
    RtMachine *m = rt_machine_place(&x.program, NULL, memory, &error), *both[] = {a.machine, m};
    ck_assert_msg(m != NULL, "%s", error.text);
    for (int k = 0; k < 2; k++) {
        float *images = rt_machine_space(both[k], RT_IMAGES);
        rt_machine_init_params(both[k], 1);
        for (uint64_t i = 0; i < 8 * 192; i++) images[i] = (float)rt_normal(1, RT_STREAM_AUGMENT, i, 0);
        rt_machine_run(both[k], &x.program.train_step);
    }
    ck_assert_mem_eq(rt_machine_space(a.machine, RT_GRADS), rt_machine_space(m, RT_GRADS), x.program.params_bytes);
    ck_assert_uint_gt(rt_machine_bytes(&x.program, 2), bytes);
    bench_free(&a);
    free(memory);
}
END_TEST

/* No memory for what nothing reads. */
START_TEST(sgd_has_one_moment) {
    Softmax x;
    softmax_program(&x, 8, 3, 8, 8, 10);
    uint64_t sgd = rt_machine_bytes(&x.program, 1);
    x.program.recipe.optimizer.kind = RT_ADAM;
    ck_assert_uint_eq(rt_machine_bytes(&x.program, 1) - sgd, (x.program.params_bytes + 63) / 64 * 64);
}
END_TEST

static void refuse(const RtProgram *program, const char *says) {
    RtError error = {{0}};
    RtPool *pool = rt_pool_new(1);
    ck_assert_ptr_null(rt_machine_new(program, pool, &error));
    ck_assert_msg(strstr(error.text, says) != NULL, "'%s' is not in '%s'", says, error.text);
    rt_pool_free(pool);
}

/* Ten images in groups of three: the same bits as in one group, on any number of threads, for any count; groups that no image of
 * the count is in are left alone. */
START_TEST(groups_of_inference) {
    enum { IMAGES = 10, CLASSES = 5, GROUP = 3, PIXELS = 3 * 4 * 4 };
    static const int threads[] = {1, 2, 5};
    Softmax x;
    softmax_program(&x, IMAGES, 3, 4, 4, CLASSES);
    float whole[IMAGES * CLASSES];
    for (int t = -1; t < 3; t++) {
        if (t >= 0) x.program.eval_batch = x.eval[0].pieces = GROUP;
        Bench b = bench_new(&x, t < 0 ? 1 : threads[t]);
        rt_machine_init_params(b.machine, 3);
        float *images = rt_machine_space(b.machine, RT_IMAGES), *logits = rt_machine_space(b.machine, RT_LOGITS);
        for (int i = 0; i < IMAGES * PIXELS; i++) images[i] = sinf((float)i);
        rt_machine_run(b.machine, &x.program.prepare_eval);
        ck_assert_int_eq(rt_machine_group(b.machine), t < 0 ? IMAGES : GROUP);
        for (int count = t < 0 ? IMAGES : 1; count <= IMAGES; count++) {
            int computed = (count + GROUP - 1) / GROUP * GROUP;
            for (int i = 0; i < IMAGES * CLASSES; i++) logits[i] = -99;
            rt_machine_infer(b.machine, count);
            if (t < 0) memcpy(whole, logits, sizeof whole);
            ck_assert_mem_eq(logits, whole, (size_t)count * CLASSES * sizeof(float));
            for (int i = computed * CLASSES; i < IMAGES * CLASSES && t >= 0; i++) ck_assert_float_eq(logits[i], -99);
        }
        bench_free(&b);
    }
}
END_TEST

static bool elsewhere, expected;
static pthread_t here;
/* Whoever was here first gives another thread time to come, if one should. */
static void note_thread(char *const *buf, const RtStepEnv *env, int64_t piece, char *scratch) {
    (void)buf, (void)env, (void)piece, (void)scratch;
    if (!pthread_equal(pthread_self(), here)) __atomic_store_n(&elsewhere, true, __ATOMIC_RELAXED);
    for (int i = 0; expected && i < 10000 && !__atomic_load_n(&elsewhere, __ATOMIC_RELAXED); i++) usleep(1000);
}

/* Where groups have a thread each, calls are timed as such a thread runs them; one group of them, or a single one, has all
 * threads. */
START_TEST(a_group_is_timed_as_it_runs) {
    Softmax x;
    softmax_program(&x, 8, 3, 4, 4, 5);
    here = pthread_self();
    double seconds[8] = {0};
    for (int group = 8; group >= 4; group -= 4) {
        x.program.eval_batch = group;
        x.eval[0].pieces = 8;
        x.eval[0].kernel = note_thread;
        Bench b = bench_new(&x, 3);
        elsewhere = false;
        expected = group == 8;
        rt_machine_run_timed(b.machine, &x.program.eval_step, seconds);
        ck_assert(elsewhere == expected);
        elsewhere = false;
        expected = true;
        rt_machine_infer(b.machine, group);
        ck_assert(elsewhere);
        bench_free(&b);
    }
}
END_TEST

START_TEST(impossible_programs) {
    Softmax x;
    softmax_program(&x, 8, 3, 8, 8, 10);
    RtProgram bad = x.program;
    static const uint32_t versions[] = {0, RT_ABI_VERSION - 1, RT_ABI_VERSION + 1, 99}; /* older ones too */
    for (int i = 0; i < 4; i++) {
        char says[32];
        snprintf(says, sizeof says, "version %u,", bad.abi_version = versions[i]);
        refuse(&bad, says);
    }
    bad = x.program;
    bad.arena_bytes = UINT64_MAX / 2;
    refuse(&bad, "out of memory");
    bad = x.program;
    bad.height = bad.width = (int64_t)1 << 31; /* 4 * 8 * 3 * 2^62 bytes do not fit into 64 bits */
    refuse(&bad, "out of memory");
    x.gradient_refs[2] = (RtRef){.space = RT_MOMENT2, .offset = 64}; /* which SGD has not */
    refuse(&x.program, "outside its memory");
    x.gradient_refs[2] = (RtRef){.space = RT_ARENA, .offset = x.program.arena_bytes + 64};
    refuse(&x.program, "outside its memory");
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("machine");
    tcase_add_loop_test(cases, layouts, 0, sizeof cases_of_layout / sizeof *cases_of_layout);
    tcase_add_test(cases, initial_values);
    tcase_add_test(cases, uniform_initial_values);
    tcase_add_test(cases, dirac_initial_values);
    tcase_add_test(cases, blocks);
    tcase_add_test(cases, timed_run_is_the_same_run);
    tcase_add_test(cases, placed);
    tcase_add_test(cases, sgd_has_one_moment);
    tcase_add_test(cases, groups_of_inference);
    tcase_add_test(cases, a_group_is_timed_as_it_runs);
    tcase_add_test(cases, impossible_programs);
    return run_cases("runtime/machine", cases);
}
