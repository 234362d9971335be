/* Operators. Integers are 64 bits and every overflow is an error; `/` of integers must come out exactly; an integer beside
 * a real becomes real; an operator with a tensor becomes an operation of the graph. */
#include "frontend/elementwise.h"
#include "frontend/eval.h"
#include <math.h>
#include <string.h>

static Datum integer(int64_t value) { return (Datum){DATUM_INTEGER, .integer = value}; }
static Datum boolean(bool value) { return (Datum){DATUM_BOOL, .boolean = value}; }

static Datum overflow(Eval *ev, Span span, TokenKind op, int64_t a, int64_t b) {
    return eval_error(ev, span, "%lld %s %lld does not fit into a 64-bit integer", (long long)a, token_text(op), (long long)b);
}

static Datum integer_divide(Eval *ev, Span span, TokenKind op, int64_t a, int64_t b) {
    if (b == 0) return eval_error(ev, span, "%lld %s 0: division by zero", (long long)a, token_text(op));
    if (b == -1) { /* INT64_MIN / -1 would trap */
        if (op == TOKEN_PERCENT) return integer(0);
        return a == INT64_MIN ? overflow(ev, span, op, a, b) : integer(-a);
    }
    int64_t quotient = a / b, rest = a % b;
    if (op == TOKEN_SLASH) {
        if (rest == 0) return integer(quotient);
        return eval_error(ev, span, "%lld / %lld is not an integer; '//' rounds down", (long long)a, (long long)b);
    }
    bool below = rest != 0 && (rest < 0) != (b < 0); /* floor differs from C's truncation */
    return integer(op == TOKEN_FLOOR_DIVIDE ? quotient - below : rest + (below ? b : 0));
}

static Datum integer_shift(Eval *ev, Span span, TokenKind op, int64_t a, int64_t b) {
    if (b < 0 || b > 63) return eval_error(ev, span, "a shift is by 0 to 63 bits, found %lld", (long long)b);
    if (op == TOKEN_SHIFT_RIGHT) return integer(a >= 0 ? a >> b : ~(~a >> b));
    if (b == 63 ? a != 0 : a > (INT64_MAX >> b) || a < -(INT64_MAX >> b) - 1) return overflow(ev, span, op, a, b);
    return integer((int64_t)((uint64_t)a << b));
}

static Datum integer_binary(Eval *ev, Span span, TokenKind op, int64_t a, int64_t b) {
    int64_t r = 0;
    bool over = false;
    switch (op) {
    case TOKEN_PLUS: over = __builtin_add_overflow(a, b, &r); break;
    case TOKEN_MINUS: over = __builtin_sub_overflow(a, b, &r); break;
    case TOKEN_STAR: over = __builtin_mul_overflow(a, b, &r); break;
    case TOKEN_SHIFT_LEFT:
    case TOKEN_SHIFT_RIGHT: return integer_shift(ev, span, op, a, b);
    default: return integer_divide(ev, span, op, a, b);
    }
    return over ? overflow(ev, span, op, a, b) : integer(r);
}

static Datum mismatch(Eval *ev, Span span, TokenKind op, Datum a, Datum b) {
    bool grows = op == TOKEN_PLUS && a.kind == DATUM_LIST;
    return eval_error(ev, span, "'%s' does not apply to %s (%s) and %s (%s)%s", token_text(op), datum_kind_text(a.kind),
                      eval_describe(ev, a), datum_kind_text(b.kind), eval_describe(ev, b),
                      grows ? "; append(list, item) is the list with an item more" : "");
}

static Datum real_binary(Eval *ev, Span span, TokenKind op, Datum left, Datum right) {
    double a = datum_number(left), b = datum_number(right), r;
    switch (op) {
    case TOKEN_PLUS: r = a + b; break;
    case TOKEN_MINUS: r = a - b; break;
    case TOKEN_STAR: r = a * b; break;
    case TOKEN_SLASH:
        if (b == 0) return eval_error(ev, span, "%s / 0: division by zero", eval_describe(ev, left));
        r = a / b;
        break;
    default:
        return eval_error(ev, span, "'%s' is for integers, found %s and %s", token_text(op), eval_describe(ev, left),
                          eval_describe(ev, right));
    }
    if (!isfinite(r)) {
        return eval_error(ev, span, "%s %s %s does not fit into a real", eval_describe(ev, left), token_text(op),
                          eval_describe(ev, right));
    }
    return (Datum){DATUM_REAL, .real = r};
}

/* ---- comparisons ---- */

static int three_way(Datum a, Datum b) {
    if (a.kind == DATUM_INTEGER && b.kind == DATUM_INTEGER) return (a.integer > b.integer) - (a.integer < b.integer);
    long double x = a.kind == DATUM_INTEGER ? (long double)a.integer : (long double)a.real;
    long double y = b.kind == DATUM_INTEGER ? (long double)b.integer : (long double)b.real;
    return (x > y) - (x < y);
}

/* Both of one kind, or both numbers. */
static bool equal(Eval *ev, Span span, Datum a, Datum b) {
    if (datum_is_number(a) && datum_is_number(b)) return three_way(a, b) == 0;
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case DATUM_BOOL: return a.boolean == b.boolean;
    case DATUM_STRING: return !strcmp(a.text, b.text);
    case DATUM_WORD: return a.word == b.word;
    case DATUM_INIT: return a.init.kind == b.init.kind && a.init.value == b.init.value;
    case DATUM_LIST:
        if (a.list->count != b.list->count) return false;
        for (uint32_t i = 0; i < a.list->count; i++) {
            if (!eval_charge(ev, span, 1) || !equal(ev, span, a.list->item[i], b.list->item[i])) return false;
        }
        return true;
    default: return a.kind == DATUM_TENSOR && a.tensor == b.tensor;
    }
}

static Datum compare(Eval *ev, Span span, TokenKind op, Datum a, Datum b) {
    bool numbers = datum_is_number(a) && datum_is_number(b);
    bool tensors = a.kind == DATUM_TENSOR || b.kind == DATUM_TENSOR;
    if (tensors && (a.kind == DATUM_TENSOR || datum_is_number(a)) && (b.kind == DATUM_TENSOR || datum_is_number(b)))
        return eval_compare_tensors(ev, span, op, a, b);
    if (op == TOKEN_EQUAL || op == TOKEN_NOT_EQUAL) {
        if (!numbers && a.kind != b.kind) return mismatch(ev, span, op, a, b);
        return boolean(equal(ev, span, a, b) == (op == TOKEN_EQUAL));
    }
    if (!numbers) return mismatch(ev, span, op, a, b);
    int order = three_way(a, b);
    switch (op) {
    case TOKEN_LESS: return boolean(order < 0);
    case TOKEN_LESS_EQUAL: return boolean(order <= 0);
    case TOKEN_GREATER: return boolean(order > 0);
    default: return boolean(order >= 0);
    }
}

/* ---- tensors and strings ---- */

static Datum tensor_binary(Eval *ev, Span span, TokenKind op, Datum a, Datum b) {
    static const Op tensor_op[TOKEN_COUNT] = {
        [TOKEN_PLUS] = OP_ADD, [TOKEN_MINUS] = OP_SUB, [TOKEN_STAR] = OP_MUL, [TOKEN_SLASH] = OP_DIV};
    Datum side[2] = {a, b};
    Val arg[2];
    if (!tensor_op[op]) return mismatch(ev, span, op, a, b);
    for (int i = 0; i < 2; i++) {
        if (side[i].kind != DATUM_TENSOR && !datum_is_number(side[i])) return mismatch(ev, span, op, a, b);
        ValueSpec constant = {.op = OP_CONSTANT, .attrs.constant = datum_is_number(side[i]) ? datum_number(side[i]) : 0};
        arg[i] = side[i].kind == DATUM_TENSOR ? side[i].tensor : eval_add(ev, span, &constant);
        if (arg[i] == NO_VAL) return (Datum){DATUM_POISON};
    }
    Type left = ev->graph->value[arg[0]].type, right = ev->graph->value[arg[1]].type;
    if (!type_broadcasts(left, right) &&
        !type_broadcasts(right, left)) { /* in the words of the language, where no tensor is [C] */
        return eval_error(ev, span,
                          "'%s' needs equal shapes, or beside [N,C,H,W] a gate [N,C] or a map with 1 for C, H or W, or a number; "
                          "left is %s, right is %s",
                          token_text(op), type_text(ev->arena, left), type_text(ev->arena, right));
    }
    Val v = eval_add(ev, span, &(ValueSpec){.op = tensor_op[op], .args = arg, .nargs = 2});
    return v == NO_VAL ? (Datum){DATUM_POISON} : (Datum){DATUM_TENSOR, .tensor = v};
}

static Datum join_text(Eval *ev, Span span, Datum a, Datum b) {
    const char *left = a.kind == DATUM_STRING ? a.text : eval_describe(ev, a);
    const char *right = b.kind == DATUM_STRING ? b.text : eval_describe(ev, b);
    size_t length = strlen(left) + strlen(right);
    if (length > MAX_STRING_BYTES)
        return eval_error(ev, span, "a string has at most %d bytes, this one has %zu", MAX_STRING_BYTES, length);
    if (!eval_charge(ev, span, 1 + (int64_t)length / 16)) return (Datum){DATUM_POISON};
    return (Datum){DATUM_STRING, .text = arena_printf(ev->arena, "%s%s", left, right)};
}

Datum eval_binary(Eval *ev, Span span, TokenKind op, Datum a, Datum b) {
    bool textual = op == TOKEN_PLUS && (a.kind == DATUM_STRING || b.kind == DATUM_STRING);
    if (a.kind == DATUM_POISON || b.kind == DATUM_POISON) return (Datum){DATUM_POISON};
    if (op >= TOKEN_EQUAL && op <= TOKEN_GREATER_EQUAL) return compare(ev, span, op, a, b);
    if (textual && (a.kind == DATUM_STRING || datum_is_number(a)) && (b.kind == DATUM_STRING || datum_is_number(b))) {
        return join_text(ev, span, a, b);
    }
    if (a.kind == DATUM_TENSOR || b.kind == DATUM_TENSOR) return tensor_binary(ev, span, op, a, b);
    if (!datum_is_number(a) || !datum_is_number(b)) return mismatch(ev, span, op, a, b);
    if (a.kind == DATUM_INTEGER && b.kind == DATUM_INTEGER) return integer_binary(ev, span, op, a.integer, b.integer);
    return real_binary(ev, span, op, a, b);
}

Datum eval_unary(Eval *ev, Span span, TokenKind op, Datum a) {
    if (a.kind == DATUM_POISON) return a;
    if (op == TOKEN_NOT) {
        if (a.kind == DATUM_BOOL) return boolean(!a.boolean);
        return eval_error(ev, span, "'not' needs a boolean, found %s", eval_describe(ev, a));
    }
    switch (a.kind) {
    case DATUM_INTEGER: return a.integer == INT64_MIN ? overflow(ev, span, TOKEN_MINUS, 0, a.integer) : integer(-a.integer);
    case DATUM_REAL: return (Datum){DATUM_REAL, .real = -a.real};
    case DATUM_TENSOR: return tensor_binary(ev, span, TOKEN_STAR, a, integer(-1));
    default: return eval_error(ev, span, "'-' needs a number or a tensor, found %s", eval_describe(ev, a));
    }
}
