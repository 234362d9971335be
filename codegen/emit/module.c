/* The module and the kernel: types, attributes, buffers and the step's environment, loaded as what never changes. */
#include "codegen/emit/module.h"
#include <llvm-c/BitWriter.h>
#include <stdlib.h>
#include <string.h>

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

LLVMMemoryBufferRef emitter_take_bitcode(Emitter *e) {
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
    LLVMValueRef index = LLVMConstInt(e->i64, i, false);
    LLVMValueRef buffer = LLVMBuildLoad2(e->b, e->ptr, LLVMBuildInBoundsGEP2(e->b, e->ptr, e->bufs, &index, 1, ""), "buf");
    mark_invariant(e, buffer);
    return buffer;
}

static LLVMValueRef *room_for(LLVMValueRef *list, uint32_t count) {
    LLVMValueRef *grown = realloc(list, (count ? count : 1) * sizeof *list);
    if (!grown) out_of_memory("no room for the values of a kernel");
    return grown;
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

LLVMValueRef emit_fixed_intrinsic(Emitter *e, const char *name, LLVMValueRef *args, unsigned nargs) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, NULL, 0);
    return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->context, id, NULL, 0), fn, args, nargs, "");
}

/* Streaming stores are not ordered before the release that tells other threads the piece is done: a fence makes them so. */
static void fence_stores(Emitter *e) {
    emit_fixed_intrinsic(e, e->target->vectors->store_fence, NULL, 0);
    e->streams = false;
}

void emitter_end_kernel(Emitter *e) {
    if (e->streams) fence_stores(e);
    LLVMBuildRetVoid(e->b);
    e->fn = e->bufs = e->env = e->piece = e->scratch = NULL;
    e->nbuffers = e->nviews = 0;
}

LLVMValueRef emit_buffer(Emitter *e, uint32_t i) {
    if (i >= e->nbuffers) abort(); /* the emitter asked for a buffer that kernel_begin was not told of */
    return e->buffer[i];
}

static LLVMValueRef load_env(Emitter *e, LLVMTypeRef type, size_t offset) {
    LLVMValueRef index = LLVMConstInt(e->i64, offset, false);
    LLVMValueRef v = LLVMBuildLoad2(e->b, type, LLVMBuildInBoundsGEP2(e->b, e->i8, e->env, &index, 1, ""), "env");
    mark_invariant(e, v);
    return v;
}
LLVMValueRef emit_env_f32(Emitter *e, size_t offset) { return load_env(e, e->f32, offset); }
LLVMValueRef emit_env_i64(Emitter *e, size_t offset) { return load_env(e, e->i64, offset); }
