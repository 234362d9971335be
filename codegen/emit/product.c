/* Matrix products inside kernels: loops generated here, or a call of rt_sgemm (OpenBLAS, --gemm=openblas).
 *
 *     C[m,n] = op(A)[m,k] B[k,n] + beta C        lanes along n; with B transposed: dot products, lanes along k
 *
 * The generated form walks k in chunks, so that a panel of B stays in cache while all rows pass over it, and keeps a tile of
 * C in registers. A chunk's sum starts from what C holds, so the order of the sum is k's own. */
#include "codegen/emit/product.h"
#include "codegen/emit/arith.h"
#include "codegen/emit/loop.h"
#include "codegen/emit/memory.h"

enum { CHUNK = 256, VECTORS = 2, FEW_ROWS = 4, MANY_ROWS = 8, DOTS = 4 };

/* ---- OpenBLAS ---- */

static void call_openblas(Emitter *e, const Product *p) {
    LLVMTypeRef params[13] = {e->i32, e->i32, e->i64, e->i64, e->i64, e->f32, e->ptr,
                              e->i64, e->ptr, e->i64, e->f32, e->ptr, e->i64};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), params, 13, false);
    LLVMValueRef fn = LLVMGetNamedFunction(e->module, "rt_sgemm");
    if (!fn) fn = LLVMAddFunction(e->module, "rt_sgemm", type);
    LLVMValueRef args[13] = {LLVMConstInt(e->i32, p->transpose_a, false),
                             LLVMConstInt(e->i32, p->transpose_b, false),
                             p->m,
                             p->n,
                             p->k,
                             emit_float(e, 1),
                             p->a,
                             emit_int(e, p->lda),
                             p->b,
                             emit_int(e, p->ldb),
                             emit_float(e, p->beta),
                             p->c,
                             emit_int(e, p->ldc)};
    LLVMBuildCall2(e->b, type, fn, args, 13, "");
}

/* ---- generated ---- */

/* Vectors at any float; `mask` (NULL: all) says which lanes exist. */
static LLVMValueRef load_lanes(Emitter *e, LLVMValueRef base, LLVMValueRef element, LLVMValueRef mask) {
    LLVMValueRef at = emit_address(e, base, element);
    if (mask) {
        LLVMValueRef args[4] = {at, LLVMConstInt(e->i32, sizeof(float), false), mask, LLVMConstNull(e->vec)};
        LLVMTypeRef types[2] = {e->vec, e->ptr};
        unsigned id = LLVMLookupIntrinsicID("llvm.masked.load", 16);
        LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, types, 2);
        return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->context, id, types, 2), fn, args, 4, "");
    }
    LLVMValueRef v = LLVMBuildLoad2(e->b, e->vec, at, "");
    LLVMSetAlignment(v, sizeof(float));
    return v;
}

static void store_lanes(Emitter *e, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element, LLVMValueRef mask) {
    LLVMValueRef at = emit_address(e, base, element);
    if (mask) {
        LLVMValueRef args[4] = {value, at, LLVMConstInt(e->i32, sizeof(float), false), mask};
        LLVMTypeRef types[2] = {e->vec, e->ptr};
        unsigned id = LLVMLookupIntrinsicID("llvm.masked.store", 17);
        LLVMValueRef fn = LLVMGetIntrinsicDeclaration(e->module, id, types, 2);
        LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->context, id, types, 2), fn, args, 4, "");
        return;
    }
    LLVMSetAlignment(LLVMBuildStore(e->b, value, at), sizeof(float));
}

static LLVMValueRef mask_below(Emitter *e, LLVMValueRef count) {
    LLVMValueRef limit = emit_index_splat(e, count);
    return LLVMBuildICmp(e->b, LLVMIntSLT, emit_lanes(e), limit, "");
}

static LLVMValueRef element_at(Emitter *e, LLVMValueRef row, int64_t stride, LLVMValueRef column) {
    return emit_offset(e, row, stride, column);
}

/* A block of C in registers, and the chunk of k that is added to it. */
typedef struct GemmTile {
    Emitter *e;
    const Product *p;
    LLVMValueRef from, to; /* of k */
    LLVMValueRef i, j;     /* first row and column */
    LLVMValueRef mask;     /* of the one vector at the right edge; NULL */
    int rows, vectors;
} GemmTile;

static LLVMValueRef tile_column(const GemmTile *t, int vector) {
    return emit_add_int(t->e, t->j, emit_int(t->e, (int64_t)vector * t->e->V));
}

static LLVMValueRef tile_element(const GemmTile *t, int row, int vector) {
    return element_at(t->e, emit_add_int(t->e, t->i, emit_int(t->e, row)), t->p->ldc, tile_column(t, vector));
}

static void emit_tile(const GemmTile *t) {
    Emitter *e = t->e;
    const Product *p = t->p;
    int count = t->rows * t->vectors;
    LLVMValueRef sum[MANY_ROWS * VECTORS], next[MANY_ROWS * VECTORS], b[VECTORS];
    LLVMValueRef first = LLVMBuildICmp(e->b, LLVMIntEQ, t->from, emit_int(e, 0), "first");
    for (int i = 0; i < count; i++) {
        sum[i] = load_lanes(e, p->c, tile_element(t, i / t->vectors, i % t->vectors), t->mask);
        if (p->beta == 0) sum[i] = LLVMBuildSelect(e->b, first, emit_vec(e, 0), sum[i], "");
    }
    Loop k = loop_begin(e, t->from, t->to, 1, count, sum);
    for (int v = 0; v < t->vectors; v++) b[v] = load_lanes(e, p->b, element_at(e, k.iv, p->ldb, tile_column(t, v)), t->mask);
    for (int r = 0; r < t->rows; r++) {
        LLVMValueRef row = emit_add_int(e, t->i, emit_int(e, r));
        LLVMValueRef at = p->transpose_a ? element_at(e, k.iv, p->lda, row) : element_at(e, row, p->lda, k.iv);
        LLVMValueRef a = emit_load_splat(e, p->a, at);
        for (int v = 0; v < t->vectors; v++) next[r * t->vectors + v] = emit_fma(e, a, b[v], k.carry[r * t->vectors + v]);
    }
    loop_end(e, &k, next);
    for (int i = 0; i < count; i++) store_lanes(e, k.carry[i], p->c, tile_element(t, i / t->vectors, i % t->vectors), t->mask);
}

static LLVMValueRef whole_part(Emitter *e, LLVMValueRef count, int64_t unit) {
    return LLVMBuildSub(e->b, count, LLVMBuildURem(e->b, count, emit_int(e, unit), ""), "whole");
}

/* All rows of the tile's columns. */
static void emit_rows(GemmTile t) {
    Emitter *e = t.e;
    int many = e->target->registers >= 32 ? MANY_ROWS : FEW_ROWS;
    LLVMValueRef whole = whole_part(e, t.p->m, many);
    Loop tall = loop_begin(e, emit_int(e, 0), whole, many, 0, NULL);
    t.i = tall.iv;
    t.rows = many;
    emit_tile(&t);
    loop_end(e, &tall, NULL);
    Loop single = loop_begin(e, whole, t.p->m, 1, 0, NULL);
    t.i = single.iv;
    t.rows = 1;
    emit_tile(&t);
    loop_end(e, &single, NULL);
}

static void emit_columns(GemmTile t) {
    Emitter *e = t.e;
    int64_t wide = (int64_t)VECTORS * e->V;
    LLVMValueRef whole = whole_part(e, t.p->n, wide);
    Loop panel = loop_begin(e, emit_int(e, 0), whole, wide, 0, NULL);
    t.j = panel.iv;
    t.vectors = VECTORS;
    emit_rows(t);
    loop_end(e, &panel, NULL);
    Loop edge = loop_begin(e, whole, t.p->n, e->V, 0, NULL);
    t.j = edge.iv;
    t.vectors = 1;
    t.mask = mask_below(e, LLVMBuildSub(e->b, t.p->n, edge.iv, ""));
    emit_rows(t);
    loop_end(e, &edge, NULL);
}

static void emit_panels(Emitter *e, const Product *p) {
    Loop chunk = loop_begin(e, emit_int(e, 0), p->k, CHUNK, 0, NULL);
    GemmTile t = {.e = e, .p = p, .from = chunk.iv};
    t.to = emit_min_int(e, emit_add_int(e, chunk.iv, emit_int(e, CHUNK)), p->k);
    emit_columns(t);
    loop_end(e, &chunk, NULL);
}

/* C[i, j .. j+count) as dot products, k in whole vectors and a masked rest. */
static void emit_dots(Emitter *e, const Product *p, LLVMValueRef i, LLVMValueRef j, int count) {
    LLVMValueRef sum[DOTS], next[DOTS], whole = whole_part(e, p->k, e->V);
    for (int d = 0; d < count; d++) sum[d] = emit_vec(e, 0);
    LLVMValueRef row[DOTS];
    for (int d = 0; d < count; d++) row[d] = emit_add_int(e, j, emit_int(e, d));
    Loop k = loop_begin(e, emit_int(e, 0), whole, e->V, count, sum);
    LLVMValueRef a = load_lanes(e, p->a, element_at(e, i, p->lda, k.iv), NULL);
    for (int d = 0; d < count; d++)
        next[d] = emit_fma(e, a, load_lanes(e, p->b, element_at(e, row[d], p->ldb, k.iv), NULL), k.carry[d]);
    loop_end(e, &k, next);
    LLVMValueRef rest = mask_below(e, LLVMBuildSub(e->b, p->k, whole, ""));
    a = load_lanes(e, p->a, element_at(e, i, p->lda, whole), rest);
    for (int d = 0; d < count; d++) {
        LLVMValueRef b = load_lanes(e, p->b, element_at(e, row[d], p->ldb, whole), rest);
        LLVMValueRef at = element_at(e, i, p->ldc, row[d]), dot = emit_reduce_add(e, emit_fma(e, a, b, k.carry[d]));
        if (p->beta != 0) dot = LLVMBuildFAdd(e->b, dot, emit_load_scalar(e, p->c, at), "");
        emit_store_scalar(e, dot, p->c, at);
    }
}

/* A few rows of B serve all rows of A before the next few. */
static void emit_dot_products(Emitter *e, const Product *p) {
    LLVMValueRef whole = whole_part(e, p->n, DOTS), begin[2] = {emit_int(e, 0), whole}, end[2] = {whole, p->n};
    for (int part = 0; part < 2; part++) {
        int count = part ? 1 : DOTS;
        Loop j = loop_begin(e, begin[part], end[part], count, 0, NULL);
        Loop i = loop_begin(e, emit_int(e, 0), p->m, 1, 0, NULL);
        emit_dots(e, p, i.iv, j.iv, count);
        loop_end(e, &i, NULL);
        loop_end(e, &j, NULL);
    }
}

void emit_product(Emitter *e, const Product *p) {
    if (e->openblas) e->gemm = GEMM_OPENBLAS;
    if (e->openblas)
        call_openblas(e, p);
    else if (p->transpose_b)
        emit_dot_products(e, p);
    else
        emit_panels(e, p);
}
