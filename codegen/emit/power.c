/* a^b on vectors of floats, in double: a float's logarithm is needed to more bits than f32 has, since b multiplies its error.
 * |a|^b = 2^(b log2 |a|), with log2 from the series of atanh and 2^r from that of exp, both to 2^-40; then the cases of C's pow,
 * each a select. Within 1 ulp. */
#include "codegen/emit/arith.h"
#include "codegen/emit/f64.h"
#include "codegen/emit/math.h"

static LLVMTypeRef long_type(Emitter *e) { return LLVMVectorType(e->i64, (unsigned)e->V); }

static LLVMValueRef long_vec(Emitter *e, int64_t value) {
    LLVMValueRef lane[MAX_LANES];
    for (int i = 0; i < e->V; i++) lane[i] = emit_int(e, value);
    return LLVMConstVector(lane, (unsigned)e->V);
}

static LLVMValueRef choose(Emitter *e, LLVMValueRef condition, LLVMValueRef yes, LLVMValueRef no) {
    return LLVMBuildSelect(e->b, condition, yes, no, "");
}

static LLVMValueRef wide_polynomial(Emitter *e, LLVMValueRef x, const double *c, int n) {
    LLVMValueRef sum = emit_wide_vec(e, c[0]);
    for (int i = 1; i < n; i++) sum = emit_fma(e, sum, x, emit_wide_vec(e, c[i]));
    return sum;
}

/* Of x > 0 and finite: x = 2^k m, m in [sqrt(1/2), sqrt(2)), log2 m = 2 / ln 2 atanh((m - 1) / (m + 1)). */
static LLVMValueRef wide_log2(Emitter *e, LLVMValueRef x) {
    static const double c[] = {1. / 15, 1. / 13, 1. / 11, 1. / 9, 1. / 7, 1. / 5, 1. / 3, 1};
    const int64_t half_root = 0x3fe6a09e667f3bcd; /* bits of sqrt(1/2) */
    LLVMTypeRef bits_type = long_type(e), wide = LLVMTypeOf(x);
    LLVMValueRef bits = LLVMBuildSub(e->b, LLVMBuildBitCast(e->b, x, bits_type, ""), long_vec(e, half_root), "");
    LLVMValueRef k = LLVMBuildTrunc(e->b, LLVMBuildAShr(e->b, bits, long_vec(e, 52), ""), e->ivec, "");
    LLVMValueRef mantissa = LLVMBuildAnd(e->b, bits, long_vec(e, (INT64_C(1) << 52) - 1), "");
    LLVMValueRef m = LLVMBuildBitCast(e->b, LLVMBuildAdd(e->b, mantissa, long_vec(e, half_root), ""), wide, "");
    LLVMValueRef one = emit_wide_vec(e, 1);
    LLVMValueRef f = LLVMBuildFDiv(e->b, LLVMBuildFSub(e->b, m, one, ""), LLVMBuildFAdd(e->b, m, one, ""), "");
    LLVMValueRef series = LLVMBuildFMul(e->b, wide_polynomial(e, LLVMBuildFMul(e->b, f, f, ""), c, 8), f, "");
    return emit_fma(e, series, emit_wide_vec(e, 2.8853900817779268), LLVMBuildSIToFP(e->b, k, wide, ""));
}

/* 2^t, of t beyond 160 what becomes infinity or zero as a float. */
static LLVMValueRef wide_exp2(Emitter *e, LLVMValueRef t) {
    static const double c[] = {1. / 3628800, 1. / 362880, 1. / 40320, 1. / 5040, 1. / 720, 1. / 120,
                               1. / 24,      1. / 6,      1. / 2,     1,         1};
    LLVMValueRef high = emit_wide_vec(e, 160), low = emit_wide_vec(e, -160), magic = emit_wide_vec(e, 0x1.8p52);
    t = choose(e, LLVMBuildFCmp(e->b, LLVMRealOGT, t, high, ""), high, t);
    t = choose(e, LLVMBuildFCmp(e->b, LLVMRealOLT, t, low, ""), low, t);
    LLVMValueRef shifted = LLVMBuildFAdd(e->b, t, magic, ""), n = LLVMBuildFSub(e->b, shifted, magic, "");
    LLVMValueRef r = LLVMBuildFMul(e->b, LLVMBuildFSub(e->b, t, n, ""), emit_wide_vec(e, 0.69314718055994531), "");
    LLVMValueRef k = LLVMBuildBitCast(e->b, shifted, long_type(e), ""); /* n in the low bits: a NaN's are whatever they are */
    LLVMValueRef exponent = LLVMBuildShl(e->b, LLVMBuildAdd(e->b, k, long_vec(e, 1023), ""), long_vec(e, 52), "");
    return LLVMBuildFMul(e->b, wide_polynomial(e, r, c, 11), LLVMBuildBitCast(e->b, exponent, LLVMTypeOf(t), ""), "");
}

/* b as an integer, as far as it is one: is it, and is it odd? From 2^24 on a float is an even integer. */
static LLVMValueRef is_integer(Emitter *e, LLVMValueRef b, LLVMValueRef *odd) {
    LLVMValueRef high = emit_vec(e, 0x1p24), low = emit_vec(e, -0x1p24), known = LLVMBuildFCmp(e->b, LLVMRealORD, b, b, "");
    b = choose(e, known, b, emit_vec(e, 0));
    b = choose(e, LLVMBuildFCmp(e->b, LLVMRealOGT, b, high, ""), high, b);
    b = choose(e, LLVMBuildFCmp(e->b, LLVMRealOLT, b, low, ""), low, b);
    LLVMValueRef k = LLVMBuildFPToSI(e->b, b, e->ivec, "");
    LLVMValueRef whole = LLVMBuildFCmp(e->b, LLVMRealOEQ, LLVMBuildSIToFP(e->b, k, e->vec, ""), b, "");
    LLVMValueRef last = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildAnd(e->b, k, emit_int_vec(e, 1), ""), emit_int_vec(e, 0), "");
    *odd = LLVMBuildAnd(e->b, whole, last, "");
    return whole;
}

static LLVMValueRef compare(Emitter *e, LLVMRealPredicate p, LLVMValueRef a, double b) {
    return LLVMBuildFCmp(e->b, p, a, emit_vec(e, b), "");
}

LLVMValueRef emit_pow(Emitter *e, LLVMValueRef a, LLVMValueRef b) {
    LLVMValueRef size = emit_intrinsic(e, "llvm.fabs", e->vec, &a, 1), odd, whole = is_integer(e, b, &odd);
    LLVMValueRef infinity = emit_wide_vec(e, __builtin_inf()), log = wide_log2(e, emit_widen(e, size));
    log = choose(e, compare(e, LLVMRealOEQ, size, 0), LLVMBuildFNeg(e->b, infinity, ""), log);
    log = choose(e, compare(e, LLVMRealOEQ, size, __builtin_inf()), infinity, log);
    log = choose(e, LLVMBuildFCmp(e->b, LLVMRealUNO, a, a, ""), emit_wide_vec(e, __builtin_nan("")), log);
    LLVMValueRef t = LLVMBuildFMul(e->b, emit_widen(e, b), log, "");
    LLVMValueRef unit = LLVMBuildAnd(e->b, compare(e, LLVMRealOEQ, size, 1), compare(e, LLVMRealORD, b, 0), "");
    t = choose(e, unit, emit_wide_vec(e, 0), t); /* of -1 to infinity too */
    LLVMValueRef y = emit_narrow(e, wide_exp2(e, t));
    LLVMValueRef minus = LLVMBuildICmp(e->b, LLVMIntSLT, LLVMBuildBitCast(e->b, a, e->ivec, ""), emit_int_vec(e, 0), "");
    y = choose(e, LLVMBuildAnd(e->b, minus, odd, ""), LLVMBuildFNeg(e->b, y, ""), y);
    LLVMValueRef below = LLVMBuildAnd(e->b, compare(e, LLVMRealOLT, a, 0), compare(e, LLVMRealOGT, a, -__builtin_inf()), "");
    LLVMValueRef broken = LLVMBuildAnd(e->b, LLVMBuildNot(e->b, whole, ""), compare(e, LLVMRealORD, b, 0), "");
    y = choose(e, LLVMBuildAnd(e->b, below, broken, ""), emit_vec(e, __builtin_nan("")), y);
    LLVMValueRef one = LLVMBuildOr(e->b, compare(e, LLVMRealOEQ, a, 1), compare(e, LLVMRealOEQ, b, 0), "");
    return choose(e, one, emit_vec(e, 1), y);
}
