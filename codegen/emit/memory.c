/* Loads and stores, and what elements an address leads to. */
#include "codegen/emit/memory.h"
#include "codegen/emit/arith.h"
#include "codegen/emit/bf16.h"
#include <stdlib.h>

struct ElementView {
    LLVMValueRef base;
    bool bf16;
};

static void add_view(Emitter *e, LLVMValueRef base, bool bf16) {
    if (e->nviews == e->view_capacity) {
        e->view_capacity = e->view_capacity ? 2 * e->view_capacity : 64;
        struct ElementView *view = realloc(e->view, e->view_capacity * sizeof *view);
        if (!view) out_of_memory("no room for the views of a kernel");
        e->view = view;
    }
    e->view[e->nviews++] = (struct ElementView){base, bf16};
}

void emit_declare_bf16(Emitter *e, LLVMValueRef buffer) { add_view(e, buffer, true); }

LLVMValueRef emit_view(Emitter *e, LLVMValueRef base, bool bf16) {
    LLVMValueRef zero = emit_int(e, 0), view = LLVMBuildInBoundsGEP2(e->b, e->i8, base, &zero, 1, "view");
    add_view(e, view, bf16);
    return view;
}

/* The elements at an address: those of the view that it leads back to. */
static bool holds_bf16(const Emitter *e, LLVMValueRef address) {
    if (!e->nviews) return false;
    for (;; address = LLVMGetOperand(address, 0)) {
        for (uint32_t i = 0; i < e->nviews; i++)
            if (e->view[i].base == address) return e->view[i].bf16;
        if (!LLVMIsAGetElementPtrInst(address)) return false;
    }
}

LLVMValueRef emit_address(Emitter *e, LLVMValueRef base, LLVMValueRef element) {
    EmitIndex i = emit_index(element);
    LLVMTypeRef type = holds_bf16(e, base) ? e->i16 : e->f32;
    LLVMValueRef constant = emit_int(e, i.constant);
    if (!i.variable) return i.constant ? LLVMBuildInBoundsGEP2(e->b, type, base, &constant, 1, "") : base;
    if (!i.constant) return LLVMBuildInBoundsGEP2(e->b, type, base, &i.variable, 1, "");
    LLVMValueRef variable = LLVMBuildGEP2(e->b, type, base, &i.variable, 1, ""); /* may lie outside of the buffer */
    return LLVMBuildGEP2(e->b, type, variable, &constant, 1, "");
}

LLVMValueRef emit_load(Emitter *e, LLVMValueRef base, LLVMValueRef element) {
    if (holds_bf16(e, base)) return bf16_load(e, LLVMVectorType(e->i16, (unsigned)e->V), emit_address(e, base, element));
    LLVMValueRef v = LLVMBuildLoad2(e->b, e->vec, emit_address(e, base, element), "");
    LLVMSetAlignment(v, 4 * (unsigned)e->V);
    return v;
}

LLVMValueRef emit_load_unaligned(Emitter *e, LLVMValueRef base, LLVMValueRef element) {
    LLVMValueRef v = LLVMBuildLoad2(e->b, e->vec, emit_address(e, base, element), "");
    LLVMSetAlignment(v, 4);
    return v;
}

void emit_store_unaligned(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    LLVMSetAlignment(LLVMBuildStore(e->b, value, emit_address(e, base, element)), 4);
}

LLVMValueRef emit_load_scalar(Emitter *e, LLVMValueRef base, LLVMValueRef element) {
    if (holds_bf16(e, base)) return bf16_load(e, e->i16, emit_address(e, base, element));
    LLVMValueRef v = LLVMBuildLoad2(e->b, e->f32, emit_address(e, base, element), "");
    LLVMSetAlignment(v, 4);
    return v;
}

LLVMValueRef emit_load_splat(Emitter *e, LLVMValueRef base, LLVMValueRef element) {
    return emit_splat(e, emit_load_scalar(e, base, element));
}

LLVMValueRef emit_load_planes(Emitter *e, LLVMValueRef base, LLVMValueRef element, int64_t plane, int64_t count) {
    LLVMValueRef vec = emit_vec(e, 0);
    for (int64_t lane = 0; lane < count; lane++) {
        LLVMValueRef value = emit_load_scalar(e, base, emit_add_int(e, element, emit_int(e, lane * plane)));
        vec = LLVMBuildInsertElement(e->b, vec, value, LLVMConstInt(e->i32, (uint64_t)lane, false), "");
    }
    return vec;
}

static LLVMValueRef store_vector(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    bool bf16 = holds_bf16(e, base);
    LLVMValueRef store = LLVMBuildStore(e->b, bf16 ? bf16_round(e, value) : value, emit_address(e, base, element));
    LLVMSetAlignment(store, (bf16 ? 2 : 4) * (unsigned)e->V);
    return store;
}

void emit_store(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    store_vector(e, value, base, element);
}

void emit_store_stream(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    LLVMValueRef store = store_vector(e, value, base, element);
    if (!e->past_caches || !e->target->vectors->store_fence) return;
    LLVMMetadataRef one = LLVMValueAsMetadata(LLVMConstInt(e->i32, 1, false));
    LLVMValueRef hint = LLVMMetadataAsValue(e->context, LLVMMDNodeInContext2(e->context, &one, 1));
    LLVMSetMetadata(store, LLVMGetMDKindIDInContext(e->context, "nontemporal", 11), hint);
    e->streams = true;
}

void emit_store_scalar(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    bool bf16 = holds_bf16(e, base);
    LLVMSetAlignment(LLVMBuildStore(e->b, bf16 ? bf16_round(e, value) : value, emit_address(e, base, element)), bf16 ? 2 : 4);
}

void emit_prefetch(Emitter *e, LLVMValueRef base, LLVMValueRef element, int locality) {
    LLVMValueRef args[4] = {emit_address(e, base, element), LLVMConstInt(e->i32, 0, false),
                            LLVMConstInt(e->i32, (uint64_t)locality, false), LLVMConstInt(e->i32, 1, false)};
    emit_intrinsic(e, "llvm.prefetch", e->ptr, args, 4);
}
