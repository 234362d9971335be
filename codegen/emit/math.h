/* Functions of vectors. */
#ifndef NETC_CODEGEN_EMIT_MATH_H
#define NETC_CODEGEN_EMIT_MATH_H
#include "codegen/emit/module.h"

/* Functions on vectors by polynomials of our own: the same bits on every machine with fused multiply-add, within 2 ulp,
 * right for zeros, denormals, infinities and NaN. */
LLVMValueRef emit_exp(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_log(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_tanh(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_sigmoid(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_expm1(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_log1p(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_erf(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_pow(Emitter *e, LLVMValueRef a, LLVMValueRef b); /* as C's pow */
#endif
