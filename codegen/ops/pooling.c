/* Pooling, lanes along channels. One piece is one channel block of one image, so every kernel owns the plane it writes and
 * the gradients can add into it tap by tap, in a fixed order, without a scatter.
 *
 * A window is clipped to the plane, so that no tap needs to be asked where it is. Small windows are straight-line code. There
 * a maximum's taps in the padding are moved to the nearest of its taps inside: the same pixel again changes neither a maximum
 * nor which pixel has it first. */
#include "codegen/ops/ops.h"
#include <math.h>

enum { STRAIGHT_TAPS = 25 }; /* of the largest window that is straight-line code */

typedef struct Pool {
    Lowering *l;
    Emitter *e;
    const Value *v;
    int64_t channels, blocks, in[2], out[2]; /* of the large side (x, dx) and of the windowed side (y, dy) */
    bool inside[2];                          /* no window reaches outside of the plane along this axis */
    bool straight;                           /* windows are straight-line code */
    LLVMValueRef cb, in_plane, out_plane;    /* first elements of this piece's planes */
} Pool;

static int64_t kernel_of(const Pool *p, int axis) { return p->v->attrs.window.kernel[axis]; }
static int64_t stride_of(const Pool *p, int axis) { return p->v->attrs.window.stride[axis]; }
static int64_t dilation_of(const Pool *p, int axis) { return p->v->attrs.window.dilation[axis]; }
static int64_t extent_of(const Pool *p, int axis) { return (kernel_of(p, axis) - 1) * dilation_of(p, axis) + 1; }
static int64_t first_of(const Pool *p, int axis, int64_t out) { return out * stride_of(p, axis) - p->v->attrs.window.pad[axis]; }
static int64_t taps(const Pool *p) { return kernel_of(p, 0) * kernel_of(p, 1); }

/* Every window has a tap inside along this axis. */
static bool windows_hold_a_pixel(const Pool *p, int axis) {
    for (int64_t out = 0; out < p->out[axis]; out++) {
        bool holds = false;
        for (int64_t k = 0; k < kernel_of(p, axis) && !holds; k++) {
            int64_t line = first_of(p, axis, out) + k * dilation_of(p, axis);
            holds = line >= 0 && line < p->in[axis];
        }
        if (!holds) return false;
    }
    return true;
}

static Pool pool_of(Lowering *l, Val id, Type large, Type small, bool maximum) {
    Pool p = {.l = l, .e = lowering_emitter(l), .v = &lowering_graph(l)->value[id], .channels = large.dim[1]};
    p.blocks = layout_pad(p.e->target, large.dim[1]) / p.e->V;
    for (int axis = 0; axis < 2; axis++) {
        p.in[axis] = large.dim[2 + axis];
        p.out[axis] = small.dim[2 + axis];
        p.inside[axis] = first_of(&p, axis, 0) >= 0 && first_of(&p, axis, p.out[axis] - 1) + extent_of(&p, axis) <= p.in[axis];
    }
    p.straight = taps(&p) <= STRAIGHT_TAPS;
    for (int axis = 0; axis < 2; axis++)
        p.straight = p.straight && (p.inside[axis] || (maximum && windows_hold_a_pixel(&p, axis)));
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

/* The taps of a window along one axis: tap k is at line first + k * dilation of the plane, those inside are lo to hi - 1. */
typedef struct Reach {
    LLVMValueRef first, lo, hi;
} Reach;

static Reach reach_at(const Pool *p, int axis, LLVMValueRef out) {
    Emitter *e = p->e;
    LLVMValueRef first = emit_offset(e, out, stride_of(p, axis), emit_int(e, -p->v->attrs.window.pad[axis]));
    Reach s = {first, emit_int(e, 0), emit_int(e, kernel_of(p, axis))};
    if (p->inside[axis]) return s;
    LLVMValueRef dilation = emit_int(e, dilation_of(p, axis)), round_up = emit_int(e, dilation_of(p, axis) - 1);
    LLVMValueRef before = LLVMBuildSub(e->b, round_up, first, "");
    LLVMValueRef left = LLVMBuildAdd(e->b, before, emit_int(e, p->in[axis]), "");
    /* The division truncates: what is negative becomes 0 or less, which the maximum corrects, and as hi means none. */
    s.lo = emit_max_int(e, s.lo, LLVMBuildSDiv(e->b, before, dilation, ""));
    s.hi = emit_min_int(e, s.hi, LLVMBuildSDiv(e->b, left, dilation, ""));
    return s;
}

static LLVMValueRef tap_line(const Pool *p, int axis, const Reach *s, LLVMValueRef k) {
    return emit_offset(p->e, k, dilation_of(p, axis), s->first);
}

/* Tap k, or the nearest one inside. */
static LLVMValueRef nearest_line(const Pool *p, int axis, const Reach *s, int64_t k) {
    Emitter *e = p->e;
    LLVMValueRef tap = emit_int(e, k);
    if (!p->inside[axis]) tap = emit_max_int(e, s->lo, emit_min_int(e, tap, LLVMBuildSub(e->b, s->hi, emit_int(e, 1), "")));
    return tap_line(p, axis, s, tap);
}

typedef struct Tap {
    LLVMValueRef element; /* of the large side's plane */
    LLVMValueRef number;  /* which tap, in all lanes: of the window, or in a loop the pixel that it falls on */
    enum { TAP_FIRST, TAP_LATER, TAP_ANY } turn;
} Tap;

/* What is done at a tap; it gives the next values of what is carried from tap to tap. */
typedef void (*AtTap)(const Pool *p, const Tap *tap, const void *with, LLVMValueRef *carry);
enum { MAX_CARRY = 2 };

static void straight_taps(const Pool *p, const Reach reach[2], AtTap at, const void *with, LLVMValueRef *carry) {
    LLVMValueRef column[STRAIGHT_TAPS];
    for (int64_t kx = 0; kx < kernel_of(p, 1); kx++) column[kx] = nearest_line(p, 1, &reach[1], kx);
    for (int64_t ky = 0, number = 0; ky < kernel_of(p, 0); ky++) {
        LLVMValueRef row = nearest_line(p, 0, &reach[0], ky);
        for (int64_t kx = 0; kx < kernel_of(p, 1); kx++, number++) {
            LLVMValueRef pixel = emit_offset(p->e, row, p->in[1], column[kx]);
            Tap tap = {emit_mul_int(p->e, pixel, p->e->V), emit_int_vec(p->e, number), number ? TAP_LATER : TAP_FIRST};
            at(p, &tap, with, carry);
        }
    }
}

/* Visits the window's taps, row by row; in a loop those inside alone. */
static void each_tap(const Pool *p, const Reach reach[2], AtTap at, const void *with, int ncarry, LLVMValueRef *carry) {
    Emitter *e = p->e;
    if (p->straight) {
        straight_taps(p, reach, at, with, carry);
        return;
    }
    Loop ky = loop_begin(e, reach[0].lo, reach[0].hi, 1, ncarry, carry);
    LLVMValueRef row = tap_line(p, 0, &reach[0], ky.iv);
    Loop kx = loop_begin(e, reach[1].lo, reach[1].hi, 1, ncarry, ky.carry);
    LLVMValueRef pixel = emit_offset(e, row, p->in[1], tap_line(p, 1, &reach[1], kx.iv)), next[MAX_CARRY];
    Tap tap = {emit_mul_int(e, pixel, e->V), emit_index_splat(e, pixel), TAP_ANY};
    for (int i = 0; i < ncarry; i++) next[i] = kx.carry[i];
    at(p, &tap, with, next);
    loop_end(e, &kx, next);
    loop_end(e, &ky, kx.carry);
    for (int i = 0; i < ncarry; i++) carry[i] = ky.carry[i];
}

/* ---- forward ---- */

static void add_tap(const Pool *p, const Tap *tap, const void *with, LLVMValueRef *carry) {
    const LLVMValueRef *plane = with;
    carry[0] = LLVMBuildFAdd(p->e->b, carry[0], emit_load(p->e, *plane, tap->element), "");
}

static LLVMValueRef window_average(const Pool *p, LLVMValueRef plane, const Reach reach[2]) {
    LLVMValueRef sum = emit_vec(p->e, 0);
    each_tap(p, reach, add_tap, &plane, 1, &sum);
    return LLVMBuildFMul(p->e->b, sum, emit_vec(p->e, 1 / (double)taps(p)), "");
}

static void raise_to_tap(const Pool *p, const Tap *tap, const void *with, LLVMValueRef *carry) {
    const LLVMValueRef *plane = with;
    carry[0] = emit_greatest(p->e, emit_load(p->e, *plane, tap->element), carry[0]);
}

/* Minus infinity if the window is all padding. */
static LLVMValueRef window_maximum(const Pool *p, LLVMValueRef plane, const Reach reach[2]) {
    LLVMValueRef maximum = emit_vec(p->e, -INFINITY);
    each_tap(p, reach, raise_to_tap, &plane, 1, &maximum);
    return maximum;
}

static void lower_forward(Lowering *l, Val id, const char *name, bool maximum) {
    const Graph *g = lowering_graph(l);
    Type x = g->value[g->value[id].args[0]].type, y = g->value[id].type;
    Pool p = pool_of(l, id, x, y, maximum);
    Emitter *e = p.e;
    Place places[] = {lowering_place(l, p.v->args[0]), lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_POOLING, name, value_key(l, id), 2, &kernel)) {
        kernel_elements(l, 0, places, 2);
        bind_piece(&p);
        LLVMValueRef source = emit_address(e, emit_buffer(e, 0), p.in_plane), target = emit_buffer(e, 1);
        Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[0]), 1, 0, NULL);
        Reach reach[2] = {reach_at(&p, 0, row.iv)};
        Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[1]), 1, 0, NULL);
        reach[1] = reach_at(&p, 1, column.iv);
        LLVMValueRef value = maximum ? window_maximum(&p, source, reach) : window_average(&p, source, reach);
        emit_store(e, emit_mask_channels(e, value, p.cb, p.channels), target, out_element(&p, row.iv, column.iv));
        loop_end(e, &column, NULL);
        loop_end(e, &row, NULL);
        kernel_end(l, 0);
    }
    double n = (double)type_elements(y);
    kernel_call(l, kernel, id, places, 2, x.dim[0] * p.blocks,
                (KernelCost){n * (double)taps(&p), 4 * (n + (double)type_elements(x))});
}

void lower_MAX_POOL(Lowering *l, Val v) { lower_forward(l, v, "max_pool", true); }
void lower_AVG_POOL(Lowering *l, Val v) { lower_forward(l, v, "avg_pool", false); }

/* ---- backward ---- */

/* No pixel is in two windows, so that a tap's gradient is stored and not added. */
static bool windows_are_disjoint(const Pool *p) {
    for (int axis = 0; axis < 2; axis++)
        if (!p->inside[axis] || (stride_of(p, axis) < extent_of(p, axis) && p->out[axis] > 1)) return false;
    return true;
}

/* They are, and every pixel is in one. */
static bool windows_tile_the_plane(const Pool *p) {
    for (int axis = 0; axis < 2; axis++)
        if (kernel_of(p, axis) * p->out[axis] != p->in[axis]) return false;
    return windows_are_disjoint(p);
}

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

/* carry: the maximum so far, the tap that has it. */
static void choose_tap(const Pool *p, const Tap *tap, const void *with, LLVMValueRef *carry) {
    Emitter *e = p->e;
    const LLVMValueRef *plane = with;
    LLVMValueRef value = emit_load(e, *plane, tap->element);
    if (tap->turn == TAP_FIRST) {
        carry[0] = value;
        carry[1] = tap->number;
        return;
    }
    LLVMValueRef nan = LLVMBuildFCmp(e->b, LLVMRealUNO, value, value, "");
    LLVMValueRef taken = LLVMBuildOr(e->b, nan, LLVMBuildFCmp(e->b, LLVMRealOGT, value, carry[0], ""), "");
    carry[0] = LLVMBuildSelect(e->b, taken, value, carry[0], "");
    if (tap->turn == TAP_ANY)
        taken = LLVMBuildOr(e->b, taken, LLVMBuildICmp(e->b, LLVMIntSLT, carry[1], emit_int_vec(e, 0), ""), "");
    carry[1] = LLVMBuildSelect(e->b, taken, tap->number, carry[1], "");
}

/* By lane the tap that has the window's maximum: the first that does, but the last NaN if there is one, as in PyTorch; -1 if the
 * window is all padding. */
static LLVMValueRef tap_of_maximum(const Pool *p, LLVMValueRef plane, const Reach reach[2]) {
    LLVMValueRef carry[MAX_CARRY] = {emit_vec(p->e, -INFINITY), emit_int_vec(p->e, -1)};
    each_tap(p, reach, choose_tap, &plane, 2, carry);
    return carry[1];
}

/* What a window gives to its taps. */
typedef struct Share {
    LLVMValueRef plane, gradient;
    LLVMValueRef tap; /* that alone has it, by lane; NULL: all do */
    bool disjoint;
} Share;

static void give_to_tap(const Pool *p, const Tap *tap, const void *with, LLVMValueRef *carry) {
    (void)carry;
    Emitter *e = p->e;
    const Share *share = with;
    LLVMValueRef before = share->disjoint ? emit_vec(e, 0) : emit_load(e, share->plane, tap->element);
    LLVMValueRef after = share->disjoint ? share->gradient : LLVMBuildFAdd(e->b, before, share->gradient, "");
    if (share->tap) {
        LLVMValueRef hit = LLVMBuildICmp(e->b, LLVMIntEQ, tap->number, share->tap, "");
        after = LLVMBuildSelect(e->b, hit, after, before, "");
    }
    emit_store(e, after, share->plane, tap->element);
}

/* args: [x,] dy -> dx. Where dx is bf16 and has sums, its plane is summed in scratch, so that it is rounded once. */
static void lower_backward(Lowering *l, Val id, const char *name, bool maximum) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    uint32_t nargs = maximum ? 2 : 1;
    Type dy_type = g->value[v->args[nargs - 1]].type;
    Pool p = pool_of(l, id, v->type, dy_type, maximum);
    Emitter *e = p.e;
    Place places[3];
    for (uint32_t i = 0; i < nargs; i++) places[i] = lowering_place(l, v->args[i]);
    places[nargs] = lowering_place(l, id);
    bool disjoint = windows_are_disjoint(&p), in_scratch = places[nargs].bf16 && !disjoint;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_POOLING, name, value_key(l, id), nargs + 1, &kernel)) {
        kernel_elements(l, 0, places, nargs + 1);
        bind_piece(&p);
        LLVMValueRef x_plane = maximum ? emit_address(e, emit_buffer(e, 0), p.in_plane) : NULL;
        LLVMValueRef dy_base = emit_buffer(e, nargs - 1), dx_plane = emit_address(e, emit_buffer(e, nargs), p.in_plane);
        Share share = {.plane = in_scratch ? e->scratch : dx_plane, .disjoint = disjoint};
        if (!windows_tile_the_plane(&p)) zero_plane(&p, share.plane);
        Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[0]), 1, 0, NULL);
        Reach reach[2] = {reach_at(&p, 0, row.iv)};
        Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, p.out[1]), 1, 0, NULL);
        reach[1] = reach_at(&p, 1, column.iv);
        share.gradient = emit_load(e, dy_base, out_element(&p, row.iv, column.iv));
        if (maximum)
            share.tap = tap_of_maximum(&p, x_plane, reach);
        else
            share.gradient = LLVMBuildFMul(e->b, share.gradient, emit_vec(e, 1 / (double)taps(&p)), "");
        each_tap(&p, reach, give_to_tap, &share, 0, NULL);
        loop_end(e, &column, NULL);
        loop_end(e, &row, NULL);
        if (in_scratch) copy_plane(&p, share.plane, dx_plane);
        kernel_end(l, in_scratch ? (uint64_t)(p.in[0] * p.in[1] * e->V) * sizeof(float) : 0);
    }
    double n = (double)type_elements(dy_type), m = (double)type_elements(v->type);
    kernel_call(l, kernel, id, places, nargs + 1, v->type.dim[0] * p.blocks,
                (KernelCost){n * (double)taps(&p), 4 * (n + m * nargs)});
}

void lower_MAX_POOL_BWD(Lowering *l, Val v) { lower_backward(l, v, "max_pool_bwd", true); }
void lower_AVG_POOL_BWD(Lowering *l, Val v) { lower_backward(l, v, "avg_pool_bwd", false); }
