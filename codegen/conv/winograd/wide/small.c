/* Winograd F(2x2, 3x3) (Lavin & Gray 2016, with the interpolation points 0, 1, -1, infinity), for maps of 2x2 pixels, where
 * F(4x4, 3x3) would compute sixteen outputs to keep four. All of its transforms add and halve only. */
#include "codegen/conv/winograd/transform.h"
#include "codegen/conv/winograd/wide/wide.h"

enum { SIDE = 4, OUT = 2 };

static LLVMValueRef half(Emitter *e, LLVMValueRef x) { return wino_scale(e, 0.5, x); }

/* B' d */
static void input_line(Emitter *e, const LLVMValueRef *d, LLVMValueRef *o) {
    o[0] = emit_sub(e, d[0], d[2]);
    o[1] = emit_add(e, d[1], d[2]);
    o[2] = emit_sub(e, d[2], d[1]);
    o[3] = emit_sub(e, d[1], d[3]);
}

/* A' m */
static void output_line(Emitter *e, const LLVMValueRef *m, LLVMValueRef *o) {
    o[0] = emit_add(e, m[0], emit_add(e, m[1], m[2]));
    o[1] = emit_sub(e, emit_sub(e, m[1], m[2]), m[3]);
}

/* G g */
static void filter_line(Emitter *e, const LLVMValueRef *g, LLVMValueRef *o) {
    LLVMValueRef ends = emit_add(e, g[0], g[2]);
    o[0] = g[0];
    o[1] = half(e, emit_add(e, ends, g[1]));
    o[2] = half(e, emit_sub(e, ends, g[1]));
    o[3] = g[2];
}

/* A y */
static void gradient_line(Emitter *e, const LLVMValueRef *y, LLVMValueRef *o) {
    o[0] = y[0];
    o[1] = emit_add(e, y[0], y[1]);
    o[2] = emit_sub(e, y[0], y[1]);
    o[3] = emit_sub(e, emit_vec(e, 0), y[1]);
}

/* G' u */
static void filter_gradient_line(Emitter *e, const LLVMValueRef *u, LLVMValueRef *o) {
    LLVMValueRef sum = half(e, emit_add(e, u[1], u[2]));
    o[0] = emit_add(e, u[0], sum);
    o[1] = half(e, emit_sub(e, u[1], u[2]));
    o[2] = emit_add(e, sum, u[3]);
}

static void store_planes(Emitter *e, const LLVMValueRef *points, LLVMValueRef dst, int64_t plane) {
    for (int p = 0; p < SIDE * SIDE; p++) emit_store(e, points[p], dst, emit_int(e, p * plane));
}

static void small_input(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    LLVMValueRef d[SIDE * SIDE], o[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) d[i] = emit_load(e, src, emit_int(e, i / SIDE * row_stride + i % SIDE * e->V));
    wino_both_axes(e, input_line, SIDE, SIDE, d, o);
    store_planes(e, o, dst, plane);
}

static void small_gradient(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    LLVMValueRef y[OUT * OUT], o[SIDE * SIDE];
    for (int i = 0; i < OUT * OUT; i++) y[i] = emit_load(e, src, emit_int(e, i / OUT * row_stride + i % OUT * e->V));
    wino_both_axes(e, gradient_line, OUT, SIDE, y, o);
    store_planes(e, o, dst, plane);
}

static void small_output(Emitter *e, LLVMValueRef src, int64_t plane, const int64_t phase[2], LLVMValueRef *out) {
    (void)phase;
    LLVMValueRef m[SIDE * SIDE];
    for (int p = 0; p < SIDE * SIDE; p++) m[p] = emit_load(e, src, emit_int(e, p * plane));
    wino_both_axes(e, output_line, SIDE, OUT, m, out);
}

static void small_filter(Emitter *e, const LLVMValueRef g[9], LLVMValueRef *u) { wino_both_axes(e, filter_line, 3, SIDE, g, u); }
static void small_filter_gradient(Emitter *e, const LLVMValueRef *u, LLVMValueRef g[9]) {
    wino_both_axes(e, filter_gradient_line, SIDE, 3, u, g);
}

const WideForm wide_small = {.out = OUT,
                             .first = -1,
                             .reach = SIDE,
                             .advance = OUT,
                             .side = SIDE,
                             .filters = SIDE,
                             .spread = 1,
                             .input_cost = 32,
                             .output_cost = 24,
                             .input = small_input,
                             .gradient = small_gradient,
                             .output = small_output,
                             .filter = small_filter,
                             .filter_gradient = small_filter_gradient};
