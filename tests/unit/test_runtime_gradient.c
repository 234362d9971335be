/* Clipping by norm as torch.nn.utils.clip_grad_norm_ does it, and sums of several batches' gradients. */
#include "run_cases.h"
#include "runtime/gradient.h"
#include "runtime_softmax.h"

enum { WEIGHTS = 3072, ALL = WEIGHTS + 16 };

static void fill(float *g, uint64_t key) {
    for (int i = 0; i < ALL; i++) g[i] = (float)rt_normal(7, 1, key, (uint32_t)i);
}

START_TEST(clip) {
    static float before[ALL];
    Softmax x;
    softmax_program(&x, 4, 3, 8, 8, 10);
    ck_assert_uint_eq(x.program.params_bytes, ALL * sizeof(float));
    for (int kind = 0; kind < 4; kind++) { /* all; the bias frozen for good, from epoch 2 on; no more than is allowed */
        Bench one = bench_new(&x, 1), many = bench_new(&x, 4);
        float *g = rt_machine_space(one.machine, RT_GRADS), *h = rt_machine_space(many.machine, RT_GRADS);
        x.params[1].until = kind == 1 ? -1 : kind == 2 ? 2 : 0;
        rt_machine_env(one.machine)->epoch = rt_machine_env(many.machine)->epoch = 2.5;
        fill(g, 1), fill(h, 1);
        memcpy(before, g, sizeof before);
        double sum = 0, norm, again, most = kind == 3 ? 100 : 3;
        for (int i = 0; i < (kind == 1 || kind == 2 ? WEIGHTS : ALL); i++) sum += (double)g[i] * g[i];
        ck_assert(rt_gradient_clip(one.machine, most, &norm) && rt_gradient_clip(many.machine, most, &again));
        ck_assert_double_eq_tol(norm, sqrt(sum), 1e-9 * norm);
        ck_assert(norm == again && !memcmp(g, h, sizeof before));
        double factor = fmin(1, most / (norm + 1e-6));
        ck_assert((factor == 1) == (kind == 3));
        for (int i = 0; i < ALL; i++) {
            bool frozen = i >= WEIGHTS && (kind == 1 || kind == 2); /* what stands there is nobody's */
            ck_assert_double_eq_tol(g[i], (frozen ? 1 : factor) * before[i], 1e-6);
        }
        bench_free(&one);
        bench_free(&many);
    }
}
END_TEST

START_TEST(accumulate) {
    static float sum[ALL], part[3][ALL];
    Softmax x;
    softmax_program(&x, 4, 3, 8, 8, 10);
    Bench b = bench_new(&x, 3);
    float *g = rt_machine_space(b.machine, RT_GRADS);
    memset(sum, 0x7f, sizeof sum); /* what it held before does not count */
    for (int i = 0; i < 3; i++) {
        fill(part[i], (uint64_t)i);
        memcpy(g, part[i], sizeof part[i]);
        rt_gradient_accumulate(b.machine, sum, i, 3);
    }
    for (int i = 0; i < ALL; i++) ck_assert_double_eq_tol(g[i], ((double)part[0][i] + part[1][i] + part[2][i]) / 3, 1e-6);
    bench_free(&b);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("gradient");
    tcase_add_test(cases, clip);
    tcase_add_test(cases, accumulate);
    return run_cases("runtime/gradient", cases);
}
