/* Forward and backward data from the planes of the input: a piece transforms the filters of a few output blocks where it uses
 * them, multiplies, transforms back and finishes. */
#include "codegen/conv/winograd/wide/wide.h"
#include "codegen/conv/winograd/winograd.h"
#include "codegen/emit/pieces.h"
#include "codegen/emit/transpose.h"

enum { UNROLL = 4 }; /* input channels */

typedef struct Wide {
    ConvKernel *k;
    const WidePlan *p;
    LLVMValueRef group;                 /* first output block / columns */
    LLVMValueRef channels;              /* group of channels that those are in */
    LLVMValueRef chunk, planes;         /* of the chunk, from the group's first input block on */
    LLVMValueRef filters, sums, turned; /* scratch: U; M; a transposed block of filters */
    LLVMValueRef first, end;            /* input blocks of this part, in their group */
} Wide;

/* The nine filters between input block ib and output block ob, transposed for backward data, tap by tap to s->turned. */
static void turn_filters(const Wide *s, LLVMValueRef filters) {
    Emitter *e = s->k->e;
    int64_t V = e->V;
    Loop tap = loop_begin(e, emit_int(e, 0), emit_int(e, 9), 1, 0, NULL);
    LLVMValueRef from = emit_address(e, filters, emit_mul_int(e, tap.iv, V * V)), row[MAX_LANES];
    LLVMValueRef to = emit_address(e, s->turned, emit_mul_int(e, LLVMBuildSub(e->b, emit_int(e, 8), tap.iv, ""), V * V));
    for (int64_t i = 0; i < V; i++) row[i] = emit_load(e, from, emit_int(e, i * V));
    emit_transpose(e, row);
    for (int64_t i = 0; i < V; i++) emit_store(e, row[i], to, emit_int(e, i * V));
    loop_end(e, &tap, NULL);
}

/* U of the input blocks from s->first to s->end: [filter][in block of the part][i][column][V]. */
static void transform_filters(const Wide *s) {
    Emitter *e = s->k->e;
    const WidePlan *p = s->p;
    const Correlation *c = &p->c;
    int64_t V = c->V;
    Loop ib = loop_begin(e, s->first, s->end, 1, 0, NULL);
    Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, p->columns), 1, 0, NULL);
    LLVMValueRef ob = emit_offset(e, s->group, p->columns, column.iv);
    LLVMValueRef block = emit_offset(e, ob, c->group_in_blocks, ib.iv);
    if (c->transposed) {
        LLVMValueRef dy = emit_offset(e, s->channels, c->group_in_blocks, ib.iv);
        block = emit_offset(e, dy, c->group_out_blocks,
                            LLVMBuildSub(e->b, ob, emit_mul_int(e, s->channels, c->group_out_blocks), ""));
    }
    LLVMValueRef stored = emit_address(e, s->k->arg_base[1], emit_mul_int(e, block, 9 * V * V));
    if (c->transposed) turn_filters(s, stored);
    LLVMValueRef source = c->transposed ? s->turned : stored;
    Loop i = loop_begin(e, emit_int(e, 0), emit_int(e, V), 1, 0, NULL);
    LLVMValueRef taps[9], points[WIDE_MAX_FILTERS], from = emit_address(e, source, emit_mul_int(e, i.iv, V));
    for (int n = 0; n < 9; n++) taps[n] = emit_load(e, from, emit_int(e, n * V * V));
    /* The next input block's come from memory or the last cache. Forward they lie behind these; backward data's, a row of output
     * blocks further on, were not faster for it. */
    if (!c->transposed)
        for (int n = 0; n < 9; n++) emit_prefetch(e, from, emit_int(e, (9 + n) * V * V), 3);
    p->tiles.form->filter(e, taps, points);
    LLVMValueRef row = emit_offset(e, LLVMBuildSub(e->b, ib.iv, s->first, ""), V, i.iv);
    LLVMValueRef to = emit_address(e, s->filters, emit_mul_int(e, emit_offset(e, row, p->columns, column.iv), V));
    for (int n = 0; n < wide_filters(p->tiles.form); n++) emit_store(e, points[n], to, emit_int(e, n * wide_filter_plane(p)));
    loop_end(e, &i, NULL);
    loop_end(e, &column, NULL);
    loop_end(e, &ib, NULL);
}

/* acc[row][column] += w[row][k] * u[k][column] over the V channels of a block. */
static void multiply_block(const Wide *s, LLVMValueRef w, LLVMValueRef u, LLVMValueRef *acc) {
    Emitter *e = s->k->e;
    int64_t rows = s->p->tile_rows, columns = s->p->columns, V = e->V;
    int n = (int)(rows * columns);
    Loop channel = loop_begin(e, emit_int(e, 0), emit_int(e, V), UNROLL, n, acc);
    LLVMValueRef w0 = emit_address(e, w, channel.iv), u0 = emit_address(e, u, emit_mul_int(e, channel.iv, columns * V));
    LLVMValueRef next[LOOP_MAX_CARRY], filter[2];
    for (int i = 0; i < n; i++) next[i] = channel.carry[i];
    for (int64_t k = 0; k < UNROLL; k++) {
        for (int64_t j = 0; j < columns; j++) filter[j] = emit_load(e, u0, emit_int(e, (k * columns + j) * V));
        for (int64_t r = 0; r < rows; r++) {
            LLVMValueRef x = emit_load_splat(e, w0, emit_int(e, r * V + k));
            for (int64_t j = 0; j < columns; j++) next[r * columns + j] = emit_fma(e, x, filter[j], next[r * columns + j]);
        }
    }
    loop_end(e, &channel, next);
    for (int i = 0; i < n; i++) acc[i] = channel.carry[i];
}

/* The chunk's sums of this part of the input blocks, added to those of the parts before. */
static void multiply(const Wide *s) {
    Emitter *e = s->k->e;
    const WidePlan *p = s->p;
    int64_t V = e->V, n = p->tile_rows * p->columns;
    LLVMValueRef begun = LLVMBuildICmp(e->b, LLVMIntNE, s->first, emit_int(e, 0), "");
    Loop point = loop_begin(e, emit_int(e, 0), emit_int(e, p->tiles.points), 1, 0, NULL);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, p->tiles.tiles), p->tile_rows, 0, NULL);
    LLVMValueRef w = emit_address(e, s->planes, emit_offset(e, point.iv, p->in.plane, emit_mul_int(e, row.iv, p->in.blocks * V)));
    LLVMValueRef filter = wide_filter_of(e, p->tiles.form, point.iv);
    LLVMValueRef u = emit_address(e, s->filters, emit_mul_int(e, filter, wide_filter_plane(p)));
    LLVMValueRef m = emit_address(e, s->sums, emit_offset(e, point.iv, wide_sum_plane(p), emit_mul_int(e, row.iv, V))),
                 acc[LOOP_MAX_CARRY];
    for (int64_t i = 0; i < n; i++) {
        acc[i] = emit_vec(e, 0);
        if (p->part == p->c.group_in_blocks) continue;
        LLVMValueRef before = emit_load(e, m, emit_int(e, (i % p->columns * p->tiles.tiles + i / p->columns) * V));
        acc[i] = LLVMBuildSelect(e->b, begun, before, acc[i], "");
    }
    Loop block = loop_begin(e, s->first, s->end, 1, (int)n, acc);
    LLVMValueRef next[LOOP_MAX_CARRY];
    for (int64_t i = 0; i < n; i++) next[i] = block.carry[i];
    LLVMValueRef at = emit_address(e, w, emit_mul_int(e, block.iv, p->tile_rows * V));
    /* The next register tile's tiles, which come from the last cache, behind this one's. */
    for (int64_t r = 0; r < p->tile_rows * V; r += CACHE_LINE_FLOATS)
        emit_prefetch(e, at, emit_int(e, p->in.blocks * p->tile_rows * V + r), 3);
    multiply_block(s, at, emit_address(e, u, emit_mul_int(e, LLVMBuildSub(e->b, block.iv, s->first, ""), V * p->columns * V)),
                   next);
    loop_end(e, &block, next);
    for (int64_t i = 0; i < n; i++)
        emit_store(e, block.carry[i], m, emit_int(e, (i % p->columns * p->tiles.tiles + i / p->columns) * V));
    loop_end(e, &row, NULL);
    loop_end(e, &point, NULL);
}

/* The whole map is one tile. */
static void finish_small(const Wide *s, const Finish *f, const LLVMValueRef *out) {
    LLVMValueRef pixel[4];
    for (int i = 0; i < 4; i++) pixel[i] = emit_int(s->k->e, i);
    finish_emit(s->k, f, 4, out, pixel);
}

/* The sums of one output block: back to pixels, image by image. */
static void finish_column(const Wide *s, LLVMValueRef column) {
    Emitter *e = s->k->e;
    const WidePlan *p = s->p;
    const WideTiles *t = &p->tiles;
    Loop image = loop_begin(e, emit_int(e, 0), wide_chunk_images(e, t, s->chunk), 1, 0, NULL);
    LLVMValueRef n = emit_offset(e, s->chunk, t->images, image.iv), cb = emit_offset(e, s->group, p->columns, column), out[16];
    Finish f = {.n = n, .cb = cb, .sums_row = n, .channels = p->c.channels_out};
    finish_clear_sums(s->k, &f);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, t->rows), 1, 0, NULL);
    Loop at = loop_begin(e, emit_int(e, 0), emit_int(e, t->columns), 1, 0, NULL);
    LLVMValueRef tile = emit_offset(e, emit_offset(e, image.iv, t->rows, row.iv), t->columns, at.iv);
    LLVMValueRef src = emit_address(e, s->sums, emit_mul_int(e, emit_offset(e, column, t->tiles, tile), e->V));
    const int64_t spread = t->form->spread;
    for (int64_t phase = 0; phase < spread * spread; phase++) {
        int64_t first[2] = {phase / spread, phase % spread};
        t->form->output(e, src, wide_sum_plane(p), first, out);
        if (t->form->out == 2)
            finish_small(s, &f, out);
        else
            wino_finish_tile(s->k, &p->c, &f, emit_offset(e, row.iv, WINO_OUT * spread, emit_int(e, first[0])),
                             emit_offset(e, at.iv, WINO_OUT * spread, emit_int(e, first[1])), spread, out);
    }
    loop_end(e, &at, NULL);
    loop_end(e, &row, NULL);
    loop_end(e, &image, NULL);
}

int64_t wide_pieces(const WidePlan *p) { return p->c.out_blocks / p->columns * p->splits; }

WidePiece wide_piece(Emitter *e, const WidePlan *p) {
    const WideTiles *t = &p->tiles;
    LLVMValueRef piece, chunks = emit_int(e, t->chunks);
    LLVMValueRef before = emit_mul_int(e, wide_slab_of(e, t, wide_pieces(p), &piece), t->slab);
    LLVMValueRef split = LLVMBuildURem(e->b, piece, emit_int(e, p->splits), "");
    WidePiece at = {.group = LLVMBuildUDiv(e->b, piece, emit_int(e, p->splits), "")};
    at.lo = emit_add_int(e, before, emit_share(e, split, t->slab, p->splits));
    at.hi = emit_add_int(e, before, emit_share(e, emit_add_int(e, split, emit_int(e, 1)), t->slab, p->splits));
    if (t->chunks % t->slab) at.lo = emit_min_int(e, at.lo, chunks), at.hi = emit_min_int(e, at.hi, chunks); /* the last slab */
    return at;
}

static void emit_wide(ConvKernel *k, const WidePlan *p) {
    Emitter *e = k->e;
    int64_t blocks = p->c.group_in_blocks;
    WidePiece at = wide_piece(e, p);
    Wide s = {.k = k, .p = p, .filters = e->scratch, .group = at.group};
    s.channels = LLVMBuildUDiv(e->b, at.group, emit_int(e, p->c.group_out_blocks / p->columns), "");
    s.sums = emit_address(e, s.filters, emit_int(e, wide_filters(p->tiles.form) * wide_filter_plane(p)));
    s.turned = emit_address(e, s.sums, emit_int(e, p->tiles.points * wide_sum_plane(p)));
    LLVMValueRef zero = emit_int(e, 0);
    s.first = zero;
    s.end = emit_int(e, blocks);
    if (p->part == blocks) transform_filters(&s); /* once for all chunks */
    Loop chunk = loop_begin(e, at.lo, at.hi, 1, 0, NULL);
    s.chunk = chunk.iv;
    LLVMValueRef in = emit_mul_int(e, s.channels, blocks * p->tile_rows * e->V);
    s.planes = emit_address(e, emit_buffer(e, k->workspace_buffer),
                            emit_offset(e, wide_chunk_in_slab(e, &p->tiles, chunk.iv), p->tiles.points * p->in.plane, in));
    if (p->part == blocks) {
        multiply(&s);
    } else {
        Loop part = loop_begin(e, zero, emit_int(e, blocks), p->part, 0, NULL);
        s.first = part.iv;
        s.end = emit_add_int(e, part.iv, emit_int(e, p->part));
        if (blocks % p->part) s.end = emit_min_int(e, s.end, emit_int(e, blocks));
        transform_filters(&s);
        multiply(&s);
        loop_end(e, &part, NULL);
    }
    Loop column = loop_begin(e, zero, emit_int(e, p->columns), 1, 0, NULL);
    finish_column(&s, column.iv);
    loop_end(e, &column, NULL);
    loop_end(e, &chunk, NULL);
}

void wide_lower(Lowering *l, Val v, const void *plan) {
    const WidePlan *p = plan;
    ConvKernel k = conv_kernel(l, v, true);
    Kernel *kernel;
    WideFill fill = {wide_planes_kernel(&k, &p->tiles, &p->in), &p->in};
    if (kernel_begin(l, conv_kind(&k), conv_name(&k, &p->s, "_wide"), wide_key(&k, "wide", &p->tiles), k.nplaces, &kernel)) {
        conv_kernel_bind(&k);
        emit_wide(&k, p);
        kernel_end(l, p->scratch);
    }
    wide_call_slabs(&k, kernel, &p->s, &p->tiles, wide_pieces(p), &fill, 1);
}
