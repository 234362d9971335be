/* Loops and guards as basic blocks. */
#include "codegen/emit/loop.h"
#include "codegen/emit/arith.h"
#include <llvm-c/DebugInfo.h>
#include <stdlib.h>

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
