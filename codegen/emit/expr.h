/* Exprs (ir/expr.h) as vector code: one emitter, wherever they stand. */
#ifndef NETC_CODEGEN_EMIT_EXPR_H
#define NETC_CODEGEN_EMIT_EXPR_H
#include "codegen/emit/module.h"
#include "ir/ir.h"

/* Where an element of the iteration space lies: gives each X_ARG its value. */
typedef struct ElementSite {
    LLVMValueRef n, cb, pixel;        /* i64: image, channel block, y*W + x (pixel NULL for rank <= 2; n NULL for rank 1) */
    int64_t channels, channel_blocks; /* of the iteration space */
    int64_t pixels;                   /* H*W of the iteration space */
    const Type *arg_type;             /* logical type of each argument of the value (arg_type[i] of args[i]) */
    LLVMValueRef *arg_base;           /* buffer of each argument; may be NULL for unused ones */
    LLVMValueRef *preloaded;          /* per argument: a vec hoisted by the caller (per-channel operands), or NULL */
    LLVMValueRef acc, out;            /* X_ACC, X_OUT; may be NULL */
} ElementSite;
/* The Expr at one vector of channels. */
LLVMValueRef emit_expr(Emitter *e, const Expr *expr, const ElementSite *site);
/* Fills preloaded[] for every argument of the Expr whose value does not depend on the pixel. */
void emit_preload(Emitter *e, const Expr *expr, ElementSite *site, uint32_t nargs);
#endif
