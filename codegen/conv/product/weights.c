/* The gradient of the filters by products (product.h): dW[o][i] = sum over pixels of x[i][pixel] * dy[o][pixel].
 *
 * A register tile is a few input channels by a few output blocks, summed over the chunk's pixels from zero and added to the
 * gradient once a chunk. Rows of filters beyond the input channels stay zero. */
#include "codegen/conv/product/product.h"
#include "codegen/conv/shared/partials.h"
#include "codegen/conv/shared/prefetch.h"
#include "codegen/emit/loop.h"

typedef struct Gradient {
    ConvKernel *k;
    const ProductWeightsPlan *p;
    ProductWeightsPiece piece;
    LLVMValueRef channels; /* group of channels */
    LLVMValueRef gradient; /* the piece's */
    ProductOperand x, dy;  /* x: from the piece's first input block on; dy: from the tile's output blocks on */
    LLVMValueRef chunk;
    ProductChunk at;
    int columns;            /* output blocks of the tile: the last ones may be fewer */
    LLVMValueRef group, in; /* first output block / tile.columns; input block of the group of channels */
} Gradient;

static LLVMValueRef is_zero(Emitter *e, LLVMValueRef v) { return LLVMBuildICmp(e->b, LLVMIntEQ, v, emit_int(e, 0), ""); }

static LLVMValueRef first_block(const Gradient *s) { return emit_mul_int(s->k->e, s->group, s->p->tile.columns); }

/* `blocks` blocks of an operand from `first` on: staged one after the other into scratch, or where they are. */
static ProductOperand stage_blocks(const Gradient *s, int operand, LLVMValueRef first, LLVMValueRef blocks, LLVMValueRef scratch,
                                   LLVMValueRef store_if) {
    Emitter *e = s->k->e;
    const StagePlan *p = operand ? &s->p->dy : &s->p->x;
    const ProductChunks *c = &s->p->chunks;
    Staging staging = {p, operand, s->at.first, s->at.band, scratch};
    if (!p->copied) return (ProductOperand){stage_block(s->k, &staging, first), p->blocks * p->block_stride, p->block_stride};
    ProductOperand to = {scratch, p->block_stride, c->images * p->block_stride};
    Loop block = loop_begin(e, emit_int(e, 0), blocks, 1, 0, NULL);
    Loop image = loop_begin(e, emit_int(e, 0), s->at.images, 1, 0, NULL);
    staging.n = emit_add_int(e, s->at.first, image.iv);
    staging.scratch = emit_address(e, scratch, emit_offset(e, block.iv, to.block, emit_mul_int(e, image.iv, to.image)));
    stage_block_lines(s->k, &staging, emit_add_int(e, first, block.iv), emit_int(e, 0), emit_int(e, p->lines[0]), store_if);
    loop_end(e, &image, NULL);
    loop_end(e, &block, NULL);
    return to;
}

/* The next chunk's lines are fetched a few at each tile. */
static void fetch_ahead(const Gradient *s, LLVMValueRef row) {
    Emitter *e = s->k->e;
    const ProductWeightsPlan *p = s->p;
    int64_t tiles = divide_up(e->V, p->tile.rows), in = p->part,
            out = divide_up(divide_up(p->s.out_blocks, p->tile.columns), p->ranges);
    LLVMValueRef group = LLVMBuildSub(e->b, s->group, s->piece.first_group, "");
    LLVMValueRef block = LLVMBuildSub(e->b, s->in, s->piece.first_in, "");
    LLVMValueRef step = emit_offset(e, emit_offset(e, group, in, block), tiles, row);
    ProductChunk ahead = product_chunk(e, &p->chunks, emit_add_int(e, s->chunk, emit_int(e, 1)));
    PixelRun run = {.n = ahead.first, .images = p->chunks.images, .pixels = p->chunks.pixels};
    run.first = emit_mul_int(e, ahead.band, p->chunks.pixels);
    run.block = emit_offset(e, s->channels, divide_up(p->s.I / p->s.groups, e->V), s->piece.first_in);
    run.blocks = in;
    prefetch_staged(s->k, 0, &run, step, in * out * tiles);
    run.block = emit_mul_int(e, s->piece.first_group, p->tile.columns);
    run.blocks = out * p->tile.columns;
    prefetch_staged(s->k, 1, &run, step, in * out * tiles);
}

/* Input channels from `row` on, as many as the tile has rows, of input block s->in. */
static void emit_tile(const Gradient *s, const ProductTile *t, LLVMValueRef row) {
    Emitter *e = s->k->e;
    const ProductWeightsPlan *p = s->p;
    const int64_t V = e->V, blocks = divide_up(p->s.I / p->s.groups, V);
    int n = t->rows * t->columns;
    LLVMValueRef acc[LOOP_MAX_CARRY], next[LOOP_MAX_CARRY];
    LLVMValueRef in = LLVMBuildSub(e->b, s->in, s->piece.first_in, "");
    LLVMValueRef a = emit_address(e, s->x.base, emit_offset(e, in, s->x.block, row));
    fetch_ahead(s, LLVMBuildUDiv(e->b, row, emit_int(e, p->tile.rows), ""));
    for (int i = 0; i < n; i++) acc[i] = emit_vec(e, 0);
    Loop image = loop_begin(e, emit_int(e, 0), s->at.images, 1, n, acc);
    for (int i = 0; i < n; i++) next[i] = image.carry[i];
    tile_multiply(e, t, emit_address(e, a, emit_mul_int(e, image.iv, s->x.image)),
                  emit_address(e, s->dy.base, emit_mul_int(e, image.iv, s->dy.image)), p->chunks.pixels, next);
    loop_end(e, &image, next);
    LLVMValueRef to = emit_address(e, s->gradient,
                                   emit_offset(e, emit_offset(e, first_block(s), blocks, s->in), V * V, emit_mul_int(e, row, V)));
    for (int i = 0; i < n; i++) {
        LLVMValueRef element = emit_int(e, i % t->columns * blocks * V * V + i / t->columns * V);
        emit_store(e, emit_add(e, emit_load(e, to, element), image.carry[i]), to, element);
    }
}

/* `channels` input channels of block s->in. */
static void emit_block(const Gradient *s, int64_t channels) {
    Emitter *e = s->k->e;
    ProductTile t = s->p->tile;
    t.columns = s->columns;
    int64_t whole = channels - channels % t.rows;
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, whole), t.rows, 0, NULL);
    emit_tile(s, &t, row.iv);
    loop_end(e, &row, NULL);
    t.rows = (int)(channels - whole);
    if (t.rows) emit_tile(s, &t, emit_int(e, whole));
}

static void emit_group(Gradient *s, LLVMValueRef group, int columns, LLVMValueRef scratch) {
    Emitter *e = s->k->e;
    const ProductWeightsPlan *p = s->p;
    s->group = group;
    s->columns = columns;
    s->dy = stage_blocks(s, 1, first_block(s), emit_int(e, columns), scratch, p->parts > 1 ? is_zero(e, s->piece.part) : NULL);
    if (!s->gradient) return;
    int64_t channels = p->s.I / p->s.groups, whole = channels / e->V, rest = channels % e->V;
    LLVMValueRef end = rest ? emit_min_int(e, s->piece.end_in, emit_int(e, whole)) : s->piece.end_in;
    Loop in = loop_begin(e, s->piece.first_in, end, 1, 0, NULL);
    s->in = in.iv;
    emit_block(s, e->V);
    loop_end(e, &in, NULL);
    if (!rest) return;
    Guard last = guard_begin(e, LLVMBuildICmp(e->b, LLVMIntSGT, s->piece.end_in, emit_int(e, whole), ""));
    s->in = emit_int(e, whole);
    emit_block(s, rest);
    guard_end(e, &last);
}

static void clear(const Gradient *s) {
    Emitter *e = s->k->e;
    const ProductWeightsPlan *p = s->p;
    const int64_t blocks = divide_up(p->s.I / p->s.groups, e->V), filters = e->V * e->V;
    Loop block = loop_begin(e, emit_mul_int(e, s->piece.first_group, p->tile.columns),
                            emit_min_int(e, emit_mul_int(e, s->piece.end_group, p->tile.columns), emit_int(e, p->s.out_blocks)),
                            1, 0, NULL);
    LLVMValueRef lo = emit_offset(e, block.iv, blocks, s->piece.first_in), hi = emit_offset(e, block.iv, blocks, s->piece.end_in);
    weights_clear(s->k, s->gradient, emit_mul_int(e, lo, filters), emit_mul_int(e, hi, filters));
    loop_end(e, &block, NULL);
}

static void emit_weights(ConvKernel *k, const ProductWeightsPlan *p) {
    Emitter *e = k->e;
    const ConvShape *s = &p->s;
    const int64_t blocks = divide_up(s->I / s->groups, e->V), out = divide_up(divide_up(s->O / s->groups, e->V), p->tile.columns);
    const int rest = (int)(s->out_blocks % p->tile.columns);
    LLVMValueRef whole = emit_int(e, s->out_blocks / p->tile.columns);
    Gradient g = {.k = k, .p = p, .piece = product_weights_piece(e, p)};
    /* a gradient that nobody reads is not made: only what prologues make is stored */
    if (p->image_groups > 1)
        g.gradient = emit_address(e, emit_buffer(e, k->workspace_buffer), emit_mul_int(e, g.piece.images, p->dw_floats));
    else if (k->result_buffer[0] != NO_BUFFER)
        g.gradient = emit_buffer(e, k->result_buffer[0]);
    g.channels = LLVMBuildUDiv(e->b, g.piece.first_group, emit_int(e, out), "");
    if (g.gradient) clear(&g);
    uint64_t x_bytes = p->x.copied ? (uint64_t)(p->part * p->chunks.images * p->x.block_stride) : 0;
    LLVMValueRef dy_scratch = emit_address(e, e->scratch, emit_int(e, (int64_t)x_bytes));
    /* what a prologue makes is stored by one of the pieces that stage it; ranges of a group of channels share its x */
    LLVMValueRef first_range = is_zero(e, LLVMBuildURem(e->b, g.piece.range, emit_int(e, p->ranges / s->groups), ""));
    Loop chunk = loop_begin(e, g.piece.lo, g.piece.hi, 1, 0, NULL);
    g.chunk = chunk.iv;
    g.at = product_chunk(e, &p->chunks, chunk.iv);
    LLVMValueRef count = LLVMBuildSub(e->b, g.piece.end_in, g.piece.first_in, "");
    g.x = stage_blocks(&g, 0, emit_offset(e, g.channels, blocks, g.piece.first_in), count, e->scratch,
                       p->ranges > s->groups ? first_range : NULL);
    LLVMValueRef end = g.piece.end_group;
    Loop group = loop_begin(e, g.piece.first_group, rest ? emit_min_int(e, end, whole) : end, 1, 0, NULL);
    emit_group(&g, group.iv, p->tile.columns, dy_scratch);
    loop_end(e, &group, NULL);
    if (rest) { /* the last output blocks, fewer than the tile has columns */
        Guard last = guard_begin(e, LLVMBuildICmp(e->b, LLVMIntSGT, end, whole, ""));
        emit_group(&g, whole, rest, dy_scratch);
        guard_end(e, &last);
    }
    loop_end(e, &chunk, NULL);
}

void product_lower_weights(Lowering *l, Val v, const void *plan) {
    const ProductWeightsPlan *p = plan;
    ConvKernel kernel_of = conv_kernel(l, v, p->image_groups > 1), *k = &kernel_of;
    const int64_t F = (int64_t)sizeof(float), pixels = p->chunks.images * p->chunks.pixels * p->s.V;
    Kernel *kernel;
    if (kernel_begin(l, conv_kind(k), conv_name(k, &p->s, "_product"), conv_key(k, "product weights"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        emit_weights(k, p);
        kernel_end(l, (uint64_t)(((p->x.copied ? p->part : 0) + (p->dy.copied ? p->tile.columns : 0)) * pixels * F));
    }
    kernel_call(l, kernel, v, k->places, k->nplaces, product_weights_pieces(p), (KernelCost){conv_flops(&p->s), conv_bytes(k)});
    WeightsPlan partials = {.image_groups = p->image_groups, .dw_floats = p->dw_floats, .partial_bytes = p->partial_bytes};
    if (p->image_groups > 1) lower_sum_partials(k, &partials);
}
