/* A module of kernels, and the kernel being emitted. Every kernel has the signature RtKernel (runtime/abi.h). */
#ifndef NETC_CODEGEN_EMIT_MODULE_H
#define NETC_CODEGEN_EMIT_MODULE_H
#include "codegen/codegen.h"
#include "codegen/target/target.h"
#include <llvm-c/Core.h>

typedef struct Emitter {
    const Target *target;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef b;
    LLVMTypeRef f32, f64, i1, i8, i16, i32, i64, ptr, vec /* <V x float> */, ivec /* <V x i32> */, kernel_type;
    int V;
    LLVMMetadataRef loop_options; /* "do not unroll", a property of every loop */
    /* the kernel being emitted */
    LLVMValueRef fn, bufs, env, piece, scratch;
    LLVMValueRef *buffer;     /* of every ref, loaded at the entry */
    struct ElementView *view; /* bases whose elements are not what the address that they come from says */
    uint32_t nviews, view_capacity;
    GemmUse gemm;                  /* of the kernel being emitted */
    bool openblas;                 /* does products (product.h); else they are generated */
    bool past_caches;              /* what emit_store_stream does: the step's data exceed what the last cache keeps */
    bool streams;                  /* it holds such stores */
    int64_t tile_rows, tile_words; /* of AMX's A, as amx_begin shaped it (amx.h) */
    LLVMValueRef *end;             /* of every buffer, if accesses are checked (bounds.h); else NULL */
    bool check_bounds;
    uint32_t nbuffers;
} Emitter;

/* A module for `target`, in a context of its own. The target must outlive it. */
Emitter *emitter_open(const Target *target, const char *name);
void emitter_close(Emitter *e);
/* The module so far as bitcode, which is the caller's; an empty one takes its place. */
LLVMMemoryBufferRef emitter_take_bitcode(Emitter *e);
/* Opens a function of RtKernel's type and loads its buffers; the builder stands at its entry. */
void emitter_begin_kernel(Emitter *e, const char *name, uint32_t nbuffers);
void emitter_end_kernel(Emitter *e);
/* The address of refs[i], loaded once at the kernel's entry; 64-byte aligned but for the two metrics. Two buffers may be the
 * same memory where a map updates in place, so nothing is said about aliasing. */
LLVMValueRef emit_buffer(Emitter *e, uint32_t i);
/* A call of an intrinsic that is overloaded on nothing: emit_fixed_intrinsic(e, "llvm.x86.tilerelease", NULL, 0). */
LLVMValueRef emit_fixed_intrinsic(Emitter *e, const char *name, LLVMValueRef *args, unsigned nargs);
/* One element of RtStepEnv: emit_env_f32(e, offsetof(RtStepEnv, lr)). */
LLVMValueRef emit_env_f32(Emitter *e, size_t offset);
LLVMValueRef emit_env_i64(Emitter *e, size_t offset);
#endif
