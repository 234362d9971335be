/* Vectors of doubles: V lanes as the f32 vectors have, for the few sums in which f32 would cancel. LLVM splits them into
 * registers. Rows of them stand in buffers of f64; an element is a double then. */
#include "codegen/emit/f64.h"

static LLVMTypeRef wide_type(Emitter *e) { return LLVMVectorType(e->f64, (unsigned)e->V); }

LLVMValueRef emit_widen(Emitter *e, LLVMValueRef v) { return LLVMBuildFPExt(e->b, v, wide_type(e), ""); }
LLVMValueRef emit_narrow(Emitter *e, LLVMValueRef v) { return LLVMBuildFPTrunc(e->b, v, e->vec, ""); }

LLVMValueRef emit_wide_vec(Emitter *e, double value) {
    LLVMValueRef lane[MAX_LANES];
    for (int i = 0; i < e->V; i++) lane[i] = LLVMConstReal(e->f64, value);
    return LLVMConstVector(lane, (unsigned)e->V);
}

static LLVMValueRef wide_address(Emitter *e, LLVMValueRef base, LLVMValueRef element) {
    return LLVMBuildGEP2(e->b, e->f64, base, &element, 1, "");
}

/* Where f32 sums stand in front of them, rows of doubles start at a multiple of an f32 vector only. */
static void align(Emitter *e, LLVMValueRef access) { LLVMSetAlignment(access, 4 * (unsigned)e->V); }

LLVMValueRef emit_load_wide(Emitter *e, LLVMValueRef base, LLVMValueRef element) {
    LLVMValueRef v = LLVMBuildLoad2(e->b, wide_type(e), wide_address(e, base, element), "");
    align(e, v);
    return v;
}

void emit_store_wide(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    align(e, LLVMBuildStore(e->b, value, wide_address(e, base, element)));
}
