/* dropout_mask: Philox4x32-10 in vector code, one stream element per lane, counted by the logical index, so that the mask
 * does not depend on the layout and equals dropout_keeps (ir/eval.h) bit for bit. One piece is one image. */
#include "codegen/ops/ops.h"
#include <math.h>
#include <stddef.h>

typedef struct Lanes {
    Emitter *e;
    LLVMTypeRef i32, i64; /* vectors of V */
} Lanes;

static LLVMValueRef splat(const Lanes *v, LLVMTypeRef type, LLVMValueRef scalar) {
    LLVMValueRef zero = LLVMConstInt(v->e->i32, 0, 0);
    LLVMValueRef one = LLVMBuildInsertElement(v->e->b, LLVMGetUndef(type), scalar, zero, "");
    return LLVMBuildShuffleVector(v->e->b, one, LLVMGetUndef(type), LLVMConstNull(v->i32), "");
}

static LLVMValueRef constant32(const Lanes *v, uint32_t value) {
    LLVMValueRef lane[MAX_LANES];
    for (int i = 0; i < v->e->V; i++) lane[i] = LLVMConstInt(v->e->i32, value, 0);
    return LLVMConstVector(lane, (unsigned)v->e->V);
}

/* High and low words of a * m. */
static void multiply(const Lanes *v, LLVMValueRef a, uint32_t m, LLVMValueRef *high, LLVMValueRef *low) {
    LLVMBuilderRef b = v->e->b;
    LLVMValueRef factor = splat(v, v->i64, LLVMConstInt(v->e->i64, m, 0)),
                 half = splat(v, v->i64, LLVMConstInt(v->e->i64, 32, 0));
    LLVMValueRef product = LLVMBuildMul(b, LLVMBuildZExt(b, a, v->i64, ""), factor, "");
    *low = LLVMBuildTrunc(b, product, v->i32, "");
    *high = LLVMBuildTrunc(b, LLVMBuildLShr(b, product, half, ""), v->i32, "");
}

/* Word 0 of Philox4x32-10 (Salmon et al., 2011, section 3.3). */
static LLVMValueRef philox(const Lanes *v, LLVMValueRef c[4], LLVMValueRef key[2]) {
    LLVMBuilderRef b = v->e->b;
    for (int round = 0; round < 10; round++) {
        LLVMValueRef h0, l0, h1, l1;
        multiply(v, c[0], 0xD2511F53u, &h0, &l0);
        multiply(v, c[2], 0xCD9E8D57u, &h1, &l1);
        c[0] = LLVMBuildXor(b, LLVMBuildXor(b, h1, c[1], ""), key[0], "");
        c[2] = LLVMBuildXor(b, LLVMBuildXor(b, h0, c[3], ""), key[1], "");
        c[1] = l1;
        c[3] = l0;
        key[0] = LLVMBuildAdd(b, key[0], constant32(v, 0x9E3779B9u), "");
        key[1] = LLVMBuildAdd(b, key[1], constant32(v, 0xBB67AE85u), "");
    }
    return c[0];
}

static LLVMValueRef low_word(const Lanes *v, LLVMValueRef word64) {
    return splat(v, v->i32, LLVMBuildTrunc(v->e->b, word64, v->e->i32, ""));
}
static LLVMValueRef high_word(const Lanes *v, LLVMValueRef word64) {
    return low_word(v, LLVMBuildLShr(v->e->b, word64, emit_int(v->e, 32), ""));
}

/* Mask of the V elements whose logical indices are first, first + stride, first + 2*stride, … */
static LLVMValueRef mask_vector(const Lanes *v, const Value *value, LLVMValueRef first, int64_t stride) {
    Emitter *e = v->e;
    LLVMValueRef step[MAX_LANES];
    for (int i = 0; i < e->V; i++) step[i] = LLVMConstInt(e->i64, (uint64_t)(i * stride), 0);
    LLVMValueRef index = LLVMBuildAdd(e->b, splat(v, v->i64, first), LLVMConstVector(step, (unsigned)e->V), "");
    LLVMValueRef half = splat(v, v->i64, emit_int(e, 32));
    LLVMValueRef seed = emit_env_i64(e, offsetof(RtStepEnv, seed)), now = emit_env_i64(e, offsetof(RtStepEnv, step));
    LLVMValueRef counter[4] = {LLVMBuildTrunc(e->b, index, v->i32, ""),
                               LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, index, half, ""), v->i32, ""),
                               constant32(v, (uint32_t)value->attrs.dropout.stream), low_word(v, now)};
    LLVMValueRef key[2] = {low_word(v, seed), high_word(v, seed)};
    double rate = value->attrs.dropout.rate, threshold = ceil(ldexp(rate, 32)); /* word * 2^-32 >= rate, in integers */
    if (threshold > 4294967295.0) return emit_vec(e, 0);
    LLVMValueRef keep = LLVMBuildICmp(e->b, LLVMIntUGE, philox(v, counter, key), constant32(v, (uint32_t)threshold), "");
    return LLVMBuildSelect(e->b, keep, emit_vec(e, 1 / (1 - rate)), emit_vec(e, 0), "");
}

void lower_DROPOUT_MASK(Lowering *l, Val id) {
    const Value *value = &lowering_graph(l)->value[id];
    Emitter *e = lowering_emitter(l);
    Type t = value->type;
    if (t.rank == 0) t = type_matrix(1, 1); /* one number for all */
    int64_t C = t.dim[1], HW = t.rank == 4 ? t.dim[2] * t.dim[3] : 1, blocks = layout_pad(e->target, C) / e->V;
    Place places[] = {lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_MAP, "dropout_mask", value_key(l, id), 1, &kernel)) {
        Lanes v = {.e = e, .i32 = LLVMVectorType(e->i32, (unsigned)e->V), .i64 = LLVMVectorType(e->i64, (unsigned)e->V)};
        kernel_elements(l, 0, places, 1);
        LLVMValueRef target = emit_buffer(e, 0);
        Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, blocks), 1, 0, NULL);
        Loop pixel = loop_begin(e, emit_int(e, 0), emit_int(e, HW), 1, 0, NULL);
        LLVMValueRef image =
            value->type.rank ? LLVMBuildAdd(e->b, e->piece, emit_env_i64(e, offsetof(RtStepEnv, image)), "") : e->piece;
        LLVMValueRef channel = emit_offset(e, image, C, emit_mul_int(e, block.iv, e->V));
        LLVMValueRef mask = mask_vector(&v, value, emit_offset(e, channel, HW, pixel.iv), HW);
        LLVMValueRef plane = emit_offset(e, e->piece, blocks, block.iv);
        if (value->type.rank == 0)
            emit_store_scalar(e, LLVMBuildExtractElement(e->b, mask, LLVMConstInt(e->i32, 0, false), ""), target, emit_int(e, 0));
        else
            emit_store(e, emit_mask_channels(e, mask, block.iv, C), target,
                       emit_mul_int(e, emit_offset(e, plane, HW, pixel.iv), e->V));
        loop_end(e, &pixel, NULL);
        loop_end(e, &block, NULL);
        kernel_end(l, 0);
    }
    kernel_call(l, kernel, id, places, 1, t.dim[0], (KernelCost){0, 4 * (double)type_elements(t)});
}
