/* Winograd F(4x4, 3x3): the transforms of one tile over V channels (Lavin & Gray, "Fast Algorithms for Convolutional Neural
 * Networks", 2016, eqs. 8, 12). The interpolation points are 0, 5/8, -5/8, 3/2, -3/2 and infinity rather than their 0, 1, -1, 2,
 * -2: the instructions are as many, all constants but the filters' are exact, and the rounding error is 0.4 of theirs
 * (docs/measurements.md; Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
 * Networks", 2020, say why points matter).
 *
 *     Y = A' [ (G g G') o (B' d B) ] A         d 6x6 input, g 3x3 filter, Y 4x4 output, o elementwise, summed over channels
 *
 * and its adjoint in g, for the gradient of the weights: dg = G' [ sum over tiles (B' d B) o (A dY A') ] G.
 *
 * Convolutions with stride 2 have transforms of their own, with 9x9 points (strided.c); a WinoForm says which ones.
 */
#ifndef NETC_CODEGEN_WINOGRAD_TRANSFORM_H
#define NETC_CODEGEN_WINOGRAD_TRANSFORM_H
#include "codegen/emit/emit.h"

enum { WINO_OUT = 4, WINO_IN = 6, WINO_POINTS = 36, WINO_FILTERS = 36 };

/* An input tile: addresses of its lines' pixel `first`, pixels being V floats apart; those not in first <= j < end are zero. */
enum { WINO_MAX_SIDE = 9 };
typedef struct WinoTileSource {
    LLVMValueRef line[WINO_MAX_SIDE];
    int64_t first, end;
} WinoTileSource;
/* The tile of so many lines whose corner is src[0], rows row_stride floats apart. */
WinoTileSource wino_source(Emitter *e, LLVMValueRef src, int64_t row_stride, int64_t side);
LLVMValueRef wino_pixel(Emitter *e, const WinoTileSource *tile, int64_t i, int64_t j);

/* B' d B of a 6x6 tile, into 36 planes at dst. */
void wino_transform_input(Emitter *e, const WinoTileSource *tile, LLVMValueRef dst, int64_t plane);
/* A y A' of the 4x4 tile at src into 36 planes at dst. */
void wino_transform_gradient(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane);
/* G' u G of the 36 vectors u: out[ky*3 + kx]. */
void wino_transform_filter_gradient(Emitter *e, const LLVMValueRef u[36], LLVMValueRef out[9]);

/* A transform along one axis, of `from` to `to` values. */
typedef void (*WinoLine)(Emitter *e, const LLVMValueRef *from, LLVMValueRef *to);
/* Along the columns of the from x from matrix `in`, then along its rows; neither side is above WINO_MAX_SIDE. */
void wino_both_axes(Emitter *e, WinoLine line, int from, int to, const LLVMValueRef *in, LLVMValueRef *out);

/* a * x + y, and a * x. */
static inline LLVMValueRef wino_axpy(Emitter *e, double a, LLVMValueRef x, LLVMValueRef y) {
    return emit_fma(e, emit_vec(e, a), x, y);
}
static inline LLVMValueRef wino_scale(Emitter *e, double a, LLVMValueRef x) { return LLVMBuildFMul(e->b, emit_vec(e, a), x, ""); }

/* ---- the transforms of one stride: transform.c has those of 1, strided.c those of 2 ---- */
typedef struct WinoForm {
    int64_t side, lines;         /* of an input tile, and as many points; input lines from one tile to the next */
    int input_cost, output_cost; /* vector instructions to transform one channel block of a tile */
    /* A tile into side*side planes at dst. */
    void (*input)(Emitter *e, const WinoTileSource *tile, LLVMValueRef dst, int64_t plane);
    /* The planes at src into the output tile, out[i*4 + j]. */
    void (*output)(Emitter *e, LLVMValueRef src, int64_t plane, LLVMValueRef out[16]);
    /* Three taps into six points, along one axis. Points behind the sixth meet the sixth filter. */
    void (*filter_line)(Emitter *e, LLVMValueRef g0, LLVMValueRef g1, LLVMValueRef g2, LLVMValueRef o[6]);
} WinoForm;
extern const WinoForm wino_plain, wino_strided;
/* F(4, 2) of strided.c along one axis: B' d, of which what is not used costs nothing, and A' m. */
enum { WINO_STRIDED_POINTS = 5 };
void wino_strided_input_line(Emitter *e, const LLVMValueRef d[WINO_STRIDED_POINTS], LLVMValueRef o[WINO_STRIDED_POINTS]);
void wino_strided_output_line(Emitter *e, const LLVMValueRef m[WINO_STRIDED_POINTS], LLVMValueRef o[WINO_OUT]);
static inline int64_t wino_points(const WinoForm *f) { return f->side * f->side; }
/* The nine vectors g[ky*3 + kx] into 36 filters, row by row. */
void wino_transform_filter(Emitter *e, const WinoForm *form, const LLVMValueRef g[9], LLVMValueRef out[WINO_FILTERS]);
#endif
