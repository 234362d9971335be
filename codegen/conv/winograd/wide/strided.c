/* The wide method's transforms for stride 2, of winograd/strided.c's polyphase form and of its adjoints.
 *
 * Forward, along an axis, in matrices of nine points: A' and B' of F(4, 2) for the odd lines, beside unit matrices for the even
 * ones, whose four points all meet g[1]:
 *
 *     y = A9' [ (G9 g) o (B9' d) ]     A9 = [A | 1]     G9 g = G (g0, g2), g1, g1, g1, g1     B9' d = B' odd, even
 *
 * The gradient of the filters is the adjoint, dg = G9' [ sum over tiles (B9' d) o (A9 dy) ]: the sums of points that meet the
 * same filter add up.
 *
 * Backward data takes the same forms apart by its outputs (*spread*): a line of even number of dx meets one line of dy, a line of
 * odd number two, so that with the filters read backwards
 *
 *     dx[2k] = g[1] dy[k]     dx[2k + 1] = g[0] dy[k] + g[2] dy[k + 1]
 *
 * and a tile of 4x4 (with its border 5x5) pixels of dy gives 8x8 of dx, by the same 81 products.
 */
#include "codegen/conv/winograd/transform.h"
#include "codegen/conv/winograd/wide/wide.h"

enum { ODD = WINO_STRIDED_POINTS, SIDE = ODD + WINO_OUT, FILTERS = ODD + 1 };

static void strided_input(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    WinoTileSource source = wino_source(e, src, row_stride, SIDE);
    wino_strided.input(e, &source, dst, plane);
}

static void strided_output(Emitter *e, LLVMValueRef src, int64_t plane, const int64_t phase[2], LLVMValueRef *out) {
    (void)phase;
    wino_strided.output(e, src, plane, out);
}

static void strided_filter(Emitter *e, const LLVMValueRef g[9], LLVMValueRef *u) {
    wino_transform_filter(e, &wino_strided, g, u);
}

/* A line transform of the `from` x `from` pixels at src into SIDE x SIDE planes, a row of points at a time: all of them would not
 * fit the registers, and what of a line is not used costs nothing. */
static void to_planes(Emitter *e, WinoLine line, int from, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst,
                      int64_t plane) {
    for (int point = 0; point < SIDE; point++) {
        LLVMValueRef middle[ODD], column[ODD], o[SIDE];
        for (int j = 0; j < from; j++) {
            for (int i = 0; i < from; i++) column[i] = emit_load(e, src, emit_int(e, i * row_stride + (int64_t)j * e->V));
            line(e, column, o);
            middle[j] = o[point];
        }
        line(e, middle, o);
        for (int i = 0; i < SIDE; i++) emit_store(e, o[i], dst, emit_int(e, (point * SIDE + i) * plane));
    }
}

/* The polynomial y at a point. */
static LLVMValueRef at_point(Emitter *e, double point, const LLVMValueRef *y) {
    return wino_axpy(e, point, wino_axpy(e, point, wino_axpy(e, point, y[3], y[2]), y[1]), y[0]);
}

/* A9 y */
static void gradient_line(Emitter *e, const LLVMValueRef *y, LLVMValueRef *o) {
    o[0] = y[0];
    o[1] = emit_add(e, emit_sub(e, y[0], y[1]), emit_sub(e, y[2], y[3]));
    o[2] = at_point(e, 0.5, y);
    o[3] = at_point(e, 1.5, y);
    o[4] = y[3];
    for (int i = 0; i < WINO_OUT; i++) o[ODD + i] = y[i];
}

static void strided_gradient(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    to_planes(e, gradient_line, WINO_OUT, src, row_stride, dst, plane);
}

/* G9' u, u being the sums of each filter. */
static void filter_gradient_line(Emitter *e, const LLVMValueRef *u, LLVMValueRef *g) {
    LLVMValueRef ends = wino_scale(e, 4.0 / 15, emit_sub(e, u[3], u[1]));
    g[0] = wino_axpy(e, 4.0 / 3, emit_sub(e, u[0], u[2]), ends);
    g[1] = u[5];
    g[2] = wino_axpy(e, 4.0 / 15, u[1], wino_axpy(e, -2.0 / 3, u[2], wino_axpy(e, 0.4, u[3], u[4])));
}

static void strided_filter_gradient(Emitter *e, const LLVMValueRef *u, LLVMValueRef g[9]) {
    wino_both_axes(e, filter_gradient_line, FILTERS, 3, u, g);
}

const WideForm wide_strided = {.out = WINO_OUT,
                               .first = -1,
                               .reach = SIDE,
                               .advance = 2 * WINO_OUT,
                               .side = SIDE,
                               .filters = FILTERS,
                               .spread = 1,
                               .input_cost = 380,
                               .output_cost = 240,
                               .input = strided_input,
                               .gradient = strided_gradient,
                               .output = strided_output,
                               .filter = strided_filter,
                               .filter_gradient = strided_filter_gradient};

/* B' of the lines, then the lines but the last. */
static void spread_line(Emitter *e, const LLVMValueRef *d, LLVMValueRef *o) {
    wino_strided_input_line(e, d, o);
    for (int i = 0; i < WINO_OUT; i++) o[ODD + i] = d[i];
}

static void spread_input(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    to_planes(e, spread_line, ODD, src, row_stride, dst, plane);
}

/* Line `at` of phase 0 is point ODD + at; lines of phase 1 take A'. */
static void spread_phase(Emitter *e, int64_t phase, const LLVMValueRef *m, LLVMValueRef *o) {
    if (phase)
        wino_strided_output_line(e, m, o);
    else
        for (int i = 0; i < WINO_OUT; i++) o[i] = m[i];
}

static void spread_output(Emitter *e, LLVMValueRef src, int64_t plane, const int64_t phase[2], LLVMValueRef *out) {
    LLVMValueRef middle[WINO_OUT][ODD], m[ODD], o[WINO_OUT];
    int rows = phase[0] ? ODD : WINO_OUT, row = phase[0] ? 0 : ODD, columns = phase[1] ? ODD : WINO_OUT,
        column = phase[1] ? 0 : ODD;
    for (int j = 0; j < columns; j++) {
        for (int i = 0; i < rows; i++) m[i] = emit_load(e, src, emit_int(e, ((row + i) * SIDE + column + j) * plane));
        spread_phase(e, phase[0], m, o);
        for (int i = 0; i < WINO_OUT; i++) middle[i][j] = o[i];
    }
    for (int i = 0; i < WINO_OUT; i++) spread_phase(e, phase[1], middle[i], out + i * WINO_OUT);
}

const WideForm wide_spread = {.out = WINO_OUT,
                              .first = 0,
                              .reach = ODD,
                              .advance = WINO_OUT,
                              .side = SIDE,
                              .filters = FILTERS,
                              .spread = 2,
                              .input_cost = 300,
                              .output_cost = 200,
                              .input = spread_input,
                              .output = spread_output,
                              .filter = strided_filter};
