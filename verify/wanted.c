#include "verify/wanted.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FACTOR: sums in another order and Winograd's transforms, which the perturbed evaluator does not have, against rounding at every
 * value, which it has. A unit of rounding of the largest gradient is allowed everywhere: where terms of that size cancel, as in
 * the gradient of a bias before a batch norm, which is zero, this is what they leave. Several draws, since one says little of an
 * output of few elements: of two numbers of one normal distribution one is FACTOR times the other in 4 of 100, and a deep net has
 * hundreds of biases; in three draws it is 16 times the largest in 3 of 10000. */
static const double FACTOR = 16;
static const struct {
    int draws;    /* perturbed runs */
    double move;  /* of each leaf */
    double unit;  /* of rounding */
    double floor; /* of an output's norm, for those that perturbation happens to leave alone */
    bool round_f32;
} rounding[] = {
    [IN_F64] = {3, 0x1p-50, 0x1p-53, 1e-9, false},
    [IN_F32] = {3, 0x1p-21, 0x1p-24, 1e-6, true},
    [IN_BF16] = {3, 0x1p-7, 0x1p-9, 1e-6, true},
};

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for the outputs of a net");
}

static Tensor *evaluate(const Graph *g, Leaves *leaves, const EvalOptions *how, char *why, size_t why_size) {
    Tensor *out = checked(calloc(g->noutputs + 1, sizeof *out));
    if (graph_eval(g, leaves_tensor, leaves, how, out, NULL, why, why_size)) return out;
    free(out);
    return NULL;
}

Tensor *outputs_eval(const Graph *g, Leaves *leaves, char *why, size_t why_size) {
    return evaluate(g, leaves, &(EvalOptions){.seed = HELD_DROPOUT_SEED, .step = HELD_DROPOUT_STEP}, why, why_size);
}

void outputs_free(const Graph *g, Tensor *out) {
    for (uint32_t i = 0; out && i < g->noutputs; i++) tensor_free(&out[i]);
    free(out);
}

static double norm(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = a[i] - (b ? b[i] : 0);
        sum += d * d;
    }
    return sqrt(sum);
}

static void allow_gradients(Wanted *w, double unit) {
    double largest = 0;
    for (uint32_t i = 0; i < w->g->noutputs; i++)
        if (w->g->output[i].kind == OUT_GRAD) largest = fmax(largest, norm(w->out[i].data, NULL, type_elements(w->out[i].type)));
    for (uint32_t i = 0; i < w->g->noutputs; i++)
        if (w->g->output[i].kind == OUT_GRAD) w->tolerance[i] = unit * largest;
}

static bool allow_rounding(Wanted *w, uint32_t draw, char *why, size_t why_size) {
    Arithmetic in = w->leaves.arithmetic;
    Leaves moved = {.seed = w->leaves.seed,
                    .arithmetic = in,
                    .classes = w->leaves.classes,
                    .near = &w->leaves,
                    .move = rounding[in].move,
                    .draw = draw};
    ExprNoise noise = {.unit = rounding[in].unit, .seed = draw};
    EvalOptions how = {
        .seed = HELD_DROPOUT_SEED, .step = HELD_DROPOUT_STEP, .round_f32 = rounding[in].round_f32, .noise = &noise};
    Tensor *out = evaluate(w->g, &moved, &how, why, why_size);
    leaves_free(&moved);
    for (uint32_t i = 0; out && i < w->g->noutputs; i++) {
        int64_t n = type_elements(out[i].type);
        double allowed = FACTOR * norm(out[i].data, w->out[i].data, n) + rounding[in].floor * norm(w->out[i].data, NULL, n);
        w->tolerance[i] = fmax(w->tolerance[i], allowed);
    }
    outputs_free(w->g, out);
    return out != NULL;
}

bool wanted_new(const Graph *g, Arithmetic arithmetic, uint64_t seed, Leaves *given, Wanted *w, char *why, size_t why_size) {
    *w = (Wanted){.g = g};
    if (given) w->leaves = *given, *given = (Leaves){0};
    w->leaves.seed = seed;
    w->leaves.arithmetic = arithmetic;
    w->leaves.classes = classes_of(g);
    w->out = outputs_eval(g, &w->leaves, why, why_size);
    if (!w->out) return false;
    w->tolerance = checked(calloc(g->noutputs + 1, sizeof *w->tolerance));
    allow_gradients(w, rounding[arithmetic].unit);
    for (int draw = 0; draw < rounding[arithmetic].draws; draw++)
        if (!allow_rounding(w, (uint32_t)draw, why, why_size)) return false;
    return true;
}

void wanted_free(Wanted *w) {
    if (w->g) outputs_free(w->g, w->out);
    free(w->tolerance);
    leaves_free(&w->leaves);
    *w = (Wanted){0};
}

/* ---- comparing ---- */

uint32_t output_find(const Graph *g, const Output *wanted) {
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].kind == wanted->kind && (!wanted->name || !strcmp(g->output[i].name, wanted->name))) return i;
    return UINT32_MAX;
}

/* found: NULL if it is not there. */
static Worst compare_output(const Output *o, const Tensor *want, double tolerance, const Tensor *found) {
    int64_t n = type_elements(want->type);
    Worst w = {.of_tolerance = INFINITY, .kind = o->kind, .name = o->name, .type = want->type, .element = -1};
    w.size = norm(want->data, NULL, n);
    if (!found || !type_equal(found->type, want->type)) return w;
    w.error = norm(found->data, want->data, n);
    double largest = -1;
    for (int64_t k = 0; k < n; k++) {
        double differs = fabs(found->data[k] - want->data[k]);
        if (isnan(differs)) differs = INFINITY;
        if (differs <= largest) continue;
        largest = differs;
        w.element = k, w.wanted = want->data[k], w.found = found->data[k];
    }
    if (isfinite(w.error)) w.of_tolerance = w.error <= 1e-30 ? 0 : w.error / fmax(tolerance, 1e-30);
    if (!isfinite(w.size)) w.of_tolerance = 0; /* the net itself overflows */
    return w;
}

Worst wanted_compare(const Wanted *w, const Graph *g, const Tensor *out, bool counts) {
    Worst worst = {.of_tolerance = -1, .element = -1};
    for (uint32_t i = 0; i < w->g->noutputs; i++) {
        const Output *o = &w->g->output[i];
        if (o->kind == OUT_CORRECT && !counts) continue;
        uint32_t at = output_find(g, o);
        Worst this = compare_output(o, &w->out[i], w->tolerance[i], at == UINT32_MAX ? NULL : &out[at]);
        if (this.of_tolerance > worst.of_tolerance) worst = this;
    }
    if (worst.of_tolerance < 0) worst.of_tolerance = 0; /* nothing is wanted */
    return worst;
}

const char *output_text(OutputKind kind, const char *name, char text[OUTPUT_TEXT]) {
    const char *what = kind == OUT_GRAD ? "gradient" : output_kind_text(kind);
    snprintf(text, OUTPUT_TEXT, "%s%s%.250s", what, name ? " " : "", name ? name : "");
    return text;
}

/* "element [0, 2, 1]" of a type; of a scalar "it". */
static void element_text(Type t, int64_t element, char *text, size_t size) {
    int64_t index[MAX_RANK];
    for (int d = t.rank - 1; d >= 0; d--) index[d] = element % t.dim[d], element /= t.dim[d];
    size_t length = (size_t)snprintf(text, size, t.rank ? "element [" : "it");
    for (int d = 0; d < t.rank && length < size; d++)
        length += (size_t)snprintf(text + length, size - length, "%lld%s", (long long)index[d], d + 1 < t.rank ? ", " : "]");
}

const char *worst_text(const Worst *w, char text[WORST_TEXT]) {
    char output[OUTPUT_TEXT], element[120];
    output_text(w->kind, w->name, output);
    if (w->element < 0) {
        snprintf(text, WORST_TEXT, "%s is not there", output);
        return text;
    }
    element_text(w->type, w->element, element, sizeof element);
    snprintf(text, WORST_TEXT, "%s is off by %.3g, of norm %.3g: %s is %.9g, should be %.9g", output, w->error, w->size, element,
             w->found, w->wanted);
    return text;
}
