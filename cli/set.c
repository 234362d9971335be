/* What netc and executables print of a data set. */
#include "cli/set.h"
#include "cli/folder.h"
#include "cli/report.h"
#include <inttypes.h>

/* Counts, sizes and what normalisation is made of. */
int set_stats(const char *where, const Options *o) {
    RtData d = {0};
    RtError error = {{0}};
    if (folder_is(where)) return folder_stats(where, o);
    RtStatus opened = rt_data_open(where, &d, &error);
    if (opened) return fail_rt(opened, &error);
    printf("%s: %" PRId64 " images to train with, %" PRId64 " to test with, %" PRId64 "x%" PRId64 "x%" PRId64 "\n", d.name,
           d.ntrain, d.ntest, d.channels, d.height, d.width);
    for (int64_t c = 0; c < d.channels; c++) printf("channel %" PRId64 ": mean %.5f, deviation %.5f\n", c, d.mean[c], d.std[c]);
    for (int64_t k = 0; k < d.classes; k++) {
        int64_t train = 0, test = 0;
        for (int64_t i = 0; i < d.ntrain; i++) train += d.train_labels[i] == k;
        for (int64_t i = 0; i < d.ntest; i++) test += d.test_labels[i] == k;
        printf("%5" PRId64 "  %-24s %7" PRId64 " train %7" PRId64 " test\n", k, d.class_names ? d.class_names[k] : "", train,
               test);
    }
    rt_data_free(&d);
    return EXIT_OK;
}

int set_check(const char *where, const Options *o) {
    if (folder_is(where)) return folder_check(where, o);
    RtData data = {0};
    RtError error = {{0}};
    RtStatus opened = rt_data_open(where, &data, &error);
    if (opened) return fail_rt(opened, &error);
    printf("%s: %" PRId64 " training and %" PRId64 " test images, %" PRId64 " classes\n", data.name, data.ntrain, data.ntest,
           data.classes);
    rt_data_free(&data);
    return EXIT_OK;
}
