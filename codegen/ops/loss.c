/* Softmax, cross-entropy and accuracy over rows of K logits, lanes along the classes. Lanes beyond K are masked: they count as
 * minus infinity in maxima and as zero in sums. Loss and hits are summed over the batch in double, images in order.
 *
 * With label smoothing s the target is q = (1 - s) onehot + s / K, so that
 *     loss = logsumexp(z) - (1 - s) z[y] - s/K sum z,    dz = (softmax(z) - q) dloss / N.
 *
 * Where a net is sure of the label both are small differences of large numbers. So the loss is summed up of distances from the
 * largest logit, and p[y] - 1 is computed as minus the sum of the other probabilities.
 * A row with a NaN gives a NaN loss and counts as wrong. */
#include "codegen/ops/ops.h"
#include <math.h>

enum { SMALL_WORK = 32768 };

typedef struct Rows {
    Lowering *l;
    Emitter *e;
    const Value *v;
    Val id;
    int64_t N, K, Kp, pieces;
    double share; /* of an image in the mean over the batch */
    double smoothing;
} Rows;

static Rows rows_of(Lowering *l, Val id, bool reduces) {
    const Graph *g = lowering_graph(l);
    Rows r = {.l = l, .e = lowering_emitter(l), .v = &g->value[id], .id = id};
    Type z = g->value[r.v->args[0]].type;
    r.N = z.dim[0];
    r.K = z.dim[1];
    r.share = 1.0 / (double)(r.N * lowering_shards(l));
    r.Kp = layout_pad(r.e->target, r.K);
    r.pieces = !reduces && r.N * r.Kp >= SMALL_WORK ? r.N : 1;
    if (op_attr_kind(r.v->op) == ATTR_LOSS) r.smoothing = r.v->attrs.loss.smoothing;
    return r;
}

/* The mean is over the batch, of which this may be a shard. */
static const char *loss_key(const Rows *r) {
    return arena_printf(lowering_arena(r->l), "%s|of %.17g", value_key(r->l, r->id), 1 / r->share);
}

/* The images of this piece. */
static Loop image_loop(const Rows *r, int ncarry, const LLVMValueRef *initial) {
    Emitter *e = r->e;
    if (r->pieces == 1) return loop_begin(e, emit_int(e, 0), emit_int(e, r->N), 1, ncarry, initial);
    return loop_begin(e, e->piece, emit_add_int(e, e->piece, emit_int(e, 1)), 1, ncarry, initial);
}

static LLVMValueRef row_at(const Rows *r, LLVMValueRef base, LLVMValueRef n) {
    return emit_address(r->e, base, emit_mul_int(r->e, n, r->Kp));
}

/* Class numbers of the vector that starts at class k. */
static LLVMValueRef classes_at(const Rows *r, LLVMValueRef k) {
    Emitter *e = r->e;
    return LLVMBuildAdd(e->b, emit_index_splat(e, k), emit_lanes(e), "");
}

static LLVMValueRef masked(const Rows *r, LLVMValueRef value, LLVMValueRef k, double otherwise) {
    Emitter *e = r->e;
    if (r->K == r->Kp) return value;
    LLVMValueRef real = LLVMBuildICmp(e->b, LLVMIntSLT, classes_at(r, k), emit_int_vec(e, r->K), "");
    return LLVMBuildSelect(e->b, real, value, emit_vec(e, otherwise), "");
}

static Loop class_loop(const Rows *r, int ncarry, const LLVMValueRef *initial) {
    return loop_begin(r->e, emit_int(r->e, 0), emit_int(r->e, r->Kp), r->e->V, ncarry, initial);
}

static LLVMValueRef first_lane(Emitter *e, LLVMValueRef v) {
    return LLVMBuildExtractElement(e->b, v, LLVMConstInt(e->i32, 0, 0), "");
}

/* Maximum of the row's logits and the sum of exp(z - maximum), as splats. */
static void softmax_terms(const Rows *r, LLVMValueRef z, LLVMValueRef *maximum, LLVMValueRef *sum) {
    Emitter *e = r->e;
    LLVMValueRef low = emit_vec(e, -INFINITY), zero = emit_vec(e, 0), next;
    Loop k = class_loop(r, 1, &low);
    next = emit_max(e, masked(r, emit_load(e, z, k.iv), k.iv, -INFINITY), k.carry[0]);
    loop_end(e, &k, &next);
    *maximum = emit_splat(e, emit_reduce_max(e, k.carry[0]));
    Loop s = class_loop(r, 1, &zero);
    LLVMValueRef term = emit_exp(e, LLVMBuildFSub(e->b, emit_load(e, z, s.iv), *maximum, ""));
    next = LLVMBuildFAdd(e->b, s.carry[0], masked(r, term, s.iv, 0), "");
    loop_end(e, &s, &next);
    *sum = emit_splat(e, emit_reduce_add(e, s.carry[0]));
}

static LLVMValueRef probability(const Rows *r, LLVMValueRef z, LLVMValueRef k, LLVMValueRef maximum, LLVMValueRef sum) {
    Emitter *e = r->e;
    LLVMValueRef term = emit_exp(e, LLVMBuildFSub(e->b, emit_load(e, z, k), maximum, ""));
    return masked(r, LLVMBuildFDiv(e->b, term, sum, ""), k, 0);
}

static LLVMValueRef label_at(const Rows *r, LLVMValueRef labels, LLVMValueRef n) {
    Emitter *e = r->e;
    LLVMValueRef address = LLVMBuildGEP2(e->b, e->i32, labels, &n, 1, "");
    return LLVMBuildLoad2(e->b, e->i32, address, "label");
}

/* Places of all arguments and result 0, and the call. */
static void call(const Rows *r, Kernel *kernel, double flops) {
    Place places[4];
    for (uint32_t i = 0; i < r->v->nargs; i++) places[i] = lowering_place(r->l, r->v->args[i]);
    places[r->v->nargs] = lowering_place(r->l, r->id);
    kernel_call(r->l, kernel, r->id, places, r->v->nargs + 1, r->pieces,
                (KernelCost){flops * (double)(r->N * r->K), 4.0 * (double)(r->N * r->Kp)});
}

void lower_SOFTMAX(Lowering *l, Val id) {
    Rows r = rows_of(l, id, false);
    Emitter *e = r.e;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_MAP, "softmax", value_key(l, id), 2, &kernel)) {
        Loop n = image_loop(&r, 0, NULL);
        LLVMValueRef z = row_at(&r, emit_buffer(e, 0), n.iv), y = row_at(&r, emit_buffer(e, 1), n.iv), maximum, sum;
        softmax_terms(&r, z, &maximum, &sum);
        Loop k = class_loop(&r, 0, NULL);
        emit_store(e, probability(&r, z, k.iv, maximum, sum), y, k.iv);
        loop_end(e, &k, NULL);
        loop_end(e, &n, NULL);
        kernel_end(l, 0);
    }
    call(&r, kernel, 4);
}

void lower_SOFTMAX_BWD(Lowering *l, Val id) { /* y, dy: dx = y * (dy - sum y dy) */
    Rows r = rows_of(l, id, false);
    Emitter *e = r.e;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_MAP, "softmax_bwd", value_key(l, id), 3, &kernel)) {
        Loop n = image_loop(&r, 0, NULL);
        LLVMValueRef y = row_at(&r, emit_buffer(e, 0), n.iv), dy = row_at(&r, emit_buffer(e, 1), n.iv);
        LLVMValueRef dx = row_at(&r, emit_buffer(e, 2), n.iv), zero = emit_vec(e, 0), next;
        Loop k = class_loop(&r, 1, &zero);
        next = emit_fma(e, emit_load(e, y, k.iv), emit_load(e, dy, k.iv), k.carry[0]);
        loop_end(e, &k, &next);
        LLVMValueRef dot = emit_splat(e, emit_reduce_add(e, k.carry[0]));
        Loop s = class_loop(&r, 0, NULL);
        LLVMValueRef centred = LLVMBuildFSub(e->b, emit_load(e, dy, s.iv), dot, "");
        emit_store(e, masked(&r, LLVMBuildFMul(e->b, emit_load(e, y, s.iv), centred, ""), s.iv, 0), dx, s.iv);
        loop_end(e, &s, NULL);
        loop_end(e, &n, NULL);
        kernel_end(l, 0);
    }
    call(&r, kernel, 4);
}

/* Loss of one row, f32: log(sum) + (1 - s) (maximum - z[y]) + s/K sum (maximum - z). */
static LLVMValueRef row_loss(const Rows *r, LLVMValueRef z, LLVMValueRef label) {
    Emitter *e = r->e;
    LLVMValueRef maximum, sum;
    softmax_terms(r, z, &maximum, &sum);
    LLVMValueRef target = emit_load_scalar(e, z, LLVMBuildZExt(e->b, label, e->i64, ""));
    LLVMValueRef distance = LLVMBuildFSub(e->b, first_lane(e, maximum), target, "");
    if (r->smoothing != 0) distance = LLVMBuildFMul(e->b, emit_float(e, 1 - r->smoothing), distance, "");
    LLVMValueRef loss = LLVMBuildFAdd(e->b, first_lane(e, emit_log(e, sum)), distance, "");
    if (r->smoothing == 0) return loss;
    LLVMValueRef zero = emit_vec(e, 0), next;
    Loop k = class_loop(r, 1, &zero);
    LLVMValueRef below = LLVMBuildFSub(e->b, maximum, emit_load(e, z, k.iv), "");
    next = LLVMBuildFAdd(e->b, k.carry[0], masked(r, below, k.iv, 0), "");
    loop_end(e, &k, &next);
    LLVMValueRef all = LLVMBuildFMul(e->b, emit_float(e, r->smoothing / (double)r->K), emit_reduce_add(e, k.carry[0]), "");
    return LLVMBuildFAdd(e->b, loss, all, "");
}

static LLVMValueRef is_label(const Rows *r, LLVMValueRef k, LLVMValueRef label) {
    return LLVMBuildICmp(r->e->b, LLVMIntEQ, classes_at(r, k), label, "");
}

/* The probability that is not the label's, as a splat. */
static LLVMValueRef other_probability(const Rows *r, LLVMValueRef z, LLVMValueRef label, LLVMValueRef maximum, LLVMValueRef sum) {
    Emitter *e = r->e;
    LLVMValueRef zero = emit_vec(e, 0), next;
    Loop k = class_loop(r, 1, &zero);
    LLVMValueRef p = probability(r, z, k.iv, maximum, sum);
    next = LLVMBuildFAdd(e->b, k.carry[0], LLVMBuildSelect(e->b, is_label(r, k.iv, label), zero, p, ""), "");
    loop_end(e, &k, &next);
    return emit_splat(e, emit_reduce_add(e, k.carry[0]));
}

void lower_CROSS_ENTROPY(Lowering *l, Val id) {
    Rows r = rows_of(l, id, true);
    Emitter *e = r.e;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_LOSS, "cross_entropy", loss_key(&r), 3, &kernel)) {
        LLVMValueRef zero = LLVMConstReal(e->f64, 0), next;
        Loop n = image_loop(&r, 1, &zero);
        LLVMValueRef loss = row_loss(&r, row_at(&r, emit_buffer(e, 0), n.iv), label_at(&r, emit_buffer(e, 1), n.iv));
        next = LLVMBuildFAdd(e->b, n.carry[0], LLVMBuildFPExt(e->b, loss, e->f64, ""), "");
        loop_end(e, &n, &next);
        LLVMValueRef mean = LLVMBuildFMul(e->b, n.carry[0], LLVMConstReal(e->f64, r.share), "");
        emit_store_scalar(e, LLVMBuildFPTrunc(e->b, mean, e->f32, ""), emit_buffer(e, 2), emit_int(e, 0));
        kernel_end(l, 0);
    }
    call(&r, kernel, 4);
}

void lower_CROSS_ENTROPY_BWD(Lowering *l, Val id) {
    Rows r = rows_of(l, id, false);
    Emitter *e = r.e;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_LOSS, "cross_entropy_bwd", loss_key(&r), 4, &kernel)) {
        LLVMValueRef dloss = emit_load_splat(e, emit_buffer(e, 2), emit_int(e, 0));
        LLVMValueRef share = LLVMBuildFMul(e->b, dloss, emit_vec(e, r.share), "");
        double spread = r.smoothing / (double)r.K;
        Loop n = image_loop(&r, 0, NULL);
        LLVMValueRef z = row_at(&r, emit_buffer(e, 0), n.iv), dz = row_at(&r, emit_buffer(e, 3), n.iv), maximum, sum;
        LLVMValueRef label = emit_int_splat(e, label_at(&r, emit_buffer(e, 1), n.iv));
        softmax_terms(&r, z, &maximum, &sum);
        LLVMValueRef others = other_probability(&r, z, label, maximum, sum);
        LLVMValueRef hot = LLVMBuildFSub(e->b, emit_vec(e, r.smoothing - spread), others, "");
        Loop k = class_loop(&r, 0, NULL);
        LLVMValueRef rest = LLVMBuildFSub(e->b, probability(&r, z, k.iv, maximum, sum), emit_vec(e, spread), "");
        LLVMValueRef error = LLVMBuildSelect(e->b, is_label(&r, k.iv, label), hot, rest, "");
        emit_store(e, masked(&r, LLVMBuildFMul(e->b, error, share, ""), k.iv, 0), dz, k.iv);
        loop_end(e, &k, NULL);
        loop_end(e, &n, NULL);
        kernel_end(l, 0);
    }
    call(&r, kernel, 6);
}

/* 1 if the label's logit is the first maximum of its row: no earlier class reaches it and no later one exceeds it. */
static LLVMValueRef row_correct(const Rows *r, LLVMValueRef z, LLVMValueRef label) {
    Emitter *e = r->e;
    LLVMValueRef own = emit_load_splat(e, z, LLVMBuildZExt(e->b, label, e->i64, "")), y = emit_int_splat(e, label);
    LLVMTypeRef bits = LLVMIntTypeInContext(e->context, (unsigned)e->V);
    LLVMValueRef none = LLVMConstNull(bits), next;
    Loop k = class_loop(r, 1, &none);
    LLVMValueRef value = masked(r, emit_load(e, z, k.iv), k.iv, -INFINITY), class = classes_at(r, k.iv);
    LLVMValueRef earlier = LLVMBuildICmp(e->b, LLVMIntSLT, class, y, ""), later = LLVMBuildICmp(e->b, LLVMIntSGT, class, y, "");
    LLVMValueRef real = LLVMBuildICmp(e->b, LLVMIntSLT, class, emit_int_vec(e, r->K), "");
    LLVMValueRef reaches = LLVMBuildAnd(e->b, earlier, LLVMBuildFCmp(e->b, LLVMRealUGE, value, own, ""), "");
    LLVMValueRef exceeds = LLVMBuildAnd(e->b, later, LLVMBuildFCmp(e->b, LLVMRealUGT, value, own, ""), "");
    LLVMValueRef beaten = LLVMBuildAnd(e->b, LLVMBuildOr(e->b, reaches, exceeds, ""), real, "");
    next = LLVMBuildOr(e->b, k.carry[0], LLVMBuildBitCast(e->b, beaten, bits, ""), "");
    loop_end(e, &k, &next);
    LLVMValueRef best = LLVMBuildICmp(e->b, LLVMIntEQ, k.carry[0], none, "");
    return LLVMBuildUIToFP(e->b, best, e->f64, "");
}

void lower_CORRECT(Lowering *l, Val id) {
    Rows r = rows_of(l, id, true);
    Emitter *e = r.e;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_LOSS, "correct", value_key(l, id), 3, &kernel)) {
        LLVMValueRef zero = LLVMConstReal(e->f64, 0), next;
        Loop n = image_loop(&r, 1, &zero);
        LLVMValueRef hit = row_correct(&r, row_at(&r, emit_buffer(e, 0), n.iv), label_at(&r, emit_buffer(e, 1), n.iv));
        next = LLVMBuildFAdd(e->b, n.carry[0], hit, "");
        loop_end(e, &n, &next);
        emit_store_scalar(e, LLVMBuildFPTrunc(e->b, n.carry[0], e->f32, ""), emit_buffer(e, 2), emit_int(e, 0));
        kernel_end(l, 0);
    }
    call(&r, kernel, 1);
}
