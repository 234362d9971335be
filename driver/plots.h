/* The plots of netc report as files, each as SVG and PNG in a directory: curves of all trainings, and of each what its weights
 * make of the test images. */
#ifndef NETC_DRIVER_PLOTS_H
#define NETC_DRIVER_PLOTS_H
#include "driver/runs.h"
#include <stdio.h>

/* Of curves: accuracy, loss, step-loss, learning-rate, accuracy-by-time, images-a-second; one that there are no numbers for is
 * left out. names: JSON, of each file's path ", "PATH"" is appended. Exit status. */
int plots_curves(const char *directory, const RunList *list, FILE *names);

/* What predictions of test images come to. */
typedef struct PlotTest {
    const char *run;
    int64_t classes;
    char *const *class_name;  /* [classes] */
    const int64_t *confusion; /* [is][taken for] */
    const double (*bin)[2];   /* mean probability of what is predicted, part that is right */
    int bins;
} PlotTest;
/* RUN-confusion and RUN-reliability, with '-' for each '/' of the run. */
int plots_test(const char *directory, const PlotTest *test, FILE *names);
#endif
