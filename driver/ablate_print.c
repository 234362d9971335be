/* What netc ablate prints: a table, a line of JSON, or a page. */
#include "driver/ablate.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- what all of them say ---- */

/* Nothing changes: it has the base's code. */
static bool is_base(const Ablation *a, uint32_t i) {
    const Variant *v = a->variant[i], *base = a->variant[a->base];
    return i == a->base || v->same == base || base->same == v || (v->same && v->same == base->same);
}

/* A pair that is the same as one of the two alone tells nothing. */
static bool is_redundant(const Ablation *a, uint32_t i) {
    const AblationRow *row = &a->row[i];
    if (row->first == UINT32_MAX) return false;
    const Variant *v = a->variant[i];
    for (int k = 0; k < 2; k++) {
        const Variant *single = a->variant[k ? row->second : row->first];
        if (is_base(a, i) || v->same == single || (v->same && v->same == single->same)) return true;
    }
    return false;
}

static bool shows(Estimate e) { return e.low > 0 || e.high < 0; }

static const char *title(const Ablation *a) {
    const Options *o = a->options;
    return o->rewrites ? "what each rewrite is worth, left out alone"
           : o->alone  ? "what each pass does alone"
                       : "what each pass is worth, left out alone";
}

static const RtProgram *program(const Ablation *a) {
    const Variant *v = a->variant[0];
    return jit_program(v->session.jit);
}

/* ---- text ---- */

static const char *const column[] = {"kernels", "calls", "sweeps", "maps", "MB stored", "MB moved", "GFLOP", "MB arena"};
enum { COLUMNS = sizeof column / sizeof *column };

static void columns(const Figures *f, double out[COLUMNS]) {
    double values[COLUMNS] = {f->kernels,
                              f->calls,
                              f->sweeps,
                              f->maps,
                              1e-6 * (double)f->map_bytes,
                              1e-6 * f->bytes,
                              1e-9 * f->flops,
                              1e-6 * (double)f->arena_bytes};
    memcpy(out, values, sizeof values);
}

/* Of the base as it is, of the others what they have more; "." for nothing. */
static void cell(const Ablation *a, uint32_t i, int c, char *text, size_t size) {
    double these[COLUMNS], base[COLUMNS];
    columns(&a->variant[i]->figures, these);
    columns(&a->variant[a->base]->figures, base);
    int digits = c < 4 ? 0 : 1;
    double more = these[c] - base[c];
    if (i == a->base)
        snprintf(text, size, "%.*f", digits, these[c]);
    else if (fabs(more) < 0.5 * pow(10, -digits))
        snprintf(text, size, ".");
    else
        snprintf(text, size, "%+.*f", digits, more);
}

static void estimate_text(Estimate e, char *text, size_t size) {
    snprintf(text, size, "%+6.1f %% [%+.1f, %+.1f]%s", 100 * e.median, 100 * e.low, 100 * e.high,
             shows(e) ? "" : " not distinguishable from 0");
}

static void time_text(const Ablation *a, uint32_t i, char *text, size_t size) {
    if (i == a->base)
        snprintf(text, size, "%s", "");
    else if (is_base(a, i))
        snprintf(text, size, "the same code");
    else
        estimate_text(a->row[i].change, text, size);
}

static void agreement_text(double of_tolerance, char *text, size_t size) {
    if (of_tolerance < 0)
        snprintf(text, size, "-");
    else if (isinf(of_tolerance))
        snprintf(text, size, "WRONG");
    else
        snprintf(text, size, "%.0e", of_tolerance);
}

static void print_row(const Ablation *a, uint32_t i, int width) {
    const Variant *v = a->variant[i];
    char text[80];
    printf("  %-*s", width, v->label);
    if (v->refused) {
        printf(" does not compile\n");
        return;
    }
    for (int c = 0; c < COLUMNS; c++) {
        cell(a, i, c, text, sizeof text);
        printf(" %9s", text);
    }
    agreement_text(v->of_tolerance, text, sizeof text);
    printf(" %9s %9.3f ", text, 1e3 * a->row[i].median_seconds);
    time_text(a, i, text, sizeof text);
    printf(" %s", text);
    if (a->row[i].first != UINT32_MAX) {
        estimate_text(a->row[i].beyond, text, sizeof text);
        printf("; beyond the two alone %s", text);
    }
    putchar('\n');
}

static uint32_t hidden(const Ablation *a) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->count; i++) count += is_redundant(a, i);
    return count;
}

static void print_text(const Ablation *a) {
    const RtProgram *p = program(a);
    int width = 12;
    for (uint32_t i = 0; i < a->count; i++)
        if ((int)strlen(a->variant[i]->label) > width && !is_redundant(a, i)) width = (int)strlen(a->variant[i]->label);
    printf("%s, %s, batch %" PRId64 ", on %s, %d thread%s: %s\n", p->model, a->mode == MODE_TRAIN ? "training" : "inference",
           p->batch, p->target, rt_pool_threads(a->pool), rt_pool_threads(a->pool) == 1 ? "" : "s", title(a));
    printf("  %-*s", width, "");
    for (int c = 0; c < COLUMNS; c++) printf(" %9s", column[c]);
    printf(" %9s %9s   change of the time of a step\n", "evaluator", "ms");
    print_row(a, a->base, width);
    for (uint32_t i = 0; i < a->count; i++)
        if (i != a->base && !is_redundant(a, i)) print_row(a, i, width);
    if (hidden(a) == 1) printf("  a pair that does what one of the two does alone is left out\n");
    if (hidden(a) > 1) printf("  %u pairs that do what one of the two does alone are left out\n", hidden(a));
    printf("  %" PRId64 " round%s in turn; the median lies in its interval with a probability of %.1f %%\n\n", a->rounds,
           a->rounds == 1 ? "" : "s", 100 * a->coverage);
    fflush(stdout);
}

/* ---- JSON ---- */

static void print_names(const char *name, const char *const *item, uint32_t count) {
    printf(", \"%s\": [", name);
    for (uint32_t i = 0; i < count; i++) {
        if (i) printf(", ");
        json_write_string(stdout, item[i]);
    }
    putchar(']');
}

static void print_estimate(const char *name, Estimate e) {
    printf(", \"%s\": {\"median\": ", name);
    json_write_number(stdout, e.median);
    json_write_member(stdout, "low", e.low);
    json_write_member(stdout, "high", e.high);
    printf(", \"shows\": %s}", shows(e) ? "true" : "false");
}

static void print_variant(const Ablation *a, uint32_t i) {
    const Variant *v = a->variant[i];
    const Figures *f = &v->figures;
    printf("%s{\"name\": ", i ? ", " : "");
    json_write_string(stdout, v->label);
    print_names("disabled", v->disabled, v->ndisabled);
    if (v->forbidden) print_names("forbidden", &v->forbidden, 1);
    printf(", \"compiles\": %s", v->refused ? "false" : "true");
    if (!v->refused) {
        printf(", \"same_code\": %s, \"kernels\": %u, \"calls\": %u, \"sweeps\": %u, \"maps\": %u, \"map_bytes\": %" PRIu64
               ", \"arena_bytes\": %" PRIu64,
               is_base(a, i) ? "true" : "false", f->kernels, f->calls, f->sweeps, f->maps, f->map_bytes, f->arena_bytes);
        json_write_member(stdout, "bytes", f->bytes);
        json_write_member(stdout, "flops", f->flops);
        printf(", \"agrees\": %s", v->of_tolerance < 0 ? "null" : v->of_tolerance <= 1 ? "true" : "false");
        json_write_member(stdout, "of_tolerance", v->of_tolerance < 0 ? NAN : v->of_tolerance);
        json_write_member(stdout, "ms", 1e3 * a->row[i].median_seconds);
        print_estimate("change", a->row[i].change);
        if (a->row[i].first != UINT32_MAX) print_estimate("beyond", a->row[i].beyond);
    }
    putchar('}');
}

static void print_json(const Ablation *a) {
    const RtProgram *p = program(a);
    printf("{\"model\": ");
    json_write_string(stdout, p->model);
    printf(", \"mode\": \"%s\", \"target\": ", mode_text(a->mode));
    json_write_string(stdout, p->target);
    printf(", \"threads\": %d, \"batch\": %" PRId64 ", \"rounds\": %" PRId64, rt_pool_threads(a->pool), p->batch, a->rounds);
    json_write_member(stdout, "coverage", a->coverage);
    printf(", \"base\": ");
    json_write_string(stdout, a->variant[a->base]->label);
    printf(", \"variants\": [");
    for (uint32_t i = 0; i < a->count; i++) print_variant(a, i);
    printf("]}\n");
}

/* ---- a page ---- */

static void print_escaped(const char *text) {
    for (; *text; text++) {
        if (*text == '<' || *text == '>' || *text == '&' || *text == '"')
            printf("&#%d;", *text);
        else
            putchar(*text);
    }
}

void ablation_print_head(const char *model) {
    printf("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>netc ablate ");
    print_escaped(model);
    printf(
        "</title><style>body{font:14px/1.4 system-ui,sans-serif;margin:2em}table{border-collapse:collapse;margin:1em 0 0}\n"
        "th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}\n"
        "tr.base{font-weight:bold}tr.same,td.no{color:#888}td.bar{text-align:left;min-width:220px}\n"
        "td.bar svg{vertical-align:middle;margin-right:.5em}</style></head><body>\n<h1>");
    print_escaped(model);
    printf("</h1>\n");
}

void ablation_print_tail(void) { printf("</body></html>\n"); }

/* An interval on a scale on which 100 pixels are `most`, and its median as a line. */
static void print_bar(Estimate e, double most) {
    double low = 100 + 100 * e.low / most, high = 100 + 100 * e.high / most, at = 100 + 100 * e.median / most;
    printf("<svg width=\"200\" height=\"12\"><path d=\"M100 0V12\" stroke=\"#888\"/><path d=\"M%.1f 6H%.1f\" stroke=\"%s\" "
           "stroke-width=\"6\"/><path d=\"M%.1f 0V12\" stroke=\"#000\"/></svg>",
           low, high > low + 1 ? high : low + 1, shows(e) ? e.median > 0 ? "#c55" : "#4a4" : "#ccc", at);
}

static void print_page_row(const Ablation *a, uint32_t i, double most) {
    const Variant *v = a->variant[i];
    char text[80];
    printf("<tr class=\"%s\"><td>", i == a->base ? "base" : is_base(a, i) ? "same" : "");
    print_escaped(v->label);
    printf("</td>");
    if (v->refused) {
        printf("<td colspan=\"%d\">does not compile</td></tr>\n", COLUMNS + 3);
        return;
    }
    for (int c = 0; c < COLUMNS; c++) {
        cell(a, i, c, text, sizeof text);
        printf("<td>%s</td>", text);
    }
    agreement_text(v->of_tolerance, text, sizeof text);
    printf("<td>%s</td><td>%.3f</td><td class=\"bar\">", text, 1e3 * a->row[i].median_seconds);
    if (!is_base(a, i)) print_bar(a->row[i].change, most);
    time_text(a, i, text, sizeof text);
    printf("%s</td></tr>\n", text);
}

static void print_page(const Ablation *a) {
    const RtProgram *p = program(a);
    double most = 1e-9;
    for (uint32_t i = 0; i < a->count; i++)
        if (!a->variant[i]->refused) most = fmax(most, fmax(fabs(a->row[i].change.low), fabs(a->row[i].change.high)));
    printf("<h2>%s: %s</h2>\n<p>batch %" PRId64 ", ", a->mode == MODE_TRAIN ? "Training" : "Inference", title(a), p->batch);
    print_escaped(p->target);
    printf(", %d thread%s; %" PRId64
           " round%s in turn; the median lies in its interval with a probability of %.1f %%</p>\n<table><tr><th></th>",
           rt_pool_threads(a->pool), rt_pool_threads(a->pool) == 1 ? "" : "s", a->rounds, a->rounds == 1 ? "" : "s",
           100 * a->coverage);
    for (int c = 0; c < COLUMNS; c++) printf("<th>%s</th>", column[c]);
    printf("<th>evaluator</th><th>ms</th><th>change of the time of a step</th></tr>\n");
    print_page_row(a, a->base, most);
    for (uint32_t i = 0; i < a->count; i++)
        if (i != a->base && !is_redundant(a, i)) print_page_row(a, i, most);
    printf("</table>\n");
}

void ablation_print(const Ablation *a) {
    if (a->options->json)
        print_json(a);
    else if (a->options->html)
        print_page(a);
    else
        print_text(a);
}
