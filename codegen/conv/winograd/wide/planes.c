/* The tiles of a batch, and an operand's planes: staged block by block, transformed tile by tile. A piece is an
 * image, or, of few images, some of its blocks. */
#include "codegen/conv/winograd/transform.h"
#include "codegen/conv/winograd/wide/wide.h"
#include "codegen/emit/pieces.h"

enum { PIECE_TILES = 16 }; /* to transform: worth handing to a thread */

static void plain_input(Emitter *e, LLVMValueRef src, int64_t row_stride, LLVMValueRef dst, int64_t plane) {
    WinoTileSource source = wino_source(e, src, row_stride, WINO_IN);
    wino_transform_input(e, &source, dst, plane);
}

static void plain_output(Emitter *e, LLVMValueRef src, int64_t plane, const int64_t phase[2], LLVMValueRef *out) {
    (void)phase;
    wino_plain.output(e, src, plane, out);
}

static void plain_filter(Emitter *e, const LLVMValueRef g[9], LLVMValueRef *points) {
    wino_transform_filter(e, &wino_plain, g, points);
}

static const WideForm wide_plain = {.out = WINO_OUT,
                                    .first = -1,
                                    .reach = WINO_IN,
                                    .advance = WINO_OUT,
                                    .side = WINO_IN,
                                    .filters = WINO_IN,
                                    .spread = 1,
                                    .input_cost = 180,
                                    .output_cost = 150,
                                    .input = plain_input,
                                    .gradient = wino_transform_gradient,
                                    .output = plain_output,
                                    .filter = plain_filter,
                                    .filter_gradient = wino_transform_filter_gradient};

const WideForm *wide_form(const ConvProblem *p) {
    if (p->s.stride[0] == 2) return p->direction == CONV_DATA ? &wide_spread : &wide_strided;
    return p->s.out[0] == 2 && p->s.out[1] == 2 ? &wide_small : &wide_plain;
}

LLVMValueRef wide_filter_of(Emitter *e, const WideForm *form, LLVMValueRef point) {
    if (form->side == form->filters) return point;
    LLVMValueRef side = emit_int(e, form->side), last = emit_int(e, form->filters - 1);
    LLVMValueRef row = emit_min_int(e, LLVMBuildUDiv(e->b, point, side, ""), last);
    return emit_offset(e, row, form->filters, emit_min_int(e, LLVMBuildURem(e->b, point, side, ""), last));
}

WideTiles wide_tiles(const ConvProblem *p, int64_t most) {
    const WideForm *form = wide_form(p);
    const ConvShape *s = &p->s;
    WideTiles t = {.form = form,
                   .points = form->side * form->side,
                   .N = s->N,
                   .rows = divide_up(s->out[0], form->out),
                   .columns = divide_up(s->out[1], form->out)};
    t.images = max_i64(1, min_i64(s->N, most / (t.rows * t.columns)));
    t.chunks = divide_up(s->N, t.images);
    t.images = divide_up(s->N, t.chunks);
    t.tiles = t.images * t.rows * t.columns;
    return t;
}

WidePlanes wide_planes(const ConvProblem *problem, int operand, bool gradient, const WideTiles *tiles, int64_t group,
                       uint64_t offset) {
    const WideForm *form = tiles->form;
    WidePlanes p = {.gradient = gradient, .operand = operand, .group = group, .offset = offset};
    p.first = gradient ? 0 : form->first;
    p.reach = gradient ? form->out : form->reach;
    p.advance = gradient ? form->out : form->advance;
    int64_t rows = tiles->rows * p.advance, halo = p.reach - p.advance, V = problem->s.V;
    StageWindow w = {.first = {p.first, p.first},
                     .lines = {rows + halo, tiles->columns * p.advance + halo},
                     .last_row = p.first + rows + halo - 1,
                     .advance = rows,
                     .bands = 1,
                     .form = stage_form(problem->t)};
    p.stage = stage_plan(problem, operand, &w);
    p.blocks = p.stage.blocks;
    p.cuts = min_i64(p.blocks, divide_up(conv_share(problem, conv_few_pieces(problem)), tiles->N));
    if (p.blocks * tiles->rows * tiles->columns < PIECE_TILES * p.cuts) p.cuts = 1;
    p.plane = p.blocks * tiles->tiles * V + CACHE_LINE_FLOATS;
    p.chunk_bytes = (uint64_t)(tiles->points * p.plane) * sizeof(float);
    return p;
}

void wide_cut_slabs(WideTiles *t, const Target *target, uint64_t bytes) {
    int64_t most = max_i64(1, target->last_cache / (int64_t)bytes), slabs = divide_up(t->chunks, most);
    t->slab = divide_up(t->chunks, slabs);
}

char *wide_key(const ConvKernel *k, const char *what, const WideTiles *t) {
    return conv_key(k, arena_printf(lowering_arena(k->l), "%s, %d chunks", what, (int)t->slab));
}

LLVMValueRef wide_chunk_in_slab(Emitter *e, const WideTiles *t, LLVMValueRef chunk) {
    return wide_slabs(t) == 1 ? chunk : LLVMBuildURem(e->b, chunk, emit_int(e, t->slab), "");
}

LLVMValueRef wide_chunk_images(Emitter *e, const WideTiles *t, LLVMValueRef chunk) {
    if (t->N % t->images == 0) return emit_int(e, t->images);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, t->N), emit_mul_int(e, chunk, t->images), "");
    return emit_min_int(e, left, emit_int(e, t->images));
}

/* Of the piece's image, its share of the blocks. */
static void transform_piece(ConvKernel *k, const WideTiles *tiles, const WidePlanes *p) {
    Emitter *e = k->e;
    Cut cut = emit_cut(e, p->cuts, p->blocks);
    LLVMValueRef n = cut.whole, zero = emit_int(e, 0), chunk = LLVMBuildUDiv(e->b, n, emit_int(e, tiles->images), "");
    LLVMValueRef image = LLVMBuildURem(e->b, n, emit_int(e, tiles->images), "");
    LLVMValueRef planes = emit_address(e, emit_buffer(e, k->workspace_buffer),
                                       emit_offset(e, wide_chunk_in_slab(e, tiles, chunk), tiles->points * p->plane,
                                                   emit_int(e, (int64_t)(p->offset / sizeof(float)))));
    int64_t corner =
        p->stage.copied ? (p->first - p->stage.origin[0]) * p->stage.row_stride + (p->first - p->stage.origin[1]) * e->V : 0;
    Loop block = loop_begin(e, cut.first, cut.end, 1, 0, NULL);
    Staging s = {&p->stage, p->operand, n, zero, e->scratch};
    LLVMValueRef staged = stage_block(k, &s, block.iv);
    stage_block_lines(k, &s, block.iv, zero, emit_int(e, p->stage.lines[0]), NULL);
    Loop row = loop_begin(e, zero, emit_int(e, tiles->rows), 1, 0, NULL);
    Loop column = loop_begin(e, zero, emit_int(e, tiles->columns), 1, 0, NULL);
    LLVMValueRef at = emit_offset(e, row.iv, p->advance * p->stage.row_stride,
                                  emit_offset(e, column.iv, p->advance * e->V, emit_int(e, corner)));
    LLVMValueRef tile = emit_offset(e, emit_offset(e, image, tiles->rows, row.iv), tiles->columns, column.iv);
    LLVMValueRef src = emit_address(e, staged, at);
    LLVMValueRef group = LLVMBuildUDiv(e->b, tile, emit_int(e, p->group), "");
    LLVMValueRef in_group = LLVMBuildURem(e->b, tile, emit_int(e, p->group), "");
    LLVMValueRef to = emit_offset(e, emit_offset(e, group, p->blocks, block.iv), p->group, in_group);
    LLVMValueRef dst = emit_address(e, planes, emit_mul_int(e, to, e->V));
    (p->gradient ? tiles->form->gradient : tiles->form->input)(e, src, p->stage.row_stride, dst, p->plane);
    loop_end(e, &column, NULL);
    loop_end(e, &row, NULL);
    loop_end(e, &block, NULL);
}

Kernel *wide_planes_kernel(ConvKernel *k, const WideTiles *tiles, const WidePlanes *p) {
    Kernel *kernel;
    char *what = arena_printf(lowering_arena(k->l), "wide planes of %d", p->operand);
    if (kernel_begin(k->l, conv_kind(k), "winograd_planes", wide_key(k, what, tiles), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        transform_piece(k, tiles, p);
        kernel_end(k->l, stage_block_bytes(&p->stage));
    }
    return kernel;
}

/* Fills the planes of a slab. */
static void call_planes(ConvKernel *k, Kernel *kernel, const WideTiles *tiles, const WidePlanes *p, int64_t slab) {
    int64_t first = slab * tiles->slab * tiles->images, images = min_i64(tiles->slab * tiles->images, tiles->N - first);
    double share = (double)images / (double)tiles->N, map = place_bytes(k->places[p->operand], k->arg_type[p->operand]);
    double planes = (double)p->chunk_bytes * (double)divide_up(images, tiles->images);
    kernel_call_part(k->l, kernel, k->id, k->places, k->nplaces, first * p->cuts, images * p->cuts,
                     (KernelCost){0, planes + share * map});
}

LLVMValueRef wide_slab_of(Emitter *e, const WideTiles *t, int64_t pieces, LLVMValueRef *piece) {
    LLVMValueRef number = emit_int(e, pieces);
    *piece = e->piece;
    if (wide_slabs(t) == 1) return emit_int(e, 0);
    *piece = LLVMBuildURem(e->b, e->piece, number, "");
    return LLVMBuildUDiv(e->b, e->piece, number, "");
}

void wide_call_slabs(ConvKernel *k, Kernel *kernel, const ConvShape *s, const WideTiles *t, int64_t pieces, const WideFill *fill,
                     int nfill) {
    int64_t slabs = wide_slabs(t);
    KernelCost share = {conv_flops(s) / (double)slabs, conv_bytes(k) / (double)slabs};
    for (int64_t slab = 0; slab < slabs; slab++) {
        for (int i = 0; i < nfill; i++) call_planes(k, fill[i].kernel, t, fill[i].planes, slab);
        kernel_call_part(k->l, kernel, k->id, k->places, k->nplaces, slab * pieces, pieces, share);
    }
}
