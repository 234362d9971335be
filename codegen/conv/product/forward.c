/* Forward and backward data by products (product.h). */
#include "codegen/conv/product/product.h"
#include "codegen/conv/shared/pack.h"
#include "codegen/conv/shared/prefetch.h"
#include "codegen/emit/loop.h"

/* Input blocks `first` .. first + whole - 1, and `rest` channels of the next; added to sums that a part before left if `begun`
 * (NULL: there is none). */
typedef struct Part {
    LLVMValueRef first, begun;
    int64_t whole, rest;
    bool last; /* finishes; else sums are left for the next */
} Part;

typedef struct Product {
    ConvKernel *k;
    const ProductPlan *p;
    ProductOperand x;
    LLVMValueRef filters, chunk; /* chunk: its number */
    ProductChunk at;
    Part part;
    LLVMValueRef sums, first_group; /* where sums wait, of the groups from that one on */
    LLVMValueRef group, image;      /* first output block / tile.columns; of the chunk */
} Product;

/* The chunk's operand, staged. */
static ProductOperand stage_chunk(const Product *s, LLVMValueRef first_split) {
    Emitter *e = s->k->e;
    const StagePlan *p = &s->p->stage;
    ProductOperand x = {.base = e->scratch, .image = (int64_t)(p->bytes / sizeof(float)), .block = p->block_stride};
    if (!p->copied) {
        x.image = p->blocks * p->block_stride;
        x.base = stage_emit(s->k, &(Staging){p, 0, s->at.first, s->at.band, NULL}, NULL);
        return x;
    }
    Loop image = loop_begin(e, emit_int(e, 0), s->at.images, 1, 0, NULL);
    LLVMValueRef to = emit_address(e, e->scratch, emit_mul_int(e, image.iv, x.image));
    stage_emit(s->k, &(Staging){p, 0, emit_add_int(e, s->at.first, image.iv), s->at.band, to}, first_split);
    loop_end(e, &image, NULL);
    return x;
}

static Finish finish_of(const Product *s, LLVMValueRef cb) {
    Emitter *e = s->k->e;
    const ProductChunks *c = &s->p->chunks;
    LLVMValueRef n = emit_add_int(e, s->at.first, s->image);
    return (Finish){.n = n,
                    .cb = cb,
                    .channels = s->p->c.channels_out,
                    .sums_row = c->bands > 1 ? emit_offset(e, n, c->bands, s->at.band) : n,
                    .banded = c->bands > 1,
                    .sums_rows = c->N * c->bands};
}

static LLVMValueRef output_block(const Product *s, int64_t column) {
    return emit_offset(s->k->e, s->group, s->p->tile.columns, emit_int(s->k->e, column));
}

/* The next output blocks' filters, where all are more than a core's cache holds, come from the last cache: those of the input
 * block that is multiplied, at b, a share of them at each of the `turns` tiles that multiply it. */
static void fetch_filters(const Product *s, const ProductTile *t, LLVMValueRef b, LLVMValueRef turn, int64_t turns) {
    Emitter *e = s->k->e;
    const int64_t line = CACHE_LINE_FLOATS, lines = e->V * e->V / line;
    if (pack_tiles_bytes(&s->p->c, 1) <= PRODUCT_KEPT_FILTERS) return;
    int64_t share = divide_up(t->columns * lines, turns); /* a part of a column's lines, or those of whole columns */
    while (share < lines ? lines % share : share % lines) share++;
    LLVMValueRef first = LLVMBuildURem(e->b, emit_mul_int(e, turn, share), emit_int(e, t->columns * lines), "");
    LLVMValueRef column = LLVMBuildUDiv(e->b, first, emit_int(e, lines), "");
    LLVMValueRef within = LLVMBuildURem(e->b, first, emit_int(e, lines), "");
    LLVMValueRef from = emit_offset(e, within, line, emit_int(e, s->p->tile.columns * t->b_column));
    from = emit_address(e, b, emit_offset(e, column, t->b_column, from));
    for (int64_t i = 0; i < share; i++) emit_prefetch(e, from, emit_int(e, i / lines * t->b_column + i % lines * line), 2);
}

/* Where the group's sums of pixels from `pixel` of the image on wait for the next part. */
static LLVMValueRef sums_at(const Product *s, LLVMValueRef pixel) {
    Emitter *e = s->k->e;
    const ProductChunks *c = &s->p->chunks;
    LLVMValueRef image = emit_offset(e, LLVMBuildSub(e->b, s->group, s->first_group, ""), c->images, s->image);
    return emit_address(e, s->sums, emit_mul_int(e, emit_offset(e, image, c->pixels, pixel), s->p->tile.columns * e->V));
}

/* From there, the i-th accumulator's of a tile. */
static LLVMValueRef sum_at(const Product *s, const ProductTile *t, int i) {
    return emit_int(s->k->e, (i / t->columns * s->p->tile.columns + i % t->columns) * s->k->e->V);
}

/* A tile's accumulators: zeros, or, if a part has begun them, the sums that it left. */
static void begin_tile(const Product *s, const ProductTile *t, LLVMValueRef pixel, LLVMValueRef *acc) {
    Emitter *e = s->k->e;
    LLVMValueRef sums = s->part.begun ? sums_at(s, pixel) : NULL;
    for (int i = 0; i < t->rows * t->columns; i++) {
        acc[i] = emit_vec(e, 0);
        if (sums) acc[i] = LLVMBuildSelect(e->b, s->part.begun, emit_load(e, sums, sum_at(s, t, i)), acc[i], "");
    }
}

static void leave_tile(const Product *s, const ProductTile *t, LLVMValueRef pixel, const LLVMValueRef *acc) {
    LLVMValueRef sums = sums_at(s, pixel);
    for (int i = 0; i < t->rows * t->columns; i++) emit_store(s->k->e, acc[i], sums, sum_at(s, t, i));
}

static void finish_tile(const Product *s, const ProductTile *t, LLVMValueRef pixel, const LLVMValueRef *acc) {
    Emitter *e = s->k->e;
    LLVMValueRef one[LOOP_MAX_CARRY], at[LOOP_MAX_CARRY];
    for (int r = 0; r < t->rows; r++)
        at[r] = emit_offset(e, s->at.band, s->p->chunks.pixels, emit_add_int(e, pixel, emit_int(e, r)));
    for (int q = 0; q < t->columns; q++) {
        Finish f = finish_of(s, output_block(s, q));
        for (int r = 0; r < t->rows; r++) one[r] = acc[r * t->columns + q];
        finish_emit(s->k, &f, t->rows, one, at);
    }
}

/* The group's block of filters over the part of the input channels of its group: whole blocks, then what is left of the last. */
static void multiply(const Product *s, const ProductTile *t, LLVMValueRef pixel, LLVMValueRef turn, int64_t turns,
                     LLVMValueRef *acc) {
    Emitter *e = s->k->e;
    const Correlation *c = &s->p->c;
    int n = t->rows * t->columns;
    int64_t V = c->V, full = s->part.whole, rest = s->part.rest;
    LLVMValueRef first = output_block(s, 0), in = s->part.first;
    if (c->groups > 1) in = emit_mul_int(e, LLVMBuildUDiv(e->b, first, emit_int(e, c->group_out_blocks), ""), c->group_in_blocks);
    LLVMValueRef a = emit_offset(e, s->image, s->x.image, emit_offset(e, in, s->x.block, emit_mul_int(e, pixel, V)));
    a = emit_address(e, s->x.base, a);
    LLVMValueRef b = emit_offset(e, first, t->b_column, emit_mul_int(e, s->part.first, V * V)), next[LOOP_MAX_CARRY];
    b = emit_address(e, s->filters, b);
    begin_tile(s, t, pixel, acc);
    if (full) {
        Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, full), 1, n, acc);
        for (int i = 0; i < n; i++) next[i] = block.carry[i];
        fetch_filters(s, t, emit_address(e, b, emit_mul_int(e, block.iv, V * V)), turn, turns);
        tile_multiply(e, t, emit_address(e, a, emit_mul_int(e, block.iv, s->x.block)),
                      emit_address(e, b, emit_mul_int(e, block.iv, V * V)), V, next);
        loop_end(e, &block, next);
        for (int i = 0; i < n; i++) acc[i] = block.carry[i];
    }
    if (rest)
        tile_multiply(e, t, emit_address(e, a, emit_int(e, full * s->x.block)), emit_address(e, b, emit_int(e, full * V * V)),
                      rest, acc);
}

/* The next chunk's pixels, a share of them at step `step` of the chunk, of which each image and group has `parts`. */
static void fetch_chunk(const Product *s, LLVMValueRef step, int64_t parts) {
    const ProductChunks *c = &s->p->chunks;
    ProductChunk ahead = product_chunk(s->k->e, c, emit_add_int(s->k->e, s->chunk, emit_int(s->k->e, 1)));
    PixelRun run = {.n = ahead.first, .images = c->images, .pixels = c->pixels};
    run.first = emit_mul_int(s->k->e, ahead.band, c->pixels);
    prefetch_staged(s->k, 0, &run, step, divide_up(s->p->c.out_blocks, s->p->tile.columns) * c->images * parts);
}

/* `count` tiles of t.rows pixels from pixel `first` of the image's part on, the index-th of `parts` and its successors. */
static void emit_tiles(const Product *s, ProductTile t, int64_t first, int64_t count, int64_t index, int64_t parts) {
    Emitter *e = s->k->e;
    const int64_t images = s->p->chunks.images;
    Loop tile = loop_begin(e, emit_int(e, 0), emit_int(e, count), 1, 0, NULL);
    LLVMValueRef from = emit_offset(e, tile.iv, t.rows, emit_int(e, first));
    LLVMValueRef number = emit_add_int(e, tile.iv, emit_int(e, index)), acc[LOOP_MAX_CARRY];
    if (s->part.last) fetch_chunk(s, emit_offset(e, emit_offset(e, s->group, images, s->image), parts, number), parts);
    multiply(s, &t, from, emit_offset(e, s->image, parts, number), images * parts, acc);
    s->part.last ? finish_tile(s, &t, from, acc) : leave_tile(s, &t, from, acc);
    loop_end(e, &tile, NULL);
}

static void clear_sums(const Product *s, int columns) {
    for (int q = 0; q < columns; q++) {
        Finish f = finish_of(s, output_block(s, q));
        finish_clear_sums(s->k, &f);
    }
}

/* The image's pixels in tiles of two nearly equal sizes. */
static void emit_image(const Product *s, int columns) {
    ProductTile t = s->p->tile;
    t.columns = columns;
    int64_t pixels = s->p->chunks.pixels, parts = divide_up(pixels, t.rows), small = pixels / parts, larger = pixels % parts;
    if (s->part.last) clear_sums(s, columns);
    t.rows = (int)small + 1;
    if (larger) emit_tiles(s, t, 0, larger, 0, parts);
    t.rows = (int)small;
    emit_tiles(s, t, larger * (small + 1), parts - larger, larger, parts);
}

static void emit_group(Product *s, LLVMValueRef group, int columns) {
    Emitter *e = s->k->e;
    s->group = group;
    Loop image = loop_begin(e, emit_int(e, 0), s->at.images, 1, 0, NULL);
    s->image = image.iv;
    emit_image(s, columns);
    loop_end(e, &image, NULL);
}

/* Groups first .. end - 1, the last of which may have fewer output blocks than a tile has columns. */
static void emit_groups(Product *s, LLVMValueRef first, LLVMValueRef end) {
    Emitter *e = s->k->e;
    const int columns = s->p->tile.columns, rest = (int)(s->p->c.out_blocks % columns);
    LLVMValueRef whole = emit_int(e, s->p->c.out_blocks / columns);
    Loop group = loop_begin(e, first, rest ? emit_min_int(e, end, whole) : end, 1, 0, NULL);
    emit_group(s, group.iv, columns);
    loop_end(e, &group, NULL);
    if (!rest) return;
    Guard last = guard_begin(e, LLVMBuildICmp(e->b, LLVMIntSGT, end, whole, ""));
    emit_group(s, whole, rest);
    guard_end(e, &last);
}

/* The piece's groups of output blocks: all input channels at once, or a part of them for some groups, then the next. */
static void emit_parts(Product *s, const ProductPiece *piece) {
    Emitter *e = s->k->e;
    const ProductPlan *p = s->p;
    const int64_t channels = p->c.channels_in / p->c.groups, before = (p->parts - 1) * p->part;
    const Part last = {.first = emit_int(e, before), .whole = channels / e->V - before, .rest = channels % e->V, .last = true};
    s->part = last;
    if (p->parts == 1) {
        emit_groups(s, piece->first_group, piece->end_group);
        return;
    }
    s->sums = emit_address(e, e->scratch, emit_int(e, p->chunks.images * (int64_t)(p->stage.bytes / sizeof(float))));
    Loop held = loop_begin(e, piece->first_group, piece->end_group, p->held, 0, NULL);
    LLVMValueRef end = emit_min_int(e, emit_add_int(e, held.iv, emit_int(e, p->held)), piece->end_group);
    s->first_group = held.iv;
    Loop part = loop_begin(e, emit_int(e, 0), emit_int(e, p->parts - 1), 1, 0, NULL);
    s->part = (Part){.first = emit_mul_int(e, part.iv, p->part), .whole = p->part};
    s->part.begun = LLVMBuildICmp(e->b, LLVMIntNE, part.iv, emit_int(e, 0), "");
    emit_groups(s, held.iv, end);
    loop_end(e, &part, NULL);
    s->part = last;
    s->part.begun = LLVMConstInt(e->i1, 1, false);
    emit_groups(s, held.iv, end);
    loop_end(e, &held, NULL);
}

static void emit_product(ConvKernel *k, const ProductPlan *p) {
    Emitter *e = k->e;
    Product s = {.k = k, .p = p};
    s.filters = k->filters_buffer != NO_BUFFER ? emit_buffer(e, k->filters_buffer) : k->arg_base[1];
    ProductPiece piece = product_piece(e, p);
    LLVMValueRef first_split = p->splits > 1 ? LLVMBuildICmp(e->b, LLVMIntEQ, piece.split, emit_int(e, 0), "") : NULL;
    Loop chunk = loop_begin(e, piece.lo, piece.hi, 1, 0, NULL);
    s.chunk = chunk.iv;
    s.at = product_chunk(e, &p->chunks, chunk.iv);
    s.x = stage_chunk(&s, first_split);
    emit_parts(&s, &piece);
    loop_end(e, &chunk, NULL);
}

void product_lower(Lowering *l, Val v, const void *plan) {
    const ProductPlan *p = plan;
    ConvKernel kernel_of = conv_kernel(l, v, p->sums_bytes > 0), *k = &kernel_of;
    Kernel *kernel;
    if (p->packed_bytes) {
        conv_kernel_filters(k, p->sums_bytes, p->packed_bytes);
        lower_pack_tiles(k, &p->c, 1, 1, k->places[k->filters_buffer]);
        lowering_resume(l);
    }
    if (kernel_begin(l, conv_kind(k), conv_name(k, &p->s, "_product"), conv_key(k, "product"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        emit_product(k, p);
        uint64_t sums = p->parts > 1 ? (uint64_t)(p->held * p->chunks.images * p->chunks.pixels * p->tile.columns * p->s.V) : 0;
        kernel_end(l, (uint64_t)p->chunks.images * p->stage.bytes + sums * sizeof(float));
    }
    kernel_call(l, kernel, v, k->places, k->nplaces, product_pieces(p), (KernelCost){conv_flops(&p->s), conv_bytes(k)});
    if (p->chunks.bands > 1) finish_combine_sums(k, p->c.N, p->c.channels_out, p->chunks.bands);
}
