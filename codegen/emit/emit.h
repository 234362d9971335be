/* Loop nests and vector code on top of llvm-c: the vocabulary all kernel emitters share.
 *
 * Every kernel has the signature RtKernel (runtime/abi.h). Vectors are <V x float>, V = target->lanes, lanes along channels.
 * Index arithmetic is i64 in units of elements. No fast-math flags but `contract`, and reassociation only where an
 * emitter fixes the shape of the sum itself: the same graph gives the same bits.
 *
 * An element is an f32, or in feature maps under --precision=bf16 a bf16, which loads widen and stores round to nearest even. It
 * is a property of the buffer, which every address derived from it by emit_address inherits, so that emitters need not care.
 */
#ifndef NETC_CODEGEN_EMIT_H
#define NETC_CODEGEN_EMIT_H
#include "codegen/codegen.h"
#include "codegen/target/target.h"
#include "ir/ir.h"
#include "runtime/abi.h"
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
    GemmUse gemm;      /* of the kernel being emitted */
    bool no_openblas;  /* products are generated (gemm.h) */
    bool streams;      /* it holds emit_store_stream */
    LLVMValueRef *end; /* of every buffer, if accesses are checked (bounds.c); else NULL */
    bool check_bounds;
    uint32_t nbuffers;
} Emitter;

/* A module for `target`, in a context of its own. The target must outlive it. */
Emitter *emitter_open(const Target *target, const char *name);
void emitter_close(Emitter *e);
/* The module so far as bitcode, which is the caller's; an empty one takes its place. */
LLVMMemoryBufferRef emitter_cut(Emitter *e);
/* Opens a function of RtKernel's type and loads its buffers; the builder stands at its entry. */
void emitter_begin_kernel(Emitter *e, const char *name, uint32_t nbuffers);
/* name, scratch_bytes: for those who check_bounds. */
void emitter_end_kernel(Emitter *e, const char *name, uint64_t scratch_bytes);
/* Before every load and store of the open kernel a call of rt_check_access (bounds.c). */
void emit_bounds_checks(Emitter *e, const char *name, uint64_t scratch_bytes);

/* ---- constants and arithmetic (all fold constants) ---- */
LLVMValueRef emit_int(Emitter *e, int64_t value);         /* i64 */
LLVMValueRef emit_float(Emitter *e, double value);        /* f32 scalar */
LLVMValueRef emit_splat(Emitter *e, LLVMValueRef scalar); /* f32 -> vec */
LLVMValueRef emit_vec(Emitter *e, double value);          /* constant vec */
LLVMValueRef emit_add_int(Emitter *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_mul_int(Emitter *e, LLVMValueRef a, int64_t b);
/* base + index * stride; base may be NULL. */
LLVMValueRef emit_offset(Emitter *e, LLVMValueRef index, int64_t stride, LLVMValueRef base);
/* a * b + c: llvm.fma where that is fast, else llvm.fmuladd. */
LLVMValueRef emit_fma(Emitter *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
static inline LLVMValueRef emit_add(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFAdd(e->b, a, b, ""); }
static inline LLVMValueRef emit_sub(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFSub(e->b, a, b, ""); }
LLVMValueRef emit_reduce_add(Emitter *e, LLVMValueRef vec); /* lanes to one f32, a fixed tree */
LLVMValueRef emit_reduce_max(Emitter *e, LLVMValueRef vec); /* lanes to one f32 by llvm.maxnum */
/* FAdd, FSub, FMul or FDiv with the `contract` flag, on scalars or vectors. */
LLVMValueRef emit_arith(Emitter *e, LLVMOpcode op, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_max(Emitter *e, LLVMValueRef a, LLVMValueRef b); /* a > b ? a : b */
/* A call of an intrinsic overloaded on `type`: emit_intrinsic(e, "llvm.sqrt", e->vec, &x, 1). */
LLVMValueRef emit_intrinsic(Emitter *e, const char *name, LLVMTypeRef type, LLVMValueRef *args, unsigned nargs);
LLVMValueRef emit_int_splat(Emitter *e, LLVMValueRef scalar); /* i32 -> <V x i32> */
LLVMValueRef emit_int_vec(Emitter *e, int64_t value);         /* constant <V x i32> */
LLVMValueRef emit_lanes(Emitter *e);                          /* <0, 1, ... V-1> */
LLVMValueRef emit_min_int(Emitter *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_max_int(Emitter *e, LLVMValueRef a, LLVMValueRef b);
/* Functions on vectors by polynomials of our own: the same bits on every machine with fused multiply-add, within 2 ulp,
 * right for zeros, denormals, infinities and NaN. */
LLVMValueRef emit_exp(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_log(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_tanh(Emitter *e, LLVMValueRef x);
LLVMValueRef emit_sigmoid(Emitter *e, LLVMValueRef x);

/* ---- memory ---- */
/* The address of refs[i], loaded once at the kernel's entry; 64-byte aligned but for the two metrics. Two buffers may be the
 * same memory where a map updates in place, so nothing is said about aliasing. */
LLVMValueRef emit_buffer(Emitter *e, uint32_t i);
LLVMValueRef emit_address(Emitter *e, LLVMValueRef base, LLVMValueRef element); /* &base[element] */
/* The same address with other elements: bf16, or f32 (that is, 32-bit words). */
LLVMValueRef emit_view(Emitter *e, LLVMValueRef base, bool bf16);
/* Says that a buffer's elements are bf16. */
void emit_declare_bf16(Emitter *e, LLVMValueRef buffer);
/* A vector; the element must be a multiple of V. */
LLVMValueRef emit_load(Emitter *e, LLVMValueRef base, LLVMValueRef element);
LLVMValueRef emit_load_scalar(Emitter *e, LLVMValueRef base, LLVMValueRef element);
LLVMValueRef emit_load_splat(Emitter *e, LLVMValueRef base, LLVMValueRef element); /* broadcast load */
/* base[element + lane * plane] in lanes 0 to count - 1, behind them zeros: a pixel's channels out of planes. */
LLVMValueRef emit_load_planes(Emitter *e, LLVMValueRef base, LLVMValueRef element, int64_t plane, int64_t count);
void emit_store(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
/* The same past the caches, for feature maps larger than they are: it saves reading the line first. The kernel then ends with a
 * store fence. An ordinary store where the target has no such instruction for whole lines. */
void emit_store_stream(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
void emit_store_scalar(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
/* V doubles: from and to f32 lanes, a constant, and in buffers of f64, elements counting doubles there (wide.c). */
LLVMValueRef emit_widen(Emitter *e, LLVMValueRef vec);
LLVMValueRef emit_narrow(Emitter *e, LLVMValueRef wide);
LLVMValueRef emit_wide_vec(Emitter *e, double value);
LLVMValueRef emit_load_wide(Emitter *e, LLVMValueRef base, LLVMValueRef element);
void emit_store_wide(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element);
/* Vec with the lanes of channel block `cb` (i64) that lie beyond `channels` set to zero; v itself if channels % V == 0. */
LLVMValueRef emit_mask_channels(Emitter *e, LLVMValueRef v, LLVMValueRef cb, int64_t channels);
void emit_prefetch(Emitter *e, LLVMValueRef base, LLVMValueRef element, int locality);
/* One element of RtStepEnv: emit_env_f32(e, offsetof(RtStepEnv, lr)). */
LLVMValueRef emit_env_f32(Emitter *e, size_t offset);
LLVMValueRef emit_env_i64(Emitter *e, size_t offset);

/* ---- loops: for (iv = lo; iv < hi; iv += step), with values carried around ---- */
enum { LOOP_MAX_CARRY = 64 };
typedef struct Loop {
    LLVMValueRef iv;                    /* i64 */
    LLVMValueRef carry[LOOP_MAX_CARRY]; /* in the body: the current values; after loop_end: the final ones */
    /* private */
    LLVMValueRef hi, phi[LOOP_MAX_CARRY];
    LLVMBasicBlockRef body, done, entry;
    int64_t step;
    int ncarry;
} Loop;
/* A loop that runs at least once when lo < hi is known at emission (constants), otherwise is guarded. A constant trip count
 * of one emits no loop. LLVM's own unroller and vectoriser are kept out of it (llvm.loop.unroll.disable). */
Loop loop_begin(Emitter *e, LLVMValueRef lo, LLVMValueRef hi, int64_t step, int ncarry, const LLVMValueRef *initial);
void loop_end(Emitter *e, Loop *loop, const LLVMValueRef *next);
/* if (condition) { … } without else. */
typedef struct Guard {
    LLVMBasicBlockRef done;
} Guard;
Guard guard_begin(Emitter *e, LLVMValueRef condition);
void guard_end(Emitter *e, Guard *guard);

/* ---- Exprs ---- */
/* Where an element of the iteration space lies: gives each X_ARG its value. */
typedef struct ElementSite {
    LLVMValueRef n, cb, pixel; /* i64: image, channel block, y*W + x (pixel NULL for rank <= 2; n NULL for rank 1) */
    int64_t channel_blocks;    /* of the iteration space */
    int64_t pixels;            /* H*W of the iteration space */
    const Type *arg_type;      /* logical type of each argument of the value (arg_type[i] of args[i]) */
    LLVMValueRef *arg_base;    /* buffer of each argument; may be NULL for unused ones */
    LLVMValueRef *preloaded;   /* per argument: a vec hoisted by the caller (per-channel operands), or NULL */
    LLVMValueRef acc, out;     /* X_ACC, X_OUT; may be NULL */
} ElementSite;
/* The Expr at one vector of channels. */
LLVMValueRef emit_expr(Emitter *e, const Expr *expr, const ElementSite *site);
/* Fills preloaded[] for every argument of the Expr whose value does not depend on the pixel. */
void emit_preload(Emitter *e, const Expr *expr, ElementSite *site, uint32_t nargs);
#endif
