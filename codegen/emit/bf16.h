/* bf16: the upper half of an f32, so eight bits of precision and f32's range. Vectors and scalars of it are i16. */
#ifndef NETC_CODEGEN_BF16_H
#define NETC_CODEGEN_BF16_H
#include "codegen/emit/module.h"

/* Loads i16 or a vector of it and widens, which is exact. */
LLVMValueRef bf16_load(Emitter *e, LLVMTypeRef type, LLVMValueRef address);
/* f32, or a vector of it, to the nearest bf16, ties to even; a NaN stays one. The instruction that AVX512_BF16 has for it takes
 * denormals for zeros; elsewhere they are kept. */
LLVMValueRef bf16_round(Emitter *e, LLVMValueRef value);

/* ---- pairs, for targets with AVX512_BF16: vectors of V 32-bit words, typed as f32, of two bf16 each ---- */
/* Lane by lane: `low` rounded in the lower half of the word, `high` in the upper. */
LLVMValueRef bf16_pair(Emitter *e, LLVMValueRef low, LLVMValueRef high);
/* acc + low halves' products + high halves' products, in f32. */
LLVMValueRef bf16_dot(Emitter *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef acc);
#endif
