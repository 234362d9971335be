/* Loads and stores.
 *
 * An element is an f32, or in feature maps under --precision=bf16 a bf16, which loads widen and stores round to nearest even. It
 * is a property of the buffer, which every address derived from it by emit_address inherits, so that emitters need not care. */
#ifndef NETC_CODEGEN_EMIT_MEMORY_H
#define NETC_CODEGEN_EMIT_MEMORY_H
#include "codegen/emit/module.h"

LLVMValueRef emit_address(Emitter *e, LLVMValueRef base, LLVMValueRef element); /* &base[element] */
/* The same address with other elements: bf16, or f32 (that is, 32-bit words). */
LLVMValueRef emit_view(Emitter *e, LLVMValueRef base, bool bf16);
/* Says that a buffer's elements are bf16. */
void emit_declare_bf16(Emitter *e, LLVMValueRef buffer);
/* A vector; the element must be a multiple of V. */
LLVMValueRef emit_load(Emitter *e, LLVMValueRef base, LLVMValueRef element);
/* Of f32 or words, from any element on. */
LLVMValueRef emit_load_unaligned(Emitter *e, LLVMValueRef base, LLVMValueRef element);
void emit_store_unaligned(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
LLVMValueRef emit_load_scalar(Emitter *e, LLVMValueRef base, LLVMValueRef element);
LLVMValueRef emit_load_splat(Emitter *e, LLVMValueRef base, LLVMValueRef element); /* broadcast load */
/* base[element + lane * plane] in lanes 0 to count - 1, behind them zeros: a pixel's channels out of planes. */
LLVMValueRef emit_load_planes(Emitter *e, LLVMValueRef base, LLVMValueRef element, int64_t plane, int64_t count);
void emit_store(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
/* The same past the caches, for what will have left them when it is read: it saves reading the line first. The kernel then ends
 * with a store fence. An ordinary store in a step whose data stay in the last cache (Emitter.past_caches), or where the target
 * has no such instruction for whole lines. */
void emit_store_stream(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
void emit_store_scalar(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
void emit_prefetch(Emitter *e, LLVMValueRef base, LLVMValueRef element, int locality);
#endif
