/* The tiles of a group of images, taken in blocks: which lines a block reads, staged and fetched no earlier than that.
 *
 * Where an image is several blocks of whole tile rows, each block stages just the lines that it adds, so that they are still in
 * L1 when its tiles are transformed, and fetches those of the next block while it multiplies. Else a group is staged as a whole,
 * and the next one is fetched: a block that is an image or several, or that ends within a row of tiles.
 */
#include "codegen/conv/winograd/blocks.h"
#include "codegen/conv/shared/prefetch.h"

enum { WIDE_CHANNELS = 64 };

/* Planes of 16 tiles of many channels leave L2 no room. */
int64_t wino_block(const ConvChoice *choice, int64_t channels, int64_t alone) {
    if (choice->sizes[0]) return choice->sizes[0];
    if (!choice->pair) return alone;
    return channels >= WIDE_CHANNELS ? 8 : 16;
}

WinoBlocks wino_blocks(int64_t images, int64_t tile_rows, int64_t tile_columns, const WinoForm *form, int64_t block) {
    WinoBlocks b = {.images = images, .tile_rows = tile_rows, .tile_columns = tile_columns, .form = form, .block = block};
    if (images == 1 && block % tile_columns == 0 && tile_rows * tile_columns > block) b.rows = block / tile_columns;
    return b;
}

LLVMValueRef wino_last_block(Emitter *e, const WinoBlocks *b, LLVMValueRef first_tile, LLVMValueRef tiles) {
    return LLVMBuildICmp(e->b, LLVMIntSGE, emit_add_int(e, first_tile, emit_int(e, b->block)), tiles, "");
}

/* Image and row of the tile row `row` of the group. */
static void place_row(Emitter *e, const WinoBlocks *b, WinoTiles *t, LLVMValueRef row) {
    t->image = emit_int(e, 0);
    t->row = row;
    if (b->images == 1) return;
    t->image = LLVMBuildUDiv(e->b, row, emit_int(e, b->tile_rows), "");
    t->row = LLVMBuildURem(e->b, row, emit_int(e, b->tile_rows), "");
}

WinoTiles wino_rows_begin(Emitter *e, const WinoBlocks *b, const WinoAt *at, LLVMValueRef count) {
    LLVMValueRef columns = emit_int(e, b->tile_columns);
    WinoTiles t = {.by_rows = true};
    t.outer = loop_begin(e, emit_int(e, 0), LLVMBuildUDiv(e->b, count, columns, ""), 1, 0, NULL);
    t.tile = emit_mul_int(e, t.outer.iv, b->tile_columns);
    t.column = emit_int(e, 0);
    /* else the group is one block */
    LLVMValueRef first = b->rows ? LLVMBuildUDiv(e->b, at->first_tile, columns, "") : emit_int(e, 0);
    place_row(e, b, &t, emit_add_int(e, first, t.outer.iv));
    return t;
}

void wino_rows_end(Emitter *e, WinoTiles *t) { loop_end(e, &t->outer, NULL); }

WinoTiles wino_tiles_begin(Emitter *e, const WinoBlocks *b, const WinoAt *at, LLVMValueRef count) {
    if (wino_by_rows(b)) {
        WinoTiles t = wino_rows_begin(e, b, at, count);
        t.inner = loop_begin(e, emit_int(e, 0), emit_int(e, b->tile_columns), 1, 0, NULL);
        t.column = t.inner.iv;
        t.tile = emit_add_int(e, t.tile, t.column);
        return t;
    }
    WinoTiles t = {.outer = loop_begin(e, emit_int(e, 0), count, 1, 0, NULL)};
    LLVMValueRef of_group = emit_add_int(e, at->first_tile, t.outer.iv), columns = emit_int(e, b->tile_columns);
    t.tile = t.outer.iv;
    place_row(e, b, &t, LLVMBuildUDiv(e->b, of_group, columns, ""));
    t.column = LLVMBuildURem(e->b, of_group, columns, "");
    return t;
}

void wino_tiles_end(Emitter *e, WinoTiles *t) {
    if (t->by_rows) loop_end(e, &t->inner, NULL);
    loop_end(e, &t->outer, NULL);
}

/* Input lines that two rows of tiles, one below the other, both read. */
static int64_t halo_lines(const WinoBlocks *b) { return b->form->side - b->form->lines; }

/* The first of the block's rows of tiles starts there in the input. */
static LLVMValueRef first_row(Emitter *e, const WinoBlocks *b, const WinoAt *at) {
    return emit_mul_int(e, LLVMBuildUDiv(e->b, at->first_tile, emit_int(e, b->tile_columns), ""), b->form->lines);
}

void wino_stage_block(ConvKernel *k, const WinoBlocks *b, const WinoAt *at, const Staging *s) {
    Emitter *e = k->e;
    LLVMValueRef row = first_row(e, b, at), zero = emit_int(e, 0);
    LLVMValueRef from = emit_add_int(e, row, emit_int(e, halo_lines(b)));
    LLVMValueRef to = emit_add_int(e, from, emit_int(e, b->rows * b->form->lines));
    from = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, row, zero, ""), zero, from, "");
    to = LLVMBuildSelect(e->b, at->last, emit_int(e, s->plan->lines[0]), to, "");
    stage_lines(k, s, from, to);
}

void wino_fetch(ConvKernel *k, const WinoBlocks *b, const WinoAt *at, LLVMValueRef step, int64_t steps) {
    Emitter *e = k->e;
    if (b->rows) { /* behind the rows that the block before has fetched, being below its last (the first row of all is left to the
                      core) */
        LLVMValueRef next = emit_add_int(e, first_row(e, b, at), emit_int(e, b->rows * b->form->lines));
        LLVMValueRef row = LLVMBuildSelect(e->b, at->last, emit_int(e, 0), next, "");
        LLVMValueRef image = emit_add_int(e, at->first_image, LLVMBuildZExt(e->b, at->last, e->i64, ""));
        prefetch_rows(k, image, emit_add_int(e, row, emit_int(e, halo_lines(b) - 1)), b->rows * b->form->lines, step, steps);
        return;
    }
    LLVMValueRef block = LLVMBuildUDiv(e->b, at->first_tile, emit_int(e, b->block), "");
    int64_t blocks = divide_up(b->images * b->tile_rows * b->tile_columns, b->block);
    for (int64_t image = 0; image < b->images; image++)
        prefetch_step(k, emit_add_int(e, at->first_image, emit_int(e, b->images - 1 + image)), emit_offset(e, block, steps, step),
                      blocks * steps);
}
