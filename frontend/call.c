/* Calls: binding arguments to parameters, the path of the naming rule, blocks and nets. */
#include "frontend/builtin.h"
#include "frontend/elementwise.h"
#include "frontend/eval.h"
#include "frontend/foreign.h"
#include <string.h>

static const Datum poison = {DATUM_POISON};

/* ---- arguments ---- */

static int find_param(const Signature *s, const char *name) {
    for (uint32_t i = 0; i < s->nparams; i++) {
        if (!strcmp(s->param[i], name)) return (int)i;
    }
    return -1;
}

/* "x, filters and kernel" */
static const char *list_params(Eval *ev, const Signature *s) {
    const char *text = s->nparams ? s->param[0] : "none";
    for (uint32_t i = 1; i < s->nparams; i++)
        text = arena_printf(ev->arena, "%s%s%s", text, i + 1 == s->nparams ? " and " : ", ", s->param[i]);
    return text;
}

static void unknown_argument(Eval *ev, const AstArg *arg, const Signature *s) {
    const char *remark, *text = arg->name->text, *near = foreign_param(s->name, text, &remark), *all = list_params(ev, s);
    if (!near || find_param(s, near) < 0) near = nearest_name(text, s->param, s->nparams);
    if (near && s->nparams == 1)
        eval_error(ev, arg->name_span, "%s '%s' has no parameter '%s'; did you mean '%s'?", s->what, s->name, text, near);
    else if (near)
        eval_error(ev, arg->name_span, "%s '%s' has no parameter '%s'; did you mean '%s'? It has %s", s->what, s->name, text,
                   near, all);
    else if (remark && !strcmp(s->what, "operation"))
        eval_error(ev, arg->name_span, "%s '%s' has no parameter '%s': %s; it has %s", s->what, s->name, text, remark, all);
    else
        eval_error(ev, arg->name_span, "%s '%s' has no parameter '%s'; it has %s", s->what, s->name, text, all);
}

/* The parameter that argument k is for, or -1 after a report. */
static int place_argument(Eval *ev, const AstExpr *call, uint32_t k, const Signature *s, const AstExpr **given) {
    const AstArg *arg = &call->call.arg[k];
    int place = arg->name ? find_param(s, arg->name->text) : (int)k;
    if (arg->name && place < 0) {
        unknown_argument(ev, arg, s);
    } else if (place >= (int)s->nparams) {
        if (k == s->nparams) { /* once for all that are too many */
            eval_error(ev, arg->value->span, "%s '%s' takes at most %u argument%s, found %u", s->what, s->name, s->nparams,
                       s->nparams == 1 ? "" : "s", call->call.nargs);
        }
        place = -1;
    } else if (given[place]) {
        eval_error(ev, arg->name ? arg->name_span : arg->value->span, "parameter '%s' is given twice", s->param[place]);
        place = -1;
    }
    return place;
}

bool eval_arguments(Eval *ev, const AstExpr *call, const Signature *s, Datum *value, const AstExpr **given) {
    bool good = true;
    for (uint32_t k = 0; k < call->call.nargs; k++) {
        Datum d = eval_expr(ev, call->call.arg[k].value);
        int place = place_argument(ev, call, k, s, given);
        good &= place >= 0 && d.kind != DATUM_POISON;
        if (place < 0) continue;
        given[place] = call->call.arg[k].value;
        value[place] = d;
    }
    for (uint32_t i = 0; good && i < s->required; i++) {
        if (given[i]) continue;
        eval_error(ev, call->span, "%s '%s' needs a value for '%s'", s->what, s->name, s->param[i]);
        good = false;
    }
    return good;
}

/* ---- paths ---- */

/* The path of a call in the current body: the segment given by `as`, else the callee's name, numbered if the body can call it
 * more than once. An empty segment adds no level. One that is too long is a mistake that is said when the body ends
 * (say_long_path): of a recursion it is the consequence, and whether that ends is then known. */
static const char *call_path(Eval *ev, const AstExpr *call, const char *segment) {
    Frame *f = ev->frame;
    Name *callee = call->call.callee;
    if (!segment) {
        segment = callee->text;
        if (call->call.numbered) {
            Datum *last = variable_find(&f->ordinals, callee);
            int64_t ordinal = last ? last->integer + 1 : 1;
            scope_set(ev->arena, &f->ordinals, callee, (Datum){DATUM_INTEGER, .integer = ordinal});
            segment = arena_printf(ev->arena, "%s%lld", callee->text, (long long)ordinal);
        }
    }
    if (strlen(f->path) + strlen(segment) + 1 > MAX_PATH_BYTES && !ev->long_path.frame && !ev->too_deep) {
        ev->long_path.frame = f;
        ev->long_path.span = call->span;
    }
    if (!*f->path || !*segment) return *segment ? segment : f->path;
    return arena_printf(ev->arena, "%s.%s", f->path, segment);
}

static void say_long_path(Eval *ev) {
    if (ev->long_path.frame != ev->frame) return;
    ev->long_path.frame = NULL;
    if (!ev->too_deep)
        eval_error(ev, ev->long_path.span, "the path of this call, '%.40s...', is longer than %d characters; 'as' shortens it",
                   ev->frame->path, MAX_PATH_BYTES);
}

/* ---- operations ---- */

static bool variadic_arguments(Eval *ev, const AstExpr *call, BuiltinCall *c) {
    bool good = true;
    if (call->call.nargs == 0) {
        eval_error(ev, call->span, "operation '%s' needs at least one argument", c->builtin->name);
        return false;
    }
    for (uint32_t k = 0; k < call->call.nargs; k++) {
        const AstArg *arg = &call->call.arg[k];
        c->value[k] = eval_expr(ev, arg->value);
        c->given[k] = arg->value;
        if (arg->name) eval_error(ev, arg->name_span, "operation '%s' has no named parameters", c->builtin->name);
        good &= !arg->name && c->value[k].kind != DATUM_POISON;
    }
    c->count = call->call.nargs;
    return good;
}

static Datum call_builtin(Eval *ev, const AstExpr *call, const char *segment, bool shared) {
    const Builtin *b = call->call.callee->builtin;
    uint32_t slots = b->variadic ? call->call.nargs : builtin_params(b);
    BuiltinCall c = {.builtin = b, .expr = call, .shared = shared || (ev->frame && ev->frame->shared)};
    Signature s = {"operation", b->name, b->param, slots, b->required};
    c.value = ARENA_ARRAY(ev->arena, Datum, slots);
    c.given = ARENA_ARRAY(ev->arena, const AstExpr *, slots);
    if (b->tensor && !ev->frame)
        return eval_error(ev, call->span, "operation '%s' works on tensors, and there are none here", b->name);
    if (segment && !b->tensor)
        return eval_error(ev, call->span, "'as' names tensor operations and blocks, '%s' is neither", b->name);
    if (b->variadic ? !variadic_arguments(ev, call, &c) : !eval_arguments(ev, call, &s, c.value, c.given)) return poison;
    if (b->tensor) c.path = call_path(ev, call, segment);
    return b->apply(ev, &c);
}

/* ---- blocks ---- */

static const char **param_names(Eval *ev, const AstCallable *c) {
    const char **name = ARENA_ARRAY(ev->arena, const char *, c->nparams);
    for (uint32_t i = 0; i < c->nparams; i++) name[i] = c->param[i].name->text;
    return name;
}

/* A net's parameter is set from outside: what is set must be of the default's kind; an integer does for a real. */
static Datum of_same_kind(Eval *ev, const AstParam *param, const AstExpr *given, Datum value, Datum standard) {
    if (standard.kind == DATUM_POISON || value.kind == DATUM_POISON || value.kind == standard.kind) return value;
    if (standard.kind == DATUM_REAL && value.kind == DATUM_INTEGER) return (Datum){DATUM_REAL, .real = (double)value.integer};
    return eval_error(ev, given->span, "parameter '%s' is %s (%s by default), found %s", param->name->text,
                      datum_kind_text(standard.kind), eval_describe(ev, standard), eval_describe(ev, value));
}

/* Runs the body in a new frame; value[i] counts where given[i], other parameters take their defaults in the new frame, so
 * that a default may use the parameters before it. */
static Datum run_callable(Eval *ev, const AstCallable *c, const Frame *start, const Datum *value, const AstExpr *const *given) {
    Frame frame = *start;
    Span call = frame.call;
    uint32_t mistakes = ev->nreported;
    ev->frame = &frame;
    ev->call_depth++;
    for (uint32_t i = 0; i < c->nparams; i++) {
        Datum d = c->param[i].init && (!given[i] || c->net) ? eval_expr(ev, c->param[i].init) : poison;
        if (given[i]) d = c->net ? of_same_kind(ev, &c->param[i], given[i], value[i], d) : value[i];
        scope_set(ev->arena, &frame.variables, c->param[i].name, d);
    }
    eval_body(ev, &c->body);
    say_long_path(ev);
    ev->call_depth--;
    ev->frame = frame.caller;
    if (!frame.returned && !c->net && mistakes == ev->nreported) {
        eval_error(ev, call, "block '%s' ends without a 'return'", c->name->text);
    }
    return frame.result;
}

static Datum call_block(Eval *ev, const AstExpr *call, const AstCallable *c, const char *segment, bool shared) {
    Datum *value = ARENA_ARRAY(ev->arena, Datum, c->nparams);
    const AstExpr **given = ARENA_ARRAY(ev->arena, const AstExpr *, c->nparams);
    Signature s = {"block", c->name->text, param_names(ev, c), c->nparams, 0};
    while (s.required < c->nparams && !c->param[s.required].init) s.required++;
    if (!ev->frame) return eval_error(ev, call->span, "block '%s' is called outside of a net", c->name->text);
    if (!eval_arguments(ev, call, &s, value, given)) return poison;
    if (ev->call_depth >= MAX_CALL_DEPTH) return eval_too_deep(ev, call->span, c);
    const char *path = call_path(ev, call, segment);
    Val first = ev->graph->count;
    Frame start = {.callable = c, .caller = ev->frame, .call = call->span, .path = path, .shared = shared || ev->frame->shared};
    Datum result = run_callable(ev, c, &start, value, given);
    return eval_compose(ev, c, call->span, path, first, result);
}

/* The block or net of this name, or NULL. The library keeps to its own, the program's own go before the library's. */
static const AstCallable *find_callable(const Eval *ev, const Name *name) {
    bool library = ev->frame && ev->frame->callable->library;
    if (name->library && (library || !name->callable)) return name->library;
    return name->callable;
}

static Datum unknown_callee(Eval *ev, const AstExpr *call) {
    const char *remark, *text = call->call.callee->text, *near = foreign_operation(text, &remark);
    uint32_t count = 0;
    const char **candidate = ARENA_ARRAY(ev->arena, const char *, ev->names->count);
    for (uint32_t i = 0; i < ev->names->capacity; i++) {
        const Name *n = ev->names->slot[i];
        if (n && (n->builtin || n->library || (n->callable && !n->callable->net))) candidate[count++] = n->text;
    }
    if (!near && !remark) near = nearest_name(text, candidate, count);
    Span span = call->call.callee_span;
    if (near) return eval_error(ev, span, "there is no operation or block '%s'; did you mean '%s'?", text, near);
    if (remark) return eval_error(ev, span, "there is no operation or block '%s': %s", text, remark);
    return eval_error(ev, span, "there is no operation or block '%s'", text);
}

Datum eval_call(Eval *ev, const AstExpr *call, const char *segment, bool shared) {
    const Name *callee = call->call.callee;
    if (callee->builtin) return call_builtin(ev, call, segment, shared);
    const AstCallable *callable = find_callable(ev, callee);
    if (!callable) return unknown_callee(ev, call);
    if (!callable->net) return call_block(ev, call, callable, segment, shared);
    return eval_error(ev, call->call.callee_span, "'%s' is a net, and nets are not called; bind it with 'net name = %s(...)'",
                      callee->text, callee->text);
}

void eval_net(Eval *ev, const AstCallable *net, const Datum *value, const AstExpr *const *given) {
    Frame start = {.callable = net, .call = net->span, .path = ""};
    run_callable(ev, net, &start, value, given);
}
