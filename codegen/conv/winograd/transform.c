// clang-format off
/* Winograd F(4x4, 3x3): tile transforms of stride 1. See transform.h for the algebra.
 *
 * A transform holds one tile of V channels in registers. The 6x6 input transform is done in two halves of three rows, since
 * its 36 intermediates and 6 inputs would not fit 32 registers; the halves read the tile again, which is in L1.
 *
 * With points a, -a, b and -b, along an axis:
 *
 *     B' d, point 0      d4 - (a^2 + b^2) d2 + a^2 b^2 d0
 *           +-a          d4 - b^2 d2 +- a (d3 - b^2 d1)
 *           +-b          d4 - a^2 d2 +- b (d3 - a^2 d1)
 *           infinity     d5 - (a^2 + b^2) d3 + a^2 b^2 d1
 *     A y,  point p      (y0 + p^2 y2) + p (y1 + p^2 y3)
 *     G g,  point p      (g0 + p^2 g2 + p g1) / N       N = a^2 b^2 of 0, 2 a^2 (a^2 - b^2) of +-a, 2 b^2 (b^2 - a^2) of +-b
 *
 * Forward, the sums of +-a come divided by a, of +-b by b^2, which the filters make up for: then A' has more ones.
 */
// clang-format on
#include "codegen/conv/winograd/transform.h"

#define A 0.625
#define B 1.5
#define SQUARES (A * A + B * B)
#define PRODUCT (A * A * B * B)
static const double norm_a = 2 * A * A * (A * A - B * B), norm_b = 2 * B * B * (B * B - A * A);

static LLVMValueRef load(Emitter *e, LLVMValueRef p, int64_t element) { return emit_load(e, p, emit_int(e, element)); }
static void store(Emitter *e, LLVMValueRef v, LLVMValueRef p, int64_t element) { emit_store(e, v, p, emit_int(e, element)); }

void wino_both_axes(Emitter *e, WinoLine line, int from, int to, const LLVMValueRef *in, LLVMValueRef *out) {
    LLVMValueRef middle[WINO_MAX_SIDE * WINO_MAX_SIDE], column[WINO_MAX_SIDE], o[WINO_MAX_SIDE];
    for (int j = 0; j < from; j++) {
        for (int i = 0; i < from; i++) column[i] = in[i * from + j];
        line(e, column, o);
        for (int i = 0; i < to; i++) middle[i * from + j] = o[i];
    }
    for (int i = 0; i < to; i++) line(e, middle + (ptrdiff_t)i * from, out + (ptrdiff_t)i * to);
}

/* Rows 0..2 of B' applied to d0..d4. */
static void input_low(Emitter *e, const LLVMValueRef d[6], LLVMValueRef o[3]) {
    LLVMValueRef even = wino_axpy(e, -B * B, d[2], d[4]), odd = wino_axpy(e, -B * B, d[1], d[3]);
    o[0] = wino_axpy(e, PRODUCT, d[0], wino_axpy(e, -SQUARES, d[2], d[4]));
    o[1] = wino_axpy(e, A, odd, even);
    o[2] = wino_axpy(e, -A, odd, even);
}

/* Rows 3..5 of B' applied to d1..d5. */
static void input_high(Emitter *e, const LLVMValueRef d[6], LLVMValueRef o[3]) {
    LLVMValueRef even = wino_axpy(e, -A * A, d[2], d[4]), odd = wino_axpy(e, -A * A, d[1], d[3]);
    o[0] = wino_axpy(e, B, odd, even);
    o[1] = wino_axpy(e, -B, odd, even);
    o[2] = wino_axpy(e, PRODUCT, d[1], wino_axpy(e, -SQUARES, d[3], d[5]));
}

WinoTileSource wino_source(Emitter *e, LLVMValueRef src, int64_t row_stride, int64_t side) {
    WinoTileSource tile = {.end = side};
    for (int64_t i = 0; i < side; i++) tile.line[i] = emit_address(e, src, emit_int(e, i * row_stride));
    return tile;
}

LLVMValueRef wino_pixel(Emitter *e, const WinoTileSource *tile, int64_t i, int64_t j) {
    return j < tile->first || j >= tile->end ? emit_vec(e, 0) : load(e, tile->line[i], (j - tile->first) * e->V);
}

void wino_transform_input(Emitter *e, const WinoTileSource *tile, LLVMValueRef dst, int64_t plane) {
    for (int half = 0; half < 2; half++) {
        LLVMValueRef t[3][6];
        for (int j = 0; j < 6; j++) {
            LLVMValueRef d[6] = {0}, o[3];
            for (int i = half; i < 5 + half; i++) d[i] = wino_pixel(e, tile, i, j);
            half == 0 ? input_low(e, d, o) : input_high(e, d, o);
            for (int i = 0; i < 3; i++) t[i][j] = o[i];
        }
        for (int i = 0; i < 3; i++) {
            LLVMValueRef o[6];
            input_low(e, t[i], o);
            input_high(e, t[i], o + 3);
            for (int j = 0; j < 6; j++) store(e, o[j], dst, ((half * 3 + i) * 6 + j) * plane);
        }
    }
}

/* A' m: six to four. */
static void output_line(Emitter *e, const LLVMValueRef m[6], LLVMValueRef o[4]) {
    LLVMValueRef s1 = emit_add(e, m[1], m[2]), d1 = emit_sub(e, m[1], m[2]), s2 = emit_add(e, m[3], m[4]),
                 d2 = emit_sub(e, m[3], m[4]);
    o[0] = wino_axpy(e, 1 / A, s1, wino_axpy(e, 1 / (B * B), s2, m[0]));
    o[1] = wino_axpy(e, 1 / B, d2, d1);
    o[2] = wino_axpy(e, A, s1, s2);
    o[3] = wino_axpy(e, A * A, d1, wino_axpy(e, B, d2, m[5]));
}

static void transform_output(Emitter *e, LLVMValueRef src, int64_t plane, LLVMValueRef out[16]) {
    LLVMValueRef t[4][6];
    for (int j = 0; j < 6; j++) {
        LLVMValueRef m[6], o[4];
        for (int i = 0; i < 6; i++) m[i] = load(e, src, (i * 6 + j) * plane);
        output_line(e, m, o);
        for (int i = 0; i < 4; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < 4; i++) output_line(e, t[i], out + i * 4);
}

/* A y: four to six. */
static void gradient_line(Emitter *e, const LLVMValueRef y[4], LLVMValueRef o[6]) {
    LLVMValueRef even_a = wino_axpy(e, A * A, y[2], y[0]), odd_a = wino_axpy(e, A * A, y[3], y[1]);
    LLVMValueRef even_b = wino_axpy(e, B * B, y[2], y[0]), odd_b = wino_axpy(e, B * B, y[3], y[1]);
    o[0] = y[0];
    o[1] = wino_axpy(e, A, odd_a, even_a);
    o[2] = wino_axpy(e, -A, odd_a, even_a);
    o[3] = wino_axpy(e, B, odd_b, even_b);
    o[4] = wino_axpy(e, -B, odd_b, even_b);
    o[5] = y[3];
}

void wino_transform_gradient(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    LLVMValueRef t[6][4];
    for (int j = 0; j < 4; j++) {
        LLVMValueRef y[4], o[6];
        for (int i = 0; i < 4; i++) y[i] = load(e, src, i * row_stride + (int64_t)j * e->V);
        gradient_line(e, y, o);
        for (int i = 0; i < 6; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < 6; i++) {
        LLVMValueRef o[6];
        gradient_line(e, t[i], o);
        for (int j = 0; j < 6; j++) store(e, o[j], dst, (i * 6 + j) * plane);
    }
}

/* G g: three to six. */
static void filter_line(Emitter *e, LLVMValueRef g0, LLVMValueRef g1, LLVMValueRef g2, LLVMValueRef o[6]) {
    const double a = A / norm_a, b = B * B / norm_b;
    LLVMValueRef even_a = wino_axpy(e, a, g0, wino_scale(e, a * A * A, g2)),
                 even_b = wino_axpy(e, b, g0, wino_scale(e, b * B * B, g2));
    o[0] = wino_scale(e, 1 / PRODUCT, g0);
    o[1] = wino_axpy(e, a * A, g1, even_a);
    o[2] = wino_axpy(e, -a * A, g1, even_a);
    o[3] = wino_axpy(e, b * B, g1, even_b);
    o[4] = wino_axpy(e, -b * B, g1, even_b);
    o[5] = g2;
}

void wino_transform_filter(Emitter *e, const WinoForm *form, const LLVMValueRef g[9], LLVMValueRef out[WINO_FILTERS]) {
    LLVMValueRef t[6][3];
    for (int j = 0; j < 3; j++) {
        LLVMValueRef o[6];
        form->filter_line(e, g[j], g[3 + j], g[6 + j], o);
        for (int i = 0; i < 6; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < 6; i++) form->filter_line(e, t[i][0], t[i][1], t[i][2], out + i * 6);
}

const WinoForm wino_plain = {.side = WINO_IN,
                             .lines = WINO_OUT,
                             .input_cost = 180,
                             .output_cost = 150,
                             .input = wino_transform_input,
                             .output = transform_output,
                             .filter_line = filter_line};

/* G' u: six to three. */
static void filter_gradient_line(Emitter *e, const LLVMValueRef u[6], LLVMValueRef o[3]) {
    LLVMValueRef s12 = emit_add(e, u[1], u[2]), d12 = emit_sub(e, u[1], u[2]), s34 = emit_add(e, u[3], u[4]),
                 d34 = emit_sub(e, u[3], u[4]);
    o[0] = wino_axpy(e, 1 / PRODUCT, u[0], wino_axpy(e, 1 / norm_b, s34, wino_scale(e, 1 / norm_a, s12)));
    o[1] = wino_axpy(e, B / norm_b, d34, wino_scale(e, A / norm_a, d12));
    o[2] = wino_axpy(e, A * A / norm_a, s12, wino_axpy(e, B * B / norm_b, s34, u[5]));
}

void wino_transform_filter_gradient(Emitter *e, const LLVMValueRef u[36], LLVMValueRef out[9]) {
    wino_both_axes(e, filter_gradient_line, WINO_IN, 3, u, out);
}
