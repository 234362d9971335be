/* The module, constants, arithmetic, memory and loops of emitted kernels: what emit.h promises, in terms of llvm-c.
 * LLVM's builder folds constants by itself; identities (x + 0, x * 1) are folded here, so that emitters can be written
 * without special cases for a single block or a stride of one. */
#include "codegen/emit/bf16.h"
#include <llvm-c/BitWriter.h>
#include <llvm-c/DebugInfo.h>
#include <stdlib.h>
#include <string.h>

/* ---- module and kernels ---- */

static LLVMMetadataRef no_unroll(LLVMContextRef context) {
    LLVMMetadataRef name = LLVMMDStringInContext2(context, "llvm.loop.unroll.disable", 24);
    return LLVMMDNodeInContext2(context, &name, 1);
}

static LLVMModuleRef new_module(Emitter *e, const char *name) {
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext(name, e->context);
    LLVMSetTarget(module, e->target->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(e->target->machine);
    LLVMSetModuleDataLayout(module, layout);
    LLVMDisposeTargetData(layout);
    return module;
}

Emitter *emitter_open(const Target *target, const char *name) {
    Emitter *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->target = target;
    e->V = target->lanes;
    e->context = LLVMContextCreate();
    e->module = new_module(e, name);
    e->b = LLVMCreateBuilderInContext(e->context);
    e->f32 = LLVMFloatTypeInContext(e->context);
    e->f64 = LLVMDoubleTypeInContext(e->context);
    e->i1 = LLVMInt1TypeInContext(e->context);
    e->i8 = LLVMInt8TypeInContext(e->context);
    e->i16 = LLVMInt16TypeInContext(e->context);
    e->i32 = LLVMInt32TypeInContext(e->context);
    e->i64 = LLVMInt64TypeInContext(e->context);
    e->ptr = LLVMPointerTypeInContext(e->context, 0);
    e->vec = LLVMVectorType(e->f32, (unsigned)e->V);
    e->ivec = LLVMVectorType(e->i32, (unsigned)e->V);
    LLVMTypeRef params[4] = {e->ptr, e->ptr, e->i64, e->ptr};
    e->kernel_type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), params, 4, false);
    e->loop_options = no_unroll(e->context);
    return e;
}

void emitter_close(Emitter *e) {
    if (!e) return;
    LLVMDisposeBuilder(e->b);
    LLVMDisposeModule(e->module);
    LLVMContextDispose(e->context);
    free(e->buffer);
    free(e->end);
    free(e->view);
    free(e);
}

LLVMMemoryBufferRef emitter_cut(Emitter *e) {
    LLVMMemoryBufferRef bitcode = LLVMWriteBitcodeToMemoryBuffer(e->module);
    LLVMDisposeModule(e->module);
    e->module = new_module(e, "kernel");
    return bitcode;
}

static void add_attribute(Emitter *e, LLVMAttributeIndex index, const char *key, const char *value) {
    LLVMAttributeRef a = LLVMCreateStringAttribute(e->context, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(e->fn, index, a);
}

static void add_enum_attribute(Emitter *e, LLVMAttributeIndex index, const char *name, uint64_t value) {
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(e->fn, index, LLVMCreateEnumAttribute(e->context, kind, value));
}

static void mark_invariant(Emitter *e, LLVMValueRef load) {
    LLVMMetadataRef empty = LLVMMDNodeInContext2(e->context, NULL, 0);
    LLVMSetMetadata(load, LLVMGetMDKindIDInContext(e->context, "invariant.load", 14), LLVMMetadataAsValue(e->context, empty));
}

/* The i-th of the addresses that the kernel is called with. */
static LLVMValueRef load_buffer(Emitter *e, uint32_t i) {
    LLVMValueRef index = emit_int(e, i);
    LLVMValueRef buffer = LLVMBuildLoad2(e->b, e->ptr, LLVMBuildInBoundsGEP2(e->b, e->ptr, e->bufs, &index, 1, ""), "buf");
    mark_invariant(e, buffer);
    return buffer;
}

static LLVMValueRef *room_for(LLVMValueRef *list, uint32_t count) {
    list = realloc(list, (count ? count : 1) * sizeof *list);
    if (!list) out_of_memory("no room for the values of a kernel");
    return list;
}

void emitter_begin_kernel(Emitter *e, const char *name, uint32_t nbuffers) {
    e->fn = LLVMAddFunction(e->module, name, e->kernel_type);
    const LLVMAttributeIndex whole = (LLVMAttributeIndex)LLVMAttributeFunctionIndex;
    add_enum_attribute(e, whole, "nounwind", 0);
    LLVMSetVisibility(e->fn, LLVMHiddenVisibility);
    LLVMSetAlignment(e->fn, 64); /* where the code lies in memory then does not depend on what lies before it */
    add_attribute(e, whole, "target-cpu", e->target->cpu);
    add_attribute(e, whole, "target-features", e->target->features);
    const char *width = e->target->vectors->tuning;
    if (width) { /* CPUs whose tuning prefers 256 bits still have the wider registers that the layout is made for */
        add_attribute(e, whole, "prefer-vector-width", width);
        add_attribute(e, whole, "min-legal-vector-width", width);
    }
    for (LLVMAttributeIndex i = 1; i <= 4; i++)
        if (i != 3) add_enum_attribute(e, i, "noalias", 0);
    e->bufs = LLVMGetParam(e->fn, 0);
    e->env = LLVMGetParam(e->fn, 1);
    e->piece = LLVMGetParam(e->fn, 2);
    e->scratch = LLVMGetParam(e->fn, 3);
    LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->context, e->fn, "entry"));
    e->buffer = room_for(e->buffer, nbuffers);
    e->nbuffers = nbuffers;
    e->nviews = 0;
    for (uint32_t i = 0; i < nbuffers; i++) e->buffer[i] = load_buffer(e, i);
    if (!e->check_bounds) return;
    e->end = room_for(e->end, nbuffers);
    for (uint32_t i = 0; i < nbuffers; i++) e->end[i] = load_buffer(e, nbuffers + i);
}

/* Streaming stores are not ordered before the release that tells other threads the piece is done: a fence makes them so. */
static void fence_stores(Emitter *e) {
    const char *name = e->target->vectors->store_fence;
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef fence = LLVMGetIntrinsicDeclaration(e->module, id, NULL, 0);
    LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->context, id, NULL, 0), fence, NULL, 0, "");
    e->streams = false;
}

void emitter_end_kernel(Emitter *e, const char *name, uint64_t scratch_bytes) {
    if (e->streams) fence_stores(e);
    LLVMBuildRetVoid(e->b);
    if (e->check_bounds) emit_bounds_checks(e, name, scratch_bytes);
    e->fn = e->bufs = e->env = e->piece = e->scratch = NULL;
    e->nbuffers = e->nviews = 0;
}

/* ---- constants and arithmetic ---- */

LLVMValueRef emit_int(Emitter *e, int64_t value) { return LLVMConstInt(e->i64, (uint64_t)value, true); }
LLVMValueRef emit_float(Emitter *e, double value) { return LLVMConstReal(e->f32, value); }

static LLVMValueRef splat(Emitter *e, LLVMTypeRef vector, LLVMValueRef scalar) {
    LLVMValueRef one = LLVMBuildInsertElement(e->b, LLVMGetPoison(vector), scalar, LLVMConstInt(e->i32, 0, false), "");
    return LLVMBuildShuffleVector(e->b, one, LLVMGetPoison(vector), LLVMConstNull(e->ivec), "splat");
}
LLVMValueRef emit_splat(Emitter *e, LLVMValueRef scalar) { return splat(e, e->vec, scalar); }
LLVMValueRef emit_int_splat(Emitter *e, LLVMValueRef scalar) { return splat(e, e->ivec, scalar); }

enum { MAX_LANES = 16 };

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

/* An index is a variable part and a constant. The constant is kept outermost, so that indices that differ by constants alone
 * share their variable part, and an address is a register and a displacement. LLVM would find that out in loop strength
 * reduction, which took a third of the compile time. */
typedef struct Index {
    LLVMValueRef variable; /* NULL: none */
    int64_t constant;
} Index;

static Index index_of(LLVMValueRef v) {
    if (LLVMIsAConstantInt(v)) return (Index){NULL, LLVMConstIntGetSExtValue(v)};
    if (!LLVMIsAInstruction(v) || LLVMGetInstructionOpcode(v) != LLVMAdd) return (Index){v, 0};
    LLVMValueRef by = LLVMGetOperand(v, 1);
    return LLVMIsAConstantInt(by) ? (Index){LLVMGetOperand(v, 0), LLVMConstIntGetSExtValue(by)} : (Index){v, 0};
}

static LLVMValueRef index_value(Emitter *e, Index i) {
    if (!i.variable) return emit_int(e, i.constant);
    return i.constant ? LLVMBuildNSWAdd(e->b, i.variable, emit_int(e, i.constant), "") : i.variable;
}

LLVMValueRef emit_add_int(Emitter *e, LLVMValueRef a, LLVMValueRef b) {
    if (is_int(a, 0)) return b;
    if (is_int(b, 0)) return a;
    Index x = index_of(a), y = index_of(b);
    if (x.variable && y.variable) x.variable = LLVMBuildNSWAdd(e->b, x.variable, y.variable, "");
    if (!x.variable) x.variable = y.variable;
    x.constant += y.constant;
    return index_value(e, x);
}

LLVMValueRef emit_mul_int(Emitter *e, LLVMValueRef a, int64_t b) {
    if (b == 1) return a;
    if (b == 0) return emit_int(e, 0);
    Index x = index_of(a);
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
LLVMValueRef emit_reduce_add(Emitter *e, LLVMValueRef vec) { return reduce(e, vec, combine_add); }
LLVMValueRef emit_reduce_max(Emitter *e, LLVMValueRef vec) { return reduce(e, vec, combine_max); }

/* ---- memory ---- */

LLVMValueRef emit_buffer(Emitter *e, uint32_t i) {
    if (i >= e->nbuffers) abort(); /* the emitter asked for a buffer that kernel_begin was not told of */
    return e->buffer[i];
}

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
    Index i = index_of(element);
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
    if (!e->target->vectors->store_fence) return;
    LLVMMetadataRef one = LLVMValueAsMetadata(LLVMConstInt(e->i32, 1, false));
    LLVMValueRef hint = LLVMMetadataAsValue(e->context, LLVMMDNodeInContext2(e->context, &one, 1));
    LLVMSetMetadata(store, LLVMGetMDKindIDInContext(e->context, "nontemporal", 11), hint);
    e->streams = true;
}

void emit_store_scalar(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    bool bf16 = holds_bf16(e, base);
    LLVMSetAlignment(LLVMBuildStore(e->b, bf16 ? bf16_round(e, value) : value, emit_address(e, base, element)), bf16 ? 2 : 4);
}

LLVMValueRef emit_mask_channels(Emitter *e, LLVMValueRef v, LLVMValueRef cb, int64_t channels) {
    if (channels % e->V == 0) return v;
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, channels), emit_mul_int(e, cb, e->V), "");
    LLVMValueRef limit = emit_int_splat(e, LLVMBuildTrunc(e->b, left, e->i32, ""));
    LLVMValueRef inside = LLVMBuildICmp(e->b, LLVMIntSLT, emit_lanes(e), limit, "");
    return LLVMBuildSelect(e->b, inside, v, LLVMConstNull(e->vec), "masked");
}

void emit_prefetch(Emitter *e, LLVMValueRef base, LLVMValueRef element, int locality) {
    LLVMValueRef args[4] = {emit_address(e, base, element), LLVMConstInt(e->i32, 0, false),
                            LLVMConstInt(e->i32, (uint64_t)locality, false), LLVMConstInt(e->i32, 1, false)};
    emit_intrinsic(e, "llvm.prefetch", e->ptr, args, 4);
}

static LLVMValueRef load_env(Emitter *e, LLVMTypeRef type, size_t offset) {
    LLVMValueRef index = emit_int(e, (int64_t)offset);
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, LLVMBuildInBoundsGEP2(e->b, e->i8, e->env, &index, 1, ""), "env");
    mark_invariant(e, v);
    return v;
}
LLVMValueRef emit_env_f32(Emitter *e, size_t offset) { return load_env(e, e->f32, offset); }
LLVMValueRef emit_env_i64(Emitter *e, size_t offset) { return load_env(e, e->i64, offset); }

/* ---- loops ---- */

static LLVMBasicBlockRef new_block(Emitter *e, const char *name) {
    return LLVMAppendBasicBlockInContext(e->context, e->fn, name);
}

Loop loop_begin(Emitter *e, LLVMValueRef lo, LLVMValueRef hi, int64_t step, int ncarry, const LLVMValueRef *initial) {
    if (ncarry > LOOP_MAX_CARRY) abort();
    Loop loop = {.hi = hi, .step = step, .ncarry = ncarry};
    bool constant = LLVMIsAConstantInt(lo) && LLVMIsAConstantInt(hi), runs = false;
    if (constant) {
        int64_t a = LLVMConstIntGetSExtValue(lo), z = LLVMConstIntGetSExtValue(hi);
        runs = a < z;
        if (runs && a + step >= z) { /* once: straight-line code, body stays NULL */
            loop.iv = lo;
            for (int i = 0; i < ncarry; i++) loop.carry[i] = initial[i];
            return loop;
        }
    }
    loop.entry = LLVMGetInsertBlock(e->b);
    loop.body = new_block(e, "loop");
    loop.done = new_block(e, "done");
    if (runs) {
        LLVMBuildBr(e->b, loop.body);
    } else {
        LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, lo, hi, ""), loop.body, loop.done);
    }
    LLVMPositionBuilderAtEnd(e->b, loop.done);
    for (int i = 0; i < ncarry; i++) {
        loop.phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(initial[i]), "");
        LLVMValueRef value = initial[i];
        if (!runs) LLVMAddIncoming(loop.phi[i], &value, &loop.entry, 1);
    }
    LLVMPositionBuilderAtEnd(e->b, loop.body);
    loop.iv = LLVMBuildPhi(e->b, e->i64, "i");
    LLVMAddIncoming(loop.iv, &lo, &loop.entry, 1);
    for (int i = 0; i < ncarry; i++) {
        LLVMValueRef value = initial[i];
        loop.carry[i] = LLVMBuildPhi(e->b, LLVMTypeOf(value), "");
        LLVMAddIncoming(loop.carry[i], &value, &loop.entry, 1);
    }
    return loop;
}

/* A latch's metadata is a node whose first operand is itself. */
static void mark_latch(Emitter *e, LLVMValueRef branch) {
    LLVMMetadataRef placeholder = LLVMTemporaryMDNode(e->context, NULL, 0);
    LLVMMetadataRef operands[2] = {placeholder, e->loop_options};
    LLVMMetadataRef node = LLVMMDNodeInContext2(e->context, operands, 2);
    LLVMMetadataReplaceAllUsesWith(placeholder, node);
    LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(e->context, "llvm.loop", 9), LLVMMetadataAsValue(e->context, node));
}

void loop_end(Emitter *e, Loop *loop, const LLVMValueRef *next) {
    if (!loop->body) {
        for (int i = 0; i < loop->ncarry; i++) loop->carry[i] = next[i];
        return;
    }
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
    LLVMValueRef iv = LLVMBuildNSWAdd(e->b, loop->iv, emit_int(e, loop->step), "");
    LLVMValueRef again = LLVMBuildICmp(e->b, LLVMIntSLT, iv, loop->hi, "");
    mark_latch(e, LLVMBuildCondBr(e->b, again, loop->body, loop->done));
    LLVMAddIncoming(loop->iv, &iv, &latch, 1);
    for (int i = 0; i < loop->ncarry; i++) {
        LLVMValueRef value = next[i];
        LLVMAddIncoming(loop->carry[i], &value, &latch, 1);
        LLVMAddIncoming(loop->phi[i], &value, &latch, 1);
        loop->carry[i] = loop->phi[i];
    }
    LLVMPositionBuilderAtEnd(e->b, loop->done);
    LLVMMoveBasicBlockAfter(loop->done, latch);
}

Guard guard_begin(Emitter *e, LLVMValueRef condition) {
    LLVMBasicBlockRef yes = new_block(e, "if");
    Guard guard = {.done = new_block(e, "endif")};
    LLVMBuildCondBr(e->b, condition, yes, guard.done);
    LLVMPositionBuilderAtEnd(e->b, yes);
    return guard;
}

void guard_end(Emitter *e, Guard *guard) {
    LLVMMoveBasicBlockAfter(guard->done, LLVMGetInsertBlock(e->b));
    LLVMBuildBr(e->b, guard->done);
    LLVMPositionBuilderAtEnd(e->b, guard->done);
}
