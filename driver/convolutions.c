/* netc bench --convolutions: the cost model held against measurement. Every convolution of the model, each kernel once, by every
 * algorithm that is legal for it, in place in a whole step. */
#include "driver/bench.h"
#include "driver/compile.h"
#include "driver/measure.h"
#include "driver/sample.h"
#include "driver/tune.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MAX_RATIOS = 4096 };

/* The model's times are of a nominal core: `scale` makes the median ratio 1. */
typedef struct Check {
    double scale, error; /* error: the median factor by which a scaled prediction is off */
    int64_t right, decided;
    double lost; /* seconds a step by choosing what the model prefers rather than what was fastest */
} Check;

static double median_ratio(const Convolutions *c, double scale, bool error) {
    double ratio[MAX_RATIOS];
    size_t n = 0;
    for (int64_t i = 0; i < c->count; i++)
        for (uint32_t k = 0; k < c->item[i].site.ncandidates && n < MAX_RATIOS; k++) {
            if (c->item[i].seconds[k] <= 0) continue;
            double r = c->item[i].seconds[k] / (scale * c->item[i].site.predicted[k]);
            ratio[n++] = error ? exp(fabs(log(r))) : r;
        }
    return n ? sample_median(ratio, n) : 1;
}

static uint32_t best(const Convolution *v, const double *seconds) {
    uint32_t at = CONV_CANDIDATES;
    for (uint32_t i = 0; i < v->nlisted; i++) {
        uint32_t k = v->listed[i];
        if (v->site.candidate[k].pair || v->seconds[k] <= 0) continue;
        if (at == CONV_CANDIDATES || seconds[k] < seconds[at]) at = k;
    }
    return at;
}

static Check check(const Convolutions *c) {
    Check r = {.scale = median_ratio(c, 1, false)};
    r.error = median_ratio(c, r.scale, true);
    for (int64_t i = 0; i < c->count; i++) {
        const Convolution *v = &c->item[i];
        uint32_t fastest = best(v, v->seconds), preferred = best(v, v->site.predicted);
        if (fastest == CONV_CANDIDATES) continue;
        r.decided++;
        r.right += fastest == preferred;
        r.lost += (double)(v->uses[0] + v->uses[1]) * (v->seconds[preferred] - v->seconds[fastest]);
    }
    return r;
}

static void print_text(const Convolutions *c, const Check *r) {
    printf("  %-44s %5s  %-26s %10s %10s %7s\n", "convolution", "calls", "algorithm", "predicted", "measured", "error");
    for (int64_t i = 0; i < c->count; i++) {
        const Convolution *v = &c->item[i];
        for (uint32_t n = 0; n < v->nlisted; n++) {
            uint32_t k = v->listed[n];
            if (v->seconds[k] <= 0) continue;
            double predicted = r->scale * v->site.predicted[k];
            printf("%c %-44.*s %5" PRId64 "  %-26s %7.3f ms %7.3f ms %+6.0f%%\n",
                   choice_equal(&v->site.candidate[k], &v->site.choice) ? '*' : ' ', (int)strcspn(v->site.key, "#"), v->site.key,
                   v->uses[0] + v->uses[1], choice_text(c->arena, &v->site.candidate[k]), 1e3 * predicted, 1e3 * v->seconds[k],
                   100 * (predicted / v->seconds[k] - 1));
        }
    }
    printf("'*': what the cost model chooses. Predictions are scaled by %.2f; half of them are within a factor of %.2f.\n",
           r->scale, r->error);
    printf("The model prefers the fastest kernel for %" PRId64 " of %" PRId64
           " convolutions; the others cost %.3f ms together.\n",
           r->right, r->decided, 1e3 * r->lost);
}

static void print_json(const Convolutions *c, const Check *r) {
    printf("{\"right\": %" PRId64 ", \"decided\": %" PRId64, r->right, r->decided);
    json_write_member(stdout, "scale", r->scale);
    json_write_member(stdout, "error", r->error);
    json_write_member(stdout, "lost_ms", 1e3 * r->lost);
    printf(", \"convolutions\": [");
    const char *separator = "";
    for (int64_t i = 0; i < c->count; i++) {
        const Convolution *v = &c->item[i];
        for (uint32_t n = 0; n < v->nlisted; n++) {
            uint32_t k = v->listed[n];
            if (v->seconds[k] <= 0) continue;
            printf("%s{\"key\": ", separator);
            json_write_string(stdout, v->site.key);
            printf(", \"calls\": %" PRId64 ", \"choice\": ", v->uses[0] + v->uses[1]);
            json_write_string(stdout, choice_text(c->arena, &v->site.candidate[k]));
            json_write_member(stdout, "predicted_ms", 1e3 * v->site.predicted[k]);
            json_write_member(stdout, "measured_ms", 1e3 * v->seconds[k]);
            putchar('}');
            separator = ", ";
        }
    }
    printf("]}\n");
}

int bench_convolutions(Session *session, bool train, bool infer) {
    int rounds = (int)((session->options->repeats + 1) / 2); /* two steps each */
    int status = session_pool(session);
    if (!status) status = compile_modes(session, (train ? PASS_TRAIN : 0) | (infer ? PASS_INFER : 0), "bench");
    if (!status && train) status = compile_graph(session, MODE_TRAIN, true);
    if (!status && train) status = session_check_graph(session->train_passes.graph);
    if (!status && infer) status = compile_infer(session);
    if (!status) status = session_check_met(session);
    if (status) return status;
    CodegenInput input = session_input(session);
    CodegenOptions code = session_code(session);
    Convolutions c = {0};
    status = tuning_choose(session, &input, &code);
    if (!status) status = convolutions_list(session, &input, &code, &c);
    if (!status) convolutions_one_each(&c);
    if (!status) status = convolutions_measure(session, &input, &code, &c, rounds);
    if (!status) {
        Check r = check(&c);
        session->options->json ? print_json(&c, &r) : print_text(&c, &r);
    }
    convolutions_free(&c);
    return status;
}
