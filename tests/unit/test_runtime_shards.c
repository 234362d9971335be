/* Sums over the shards of a batch in one process: the tree of shards.h, on any number of threads. Ranks: tests/e2e/ranks.py. */
#include "run_cases.h"
#include "runtime/ranks.h"
#include "runtime/shards.h"
#include <stdlib.h>
#include <string.h>

enum { COUNT = 20011, STRIDE = COUNT + 5 }; /* several pieces of additions, and a gap between shards */

static double value(int64_t shard, int64_t i) {
    return (double)((shard * 7919 + i * 104729) % 100003) * 1e-3 + 1.0 / (double)(i + 3);
}

/* A block of `width` shards from `first` on, as the definition has it. */
static double tree(int64_t first, int64_t width, int64_t shards, int64_t i, bool wide) {
    if (width == 1) return wide ? value(first, i) : (float)value(first, i);
    int64_t half = width / 2;
    double left = tree(first, half, shards, i, wide);
    if (first + half >= shards) return left;
    double right = tree(first + half, half, shards, i, wide);
    return wide ? left + right : (float)left + (float)right;
}

static void check(int64_t shards, int threads, RtCombine how) {
    bool wide = how == RT_COMBINE_F64;
    RtPool *pool = rt_pool_new(threads);
    RtShards *s = rt_shards_new(pool, NULL, shards);
    double *f64 = malloc((size_t)(shards * STRIDE) * sizeof *f64);
    float *f32 = (float *)(void *)f64;
    ck_assert(pool && s && f64);
    for (int64_t k = 0; k < shards * STRIDE; k++)
        if (wide)
            f64[k] = value(k / STRIDE, k % STRIDE);
        else
            f32[k] = (float)value(k / STRIDE, k % STRIDE);
    int64_t width = 1;
    while (width < shards) width *= 2;
    rt_shards_sum(s, f64, STRIDE * (wide ? sizeof(double) : sizeof(float)), how, COUNT);
    rt_shards_proceed(s);
    rt_shards_finish(s);
    for (int64_t i = 0; i < STRIDE; i++) {
        double got = wide ? f64[i] : (double)f32[i],
               expected = i < COUNT ? tree(0, width, shards, i, wide) : tree(0, 1, shards, i, wide);
        ck_assert_msg(got == expected, "%d shards, number %d: %.17g, not %.17g", (int)shards, (int)i, got, expected);
    }
    free(f64);
    rt_shards_free(s);
    rt_pool_free(pool);
}

START_TEST(is_the_tree) {
    for (int64_t shards = 1; shards <= 9; shards++)
        for (RtCombine how = RT_COMBINE_F32; how <= RT_COMBINE_LATER; how++) check(shards, 1 + (int)(shards % 3), how);
}
END_TEST

/* A process alone has all of them. */
START_TEST(ranks_share_alone) {
    for (int64_t shards = 1; shards <= RT_MAX_SHARDS; shards++) {
        RtShare share = rt_ranks_share(NULL, 0, shards);
        ck_assert(share.first == 0 && share.count == shards);
    }
}
END_TEST

START_TEST(what_cannot_be_shared) {
    RtProgram p = {.batch = 30, .shards = 4};
    RtError error;
    ck_assert_int_eq(rt_shards_check(&p, NULL, &error), RT_INPUT);
    ck_assert_str_eq(error.text, "a batch of 30 images cannot be cut into 4 equal shards ('train.shards')");
    p.shards = 0;
    p.recipe.shards = 7; /* of a program without code */
    ck_assert_int_eq(rt_shards_check(&p, NULL, &error), RT_INPUT);
    p.recipe.shards = 6;
    ck_assert_int_eq(rt_shards_check(&p, NULL, &error), RT_OK);
    p.batch = 2 * (p.shards = RT_MAX_SHARDS + 1);
    ck_assert_int_eq(rt_shards_check(&p, NULL, &error), RT_INTERNAL);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("shards");
    tcase_add_test(cases, is_the_tree);
    tcase_add_test(cases, ranks_share_alone);
    tcase_add_test(cases, what_cannot_be_shared);
    return run_cases("runtime/shards", cases);
}
