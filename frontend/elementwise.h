/* Elementwise primitives, and what a block made of them. */
#ifndef NETC_FRONTEND_ELEMENTWISE_H
#define NETC_FRONTEND_ELEMENTWISE_H
#include "frontend/builtin.h"

Datum apply_function(Eval *ev, const BuiltinCall *c); /* exp, log, sqrt, abs, expm1, log1p, erf */
Datum apply_select(Eval *ev, const BuiltinCall *c);
Datum apply_extreme(Eval *ev, const BuiltinCall *c); /* min, max */
Datum apply_pow(Eval *ev, const BuiltinCall *c);

/* left op right, of which one is a tensor and the other a tensor or a number: ones and zeros. */
Datum eval_compare_tensors(Eval *ev, Span span, TokenKind op, Datum left, Datum right);

/* The result of a block that was called at `span` and added the values from `first` on. If they compute it element by element
 * with primitives, or the block is the library's, they are taken back and one map stands for them, named after the call's path:
 * what an activation costs, and its gradient, then follow from one Expr. Otherwise the result as it is. */
Datum eval_compose(Eval *ev, const AstCallable *block, Span span, const char *path, Val first, Datum result);
#endif
