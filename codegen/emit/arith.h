/* Constants and arithmetic. All fold constants, and identities (x + 0, x * 1), so that emitters can be written without special
 * cases for a single block or a stride of one. */
#ifndef NETC_CODEGEN_EMIT_ARITH_H
#define NETC_CODEGEN_EMIT_ARITH_H
#include "codegen/emit/module.h"

LLVMValueRef emit_int(Emitter *e, int64_t value);         /* i64 */
LLVMValueRef emit_float(Emitter *e, double value);        /* f32 scalar */
LLVMValueRef emit_splat(Emitter *e, LLVMValueRef scalar); /* f32 -> vec */
LLVMValueRef emit_vec(Emitter *e, double value);          /* constant vec */
/* An index is a variable part and a constant. The constant is kept outermost, so that indices that differ by constants alone
 * share their variable part, and an address is a register and a displacement. LLVM would find that out in loop strength
 * reduction, which took a third of the compile time. */
typedef struct EmitIndex {
    LLVMValueRef variable; /* NULL: none */
    int64_t constant;
} EmitIndex;
EmitIndex emit_index(LLVMValueRef v);
LLVMValueRef emit_add_int(Emitter *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_mul_int(Emitter *e, LLVMValueRef a, int64_t b);
/* base + index * stride; base may be NULL. */
LLVMValueRef emit_offset(Emitter *e, LLVMValueRef index, int64_t stride, LLVMValueRef base);
/* a * b + c: llvm.fma where that is fast, else llvm.fmuladd. */
LLVMValueRef emit_fma(Emitter *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
static inline LLVMValueRef emit_add(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFAdd(e->b, a, b, ""); }
static inline LLVMValueRef emit_sub(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFSub(e->b, a, b, ""); }
LLVMValueRef emit_reduce_add(Emitter *e, LLVMValueRef vec);             /* lanes to one f32, a fixed tree */
LLVMValueRef emit_reduce_max(Emitter *e, LLVMValueRef vec);             /* lanes to one f32 by llvm.maxnum */
LLVMValueRef emit_greatest(Emitter *e, LLVMValueRef a, LLVMValueRef b); /* by lane; a NaN of either survives */
LLVMValueRef emit_reduce_greatest(Emitter *e, LLVMValueRef vec);        /* the greatest lane, likewise */
/* FAdd, FSub, FMul or FDiv with the `contract` flag, on scalars or vectors. */
LLVMValueRef emit_arith(Emitter *e, LLVMOpcode op, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_max(Emitter *e, LLVMValueRef a, LLVMValueRef b); /* a > b ? a : b */
/* A call of an intrinsic overloaded on `type`: emit_intrinsic(e, "llvm.sqrt", e->vec, &x, 1). */
LLVMValueRef emit_intrinsic(Emitter *e, const char *name, LLVMTypeRef type, LLVMValueRef *args, unsigned nargs);
LLVMValueRef emit_int_splat(Emitter *e, LLVMValueRef scalar);  /* i32 -> <V x i32> */
LLVMValueRef emit_index_splat(Emitter *e, LLVMValueRef index); /* i64 below 2^31 -> <V x i32> */
LLVMValueRef emit_int_vec(Emitter *e, int64_t value);          /* constant <V x i32> */
LLVMValueRef emit_lanes(Emitter *e);                           /* <0, 1, ... V-1> */
LLVMValueRef emit_min_int(Emitter *e, LLVMValueRef a, LLVMValueRef b);
LLVMValueRef emit_max_int(Emitter *e, LLVMValueRef a, LLVMValueRef b);
/* Vec with the lanes of channel block `cb` (i64) that lie beyond `channels` set to zero; v itself if channels % V == 0. */
LLVMValueRef emit_mask_channels(Emitter *e, LLVMValueRef v, LLVMValueRef cb, int64_t channels);
/* The same with a number in their place. */
LLVMValueRef emit_channels_or(Emitter *e, LLVMValueRef v, LLVMValueRef cb, int64_t channels, double otherwise);
/* The whole number `first` (i64) as a vec, in each lane, or counted on from lane to lane. */
LLVMValueRef emit_count(Emitter *e, LLVMValueRef first, bool by_lane);
/* The first lane, zero in the others: a value where channels went away. */
LLVMValueRef emit_first_lane(Emitter *e, LLVMValueRef v);
#endif
