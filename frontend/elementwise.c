/* Elementwise primitives: exp, log, ..., min and max, comparisons and select. Each is a map of one operation, so that nothing
 * behind the frontend knows their names; of numbers alone they are computed here. And what a block computed by them, one map. */
#include "frontend/elementwise.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static Datum poison(void) { return (Datum){DATUM_POISON}; }

/* ---- operands ---- */

/* A map in the making: its operands become nodes, numbers as constants. */
typedef struct Body {
    ExprBuilder b;
    Val args[MAX_ARGS];
    uint32_t nargs;
    Type space; /* of the largest operand */
} Body;

static uint16_t read_operand(Eval *ev, Body *body, Datum d) {
    if (d.kind != DATUM_TENSOR) return expr_const(&body->b, datum_number(d));
    Type type = ev->graph->value[d.tensor].type;
    bool larger =
        type.rank > body->space.rank || (type.rank == body->space.rank && type_elements(type) > type_elements(body->space));
    if (body->nargs == 0 || larger) body->space = type;
    uint32_t i = 0;
    while (i < body->nargs && body->args[i] != d.tensor) i++;
    if (i == body->nargs) body->args[body->nargs++] = d.tensor;
    return expr_arg(&body->b, i);
}

static bool shapes_fit(Eval *ev, Span span, const char *what, const Body *body) {
    for (uint32_t i = 0; i < body->nargs; i++) {
        Type type = ev->graph->value[body->args[i]].type;
        if (type_broadcasts(type, body->space)) continue;
        eval_error(ev, span,
                   "'%s' needs equal shapes, or beside [N,C,H,W] a gate [N,C] or a map with 1 for C, H or W, or a number; found "
                   "%s beside %s",
                   what, type_text(ev->arena, type), type_text(ev->arena, body->space));
        return false;
    }
    return true;
}

static Datum finish(Eval *ev, Span span, const char *what, Body *body, uint16_t root) {
    if (!shapes_fit(ev, span, what, body)) return poison();
    Region region = {.role = REGION_OUTPUT, .expr = expr_finish(&body->b, root)};
    ValueSpec spec = {.op = OP_MAP, .args = body->args, .nargs = body->nargs, .declared = body->space, .regions = &region};
    spec.nregions = 1;
    return tensor_datum(eval_add(ev, span, &spec));
}

static Datum number(Eval *ev, Span span, const char *what, double value) {
    if (!isfinite(value)) return eval_error(ev, span, "%s of these numbers is not finite", what);
    return (Datum){DATUM_REAL, .real = value};
}

/* ---- one operation ---- */

static const struct {
    const char *name;
    ExprOp op;
} functions[] = {{"exp", X_EXP},     {"log", X_LOG},     {"sqrt", X_SQRT}, {"abs", X_ABS},
                 {"expm1", X_EXPM1}, {"log1p", X_LOG1P}, {"erf", X_ERF}};

static bool arg_numeric(Eval *ev, const BuiltinCall *c, uint32_t i) {
    if (c->value[i].kind == DATUM_TENSOR || datum_is_number(c->value[i])) return true;
    arg_error(ev, c, i, "a tensor or a number");
    return false;
}

Datum apply_function(Eval *ev, const BuiltinCall *c) {
    ExprOp op = X_EXP;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (!strcmp(functions[i].name, c->builtin->name)) op = functions[i].op;
    }
    if (!arg_numeric(ev, c, 0)) return poison();
    if (op == X_ABS && c->value[0].kind == DATUM_INTEGER && c->value[0].integer != INT64_MIN)
        return (Datum){DATUM_INTEGER, .integer = llabs(c->value[0].integer)};
    Body body = {.b = expr_builder(ev->arena)};
    uint16_t root = expr_unary(&body.b, op, read_operand(ev, &body, c->value[0]));
    if (body.nargs == 0) return number(ev, c->expr->span, c->builtin->name, body.b.node[root].value);
    return finish(ev, c->expr->span, c->builtin->name, &body, root);
}

Datum eval_compare_tensors(Eval *ev, Span span, TokenKind op, Datum left, Datum right) {
    Body body = {.b = expr_builder(ev->arena)};
    uint16_t a = read_operand(ev, &body, left), b = read_operand(ev, &body, right), root;
    switch (op) {
    case TOKEN_LESS: root = expr_binary(&body.b, X_LESS, a, b); break;
    case TOKEN_LESS_EQUAL: root = expr_binary(&body.b, X_LESS_EQUAL, a, b); break;
    case TOKEN_GREATER: root = expr_binary(&body.b, X_LESS, b, a); break;
    case TOKEN_GREATER_EQUAL: root = expr_binary(&body.b, X_LESS_EQUAL, b, a); break;
    default: root = expr_binary(&body.b, X_EQUAL, a, b); break;
    }
    if (op == TOKEN_NOT_EQUAL) root = expr_binary(&body.b, X_SUB, expr_const(&body.b, 1), root);
    return finish(ev, span, token_text(op), &body, root);
}

/* select(condition, a, b) */
Datum apply_select(Eval *ev, const BuiltinCall *c) {
    Body body = {.b = expr_builder(ev->arena)};
    uint16_t node[3];
    if (c->value[0].kind != DATUM_TENSOR)
        return arg_error(ev, c, 0, "a tensor, such as x > 0 ('if c then a else b' chooses by what is known)");
    for (uint32_t i = 0; i < 3; i++) {
        if (!arg_numeric(ev, c, i)) return poison();
        node[i] = read_operand(ev, &body, c->value[i]);
    }
    return finish(ev, c->expr->span, "select", &body, expr_select(&body.b, node[0], node[1], node[2]));
}

/* ---- min, max ---- */

/* Beside a number as relu is: a NaN survives, and where both are equal the gradient is zero. Of two tensors as PyTorch's minimum
 * and maximum: where they are equal each has half of both value and gradient, and so a NaN of either survives. */
static Datum tensor_extreme(Eval *ev, const BuiltinCall *c, bool max, Datum left, Datum right) {
    Body body = {.b = expr_builder(ev->arena)};
    bool numbers[2] = {left.kind != DATUM_TENSOR, right.kind != DATUM_TENSOR};
    uint16_t a = read_operand(ev, &body, numbers[1] ? right : left), b = read_operand(ev, &body, numbers[1] ? left : right), root;
    if (numbers[0] || numbers[1]) {
        root = expr_binary(&body.b, max ? X_MAX : X_MIN, a, b);
    } else {
        uint16_t half = expr_const(&body.b, 0.5);
        uint16_t mean = expr_binary(&body.b, X_ADD, expr_binary(&body.b, X_MUL, a, half), expr_binary(&body.b, X_MUL, b, half));
        uint16_t below = expr_binary(&body.b, X_LESS, a, b), above = expr_binary(&body.b, X_LESS, b, a);
        root = expr_select(&body.b, max ? above : below, a, expr_select(&body.b, max ? below : above, b, mean));
    }
    return finish(ev, c->expr->span, c->builtin->name, &body, root);
}

Datum apply_extreme(Eval *ev, const BuiltinCall *c) {
    bool max = !strcmp(c->builtin->name, "max");
    Datum best = c->value[0];
    for (uint32_t i = 0; i < c->count; i++) {
        Datum next = c->value[i];
        if (!arg_numeric(ev, c, i)) return poison();
        if (i == 0) continue;
        if (best.kind == DATUM_TENSOR || next.kind == DATUM_TENSOR)
            best = tensor_extreme(ev, c, max, best, next);
        else if (eval_binary(ev, c->expr->span, max ? TOKEN_GREATER : TOKEN_LESS, next, best).boolean)
            best = next;
        if (best.kind == DATUM_POISON) return best;
    }
    return best;
}

/* ---- pow ---- */

/* x^k by squaring, k from 1 on. */
static uint16_t power(ExprBuilder *b, uint16_t x, int64_t k) {
    if (k == 1) return x;
    uint16_t root = power(b, x, k / 2), square = expr_binary(b, X_MUL, root, root);
    return k % 2 ? expr_binary(b, X_MUL, square, x) : square;
}

/* pow(x, exponent): what products and roots can say is said by them. */
Datum apply_pow(Eval *ev, const BuiltinCall *c) {
    enum { LONGEST = 64 };
    Body body = {.b = expr_builder(ev->arena)};
    if (!arg_numeric(ev, c, 0) || !arg_numeric(ev, c, 1)) return poison();
    bool constant = c->value[1].kind != DATUM_TENSOR;
    double exponent = constant ? datum_number(c->value[1]) : 0;
    if (constant && c->value[0].kind != DATUM_TENSOR)
        return number(ev, c->expr->span, "pow", pow(datum_number(c->value[0]), exponent));
    uint16_t x = read_operand(ev, &body, c->value[0]), root;
    if (constant && exponent == floor(exponent) && exponent != 0 && fabs(exponent) <= LONGEST) {
        root = power(&body.b, x, (int64_t)fabs(exponent));
        if (exponent < 0) root = expr_binary(&body.b, X_DIV, expr_const(&body.b, 1), root);
    } else if (constant && fabs(exponent) == 0.5) {
        root = expr_unary(&body.b, exponent > 0 ? X_SQRT : X_RSQRT, x);
    } else {
        root = expr_binary(&body.b, X_POW, x, read_operand(ev, &body, c->value[1]));
    }
    return finish(ev, c->expr->span, "pow", &body, root);
}

/* ---- composition ---- */

/* From where on the values that a block has added are a computation of `space`, element by element, with a primitive in it unless
 * any will do; the graph's end if they are not. Parameters of its own stand in front. */
static Val elementwise_begin(const Graph *g, Val first, Type space, bool any) {
    bool primitive = any, all = true;
    uint16_t none;
    Arena *arena = arena_new();
    ExprBuilder b = expr_builder(arena);
    uint16_t x = expr_arg(&b, 0), y = expr_arg(&b, 1);
    for (Val v = first; v < g->count; v++) {
        const Value *value = &g->value[v];
        if (value->op == OP_PARAM) first = v + 1;
        if (value->op == OP_PARAM || value->op == OP_CONSTANT) continue;
        bool plain = value->op == OP_MAP || op_elementwise(&b, value->op, x, y, &none);
        all = all && plain && type_equal(value->type, space);
        primitive |= value->op == OP_MAP;
    }
    arena_free(arena);
    return primitive && all && first < g->count ? first : g->count;
}

typedef struct Composition {
    Graph *g;
    Body body;
    Val first;
    uint16_t *node; /* of value first + i */
    bool fits;
} Composition;

/* The node of value v: computed, a constant, or an argument. */
static uint16_t read_value(Composition *c, Val v) {
    if (v >= c->first) return c->node[v - c->first];
    if (c->g->value[v].op == OP_CONSTANT) return expr_const(&c->body.b, c->g->value[v].attrs.constant);
    uint32_t i = 0;
    while (i < c->body.nargs && c->body.args[i] != v) i++;
    if (i == MAX_ARGS) c->fits = false;
    if (i == c->body.nargs && c->fits) c->body.args[c->body.nargs++] = v;
    return expr_arg(&c->body.b, c->fits ? i : 0);
}

static void compose_value(Composition *c, Val v) {
    const Value *value = &c->g->value[v];
    uint16_t *node = &c->node[v - c->first], operand[MAX_ARGS] = {0};
    for (uint32_t i = 0; i < value->nargs; i++) operand[i] = read_value(c, value->args[i]);
    if (value->op == OP_CONSTANT)
        *node = expr_const(&c->body.b, value->attrs.constant);
    else if (value->op == OP_MAP)
        *node = expr_inline(&c->body.b, value->regions[0].expr, operand, 0, 0);
    else
        op_elementwise(&c->body.b, value->op, operand[0], operand[1], node);
}

Datum eval_compose(Eval *ev, const AstCallable *block, Span span, const char *path, Val first, Datum result) {
    enum { LONGEST = 256 };
    Graph *g = ev->graph;
    if (result.kind != DATUM_TENSOR || result.tensor < first) return result;
    Type space = g->value[result.tensor].type;
    Composition c = {.g = g, .body = {.b = expr_builder(ev->arena), .space = space}, .fits = true};
    c.first = elementwise_begin(g, first, space, block->library);
    if (result.tensor < c.first) return result;
    c.node = ARENA_ARRAY(ev->arena, uint16_t, g->count - c.first);
    for (Val v = c.first; v <= result.tensor; v++) {
        compose_value(&c, v);
        if (!c.fits || c.body.b.count > LONGEST) return result;
    }
    const Expr *whole = expr_finish(&c.body.b, c.node[result.tensor - c.first]);
    ExprOp last = (ExprOp)whole->node[whole->count - 1].op;
    if (last == X_CONST || last == X_ARG) return result;
    for (Val v = c.first; v < g->count; v++) ev->elements -= (double)type_elements(g->value[v].type);
    g->count = c.first;
    Region region = {.role = REGION_OUTPUT, .expr = whole};
    ValueSpec spec = {.op = OP_MAP, .args = c.body.args, .nargs = c.body.nargs, .declared = space, .name = path};
    spec.regions = &region;
    spec.nregions = 1;
    return tensor_datum(eval_add(ev, span, &spec));
}
