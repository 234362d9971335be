/* What netc and executables print of a data set. */
#include "cli/set.h"
#include "cli/arrays.h"
#include "cli/classes.h"
#include "cli/folder.h"
#include "cli/report.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <stdlib.h>

static int64_t count_label(const uint8_t *labels, int64_t n, int64_t label) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) found += labels[i] == label;
    return found;
}

static void stats_json(const RtData *d) {
    printf("{\"data\": ");
    json_write_string(stdout, d->name);
    printf(", \"train\": %" PRId64 ", \"test\": %" PRId64 ", \"shape\": [%" PRId64 ", %" PRId64 ", %" PRId64 "]", d->ntrain,
           d->ntest, d->channels, d->height, d->width);
    statistics_print(d->channels, d->mean, d->std, true);
    printf(", \"classes\": [");
    for (int64_t k = 0; k < d->classes; k++) {
        char *name = class_name(d, k);
        printf("%s{\"class\": ", k ? ", " : "");
        json_write_string(stdout, name);
        printf(", \"train\": %" PRId64 ", \"test\": %" PRId64 "}", count_label(d->train_labels, d->ntrain, k),
               count_label(d->test_labels, d->ntest, k));
        free(name);
    }
    puts("]}");
}

static int open_as_it_is(const char *where, const Options *o, RtData *data) {
    RtError error = {{0}};
    if (arrays_is(where)) return arrays_open(where, NULL, 0, o, data);
    RtStatus opened = rt_data_open(where, data, &error);
    return opened ? fail_rt(opened, &error) : EXIT_OK;
}

/* Counts, sizes and what normalisation is made of. */
int set_stats(const char *where, const Options *o) {
    RtData d = {0};
    if (!arrays_is(where) && folder_is(where)) return folder_stats(where, o);
    if (o->shape || o->fit) return usage_error("data", "'--shape' and '--fit' are about directories of pictures");
    int status = open_as_it_is(where, o, &d);
    if (status) return status;
    if (o->json) {
        stats_json(&d);
        rt_data_free(&d);
        return EXIT_OK;
    }
    printf("%s: %" PRId64 " images to train with, %" PRId64 " to test with, %" PRId64 "x%" PRId64 "x%" PRId64 "\n", d.name,
           d.ntrain, d.ntest, d.channels, d.height, d.width);
    statistics_print(d.channels, d.mean, d.std, false);
    for (int64_t k = 0; k < d.classes; k++) {
        printf("%5" PRId64 "  ", k);
        class_print_name(d.class_names ? d.class_names[k] : "", 24);
        printf(" %7" PRId64 " train %7" PRId64 " test\n", count_label(d.train_labels, d.ntrain, k),
               count_label(d.test_labels, d.ntest, k));
    }
    rt_data_free(&d);
    return EXIT_OK;
}

int set_check(const char *where, const Options *o) {
    RtData data = {0};
    if (!arrays_is(where) && folder_is(where)) return folder_check(where, o);
    int status = open_as_it_is(where, o, &data);
    if (status) return status;
    if (o->json)
        counts_print_json(data.name, data.ntrain, data.ntest, data.classes);
    else
        printf("%s: %" PRId64 " training and %" PRId64 " test images, %" PRId64 " class%s\n", data.name, data.ntrain, data.ntest,
               data.classes, data.classes == 1 ? "" : "es");
    rt_data_free(&data);
    return EXIT_OK;
}

int set_home(const char *directory, const Options *o) {
    if (o->json) {
        printf("{\"directory\": ");
        json_write_string(stdout, directory);
        puts("}");
    } else {
        printf("%s\n", directory);
    }
    return EXIT_OK;
}
