/* netc lint: what will go wrong with a net, before it is trained. docs/lint.md says how each thing is decided; the limits below
 * lie between what the models that come with netc show and what nets that do not train show, far from both. */
#include "driver/compile.h"
#include "driver/driver.h"
#include "driver/gates.h"
#include "driver/signal.h"
#include "driver/textual.h"
#include "runtime/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 600 };
static const double GRADIENTS = 1e4, OUTPUTS = 1e4; /* greatest by least norm of filters' gradients; of outputs of convolutions */
static const double SILENT = 0.75;                  /* of the channels of a map */
enum { UNITS = 8 };                                 /* fewer, as a gate's hidden ones often are, may all be silent by chance */
static const double CONFIDENCE = 0.95;              /* mean of the greatest class probability */
static const double RATE = 200;                     /* learning rate times curvature along the gradient */

typedef struct Finding {
    const char *kind;
    Span span;
    char *text;
} Finding;

typedef struct Lint {
    const Options *options;
    Session session;
    Signal signal;
    Finding *finding;
    uint32_t count, capacity;
} Lint;

static void found(Lint *l, const char *kind, Span span, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void found(Lint *l, const char *kind, Span span, const char *format, ...) {
    char text[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 8;
        Finding *more = realloc(l->finding, l->capacity * sizeof *more);
        if (!more) out_of_memory("no room for what lint found");
        l->finding = more;
    }
    l->finding[l->count++] = (Finding){kind, span, join("%s", text)};
}

static void lint_free(Lint *l) {
    for (uint32_t i = 0; i < l->count; i++) free(l->finding[i].text);
    free(l->finding);
    signal_free(&l->signal);
    session_close(&l->session);
}

/* ---- what the graph shows ---- */

static bool same_place(Span a, Span b) { return a.file == b.file && a.begin == b.begin && a.end == b.end; }

/* One finding for each place in the source, with how many blocks came from it. */
static void check_gates(Lint *l) {
    const Graph *g = l->session.train.graph;
    uint32_t count;
    Val *sum = shortcut_gates(g, &count);
    for (uint32_t i = 0; i < count; i++) {
        Span span = g->value[sum[i]].span;
        uint32_t before = 0, blocks = 0;
        for (uint32_t k = 0; k < count; k++)
            if (same_place(g->value[sum[k]].span, span)) blocks++, before += k < i;
        if (before) continue;
        const char *name = g->value[sum[i]].name;
        found(l, "gate-on-shortcut", span,
              "the gate scales the shortcut, not the residual branch, in %" PRIu32 " block%s%s%s: a factor below 1 in each block "
              "leaves no identity path; gate the operand behind the convolutions",
              blocks, blocks > 1 ? "s, first " : " ", name ? "" : "without a name", name ? name : "");
    }
    free(sum);
}

/* ---- what was measured ---- */

/* The layers with filters whose gradient is greatest and least; those of exactly zero are find_unreached's, those of NaN
 * check_loss's. False: fewer than two. */
static bool extremes(const Signal *s, double (*of)(const LayerSignal *), uint32_t *greatest, uint32_t *least) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->nlayers; i++) {
        double value = of(&s->layer[i]);
        if (!s->layer[i].filters || value == 0 || isnan(value)) continue;
        if (!count || value > of(&s->layer[*greatest])) *greatest = i;
        if (!count || value < of(&s->layer[*least])) *least = i;
        count++;
    }
    return count > 1;
}

static double gradient_of(const LayerSignal *l) { return l->gradient; }
static double output_of(const LayerSignal *l) { return l->forward; }

static void check_gradients(Lint *l) {
    const Signal *s = &l->signal;
    uint32_t most, least;
    if (!extremes(s, gradient_of, &most, &least)) return;
    const LayerSignal *a = &s->layer[most], *b = &s->layer[least];
    if (!(a->gradient / b->gradient > GRADIENTS)) return; /* infinite both: NaN */
    found(l, most < least ? "exploding-gradient" : "vanishing-gradient", a->span,
          "gradients %s from the last layers to the first: their norm is %.2g for %s and %.2g for %s, %.1g times as much",
          most < least ? "grow" : "shrink", a->gradient, a->name, b->gradient, b->name, a->gradient / b->gradient);
}

static void check_outputs(Lint *l) {
    const Signal *s = &l->signal;
    uint32_t most, least;
    if (!extremes(s, output_of, &most, &least)) return;
    const LayerSignal *a = &s->layer[most], *b = &s->layer[least];
    if (!(a->forward / b->forward > OUTPUTS)) return;
    found(l, most > least ? "exploding-signal" : "vanishing-signal", s->layer[most > least ? most : least].span,
          "outputs %s from layer to layer: their root mean square is %.2g behind %s and %.2g behind %s",
          most > least ? "grow" : "shrink", b->forward, b->name, a->forward, a->name);
}

static void check_units(Lint *l) {
    const Signal *s = &l->signal;
    for (uint32_t i = 0; i < s->nunits; i++) {
        const UnitSignal *u = &s->unit[i];
        bool all = u->silent == u->channels, most = u->map && (double)u->silent > SILENT * (double)u->channels;
        if (u->channels >= UNITS && (all || most))
            found(l, "silent-units", u->span, "%" PRId64 " of %" PRId64 " channels of %s are zero for all %" PRId64 " images",
                  u->silent, u->channels, u->name ? u->name : "a map", s->images);
    }
}

static bool any_silent(const Signal *s) {
    for (uint32_t i = 0; i < s->nunits; i++)
        if (s->unit[i].silent == s->unit[i].channels) return true;
    return false;
}

static void check_loss(Lint *l) {
    const Signal *s = &l->signal;
    const RtOptimizer *optimizer = &l->session.train.recipe.optimizer;
    Span nowhere = {0};
    if (!isfinite(s->loss))
        found(l, "not-finite", nowhere, "the loss is %g before the first step", s->loss);
    else if (!isfinite(s->gradient))
        found(l, "not-finite", nowhere, "the loss is %g before the first step, but its gradient is not finite", s->loss);
    if (s->confidence > CONFIDENCE)
        found(l, "saturated-softmax", nowhere,
              "the greatest class probability is %.3f in the mean before anything is learnt: where it is 1 there is no gradient",
              s->confidence);
    if (optimizer->kind == RT_SGD && optimizer->lr * s->curvature > RATE)
        found(
            l, "learning-rate", nowhere,
            "the loss curves by %.2g along its gradient, times the learning rate of %g makes %.2g: a step overshoots from 2 on, "
            "and warm-up makes good for no more than some 30",
            s->curvature, optimizer->lr, optimizer->lr * s->curvature);
    if (s->unreached && !any_silent(s))
        found(l, "no-gradient", nowhere, "no gradient reaches %s, nor does one after a small step of the others", s->unreached);
}

/* ---- the report ---- */

static void print_layers(const Signal *s) {
    int width = 5;
    for (uint32_t i = 0; i < s->nlayers; i++)
        width = (int)strlen(s->layer[i].name) > width ? (int)strlen(s->layer[i].name) : width;
    printf("%-*s  %9s  %9s  %9s  %9s\n", width, "layer", "output", "backward", "weights", "gradient");
    for (uint32_t i = 0; i < s->nlayers; i++) {
        const LayerSignal *layer = &s->layer[i];
        printf("%-*s  %9.3g  %9.3g  %9.3g  %9.3g\n", width, layer->name, layer->forward, layer->backward, layer->weight,
               layer->gradient);
    }
}

static void print_text(const Lint *l) {
    const Signal *s = &l->signal;
    uint32_t most, least;
    printf("%s, %" PRId64 " image%s, seed %" PRId64 ": loss %.4g, greatest probability %.3f, curvature %.3g",
           l->session.train.name, s->images, s->images == 1 ? "" : "s", l->options->seed, s->loss, s->confidence, s->curvature);
    if (extremes(s, gradient_of, &most, &least))
        printf(", gradients of filters %.2g to %.2g", s->layer[least].gradient, s->layer[most].gradient);
    printf("\n");
    if (l->options->each) print_layers(s);
    for (uint32_t i = 0; i < l->count; i++)
        diag_report(l->session.diag, SEV_WARNING, l->finding[i].span, "%s [%s]", l->finding[i].text, l->finding[i].kind);
    diag_print(l->session.diag, stdout, use_color(stdout));
}

static void print_place(const Lint *l, Span span) {
    int line, column;
    if (!span.file) return;
    diag_line_column(l->session.diag, span, &line, &column);
    printf(", \"file\": ");
    json_write_string(stdout, diag_file_path(l->session.diag, span.file));
    printf(", \"line\": %d, \"column\": %d", line, column);
}

static void print_json(const Lint *l) {
    const Signal *s = &l->signal;
    printf("{\"model\": ");
    json_write_string(stdout, l->session.train.name);
    printf(", \"images\": %" PRId64 ", \"seed\": %" PRId64, s->images, l->options->seed);
    json_write_member(stdout, "loss", s->loss);
    json_write_member(stdout, "confidence", s->confidence);
    json_write_member(stdout, "curvature", s->curvature);
    printf(", \"findings\": [");
    for (uint32_t i = 0; i < l->count; i++) {
        printf("%s{\"kind\": \"%s\"", i ? ", " : "", l->finding[i].kind);
        print_place(l, l->finding[i].span);
        printf(", \"text\": ");
        json_write_string(stdout, l->finding[i].text);
        printf("}");
    }
    printf("], \"layers\": [");
    for (uint32_t i = 0; i < s->nlayers; i++) {
        printf("%s{\"name\": ", i ? ", " : "");
        json_write_string(stdout, s->layer[i].name);
        print_place(l, s->layer[i].span);
        json_write_member(stdout, "output", s->layer[i].forward);
        json_write_member(stdout, "backward", s->layer[i].backward);
        json_write_member(stdout, "weights", s->layer[i].weight);
        json_write_member(stdout, "gradient", s->layer[i].gradient);
        printf("}");
    }
    printf("], \"units\": [");
    for (uint32_t i = 0; i < s->nunits; i++) {
        printf("%s{\"name\": ", i ? ", " : "");
        json_write_string(stdout, s->unit[i].name ? s->unit[i].name : "");
        print_place(l, s->unit[i].span);
        printf(", \"channels\": %" PRId64 ", \"silent\": %" PRId64 "}", s->unit[i].channels, s->unit[i].silent);
    }
    printf("]}\n");
}

/* The graph as the language says it: gates are found by its ops, and gradients are added here. */
static int check_source(const Lint *l) {
    PassOptions left = {0};
    textual_skip(l->session.train.graph, &left);
    if (!left.start_after && !left.finished) return EXIT_OK;
    return fail(EXIT_INPUT, "'%s' has been through passes: netc lint takes graphs as the language says them (--stage=source)",
                l->session.path);
}

int command_lint(const Options *o) {
    Lint l = {.options = o};
    if (o->noperands > 1) return usage_error("lint", "one model at a time, found '%s' too", o->operand[1]);
    int status = session_find_model(&l.session, o, "lint");
    if (!status) status = compile_modes(&l.session, PASS_TRAIN, "lint");
    if (!status) status = compile_source(&l.session, MODE_TRAIN, o->batch, &l.session.train);
    if (!status) status = check_source(&l);
    if (!status) status = signal_measure(&l.session, "lint", &l.signal);
    if (!status) {
        check_gates(&l);
        check_gradients(&l);
        check_outputs(&l);
        check_units(&l);
        check_loss(&l);
        if (o->json)
            print_json(&l);
        else
            print_text(&l);
        status = l.count ? EXIT_INPUT : EXIT_OK;
    }
    lint_free(&l);
    return status;
}
