/* Loops, with values carried around, and guards. */
#ifndef NETC_CODEGEN_EMIT_LOOP_H
#define NETC_CODEGEN_EMIT_LOOP_H
#include "codegen/emit/module.h"

enum { LOOP_MAX_CARRY = 128 }; /* two for each of the most regions that a value has */
/* for (iv = lo; iv < hi; iv += step) */
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
#endif
