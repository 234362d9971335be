/* Constants and arithmetic. LLVM's builder folds constants by itself; identities are folded here. */
#include "codegen/emit/arith.h"
#include <string.h>

LLVMValueRef emit_int(Emitter *e, int64_t value) { return LLVMConstInt(e->i64, (uint64_t)value, true); }
LLVMValueRef emit_float(Emitter *e, double value) { return LLVMConstReal(e->f32, value); }

static LLVMValueRef splat(Emitter *e, LLVMTypeRef vector, LLVMValueRef scalar) {
    LLVMValueRef one = LLVMBuildInsertElement(e->b, LLVMGetPoison(vector), scalar, LLVMConstInt(e->i32, 0, false), "");
    return LLVMBuildShuffleVector(e->b, one, LLVMGetPoison(vector), LLVMConstNull(e->ivec), "splat");
}
LLVMValueRef emit_splat(Emitter *e, LLVMValueRef scalar) { return splat(e, e->vec, scalar); }
LLVMValueRef emit_int_splat(Emitter *e, LLVMValueRef scalar) { return splat(e, e->ivec, scalar); }
LLVMValueRef emit_index_splat(Emitter *e, LLVMValueRef index) {
    return emit_int_splat(e, LLVMBuildTrunc(e->b, index, e->i32, ""));
}

LLVMValueRef emit_vec(Emitter *e, double value) {
    LLVMValueRef lane[MAX_LANES];
    for (int i = 0; i < e->V; i++) lane[i] = emit_float(e, value);
    return LLVMConstVector(lane, (unsigned)e->V);
}

LLVMValueRef emit_int_vec(Emitter *e, int64_t value) {
    LLVMValueRef lane[MAX_LANES];
    for (int i = 0; i < e->V; i++) lane[i] = LLVMConstInt(e->i32, (uint64_t)value, true);
    return LLVMConstVector(lane, (unsigned)e->V);
}

LLVMValueRef emit_lanes(Emitter *e) {
    LLVMValueRef lane[MAX_LANES];
    for (int i = 0; i < e->V; i++) lane[i] = LLVMConstInt(e->i32, (uint64_t)i, false);
    return LLVMConstVector(lane, (unsigned)e->V);
}

static bool is_int(LLVMValueRef v, int64_t value) { return LLVMIsAConstantInt(v) && LLVMConstIntGetSExtValue(v) == value; }

EmitIndex emit_index(LLVMValueRef v) {
    if (LLVMIsAConstantInt(v)) return (EmitIndex){NULL, LLVMConstIntGetSExtValue(v)};
    if (!LLVMIsAInstruction(v) || LLVMGetInstructionOpcode(v) != LLVMAdd) return (EmitIndex){v, 0};
    LLVMValueRef by = LLVMGetOperand(v, 1);
    return LLVMIsAConstantInt(by) ? (EmitIndex){LLVMGetOperand(v, 0), LLVMConstIntGetSExtValue(by)} : (EmitIndex){v, 0};
}

static LLVMValueRef index_value(Emitter *e, EmitIndex i) {
    if (!i.variable) return emit_int(e, i.constant);
    return i.constant ? LLVMBuildNSWAdd(e->b, i.variable, emit_int(e, i.constant), "") : i.variable;
}

LLVMValueRef emit_add_int(Emitter *e, LLVMValueRef a, LLVMValueRef b) {
    if (is_int(a, 0)) return b;
    if (is_int(b, 0)) return a;
    EmitIndex x = emit_index(a), y = emit_index(b);
    if (x.variable && y.variable) x.variable = LLVMBuildNSWAdd(e->b, x.variable, y.variable, "");
    if (!x.variable) x.variable = y.variable;
    x.constant += y.constant;
    return index_value(e, x);
}

LLVMValueRef emit_mul_int(Emitter *e, LLVMValueRef a, int64_t b) {
    if (b == 1) return a;
    if (b == 0) return emit_int(e, 0);
    EmitIndex x = emit_index(a);
    if (x.variable) x.variable = LLVMBuildNSWMul(e->b, x.variable, emit_int(e, b), "");
    x.constant *= b;
    return index_value(e, x);
}

LLVMValueRef emit_offset(Emitter *e, LLVMValueRef index, int64_t stride, LLVMValueRef base) {
    LLVMValueRef offset = emit_mul_int(e, index, stride);
    return base ? emit_add_int(e, base, offset) : offset;
}

static LLVMValueRef choose_int(Emitter *e, LLVMIntPredicate p, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, p, a, b, ""), a, b, "");
}
LLVMValueRef emit_min_int(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return choose_int(e, LLVMIntSLT, a, b); }
LLVMValueRef emit_max_int(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return choose_int(e, LLVMIntSGT, a, b); }

LLVMValueRef emit_intrinsic(Emitter *e, const char *name, LLVMTypeRef type, LLVMValueRef *args, unsigned nargs) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMTypeRef fn = LLVMIntrinsicGetType(e->context, id, &type, 1);
    return LLVMBuildCall2(e->b, fn, LLVMGetIntrinsicDeclaration(e->module, id, &type, 1), args, nargs, "");
}

LLVMValueRef emit_arith(Emitter *e, LLVMOpcode op, LLVMValueRef a, LLVMValueRef b) {
    LLVMValueRef v = LLVMBuildBinOp(e->b, op, a, b, "");
    if (LLVMIsAInstruction(v)) LLVMSetFastMathFlags(v, LLVMFastMathAllowContract);
    return v;
}

LLVMValueRef emit_fma(Emitter *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    LLVMValueRef args[3] = {a, b, c};
    return emit_intrinsic(e, e->target->fma ? "llvm.fma" : "llvm.fmuladd", LLVMTypeOf(a), args, 3);
}

LLVMValueRef emit_max(Emitter *e, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, LLVMRealOGT, a, b, ""), a, b, "");
}

/* Halves the lanes until one is left: (0+8, 1+9, ...), (0+4, ...), ... */
static LLVMValueRef reduce(Emitter *e, LLVMValueRef v, LLVMValueRef (*combine)(Emitter *, LLVMValueRef, LLVMValueRef)) {
    for (int half = e->V / 2; half >= 1; half /= 2) {
        LLVMValueRef low[MAX_LANES], high[MAX_LANES];
        for (int i = 0; i < half; i++) {
            low[i] = LLVMConstInt(e->i32, (uint64_t)i, false);
            high[i] = LLVMConstInt(e->i32, (uint64_t)(i + half), false);
        }
        LLVMValueRef none = LLVMGetPoison(LLVMTypeOf(v));
        LLVMValueRef a = LLVMBuildShuffleVector(e->b, v, none, LLVMConstVector(low, (unsigned)half), "");
        LLVMValueRef b = LLVMBuildShuffleVector(e->b, v, none, LLVMConstVector(high, (unsigned)half), "");
        v = combine(e, a, b);
    }
    return LLVMBuildExtractElement(e->b, v, LLVMConstInt(e->i32, 0, false), "");
}
static LLVMValueRef combine_add(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFAdd(e->b, a, b, ""); }
static LLVMValueRef combine_max(Emitter *e, LLVMValueRef a, LLVMValueRef b) {
    LLVMValueRef args[2] = {a, b};
    return emit_intrinsic(e, "llvm.maxnum", LLVMTypeOf(a), args, 2);
}
static LLVMValueRef combine_greatest(Emitter *e, LLVMValueRef a, LLVMValueRef b) {
    LLVMValueRef nan = LLVMBuildFCmp(e->b, LLVMRealUNO, a, a, ""), above = LLVMBuildFCmp(e->b, LLVMRealOGT, a, b, "");
    return LLVMBuildSelect(e->b, LLVMBuildOr(e->b, nan, above, ""), a, b, "");
}
LLVMValueRef emit_greatest(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return combine_greatest(e, a, b); }
LLVMValueRef emit_reduce_greatest(Emitter *e, LLVMValueRef vec) { return reduce(e, vec, combine_greatest); }
LLVMValueRef emit_reduce_add(Emitter *e, LLVMValueRef vec) { return reduce(e, vec, combine_add); }
LLVMValueRef emit_reduce_max(Emitter *e, LLVMValueRef vec) { return reduce(e, vec, combine_max); }

LLVMValueRef emit_channels_or(Emitter *e, LLVMValueRef v, LLVMValueRef cb, int64_t channels, double otherwise) {
    if (channels % e->V == 0) return v;
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, channels), emit_mul_int(e, cb, e->V), "");
    LLVMValueRef limit = emit_index_splat(e, left);
    LLVMValueRef inside = LLVMBuildICmp(e->b, LLVMIntSLT, emit_lanes(e), limit, "");
    return LLVMBuildSelect(e->b, inside, v, emit_vec(e, otherwise), "masked");
}

LLVMValueRef emit_mask_channels(Emitter *e, LLVMValueRef v, LLVMValueRef cb, int64_t channels) {
    return emit_channels_or(e, v, cb, channels, 0);
}

LLVMValueRef emit_count(Emitter *e, LLVMValueRef first, bool by_lane) {
    LLVMValueRef count = emit_index_splat(e, first);
    if (by_lane) count = LLVMBuildAdd(e->b, count, emit_lanes(e), "");
    return LLVMBuildSIToFP(e->b, count, e->vec, "");
}

LLVMValueRef emit_first_lane(Emitter *e, LLVMValueRef v) {
    LLVMValueRef first = LLVMBuildICmp(e->b, LLVMIntSLT, emit_lanes(e), emit_int_vec(e, 1), "");
    return LLVMBuildSelect(e->b, first, v, emit_vec(e, 0), "");
}
