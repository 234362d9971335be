/* Pooling, lanes along channels. One piece is one channel block of one image, so every kernel owns the plane it writes and
 * the gradients can add into it tap by tap, in a fixed order, without a scatter. */
#include "codegen/ops/ops.h"
#include <math.h>

typedef struct Pool {
    Lowering *l;
    Emitter *e;
    const Value *v;
    int64_t channels, blocks, in[2], out[2]; /* of the large side (x, dx) and of the windowed side (y, dy) */
    LLVMValueRef cb, in_plane, out_plane;    /* first elements of this piece's planes */
} Pool;

static Pool pool_of(Lowering *l, Val id, Type large, Type small) {
    Pool p = {.l = l, .e = lowering_emitter(l), .v = &lowering_graph(l)->value[id], .channels = large.dim[1]};
    p.blocks = layout_pad(p.e->target, large.dim[1]) / p.e->V;
    for (int axis = 0; axis < 2; axis++) {
        p.in[axis] = large.dim[2 + axis];
        p.out[axis] = small.dim[2 + axis];
    }
    return p;
}

static void bind_piece(Pool *p) {
    Emitter *e = p->e;
    p->cb = LLVMBuildURem(e->b, e->piece, emit_int(e, p->blocks), "cb");
    p->in_plane = emit_mul_int(e, e->piece, p->in[0] * p->in[1] * e->V);
    p->out_plane = emit_mul_int(e, e->piece, p->out[0] * p->out[1] * e->V);
}

/* Element of the windowed side at output pixel (y, x). */
static LLVMValueRef out_element(const Pool *p, LLVMValueRef y, LLVMValueRef x) {
    return emit_offset(p->e, emit_offset(p->e, y, p->out[1], x), p->e->V, p->out_plane);
}

/* Where one tap of a window falls in the plane of the large side. */
typedef struct Tap {
    LLVMValueRef element, inside; /* inside: i1 */
} Tap;

static LLVMValueRef tap_line(const Pool *p, int axis, LLVMValueRef out, LLVMValueRef k, LLVMValueRef *inside) {
    Emitter *e = p->e;
    LLVMValueRef base = emit_offset(e, out, p->v->attrs.window.stride[axis], emit_int(e, -p->v->attrs.window.pad[axis]));
    LLVMValueRef line = emit_offset(e, k, p->v->attrs.window.dilation[axis], base);
    *inside = LLVMBuildICmp(e->b, LLVMIntULT, line, emit_int(e, p->in[axis]), ""); /* negative lines are huge unsigned */
    return line;
}

static Tap tap_at(const Pool *p, LLVMValueRef y, LLVMValueRef x, LLVMValueRef ky, LLVMValueRef kx) {
    Emitter *e = p->e;
    LLVMValueRef row_inside, column_inside;
    LLVMValueRef row = tap_line(p, 0, y, ky, &row_inside), column = tap_line(p, 1, x, kx, &column_inside);
    LLVMValueRef inside = LLVMBuildAnd(e->b, row_inside, column_inside, "");
    LLVMValueRef element = emit_mul_int(e, emit_offset(e, row, p->in[1], column), e->V);
    return (Tap){element, inside};
}

/* A tap's vector, or `outside` where the tap falls into the padding (the load then reads the plane's first pixel). */
static LLVMValueRef tap_value(const Pool *p, Tap tap, LLVMValueRef plane, LLVMValueRef outside) {
    Emitter *e = p->e;
    LLVMValueRef safe = LLVMBuildSelect(e->b, tap.inside, tap.element, emit_int(e, 0), "");
    return LLVMBuildSelect(e->b, tap.inside, emit_load(e, plane, safe), outside, "");
}

/* The sum of all taps of the window of output pixel (y, x). */
static LLVMValueRef window_sum(const Pool *p, LLVMValueRef plane, LLVMValueRef y, LLVMValueRef x) {
    Emitter *e = p->e;
    LLVMValueRef zero = emit_vec(e, 0), next;
    Loop ky = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[0]), 1, 1, &zero);
    Loop kx = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[1]), 1, 1, &ky.carry[0]);
    next = LLVMBuildFAdd(e->b, kx.carry[0], tap_value(p, tap_at(p, y, x, ky.iv, kx.iv), plane, zero), "");
    loop_end(e, &kx, &next);
    loop_end(e, &ky, &kx.carry[0]);
    return ky.carry[0];
}

/* The number of tap (ky, kx), in all lanes. */
static LLVMValueRef tap_number(const Pool *p, LLVMValueRef ky, LLVMValueRef kx) {
    Emitter *e = p->e;
    LLVMValueRef number = emit_offset(e, ky, p->v->attrs.window.kernel[1], kx);
    return emit_int_splat(e, LLVMBuildTrunc(e->b, number, e->i32, ""));
}

/* The maximum of the window of output pixel (y, x), minus infinity if the window is all padding; and, unless `tap` is NULL, by
 * lane the tap that has it: the first that does, but the last NaN if there is one, as in PyTorch; -1 if there is none. */
static LLVMValueRef window_maximum(const Pool *p, LLVMValueRef plane, LLVMValueRef y, LLVMValueRef x, LLVMValueRef *tap) {
    Emitter *e = p->e;
    LLVMValueRef start[2] = {emit_vec(e, -INFINITY), emit_int_vec(e, -1)}, next[2];
    int carry = tap ? 2 : 1;
    Loop ky = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[0]), 1, carry, start);
    Loop kx = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[1]), 1, carry, ky.carry);
    Tap at = tap_at(p, y, x, ky.iv, kx.iv);
    LLVMValueRef value = tap_value(p, at, plane, start[0]), maximum = kx.carry[0];
    LLVMValueRef nan = LLVMBuildFCmp(e->b, LLVMRealUNO, value, value, "");
    LLVMValueRef taken = LLVMBuildOr(e->b, nan, LLVMBuildFCmp(e->b, LLVMRealOGT, value, maximum, ""), "");
    next[0] = LLVMBuildSelect(e->b, taken, value, maximum, "");
    if (tap) {
        LLVMValueRef first = LLVMBuildICmp(e->b, LLVMIntSLT, kx.carry[1], emit_int_vec(e, 0), "");
        LLVMValueRef chosen =
            LLVMBuildSelect(e->b, LLVMBuildOr(e->b, taken, first, ""), tap_number(p, ky.iv, kx.iv), kx.carry[1], "");
        next[1] = LLVMBuildSelect(e->b, at.inside, chosen, kx.carry[1], "");
    }
    loop_end(e, &kx, next);
    loop_end(e, &ky, kx.carry);
    if (tap) *tap = ky.carry[1];
    return ky.carry[0];
}

static double taps(const Pool *p) { return (double)(p->v->attrs.window.kernel[0] * p->v->attrs.window.kernel[1]); }

static void lower_forward(Lowering *l, Val id, const char *name, bool maximum) {
    const Graph *g = lowering_graph(l);
    Type x = g->value[g->value[id].args[0]].type, y = g->value[id].type;
    Pool p = pool_of(l, id, x, y);
    Emitter *e = p.e;
    Place places[] = {lowering_place(l, p.v->args[0]), lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_POOLING, name, value_key(l, id), 2, &kernel)) {
        kernel_elements(l, 0, places, 2);
        bind_piece(&p);
        LLVMValueRef source = emit_address(e, emit_buffer(e, 0), p.in_plane), target = emit_buffer(e, 1);
        Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[0]), 1, 0, NULL);
        Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[1]), 1, 0, NULL);
        LLVMValueRef value = maximum
                                 ? window_maximum(&p, source, row.iv, column.iv, NULL)
                                 : LLVMBuildFMul(e->b, window_sum(&p, source, row.iv, column.iv), emit_vec(e, 1 / taps(&p)), "");
        emit_store(e, emit_mask_channels(e, value, p.cb, p.channels), target, out_element(&p, row.iv, column.iv));
        loop_end(e, &column, NULL);
        loop_end(e, &row, NULL);
        kernel_end(l, 0);
    }
    double n = (double)type_elements(y);
    kernel_call(l, kernel, id, places, 2, x.dim[0] * p.blocks, (KernelCost){n * taps(&p), 4 * (n + (double)type_elements(x))});
}

void lower_MAX_POOL(Lowering *l, Val v) { lower_forward(l, v, "max_pool", true); }
void lower_AVG_POOL(Lowering *l, Val v) { lower_forward(l, v, "avg_pool", false); }

static void zero_plane(const Pool *p, LLVMValueRef plane) {
    Emitter *e = p->e;
    Loop pixel = loop_begin(e, emit_int(e, 0), emit_int(e, p->in[0] * p->in[1]), 1, 0, NULL);
    emit_store(e, emit_vec(e, 0), plane, emit_mul_int(e, pixel.iv, e->V));
    loop_end(e, &pixel, NULL);
}

static void copy_plane(const Pool *p, LLVMValueRef from, LLVMValueRef to) {
    Emitter *e = p->e;
    Loop pixel = loop_begin(e, emit_int(e, 0), emit_int(e, p->in[0] * p->in[1]), 1, 0, NULL);
    LLVMValueRef at = emit_mul_int(e, pixel.iv, e->V);
    emit_store(e, emit_load(e, from, at), to, at);
    loop_end(e, &pixel, NULL);
}

static void accumulate(const Pool *p, LLVMValueRef plane, Tap tap, LLVMValueRef value) {
    Emitter *e = p->e;
    Guard guard = guard_begin(e, tap.inside);
    emit_store(e, LLVMBuildFAdd(e->b, emit_load(e, plane, tap.element), value, ""), plane, tap.element);
    guard_end(e, &guard);
}

/* Gives dy to the tap of the window that holds its maximum, lane by lane. */
static void max_window(const Pool *p, LLVMValueRef x_plane, LLVMValueRef dx_plane, LLVMValueRef dy, LLVMValueRef y,
                       LLVMValueRef x) {
    Emitter *e = p->e;
    LLVMValueRef chosen;
    window_maximum(p, x_plane, y, x, &chosen);
    Loop ky = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[0]), 1, 0, NULL);
    Loop kx = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[1]), 1, 0, NULL);
    LLVMValueRef hit = LLVMBuildICmp(e->b, LLVMIntEQ, tap_number(p, ky.iv, kx.iv), chosen, "");
    accumulate(p, dx_plane, tap_at(p, y, x, ky.iv, kx.iv), LLVMBuildSelect(e->b, hit, dy, emit_vec(e, 0), ""));
    loop_end(e, &kx, NULL);
    loop_end(e, &ky, NULL);
}

static void average_window(const Pool *p, LLVMValueRef dx_plane, LLVMValueRef dy, LLVMValueRef y, LLVMValueRef x) {
    Emitter *e = p->e;
    LLVMValueRef share = LLVMBuildFMul(e->b, dy, emit_vec(e, 1 / taps(p)), "");
    Loop ky = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[0]), 1, 0, NULL);
    Loop kx = loop_begin(e, emit_int(e, 0), emit_int(e, p->v->attrs.window.kernel[1]), 1, 0, NULL);
    accumulate(p, dx_plane, tap_at(p, y, x, ky.iv, kx.iv), share);
    loop_end(e, &kx, NULL);
    loop_end(e, &ky, NULL);
}

/* args: [x,] dy -> dx. Where dx is bf16 its plane is summed in scratch, so that it is rounded once. */
static void lower_backward(Lowering *l, Val id, const char *name, bool maximum) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    uint32_t nargs = maximum ? 2 : 1;
    Type dy_type = g->value[v->args[nargs - 1]].type;
    Pool p = pool_of(l, id, v->type, dy_type);
    Emitter *e = p.e;
    Place places[3];
    for (uint32_t i = 0; i < nargs; i++) places[i] = lowering_place(l, v->args[i]);
    places[nargs] = lowering_place(l, id);
    bool in_scratch = places[nargs].bf16;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_POOLING, name, value_key(l, id), nargs + 1, &kernel)) {
        kernel_elements(l, 0, places, nargs + 1);
        bind_piece(&p);
        LLVMValueRef x_plane = maximum ? emit_address(e, emit_buffer(e, 0), p.in_plane) : NULL;
        LLVMValueRef dy_base = emit_buffer(e, nargs - 1), dx_plane = emit_address(e, emit_buffer(e, nargs), p.in_plane);
        LLVMValueRef sum = in_scratch ? e->scratch : dx_plane;
        zero_plane(&p, sum);
        Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[0]), 1, 0, NULL);
        Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[1]), 1, 0, NULL);
        LLVMValueRef dy = emit_load(e, dy_base, out_element(&p, row.iv, column.iv));
        if (maximum)
            max_window(&p, x_plane, sum, dy, row.iv, column.iv);
        else
            average_window(&p, sum, dy, row.iv, column.iv);
        loop_end(e, &column, NULL);
        loop_end(e, &row, NULL);
        if (in_scratch) copy_plane(&p, sum, dx_plane);
        kernel_end(l, in_scratch ? (uint64_t)(p.in[0] * p.in[1] * e->V) * sizeof(float) : 0);
    }
    double n = (double)type_elements(dy_type), m = (double)type_elements(v->type);
    kernel_call(l, kernel, id, places, nargs + 1, v->type.dim[0] * p.blocks, (KernelCost){n * taps(&p), 4 * (n + m * nargs)});
}

void lower_MAX_POOL_BWD(Lowering *l, Val v) { lower_backward(l, v, "max_pool_bwd", true); }
void lower_AVG_POOL_BWD(Lowering *l, Val v) { lower_backward(l, v, "avg_pool_bwd", false); }
