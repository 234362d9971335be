/* V doubles, for the few sums in which f32 would cancel. */
#ifndef NETC_CODEGEN_EMIT_F64_H
#define NETC_CODEGEN_EMIT_F64_H
#include "codegen/emit/module.h"

/* V doubles: from and to f32 lanes, a constant, and in buffers of f64, elements counting doubles there. */
LLVMValueRef emit_widen(Emitter *e, LLVMValueRef vec);
LLVMValueRef emit_narrow(Emitter *e, LLVMValueRef wide);
LLVMValueRef emit_wide_vec(Emitter *e, double value);
LLVMValueRef emit_load_wide(Emitter *e, LLVMValueRef base, LLVMValueRef element);
void emit_store_wide(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
#endif
