/* Exprs as vector code: one vector of channels at a time. How an argument is read follows from ranks alone (ir/expr.h). */
#include "codegen/emit/expr.h"
#include "codegen/emit/arith.h"
#include "codegen/emit/math.h"
#include "codegen/emit/memory.h"
#include <stdlib.h>

/* A feature map with 1 in place of C, H or W: its own element along the others. */
static LLVMValueRef load_partial(Emitter *e, const ElementSite *site, LLVMValueRef base, Type t) {
    int64_t plane = t.dim[2] * t.dim[3], width = t.dim[3] > 1 ? t.dim[3] : site->pixels / t.dim[2];
    bool all = t.dim[1] == site->channels;
    LLVMValueRef pixel = site->pixel, block = all ? emit_offset(e, site->n, site->channel_blocks, site->cb) : site->n;
    if (plane == 1)
        pixel = emit_int(e, 0);
    else if (t.dim[3] == 1 && plane != site->pixels)
        pixel = LLVMBuildUDiv(e->b, pixel, emit_int(e, width), "");
    else if (t.dim[2] == 1 && plane != site->pixels)
        pixel = LLVMBuildURem(e->b, pixel, emit_int(e, width), "");
    LLVMValueRef at = emit_mul_int(e, emit_offset(e, block, plane, pixel), e->V);
    return all ? emit_load(e, base, at) : emit_load_splat(e, base, at);
}

/* The vector of argument i at the site: per element, per image and channel, per channel, or one scalar in all lanes. */
static LLVMValueRef load_argument(Emitter *e, const ElementSite *site, uint32_t i) {
    LLVMValueRef base = site->arg_base[i];
    switch (site->arg_type[i].rank) {
    case 0: return emit_load_splat(e, base, emit_int(e, 0));
    case 1: return emit_load(e, base, emit_mul_int(e, site->cb, e->V));
    case 2: return emit_load(e, base, emit_mul_int(e, emit_offset(e, site->n, site->channel_blocks, site->cb), e->V));
    default: break;
    }
    Type t = site->arg_type[i];
    if (t.dim[1] != site->channels || t.dim[2] * t.dim[3] != site->pixels) return load_partial(e, site, base, t);
    LLVMValueRef plane = emit_offset(e, site->n, site->channel_blocks, site->cb);
    return emit_load(e, base, emit_mul_int(e, emit_offset(e, plane, site->pixels, site->pixel), e->V));
}

static LLVMValueRef select_positive(Emitter *e, LLVMValueRef condition, LLVMValueRef yes, LLVMValueRef no) {
    LLVMValueRef positive = LLVMBuildFCmp(e->b, LLVMRealUGT, condition, emit_vec(e, 0), ""); /* or NaN */
    return LLVMBuildSelect(e->b, positive, yes, no, "");
}

static LLVMValueRef one_where(Emitter *e, LLVMRealPredicate p, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, p, a, b, ""), emit_vec(e, 1), emit_vec(e, 0), "");
}

static LLVMValueRef emit_node(Emitter *e, const ExprNode *node, const LLVMValueRef *value, const ElementSite *site) {
    LLVMValueRef a = expr_op_operands(node->op) > 0 ? value[node->arg[0]] : NULL;
    LLVMValueRef b = expr_op_operands(node->op) > 1 ? value[node->arg[1]] : NULL;
    switch ((ExprOp)node->op) {
    case X_ARG: {
        LLVMValueRef ready = site->preloaded ? site->preloaded[node->arg[0]] : NULL;
        return ready ? ready : load_argument(e, site, node->arg[0]);
    }
    case X_CONST: return emit_vec(e, node->value);
    case X_ACC: return site->acc;
    case X_OUT: return site->out;
    case X_ADD: return emit_arith(e, LLVMFAdd, a, b);
    case X_SUB: return emit_arith(e, LLVMFSub, a, b);
    case X_MUL: return emit_arith(e, LLVMFMul, a, b);
    case X_DIV: return emit_arith(e, LLVMFDiv, a, b);
    case X_MAX: return emit_max(e, a, b);
    case X_MIN: return LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, LLVMRealOLT, a, b, ""), a, b, "");
    case X_NEG: return LLVMBuildFNeg(e->b, a, "");
    case X_EXP: return emit_exp(e, a);
    case X_LOG: return emit_log(e, a);
    case X_SQRT: return emit_intrinsic(e, "llvm.sqrt", e->vec, &a, 1);
    case X_RSQRT: return LLVMBuildFDiv(e->b, emit_vec(e, 1), emit_intrinsic(e, "llvm.sqrt", e->vec, &a, 1), "");
    case X_TANH: return emit_tanh(e, a);
    case X_SIGMOID: return emit_sigmoid(e, a);
    case X_ABS: return emit_intrinsic(e, "llvm.fabs", e->vec, &a, 1);
    case X_EXPM1: return emit_expm1(e, a);
    case X_LOG1P: return emit_log1p(e, a);
    case X_ERF: return emit_erf(e, a);
    case X_POW: return emit_pow(e, a, b);
    case X_LESS: return one_where(e, LLVMRealOLT, a, b);
    case X_LESS_EQUAL: return one_where(e, LLVMRealOLE, a, b);
    case X_EQUAL: return one_where(e, LLVMRealOEQ, a, b);
    case X_SELECT: return select_positive(e, a, b, value[node->arg[2]]);
    case EXPR_OP_COUNT: break;
    }
    abort(); /* a node that the verifier lets no one build */
}

LLVMValueRef emit_expr(Emitter *e, const Expr *expr, const ElementSite *site) {
    LLVMValueRef value[EXPR_MAX_NODES];
    if (expr->count == 0 || expr->count > EXPR_MAX_NODES) abort();
    for (uint32_t i = 0; i < expr->count; i++) value[i] = emit_node(e, &expr->node[i], value, site);
    return value[expr->count - 1];
}

void emit_preload(Emitter *e, const Expr *expr, ElementSite *site, uint32_t nargs) {
    for (uint32_t i = 0; i < nargs; i++)
        if (!site->preloaded[i] && site->arg_type[i].rank < 4 && expr_uses_arg(expr, i))
            site->preloaded[i] = load_argument(e, site, i);
}
