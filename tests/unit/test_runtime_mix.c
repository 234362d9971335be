/* mixup and cutmix: the distribution of shares, and batches against the formulas of torchvision.transforms.v2, written out here,
 * on what the same loader gives without mixing. */
#include "run_cases.h"
#include "runtime/loader.h"
#include "runtime/mix.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = 6, W = 9, FLOATS = 3 * H * W, IMAGES = 40, BATCH = 8 };

static double uniform(double x) { return x; }
static double arcsine(double x) { return 2 / M_PI * asin(sqrt(x)); }
static double quadratic(double x) { return x * x * (3 - 2 * x); }

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* By Kolmogorov and Smirnov where the distribution has a simple form, by the variance where it is steep. */
START_TEST(shares_are_beta) {
    enum { N = 4000 };
    static const struct {
        double alpha, (*below)(double);
    } cases[] = {{1, uniform}, {0.5, arcsine}, {2, quadratic}, {0.2, NULL}, {0.01, NULL}, {30, NULL}};
    static double x[N];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double most = 0, sum = 0, square = 0, alpha = cases[i].alpha, variance = 1 / (4 * (2 * alpha + 1));
        for (int k = 0; k < N; k++) {
            x[k] = rt_beta(alpha, 7, (uint64_t)k);
            ck_assert(x[k] >= 0 && x[k] <= 1 && x[k] == rt_beta(alpha, 7, (uint64_t)k));
            sum += x[k], square += (x[k] - 0.5) * (x[k] - 0.5);
        }
        ck_assert_double_eq_tol(sum / N, 0.5, 3.5 * sqrt(variance / N));
        ck_assert_double_eq_tol(square / N, variance, 0.06 * variance);
        qsort(x, N, sizeof *x, ascending);
        for (int k = 0; cases[i].below && k < N; k++)
            most = fmax(most, fmax(fabs(cases[i].below(x[k]) - (double)k / N), fabs(cases[i].below(x[k]) - (k + 1.0) / N)));
        ck_assert_msg(most < 1.63 / sqrt(N), "alpha %g: off by %g", alpha, most); /* 99 in 100 */
    }
}
END_TEST

static RtData colourful_data(void) {
    RtData d = {.channels = 3, .height = H, .width = W, .classes = IMAGES, .ntrain = IMAGES};
    d.train_images = malloc((size_t)IMAGES * FLOATS);
    d.train_labels = malloc(IMAGES);
    for (int i = 0; i < IMAGES * FLOATS; i++) d.train_images[i] = (uint8_t)(rt_uniform(5, 1, (uint64_t)i, 0) * 256);
    for (int i = 0; i < IMAGES; i++) d.train_labels[i] = (uint8_t)i;
    for (int c = 0; c < 3; c++) d.mean[c] = 0.4, d.std[c] = 0.25;
    return d;
}

typedef struct Batch {
    float images[BATCH * FLOATS], share;
    int32_t labels[2 * BATCH];
} Batch;

/* Batch `number` of epoch 2, of which shares of `count` images are prepared apart, as ranks do. */
static Batch load(const RtData *d, const RtRecipe *recipe, int64_t number, int64_t count) {
    Batch b;
    RtError error;
    for (int64_t first = 0; first < BATCH; first += count) {
        RtLoader *l = rt_loader_new(d, recipe, &(RtLoaderStart){BATCH, first, count, 3, 2, number}, &error);
        ck_assert_ptr_nonnull(l);
        rt_loader_next(l, b.images, b.labels, &b.share);
        rt_loader_free(l);
    }
    return b;
}

/* The images that torchvision makes of a batch: x.roll(1, 0) * (1 - lam) + x * lam, or a rectangle of the rolled ones. */
static void check(const RtData *d, const RtMixed *m, const Batch *plain, const Batch *mixed) {
    double area = 0;
    bool swapped = m->share < 0.5F;
    for (int i = 0; i < BATCH; i++) {
        int rolled = (i + BATCH - 1) % BATCH;
        for (int k = 0; k < FLOATS; k++) {
            int y = k / W % H, x = k % W;
            bool inside = y >= m->part.y0 && y < m->part.y1 && x >= m->part.x0 && x < m->part.x1;
            float own = plain->images[i * FLOATS + k], other = plain->images[rolled * FLOATS + k];
            float want = m->cut ? (inside ? other : own) : other * (1 - m->share) + own * m->share;
            ck_assert_float_eq_tol(mixed->images[i * FLOATS + k], want, (m->cut ? 1e-30F : 1e-6F));
            area += m->cut && inside;
        }
        ck_assert_int_eq(mixed->labels[i + (swapped ? BATCH : 0)], plain->labels[i]);
        ck_assert_int_eq(mixed->labels[i + (swapped ? 0 : BATCH)], plain->labels[rolled]);
    }
    ck_assert_float_eq(mixed->share, swapped ? 1 - m->share : m->share);
    if (m->cut) ck_assert_double_eq_tol(m->share, 1 - area / (BATCH * FLOATS), 1e-6);
    ck_assert(d->height == H && mixed->share >= 0.5F);
}

START_TEST(batches_are_torchvisions) {
    RtData d = colourful_data();
    RtRecipe recipe = {.normalize = RT_NORMALIZE_MEAN_STD,
                       .shuffle = true,
                       .naugment = 2,
                       .augment = {{RT_AUGMENT_PAD_CROP, 2}, {RT_AUGMENT_FLIP, 0}},
                       .mix = {{_i ? RT_MIX_CUT : RT_MIX_UP, 0.8, 0.75}}};
    int none = 0, swapped = 0, clipped = 0;
    for (int64_t number = 0; number < IMAGES / BATCH; number++) {
        for (uint64_t again = 0; again < 2; again++) { /* two ways, of which one is not taken always */
            recipe.nmix = 0;
            Batch plain = load(&d, &recipe, number, BATCH);
            ck_assert(plain.share == 1 && !memcmp(plain.labels, plain.labels + BATCH, BATCH * sizeof *plain.labels));
            recipe.nmix = 1;
            recipe.mix[0].probability = again ? 1 : 0.5;
            RtMixed m = rt_mix_draw(&recipe, &d, 3, 2, number);
            Batch whole = load(&d, &recipe, number, BATCH), parts = load(&d, &recipe, number, 2);
            ck_assert(!memcmp(whole.images, parts.images, sizeof whole.images) &&
                      !memcmp(whole.labels, parts.labels, sizeof whole.labels) && whole.share == parts.share);
            ck_assert(!(again && m.share == 1 && !m.cut));
            none += m.share == 1, swapped += m.share < 0.5F;
            if (m.share != 1) check(&d, &m, &plain, &whole);
        }
    }
    ck_assert(none > 0 && none < 6 && swapped > 0);
    recipe.mix[0].probability = 1;
    for (int64_t number = 0; _i && number < 1000; number++) { /* the rectangle, as torchvision.transforms.v2.CutMix has it */
        RtMixed m = rt_mix_draw(&recipe, &d, 3, 0, number);
        double lambda = rt_beta(0.8, 3, (uint64_t)number), r = 0.5 * sqrt(1 - lambda);
        int half_width = (int)(r * W), half_height = (int)(r * H);
        ck_assert(m.part.x1 - m.part.x0 <= 2 * half_width && m.part.y1 - m.part.y0 <= 2 * half_height);
        ck_assert(m.part.x1 - m.part.x0 >= half_width && m.part.y1 - m.part.y0 >= half_height);
        clipped += m.part.x1 - m.part.x0 < 2 * half_width;
    }
    ck_assert(!_i || (clipped > 100 && clipped < 900));
    free(d.train_images), free(d.train_labels);
}
END_TEST

/* Of two ways each has its part of the batches. */
START_TEST(ways_take_turns) {
    RtData d = colourful_data();
    RtRecipe recipe = {.nmix = 2, .mix = {{RT_MIX_UP, 0.2, 1}, {RT_MIX_CUT, 1, 0.5}}};
    int cut = 0, up = 0, moved = 0;
    for (int64_t number = 0; number < 1000; number++) {
        RtMixed m = rt_mix_draw(&recipe, &d, 1, 0, number), other = rt_mix_draw(&recipe, &d, 1, 1, number);
        cut += m.cut, up += !m.cut && m.share != 1;
        moved += m.share != other.share;
    }
    ck_assert_msg(up > 440 && up < 560 && cut > 200 && cut < 300, "%d by mixup, %d by cutmix", up, cut);
    ck_assert_int_gt(moved, 700); /* the next epoch mixes anew */
    free(d.train_images), free(d.train_labels);
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("mix");
    tcase_add_test(cases, shares_are_beta);
    tcase_add_loop_test(cases, batches_are_torchvisions, 0, 2);
    tcase_add_test(cases, ways_take_turns);
    return run_cases("runtime/mix", cases);
}
