/* A parameter moves by its own size (root mean square) times half its gradient's direction and half a random one, scaled so that
 * all parameters contribute alike to the slope, up to LIFT: an error in any of them then shows in two evaluations of the loss.
 * Where it does, halving the set of parameters that move finds which. */
#include "verify/slopes.h"
#include "runtime/rt.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The step is such that the gradients predict a change of the loss by CHANGE, and at most STEP of each parameter: a deep net
 * whose gradients explode bends within much less than a flat one. In double the loss's own rounding is some 1e-12 of it. Where a
 * ReLU or a maximum turns within the step the difference is off by that element's share: less with a step SHORTER times smaller,
 * while a wrong gradient stays wrong.
 *
 * A net that is chaotic amplifies the rounding within it as it does the parameters' moves: the loss of SE-ResNet-164 with the
 * stronger shortcut, whose slope along a parameter's size is 1e9, is off by 5e-7 where others' are by 1e-13 (and it bends by a
 * hundredth within a change of 1e-2). So the loss's noise is measured, as outputs' tolerance is (wanted.h): evaluated again with
 * leaves moved by MOVE and sums by a UNIT of rounding. A difference may be off by NOISE_FACTOR times that, as outputs may, and
 * the change is at least ABOVE times that, so that what noise allows is 3 % of the slope and never all of it. In a noisy net
 * GROUP parameters move at once, of which one that is wrong is twice that, by up to NOISY_STEP of their size where the loss is
 * flat. */
static const double STEP = 1e-6, CHANGE = 3e-6, SHORTER = 16, LIFT = 30, TOLERANCE = 1e-5, LOSS_ROUNDING = 0x1p-40;
static const double MOVE = 0x1p-50, UNIT = 0x1p-53, NOISE_FACTOR = 16, ABOVE = 256, NOISY_STEP = 1e-3;
enum { NOISE_DRAWS = 2, GROUP = 16 }; /* GROUP: parameters that move at once in a noisy net */
enum { STREAM = 0x51 };

typedef struct Direction {
    const char *name;
    const Tensor *gradient;
    Tensor along;
    double slope, size; /* gradient * along; the sum of the terms' sizes, as a root of squares */
} Direction;

typedef struct Slopes {
    const Graph *loss;
    Leaves *leaves;
    Direction *all;
    uint32_t count, first, last; /* those in [first, last) move */
    double step, noise;          /* noise: of the loss */
    Leaf scratch;                /* the moved leaf that was asked for last */
    char *why;
    size_t why_size;
} Slopes;

static double rms(const Tensor *t) {
    double sum = 0;
    int64_t n = type_elements(t->type);
    for (int64_t i = 0; i < n; i++) sum += t->data[i] * t->data[i];
    double root = n ? sqrt(sum / (double)n) : 0;
    return root > 0 ? root : 1;
}

static Direction choose_direction(Leaves *leaves, const Value *leaf, const Tensor *gradient, uint64_t seed, uint32_t stream) {
    Direction d = {.name = leaf->attrs.param.name, .gradient = gradient, .along = tensor_new(leaf->type)};
    int64_t n = type_elements(leaf->type);
    double size = rms(leaves_tensor(leaves, leaf)), sum = 0;
    for (int64_t i = 0; i < n; i++) sum += gradient->data[i] * gradient->data[i];
    double towards = sum > 0 && isfinite(sum) ? sqrt((double)n / sum) : 0;
    for (int64_t i = 0; i < n; i++) {
        double random = 2 * rt_uniform(seed, STREAM, (uint64_t)i, stream) - 1;
        d.along.data[i] = 0.5 * size * (gradient->data[i] * towards + random);
        d.slope += gradient->data[i] * d.along.data[i];
        d.size += pow(gradient->data[i] * d.along.data[i], 2);
    }
    d.size = sqrt(d.size);
    return d;
}

static void level_directions(Slopes *s, uint32_t first, uint32_t last) {
    double largest = 0;
    for (uint32_t i = first; i < last; i++) largest = fmax(largest, fabs(s->all[i].slope));
    for (uint32_t i = first; i < last; i++) {
        Direction *d = &s->all[i];
        double lift = fmin(LIFT, largest / fmax(fabs(d->slope), 1e-300));
        for (int64_t k = 0, n = type_elements(d->along.type); k < n; k++) d->along.data[k] *= lift;
        d->slope *= lift, d->size *= lift;
    }
}

static const Tensor *moved_leaf(void *context, const Value *leaf) {
    Slopes *s = context;
    const Tensor *at = leaves_tensor(s->leaves, leaf);
    for (uint32_t i = s->first; i < s->last; i++) {
        if (strcmp(s->all[i].name, leaf->attrs.param.name) != 0) continue;
        tensor_free(&s->scratch.tensor);
        s->scratch.tensor = tensor_new(leaf->type);
        for (int64_t k = 0, n = type_elements(leaf->type); k < n; k++)
            s->scratch.tensor.data[k] = at->data[k] + s->step * s->all[i].along.data[k];
        return &s->scratch.tensor;
    }
    return at;
}

static bool eval_with(Slopes *s, EvalLookup lookup, void *context, const ExprNoise *noise, double *loss) {
    Tensor *out = calloc(s->loss->noutputs, sizeof *out);
    if (!out) out_of_memory("no room for the outputs of a net");
    EvalOptions how = {.seed = HELD_DROPOUT_SEED, .step = HELD_DROPOUT_STEP, .noise = noise};
    bool ok = graph_eval(s->loss, lookup, context, &how, out, NULL, s->why, s->why_size);
    for (uint32_t i = 0; ok && i < s->loss->noutputs; i++)
        if (s->loss->output[i].kind == OUT_LOSS) *loss = out[i].data[0];
    outputs_free(s->loss, out);
    return ok;
}

static bool eval_loss(Slopes *s, double step, double *loss) {
    s->step = step;
    return eval_with(s, moved_leaf, s, NULL, loss);
}

/* Is what noise allows more than the usual change can bear? */
static bool is_noisy(const Slopes *s) { return ABOVE * s->noise >= CHANGE; }

static bool measure_noise(Slopes *s) {
    double loss = 0, other = 0;
    bool ok = eval_with(s, leaves_tensor, s->leaves, NULL, &loss);
    s->noise = LOSS_ROUNDING / NOISE_FACTOR * fmax(fabs(loss), 1);
    for (uint32_t draw = 0; ok && draw < NOISE_DRAWS; draw++) {
        Leaves moved = {.seed = s->leaves->seed,
                        .arithmetic = IN_F64,
                        .classes = s->leaves->classes,
                        .near = s->leaves,
                        .move = MOVE,
                        .draw = draw};
        ok = eval_with(s, leaves_tensor, &moved, &(ExprNoise){.unit = UNIT, .seed = draw}, &other);
        leaves_free(&moved);
        if (isfinite(other - loss)) s->noise = fmax(s->noise, fabs(other - loss));
    }
    return ok;
}

/* By how much the gradients say that the loss changes between both ends: parameters move by what their numbers can express. */
static double predict(const Slopes *s, uint32_t i, double step) {
    const Direction *d = &s->all[i];
    const Tensor *at = leaves_find(s->leaves, d->name);
    double sum = 0;
    for (int64_t k = 0, n = type_elements(d->along.type); k < n; k++) {
        double above = at->data[k] + step * d->along.data[k], below = at->data[k] - step * d->along.data[k];
        sum += d->gradient->data[k] * (above - below);
    }
    return sum;
}

/* Those in [first, last) move: how far the loss's change is from what the gradients say. */
static bool measure(Slopes *s, uint32_t first, uint32_t last, double shorter, Worst *w) {
    double above = 0, below = 0, size = 0, slope = 0;
    s->first = first, s->last = last;
    for (uint32_t i = first; i < last; i++) slope += fabs(s->all[i].slope), size += fabs(s->all[i].slope) + s->all[i].size;
    double longest = is_noisy(s) ? NOISY_STEP : STEP;
    double step = fmin(longest / shorter, fmax(CHANGE / shorter, ABOVE * s->noise) / fmax(slope, 1e-300));
    *w = (Worst){.kind = OUT_GRAD, .type = type_scalar(), .name = s->all[first].name};
    if (!eval_loss(s, step, &above) || !eval_loss(s, -step, &below)) return false;
    for (uint32_t i = first; i < last; i++) w->found += predict(s, i, step) / (2 * step);
    w->wanted = (above - below) / (2 * step);
    w->error = fabs(w->wanted - w->found);
    w->size = fabs(w->wanted);
    w->of_tolerance = w->error / (TOLERANCE * size + NOISE_FACTOR * s->noise / step);
    if (!isfinite(w->wanted)) w->of_tolerance = 0; /* the net itself overflows */
    if (isfinite(w->wanted) && !isfinite(w->found)) w->of_tolerance = INFINITY;
    return true;
}

static bool measure_twice(Slopes *s, uint32_t first, uint32_t last, Worst *w) {
    Worst shorter;
    if (!measure(s, first, last, 1, w)) return false;
    if (w->of_tolerance <= 1 || is_noisy(s)) return true;
    if (!measure(s, first, last, SHORTER, &shorter)) return false;
    if (shorter.of_tolerance < w->of_tolerance) *w = shorter;
    return true;
}

static bool find_wrong(Slopes *s, uint32_t first, uint32_t last, Worst *worst) {
    if (!measure_twice(s, first, last, worst)) return false;
    while (worst->of_tolerance > 1 && last - first > 1) {
        uint32_t middle = first + (last - first) / 2;
        Worst left, right;
        if (!measure_twice(s, first, middle, &left) || !measure_twice(s, middle, last, &right)) return false;
        bool is_left = left.of_tolerance >= right.of_tolerance;
        if ((is_left ? left : right).of_tolerance <= 1) break; /* wrong together only: named by the first of them */
        *worst = is_left ? left : right;
        if (is_left)
            last = middle;
        else
            first = middle;
    }
    return true;
}

/* All at once; where the loss is noisy, in groups that are small enough for one that is wrong to be more than what noise allows,
 * the 1 / (2 ABOVE / NOISE_FACTOR) of a group's slope. */
static bool find_worst(Slopes *s, Worst *worst) {
    uint32_t group = is_noisy(s) ? GROUP : s->count;
    *worst = (Worst){.of_tolerance = -1};
    for (uint32_t first = 0; first < s->count && worst->of_tolerance <= 1; first += group) {
        Worst this;
        uint32_t last = first + group < s->count ? first + group : s->count;
        level_directions(s, first, last);
        if (!find_wrong(s, first, last, &this)) return false;
        if (this.of_tolerance > worst->of_tolerance) *worst = this;
    }
    return true;
}

static const Value *find_leaf(const Graph *g, const char *name) {
    for (Val v = 0; v < g->count; v++)
        if (op_attr_kind(g->value[v].op) == ATTR_PARAM && !strcmp(g->value[v].attrs.param.name, name)) return &g->value[v];
    return NULL;
}

static bool try_direction(Slopes *s, const Graph *g, const Tensor *gradients, uint64_t seed, Worst *worst) {
    s->count = 0;
    for (uint32_t i = 0; i < g->noutputs; i++) {
        const Value *leaf = g->output[i].kind == OUT_GRAD ? find_leaf(s->loss, g->output[i].name) : NULL;
        if (leaf) s->all[s->count++] = choose_direction(s->leaves, leaf, &gradients[i], seed, i);
    }
    bool ok = s->count == 0 || (measure_noise(s) && find_worst(s, worst));
    for (uint32_t i = 0; i < s->count; i++) tensor_free(&s->all[i].along);
    tensor_free(&s->scratch.tensor);
    return ok;
}

bool slopes_compare(const Graph *loss, const Graph *g, const Tensor *gradients, Leaves *leaves, Worst *worst, char *why,
                    size_t why_size) {
    Slopes s = {.loss = loss, .leaves = leaves, .why = why, .why_size = why_size};
    *worst = (Worst){0};
    if (graph_find_output(loss, OUT_LOSS, NULL) == NO_VAL) return true;
    s.all = calloc(g->noutputs + 1, sizeof *s.all);
    if (!s.all) out_of_memory("no room for %u gradients", g->noutputs);
    bool ok = try_direction(&s, g, gradients, leaves->seed, worst);
    free(s.all);
    return ok;
}
