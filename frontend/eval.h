/* Evaluation: runs a net's static code once and writes the tensor operations that it meets into a Graph.
 *
 * Mistakes. A report is made once per span, with the chain of block calls as notes; the value of what failed is poison,
 * and whatever uses poison is poison without a word, so that one run reports independent mistakes only.
 * Limits (EvalLimit) end the evaluation with an error: no input hangs or exhausts the compiler. */
#ifndef NETC_FRONTEND_EVAL_H
#define NETC_FRONTEND_EVAL_H
#include "frontend/datum.h"
#include "frontend/program.h"
#include "ir/nearest.h"

enum EvalLimit {
    MAX_STEPS = 10000000,    /* expressions, statements and loop iterations evaluated */
    MAX_STEPS_MORE = 100000, /* after a report, in search of further mistakes */
    MAX_MEGABYTES = 256,     /* of evaluation and graph together */
    MAX_VALUES = 200000,     /* of the graph */
    MAX_CALL_DEPTH = 100,    /* of blocks */
    MAX_RECURSION = 1000,    /* nested expressions and statements over all calls */
    MAX_PATH_BYTES = 255,    /* of a parameter name */
    MAX_SPANS = 32           /* reported spans remembered */
};

/* Name -> value, by open addressing. */
typedef struct Scope {
    struct Binding {
        const Name *name;
        Datum value;
    } *slot;
    uint32_t count, capacity;
} Scope;

/* One running body. */
typedef struct Frame {
    const AstCallable *callable;
    struct Frame *caller;
    Span call;        /* where the caller called */
    const char *path; /* of the naming rule: "basic3.conv_bn1", "" for the net */
    Scope variables, ordinals;
    bool shared; /* what it calls shares its parameters with other calls of the same path */
    Datum result;
    bool returned;
} Frame;

typedef struct Eval {
    Arena *arena;  /* scratch of the compilation; the graph has its own */
    size_t parsed; /* bytes in it before evaluation began */
    Diag *diag;
    Graph *graph;
    int64_t batch;
    Frame *frame;
    uint32_t recursion, call_depth;
    bool too_deep; /* said by eval_too_deep */
    struct LongPath {
        const Frame *frame; /* whose call has the first path that is too long; NULL: none has */
        Span span;
    } long_path;
    int64_t steps, last_step, streams; /* last_step: of those after a report; 0: nothing is reported */
    double elements;                   /* of all values so far */
    bool stopped;                      /* a limit was hit */
    Span reported[MAX_SPANS];
    uint32_t nreported;
    bool spoke; /* the newest eval_error reported something */
    Scope parameter_names;
    Names *names;
    Val image, logits;  /* NO_VAL until stated */
    Span input, output; /* of the two statements */
    bool has_input, has_output;
    struct Auxiliary { /* outputs with a weight, which training alone has */
        Val logits;
        double weight;
        Span span;
    } *auxiliary;
    uint32_t nauxiliary, auxiliary_capacity;
    Val *batch_norm; /* every one, in order; its running statistics are outputs */
    uint32_t nbatch_norms, batch_norm_capacity;
} Eval;

/* ---- eval.c: mistakes, limits, scopes ---- */
/* The place that messages name for `span`: of library code, where the program calls it. */
Span eval_place(const Eval *ev, Span span);
Datum eval_error(Eval *ev, Span span, const char *format, ...) __attribute__((format(printf, 3, 4))); /* always poison */
/* "... must be a boolean, found ...": always poison. */
Datum eval_not_boolean(Eval *ev, Span span, const char *what, Datum found);
void eval_note(Eval *ev, Span span, const char *format, ...)
    __attribute__((format(printf, 3, 4)));            /* if the error before was shown */
bool eval_charge(Eval *ev, Span span, int64_t steps); /* false when evaluation is over */
bool eval_enter(Eval *ev, Span span); /* one level deeper, or false after a report; pair with eval_leave when true */
void eval_leave(Eval *ev);
/* Calls, or calls and expressions, nest too deep; `callee` is about to be called, or NULL. Names the block that calls itself. */
Datum eval_too_deep(Eval *ev, Span span, const AstCallable *callee);
Datum *variable_find(const Scope *scope, const Name *name);
void scope_set(Arena *arena, Scope *scope, const Name *name, Datum value);
const char *eval_describe(Eval *ev, Datum d);             /* "3", "the tensor f32[...]" for messages */
Val eval_add(Eval *ev, Span span, const ValueSpec *spec); /* checked and limited graph_add; NO_VAL after a report */

/* ---- eval_expr.c, arithmetic.c, eval_statement.c, call.c ---- */
Datum eval_expr(Eval *ev, const AstExpr *e);
Datum eval_binary(Eval *ev, Span span, TokenKind op, Datum a, Datum b);
Datum eval_unary(Eval *ev, Span span, TokenKind op, Datum a);
void eval_body(Eval *ev, const AstBody *body);
/* segment: of `as`, or NULL; shared: `as shared` */
Datum eval_call(Eval *ev, const AstExpr *call, const char *segment, bool shared);

/* Evaluates the arguments of a call into value[] by the names of the parameters; given[i] is the argument's expression or
 * NULL. False after a report. */
typedef struct Signature {
    const char *what; /* "block" or "operation", for messages */
    const char *name;
    const char *const *param;
    uint32_t nparams, required;
} Signature;
bool eval_arguments(Eval *ev, const AstExpr *call, const Signature *signature, Datum *value, const AstExpr **given);

/* Runs a net; value[i] is what parameter i was set to by the expression given[i], NULL for its default. */
void eval_net(Eval *ev, const AstCallable *net, const Datum *value, const AstExpr *const *given);
#endif
