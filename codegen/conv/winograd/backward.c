/* Backward data and backward weights of one convolution in one Winograd kernel (conv/direct/backward.c: why, and which).
 *
 *     stage dY (prologue) and x (prologue) ─┬─► B' dY B ─► x U ─► A' m A ─► epilogue, sums ─► dX
 *                                           └─► A dY A' and B' x B ─► sum over tiles ─► partial dW at the piece's end
 *
 * A piece is an image group of the weights' kernel.
 */
#include "codegen/conv/winograd/winograd.h"

typedef struct Plans {
    WinoPlan data;
    WinoWeightsPlan weights;
} Plans;

static Plans plans_of(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights) {
    Plans p = {wino_plan(t, choice, g, &g->value[data]), wino_weights_plan(t, choice, g, &g->value[weights])};
    p.weights.dy = p.data.stage;
    p.weights.scratch_bytes = (uint64_t)p.data.tiles.images * (p.data.stage.bytes + p.weights.x.bytes) +
                              (uint64_t)(p.data.nplanes * p.data.plane + WINO_POINTS * p.weights.out_plane) * sizeof(float) +
                              wino_sum_bytes(&p.weights.direct.s);
    return p;
}

bool wino_backward_applies(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights) {
    ConvShape s = conv_shape(g, &g->value[weights], t->lanes);
    if (!wino_applies(&s, OP_CONV2D_BWD_DATA) || !wino_weights_applies(&s) || s.in_blocks != s.out_blocks) return false;
    Plans p = plans_of(t, choice, g, data, weights);
    bool alike =
        p.data.bands == 1 && p.data.tiles.images == p.weights.tiles.images && p.data.tiles.block == p.weights.tiles.block;
    return alike && p.data.stage.copied && p.weights.x.copied;
}

uint64_t wino_backward_workspace(const Target *t, const ConvChoice *choice, const Graph *g, Val data, Val weights) {
    Plans p = plans_of(t, choice, g, data, weights);
    return wino_workspace(&p.data) + p.weights.direct.partial_bytes;
}

/* Between the tiles of the second product: asks for the second half of what comes next. */
static void fetch_ahead(void *context, LLVMValueRef step, int64_t steps) {
    const WinoSweep *s = context;
    wino_fetch(s->k, &s->p->tiles, &s->at, emit_add_int(s->k->e, step, emit_int(s->k->e, steps)), s->fetch_parts * steps);
}

/* One group of images, staged and swept. */
static void emit_group(WinoSweep *d, WinoGradient *w, bool whole) {
    Emitter *e = d->k->e;
    const WinoWeightsPlan *p = w->p;
    wino_begin_group(d, w->images);
    Loop image = loop_begin(e, emit_int(e, 0), w->images, 1, 0, NULL);
    LLVMValueRef to = emit_address(e, w->x, emit_mul_int(e, image.iv, (int64_t)(p->x.bytes / sizeof(float))));
    if (!p->tiles.rows) stage_emit(w->k, &p->x, 0, emit_add_int(e, w->at.first_image, image.iv), emit_int(e, 0), to, NULL);
    loop_end(e, &image, NULL);
    LLVMValueRef total = emit_mul_int(e, w->images, p->tiles.tile_rows * p->tiles.tile_columns);
    Loop block = loop_begin(e, emit_int(e, 0), total, p->tiles.block, 0, NULL);
    d->at.first_tile = w->at.first_tile = block.iv;
    d->at.last = w->at.last = wino_last_block(e, &p->tiles, block.iv, total);
    d->count = emit_int(e, p->tiles.block);
    if (!whole) d->count = emit_min_int(e, d->count, LLVMBuildSub(e->b, total, block.iv, ""));
    wino_sweep_block(d);
    wino_gradient_block(w, d->count, whole, (WinoAside){fetch_ahead, d});
    loop_end(e, &block, NULL);
}

static void emit_backward(ConvKernel *data, ConvKernel *weights, const Plans *p) {
    Emitter *e = data->e;
    const ConvShape *c = &p->weights.direct.s;
    int64_t images = p->data.tiles.images, groups = p->weights.direct.image_groups,
            tiles = p->weights.tiles.tile_rows * p->weights.tiles.tile_columns;
    WinoSweep d = {.k = data, .p = &p->data, .band = emit_int(e, 0), .staged = e->scratch, .fetch_parts = 2};
    WinoGradient w = {.k = weights, .p = &p->weights, .dy = e->scratch};
    w.x = emit_address(e, e->scratch, emit_int(e, images * (int64_t)(p->data.stage.bytes / sizeof(float))));
    d.planes_out = w.planes_x = emit_address(e, w.x, emit_int(e, images * (int64_t)(p->weights.x.bytes / sizeof(float))));
    d.planes_in = emit_address(e, d.planes_out, emit_int(e, p->data.tile.planes * p->data.plane));
    w.planes_dy = emit_address(e, d.planes_out, emit_int(e, p->data.nplanes * p->data.plane));
    w.sum = emit_address(e, w.planes_dy, emit_int(e, WINO_POINTS * p->weights.out_plane));
    weights_clear(weights, w.sum, emit_int(e, 0), emit_int(e, (int64_t)(wino_sum_bytes(c) / sizeof(float))));
    LLVMValueRef lo = emit_cut(e, e->piece, c->N, groups),
                 hi = emit_cut(e, emit_add_int(e, e->piece, emit_int(e, 1)), c->N, groups);
    bool even = c->N % (groups * images) == 0;
    Loop group = loop_begin(e, lo, hi, images, 0, NULL);
    d.at.first_image = w.at.first_image = group.iv;
    w.images = emit_int(e, images);
    if (!even) w.images = emit_min_int(e, w.images, LLVMBuildSub(e->b, hi, group.iv, ""));
    emit_group(&d, &w, even && images * tiles % p->data.tiles.block == 0);
    loop_end(e, &group, NULL);
    LLVMValueRef partials = emit_buffer(e, weights->workspace_buffer);
    wino_finish_gradient(&w, emit_address(e, partials, emit_mul_int(e, e->piece, p->weights.direct.dw_floats)));
}

void lower_winograd_backward(Lowering *l, Val data, Val weights) {
    const Graph *g = lowering_graph(l);
    Plans p = plans_of(lowering_target(l), lowering_choice(l, data), g, data, weights);
    ConvKernel d = conv_kernel(l, data, false), w = conv_backward_weights(l, &d, weights, wino_workspace(&p.data));
    wino_lower_filters(&d, &p.data);
    Place *places = conv_backward_places(&d, &w);
    Kernel *kernel;
    char *key = arena_printf(g->arena, "%s|%s", conv_key(&d, "backward"), value_key(l, weights));
    char *name = arena_printf(g->arena, "conv2d_bwd_3x3_c%d_%d_winograd", (int)p.data.direct.s.I, (int)p.data.direct.s.O);
    if (kernel_begin(l, name, key, d.nplaces + w.nplaces, &kernel)) {
        ConvKernel behind = conv_kernel_behind(w, d.nplaces);
        conv_kernel_bind(&d);
        conv_kernel_bind(&behind);
        emit_backward(&d, &behind, &p);
        kernel_end(l, p.weights.scratch_bytes);
    }
    kernel_call(l, kernel, data, places, d.nplaces + w.nplaces, p.weights.direct.image_groups, 2 * conv_flops(&p.data.direct.s),
                conv_backward_bytes(&d, &w));
    lower_sum_partials(&w, &p.weights.direct);
}
