/* netc report: a page of trainings for a browser, one file that needs no network: curves of all, and of each what its weights
 * make of the test images. The page is report.html; here is what it shows, as JSON. */
#include "cli/classes.h"
#include "cli/history.h"
#include "cli/run.h"
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/page.h"
#include "driver/plots.h"
#include "driver/runs.h"
#include "driver/shape.h"
#include "ir/stream.h"
#include "runtime/json.h"
#include "runtime/kept.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const char report_page[];
enum { BINS = 15, WRONG = 24 };

/* ---- curves ---- */

static void number(FILE *out, const char *before, double value) {
    fputs(before, out);
    json_write_number(out, value);
}

static void write_curves(const History *h, FILE *out) {
    fputs("\"epochs\": [", out);
    for (uint32_t i = 0; i < h->nepochs; i++) {
        const HistoryEpoch *e = &h->epoch[i];
        number(out, i ? ", {\"epoch\": " : "{\"epoch\": ", e->epoch);
        json_write_member(out, "step", e->step);
        json_write_member(out, "loss", e->loss);
        json_write_member(out, "lr", e->lr);
        json_write_member(out, "images_per_s", e->images_per_s);
        json_write_member(out, "seconds", e->seconds);
        json_write_member(out, "train", e->train);
        json_write_member(out, "validation", e->validation);
        json_write_member(out, "validation_loss", e->validation_loss);
        json_write_member(out, "test", e->test);
        json_write_member(out, "test_loss", e->test_loss);
        json_write_member(out, "views", e->views);
        fputc('}', out);
    }
    fputs("], \"steps\": [", out);
    for (uint32_t i = 0; i < h->nsteps; i++) {
        number(out, i ? ", [" : "[", h->step[i].step);
        number(out, ", ", h->step[i].loss);
        number(out, ", ", h->step[i].lr);
        fputc(']', out);
    }
    fputc(']', out);
}

/* ---- predictions ---- */

typedef struct Wrong {
    int64_t index;
    int predicted;
    float probability;
} Wrong;

static int surest_first(const void *a, const void *b) {
    const Wrong *x = a, *y = b;
    if (x->probability < y->probability || x->probability > y->probability) return x->probability < y->probability ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static void write_base64(const uint8_t *bytes, int64_t n, FILE *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int64_t i = 0; i < n; i += 3) {
        uint32_t three =
            (uint32_t)bytes[i] << 16 | (i + 1 < n ? (uint32_t)bytes[i + 1] << 8 : 0) | (i + 2 < n ? bytes[i + 2] : 0);
        fputc(digits[three >> 18], out);
        fputc(digits[three >> 12 & 63], out);
        fputc(i + 1 < n ? digits[three >> 6 & 63] : '=', out);
        fputc(i + 2 < n ? digits[three & 63] : '=', out);
    }
}

/* What is counted of predictions. */
typedef struct Tally {
    int64_t *confusion; /* [is][taken for] */
    int64_t count[BINS], hits[BINS];
    double sure[BINS], loss; /* sums */
    Wrong *wrong;
    int64_t nwrong, right;
} Tally;

static void tally_image(Tally *t, const RtData *d, const float *p, int64_t i) {
    int best = 0, label = d->test_labels[i];
    for (int k = 1; k < d->classes; k++)
        if (p[k] > p[best]) best = k;
    int bin = (int)(fminf(fmaxf(p[best], 0), 1) * BINS); /* damaged weights may give no number */
    if (bin == BINS) bin--;
    t->count[bin]++;
    t->hits[bin] += best == label;
    t->sure[bin] += (double)p[best];
    t->confusion[label * d->classes + best]++;
    t->right += best == label;
    t->loss -= log(fmax((double)p[label], 1e-45));
    if (best != label) t->wrong[t->nwrong++] = (Wrong){i, best, p[best]};
}

static void write_classes(const RtData *d, FILE *out) {
    fputs(", \"classes\": [", out);
    for (int64_t k = 0; k < d->classes; k++) {
        char *name = class_name(d, k);
        fputs(k ? ", " : "", out);
        json_write_string(out, name);
        free(name);
    }
    fputc(']', out);
}

/* Number of images, mean probability and part that is right, of each bin. */
static void write_bins(const Tally *t, FILE *out) {
    fputs(", \"bins\": [", out);
    for (int b = 0; b < BINS; b++) {
        double n = t->count[b] ? (double)t->count[b] : 1;
        fprintf(out, "%s[%" PRId64, b ? ", " : "", t->count[b]);
        number(out, ", ", t->count[b] ? t->sure[b] / n : (b + 0.5) / BINS);
        number(out, ", ", (double)t->hits[b] / n);
        fputc(']', out);
    }
    fputc(']', out);
}

static void write_wrong(const Tally *t, const RtData *d, FILE *out) {
    int64_t size = d->channels * d->height * d->width;
    qsort(t->wrong, (size_t)t->nwrong, sizeof *t->wrong, surest_first);
    fputs(", \"wrong\": [", out);
    for (int64_t i = 0; i < t->nwrong && i < WRONG; i++) {
        const Wrong *w = &t->wrong[i];
        fprintf(out, "%s{\"index\": %" PRId64 ", \"label\": %d, \"predicted\": %d", i ? ", " : "", w->index,
                d->test_labels[w->index], w->predicted);
        json_write_member(out, "probability", (double)w->probability);
        fputs(", \"pixels\": \"", out);
        write_base64(d->test_images + w->index * size, size, out);
        fputs("\"}", out);
    }
    fputc(']', out);
}

/* What is made of runs: the page's data, and plots as files. */
typedef struct Products {
    FILE *page, *plots;    /* plots: names of files */
    const char *directory; /* of plots; NULL: none */
    const char *run, *run_name;
    int status; /* of plots */
} Products;

/* The names of classes, malloc'd, and each of them. */
static char **class_names(const RtData *d) {
    char **name = calloc((size_t)d->classes + 1, sizeof *name);
    if (!name) exit(fail(EXIT_IO, "out of memory"));
    for (int64_t k = 0; k < d->classes; k++) name[k] = class_name(d, k);
    return name;
}

static int plot_test(const Tally *t, const RtData *d, const Products *o) {
    double bin[BINS][2];
    char **name = class_names(d);
    for (int b = 0; b < BINS; b++) {
        bin[b][0] = t->count[b] ? t->sure[b] / (double)t->count[b] : NAN;
        bin[b][1] = t->count[b] ? (double)t->hits[b] / (double)t->count[b] : NAN;
    }
    PlotTest test = {o->run, o->run_name, d->classes, name, t->confusion, bin, BINS};
    int status = plots_test(o->directory, &test, o->plots);
    for (int64_t k = 0; k < d->classes; k++) free(name[k]);
    free(name);
    return status;
}

/* Probabilities f32[ntest][classes] of the test images, as what the page shows of them. */
static void write_test(const RtData *d, const float *probability, const char *weights, Products *output) {
    FILE *out = output->page;
    int64_t K = d->classes;
    double n = d->ntest ? (double)d->ntest : 1, ece = 0;
    Tally t = {.confusion = calloc((size_t)(K * K), sizeof *t.confusion), .wrong = calloc((size_t)d->ntest + 1, sizeof *t.wrong)};
    if (!t.confusion || !t.wrong) exit(fail(EXIT_IO, "out of memory"));
    for (int64_t i = 0; i < d->ntest; i++) tally_image(&t, d, probability + i * K, i);
    for (int b = 0; b < BINS; b++) ece += fabs((double)t.hits[b] - t.sure[b]) / n;
    fputs("{\"weights\": ", out);
    json_write_string(out, weights);
    fputs(", \"data\": ", out);
    json_write_string(out, d->name ? d->name : "");
    fprintf(out, ", \"images\": %" PRId64 ", \"shape\": [%" PRId64 ", %" PRId64 ", %" PRId64 "]", d->ntest, d->channels,
            d->height, d->width);
    json_write_member(out, "accuracy", (double)t.right / n);
    json_write_member(out, "loss", t.loss / n);
    json_write_member(out, "ece", ece);
    write_classes(d, out);
    fputs(", \"confusion\": [", out);
    for (int64_t k = 0; k < K * K; k++)
        fprintf(out, "%s%" PRId64 "%s", k % K ? ", " : k ? ", [" : "[", t.confusion[k], k % K == K - 1 ? "]" : "");
    fputc(']', out);
    write_bins(&t, out);
    write_wrong(&t, d, out);
    fputc('}', out);
    if (output->directory) output->status = plot_test(&t, d, output);
    free(t.confusion);
    free(t.wrong);
}

static int predict(const Options *o, const char *weights, Products *out) {
    Session session = {0};
    Shape shape = {0};
    RtData data = {0};
    RtError error = {{0}};
    float *scores = NULL;
    int status = session_find_model(&session, o, "report");
    if (!status) status = compile_graphs(&session, false, true, "report");
    if (!status) status = shape_of(&session, &shape);
    if (!status) status = check_weights(&shape.program, o);
    if (!status) status = open_data(&shape.program, o, &data);
    if (!status) status = compile_machine(&session, false, true, "report");
    if (!status) {
        RtStatus done = rt_weights_load(weights, session.machine, say, &error);
        scores = malloc((size_t)(data.ntest * data.classes) * sizeof *scores);
        if (!scores) exit(fail(EXIT_IO, "out of memory"));
        RtViews views = views_of(&shape.program, o);
        RtData seen = run_as_trained(o, &data);
        if (!done) done = rt_predict(session.machine, &seen, data.test_images, data.ntest, views, scores, &error);
        status = done ? fail_rt(done, &error) : EXIT_OK;
    }
    if (!status) write_test(&data, scores, weights, out);
    if (!status) status = out->status;
    free(scores);
    rt_data_free(&data);
    shape_free(&shape);
    session_close(&session);
    return status;
}

/* ---- the page ---- */

static int write_run(const TrainingRun *run, const char *name, const Options *options, Products *output) {
    FILE *out = output->page;
    char state[64], *model = join("%s/model.ir", run->path), *weights = join("%s/best.safetensors", run->path);
    char *data = history_data(run->path);
    const char *operand[] = {model};
    Options o = *options;
    int status = EXIT_OK;
    if (access(weights, F_OK) != 0) free(weights), weights = join("%s/last.safetensors", run->path);
    o.operand = operand, o.noperands = 1, o.weights = weights;
    if (!o.data) o.data = data;
    fputs("{\"name\": ", out);
    json_write_string(out, run->path);
    fputs(", \"model\": ", out);
    json_write_string(out, run_model(run));
    fprintf(out, ", \"seed\": %" PRIu64 ", \"state\": ", run->position.seed);
    json_write_string(out, run_state(run, state));
    fputs(", \"recipe\": ", out);
    json_write_string(out, run_recipe(run));
    fputs(", ", out);
    write_curves(&run->history, out);
    const char *without = options->curves              ? "its weights were not run (--curves)"
                          : access(weights, F_OK) != 0 ? "there are no weights yet"
                          : access(model, F_OK) != 0   ? "its directory has no model.ir (an older netc trained it)"
                                                       : NULL;
    if (without) {
        fputs(", \"without\": ", out);
        json_write_string(out, without);
    } else {
        fputs(", \"test\": ", out);
        output->run = run->path;
        output->run_name = name;
        status = predict(&o, weights, output);
    }
    fputc('}', out);
    free(model), free(weights), free(data);
    return status;
}

static void print_written(const Options *o, const RunList *list, const char *page, const char *plots) {
    if (!o->json) {
        printf("%u training%s, in '%s'%s%s%s\n", list->count, list->count == 1 ? "" : "s", page,
               o->plots ? ", and plots in '" : "", o->plots ? o->plots : "", o->plots ? "'" : "");
        return;
    }
    printf("{\"trainings\": %u", list->count);
    json_write_text(stdout, "page", page);
    printf(", \"plots\": [%s]}\n", *plots ? plots + 2 : ""); /* each has a comma before it */
}

int command_report(const Options *options) {
    RunList list = {0};
    TextStream data, plots;
    const char *path = options->output ? options->output : "netc-report.html";
    int status = options->noperands ? EXIT_OK : usage_error("report", "no training given");
    for (uint32_t i = 0; i < options->noperands && !status; i++) status = runs_find(options->operand[i], &list);
    text_open(&data);
    text_open(&plots);
    Products out = {.page = data.file, .plots = plots.file, .directory = options->plots};
    if (!status && options->plots && !rt_make_directories(options->plots))
        status = fail(EXIT_IO, "cannot make the directory '%s': %s", options->plots, strerror(errno));
    if (!status && options->plots) status = plots_curves(options->plots, &list, plots.file);
    char **name = plots_names(&list);
    fputs("{\"runs\": [", data.file);
    for (uint32_t i = 0; i < list.count && !status; i++) {
        if (i) fputs(", ", data.file);
        status = write_run(&list.run[i], name[i], options, &out);
    }
    fputs("]}", data.file);
    text_close(&data);
    text_close(&plots);
    if (!status) status = page_write(report_page, path, data.text);
    if (!status) print_written(options, &list, path, plots.text);
    for (uint32_t i = 0; i < list.count; i++) free(name[i]);
    free(name);
    free(data.text);
    free(plots.text);
    runs_free(&list);
    return status;
}
