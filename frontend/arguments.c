/* Reading the arguments of an operation: kinds, ranges, padding. */
#include "frontend/builtin.h"

enum { LARGEST_SIDE = 65536 };

Datum tensor_datum(Val v) { return v == NO_VAL ? (Datum){DATUM_POISON} : (Datum){DATUM_TENSOR, .tensor = v}; }

uint32_t builtin_params(const Builtin *b) {
    uint32_t n = 0;
    while (b->param[n]) n++;
    return n;
}

Datum arg_error(Eval *ev, const BuiltinCall *c, uint32_t i, const char *expected) {
    const AstExpr *at = c->given[i] ? c->given[i] : c->expr;
    const char *param = c->builtin->variadic ? "an argument" : arena_printf(ev->arena, "'%s'", c->builtin->param[i]);
    return eval_error(ev, at->span, "%s of %s must be %s, found %s", param, c->builtin->name, expected,
                      eval_describe(ev, c->value[i]));
}

bool arg_integer(Eval *ev, const BuiltinCall *c, uint32_t i, int64_t lo, int64_t hi, int64_t *out) {
    if (!c->given[i]) return true;
    Datum d = c->value[i];
    if (d.kind != DATUM_INTEGER || d.integer < lo || d.integer > hi) {
        arg_error(ev, c, i, arena_printf(ev->arena, "an integer from %lld to %lld", (long long)lo, (long long)hi));
        return false;
    }
    *out = d.integer;
    return true;
}

bool arg_pair(Eval *ev, const BuiltinCall *c, uint32_t i, int64_t lo, int64_t hi, int64_t out[2]) {
    if (!c->given[i]) return true;
    Datum d = c->value[i], side[2] = {d, d};
    bool good = true;
    if (d.kind == DATUM_LIST) {
        good = d.list->count == 2;
        for (uint32_t k = 0; good && k < 2; k++) side[k] = d.list->item[k];
    }
    for (int k = 0; good && k < 2; k++) {
        good = side[k].kind == DATUM_INTEGER && side[k].integer >= lo && side[k].integer <= hi;
        out[k] = side[k].integer;
    }
    if (!good) {
        arg_error(ev, c, i,
                  arena_printf(ev->arena, "an integer from %lld to %lld, or [height, width]", (long long)lo, (long long)hi));
    }
    return good;
}

bool arg_real(Eval *ev, const BuiltinCall *c, uint32_t i, double *out) {
    if (!c->given[i]) return true;
    if (!datum_is_number(c->value[i])) {
        arg_error(ev, c, i, "a number");
        return false;
    }
    *out = datum_number(c->value[i]);
    return true;
}

bool arg_boolean(Eval *ev, const BuiltinCall *c, uint32_t i, bool *out) {
    if (!c->given[i]) return true;
    if (c->value[i].kind != DATUM_BOOL) {
        arg_error(ev, c, i, "true or false");
        return false;
    }
    *out = c->value[i].boolean;
    return true;
}

bool arg_init(Eval *ev, const BuiltinCall *c, uint32_t i, InitRule *out) {
    if (!c->given[i]) return true;
    if (c->value[i].kind != DATUM_INIT) {
        arg_error(ev, c, i, "an initialiser (he_normal, xavier_uniform, uniform, zeros, ones or constant(v))");
        return false;
    }
    *out = c->value[i].init;
    return true;
}

bool arg_tensor(Eval *ev, const BuiltinCall *c, uint32_t i, int rank, Val *out) {
    if (c->value[i].kind != DATUM_TENSOR) {
        arg_error(ev, c, i, "a tensor");
        return false;
    }
    *out = c->value[i].tensor;
    if (rank == 0 || ev->graph->value[*out].type.rank == rank) return true;
    arg_error(ev, c, i, rank == 4 ? "a feature map f32[N,C,H,W]" : "a matrix f32[N,C]");
    return false;
}

/* `same` keeps height and width at stride 1: dilation * (kernel - 1) pixels, half before and half behind, the odd one behind. */
bool arg_pad(Eval *ev, const BuiltinCall *c, uint32_t i, const int64_t kernel[2], const int64_t dilation[2], int64_t out[4]) {
    if (!c->given[i]) return true;
    Datum d = c->value[i];
    int64_t pair[2];
    if (d.kind == DATUM_WORD) {
        for (int k = 0; k < 2; k++) {
            int64_t total = d.word == WORD_SAME ? dilation[k] * (kernel[k] - 1) : 0;
            out[k] = total / 2;
            out[k + 2] = total - total / 2;
        }
        return true;
    }
    if (!datum_is_number(d) && d.kind != DATUM_LIST) {
        arg_error(ev, c, i, "same, valid, an integer, or [height, width]");
        return false;
    }
    if (!arg_pair(ev, c, i, 0, LARGEST_SIDE, pair)) return false;
    for (int k = 0; k < 2; k++) out[k] = out[k + 2] = pair[k];
    return true;
}
