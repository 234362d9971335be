/* standardize: each filter minus its mean, over its deviation, and the gradient. A piece is a block of output channels, which are
 * the lanes; sums over a filter's weights are in double, and a mean goes away before squares are taken, so nothing cancels. */
#include "codegen/ops/ops.h"

enum { MAX_SUMS = 2 };

typedef struct Filters {
    Emitter *e;
    Type type;
    double eps;
    LLVMValueRef first;        /* of the piece: [I/V][kh][kw][I in V][O in V] */
    LLVMValueRef mean, scale;  /* wide, f32: 1 / sqrt(variance + eps) */
    LLVMValueRef sum, product; /* backward, wide: means of dy and of dy*y */
} Filters;

/* What a walk over a filter's weights does at one vector: adds to the sums, or stores. `inside`: NULL or whether the input
 * channel is one; behind the last there are zeros. */
typedef void Step(const Filters *f, LLVMValueRef at, LLVMValueRef inside, LLVMValueRef *sum);

static void walk(const Filters *f, Step *step, int nsums, LLVMValueRef *sum) {
    Emitter *e = f->e;
    int64_t taps = f->type.dim[2] * f->type.dim[3], rows = layout_pad(e->target, f->type.dim[1]) * taps;
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, rows), 1, nsums, sum);
    LLVMValueRef next[MAX_SUMS], inside = NULL;
    for (int i = 0; i < nsums; i++) next[i] = row.carry[i];
    if (f->type.dim[1] % e->V) {
        LLVMValueRef block = LLVMBuildUDiv(e->b, row.iv, emit_int(e, taps * e->V), "");
        LLVMValueRef input = emit_offset(e, block, e->V, LLVMBuildURem(e->b, row.iv, emit_int(e, e->V), ""));
        inside = LLVMBuildICmp(e->b, LLVMIntSLT, input, emit_int(e, f->type.dim[1]), "");
    }
    step(f, emit_offset(e, row.iv, e->V, f->first), inside, next);
    loop_end(e, &row, next);
    for (int i = 0; i < nsums; i++) sum[i] = row.carry[i];
}

static void add_if(const Filters *f, LLVMValueRef inside, LLVMValueRef value, LLVMValueRef *sum) {
    Emitter *e = f->e;
    if (inside) value = LLVMBuildSelect(e->b, inside, value, emit_wide_vec(e, 0), "");
    *sum = LLVMBuildFAdd(e->b, *sum, value, "");
}

static LLVMValueRef load(const Filters *f, uint32_t buffer, LLVMValueRef at) {
    return emit_widen(f->e, emit_load(f->e, emit_buffer(f->e, buffer), at));
}

static LLVMValueRef deviation(const Filters *f, LLVMValueRef at) { return LLVMBuildFSub(f->e->b, load(f, 0, at), f->mean, ""); }

/* y at a place. */
static LLVMValueRef standard(const Filters *f, LLVMValueRef at) {
    return LLVMBuildFMul(f->e->b, emit_narrow(f->e, deviation(f, at)), f->scale, "");
}

static void add_weight(const Filters *f, LLVMValueRef at, LLVMValueRef inside, LLVMValueRef *sum) {
    add_if(f, inside, load(f, 0, at), &sum[0]);
}

static void add_square(const Filters *f, LLVMValueRef at, LLVMValueRef inside, LLVMValueRef *sum) {
    LLVMValueRef d = deviation(f, at);
    add_if(f, inside, LLVMBuildFMul(f->e->b, d, d, ""), &sum[0]);
}

static void add_gradient(const Filters *f, LLVMValueRef at, LLVMValueRef inside, LLVMValueRef *sum) {
    LLVMValueRef dy = load(f, 1, at);
    add_if(f, inside, dy, &sum[0]);
    add_if(f, inside, LLVMBuildFMul(f->e->b, dy, emit_widen(f->e, standard(f, at)), ""), &sum[1]);
}

static void store(const Filters *f, uint32_t buffer, LLVMValueRef at, LLVMValueRef inside, LLVMValueRef value) {
    if (inside) value = LLVMBuildSelect(f->e->b, inside, value, emit_vec(f->e, 0), "");
    emit_store(f->e, value, emit_buffer(f->e, buffer), at);
}

static void store_standard(const Filters *f, LLVMValueRef at, LLVMValueRef inside, LLVMValueRef *sum) {
    (void)sum;
    store(f, 1, at, inside, standard(f, at));
}

static void store_gradient(const Filters *f, LLVMValueRef at, LLVMValueRef inside, LLVMValueRef *sum) {
    (void)sum;
    Emitter *e = f->e;
    LLVMValueRef along = LLVMBuildFMul(e->b, emit_widen(e, standard(f, at)), f->product, "");
    LLVMValueRef d = LLVMBuildFSub(e->b, LLVMBuildFSub(e->b, load(f, 1, at), f->sum, ""), along, "");
    store(f, 2, at, inside, LLVMBuildFMul(e->b, emit_narrow(e, d), f->scale, ""));
}

/* The mean over a filter's weights of what a step adds. */
static void means(const Filters *f, Step *step, int n, LLVMValueRef *mean) {
    double weights = (double)(f->type.dim[1] * f->type.dim[2] * f->type.dim[3]);
    for (int i = 0; i < n; i++) mean[i] = emit_wide_vec(f->e, 0);
    walk(f, step, n, mean);
    for (int i = 0; i < n; i++) mean[i] = LLVMBuildFMul(f->e->b, mean[i], emit_wide_vec(f->e, 1 / weights), "");
}

static void emit_filters(Filters *f, bool backward) {
    Emitter *e = f->e;
    LLVMValueRef variance, mean[MAX_SUMS];
    f->first = emit_mul_int(e, e->piece, layout_pad(e->target, f->type.dim[1]) * f->type.dim[2] * f->type.dim[3] * e->V);
    means(f, add_weight, 1, &f->mean);
    means(f, add_square, 1, &variance);
    variance = emit_narrow(e, LLVMBuildFAdd(e->b, variance, emit_wide_vec(e, f->eps), ""));
    f->scale = LLVMBuildFDiv(e->b, emit_vec(e, 1), emit_intrinsic(e, "llvm.sqrt", e->vec, &variance, 1), "");
    if (!backward) {
        walk(f, store_standard, 0, NULL);
        return;
    }
    means(f, add_gradient, 2, mean);
    f->sum = mean[0];
    f->product = mean[1];
    walk(f, store_gradient, 0, NULL);
}

static void lower_filters(Lowering *l, Val id, bool backward) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Filters f = {.e = lowering_emitter(l), .type = v->type, .eps = v->attrs.constant};
    Place places[3];
    uint32_t nplaces = 0;
    for (uint32_t i = 0; i < v->nargs; i++) places[nplaces++] = lowering_place(l, v->args[i]);
    places[nplaces++] = lowering_place(l, id);
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_FILTERS, op_text(v->op), value_key(l, id), nplaces, &kernel)) {
        emit_filters(&f, backward);
        kernel_end(l, 0);
    }
    double n = (double)type_elements(v->type);
    kernel_call(l, kernel, id, places, nplaces, layout_pad(f.e->target, v->type.dim[0]) / f.e->V,
                (KernelCost){(backward ? 14 : 6) * n, (backward ? 12 : 8) * n});
}

void lower_STANDARDIZE(Lowering *l, Val v) { lower_filters(l, v, false); }
void lower_STANDARDIZE_BWD(Lowering *l, Val v) { lower_filters(l, v, true); }
