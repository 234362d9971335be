/* Whitening: eigenvectors, and that filters made of them whiten. Against PyTorch: tests/e2e/torch_airbench.py. */
#include "run_cases.h"
#include "runtime/augment.h"
#include "runtime/whiten.h"
#include "runtime_softmax.h"

enum { N = 27 };

/* A v_i = value_i v_i, and the v_i are orthonormal, also where eigenvalues are equal or zero. */
START_TEST(eigenvectors) {
    static double a[N * N], kept[N * N], v[N * N];
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < N; i++)
            for (int k = 0; k <= i; k++) {
                double value = kind == 0   ? rt_normal(7, 1, (uint64_t)(i * N + k), 0)
                               : kind == 1 ? 1.0 / (i + k + 1)
                               : i == k    ? 2
                                           : 0;
                a[i * N + k] = a[k * N + i] = value;
            }
        memcpy(kept, a, sizeof a);
        rt_eigenvectors(a, v, N);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < N; k++) {
                double product = 0, dot = 0;
                for (int j = 0; j < N; j++) product += kept[k * N + j] * v[i * N + j], dot += v[i * N + j] * v[k * N + j];
                ck_assert_double_eq_tol(product, a[i * N + i] * v[i * N + k], 1e-12);
                ck_assert_double_eq_tol(dot, i == k, 1e-12);
            }
    }
}
END_TEST

/* The filters' outputs over the images that they are made of are uncorrelated with variances l / (l + eps), falling; the second
 * half is the first one's negative; the same bits on any number of threads. */
START_TEST(filters_whiten) {
    enum { AXES = 12, SIDE = 8, PLANE = SIDE * SIDE };
    static const double eps = 1e-3;
    Softmax x;
    RtError error;
    RtData data;
    float filters[2 * AXES * AXES], image[3 * PLANE];
    static double moment[AXES][AXES];
    softmax_program(&x, 4, 3, SIDE, SIDE, 10);
    x.params[0].init = RT_INIT_WHITEN;
    x.params[0].init_value = eps;
    memcpy(x.params[0].dim, ((int64_t[]){2 * AXES, 3, 2, 2}), sizeof x.params[0].dim);
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 3, SIDE, SIDE, 10, &data, &error), RT_OK);
    data.ntrain = 730; /* fewer than are looked at, and a part of a piece */
    Bench b = bench_new(&x, 1), many = bench_new(&x, 3);
    ck_assert(rt_wants_data(&x.program));
    ck_assert_int_eq(rt_whiten(b.machine, &data, &error), RT_OK);
    ck_assert_int_eq(rt_whiten(many.machine, &data, &error), RT_OK);
    ck_assert_mem_eq(rt_machine_space(b.machine, RT_PARAMS), rt_machine_space(many.machine, RT_PARAMS), x.program.params_bytes);
    rt_tensor_unpack(&x.program, &x.params[0], rt_machine_space(b.machine, RT_PARAMS), filters);
    RtNormalizer normalizer = rt_normalizer(&data, x.program.recipe.normalize);
    int64_t patches = 0;
    for (int64_t n = 0; n < data.ntrain; n++) {
        rt_normalize_image(&normalizer, &data, data.train_images + n * 3 * PLANE, image);
        for (int y = 0; y < SIDE - 1; y++)
            for (int c = 0; c < SIDE - 1; c++, patches++) {
                double out[AXES] = {0};
                for (int o = 0; o < AXES; o++)
                    for (int t = 0; t < AXES; t++)
                        out[o] += (double)filters[o * AXES + t] * image[t / 4 * PLANE + (y + t / 2 % 2) * SIDE + c + t % 2];
                for (int i = 0; i < AXES; i++)
                    for (int k = 0; k < AXES; k++) moment[i][k] += out[i] * out[k];
            }
    }
    for (int i = 0; i < AXES; i++)
        for (int k = 0; k < AXES; k++) {
            double norm = 0, got = moment[i][k] / (double)patches;
            for (int t = 0; t < AXES; t++) norm += (double)filters[i * AXES + t] * filters[i * AXES + t];
            /* a filter's norm is 1 / (l + eps), so l / (l + eps) is 1 - eps times it */
            ck_assert_double_eq_tol(got, i == k ? 1 - eps * norm : 0, 1e-4);
            ck_assert(filters[(i + AXES) * AXES + k] == -filters[i * AXES + k]);
            if (i && k == i) ck_assert(moment[i][i] <= moment[i - 1][i - 1] * (1 + 1e-6));
        }
    bench_free(&b);
    bench_free(&many);
    rt_data_free(&data);
}
END_TEST

START_TEST(refused) {
    Softmax x;
    RtError error;
    RtData data;
    softmax_program(&x, 4, 3, 8, 8, 10);
    ck_assert(!rt_wants_data(&x.program));
    x.params[0].init = RT_INIT_WHITEN;
    memcpy(x.params[0].dim, ((int64_t[]){10, 1, 2, 2}), sizeof x.params[0].dim);
    ck_assert_int_eq(rt_data_open_shaped("synthetic", 3, 8, 8, 10, &data, &error), RT_OK);
    Bench b = bench_new(&x, 1);
    ck_assert_int_eq(rt_whiten(b.machine, &data, &error), RT_INPUT);
    ck_assert_str_eq(error.text, "dense.weight cannot be whitened by images of 3x8x8");
    bench_free(&b);
    rt_data_free(&data);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("whiten");
    tcase_add_test(cases, eigenvectors);
    tcase_add_test(cases, filters_whiten);
    tcase_add_test(cases, refused);
    return run_cases("runtime/whiten", cases);
}
