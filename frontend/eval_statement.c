/* Statements. A name assigned anywhere in a body belongs to the whole body: if and for have no scope of their own. */
#include "frontend/eval.h"
#include <string.h>

static void assign(Eval *ev, const Name *name, Datum value) { scope_set(ev->arena, &ev->frame->variables, name, value); }

/* After a condition or range that failed: whatever the body would have assigned is unknown, and not to be reported. */
static void poison_assigned(Eval *ev, const AstBody *body) {
    for (uint32_t i = 0; i < body->count; i++) {
        const AstStatement *s = body->statement[i];
        if (s->name) assign(ev, s->name, (Datum){DATUM_POISON});
        poison_assigned(ev, &s->yes);
        poison_assigned(ev, &s->no);
    }
}

/* A failed condition may have hidden the return, input or output statement: then the body's end is not reported either. */
static void abandon(Eval *ev, const AstStatement *s) {
    if (s->name) assign(ev, s->name, (Datum){DATUM_POISON});
    poison_assigned(ev, &s->yes);
    poison_assigned(ev, &s->no);
}

static void run_if(Eval *ev, const AstStatement *s) {
    Datum condition = eval_expr(ev, s->value);
    if (condition.kind == DATUM_BOOL) {
        eval_body(ev, condition.boolean ? &s->yes : &s->no);
        return;
    }
    if (condition.kind != DATUM_POISON) {
        eval_not_boolean(ev, s->value->span, "the condition of 'if' must be a boolean", condition);
    }
    abandon(ev, s);
}

static void iterate(Eval *ev, const AstStatement *s, Datum item) {
    assign(ev, s->name, item);
    eval_body(ev, &s->yes);
}

static void run_for(Eval *ev, const AstStatement *s) {
    Datum first = eval_expr(ev, s->value), end = s->end ? eval_expr(ev, s->end) : first;
    if (s->end && first.kind == DATUM_INTEGER && end.kind == DATUM_INTEGER) {
        for (int64_t i = first.integer; i < end.integer && !ev->frame->returned && eval_charge(ev, s->span, 1); i++) {
            iterate(ev, s, (Datum){DATUM_INTEGER, .integer = i});
        }
        return;
    }
    if (!s->end && first.kind == DATUM_LIST) {
        for (uint32_t i = 0; i < first.list->count && !ev->frame->returned && eval_charge(ev, s->span, 1); i++) {
            iterate(ev, s, first.list->item[i]);
        }
        return;
    }
    if (first.kind != DATUM_POISON && end.kind != DATUM_POISON) {
        bool left = s->end && first.kind == DATUM_INTEGER;
        Span span = left ? s->end->span : s->value->span;
        eval_error(ev, span,
                   s->end ? "the bounds of a range are integers, found %s" : "'for' runs over a range a..b or a list, found %s",
                   eval_describe(ev, left ? end : first));
    }
    abandon(ev, s);
}

static void run_assert(Eval *ev, const AstStatement *s) {
    Datum condition = eval_expr(ev, s->value);
    if (condition.kind == DATUM_BOOL && condition.boolean) return;
    if (condition.kind == DATUM_BOOL) {
        Datum message = s->end ? eval_expr(ev, s->end) : (Datum){DATUM_POISON};
        if (message.kind == DATUM_POISON) {
            eval_error(ev, s->value->span, "this assertion does not hold");
        } else {
            const char *text = message.kind == DATUM_STRING ? message.text : eval_describe(ev, message);
            eval_error(ev, s->value->span, "this assertion does not hold: %s", text);
        }
    } else if (condition.kind != DATUM_POISON) {
        eval_not_boolean(ev, s->value->span, "the condition of 'assert' must be a boolean", condition);
    }
    /* What follows relies on it. */
    ev->frame->returned = true;
    ev->frame->result = (Datum){DATUM_POISON};
}

static void run_input(Eval *ev, const AstStatement *s) {
    assign(ev, s->name, (Datum){DATUM_POISON});
    if (ev->has_input) {
        eval_error(ev, s->span, "a net has exactly one input; this is a second one");
        eval_note(ev, ev->input, "the first one is here");
        return;
    }
    ev->has_input = true;
    ev->input = s->span;
    if (!strcmp(s->name->text, "labels")) {
        eval_error(ev, s->name_span, "the name 'labels' is taken: training adds an input of this name");
        return;
    }
    Datum size = eval_expr(ev, s->end);
    if (size.kind != DATUM_LIST) return;
    int64_t dim[MAX_RANK] = {ev->batch};
    if (size.list->count != 3) {
        eval_error(ev, s->end->span, "an input has three dimensions [channels, height, width], found %s",
                   eval_describe(ev, size));
        return;
    }
    for (uint32_t i = 0; i < 3; i++) {
        Datum d = size.list->item[i];
        if (d.kind != DATUM_INTEGER || d.integer < 1 || d.integer > 65536) {
            eval_error(ev, s->end->list.item[i]->span, "a dimension is an integer from 1 to 65536, found %s",
                       eval_describe(ev, d));
            return;
        }
        dim[i + 1] = d.integer;
    }
    ValueSpec spec = {
        .op = OP_INPUT, .attrs.param.name = s->name->text, .declared = type_make(DT_F32, 4, dim), .name = s->name->text};
    ev->image = eval_add(ev, s->span, &spec);
    if (ev->image != NO_VAL) assign(ev, s->name, (Datum){DATUM_TENSOR, .tensor = ev->image});
}

/* A tensor that can be logits; false after a report, or for poison. */
static bool is_logits(Eval *ev, const AstStatement *s, Datum d) {
    if (d.kind == DATUM_POISON) return false;
    if (d.kind != DATUM_TENSOR) {
        eval_error(ev, s->value->span, "the output is a tensor f32[N,classes], found %s", eval_describe(ev, d));
        return false;
    }
    Type type = ev->graph->value[d.tensor].type;
    if (type.rank == 2) return true;
    eval_error(ev, s->value->span,
               "the output is a tensor f32[N,classes], found %s; 'global_avg_pool' or 'flatten' and 'dense' make one",
               type_text(ev->arena, type));
    return false;
}

/* output logits, weight: a further head, whose loss training adds. */
static void run_auxiliary(Eval *ev, const AstStatement *s, Datum d) {
    Datum weight = eval_expr(ev, s->end);
    if (weight.kind == DATUM_POISON || !is_logits(ev, s, d)) return;
    if (!datum_is_number(weight) || !(datum_number(weight) > 0)) {
        eval_error(ev, s->end->span, "the weight of a further output's loss is a number above 0, found %s",
                   eval_describe(ev, weight));
        return;
    }
    ARENA_GROW(ev->arena, ev->auxiliary, ev->nauxiliary, &ev->auxiliary_capacity);
    ev->auxiliary[ev->nauxiliary++] = (struct Auxiliary){d.tensor, datum_number(weight), s->span};
}

static void run_output(Eval *ev, const AstStatement *s) {
    Datum d = eval_expr(ev, s->value);
    if (s->end) {
        run_auxiliary(ev, s, d);
        return;
    }
    if (ev->has_output) {
        eval_error(ev, s->span,
                   "a net has exactly one output; this is a second one ('output x, weight' is one more for training)");
        eval_note(ev, ev->output, "the first one is here");
        return;
    }
    ev->has_output = true;
    ev->output = s->span;
    if (is_logits(ev, s, d)) ev->logits = d.tensor;
}

static void run(Eval *ev, const AstStatement *s) {
    switch (s->kind) {
    case STATEMENT_ASSIGN: assign(ev, s->name, eval_expr(ev, s->value)); break;
    case STATEMENT_IF: run_if(ev, s); break;
    case STATEMENT_FOR: run_for(ev, s); break;
    case STATEMENT_ASSERT: run_assert(ev, s); break;
    case STATEMENT_RETURN:
        ev->frame->result = eval_expr(ev, s->value);
        ev->frame->returned = true;
        break;
    case STATEMENT_INPUT: run_input(ev, s); break;
    case STATEMENT_OUTPUT: run_output(ev, s); break;
    }
}

void eval_body(Eval *ev, const AstBody *body) {
    if (body->count == 0 || !eval_enter(ev, body->statement[0]->span)) return;
    for (uint32_t i = 0; i < body->count && !ev->frame->returned; i++) {
        if (!eval_charge(ev, body->statement[i]->span, 1)) break;
        run(ev, body->statement[i]);
    }
    eval_leave(ev);
}
