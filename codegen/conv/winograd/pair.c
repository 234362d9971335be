/* Backward data and backward weights of one convolution in one Winograd kernel (shared/pairs.h: why, and which).
 *
 *     stage dY (prologue) and x (prologue) ─┬─► B' dY B ─► x U ─► A' m A ─► epilogue, sums ─► dX
 *                                           └─► A dY A' and B' x B ─► sum over tiles ─► partial dW at the piece's end
 *
 * A piece is an image group of the weights' kernel.
 */
#include "codegen/conv/shared/pairs.h"
#include "codegen/conv/winograd/winograd.h"
#include "codegen/emit/pieces.h"

/* Of a core. What one of the two kernels keeps there fits more often than what both do. */
enum { CACHE_BYTES = 7 << 18 };

static const void *plan(Arena *arena, const ConvProblem *data, const ConvProblem *weights, const ConvChoice *choice) {
    const ConvShape *s = &weights->s;
    if (!wino_applies(data) || !wino_weights_applies(weights) || s->in_blocks != s->out_blocks || !wino_block_fits(choice))
        return NULL;
    WinoPair p = {wino_plan(data, choice), wino_weights_plan(weights, choice)};
    bool alike =
        p.data.bands == 1 && p.data.tiles.images == p.weights.tiles.images && p.data.tiles.block == p.weights.tiles.block;
    if (!alike || !p.data.stage.copied || !p.weights.x.copied) return NULL;
    p.weights.dy = p.data.stage;
    p.weights.scratch_bytes = (uint64_t)p.data.tiles.images * (p.data.stage.bytes + p.weights.x.bytes) +
                              (uint64_t)(p.data.nplanes * p.data.plane + WINO_POINTS * p.weights.out_plane) * sizeof(float) +
                              wino_sum_bytes(s);
    return CONV_PLAN(arena, p);
}

static uint32_t candidates(const ConvProblem *data, const void *own, ConvChoice *out) {
    return wino_candidates(data, ((const WinoPair *)own)->data.tiles.block, out);
}

static ConvWork work(const ConvProblem *data, const ConvProblem *weights, const void *plan) {
    const WinoPair *p = plan;
    ConvWork w = wino_work(data, &p->data), more = wino_weights_work(weights, &p->weights);
    double tiles = (double)(weights->s.N * p->data.tiles.tile_rows * p->data.tiles.tile_columns);
    w.fma_cycles += more.fma_cycles;
    w.transforms += more.transforms;
    w.copied += more.copied - 2 * (double)(weights->s.N * p->weights.partials.bands) * (double)p->weights.partials.dy.bytes;
    double filters = (double)p->data.filter_bytes + (double)wino_sum_bytes(&weights->s); /* read, and added to, for each block */
    if ((double)p->data.filter_bytes + (double)p->weights.scratch_bytes > CACHE_BYTES)
        w.copied += filters * tiles / (double)p->data.tiles.block;
    return w;
}

static uint64_t workspace(const void *plan) {
    const WinoPair *p = plan;
    return wino_workspace(&p->data) + p->weights.partials.partial_bytes;
}

/* Between the tiles of the second product: asks for the second half of what comes next. */
static void fetch_ahead(void *context, LLVMValueRef step, int64_t steps) {
    const WinoKernel *s = context;
    wino_fetch(s->k, &s->p->tiles, &s->at, emit_add_int(s->k->e, step, emit_int(s->k->e, steps)), s->fetch_parts * steps);
}

/* One group of images, staged and computed. */
static void emit_group(WinoKernel *d, WinoGradient *w, bool whole) {
    Emitter *e = d->k->e;
    const WinoWeightsPlan *p = w->p;
    wino_begin_group(d, w->images);
    Loop image = loop_begin(e, emit_int(e, 0), w->images, 1, 0, NULL);
    LLVMValueRef to = emit_address(e, w->x, emit_mul_int(e, image.iv, (int64_t)(p->x.bytes / sizeof(float))));
    if (!p->tiles.rows)
        stage_emit(w->k, &(Staging){&p->x, 0, emit_add_int(e, w->at.first_image, image.iv), emit_int(e, 0), to}, NULL);
    loop_end(e, &image, NULL);
    LLVMValueRef total = emit_mul_int(e, w->images, p->tiles.tile_rows * p->tiles.tile_columns);
    Loop block = loop_begin(e, emit_int(e, 0), total, p->tiles.block, 0, NULL);
    d->at.first_tile = w->at.first_tile = block.iv;
    d->at.last = w->at.last = wino_last_block(e, &p->tiles, block.iv, total);
    d->count = emit_int(e, p->tiles.block);
    if (!whole) d->count = emit_min_int(e, d->count, LLVMBuildSub(e->b, total, block.iv, ""));
    wino_kernel_block(d);
    wino_gradient_block(w, d->count, whole, (WinoAside){fetch_ahead, d});
    loop_end(e, &block, NULL);
}

static void emit_backward(ConvKernel *data, ConvKernel *weights, const WinoPair *p) {
    Emitter *e = data->e;
    const ConvShape *c = &p->weights.partials.s;
    int64_t images = p->data.tiles.images, groups = p->weights.partials.image_groups,
            tiles = p->weights.tiles.tile_rows * p->weights.tiles.tile_columns;
    WinoKernel d = {.k = data, .p = &p->data, .band = emit_int(e, 0), .staged = e->scratch, .fetch_parts = 2};
    WinoGradient w = {.k = weights, .p = &p->weights, .dy = e->scratch};
    w.x = emit_address(e, e->scratch, emit_int(e, images * (int64_t)(p->data.stage.bytes / sizeof(float))));
    d.planes_out = w.planes_x = emit_address(e, w.x, emit_int(e, images * (int64_t)(p->weights.x.bytes / sizeof(float))));
    d.planes_in = emit_address(e, d.planes_out, emit_int(e, p->data.tile.planes * p->data.plane));
    w.planes_dy = emit_address(e, d.planes_out, emit_int(e, p->data.nplanes * p->data.plane));
    w.sum = emit_address(e, w.planes_dy, emit_int(e, WINO_POINTS * p->weights.out_plane));
    weights_clear(weights, w.sum, emit_int(e, 0), emit_int(e, (int64_t)(wino_sum_bytes(c) / sizeof(float))));
    LLVMValueRef lo = emit_share(e, e->piece, c->N, groups),
                 hi = emit_share(e, emit_add_int(e, e->piece, emit_int(e, 1)), c->N, groups);
    bool even = c->N % (groups * images) == 0;
    Loop group = loop_begin(e, lo, hi, images, 0, NULL);
    d.at.first_image = w.at.first_image = group.iv;
    w.images = emit_int(e, images);
    if (!even) w.images = emit_min_int(e, w.images, LLVMBuildSub(e->b, hi, group.iv, ""));
    emit_group(&d, &w, even && images * tiles % p->data.tiles.block == 0);
    loop_end(e, &group, NULL);
    LLVMValueRef partials = emit_buffer(e, weights->workspace_buffer);
    wino_finish_gradient(&w, emit_address(e, partials, emit_mul_int(e, e->piece, p->weights.partials.dw_floats)));
}

static void lower(Lowering *l, Val data, Val weights, const void *plan) {
    const WinoPair *p = plan;
    const ConvShape *s = &p->data.s;
    ConvKernel d = conv_kernel(l, data, false), w = pair_kernel(l, &d, weights, wino_workspace(&p->data));
    wino_lower_filters(&d, &p->data);
    Place *places = pair_places(&d, &w);
    Kernel *kernel;
    char *name = arena_printf(lowering_arena(l), "conv2d_bwd_3x3_c%d_%d_winograd", (int)s->I, (int)s->O);
    if (kernel_begin(l, RT_KIND_BACKWARD, name, pair_key(&d, weights), d.nplaces + w.nplaces, &kernel)) {
        ConvKernel behind = conv_kernel_behind(w, d.nplaces);
        conv_kernel_bind(&d);
        conv_kernel_bind(&behind);
        emit_backward(&d, &behind, p);
        kernel_end(l, p->weights.scratch_bytes);
    }
    kernel_call(l, kernel, data, places, d.nplaces + w.nplaces, p->weights.partials.image_groups,
                (KernelCost){2 * conv_flops(s), pair_bytes(&d, &w)});
    lower_sum_partials(&w, &p->weights.partials);
}

const ConvPairMethod wino_pair_method = {
    .plan = plan, .candidates = candidates, .work = work, .workspace = workspace, .lower = lower};
