/* Draws go by turns: numbers of either sign, positive ones, and special ones. A number's last bits are its variable's, so that
 * but for the special draws no two are equal and none is zero. How far the sides may differ is what noise in their sums moves
 * them. */
#include "verify/rule.h"
#include "ir/eval.h"
#include "runtime/rt.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWS = 48, KINDS = 3, MAX_EXTENT = 3, NOISES = 2, STREAM = 0x52, TEXT = 1500 };
typedef enum Kind { OF_EITHER_SIGN, POSITIVE, SPECIAL } Kind;
static const double UNIT = 0x1p-50, FACTOR = 16, RELATIVE = 1e-10, ABSOLUTE = 1e-12;
static const double SLICE = 0x1p-8, OWN = 0x1p-13; /* numbers are multiples of SLICE and so many OWN as their variable's place */

typedef struct Source {
    uint64_t index;
    uint32_t at;
} Source;

static double draw(Source *s) { return rt_uniform(0, STREAM, s->index, s->at++); }
static int64_t below(Source *s, int64_t count) { return (int64_t)(draw(s) * (double)count); }

/* One draw: shapes and numbers of the variables, and of what the map is multiplied by before it is summed to a loss. */
typedef struct Trial {
    const Rule *rule;
    Kind kind;
    Type space;
    Tensor leaf[RULE_VARIABLES + 1]; /* the last one: weights of the loss */
    char name[RULE_VARIABLES + 1][16];
    uint32_t leaves;
} Trial;

/* ---- what is drawn ---- */

static Type draw_space(Source *s) {
    static const int ranks[] = {4, 4, 4, 2, 1, 0};
    int64_t dim[MAX_RANK];
    for (int d = 0; d < MAX_RANK; d++) dim[d] = 1 + below(s, MAX_EXTENT);
    switch (ranks[below(s, sizeof ranks / sizeof *ranks)]) {
    case 4: return type_feature(dim[0], dim[1], dim[2], dim[3]);
    case 2: return type_matrix(dim[0], dim[1]);
    case 1: return type_vector(dim[1]);
    default: return type_scalar();
    }
}

/* Something that can be read at each element of space. */
static Type draw_type(Source *s, Type space, int most) {
    static const int below_rank[] = {4, 2, 1, 0};
    int i = 0;
    while (below_rank[i] > most || below_rank[i] > space.rank) i++;
    if (draw(s) < 0.4) i += (int)below(s, 4 - i);
    Type type = space;
    if (below_rank[i] == 2 && space.rank == 4) type = type_matrix(space.dim[0], space.dim[1]);
    if (below_rank[i] == 1 && space.rank > 1) type = type_vector(space.dim[1]);
    if (below_rank[i] == 0) type = type_scalar();
    for (int d = 1; d < type.rank && type.rank == 4; d++)
        if (draw(s) < 0.15) type.dim[d] = 1;
    return type;
}

static double draw_number(Source *s, Kind kind, uint32_t variable) {
    static const double special[] = {0, 0, 1, -1, 2, 0.5};
    if (kind == SPECIAL && draw(s) < 0.7) return special[below(s, sizeof special / sizeof *special)];
    double size = ldexp(1, (int)below(s, 7) - 2), number = size * (2 * draw(s) - 1);
    if (kind == POSITIVE) number = fabs(number);
    return SLICE * floor(number / SLICE) + OWN * (variable + 1);
}

static void draw_trial(Trial *t, const Rule *rule, uint64_t index) {
    Source s = {index, 0};
    *t = (Trial){.rule = rule, .kind = (Kind)(index % KINDS), .space = draw_space(&s), .leaves = rule->variables + 1};
    for (uint32_t i = 0; i < t->leaves; i++) {
        bool weights = i == rule->variables;
        Kind kind = weights ? POSITIVE : t->kind;
        t->leaf[i] = tensor_new(weights ? t->space : draw_type(&s, t->space, rule->rank[i]));
        snprintf(t->name[i], sizeof t->name[i], "v%" PRIu32, i);
        for (int64_t k = 0; k < type_elements(t->leaf[i].type); k++)
            t->leaf[i].data[k] = draw_number(&s, kind, i % RULE_VARIABLES);
    }
}

static void trial_free(Trial *t) {
    for (uint32_t i = 0; i < t->leaves; i++) tensor_free(&t->leaf[i]);
}

static const Tensor *look_up(void *context, const Value *leaf) {
    const Trial *t = context;
    for (uint32_t i = 0; i < t->leaves; i++)
        if (!strcmp(t->name[i], leaf->attrs.param.name)) return &t->leaf[i];
    return NULL;
}

/* ---- the sides as graphs ---- */

/* The sum of all elements. */
static Val summed(Graph *g, Val v) {
    static const Op sums[] = {[4] = OP_IMAGE_SUM, [2] = OP_BATCH_SUM, [1] = OP_CHANNEL_SUM};
    while (g->value[v].type.rank > 0) v = graph_unary(g, sums[g->value[v].type.rank], v, (Span){0});
    return v;
}

/* Leaves, the side as value `leaves`, and the loss. */
static Graph *make_side(const Trial *t, const Expr *side) {
    Graph *g = graph_new("rule", MODE_TRAIN);
    Val args[RULE_VARIABLES + 1];
    for (uint32_t i = 0; i < t->leaves; i++)
        args[i] = graph_add(g, &(ValueSpec){.op = OP_PARAM, .attrs.param.name = t->name[i], .declared = t->leaf[i].type});
    Val made = graph_map(g, t->space, args, t->leaves, side, (Span){0}, NULL);
    ExprBuilder b = expr_builder(g->arena);
    const Expr *product = expr_finish(&b, expr_binary(&b, X_MUL, expr_arg(&b, 0), expr_arg(&b, 1)));
    Val weighted = graph_map(g, t->space, (Val[]){made, args[t->rule->variables]}, 2, product, (Span){0}, NULL);
    graph_output(g, OUT_LOSS, summed(g, weighted), NULL);
    return g;
}

/* What a side comes to: its elements, and the gradient of each variable. */
typedef struct Side {
    Tensor of[RULE_VARIABLES + 1]; /* the last one: elements */
} Side;

static void side_free(const Trial *t, Side *s) {
    for (uint32_t i = 0; i < t->leaves; i++) tensor_free(&s->of[i]);
}

static void take(Tensor *to, Tensor *from) {
    *to = *from;
    *from = (Tensor){0};
}

/* False with a sentence in why. */
static bool eval_side(Trial *t, const Graph *g, const ExprNoise *noise, Side *side, char *why) {
    EvalOptions o = {.noise = noise};
    Tensor *out = calloc(g->noutputs, sizeof *out), *all = NULL;
    if (!out) out_of_memory("no room for what a rule comes to");
    *side = (Side){0};
    bool ok = graph_eval(g, look_up, t, &o, out, &all, why, TEXT);
    for (uint32_t i = 0; i < g->noutputs && ok; i++) {
        for (uint32_t k = 0; k < t->rule->variables && g->output[i].kind == OUT_GRAD; k++)
            if (!strcmp(g->output[i].name, t->name[k])) take(&side->of[k], &out[i]);
        tensor_free(&out[i]);
    }
    if (ok) take(&side->of[t->rule->variables], &all[t->leaves]); /* autodiff appends to a copy */
    for (Val v = 0; v < g->count && all; v++) tensor_free(&all[v]);
    free(all);
    free(out);
    return ok;
}

/* ---- comparing ---- */

static bool differ(double left, double right, double noise) {
    if (isnan(left) || isnan(right)) return isnan(left) != isnan(right);
    if (isinf(left) || isinf(right)) return left != right;
    double size = fmax(fabs(left), fabs(right));
    return fabs(left - right) > FACTOR * noise + RELATIVE * size + ABSOLUTE;
}

/* The place of element `at` of `space` in something that is read there. */
static int64_t place_in(Type type, Type space, int64_t at) {
    int64_t index[MAX_RANK] = {0}, place = 0;
    for (int d = space.rank; d-- > 0;) index[d] = at % space.dim[d], at /= space.dim[d];
    for (int d = 0; d < type.rank; d++) {
        int64_t i = type.rank == 1 && space.rank > 1 ? index[1] : index[d];
        place = place * type.dim[d] + (type.dim[d] == 1 ? 0 : i);
    }
    return place;
}

static void numbers_at(const Trial *t, int64_t at, double number[RULE_VARIABLES]) {
    for (uint32_t i = 0; i < t->rule->variables; i++) number[i] = t->leaf[i].data[place_in(t->leaf[i].type, t->space, at)];
}

static const char *number_text(double number, char buffer[32]) {
    snprintf(buffer, 32, "%.9g", number);
    return isnan(number) ? "nan" : buffer;
}

static bool refuse(const Trial *t, const double *number, const char *what, double left, double right, Diag *diag) {
    char text[TEXT] = "", one[32], other[32];
    size_t length = 0;
    for (uint32_t i = 0; i < t->rule->variables; i++)
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s = %s", i ? ", " : "", t->rule->variable[i],
                                   number_text(number[i], one));
    diag_error(diag, t->rule->span, "the rule %s is wrong%s%s: %s is %s on the left and %s on the right", t->rule->name,
               t->rule->variables ? " for " : "", text, what, number_text(left, one), number_text(right, other));
    return false;
}

/* Where along the map the derivatives by variable k are furthest apart. */
static bool refuse_gradient(const Trial *t, uint32_t k, double left, double right, Diag *diag) {
    Arena *arena = arena_new();
    ExprBuilder b[2] = {expr_builder(arena), expr_builder(arena)};
    const Expr *d[2] = {expr_finish(&b[0], expr_derivative(&b[0], t->rule->left, k, NULL)),
                        expr_finish(&b[1], expr_derivative(&b[1], t->rule->right, k, NULL))};
    double worst = -1, number[RULE_VARIABLES], at_worst[RULE_VARIABLES] = {0};
    char what[128];
    snprintf(what, sizeof what, "the derivative by %s", t->rule->variable[k]);
    for (int64_t i = 0; i < type_elements(t->space); i++) {
        numbers_at(t, i, number);
        double l = expr_eval(d[0], number, 0, 0), r = expr_eval(d[1], number, 0, 0), apart = fabs(l - r);
        if (!differ(l, r, 0) || (worst >= 0 && apart <= worst)) continue;
        worst = isfinite(apart) ? apart : HUGE_VAL;
        left = l, right = r;
        memcpy(at_worst, number, sizeof number);
    }
    arena_free(arena);
    if (worst < 0) { /* in sums alone */
        numbers_at(t, 0, at_worst);
        snprintf(what, sizeof what, "the gradient of %s", t->rule->variable[k]);
    }
    return refuse(t, at_worst, what, left, right, diag);
}

/* False with the counterexample in diag. *defined: the left side was a number somewhere. */
static bool compare(Trial *t, const Side *left, const Side *right, const Side noisy[2][NOISES], bool *defined, Diag *diag) {
    uint32_t elements = t->rule->variables;
    for (uint32_t pass = 0; pass <= elements; pass++) {
        uint32_t k = pass == 0 ? elements : pass - 1; /* values first */
        if (k < elements && t->kind == SPECIAL) continue;
        for (int64_t i = 0; i < type_elements(left->of[k].type); i++) {
            double l = left->of[k].data[i], r = right->of[k].data[i], noise = 0;
            for (int n = 0; n < NOISES; n++)
                noise = fmax(noise, fmax(fabs(noisy[0][n].of[k].data[i] - l), fabs(noisy[1][n].of[k].data[i] - r)));
            *defined |= k == elements && isfinite(l);
            if (!differ(l, r, noise)) continue;
            if (k < elements) return refuse_gradient(t, k, l, r, diag);
            double number[RULE_VARIABLES];
            numbers_at(t, i, number);
            return refuse(t, number, "it", l, r, diag);
        }
    }
    return true;
}

/* ---- all of it ---- */

/* Of one draw. */
static bool hold(Trial *t, bool *defined, Diag *diag) {
    const Expr *const sides[] = {t->rule->left, t->rule->right};
    Side exact[2] = {{{{{0}}}}}, noisy[2][NOISES] = {{{{{{0}}}}}};
    char why[TEXT] = "autodiff refuses it";
    bool ok = true;
    for (int i = 0; i < 2 && ok; i++) {
        Graph *g = make_side(t, sides[i]);
        PassOptions o = {.pipeline = "autodiff", .bisect_limit = -1};
        PassResult result = {0};
        ok = passes_run(g, &o, diag, &result) && eval_side(t, result.graph, NULL, &exact[i], why);
        for (uint64_t n = 0; n < NOISES && ok; n++) ok = eval_side(t, result.graph, &(ExprNoise){UNIT, n + 1}, &noisy[i][n], why);
        if (result.graph) passes_result_free(&result);
        graph_free(g);
    }
    if (ok)
        ok = compare(t, &exact[0], &exact[1], noisy, defined, diag);
    else
        diag_error(diag, t->rule->span, "the rule %s cannot be checked: %s", t->rule->name, why);
    for (int i = 0; i < 2; i++) {
        side_free(t, &exact[i]);
        for (int n = 0; n < NOISES; n++) side_free(t, &noisy[i][n]);
    }
    return ok;
}

bool rule_check(const Rule *rule, Diag *diag) {
    bool ok = true, defined = false;
    for (uint64_t i = 0; i < DRAWS && ok; i++) {
        Trial t;
        draw_trial(&t, rule, i);
        ok = hold(&t, &defined, diag);
        trial_free(&t);
    }
    if (!ok || defined) return ok;
    diag_error(diag, rule->span, "the rule %s cannot be checked: its left side is a number for none of those that were tried",
               rule->name);
    return false;
}
