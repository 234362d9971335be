/* Winograd for stride 2: the transforms of F(4x4, 3x3) with every second output.
 *
 * Along one axis, output k meets pixels 2k - 1, 2k and 2k + 1, so that lines of odd and of even number take apart
 * (a polyphase decomposition):
 *
 *     y[k] = g[0] o[k] + g[2] o[k+1]  +  g[1] e[k]          o[k] = x[2k - 1], e[k] = x[2k]
 *
 * The first sum is a correlation with two taps, which F(4, 2) does in five multiplications rather than eight (interpolation
 * points 0, -1, 1/2, 3/2, infinity: with 2 and 1 for the fractions the error is 2.5 times as large); the second takes four. A
 * tile of 4x4 outputs reads 9x9 pixels and needs 81 products rather than 144. Line `point` of a transformed tile is 0..4 of F(4,
 * 2), or 5..8 for e[0..3]; as the latter four meet the same filter, 36 transformed filters suffice. With the points' denominators
 * moved into G:
 *
 *     B' = [ 3/4 -5/4  -1   1  0 ]   G = [  4/3    0  ]   A' = [ 1  1   1    1   0 ]
 *          [  0   3/4  -2   1  0 ]       [ -4/15  4/15]        [ 0 -1  1/2  3/2  0 ]
 *          [  0  -3/2 -1/2  1  0 ]       [ -4/3  -2/3 ]        [ 0  1  1/4  9/4  0 ]
 *          [  0  -1/2  1/2  1  0 ]       [  4/15  2/5 ]        [ 0 -1  1/8 27/8  1 ]
 *          [  0   3/4 -5/4 -1  1 ]       [   0     1  ]
 */
#include "codegen/conv/winograd/transform.h"

enum { ODD = WINO_STRIDED_POINTS, EVEN = WINO_OUT, SIDE = ODD + EVEN };

/* Pixel of the tile's side that odd line i, or even line i, is. */
static int64_t odd_line(int i) { return 2 * i; }
static int64_t even_line(int i) { return 2 * i + 1; }

void wino_strided_input_line(Emitter *e, const LLVMValueRef d[WINO_STRIDED_POINTS], LLVMValueRef o[WINO_STRIDED_POINTS]) {
    o[0] = wino_axpy(e, 0.75, d[0], wino_axpy(e, -1.25, d[1], emit_sub(e, d[3], d[2])));
    o[1] = wino_axpy(e, 0.75, d[1], wino_axpy(e, -2, d[2], d[3]));
    o[2] = wino_axpy(e, -1.5, d[1], wino_axpy(e, -0.5, d[2], d[3]));
    o[3] = wino_axpy(e, 0.5, emit_sub(e, d[2], d[1]), d[3]);
    o[4] = wino_axpy(e, 0.75, d[1], wino_axpy(e, -1.25, d[2], emit_sub(e, d[4], d[3])));
}

/* Row `point` of the transformed tile from the nine vectors t. */
static void store_row(Emitter *e, const LLVMValueRef t[SIDE], LLVMValueRef dst, int point, int64_t plane) {
    LLVMValueRef odd[ODD], o[ODD];
    for (int i = 0; i < ODD; i++) odd[i] = t[odd_line(i)];
    wino_strided_input_line(e, odd, o);
    for (int i = 0; i < ODD; i++) emit_store(e, o[i], dst, emit_int(e, (point * SIDE + i) * plane));
    for (int i = 0; i < EVEN; i++) emit_store(e, t[even_line(i)], dst, emit_int(e, (point * SIDE + ODD + i) * plane));
}

/* The points of odd rows are made two at a time, since all of them would not fit 32 registers. */
static void transform_input(Emitter *e, const WinoTileSource *tile, LLVMValueRef dst, int64_t plane) {
    static const int turn[3][2] = {{0, 3}, {1, 2}, {4, 4}};
    for (int part = 0; part < 3; part++) {
        LLVMValueRef t[2][SIDE];
        for (int j = 0; j < SIDE; j++) {
            LLVMValueRef d[ODD], o[ODD];
            for (int i = 0; i < ODD; i++) d[i] = wino_pixel(e, tile, odd_line(i), j);
            wino_strided_input_line(e, d, o);
            for (int i = 0; i < 2; i++) t[i][j] = o[turn[part][i]];
        }
        for (int i = 0; i < (part < 2 ? 2 : 1); i++) store_row(e, t[i], dst, turn[part][i], plane);
    }
    for (int i = 0; i < EVEN; i++) {
        LLVMValueRef t[SIDE];
        for (int j = 0; j < SIDE; j++) t[j] = wino_pixel(e, tile, even_line(i), j);
        store_row(e, t, dst, ODD + i, plane);
    }
}

void wino_strided_output_line(Emitter *e, const LLVMValueRef m[WINO_STRIDED_POINTS], LLVMValueRef o[WINO_OUT]) {
    LLVMValueRef last = emit_sub(e, m[4], m[1]), minus = LLVMBuildFNeg(e->b, m[1], "");
    o[0] = emit_add(e, emit_add(e, m[0], m[1]), emit_add(e, m[2], m[3]));
    o[1] = wino_axpy(e, 1.5, m[3], wino_axpy(e, 0.5, m[2], minus));
    o[2] = wino_axpy(e, 2.25, m[3], wino_axpy(e, 0.25, m[2], m[1]));
    o[3] = wino_axpy(e, 3.375, m[3], wino_axpy(e, 0.125, m[2], last));
}

/* Column `point` of the planes at src: four values, of odd and even rows together. */
static void output_column(Emitter *e, LLVMValueRef src, int64_t plane, int point, LLVMValueRef o[WINO_OUT]) {
    LLVMValueRef m[SIDE];
    for (int i = 0; i < SIDE; i++) m[i] = emit_load(e, src, emit_int(e, (i * SIDE + point) * plane));
    wino_strided_output_line(e, m, o);
    for (int i = 0; i < EVEN; i++) o[i] = emit_add(e, o[i], m[ODD + i]);
}

static void transform_output(Emitter *e, LLVMValueRef src, int64_t plane, LLVMValueRef out[16]) {
    LLVMValueRef t[WINO_OUT][ODD], o[WINO_OUT];
    for (int j = 0; j < ODD; j++) {
        output_column(e, src, plane, j, o);
        for (int i = 0; i < WINO_OUT; i++) t[i][j] = o[i];
    }
    for (int i = 0; i < WINO_OUT; i++) wino_strided_output_line(e, t[i], out + i * WINO_OUT);
    for (int j = 0; j < EVEN; j++) {
        output_column(e, src, plane, ODD + j, o);
        for (int i = 0; i < WINO_OUT; i++) out[i * WINO_OUT + j] = emit_add(e, out[i * WINO_OUT + j], o[i]);
    }
}

/* G (g0, g2), then g1. */
static void filter_line(Emitter *e, LLVMValueRef g0, LLVMValueRef g1, LLVMValueRef g2, LLVMValueRef o[6]) {
    o[0] = wino_scale(e, 4.0 / 3, g0);
    o[1] = wino_scale(e, 4.0 / 15, emit_sub(e, g2, g0));
    o[2] = wino_axpy(e, -2.0 / 3, g2, wino_scale(e, -4.0 / 3, g0));
    o[3] = wino_axpy(e, 0.4, g2, wino_scale(e, 4.0 / 15, g0));
    o[4] = g2;
    o[5] = g1;
}

const WinoForm wino_strided = {.side = SIDE,
                               .lines = 2 * WINO_OUT,
                               .input_cost = 380,
                               .output_cost = 240,
                               .input = transform_input,
                               .output = transform_output,
                               .filter_line = filter_line};
