/* The gradient of the filters from the planes of x and dY: a piece owns some filters, sums over the tiles of a slab, chunk by
 * chunk, and transforms back to 3x3; slabs behind the first add to what is there. */
#include "codegen/conv/shared/partials.h"
#include "codegen/conv/winograd/wide/wide.h"

typedef struct WideGradient {
    ConvKernel *k;
    const WideWeightsPlan *p;
    LLVMValueRef slab;
    LLVMValueRef group, first, end; /* output blocks / columns; input blocks of their group of channels */
    LLVMValueRef x, dy;             /* planes of the chunk; x from the group's first block on */
    LLVMValueRef count;             /* tiles of the chunk that there are: a multiple of unroll */
    int64_t unroll;
} WideGradient;

static int64_t gradient_pieces(const WideWeightsPlan *p) { /* of a slab */
    return p->s.out_blocks / p->columns * divide_up(wide_group_blocks(&p->s), p->part);
}

/* Is a filter's sum that of one point and one chunk? */
static bool sum_is_whole(const WideTiles *t) { return t->slab == 1 && t->form->side == t->form->filters; }

/* Adds the chunk's gradient of the piece's filters, in the transformed domain: [filter][in block of the piece][i][column][V].
 * The piece's planes of one point are small enough to be met from L1 and L2 by all of its filters. */
static void add_chunk(const WideGradient *s) {
    Emitter *e = s->k->e;
    const WideWeightsPlan *p = s->p;
    int64_t V = e->V, columns = p->columns, rows = min_i64(V, e->target->registers / (2 * columns)), tiles = p->tiles.tiles;
    while (V % rows) rows--;
    int64_t n = rows * columns;
    Loop point = loop_begin(e, emit_int(e, 0), emit_int(e, p->tiles.points), 1, 0, NULL);
    Loop block = loop_begin(e, s->first, s->end, 1, 0, NULL);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, V), rows, 0, NULL);
    LLVMValueRef ib = LLVMBuildSub(e->b, block.iv, s->first, "");
    LLVMValueRef x = emit_address(e, s->x, emit_offset(e, point.iv, p->x.plane, emit_offset(e, block.iv, tiles * V, row.iv)));
    LLVMValueRef dy =
        emit_address(e, s->dy, emit_offset(e, point.iv, p->dy.plane, emit_mul_int(e, s->group, columns * tiles * V)));
    LLVMValueRef zero[LOOP_MAX_CARRY], next[LOOP_MAX_CARRY], column[2];
    LLVMValueRef turn = LLVMBuildURem(e->b, LLVMBuildUDiv(e->b, row.iv, emit_int(e, rows), ""), emit_int(e, columns), "");
    LLVMValueRef ahead = emit_offset(e, turn, tiles * V, emit_int(e, p->dy.plane));
    for (int64_t i = 0; i < n; i++) zero[i] = emit_vec(e, 0);
    Loop tile = loop_begin(e, emit_int(e, 0), s->count, s->unroll, (int)n, zero);
    for (int64_t i = 0; i < n; i++) next[i] = tile.carry[i];
    for (int64_t u = 0; u < s->unroll; u++) {
        LLVMValueRef at = emit_offset(e, tile.iv, V, emit_int(e, u * V));
        LLVMValueRef xt = emit_address(e, x, at), dt = emit_address(e, dy, at);
        /* The next point's, which come from the last cache: of dY, each turn of rows another column. */
        emit_prefetch(e, xt, emit_int(e, p->x.plane), 3);
        emit_prefetch(e, dt, ahead, 3);
        for (int64_t j = 0; j < columns; j++) column[j] = emit_load(e, dt, emit_int(e, j * tiles * V));
        for (int64_t r = 0; r < rows; r++) {
            LLVMValueRef splat = emit_load_splat(e, xt, emit_int(e, r));
            for (int64_t j = 0; j < columns; j++) next[r * columns + j] = emit_fma(e, splat, column[j], next[r * columns + j]);
        }
    }
    loop_end(e, &tile, next);
    LLVMValueRef to = emit_address(e, e->scratch,
                                   emit_offset(e, wide_filter_of(e, p->tiles.form, point.iv), wide_gradient_plane(p),
                                               emit_mul_int(e, emit_offset(e, ib, V, row.iv), columns * V)));
    for (int64_t i = 0; i < n; i++) {
        LLVMValueRef at = emit_int(e, i * V);
        emit_store(e, sum_is_whole(&p->tiles) ? tile.carry[i] : emit_add(e, emit_load(e, to, at), tile.carry[i]), to, at);
    }
    loop_end(e, &row, NULL);
    loop_end(e, &block, NULL);
    loop_end(e, &point, NULL);
}

/* Back to 3x3 filters, into result 0. */
static void store_gradient(const WideGradient *s) {
    Emitter *e = s->k->e;
    const WideWeightsPlan *p = s->p;
    int64_t V = e->V;
    Loop block = loop_begin(e, s->first, s->end, 1, 0, NULL);
    Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, p->columns), 1, 0, NULL);
    Loop i = loop_begin(e, emit_int(e, 0), emit_int(e, V), 1, 0, NULL);
    LLVMValueRef row = emit_offset(e, LLVMBuildSub(e->b, block.iv, s->first, ""), V, i.iv), u[WIDE_MAX_FILTERS], g[9];
    LLVMValueRef from = emit_address(e, e->scratch, emit_mul_int(e, emit_offset(e, row, p->columns, column.iv), V));
    for (int n = 0; n < wide_filters(p->tiles.form); n++) u[n] = emit_load(e, from, emit_int(e, n * wide_gradient_plane(p)));
    p->tiles.form->filter_gradient(e, u, g);
    LLVMValueRef ob = emit_offset(e, s->group, p->columns, column.iv);
    LLVMValueRef filter = emit_mul_int(e, emit_offset(e, ob, wide_group_blocks(&p->s), block.iv), 9 * V * V);
    LLVMValueRef to = emit_address(e, emit_buffer(e, s->k->result_buffer[0]), emit_offset(e, i.iv, V, filter));
    LLVMValueRef first = LLVMBuildICmp(e->b, LLVMIntEQ, s->slab, emit_int(e, 0), "");
    for (int n = 0; n < 9; n++) {
        LLVMValueRef at = emit_int(e, n * V * V);
        if (wide_slabs(&p->tiles) > 1) g[n] = LLVMBuildSelect(e->b, first, g[n], emit_add(e, emit_load(e, to, at), g[n]), "");
        emit_store(e, g[n], to, at);
    }
    loop_end(e, &i, NULL);
    loop_end(e, &column, NULL);
    loop_end(e, &block, NULL);
}

static void emit_gradient(ConvKernel *k, const WideWeightsPlan *p) {
    Emitter *e = k->e;
    const WideTiles *t = &p->tiles;
    int64_t blocks = wide_group_blocks(&p->s), parts = divide_up(blocks, p->part);
    WideGradient s = {.k = k, .p = p};
    LLVMValueRef piece, lo = emit_int(e, 0), hi = emit_int(e, t->chunks);
    s.slab = wide_slab_of(e, t, gradient_pieces(p), &piece);
    if (wide_slabs(t) > 1) {
        lo = emit_mul_int(e, s.slab, t->slab);
        hi = emit_min_int(e, emit_add_int(e, lo, emit_int(e, t->slab)), hi);
    }
    s.group = LLVMBuildUDiv(e->b, piece, emit_int(e, parts), "");
    s.first = emit_mul_int(e, LLVMBuildURem(e->b, piece, emit_int(e, parts), ""), p->part);
    s.end = emit_min_int(e, emit_add_int(e, s.first, emit_int(e, p->part)), emit_int(e, blocks));
    LLVMValueRef channels = LLVMBuildUDiv(e->b, s.group, emit_int(e, p->s.out_blocks / p->s.groups / p->columns), "");
    if (!sum_is_whole(t))
        weights_clear(k, e->scratch, emit_int(e, 0), emit_int(e, wide_filters(t->form) * wide_gradient_plane(p)));
    LLVMValueRef workspace = emit_buffer(e, k->workspace_buffer);
    Loop chunk = loop_begin(e, lo, hi, 1, 0, NULL);
    LLVMValueRef in_slab = wide_chunk_in_slab(e, t, chunk.iv);
    LLVMValueRef in = emit_mul_int(e, channels, blocks * t->tiles * e->V);
    s.x = emit_address(e, workspace, emit_offset(e, in_slab, t->points * p->x.plane, in));
    s.dy = emit_address(e, workspace,
                        emit_offset(e, in_slab, t->points * p->dy.plane, emit_int(e, (int64_t)(p->dy.offset / sizeof(float)))));
    s.count = emit_mul_int(e, wide_chunk_images(e, t, chunk.iv), t->rows * t->columns);
    s.unroll = t->rows * t->columns % 2 == 0 || (t->images % 2 == 0 && t->N % 2 == 0) ? 2 : 1;
    add_chunk(&s);
    loop_end(e, &chunk, NULL);
    if (k->result_buffer[0] != NO_BUFFER) store_gradient(&s);
}

void wide_lower_weights(Lowering *l, Val v, const void *plan) {
    const WideWeightsPlan *p = plan;
    ConvKernel k = conv_kernel(l, v, true);
    Kernel *kernel, *x = wide_planes_kernel(&k, &p->tiles, &p->x), *dy = wide_planes_kernel(&k, &p->tiles, &p->dy);
    WideFill fill[] = {{x, &p->x}, {dy, &p->dy}};
    if (kernel_begin(l, conv_kind(&k), conv_name(&k, &p->s, "_wide"), wide_key(&k, "wide weights", &p->tiles), k.nplaces,
                     &kernel)) {
        conv_kernel_bind(&k);
        emit_gradient(&k, p);
        kernel_end(l, p->scratch);
    }
    wide_call_slabs(&k, kernel, &p->s, &p->tiles, gradient_pieces(p), fill, 2);
}
