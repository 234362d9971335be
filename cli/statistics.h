/* What a few numbers say: mean, deviation, and whether two means differ. */
#ifndef NETC_CLI_STATISTICS_H
#define NETC_CLI_STATISTICS_H
#include <stdbool.h>
#include <stdint.h>

double mean_of(const double *x, uint32_t n);
double deviation_of(const double *x, uint32_t n); /* of a sample: over n - 1; 0 for fewer than two */

/* Of mean(a) - mean(b), for two samples whose variances may differ (Welch 1947): t, Satterthwaite's degrees of freedom, and how
 * often chance alone would make |t| as large, if both were of one normal distribution. False for fewer than two numbers of
 * either, or without any deviation. */
typedef struct Welch {
    double t, freedom, p;
} Welch;
bool welch_test(const double *a, uint32_t na, const double *b, uint32_t nb, Welch *result);
#endif
