/* Winograd kernels for forward and backward data of 3x3 convolutions with padding 1 and stride 1, and for forward with stride 2.
 *
 * A piece is a group of images, or a band of tile rows of one image where images are large or few. It stages its input
 * (prologue applied), then takes its 4x4 output tiles in blocks: transform the block's input tiles, multiply the 36 (stride 2:
 * 81) planes, transform back, finish. A block is small enough for L1 to hold most of its planes and large enough to reuse the
 * filters. Without a prologue, and where a block is whole rows of tiles, tiles are read from the feature map itself.
 *
 *     stage ─► [point][in block][tile][V] ─► x U[36][out group][in block][V][columns][V] ─► [point][out block][tile][V] ─► finish
 *
 * U is made by a kernel of its own, once per step or, in inference, by prepare_eval, from the filters or, for backward data, from
 * the transposed filters read backwards.
 */
#include "codegen/conv/shared/pack.h"
#include "codegen/conv/winograd/winograd.h"

enum { PIECE_IMAGES = 8, FEW_TILES = 8, MANY_TILES = 16 };

bool wino_applies(const ConvProblem *p) {
    const ConvShape *s = &p->s;
    int64_t stride = p->direction == CONV_FORWARD && s->stride[0] == 2 ? 2 : 1;
    for (int axis = 0; axis < 2; axis++)
        if (s->kernel[axis] != 3 || s->stride[axis] != stride || s->dilation[axis] != 1 || s->pad[axis] != 1 ||
            s->out[axis] != divide_up(s->in[axis], stride))
            return false;
    return s->groups == 1 && s->I >= s->V / 2 && s->O >= s->V / 2 && s->out[0] >= WINO_OUT && s->out[1] >= WINO_OUT;
}

/* Tiles of a block: few, so that L1 holds most of their planes, and whole rows where that is possible, unless their number leaves
 * the products a poor register tile: a single row loads more than it multiplies, few accumulators wait for each other. */
static int64_t own_block(const Target *t, const Correlation *c, int64_t points, int64_t tile_columns) {
    if (tile_columns > MANY_TILES) return FEW_TILES;
    int64_t whole_rows = tile_columns * max_i64(1, FEW_TILES / tile_columns);
    WinoTile few = wino_tile(t, points, c->out_blocks, FEW_TILES), whole = wino_tile(t, points, c->out_blocks, whole_rows);
    bool poor = whole.rows == 1 || 2 * whole.planes * whole.rows < few.planes * few.rows;
    return poor ? FEW_TILES : whole_rows;
}

WinoPlan wino_plan(const ConvProblem *problem, const ConvChoice *choice) {
    WinoPlan p = {.s = problem->s, .c = correlation_of(problem)};
    const Target *t = problem->t;
    const Correlation *c = &p.c;
    const int64_t F = (int64_t)sizeof(float), V = c->V;
    int64_t tile_rows = divide_up(c->out[0], WINO_OUT), tile_columns = divide_up(c->out[1], WINO_OUT);
    const WinoForm *form = c->in_stride[0] == 1 ? &wino_plain : &wino_strided;
    int64_t lines = form->lines, halo = form->side - lines, points = wino_points(form);
    int64_t few_pieces = conv_few_pieces(problem),
            block = wino_block(choice, c->in_blocks * V, own_block(t, c, points, tile_columns));
    int64_t columns = tile_columns * lines + halo, row_bytes = c->in_blocks * columns * V * F;
    p.bands = divide_up(tile_rows * lines * row_bytes, STAGE_BYTES);
    int64_t images = p.bands > 1 ? 1 : max_i64(1, min_i64(c->N, block / (tile_rows * tile_columns)));
    if (divide_up(c->N, images) * p.bands < few_pieces) {
        images = 1;
        p.bands = max_i64(p.bands, divide_up(few_pieces, c->N));
    }
    p.bands = min_i64(p.bands, tile_rows);
    p.repeat = p.bands > 1 ? 1 : max_i64(1, min_i64(PIECE_IMAGES, c->N / few_pieces) / images);
    if (problem->g->mode == MODE_INFER) /* a band of a single image has few tiles; the products should not be padded to more */
        block = min_i64(block, images * divide_up(tile_rows, p.bands) * tile_columns);
    p.tiles = wino_blocks(images, divide_up(tile_rows, p.bands), tile_columns, form, block);
    p.bands = divide_up(tile_rows, p.tiles.tile_rows);
    StageWindow w = {.first = {-1, -1},
                     .lines = {p.tiles.tile_rows * lines + halo, columns},
                     .last_row = tile_rows * lines + halo - 2,
                     .advance = p.tiles.tile_rows * lines,
                     .bands = p.bands};
    p.stage = stage_plan(problem, 0, &w);
    p.in_place = !value_region(problem->v, REGION_PROLOGUE, 0) && !p.stage.store && !p.stage.planar &&
                 t->map_bytes == sizeof(float) && wino_by_rows(&p.tiles);
    p.staged_bytes = p.in_place ? align_bytes((uint64_t)(c->in[1] * V * F)) : (uint64_t)p.tiles.images * p.stage.bytes;
    p.plane = wino_plane(t, max_i64(c->in_blocks, c->out_blocks), p.tiles.block);
    p.tile = wino_tile(t, points, c->out_blocks, p.tiles.block);
    p.nplanes = points + p.tile.planes;
    p.scratch_bytes = p.staged_bytes + (uint64_t)(p.nplanes * p.plane * F);
    p.filter_bytes = (uint64_t)(WINO_FILTERS * wino_filter_plane(t, c->in_blocks, c->out_blocks) * F);
    p.packed_bytes = c->transposed ? pack_tiles_bytes(c, 1) : 0;
    p.sums_bytes = finish_sums_bytes(problem->v, c, p.bands);
    return p;
}

uint64_t wino_workspace(const WinoPlan *p) { return p->sums_bytes + p->packed_bytes + p->filter_bytes; }

/* U = G g G', one output block a piece. Transposed filters are read last tap first. */
static void lower_filter_transform(ConvKernel *k, const WinoPlan *p, Place from) {
    Emitter *e = k->e;
    const Correlation *c = &p->c;
    int64_t V = e->V, columns = p->tile.columns, tap = V * V;
    Kernel *kernel;
    char *key = arena_printf(lowering_arena(k->l), "winograd-filters %lld x %lld, columns %lld, %s, %s", (long long)c->in_blocks,
                             (long long)c->out_blocks, (long long)columns, c->transposed ? "transposed" : "plain",
                             p->tiles.form == &wino_plain ? "stride 1" : "stride 2");
    if (kernel_begin(k->l, RT_KIND_FILTERS, "winograd_filters", key, 2, &kernel)) {
        LLVMValueRef source = emit_buffer(e, 0), target = emit_buffer(e, 1);
        LLVMValueRef group = LLVMBuildUDiv(e->b, e->piece, emit_int(e, columns), "");
        LLVMValueRef column = LLVMBuildURem(e->b, e->piece, emit_int(e, columns), "");
        Loop ib = loop_begin(e, emit_int(e, 0), emit_int(e, c->in_blocks), 1, 0, NULL);
        Loop i = loop_begin(e, emit_int(e, 0), emit_int(e, V), 1, 0, NULL);
        LLVMValueRef first = emit_offset(e, emit_offset(e, e->piece, c->in_blocks, ib.iv), 9 * tap, emit_mul_int(e, i.iv, V));
        LLVMValueRef filter = emit_address(e, source, first), taps[9], points[WINO_FILTERS];
        for (int n = 0; n < 9; n++) taps[n] = emit_load(e, filter, emit_int(e, (c->transposed ? 8 - n : n) * tap));
        wino_transform_filter(e, p->tiles.form, taps, points);
        LLVMValueRef row = emit_offset(e, emit_offset(e, group, c->in_blocks, ib.iv), V, i.iv);
        LLVMValueRef to = emit_address(e, target, emit_mul_int(e, emit_offset(e, row, columns, column), V));
        int64_t plane = wino_filter_plane(e->target, c->in_blocks, c->out_blocks);
        for (int n = 0; n < WINO_FILTERS; n++) emit_store(e, points[n], to, emit_int(e, n * plane));
        loop_end(e, &i, NULL);
        loop_end(e, &ib, NULL);
        kernel_end(k->l, 0);
    }
    double weights = (double)(c->in_blocks * c->out_blocks * tap);
    Place places[] = {from, k->places[k->filters_buffer]};
    kernel_call(k->l, kernel, k->id, places, 2, c->out_blocks, (KernelCost){0, (9 + WINO_FILTERS) * weights * sizeof(float)});
}

/* Between the tiles: asks for this share of what comes next. */
static void fetch_ahead(void *context, LLVMValueRef step, int64_t steps) {
    const WinoKernel *s = context;
    wino_fetch(s->k, &s->p->tiles, &s->at, step, s->fetch_parts * steps);
}

/* Among the tiles of the whole image. */
static LLVMValueRef tile_row(const WinoKernel *s, const WinoTiles *t) {
    return emit_offset(s->k->e, s->band, s->p->tiles.tile_rows, t->row);
}

static void transform_tile(const WinoKernel *s, const WinoTileSource *source, LLVMValueRef ib, LLVMValueRef tile) {
    Emitter *e = s->k->e;
    LLVMValueRef dst = emit_address(e, s->planes_in, emit_mul_int(e, emit_offset(e, ib, s->p->tiles.block, tile), e->V));
    s->p->tiles.form->input(e, source, dst, s->p->plane);
}

static void transform_staged(const WinoKernel *s) {
    Emitter *e = s->k->e;
    const StagePlan *stage = &s->p->stage;
    int64_t left = -1 - stage->origin[1], above = -1 - stage->origin[0]; /* stored prologues may stage more than is read */
    WinoTiles t = wino_tiles_begin(e, &s->p->tiles, &s->at, s->count);
    LLVMValueRef at = emit_mul_int(e, t.image, (int64_t)(stage->bytes / sizeof(float)));
    const WinoForm *form = s->p->tiles.form;
    at = emit_offset(e, t.row, form->lines * stage->row_stride, emit_offset(e, t.column, form->lines * e->V, at));
    at = emit_add_int(e, at, emit_int(e, above * stage->row_stride + left * e->V));
    Loop ib = loop_begin(e, emit_int(e, 0), emit_int(e, stage->blocks), 1, 0, NULL);
    LLVMValueRef src = emit_address(e, s->staged, emit_offset(e, ib.iv, stage->block_stride, at));
    WinoTileSource source = wino_source(e, src, stage->row_stride, form->side);
    transform_tile(s, &source, ib.iv, t.tile);
    loop_end(e, &ib, NULL);
    wino_tiles_end(e, &t);
}

/* Tiles `from` <= column < `to` of a row of tiles, whose first is tile `first` of the block: those that lie alike to the left and
 * right borders. lines: addresses of pixel 0 of the map's lines that the row reads. */
static void transform_columns(const WinoKernel *s, LLVMValueRef *lines, LLVMValueRef ib, LLVMValueRef first, int64_t from,
                              int64_t to) {
    Emitter *e = s->k->e;
    int64_t step = s->p->tiles.form->lines, side = s->p->tiles.form->side, width = s->p->c.in[1];
    Loop column = loop_begin(e, emit_int(e, from), emit_int(e, to), 1, 0, NULL);
    WinoTileSource source = {.first = from == 0 ? 1 : 0, .end = min_i64(side, width + 1 - (to - 1) * step)};
    LLVMValueRef pixel = emit_offset(e, column.iv, step, emit_int(e, source.first - 1));
    for (int64_t i = 0; i < side; i++) source.line[i] = emit_address(e, lines[i], emit_mul_int(e, pixel, e->V));
    transform_tile(s, &source, ib, emit_add_int(e, first, column.iv));
    loop_end(e, &column, NULL);
}

/* Row by row of tiles. A line above or below the image is one of zeros; pixels beside it are known where the code is made, which
 * is why the first column, and the last if the border cuts it, have their own. At most one does: tiles overlap by less than a
 * tile. */
static void transform_in_place(const WinoKernel *s) {
    Emitter *e = s->k->e;
    const Correlation *c = &s->p->c;
    const WinoForm *form = s->p->tiles.form;
    int64_t columns = s->p->tiles.tile_columns, line = c->in[1] * e->V;
    int64_t whole = min_i64(columns, (c->in[1] + 1 - form->side) / form->lines + 1); /* tiles that no right border cuts */
    WinoTiles row = wino_rows_begin(e, &s->p->tiles, &s->at, s->count);
    LLVMValueRef n = emit_add_int(e, s->at.first_image, row.image);
    LLVMValueRef top = emit_offset(e, tile_row(s, &row), form->lines, emit_int(e, -1));
    Loop ib = loop_begin(e, emit_int(e, 0), emit_int(e, c->in_blocks), 1, 0, NULL);
    LLVMValueRef plane = emit_mul_int(e, emit_offset(e, n, c->in_blocks, ib.iv), c->in[0] * line), lines[WINO_MAX_SIDE];
    for (int64_t i = 0; i < form->side; i++) {
        LLVMValueRef at = emit_add_int(e, top, emit_int(e, i));
        LLVMValueRef inside = LLVMBuildICmp(e->b, LLVMIntULT, at, emit_int(e, c->in[0]), "");
        LLVMValueRef there = emit_address(e, s->k->arg_base[0], emit_offset(e, at, line, plane));
        lines[i] = LLVMBuildSelect(e->b, inside, there, s->staged, "");
    }
    transform_columns(s, lines, ib.iv, row.tile, 0, 1);
    if (whole > 1) transform_columns(s, lines, ib.iv, row.tile, 1, whole);
    if (whole < columns && columns > 1) transform_columns(s, lines, ib.iv, row.tile, columns - 1, columns);
    loop_end(e, &ib, NULL);
    wino_rows_end(e, &row);
}

/* Pixels of a tile that lies across the border of the image, one by one where they are inside. */
static void finish_ragged(ConvKernel *k, const Correlation *c, const Finish *f, LLVMValueRef y, LLVMValueRef x, int64_t spread,
                          LLVMValueRef *out, LLVMValueRef *pixel) {
    Emitter *e = k->e;
    for (int i = 0; i < 16; i++) {
        LLVMValueRef row =
            LLVMBuildICmp(e->b, LLVMIntSLT, emit_add_int(e, y, emit_int(e, i / 4 * spread)), emit_int(e, c->out[0]), "");
        LLVMValueRef column =
            LLVMBuildICmp(e->b, LLVMIntSLT, emit_add_int(e, x, emit_int(e, i % 4 * spread)), emit_int(e, c->out[1]), "");
        Guard guard = guard_begin(e, LLVMBuildAnd(e->b, row, column, ""));
        finish_emit(k, f, 1, &out[i], &pixel[i]);
        guard_end(e, &guard);
    }
}

void wino_finish_tile(ConvKernel *k, const Correlation *c, const Finish *f, LLVMValueRef y, LLVMValueRef x, int64_t spread,
                      LLVMValueRef *out) {
    Emitter *e = k->e;
    LLVMValueRef pixel[16], start = emit_offset(e, y, c->out[1], x);
    for (int i = 0; i < 16; i++) pixel[i] = emit_add_int(e, start, emit_int(e, (i / 4 * c->out[1] + i % 4) * spread));
    if (c->out[0] % (WINO_OUT * spread) == 0 && c->out[1] % (WINO_OUT * spread) == 0) {
        finish_emit(k, f, 16, out, pixel);
        return;
    }
    LLVMValueRef rows =
        LLVMBuildICmp(e->b, LLVMIntSLE, emit_add_int(e, y, emit_int(e, 3 * spread + 1)), emit_int(e, c->out[0]), "");
    LLVMValueRef columns =
        LLVMBuildICmp(e->b, LLVMIntSLE, emit_add_int(e, x, emit_int(e, 3 * spread + 1)), emit_int(e, c->out[1]), "");
    LLVMValueRef whole = LLVMBuildAnd(e->b, rows, columns, "");
    Guard full = guard_begin(e, whole);
    finish_emit(k, f, 16, out, pixel);
    guard_end(e, &full);
    Guard ragged = guard_begin(e, LLVMBuildNot(e->b, whole, ""));
    finish_ragged(k, c, f, y, x, spread, out, pixel);
    guard_end(e, &ragged);
}

static Finish finish_of(const WinoKernel *s, LLVMValueRef image, LLVMValueRef cb) {
    const WinoPlan *p = s->p;
    Emitter *e = s->k->e;
    LLVMValueRef n = emit_add_int(e, s->at.first_image, image);
    return (Finish){.n = n,
                    .cb = cb,
                    .sums_row = p->bands > 1 ? emit_offset(e, n, p->bands, s->band) : n,
                    .channels = p->c.channels_out,
                    .banded = p->bands > 1,
                    .sums_rows = p->c.N * p->bands};
}

static void transform_outputs(const WinoKernel *s) {
    Emitter *e = s->k->e;
    Loop ob = loop_begin(e, emit_int(e, 0), emit_int(e, s->p->c.out_blocks), 1, 0, NULL);
    WinoTiles t = wino_tiles_begin(e, &s->p->tiles, &s->at, s->count);
    LLVMValueRef src = emit_address(e, s->planes_out, emit_mul_int(e, emit_offset(e, ob.iv, s->p->tiles.block, t.tile), e->V)),
                 out[16];
    s->p->tiles.form->output(e, src, s->p->plane, out);
    Finish f = finish_of(s, t.image, ob.iv);
    wino_finish_tile(s->k, &s->p->c, &f, emit_mul_int(e, tile_row(s, &t), WINO_OUT), emit_mul_int(e, t.column, WINO_OUT), 1, out);
    wino_tiles_end(e, &t);
    loop_end(e, &ob, NULL);
}

void wino_begin_group(const WinoKernel *s, LLVMValueRef images) {
    Emitter *e = s->k->e;
    const WinoPlan *p = s->p;
    Loop image = loop_begin(e, emit_int(e, 0), images, 1, 0, NULL);
    LLVMValueRef to = emit_address(e, s->staged, emit_mul_int(e, image.iv, (int64_t)(p->stage.bytes / sizeof(float))));
    if (!p->tiles.rows && !p->in_place)
        stage_emit(s->k, &(Staging){&p->stage, 0, emit_add_int(e, s->at.first_image, image.iv), s->band, to}, NULL);
    Loop ob = loop_begin(e, emit_int(e, 0), emit_int(e, p->c.out_blocks), 1, 0, NULL);
    Finish f = finish_of(s, image.iv, ob.iv);
    finish_clear_sums(s->k, &f);
    loop_end(e, &ob, NULL);
    loop_end(e, &image, NULL);
}

void wino_kernel_block(WinoKernel *s) {
    Emitter *e = s->k->e;
    const WinoPlan *p = s->p;
    const Correlation *c = &p->c;
    WinoAside aside = {s->fetch_parts ? fetch_ahead : NULL, s};
    LLVMValueRef filters = emit_buffer(e, s->k->filters_buffer);
    if (p->tiles.rows && !p->in_place)
        wino_stage_block(s->k, &p->tiles, &s->at, &(Staging){&p->stage, 0, s->at.first_image, s->band, s->staged});
    p->in_place ? transform_in_place(s) : transform_staged(s);
    WinoProduct product = {.form = p->tiles.form,
                           .tile = p->tile,
                           .plane = p->plane,
                           .w = s->planes_in,
                           .u = filters,
                           .m = s->planes_out,
                           .tiles = p->tiles.block,
                           .in_blocks = c->in_blocks,
                           .in_channels = c->channels_in,
                           .out_blocks = c->out_blocks,
                           .aside = aside};
    wino_multiply(e, &product);
    transform_outputs(s);
}

int64_t wino_pieces(const WinoPlan *p) { return divide_up(p->c.N, p->tiles.images * p->repeat) * p->bands; }

WinoPiece wino_piece(Emitter *e, const WinoPlan *p) {
    WinoPiece piece = {.band = emit_int(e, 0), .first_image = e->piece};
    if (p->bands > 1) {
        piece.band = LLVMBuildURem(e->b, e->piece, emit_int(e, p->bands), "");
        piece.first_image = LLVMBuildUDiv(e->b, e->piece, emit_int(e, p->bands), "");
    }
    int64_t N = p->c.N, span = p->tiles.images * p->repeat;
    piece.first_image = emit_mul_int(e, piece.first_image, span);
    piece.end_image = emit_add_int(e, piece.first_image, emit_int(e, span));
    if (N % span) piece.end_image = emit_min_int(e, piece.end_image, emit_int(e, N));
    return piece;
}

LLVMValueRef wino_images(Emitter *e, const WinoPlan *p, LLVMValueRef first_image) {
    int64_t N = p->c.N, images = p->tiles.images;
    if (N % images == 0) return emit_int(e, images);
    return emit_min_int(e, emit_int(e, images), LLVMBuildSub(e->b, emit_int(e, N), first_image, ""));
}

LLVMValueRef wino_rows(Emitter *e, const WinoPlan *p, LLVMValueRef band) {
    int64_t tile_rows = divide_up(p->c.out[0], WINO_OUT), rows = p->tiles.tile_rows;
    if (tile_rows % rows == 0) return emit_int(e, rows);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, tile_rows), emit_mul_int(e, band, rows), "");
    return emit_min_int(e, emit_int(e, rows), left);
}

/* The blocks of one group of images, or of one band. */
static void emit_group(WinoKernel *s) {
    Emitter *e = s->k->e;
    const WinoPlan *p = s->p;
    const Correlation *c = &p->c;
    LLVMValueRef images = wino_images(e, p, s->at.first_image), rows = wino_rows(e, p, s->band);
    wino_begin_group(s, images);
    int64_t tile_rows = divide_up(c->out[0], WINO_OUT);
    LLVMValueRef total = emit_mul_int(e, rows, p->tiles.tile_columns); /* of an image */
    if (p->tiles.images > 1) total = LLVMBuildMul(e->b, images, total, "");
    bool whole = tile_rows % p->tiles.tile_rows == 0 && c->N % p->tiles.images == 0 &&
                 p->tiles.images * p->tiles.tile_rows * p->tiles.tile_columns % p->tiles.block == 0;
    Loop block = loop_begin(e, emit_int(e, 0), total, p->tiles.block, 0, NULL);
    s->at.first_tile = block.iv;
    s->at.last = wino_last_block(e, &p->tiles, block.iv, total);
    s->count = emit_int(e, p->tiles.block);
    if (!whole) s->count = emit_min_int(e, s->count, LLVMBuildSub(e->b, total, block.iv, ""));
    wino_kernel_block(s);
    loop_end(e, &block, NULL);
}

static void clear_line(const WinoKernel *s) {
    Emitter *e = s->k->e;
    Loop pixel = loop_begin(e, emit_int(e, 0), emit_int(e, s->p->c.in[1]), 1, 0, NULL);
    emit_store(e, emit_vec(e, 0), s->staged, emit_mul_int(e, pixel.iv, e->V));
    loop_end(e, &pixel, NULL);
}

static void emit_winograd(ConvKernel *k, const WinoPlan *p) {
    Emitter *e = k->e;
    WinoPiece piece = wino_piece(e, p);
    WinoKernel s = {.k = k, .p = p, .band = piece.band, .staged = e->scratch, .fetch_parts = p->repeat > 1 ? 1 : 0};
    if (p->in_place) clear_line(&s);
    s.planes_out = emit_address(e, e->scratch, emit_int(e, (int64_t)(p->staged_bytes / sizeof(float))));
    s.planes_in = emit_address(e, s.planes_out, emit_int(e, p->tile.planes * p->plane));
    Loop group = loop_begin(e, piece.first_image, piece.end_image, p->tiles.images, 0, NULL);
    s.at.first_image = group.iv;
    emit_group(&s);
    loop_end(e, &group, NULL);
}

void wino_lower_filters(ConvKernel *k, const WinoPlan *p) {
    Place from = k->places[1];
    conv_kernel_filters(k, p->sums_bytes + p->packed_bytes, p->filter_bytes);
    if (p->c.transposed) {
        from = place_behind(lowering_workspace(k->l, k->id), p->sums_bytes);
        lower_pack_tiles(k, &p->c, 1, 1, from);
    }
    lower_filter_transform(k, p, from);
    lowering_resume(k->l);
}

void wino_lower(Lowering *l, Val v, const void *plan) {
    const WinoPlan *p = plan;
    ConvKernel kernel_of = conv_kernel(l, v, p->sums_bytes > 0), *k = &kernel_of;
    const Correlation *c = &p->c;
    wino_lower_filters(k, p);
    Kernel *kernel;
    if (kernel_begin(k->l, conv_kind(k), conv_name(k, &p->s, "_winograd"), conv_key(k, "winograd"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        emit_winograd(k, p);
        kernel_end(k->l, p->scratch_bytes);
    }
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, wino_pieces(p), (KernelCost){conv_flops(&p->s), conv_bytes(k)});
    if (p->bands > 1) finish_combine_sums(k, c->N, c->channels_out, p->bands);
}
