/* The plots of netc report as files, each as SVG and PNG in a directory: curves of all trainings, and of each what its weights
 * make of the test images. */
#ifndef NETC_DRIVER_PLOTS_H
#define NETC_DRIVER_PLOTS_H
#include "driver/runs.h"
#include <stdio.h>

/* Of curves: accuracy, loss, step-loss, learning-rate, accuracy-by-time, images-a-second; one that there are no numbers for is
 * left out. names: JSON, of each file's path ", "PATH"" is appended. Exit status. */
int plots_curves(const char *directory, const RunList *list, FILE *names);

/* What the files of each run begin with, malloc'd, and each of them: its path without what only leads to it ('.' and '/' at its
 * ends), with '-' for '/', and if one before it has that name, with -2, -3... */
char **plots_names(const RunList *list);

/* What predictions of test images come to. */
typedef struct PlotTest {
    const char *run, *name; /* name: that its files begin with */
    int64_t classes;
    char *const *class_name;  /* [classes] */
    const int64_t *confusion; /* [is][taken for] */
    const double (*bin)[2];   /* mean probability of what is predicted, part that is right */
    int bins;
} PlotTest;
/* NAME-confusion and NAME-reliability. */
int plots_test(const char *directory, const PlotTest *test, FILE *names);
#endif
