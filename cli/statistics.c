/* See statistics.h. */
#include "cli/statistics.h"
#include <math.h>

double mean_of(const double *x, uint32_t n) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i];
    return n ? sum / n : 0;
}

static double variance_of(const double *x, uint32_t n) {
    double mean = mean_of(x, n), sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return n > 1 ? sum / (n - 1) : 0;
}

double deviation_of(const double *x, uint32_t n) { return sqrt(variance_of(x, n)); }

/* The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22, Lentz's method), which converges
 * fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), value;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    value = d;
    for (int m = 1; m < 1000; m++) {
        for (int odd = 0; odd < 2; odd++) {
            double k = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                           : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + k * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + k / c;
            if (fabs(c) < tiny) c = tiny;
            value *= c * d;
        }
        if (fabs(c * d - 1) < 1e-15) break;
    }
    return value;
}

static double incomplete_beta(double a, double b, double x) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

bool welch_test(const double *a, uint32_t na, const double *b, uint32_t nb, Welch *result) {
    if (na < 2 || nb < 2) return false;
    double u = variance_of(a, na) / na, v = variance_of(b, nb) / nb;
    if (!(u + v > 0)) return false;
    double t = (mean_of(a, na) - mean_of(b, nb)) / sqrt(u + v);
    double freedom = (u + v) * (u + v) / (u * u / (na - 1) + v * v / (nb - 1));
    *result = (Welch){t, freedom, incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))};
    return true;
}
