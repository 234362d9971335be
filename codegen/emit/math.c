/* exp, log, tanh, sigmoid, expm1, log1p and erf on vectors of floats.
 *
 * Polynomials of our own rather than calls of a vector libm: the same bits on every machine with fused multiply-add, no
 * library to ship, and code that the scheduler can interleave. Coefficients are those of Cephes (S. Moshier, expf, logf,
 * tanhf), of erf our own; the arguments are reduced as there. All are within 2 ulp and right for zeros, denormals, infinities and
 * NaN. Operations here carry no `contract` flag: where a fused operation is meant it is written as emit_fma. */
#include "codegen/emit/math.h"
#include "codegen/emit/arith.h"

static LLVMValueRef mul(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFMul(e->b, a, b, ""); }
static LLVMValueRef divide(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildFDiv(e->b, a, b, ""); }
static LLVMValueRef as_int(Emitter *e, LLVMValueRef x) { return LLVMBuildBitCast(e->b, x, e->ivec, ""); }
static LLVMValueRef as_float(Emitter *e, LLVMValueRef x) { return LLVMBuildBitCast(e->b, x, e->vec, ""); }
static LLVMValueRef choose(Emitter *e, LLVMRealPredicate p, LLVMValueRef a, LLVMValueRef b, LLVMValueRef yes, LLVMValueRef no) {
    return LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, p, a, b, ""), yes, no, "");
}

/* c[0] x^(n-1) + ... + c[n-1], by Horner's rule. */
static LLVMValueRef polynomial(Emitter *e, LLVMValueRef x, const double *c, int n) {
    LLVMValueRef sum = emit_vec(e, c[0]);
    for (int i = 1; i < n; i++) sum = emit_fma(e, sum, x, emit_vec(e, c[i]));
    return sum;
}

/* 2^n for n in [-126, 127], by building the exponent. */
static LLVMValueRef power_of_two(Emitter *e, LLVMValueRef n) {
    LLVMValueRef biased = LLVMBuildAdd(e->b, n, emit_int_vec(e, 127), "");
    return as_float(e, LLVMBuildShl(e->b, biased, emit_int_vec(e, 23), ""));
}

/* x = n ln 2 + r, |r| <= ln(2)/2: the integer n, and exp(r) - 1. */
static LLVMValueRef exp_reduced(Emitter *e, LLVMValueRef x, LLVMValueRef *n) {
    static const double c[] = {1.9875691500E-4, 1.3981999507E-3, 8.3334519073E-3,
                               4.1665795894E-2, 1.6666665459E-1, 5.0000001201E-1};
    LLVMValueRef magic = emit_vec(e, 12582912.0); /* 1.5 * 2^23: adding it rounds to an integer, held in the low bits */
    LLVMValueRef t = emit_fma(e, x, emit_vec(e, 1.44269504088896341), magic), rounded = emit_sub(e, t, magic);
    LLVMValueRef r = emit_fma(e, rounded, emit_vec(e, -0.693359375), x);
    r = emit_fma(e, rounded, emit_vec(e, 2.12194440e-4), r);
    LLVMValueRef less_one = emit_fma(e, polynomial(e, r, c, 6), mul(e, r, r), r);
    *n = LLVMBuildSub(e->b, as_int(e, t), as_int(e, magic), "");
    return less_one;
}

/* x, but no further out than this; a NaN passes. */
static LLVMValueRef clamp(Emitter *e, LLVMValueRef x, double least, double most) {
    LLVMValueRef high = emit_vec(e, most), low = emit_vec(e, least);
    x = choose(e, LLVMRealOGT, x, high, high, x);
    return choose(e, LLVMRealOLT, x, low, low, x);
}

/* 2^n exp(r). The scale is applied in two steps, so that results in the denormal range and above 2^127 come out right. Beyond
 * the bounds: infinity and zero. */
LLVMValueRef emit_exp(Emitter *e, LLVMValueRef x) {
    LLVMValueRef k, y = exp_reduced(e, clamp(e, x, -104, 89), &k);
    y = emit_add(e, y, emit_vec(e, 1));
    LLVMValueRef half = LLVMBuildAShr(e->b, k, emit_int_vec(e, 1), "");
    y = mul(e, y, power_of_two(e, half));
    return mul(e, y, power_of_two(e, LLVMBuildSub(e->b, k, half, "")));
}

/* 2^n (exp(r) - 1) + 2^n - 1, all halved, since 2^128 is none. */
LLVMValueRef emit_expm1(Emitter *e, LLVMValueRef x) {
    LLVMValueRef k, y = exp_reduced(e, clamp(e, x, -30, 89), &k);
    LLVMValueRef half = power_of_two(e, LLVMBuildSub(e->b, k, emit_int_vec(e, 1), ""));
    y = emit_fma(e, half, y, emit_sub(e, half, emit_vec(e, 0.5)));
    return emit_add(e, y, y);
}

/* log(x) = e ln 2 + log(m), m in [sqrt(1/2), sqrt(2)). */
LLVMValueRef emit_log(Emitter *e, LLVMValueRef x) {
    static const double c[] = {7.0376836292E-2,  -1.1514610310E-1, 1.1676998740E-1,  -1.2420140846E-1, 1.4249322787E-1,
                               -1.6668057665E-1, 2.0000714765E-1,  -2.4999993993E-1, 3.3333331174E-1};
    LLVMValueRef zero = emit_vec(e, 0), one = emit_vec(e, 1);
    LLVMValueRef tiny = LLVMBuildFCmp(e->b, LLVMRealOLT, x, emit_vec(e, 0x1p-126), ""); /* denormals are scaled up by 2^23 */
    LLVMValueRef scaled = LLVMBuildSelect(e->b, tiny, mul(e, x, emit_vec(e, 0x1p23)), x, "");
    /* Exponent relative to sqrt(1/2) = 0x3f3504f3, so that the mantissa lands in [sqrt(1/2), sqrt(2)). */
    LLVMValueRef bits = LLVMBuildSub(e->b, as_int(e, scaled), emit_int_vec(e, 0x3f3504f3), "");
    LLVMValueRef exponent = LLVMBuildAShr(e->b, bits, emit_int_vec(e, 23), "");
    LLVMValueRef fraction = LLVMBuildAnd(e->b, bits, emit_int_vec(e, 0x7fffff), "");
    LLVMValueRef m = emit_sub(e, as_float(e, LLVMBuildAdd(e->b, fraction, emit_int_vec(e, 0x3f3504f3), "")), one);
    LLVMValueRef shift = LLVMBuildSelect(e->b, tiny, emit_int_vec(e, 23), emit_int_vec(e, 0), "");
    LLVMValueRef k = LLVMBuildSIToFP(e->b, LLVMBuildSub(e->b, exponent, shift, ""), e->vec, "");
    LLVMValueRef z = mul(e, m, m);
    LLVMValueRef y = mul(e, mul(e, polynomial(e, m, c, 9), m), z);
    y = emit_fma(e, k, emit_vec(e, -2.12194440e-4), y);
    y = emit_fma(e, z, emit_vec(e, -0.5), y);
    y = emit_fma(e, k, emit_vec(e, 0.693359375), emit_add(e, m, y));
    LLVMValueRef infinity = emit_vec(e, __builtin_inf());
    y = choose(e, LLVMRealOLT, x, infinity, y, x); /* log(inf) = inf, log(NaN) = NaN */
    y = choose(e, LLVMRealOLT, x, zero, emit_vec(e, __builtin_nan("")), y);
    return choose(e, LLVMRealOEQ, x, zero, emit_vec(e, -__builtin_inf()), y);
}

/* x + x^3 P(x^2) for small x, otherwise 1 - 2 / (exp(2|x|) + 1) with the sign of x. */
LLVMValueRef emit_tanh(Emitter *e, LLVMValueRef x) {
    static const double c[] = {-5.70498872745E-3, 2.06390887954E-2, -5.37397155531E-2, 1.33314422036E-1, -3.33332819422E-1};
    LLVMValueRef size = emit_intrinsic(e, "llvm.fabs", e->vec, &x, 1), z = mul(e, x, x);
    LLVMValueRef near = emit_fma(e, mul(e, polynomial(e, z, c, 5), z), x, x);
    LLVMValueRef grown = emit_add(e, emit_exp(e, emit_add(e, size, size)), emit_vec(e, 1));
    LLVMValueRef far[2] = {emit_sub(e, emit_vec(e, 1), divide(e, emit_vec(e, 2), grown)), x};
    return choose(e, LLVMRealOLT, size, emit_vec(e, 0.625), near, emit_intrinsic(e, "llvm.copysign", e->vec, far, 2));
}

LLVMValueRef emit_sigmoid(Emitter *e, LLVMValueRef x) {
    LLVMValueRef one = emit_vec(e, 1);
    return divide(e, one, emit_add(e, one, emit_exp(e, LLVMBuildFNeg(e->b, x, ""))));
}

/* log(u) of u = 1 + x as it rounds, and what the rounding took, over u (W. Kahan). */
LLVMValueRef emit_log1p(Emitter *e, LLVMValueRef x) {
    LLVMValueRef one = emit_vec(e, 1), u = emit_add(e, x, one), y = emit_log(e, u);
    LLVMValueRef rest = divide(e, emit_sub(e, x, emit_sub(e, u, one)), u);
    LLVMValueRef exact = emit_add(e, y, rest);
    exact = choose(e, LLVMRealOGT, u, emit_vec(e, 0), exact, y);
    return choose(e, LLVMRealOLT, u, emit_vec(e, __builtin_inf()), exact, y);
}

/* x + x P(x^2) for small x, otherwise 1 - exp(|x| Q(|x|) - |x|) with the sign of x. Minimax for erf's relative error, which is
 * below 1.3 ulp with coefficients rounded to f32; from 4 on erf is 1. */
LLVMValueRef emit_erf(Emitter *e, LLVMValueRef x) {
    static const double p[] = {-5.95373916e-4, 4.98594018e-3, -2.67617200e-2, 1.12816826e-1, -3.76124799e-1, 1.28379151e-1};
    static const double q[] = {-1.12308362e-5, 3.22799169e-4,  -3.64244008e-3, 2.37620231e-2,
                               -1.06236830e-1, -6.35151327e-1, -1.28648490e-1};
    LLVMValueRef size = emit_intrinsic(e, "llvm.fabs", e->vec, &x, 1);
    LLVMValueRef near = emit_fma(e, polynomial(e, mul(e, x, x), p, 6), x, x), t = clamp(e, size, 0, 4);
    LLVMValueRef power = emit_fma(e, polynomial(e, t, q, 7), t, LLVMBuildFNeg(e->b, t, ""));
    LLVMValueRef far[2] = {emit_sub(e, emit_vec(e, 1), emit_exp(e, power)), x};
    return choose(e, LLVMRealOLT, size, emit_vec(e, 0.927), near, emit_intrinsic(e, "llvm.copysign", e->vec, far, 2));
}
