/* bf16 in vector code: one instruction where the target has it, else integer arithmetic on the bits of an f32, which every target
 * has. */
#include "codegen/emit/bf16.h"
#include "codegen/emit/arith.h"

/* `type` with elements of another kind: itself a scalar or a vector of `lanes`. */
static LLVMTypeRef like(LLVMValueRef model, LLVMTypeRef element) {
    LLVMTypeRef type = LLVMTypeOf(model);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMVectorType(element, LLVMGetVectorSize(type)) : element;
}

static LLVMValueRef bits(Emitter *e, LLVMValueRef model, uint32_t value) {
    LLVMValueRef scalar = LLVMConstInt(e->i32, value, false);
    return LLVMGetTypeKind(LLVMTypeOf(model)) == LLVMVectorTypeKind ? emit_int_vec(e, value) : scalar;
}

LLVMValueRef bf16_load(Emitter *e, LLVMTypeRef type, LLVMValueRef address) {
    LLVMValueRef half = LLVMBuildLoad2(e->b, type, address, "");
    LLVMSetAlignment(half, type == e->i16 ? 2 : 2 * (unsigned)e->V);
    LLVMValueRef word = LLVMBuildZExt(e->b, half, like(half, e->i32), "");
    return LLVMBuildBitCast(e->b, LLVMBuildShl(e->b, word, bits(e, half, 16), ""), like(half, e->f32), "");
}

/* Half a unit in the last place is added, less one bit where the result would be odd on a tie; the carry goes into the exponent
 * as it should. A NaN could carry into infinity or wrap around, so it is made quiet and cut off instead. */
static LLVMValueRef round_bits(Emitter *e, LLVMValueRef value) {
    LLVMTypeRef words = like(value, e->i32);
    LLVMValueRef word = LLVMBuildBitCast(e->b, value, words, ""), upper = LLVMBuildLShr(e->b, word, bits(e, value, 16), "");
    LLVMValueRef odd = LLVMBuildAnd(e->b, upper, bits(e, value, 1), "");
    LLVMValueRef up = LLVMBuildAdd(e->b, word, LLVMBuildAdd(e->b, odd, bits(e, value, 0x7fff), ""), "");
    LLVMValueRef nan = LLVMBuildFCmp(e->b, LLVMRealUNO, value, value, "");
    LLVMValueRef quiet = LLVMBuildOr(e->b, upper, bits(e, value, 0x40), "");
    LLVMValueRef rounded = LLVMBuildSelect(e->b, nan, quiet, LLVMBuildLShr(e->b, up, bits(e, value, 16), ""), "");
    return LLVMBuildTrunc(e->b, rounded, like(value, e->i16), "");
}

LLVMValueRef bf16_round(Emitter *e, LLVMValueRef value) {
    bool vector = LLVMGetTypeKind(LLVMTypeOf(value)) == LLVMVectorTypeKind;
    if (!e->target->bf16 || !vector) return round_bits(e, value);
    LLVMTypeRef bf16 = LLVMVectorType(LLVMBFloatTypeInContext(e->context), (unsigned)e->V);
    return LLVMBuildBitCast(e->b, LLVMBuildFPTrunc(e->b, value, bf16, ""), like(value, e->i16), "");
}

LLVMValueRef bf16_pair(Emitter *e, LLVMValueRef low, LLVMValueRef high) {
    LLVMValueRef index[2 * MAX_LANES];
    for (int i = 0; i < 2 * e->V; i++) index[i] = LLVMConstInt(e->i32, (uint64_t)(i / 2 + i % 2 * e->V), false);
    LLVMValueRef mask = LLVMConstVector(index, 2 * (unsigned)e->V);
    LLVMValueRef both = LLVMBuildShuffleVector(e->b, bf16_round(e, low), bf16_round(e, high), mask, "");
    return LLVMBuildBitCast(e->b, both, e->vec, "pair");
}

LLVMValueRef bf16_dot(Emitter *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef acc) {
    LLVMTypeRef halves = LLVMVectorType(LLVMBFloatTypeInContext(e->context), 2 * (unsigned)e->V);
    LLVMValueRef args[3] = {acc, LLVMBuildBitCast(e->b, a, halves, ""), LLVMBuildBitCast(e->b, b, halves, "")};
    return emit_fixed_intrinsic(e, e->target->vectors->bf16_dot, args, 3);
}
