/* Winograd kernel for the gradient of 3x3 filters (stride 1, padding 1), the adjoint of the forward algorithm in the filters:
 *
 *     dg = G' [ sum over tiles (B' d B) o (A dY A') ] G
 *
 * A piece is a group of images, whose partial gradients are summed as all are (shared/partials.h).
 * It keeps the sum over its tiles in the transformed domain, 36 values a filter, in scratch, and transforms it once at its end:
 * so the partials that cross threads are 9 values a filter. Tiles that cross the border read staged zeros of dY.
 */
#include "codegen/conv/winograd/winograd.h"
#include "codegen/emit/pieces.h"

enum {
    MAX_SUM_BYTES = 1536 * 1024, /* the sum must stay in L2 beside the planes */
    BLOCK = 16                   /* tiles: the sum is read and written for each block of them */
};

uint64_t wino_sum_bytes(const ConvShape *s) {
    return (uint64_t)(WINO_POINTS * s->in_blocks * s->out_blocks * s->V * s->V) * sizeof(float);
}

bool wino_weights_applies(const ConvProblem *p) { return wino_applies(p) && wino_sum_bytes(&p->s) <= MAX_SUM_BYTES; }

WinoWeightsPlan wino_weights_plan(const ConvProblem *problem, const ConvChoice *choice) {
    WinoWeightsPlan p = {.partials = weights_plan(problem, &(WeightsNeeds){.pair = 1, .stage_bytes = STAGE_BOTH_BYTES})};
    const ConvShape *s = &p.partials.s;
    int64_t tile_rows = divide_up(s->out[0], WINO_OUT), tile_columns = divide_up(s->out[1], WINO_OUT);
    int64_t block = wino_block(choice, max_i64(s->in_blocks, s->out_blocks) * s->V, BLOCK);
    p.partials.block_groups = 1;
    int64_t group = divide_up(s->N, p.partials.image_groups);
    int64_t images = max_i64(1, min_i64(group, block / (tile_rows * tile_columns)));
    p.tiles = wino_blocks(images, tile_rows, tile_columns, &wino_plain, block);
    int64_t rows = tile_rows * WINO_OUT, columns = tile_columns * WINO_OUT;
    StageWindow xw = {.first = {-1, -1}, .lines = {rows + 2, columns + 2}, .last_row = rows, .advance = rows, .bands = 1};
    StageWindow dw = {.lines = {rows, columns}, .last_row = rows - 1, .advance = rows, .bands = 1};
    p.x = stage_plan(problem, 0, &xw);
    p.dy = stage_plan(problem, 1, &dw);
    p.in_plane = wino_plane(problem->t, s->in_blocks, p.tiles.block);
    p.out_plane = wino_plane(problem->t, s->out_blocks, p.tiles.block);
    p.scratch_bytes = (uint64_t)p.tiles.images * (p.x.bytes + p.dy.bytes) +
                      (uint64_t)(WINO_POINTS * (p.in_plane + p.out_plane)) * sizeof(float) + wino_sum_bytes(s);
    return p;
}

/* Between the tiles: asks for this share of what comes next. */
static void fetch_ahead(void *context, LLVMValueRef step, int64_t steps) {
    const WinoGradient *s = context;
    wino_fetch(s->k, &s->p->tiles, &s->at, step, steps);
}

/* Planes of the tiles of one operand: count of them from first_tile on. */
static void transform(const WinoGradient *s, bool gradient, LLVMValueRef count) {
    Emitter *e = s->k->e;
    const WinoWeightsPlan *p = s->p;
    const StagePlan *stage = gradient ? &p->dy : &p->x;
    int64_t first = gradient ? 0 : -1;
    int64_t image_floats = stage->copied ? (int64_t)(stage->bytes / sizeof(float)) : stage->blocks * stage->block_stride;
    WinoTiles t = wino_tiles_begin(e, &p->tiles, &s->at, count);
    int64_t corner = stage->copied ? (first - stage->origin[0]) * stage->row_stride + (first - stage->origin[1]) * e->V : 0;
    LLVMValueRef at = emit_offset(e, t.image, image_floats, emit_int(e, corner));
    at = emit_offset(e, t.row, WINO_OUT * stage->row_stride, emit_offset(e, t.column, WINO_OUT * e->V, at));
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, stage->blocks), 1, 0, NULL);
    LLVMValueRef src = emit_address(e, gradient ? s->dy : s->x, emit_offset(e, block.iv, stage->block_stride, at));
    LLVMValueRef dst = emit_address(e, gradient ? s->planes_dy : s->planes_x,
                                    emit_mul_int(e, emit_offset(e, block.iv, p->tiles.block, t.tile), e->V));
    if (gradient) {
        wino_transform_gradient(e, src, stage->row_stride, dst, p->out_plane);
    } else {
        WinoTileSource source = wino_source(e, src, stage->row_stride, WINO_IN);
        wino_transform_input(e, &source, dst, p->in_plane);
    }
    loop_end(e, &block, NULL);
    wino_tiles_end(e, &t);
}

/* Clears the planes of dY from tile `count` of the block on, so that missing tiles add nothing (and no stale NaN: x's planes
 * are cleared too). */
static void clear_missing(const WinoGradient *s, LLVMValueRef count) {
    Emitter *e = s->k->e;
    const WinoWeightsPlan *p = s->p;
    for (int side = 0; side < 2; side++) {
        int64_t blocks = side ? p->dy.blocks : p->x.blocks, plane = side ? p->out_plane : p->in_plane;
        Loop point = loop_begin(e, emit_int(e, 0), emit_int(e, WINO_POINTS), 1, 0, NULL);
        Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, blocks), 1, 0, NULL);
        Loop t = loop_begin(e, count, emit_int(e, p->tiles.block), 1, 0, NULL);
        LLVMValueRef at = emit_offset(e, point.iv, plane, emit_mul_int(e, emit_offset(e, block.iv, p->tiles.block, t.iv), e->V));
        emit_store(e, emit_vec(e, 0), side ? s->planes_dy : s->planes_x, at);
        loop_end(e, &t, NULL);
        loop_end(e, &block, NULL);
        loop_end(e, &point, NULL);
    }
}

static void stage_images(WinoGradient *s) {
    Emitter *e = s->k->e;
    const WinoWeightsPlan *p = s->p;
    LLVMValueRef zero = emit_int(e, 0), dy_scratch = s->dy;
    LLVMValueRef dy_first = p->dy.copied ? s->dy : stage_emit(s->k, &(Staging){&p->dy, 1, s->at.first_image, zero, s->dy}, NULL);
    if (p->tiles.rows) {
        s->dy = dy_first;
        return;
    }
    Loop image = loop_begin(e, zero, s->images, 1, 0, NULL);
    LLVMValueRef n = emit_add_int(e, s->at.first_image, image.iv);
    LLVMValueRef x = emit_address(e, s->x, emit_mul_int(e, image.iv, (int64_t)(p->x.bytes / sizeof(float))));
    stage_emit(s->k, &(Staging){&p->x, 0, n, zero, x}, NULL);
    if (p->dy.copied) {
        LLVMValueRef dy = emit_address(e, dy_scratch, emit_mul_int(e, image.iv, (int64_t)(p->dy.bytes / sizeof(float))));
        stage_emit(s->k, &(Staging){&p->dy, 1, n, zero, dy}, NULL);
    }
    loop_end(e, &image, NULL);
    s->dy = dy_first;
}

/* dg = G' u G of every filter, into the piece's partial gradient [ob][ib][3][3][i][V]. */
void wino_finish_gradient(const WinoGradient *s, LLVMValueRef partial) {
    Emitter *e = s->k->e;
    const ConvShape *c = &s->p->partials.s;
    int64_t tap = e->V * e->V, plane = c->out_blocks * c->in_blocks * tap;
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, c->out_blocks * c->in_blocks), 1, 0, NULL);
    Loop i = loop_begin(e, emit_int(e, 0), emit_int(e, e->V), 1, 0, NULL);
    LLVMValueRef row = emit_mul_int(e, i.iv, e->V), u[36], g[9];
    LLVMValueRef from = emit_address(e, s->sum, emit_offset(e, block.iv, tap, row));
    for (int n = 0; n < WINO_POINTS; n++) u[n] = emit_load(e, from, emit_int(e, n * plane));
    wino_transform_filter_gradient(e, u, g);
    LLVMValueRef to = emit_address(e, partial, emit_offset(e, block.iv, 9 * tap, row));
    for (int n = 0; n < 9; n++) emit_store(e, g[n], to, emit_int(e, n * tap));
    loop_end(e, &i, NULL);
    loop_end(e, &block, NULL);
}

void wino_gradient_block(WinoGradient *s, LLVMValueRef count, bool whole, WinoAside aside) {
    const WinoWeightsPlan *p = s->p;
    const ConvShape *c = &p->partials.s;
    if (!whole) clear_missing(s, count);
    if (p->tiles.rows)
        wino_stage_block(s->k, &p->tiles, &s->at, &(Staging){&p->x, 0, s->at.first_image, emit_int(s->k->e, 0), s->x});
    transform(s, false, count);
    transform(s, true, count);
    wino_multiply_gradient(s->k->e, s->planes_x, s->planes_dy, s->sum, p->tiles.block, c->in_blocks, c->out_blocks, aside);
}

static void emit_gradient(ConvKernel *k, const WinoWeightsPlan *p) {
    Emitter *e = k->e;
    const ConvShape *c = &p->partials.s;
    WinoGradient s = {.k = k, .p = p};
    LLVMValueRef x_scratch = e->scratch, one = emit_int(e, 1);
    LLVMValueRef dy_scratch = emit_address(e, x_scratch, emit_int(e, p->tiles.images * (int64_t)(p->x.bytes / sizeof(float))));
    s.planes_x = emit_address(e, dy_scratch, emit_int(e, p->tiles.images * (int64_t)(p->dy.bytes / sizeof(float))));
    s.planes_dy = emit_address(e, s.planes_x, emit_int(e, WINO_POINTS * p->in_plane));
    s.sum = emit_address(e, s.planes_dy, emit_int(e, WINO_POINTS * p->out_plane));
    weights_clear(k, s.sum, emit_int(e, 0), emit_int(e, (int64_t)(wino_sum_bytes(c) / sizeof(float))));
    LLVMValueRef lo = emit_share(e, e->piece, c->N, p->partials.image_groups);
    LLVMValueRef hi = emit_share(e, emit_add_int(e, e->piece, one), c->N, p->partials.image_groups);
    int64_t tiles = p->tiles.tile_rows * p->tiles.tile_columns;
    bool whole = c->N % (p->partials.image_groups * p->tiles.images) == 0 && p->tiles.images * tiles % p->tiles.block == 0;
    Loop group = loop_begin(e, lo, hi, p->tiles.images, 0, NULL);
    s.at.first_image = group.iv;
    s.images = emit_int(e, p->tiles.images);
    if (c->N % (p->partials.image_groups * p->tiles.images))
        s.images = emit_min_int(e, s.images, LLVMBuildSub(e->b, hi, group.iv, ""));
    s.x = x_scratch;
    s.dy = dy_scratch;
    stage_images(&s);
    LLVMValueRef total = emit_mul_int(e, s.images, tiles);
    Loop block = loop_begin(e, emit_int(e, 0), total, p->tiles.block, 0, NULL);
    LLVMValueRef count = emit_int(e, p->tiles.block);
    s.at.first_tile = block.iv;
    s.at.last = wino_last_block(e, &p->tiles, block.iv, total);
    if (!whole) count = emit_min_int(e, count, LLVMBuildSub(e->b, total, block.iv, ""));
    if (p->tiles.rows && p->dy.copied)
        wino_stage_block(k, &p->tiles, &s.at, &(Staging){&p->dy, 1, s.at.first_image, emit_int(e, 0), s.dy});
    wino_gradient_block(&s, count, whole, (WinoAside){fetch_ahead, &s});
    loop_end(e, &block, NULL);
    loop_end(e, &group, NULL);
    wino_finish_gradient(&s,
                         emit_address(e, emit_buffer(e, k->workspace_buffer), emit_mul_int(e, e->piece, p->partials.dw_floats)));
}

void wino_lower_weights(Lowering *l, Val v, const void *plan) {
    const WinoWeightsPlan *p = plan;
    ConvKernel kernel_of = conv_kernel(l, v, true), *k = &kernel_of;
    Kernel *kernel;
    if (kernel_begin(k->l, RT_KIND_BACKWARD_WEIGHTS, conv_name(k, &p->partials.s, "_winograd"), conv_key(k, "winograd-weights"),
                     k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        emit_gradient(k, p);
        kernel_end(k->l, p->scratch_bytes);
    }
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, p->partials.image_groups,
                (KernelCost){conv_flops(&p->partials.s), conv_bytes(k)});
    lower_sum_partials(k, &p->partials);
}
