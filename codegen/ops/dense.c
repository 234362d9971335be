/* Dense layers. Activations are rows [N][K padded], weights rows [O][K padded].
 *
 *     forward  y[n,o]  = sum over k of x[n,k] w[o,k]      dot products: lanes along k, one tree at the end
 *     data     dx[n,k] = sum over o of dy[n,o] w[o,k]     lanes along k
 *     weights  dw[o,k] = sum over n of dy[n,o] x[n,k]     lanes along k, images in order
 *
 * That is how small layers are computed, such as the classifier and the SE gates of CIFAR nets, and forward of one image or two,
 * which takes as long as reading the weights does: pieces are outputs there, images elsewhere. Others are products of our own
 * (dense_product.h), or, with --gemm=openblas, layers with more than GEMM_WEIGHTS weights OpenBLAS's, one per piece. */
#include "codegen/emit/product.h"
#include "codegen/ops/dense_product.h"
#include "codegen/ops/ops.h"

enum { GEMM_WEIGHTS = 1 << 18, PIECE_WORK = 1 << 16, TILE = 4, FEW_IMAGES = 2 };

typedef struct Dense {
    Lowering *l;
    Emitter *e;
    Val id;
    int64_t N, K, O, Kp, Op;         /* p: padded to V */
    int64_t rows, per_piece, pieces; /* rows of the result, or outputs, if by_output; those of a piece */
    bool gemm, by_output;            /* by_output: forward's pieces are outputs of all images */
    LLVMValueRef a, b, c;            /* operand and result buffers */
    LLVMValueRef first, end;         /* rows of this piece */
} Dense;

static Dense dense_of(Lowering *l, Val id, int64_t N, int64_t K, int64_t O, int64_t rows) {
    Dense d = {.l = l, .e = lowering_emitter(l), .id = id, .N = N, .K = K, .O = O, .rows = rows};
    d.Kp = layout_pad(d.e->target, K);
    d.Op = layout_pad(d.e->target, O);
    d.gemm = d.e->openblas && K * O > GEMM_WEIGHTS;
    int64_t work = N * K * O / (rows ? rows : 1) + 1; /* of one row */
    d.per_piece = d.gemm ? 32 : PIECE_WORK / work;
    if (d.per_piece < 1) d.per_piece = 1;
    d.pieces = (rows + d.per_piece - 1) / d.per_piece;
    return d;
}

/* Forward: one image or two, whose pieces would be one or two, are cut by outputs. */
static Dense forward_of(Lowering *l, Val id, int64_t N, int64_t K, int64_t O) {
    Dense d = dense_of(l, id, N, K, O, N);
    if (d.gemm || N > FEW_IMAGES) return d;
    d.by_output = true;
    d.rows = O;
    d.per_piece = layout_pad(d.e->target, PIECE_WORK / (N * K) + 1);
    d.pieces = (O + d.per_piece - 1) / d.per_piece;
    return d;
}

static LLVMValueRef row_at(const Dense *d, LLVMValueRef base, LLVMValueRef row, int64_t stride) {
    return emit_address(d->e, base, emit_mul_int(d->e, row, stride));
}

/* C[rows of the piece] = op(A) op(B): p without what the piece says. */
static void emit_gemm(const Dense *d, Product p) {
    p.m = LLVMBuildSub(d->e->b, d->end, d->first, "");
    emit_product(d->e, &p);
}

/* y[row, o .. o+count): `count` dot products at once. */
static void dot_rows(const Dense *d, LLVMValueRef x, LLVMValueRef y, LLVMValueRef o, int count) {
    Emitter *e = d->e;
    LLVMValueRef sum[TILE], next[TILE], w = row_at(d, d->b, o, d->Kp);
    for (int i = 0; i < count; i++) sum[i] = emit_vec(e, 0);
    Loop k = loop_begin(e, emit_int(e, 0), emit_int(e, d->Kp), e->V, count, sum);
    LLVMValueRef xk = emit_load(e, x, k.iv);
    for (int i = 0; i < count; i++)
        next[i] = emit_fma(e, xk, emit_load(e, w, emit_add_int(e, k.iv, emit_int(e, i * d->Kp))), k.carry[i]);
    loop_end(e, &k, next);
    for (int i = 0; i < count; i++) emit_store_scalar(e, emit_reduce_add(e, k.carry[i]), y, emit_add_int(e, o, emit_int(e, i)));
}

/* Of the last vector, whose outputs are written behind it. */
static void zero_padding(const Dense *d, LLVMValueRef y) {
    if (d->Op > d->O) emit_store(d->e, emit_vec(d->e, 0), y, emit_int(d->e, d->Op - d->e->V));
}

/* y[row, outputs from `first` up to `end`]; first: of a vector. */
static void forward_dots(const Dense *d, LLVMValueRef row, LLVMValueRef first, LLVMValueRef end) {
    Emitter *e = d->e;
    LLVMValueRef x = row_at(d, d->a, row, d->Kp), y = row_at(d, d->c, row, d->Op);
    LLVMValueRef last = LLVMBuildICmp(e->b, LLVMIntEQ, end, emit_int(e, d->O), "");
    int64_t whole = d->O - d->O % TILE;
    Guard pad = guard_begin(e, last);
    zero_padding(d, y);
    guard_end(e, &pad);
    if (whole) {
        Loop o = loop_begin(e, first, emit_min_int(e, end, emit_int(e, whole)), TILE, 0, NULL);
        dot_rows(d, x, y, o.iv, TILE);
        loop_end(e, &o, NULL);
    }
    if (d->O == whole) return;
    Guard rest = guard_begin(e, last);
    dot_rows(d, x, y, emit_int(e, whole), (int)(d->O - whole));
    guard_end(e, &rest);
}

static void emit_forward(const Dense *d) {
    Emitter *e = d->e;
    Loop n = loop_begin(e, d->by_output ? emit_int(e, 0) : d->first, d->by_output ? emit_int(e, d->N) : d->end, 1, 0, NULL);
    if (d->gemm)
        zero_padding(d, row_at(d, d->c, n.iv, d->Op));
    else if (d->by_output)
        forward_dots(d, n.iv, d->first, d->end);
    else
        forward_dots(d, n.iv, emit_int(e, 0), emit_int(e, d->O));
    loop_end(e, &n, NULL);
    if (d->gemm)
        emit_gemm(d, (Product){.transpose_b = true,
                               .n = emit_int(e, d->O),
                               .k = emit_int(e, d->K),
                               .a = row_at(d, d->a, d->first, d->Kp),
                               .b = d->b,
                               .c = row_at(d, d->c, d->first, d->Op),
                               .lda = d->Kp,
                               .ldb = d->Kp,
                               .ldc = d->Op});
}

/* c[row, all k] = sum over j of s(row, j) * b[j, k], lanes along k: s is dy[n, o] or, for the weights, dy[n, row]. */
static void emit_combine(const Dense *d, int64_t terms, int64_t scalar_row, int64_t scalar_term) {
    Emitter *e = d->e;
    Loop row = loop_begin(e, d->first, d->end, 1, 0, NULL);
    LLVMValueRef scalars = row_at(d, d->a, row.iv, scalar_row), out = row_at(d, d->c, row.iv, d->Kp);
    Loop k = loop_begin(e, emit_int(e, 0), emit_int(e, d->Kp), e->V, 0, NULL);
    LLVMValueRef zero = emit_vec(e, 0), next;
    Loop j = loop_begin(e, emit_int(e, 0), emit_int(e, terms), 1, 1, &zero);
    LLVMValueRef s = emit_load_splat(e, scalars, emit_mul_int(e, j.iv, scalar_term));
    next = emit_fma(e, s, emit_load(e, d->b, emit_offset(e, j.iv, d->Kp, k.iv)), j.carry[0]);
    loop_end(e, &j, &next);
    emit_store(e, j.carry[0], out, k.iv);
    loop_end(e, &k, NULL);
    loop_end(e, &row, NULL);
}

static void zero_tails(const Dense *d) { /* the product writes K of the K padded columns */
    Emitter *e = d->e;
    if (d->Kp == d->K) return;
    Loop row = loop_begin(e, d->first, d->end, 1, 0, NULL);
    emit_store(e, emit_vec(e, 0), row_at(d, d->c, row.iv, d->Kp), emit_int(e, d->Kp - e->V));
    loop_end(e, &row, NULL);
}

static void emit_data(const Dense *d) { /* a = dy, b = w, c = dx */
    if (!d->gemm) {
        emit_combine(d, d->O, d->Op, 1);
        return;
    }
    zero_tails(d);
    emit_gemm(d, (Product){.n = emit_int(d->e, d->K),
                           .k = emit_int(d->e, d->O),
                           .a = row_at(d, d->a, d->first, d->Op),
                           .b = d->b,
                           .c = row_at(d, d->c, d->first, d->Kp),
                           .lda = d->Op,
                           .ldb = d->Kp,
                           .ldc = d->Kp});
}

static void emit_weights(const Dense *d) { /* a = dy, b = x, c = dw; a piece is a range of outputs */
    if (!d->gemm) {
        emit_combine(d, d->N, 1, d->Op);
        return;
    }
    zero_tails(d);
    emit_gemm(d, (Product){.transpose_a = true,
                           .n = emit_int(d->e, d->K),
                           .k = emit_int(d->e, d->N),
                           .a = emit_address(d->e, d->a, d->first),
                           .b = d->b,
                           .c = row_at(d, d->c, d->first, d->Kp),
                           .lda = d->Op,
                           .ldb = d->Kp,
                           .ldc = d->Kp});
}

static void lower(Dense *d, const char *name, Val a, Val b, void (*emit)(const Dense *)) {
    Emitter *e = d->e;
    Kernel *kernel;
    if (kernel_begin(d->l, RT_KIND_DENSE, name, value_key(d->l, d->id), 3, &kernel)) {
        d->a = emit_buffer(e, 0);
        d->b = emit_buffer(e, 1);
        d->c = emit_buffer(e, 2);
        d->first = emit_mul_int(e, e->piece, d->per_piece);
        d->end = emit_min_int(e, emit_add_int(e, d->first, emit_int(e, d->per_piece)), emit_int(e, d->rows));
        emit(d);
        kernel_end(d->l, 0);
    }
    Place places[] = {lowering_place(d->l, a), lowering_place(d->l, b), lowering_place(d->l, d->id)};
    double n = (double)d->N, k = (double)d->K, o = (double)d->O;
    kernel_call(d->l, kernel, d->id, places, 3, d->pieces, (KernelCost){2 * n * k * o, 4 * (n * k + k * o + n * o)});
}

/* By a product of our own? */
static bool is_product(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Type a = g->value[v->args[0]].type, b = g->value[v->args[1]].type;
    int64_t N = a.dim[0], others = v->op == OP_DENSE_BWD_WEIGHTS ? b.dim[1] : b.dim[0] * b.dim[1] / a.dim[1];
    bool few = v->op == OP_DENSE && N <= FEW_IMAGES;
    return !lowering_emitter(l)->openblas && !few && dense_is_product(N, a.dim[1], others);
}

uint64_t dense_workspace(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Type x = g->value[v->args[0]].type;
    if (v->op != OP_DENSE || !is_product(l, id)) return 0;
    return dense_product_workspace(lowering_target(l), x.dim[0], x.dim[1], v->type.dim[1]);
}

void lower_DENSE(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Type x = g->value[v->args[0]].type;
    if (is_product(l, id)) {
        dense_product_forward(l, id, v->args[0], v->args[1]);
        return;
    }
    Dense d = forward_of(l, id, x.dim[0], x.dim[1], v->type.dim[1]);
    lower(&d, "dense", v->args[0], v->args[1], emit_forward);
}

void lower_DENSE_BWD_DATA(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Type dy = g->value[v->args[0]].type;
    if (is_product(l, id)) {
        dense_product_data(l, id, v->args[0], v->args[1]);
        return;
    }
    Dense d = dense_of(l, id, dy.dim[0], v->type.dim[1], dy.dim[1], dy.dim[0]);
    lower(&d, "dense_bwd_data", v->args[0], v->args[1], emit_data);
}

void lower_DENSE_BWD_WEIGHTS(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Type x = g->value[v->args[0]].type;
    if (is_product(l, id)) {
        dense_product_weights(l, id, v->args[1], v->args[0]);
        return;
    }
    Dense d = dense_of(l, id, x.dim[0], x.dim[1], v->type.dim[0], v->type.dim[0]);
    lower(&d, "dense_bwd_weights", v->args[1], v->args[0], emit_weights);
}
