/* The operations of the language: one table row each (builtin.c), and what their implementations share. */
#ifndef NETC_FRONTEND_BUILTIN_H
#define NETC_FRONTEND_BUILTIN_H
#include "frontend/eval.h"

enum { MAX_BUILTIN_PARAMS = 12 };

/* A call of an operation with its arguments evaluated; none of them is poison. */
typedef struct BuiltinCall {
    const struct Builtin *builtin;
    const AstExpr *expr;
    const char *path;      /* by the naming rule: "basic3.conv_bn1.conv2d"; NULL for queries and initialisers */
    Datum *value;          /* by parameter; variadic: by argument */
    const AstExpr **given; /* the argument's expression, NULL if left out */
    uint32_t count;        /* variadic: arguments */
    bool shared;           /* parameters of the same names that are there already are these */
} BuiltinCall;

typedef struct Builtin {
    const char *name;
    Datum (*apply)(Eval *, const BuiltinCall *);
    bool tensor;   /* makes operations of the graph, and so has a place in the naming rule */
    bool variadic; /* any number of positional arguments, at least one */
    uint32_t required;
    const char *param[MAX_BUILTIN_PARAMS + 1]; /* ended by NULL */
} Builtin;

/* Enters all operations into the names of a program. */
void builtins_enter(Names *names);
/* The value of a bare word of the language: same, valid, he_normal, zeros, ... */
bool builtin_word(const Name *name, Datum *word);
uint32_t builtin_params(const Builtin *b);

/* ---- arguments: each reads argument i into *out, which keeps its value if the argument was left out; false after a report ----
 */
bool arg_integer(Eval *ev, const BuiltinCall *c, uint32_t i, int64_t lo, int64_t hi, int64_t *out);
bool arg_pair(Eval *ev, const BuiltinCall *c, uint32_t i, int64_t lo, int64_t hi, int64_t out[2]); /* n or [height, width] */
bool arg_real(Eval *ev, const BuiltinCall *c, uint32_t i, double *out);
bool arg_boolean(Eval *ev, const BuiltinCall *c, uint32_t i, bool *out);
bool arg_init(Eval *ev, const BuiltinCall *c, uint32_t i, InitRule *out);
/* A tensor of this rank (0: any); what names it in the report. */
bool arg_tensor(Eval *ev, const BuiltinCall *c, uint32_t i, int rank, Val *out);
/* same, valid, n or [height, width], as [top, left, bottom, right] for this kernel. */
bool arg_pad(Eval *ev, const BuiltinCall *c, uint32_t i, const int64_t kernel[2], const int64_t dilation[2], int64_t out[4]);
Datum arg_error(Eval *ev, const BuiltinCall *c, uint32_t i,
                const char *expected); /* "'kernel' of conv2d must be ..., found 3.5" */

Datum tensor_datum(Val v); /* poison for NO_VAL */

/* ---- layers.c ---- */
Datum apply_conv2d(Eval *ev, const BuiltinCall *c);
Datum apply_dense(Eval *ev, const BuiltinCall *c);
Datum apply_batch_norm(Eval *ev, const BuiltinCall *c);
Datum apply_param(Eval *ev, const BuiltinCall *c);
#endif
