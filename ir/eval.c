/* The evaluator's walk: values in order, each by its op's rule, operands freed after their last use unless the caller wants
 * them all. A value with several results keeps them in `results`; a RESULT value copies out of its source's. */
#include "ir/eval.h"
#include "ir/eval_rules.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t LARGEST_TENSOR = INT64_C(1) << 32; /* elements; more is no graph to evaluate naively */

Tensor tensor_new(Type type) {
    Tensor t = {type, calloc((size_t)type_elements(type), sizeof(double))};
    if (t.data) return t;
    out_of_memory("the reference evaluator needs a tensor %s", type_format(type, (char[TYPE_TEXT]){0}));
}

void tensor_free(Tensor *t) {
    free(t->data);
    t->data = NULL;
}

bool eval_refuse(const EvalOp *op, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(op->why, op->why_size, format, args);
    va_end(args);
    return false;
}

/* ---- leaves and RESULT ---- */

static bool eval_leaf(const EvalOp *op) {
    const char *name = op->v->attrs.param.name;
    const Tensor *t = op->lookup ? op->lookup(op->context, op->v) : NULL;
    if (!t) return eval_refuse(op, "no value is given for the %s \"%s\"", op_text(op->v->op), name);
    if (!type_equal(t->type, op->v->type))
        return eval_refuse(op, "the %s \"%s\" must be %s, given %s", op_text(op->v->op), name,
                           type_format(op->v->type, (char[TYPE_TEXT]){0}), type_format(t->type, (char[TYPE_TEXT]){0}));
    memcpy(op->result[0].data, t->data, (size_t)type_elements(t->type) * sizeof *t->data);
    return true;
}

bool eval_INPUT(const EvalOp *op) { return eval_leaf(op); }
bool eval_PARAM(const EvalOp *op) { return eval_leaf(op); }
bool eval_STATE(const EvalOp *op) { return eval_leaf(op); }

bool eval_CONSTANT(const EvalOp *op) {
    op->result[0].data[0] = op->v->attrs.constant;
    return true;
}

/* The walk hands over the source's result of that index as operand 0. */
bool eval_RESULT(const EvalOp *op) {
    memcpy(op->result[0].data, op->arg[0]->data, (size_t)type_elements(op->v->type) * sizeof(double));
    return true;
}

static bool (*const eval_rule[OP_COUNT])(const EvalOp *) = {
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) eval_##ID,
#include "ir/ops.def"
#undef OP
};

/* ---- the walk ---- */

typedef struct Walk {
    const Graph *g;
    Tensor **results; /* results[v]: value_results(v) tensors; NULL before v is evaluated and after it is freed */
    uint32_t *uses;   /* uses of v that are still to come */
} Walk;

static void free_results(Walk *w, Val v) {
    if (!w->results[v]) return;
    for (uint32_t i = 0; i < value_results(w->g, v); i++) tensor_free(&w->results[v][i]);
    free(w->results[v]);
    w->results[v] = NULL;
}

static void *checked(void *memory) {
    if (memory) return memory;
    out_of_memory("no room for the tables of the reference evaluator");
}

static void round_to_f32(Tensor *t) {
    if (t->type.dtype != DT_F32) return;
    for (int64_t i = 0, n = type_elements(t->type); i < n; i++) t->data[i] = (float)t->data[i];
}

static bool eval_value(Walk *w, Val id, EvalOp *op) {
    const Value *v = op->v = &w->g->value[id];
    uint32_t nresults = value_results(w->g, id);
    w->results[id] = checked(calloc(nresults, sizeof **w->results));
    for (uint32_t i = 0; i < nresults; i++) {
        Type t = value_result_type(w->g, id, i);
        if (type_elements(t) > LARGEST_TENSOR)
            return eval_refuse(op, "%s is too large for the reference evaluator", type_format(t, (char[TYPE_TEXT]){0}));
        w->results[id][i] = tensor_new(t);
    }
    op->result = w->results[id];
    for (uint32_t i = 0; i < v->nargs; i++) {
        int64_t index = v->op == OP_RESULT ? v->attrs.index : 0;
        op->arg[i] = &w->results[v->args[i]][index];
    }
    if (!eval_rule[v->op](op)) return false;
    for (uint32_t i = 0; op->options->round_f32 && i < nresults; i++) round_to_f32(&op->result[i]);
    return true;
}

static void release_operands(Walk *w, Val id) {
    const Value *v = &w->g->value[id];
    for (uint32_t i = 0; i < v->nargs; i++) {
        if (--w->uses[v->args[i]] == 0) free_results(w, v->args[i]);
    }
    if (w->uses[id] == 0) free_results(w, id);
}

static Tensor tensor_copy(const Tensor *t) {
    Tensor copy = tensor_new(t->type);
    memcpy(copy.data, t->data, (size_t)type_elements(t->type) * sizeof *t->data);
    return copy;
}

static Tensor *collect_all(Walk *w) {
    Tensor *all = checked(calloc(w->g->count ? w->g->count : 1, sizeof *all));
    for (Val v = 0; v < w->g->count; v++) {
        all[v] = w->results[v][0];
        w->results[v][0].data = NULL; /* moved */
    }
    return all;
}

bool graph_eval(const Graph *g, EvalLookup lookup, void *context, const EvalOptions *options, Tensor *out, Tensor **all,
                char *why, size_t why_size) {
    static const EvalOptions defaults;
    EvalOp op = {
        .g = g, .options = options ? options : &defaults, .lookup = lookup, .context = context, .why = why, .why_size = why_size};
    Walk w = {g, checked(calloc(g->count ? g->count : 1, sizeof *w.results)), graph_use_counts(g)};
    bool ok = true;
    for (Val v = 0; v < g->count && ok; v++) {
        ok = eval_value(&w, v, &op);
        if (ok && !all) release_operands(&w, v);
    }
    for (uint32_t i = 0; i < g->noutputs && ok && out; i++) out[i] = tensor_copy(&w.results[g->output[i].value][0]);
    if (all) *all = ok ? collect_all(&w) : NULL;
    for (Val v = 0; v < g->count; v++) free_results(&w, v);
    free(w.results);
    free(w.uses);
    return ok;
}
