/* See classes.h. */
#include "cli/classes.h"
#include "cli/report.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MATRIX_CLASSES = 24 };

char *class_name(const RtData *data, int64_t label) {
    return data->class_names ? join("%s", data->class_names[label]) : join("class %" PRId64, label);
}

/* Of one class; NAN: nothing to take the share of. */
typedef struct ClassScore {
    int64_t images, predicted, right;
    double precision, recall, f1;
} ClassScore;

static double share(int64_t part, int64_t whole) { return whole ? (double)part / (double)whole : NAN; }

static ClassScore score_of(const int64_t *confusion, int64_t classes, int64_t k, int64_t images) {
    ClassScore s = {.images = images, .right = confusion[k * classes + k]};
    for (int64_t i = 0; i < classes; i++) s.predicted += confusion[i * classes + k];
    s.precision = share(s.right, s.predicted);
    s.recall = share(s.right, s.images);
    s.f1 = share(2 * s.right, s.images + s.predicted);
    return s;
}

static int64_t *count_images(const RtData *data) {
    int64_t *images = calloc((size_t)data->classes, sizeof *images);
    if (!images) exit(fail(EXIT_IO, "out of memory"));
    for (int64_t i = 0; i < data->ntest; i++) images[data->test_labels[i]]++;
    return images;
}

/* The mean over the classes that there are images of (scikit-learn's macro with these as labels): a precision of a class that was
 * never predicted counts as 0. */
static ClassScore mean_score(const int64_t *confusion, const int64_t *images, int64_t classes) {
    ClassScore mean = {0};
    int64_t n = 0;
    for (int64_t k = 0; k < classes; k++) {
        ClassScore s = score_of(confusion, classes, k, images[k]);
        mean.images += images[k];
        if (!images[k]) continue;
        n++;
        mean.precision += isnan(s.precision) ? 0 : s.precision;
        mean.recall += s.recall;
        mean.f1 += s.f1;
    }
    mean.precision /= (double)n, mean.recall /= (double)n, mean.f1 /= (double)n;
    return mean;
}

static void print_share(double value) {
    if (isnan(value))
        printf("  %9s", "-");
    else
        printf("  %7.2f %%", 100 * value);
}

/* Columns that a UTF-8 text takes, where each character takes one. */
static int columns(const char *text) {
    int n = 0;
    for (; *text; text++) n += (*text & 0xc0) != 0x80;
    return n;
}

void class_print_name(const char *name, int width) {
    printf("%s%*s", name, width > columns(name) ? width - columns(name) : 0, "");
}

/* The two classes that images of class k are taken for most often, but for itself. */
static void print_mistakes(const RtData *data, const int64_t *row, int64_t k) {
    int64_t before = -1;
    for (int rank = 0; rank < 2; rank++) {
        int64_t most = -1;
        for (int64_t i = 0; i < data->classes; i++)
            if (i != k && i != before && row[i] > 0 && (most < 0 || row[i] > row[most])) most = i;
        if (most < 0) return;
        char *name = class_name(data, most);
        printf("%s%s (%" PRId64 ")", rank ? ", " : "  ", name, row[most]);
        free(name);
        before = most;
    }
}

static void print_matrix(const RtData *data, const int64_t *confusion) {
    int64_t K = data->classes;
    puts("\nrows: what an image is; columns: what it is taken for");
    printf("%5s", "");
    for (int64_t k = 0; k < K; k++) printf(" %5" PRId64, k);
    puts("");
    for (int64_t k = 0; k < K; k++) {
        char *name = class_name(data, k);
        printf("%5" PRId64, k);
        for (int64_t i = 0; i < K; i++) printf(" %5" PRId64, confusion[k * K + i]);
        printf("  %s\n", name);
        free(name);
    }
}

void classes_print(const RtData *data, const int64_t *confusion) {
    int64_t K = data->classes, *images = count_images(data);
    int width = 16;
    for (int64_t k = 0; k < K; k++) {
        char *name = class_name(data, k);
        width = columns(name) > width && columns(name) < 40 ? columns(name) : width;
        free(name);
    }
    printf("%5s  ", "");
    class_print_name("class", width);
    printf("   images  precision     recall         F1  mostly mistaken for\n");
    for (int64_t k = 0; k < K; k++) {
        ClassScore s = score_of(confusion, K, k, images[k]);
        char *name = class_name(data, k);
        printf("%5" PRId64 "  ", k);
        class_print_name(name, width);
        printf("  %7" PRId64, s.images);
        print_share(s.precision);
        print_share(s.recall);
        print_share(s.f1);
        print_mistakes(data, confusion + k * K, k);
        puts("");
        free(name);
    }
    ClassScore mean = mean_score(confusion, images, K);
    printf("%5s  ", "");
    class_print_name("mean of classes", width);
    printf("  %7" PRId64, mean.images);
    print_share(mean.precision);
    print_share(mean.recall);
    print_share(mean.f1);
    puts("");
    if (K <= MATRIX_CLASSES) print_matrix(data, confusion);
    free(images);
}

static void print_members(const ClassScore *s) {
    printf("\"images\": %" PRId64, s->images);
    json_write_member(stdout, "precision", s->precision);
    json_write_member(stdout, "recall", s->recall);
    json_write_member(stdout, "f1", s->f1);
}

void classes_print_json(const RtData *data, const int64_t *confusion) {
    int64_t K = data->classes, *images = count_images(data);
    printf(", \"classes\": [");
    for (int64_t k = 0; k < K; k++) {
        ClassScore s = score_of(confusion, K, k, images[k]);
        char *name = class_name(data, k);
        printf("%s{\"class\": ", k ? ", " : "");
        json_write_string(stdout, name);
        printf(", \"label\": %" PRId64 ", \"predicted\": %" PRId64 ", ", k, s.predicted);
        print_members(&s);
        putchar('}');
        free(name);
    }
    ClassScore mean = mean_score(confusion, images, K);
    printf("], \"mean_of_classes\": {");
    print_members(&mean);
    printf("}, \"confusion\": [");
    for (int64_t i = 0; i < K * K; i++)
        printf("%s%" PRId64 "%s", i % K ? ", " : i ? ", [" : "[", confusion[i], i % K == K - 1 ? "]" : "");
    putchar(']');
    free(images);
}
