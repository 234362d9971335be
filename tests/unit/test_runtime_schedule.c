/* Learning-rate schedules: a table of rates worked out by hand, and what holds of every schedule, warm-up and length. */
#include "run_cases.h"
#include "runtime/status.h"
#include <math.h>

#define CONSTANT .kind = RT_SCHEDULE_CONSTANT
#define STEPS(...)                                                                                                               \
    .kind = RT_SCHEDULE_STEPS, .factor = 0.1, .at = {__VA_ARGS__}, .nat = sizeof((double[]){__VA_ARGS__}) / sizeof(double)
#define COSINE(f) .kind = RT_SCHEDULE_COSINE, .final_lr = f
#define LINEAR(...) .kind = RT_SCHEDULE_LINEAR, .at = {0, 0.25, 1}, .nat = 3, .level = {__VA_ARGS__}, .nlevel = 3
#define POLYNOMIAL(p, f) .kind = RT_SCHEDULE_POLYNOMIAL, .power = p, .final_lr = f
#define CYCLE(p, f) .kind = RT_SCHEDULE_ONE_CYCLE, .peak = p, .final_lr = f

/* lr is 1, so a rate is a fraction of it. */
static double rate(RtSchedule s, int64_t epochs, int64_t per_epoch, int64_t step) {
    RtRecipe recipe = {.optimizer = {.lr = 1}, .schedule = s, .epochs = epochs};
    return rt_schedule_lr(&recipe, (uint64_t)step, per_epoch, epochs * per_epoch);
}

static const struct {
    RtSchedule schedule;
    int64_t epochs, per_epoch, step;
    double rate;
} table[] = {
    {{CONSTANT}, 10, 100, 0, 1},
    {{CONSTANT}, 10, 100, 999, 1},
    {{CONSTANT, .warmup = 2}, 10, 100, 0, 1 / 201.},
    {{CONSTANT, .warmup = 2}, 10, 100, 100, 101 / 201.},
    {{CONSTANT, .warmup = 2}, 10, 100, 199, 200 / 201.},
    {{CONSTANT, .warmup = 2}, 10, 100, 200, 1},
    {{CONSTANT, .warmup = 0.025}, 10, 100, 0, 1 / 4.}, /* two and a half steps: three begin within it */
    {{CONSTANT, .warmup = 0.025}, 10, 100, 2, 3 / 4.},
    {{CONSTANT, .warmup = 0.025}, 10, 100, 3, 1},
    {{CONSTANT, .warmup = 0.5}, 10, 1, 0, 1 / 2.},
    {{CONSTANT, .warmup = 0.5}, 10, 1, 1, 1},
    {{STEPS(3, 6.5)}, 10, 100, 299, 1},
    {{STEPS(3, 6.5)}, 10, 100, 300, 0.1},
    {{STEPS(3, 6.5)}, 10, 100, 649, 0.1},
    {{STEPS(3, 6.5)}, 10, 100, 650, 0.01},
    {{STEPS(3, 6.5)}, 5, 100, 499, 0.1}, /* shorter than the list */
    {{STEPS(3), .warmup = 1}, 10, 100, 49, 50 / 101.},
    {{STEPS(3), .warmup = 1}, 10, 100, 100, 1},
    {{STEPS(3), .warmup = 1}, 10, 100, 300, 0.1},
    {{STEPS(0)}, 10, 100, 0, 0.1},
    {{COSINE(0.1)}, 10, 100, 0, 1},
    {{COSINE(0.1)}, 10, 100, 500, 0.55},
    {{COSINE(0)}, 10, 100, 250, 0.85355339059327378},
    {{COSINE(0.1)}, 10, 100, 1000, 0.1},
    {{COSINE(0), .warmup = 2}, 10, 100, 100, 101 / 201.},
    {{COSINE(0), .warmup = 2}, 10, 100, 200, 1},
    {{COSINE(0), .warmup = 2}, 10, 100, 600, 0.5},
    {{COSINE(0), .warmup = 4.5}, 5, 100, 449, 450 / 451.},
    {{COSINE(0), .warmup = 4.5}, 5, 100, 475, 0.5},
    {{COSINE(0), .warmup = 0.5}, 3, 1, 0, 1 / 2.}, /* half a step of warm-up; what follows spans 2.5 steps from there */
    {{COSINE(0), .warmup = 0.5}, 3, 1, 1, 0.90450849718747373},
    {{CYCLE(0.3, 0.001)}, 10, 100, 0, 0.04},
    {{CYCLE(0.3, 0.001)}, 10, 100, 150, 0.52},
    {{CYCLE(0.3, 0.001)}, 10, 100, 300, 1},
    {{CYCLE(0.3, 0)}, 10, 100, 650, 0.5},
    {{CYCLE(0.3, 0.001)}, 10, 100, 1000, 0.001},
    {{CYCLE(0.5, 0), .warmup = 2}, 10, 100, 0, 0.04 / 201}, /* rises to lr/25 and goes on from there */
    {{CYCLE(0.5, 0), .warmup = 2}, 10, 100, 199, 0.04 * 200 / 201},
    {{CYCLE(0.5, 0), .warmup = 2}, 10, 100, 200, 0.04},
    {{CYCLE(0.5, 0), .warmup = 2}, 10, 100, 400, 0.52},
    {{CYCLE(0.5, 0), .warmup = 2}, 10, 100, 600, 1},
    {{CYCLE(0.5, 0), .warmup = 2}, 10, 100, 800, 0.5},
    {{LINEAR(0.2, 1, 0.07)}, 10, 100, 0, 0.2},
    {{LINEAR(0.2, 1, 0.07)}, 10, 100, 125, 0.6},
    {{LINEAR(0.2, 1, 0.07)}, 10, 100, 250, 1},
    {{LINEAR(0.2, 1, 0.07)}, 10, 100, 625, 0.535},
    {{LINEAR(0, 2, 0)}, 10, 100, 999, 2 / 750.},
    {{LINEAR(1, 0.5, 0)}, 3, 1, 0, 0.5}, /* the points at 0 and 0.75 steps are one */
    {{LINEAR(1, 0.5, 0)}, 3, 1, 2, 0.5 / 3},
    {{.kind = RT_SCHEDULE_LINEAR, .at = {0.5}, .nat = 1, .level = {0.25}, .nlevel = 1}, 10, 100, 0, 0.25},
    {{.kind = RT_SCHEDULE_LINEAR, .at = {0.5}, .nat = 1, .level = {0.25}, .nlevel = 1}, 10, 100, 999, 0.25},
    {{POLYNOMIAL(1, 0)}, 10, 100, 250, 0.75}, /* torch.optim.lr_scheduler.PolynomialLR */
    {{POLYNOMIAL(2, 0)}, 10, 100, 500, 0.25},
    {{POLYNOMIAL(2, 0.2)}, 10, 100, 500, 0.4},
    {{POLYNOMIAL(3, 0), .warmup = 2}, 10, 100, 600, 0.125},
};
enum { ROWS = sizeof table / sizeof *table };

START_TEST(expected_rates) {
    for (int i = 0; i < ROWS; i++) {
        double got = rate(table[i].schedule, table[i].epochs, table[i].per_epoch, table[i].step);
        ck_assert_msg(fabs(got - table[i].rate) < 1e-12, "row %d: step %d has the rate %.17g, not %.17g", i, (int)table[i].step,
                      got, table[i].rate);
    }
}
END_TEST

/* The rule as cifar10-airbench writes it (legacy/airbench94.py, get_lr). */
START_TEST(airbench) {
    RtSchedule s = {.kind = RT_SCHEDULE_LINEAR, .at = {0, 0.23, 1}, .nat = 3, .level = {0.2, 1, 0.07}, .nlevel = 3};
    RtRecipe recipe = {.optimizer = {.lr = 1}, .schedule = s, .epochs = 9.9};
    int total = (int)ceil(48 * 9.9), warmup = (int)(total * 0.23), warmdown = total - warmup;
    for (int step = 0; step < total; step++) {
        double frac = step < warmup ? (double)step / warmup : (double)(step - warmup) / warmdown;
        double want = step < warmup ? 0.2 * (1 - frac) + 1.0 * frac : 1.0 * (1 - frac) + 0.07 * frac;
        double got = rt_schedule_lr(&recipe, (uint64_t)step, 48, total);
        ck_assert_msg(fabs(got - want) < 1e-12, "step %d has the rate %.17g, not %.17g", step, got, want);
    }
}
END_TEST

/* 1.1 * 390 is a little more than 429 as a double, and 0.29 * 100 a little less than 29. */
START_TEST(rounded_products) {
    static const struct {
        double epochs;
        int64_t per_epoch, steps;
    } cases[] = {{1.1, 390, 429}, {2.3, 100, 230}, {0.07, 100, 7},   {1.1, 391, 431},
                 {9.9, 48, 476},  {0.001, 390, 1}, {200, 390, 78000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        RtRecipe recipe = {.epochs = cases[i].epochs};
        ck_assert_int_eq(rt_total_steps(&recipe, cases[i].per_epoch), cases[i].steps);
    }
    RtSchedule s = {.kind = RT_SCHEDULE_LINEAR, .at = {0, 0.29, 1}, .nat = 3, .level = {0, 1, 0}, .nlevel = 3};
    ck_assert_double_eq(rate(s, 1, 100, 29), 1);
    ck_assert_double_eq(rate((RtSchedule){CONSTANT, .warmup = 1.1}, 2, 390, 428), 429 / 430.);
    ck_assert_double_eq(rate((RtSchedule){CONSTANT, .warmup = 1.1}, 2, 390, 429), 1);
}
END_TEST

static double smaller(double a, double b) { return a < b ? a : b; }

/* The most that a rate may move from one step to the next: the ramp's slope, or the steepest part of a half cosine of as many
 * steps as the shortest has. */
static double steepest(const RtSchedule *s, double total, double warmup) {
    double left = total - warmup, ramp = 1 / (ceil(warmup) + 1);
    double length = s->kind == RT_SCHEDULE_ONE_CYCLE ? left * smaller(s->peak, 1 - s->peak) : left;
    double wave = s->kind == RT_SCHEDULE_CONSTANT ? 0 : M_PI / 2 / length;
    return ramp > wave ? ramp : wave;
}

static void check_course(RtSchedule s, int64_t epochs, int64_t per_epoch) {
    int64_t total = epochs * per_epoch;
    double warmup = s.warmup * (double)per_epoch, most = steepest(&s, (double)total, warmup), before = 0, high = 0;
    for (int64_t step = 0; step < total; step++) {
        double r = rate(s, epochs, per_epoch, step);
        ck_assert_msg(r > 0 && r <= 1 + 1e-12, "%d epochs of %d, warm-up %g: step %d has the rate %g", (int)epochs,
                      (int)per_epoch, s.warmup, (int)step, r);
        bool jumps = fabs(r - before) > most + 1e-12 && (step || s.warmup > 0);
        ck_assert_msg(!jumps, "kind %d, %d epochs of %d, warm-up %g: from %g to %g at step %d", (int)s.kind, (int)epochs,
                      (int)per_epoch, s.warmup, before, r, (int)step);
        before = r;
        high = r > high ? r : high;
    }
    if (total - ceil(warmup) >= 10) ck_assert_double_gt(high, 0.9); /* it gets there */
    if (s.kind != RT_SCHEDULE_CONSTANT && total - warmup >= 100) ck_assert_double_le(before, s.final_lr + most);
}

/* Every schedule x warm-up x length is positive, at most lr, and without a jump. */
START_TEST(continuous) {
    static const RtSchedule kinds[] = {{CONSTANT},      {COSINE(0)},         {COSINE(0.1)},
                                       {CYCLE(0.3, 0)}, {CYCLE(0.05, 0.01)}, {CYCLE(0.9, 0)}};
    static const double warmups[] = {0, 0.01, 0.5, 1, 2.3, 4.99, 9.9};
    static const int64_t epochs[] = {1, 3, 5, 10}, per_epoch[] = {1, 7, 100};
    for (int k = 0; k < 6; k++)
        for (int w = 0; w < 7; w++)
            for (int e = 0; e < 4; e++)
                for (int p = 0; p < 3; p++) {
                    RtSchedule s = kinds[k];
                    s.warmup = warmups[w];
                    if (s.warmup < (double)epochs[e]) check_course(s, epochs[e], per_epoch[p]);
                }
}
END_TEST

/* Of `steps`: the ramp, then the product of the falls so far. */
START_TEST(steps_fall_where_they_say) {
    static const double warmups[] = {0, 0.5, 1};
    for (int w = 0; w < 3; w++) {
        RtSchedule s = {STEPS(1.5, 2, 4.25), .warmup = warmups[w]};
        for (int64_t step = 0; step < 5 * 20; step++) {
            double n = warmups[w] * 20, want = (double)step < n ? ((double)step + 1) / (n + 1) : 1;
            if (step >= 30) want *= 0.1;
            if (step >= 40) want *= 0.1;
            if (step >= 85) want *= 0.1;
            ck_assert_double_eq_tol(rate(s, 5, 20, step), want, 1e-12);
        }
    }
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("schedule");
    tcase_add_test(cases, expected_rates);
    tcase_add_test(cases, airbench);
    tcase_add_test(cases, rounded_products);
    tcase_add_test(cases, continuous);
    tcase_add_test(cases, steps_fall_where_they_say);
    return run_cases("runtime/schedule", cases);
}
