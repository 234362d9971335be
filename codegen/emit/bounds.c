/* --check-bounds: a call of rt_check_access before every access of a kernel, which knows the buffer that the address comes from.
 *
 * The finished function is walked instruction by instruction, so that no emitter can forget to ask. Every address leads back, by
 * address arithmetic and selects, to a buffer or to the scratch. A buffer's end is the address that follows the buffers'
 * beginnings in the kernel's first parameter, as many places behind. */
#include "codegen/emit/bounds.h"
#include "codegen/emit/amx.h"
#include "codegen/emit/arith.h"
#include <stdlib.h>
#include <string.h>

typedef struct Extent {
    LLVMValueRef first, end, buffer; /* buffer: its number, i32; -1: the scratch. first NULL: not checked */
} Extent;

typedef struct Checks {
    Emitter *e;
    LLVMValueRef scratch_end, name;
    struct Seen {
        LLVMValueRef select;
        Extent extent;
    } *seen; /* selects that have an extent */
    uint32_t nseen;
} Checks;

static LLVMValueRef int32(Emitter *e, int64_t value) { return LLVMConstInt(e->i32, (uint64_t)value, true); }

static Extent extent_of(Checks *c, LLVMValueRef address);

/* A buffer or another, as the address is. */
static Extent extent_of_select(Checks *c, LLVMValueRef select) {
    LLVMBuilderRef b = c->e->b;
    for (uint32_t i = 0; i < c->nseen; i++)
        if (c->seen[i].select == select) return c->seen[i].extent;
    Extent yes = extent_of(c, LLVMGetOperand(select, 1)), no = extent_of(c, LLVMGetOperand(select, 2));
    LLVMValueRef condition = LLVMGetOperand(select, 0);
    LLVMPositionBuilderBefore(b, select);
    Extent either = {LLVMBuildSelect(b, condition, yes.first, no.first, ""), LLVMBuildSelect(b, condition, yes.end, no.end, ""),
                     LLVMBuildSelect(b, condition, yes.buffer, no.buffer, "")};
    struct Seen *grown = realloc(c->seen, (c->nseen + 1) * sizeof *grown);
    if (!grown) out_of_memory("no room for the bounds of a kernel");
    c->seen = grown;
    c->seen[c->nseen++] = (struct Seen){select, either};
    return either;
}

static Extent extent_of(Checks *c, LLVMValueRef address) {
    Emitter *e = c->e;
    while (LLVMIsAGetElementPtrInst(address)) address = LLVMGetOperand(address, 0);
    if (address == e->bufs || address == e->env) return (Extent){0};
    if (address == e->scratch) return (Extent){e->scratch, c->scratch_end, int32(e, -1)};
    for (uint32_t i = 0; i < e->nbuffers; i++)
        if (address == e->buffer[i]) return (Extent){e->buffer[i], e->end[i], int32(e, i)};
    if (!LLVMIsASelectInst(address)) abort(); /* an address of a kind that no emitter had so far */
    return extent_of_select(c, address);
}

/* bytes: i64. */
static void check(Checks *c, LLVMValueRef access, LLVMValueRef address, LLVMValueRef bytes, bool store) {
    Emitter *e = c->e;
    Extent extent = extent_of(c, address);
    if (!extent.first) return;
    LLVMTypeRef params[7] = {e->ptr, e->i64, e->ptr, e->ptr, e->ptr, e->i32, e->i32};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), params, 7, false);
    LLVMValueRef fn = LLVMGetNamedFunction(e->module, "rt_check_access");
    if (!fn) fn = LLVMAddFunction(e->module, "rt_check_access", type);
    LLVMValueRef args[7] = {address, bytes, extent.first, extent.end, c->name, extent.buffer, int32(e, store)};
    LLVMPositionBuilderBefore(e->b, access);
    LLVMBuildCall2(e->b, type, fn, args, 7, "");
}

static LLVMValueRef bytes_of(Checks *c, LLVMTypeRef type) {
    LLVMTargetDataRef layout = LLVMGetModuleDataLayout(c->e->module);
    return emit_int(c->e, (int64_t)LLVMStoreSizeOfType(layout, type));
}

/* Of a masked access, whose mask is true up to some lane. */
static LLVMValueRef masked_bytes(Checks *c, LLVMValueRef call, LLVMValueRef mask) {
    Emitter *e = c->e;
    LLVMPositionBuilderBefore(e->b, call);
    LLVMTypeRef bits = LLVMIntTypeInContext(e->context, (unsigned)e->V);
    LLVMValueRef word = LLVMBuildBitCast(e->b, mask, bits, ""), lanes = emit_intrinsic(e, "llvm.ctpop", bits, &word, 1);
    return emit_mul_int(e, LLVMBuildZExt(e->b, lanes, e->i64, ""), sizeof(float));
}

/* A matrix of rows that lie `stride` floats apart. */
static void check_matrix(Checks *c, LLVMValueRef call, LLVMValueRef address, LLVMValueRef rows, LLVMValueRef columns,
                         LLVMValueRef stride, bool store) {
    Emitter *e = c->e;
    LLVMPositionBuilderBefore(e->b, call);
    LLVMValueRef zero = emit_int(e, 0), one = emit_int(e, 1);
    LLVMValueRef last = LLVMBuildMul(e->b, LLVMBuildSub(e->b, rows, one, ""), stride, "");
    LLVMValueRef floats = LLVMBuildAdd(e->b, last, columns, "");
    LLVMValueRef some = LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, rows, zero, ""),
                                     LLVMBuildICmp(e->b, LLVMIntSGT, columns, zero, ""), "");
    LLVMValueRef bytes = LLVMBuildMul(e->b, LLVMBuildSelect(e->b, some, floats, zero, ""), emit_int(e, sizeof(float)), "");
    check(c, call, address, bytes, store);
}

/* rt_sgemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) */
static void check_product(Checks *c, LLVMValueRef call) {
    LLVMValueRef arg[13];
    for (unsigned i = 0; i < 13; i++) arg[i] = LLVMGetOperand(call, i);
    bool transposed[2] = {LLVMConstIntGetZExtValue(arg[0]), LLVMConstIntGetZExtValue(arg[1])};
    LLVMValueRef m = arg[2], n = arg[3], k = arg[4];
    check_matrix(c, call, arg[6], transposed[0] ? k : m, transposed[0] ? m : k, arg[7], false);
    check_matrix(c, call, arg[8], transposed[1] ? n : k, transposed[1] ? k : n, arg[9], false);
    check_matrix(c, call, arg[11], m, n, arg[12], true);
}

/* A load or store of a tile: its number, the address, bytes from a row to the next. */
static void check_tile(Checks *c, LLVMValueRef call, bool store) {
    int64_t tile = LLVMConstIntGetSExtValue(LLVMGetOperand(call, 0)), stride = LLVMConstIntGetSExtValue(LLVMGetOperand(call, 2));
    check(c, call, LLVMGetOperand(call, 1), emit_int(c->e, amx_bytes(c->e, (int)tile, stride)), store);
}

static void check_call(Checks *c, LLVMValueRef call) {
    LLVMValueRef callee = LLVMGetCalledValue(call);
    if (LLVMIsAInlineAsm(callee)) return; /* its emitter loads what it reads too */
    size_t length;
    const char *name = LLVMGetValueName2(callee, &length);
    if (!strncmp(name, "llvm.masked.load", 16))
        check(c, call, LLVMGetOperand(call, 0), masked_bytes(c, call, LLVMGetOperand(call, 2)), false);
    else if (!strncmp(name, "llvm.masked.store", 17))
        check(c, call, LLVMGetOperand(call, 1), masked_bytes(c, call, LLVMGetOperand(call, 3)), true);
    else if (!strcmp(name, "rt_sgemm"))
        check_product(c, call);
    else if (!strcmp(name, "llvm.x86.ldtilecfg"))
        check(c, call, LLVMGetOperand(call, 0), emit_int(c->e, AMX_CONFIG_BYTES), false);
    else if (!strcmp(name, "llvm.x86.tileloadd64") || !strcmp(name, "llvm.x86.tilestored64"))
        check_tile(c, call, name[13] == 's');
    else if (strncmp(name, "llvm.prefetch", 13)) /* which may ask for what is not there */
        for (unsigned i = 0; i < LLVMGetNumArgOperands(call); i++)
            if (LLVMTypeOf(LLVMGetOperand(call, i)) == c->e->ptr) abort(); /* a function that nobody checks */
}

static void check_instruction(Checks *c, LLVMValueRef instruction) {
    switch (LLVMGetInstructionOpcode(instruction)) {
    case LLVMLoad: check(c, instruction, LLVMGetOperand(instruction, 0), bytes_of(c, LLVMTypeOf(instruction)), false); break;
    case LLVMStore:
        check(c, instruction, LLVMGetOperand(instruction, 1), bytes_of(c, LLVMTypeOf(LLVMGetOperand(instruction, 0))), true);
        break;
    case LLVMCall: check_call(c, instruction); break;
    default: break;
    }
}

void emit_bounds_checks(Emitter *e, const char *name, uint64_t scratch_bytes) {
    LLVMBasicBlockRef last = LLVMGetInsertBlock(e->b);
    LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(LLVMGetEntryBasicBlock(e->fn)));
    LLVMValueRef bytes = emit_int(e, (int64_t)scratch_bytes);
    Checks c = {.e = e,
                .name = LLVMBuildGlobalStringPtr(e->b, name, "kernel"),
                .scratch_end = LLVMBuildGEP2(e->b, e->i8, e->scratch, &bytes, 1, "scratch_end")};
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(e->fn); block; block = LLVMGetNextBasicBlock(block))
        for (LLVMValueRef next, i = LLVMGetFirstInstruction(block); i; i = next) {
            next = LLVMGetNextInstruction(i);
            check_instruction(&c, i);
        }
    free(c.seen);
    LLVMPositionBuilderAtEnd(e->b, last);
}
