/* Backward data and backward weights of one convolution in one kernel.
 *
 *     stage dY (prologue) and x (prologue) ─┬─► B' dY B ─► x U ─► A' m A ─► epilogue, sums ─► dX
 *                                           └─► A dY A' and B' x B ─► sum over tiles ─► partial dW at the piece's end
 *
 * Apart they would store dY and read it and the forward input again: three of about eight passes over feature maps. Here dY is
 * staged once, with the halo that backward data wants, and the forward input is mostly the map that the epilogue's ReLU mask
 * reads anyway. A piece is an image group of the weights' kernel.
 */
#include "codegen/winograd.h"

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

/* The only reader of value v, or NO_VAL if there are several or an output. */
static Val only_reader(const Graph *g, Val v) {
    Val reader = NO_VAL;
    for (uint32_t i = 0; i < g->noutputs; i++)
        if (g->output[i].value == v) return NO_VAL;
    for (Val u = v + 1; u < g->count; u++)
        for (uint32_t i = 0; i < g->value[u].nargs; i++) {
            if (g->value[u].args[i] != v) continue;
            if (reader != NO_VAL) return NO_VAL;
            reader = u;
        }
    return reader;
}

/* The RESULT value of the STORE region of operand 0, or NO_VAL. */
static Val stored_operand(const Graph *g, Val data) {
    const Value *v = &g->value[data];
    for (uint32_t i = 0; i < v->nregions; i++) {
        if (v->regions[i].role != REGION_STORE || v->regions[i].operand != 0) continue;
        for (Val r = v->results; r; r = g->value[r].results)
            if (g->value[r].attrs.index == (int64_t)region_result(v, i)) return r;
    }
    return NO_VAL;
}

Val wino_backward_partner(const Target *t, const ConvChoice *choice, const Graph *g, Val data) {
    if (g->value[data].op != OP_CONV2D_BWD_DATA) return NO_VAL;
    Val stored = stored_operand(g, data), weights = stored == NO_VAL ? NO_VAL : only_reader(g, stored);
    if (weights == NO_VAL || g->value[weights].op != OP_CONV2D_BWD_WEIGHTS || g->value[weights].args[1] != stored) return NO_VAL;
    const Value *w = &g->value[weights];
    if (value_region(w, REGION_PROLOGUE, 1) || value_region(w, REGION_STORE, 0) || value_region(w, REGION_STORE, 1))
        return NO_VAL;
    for (uint32_t i = 0; i < w->nargs; i++) /* all there before backward data is computed */
        if (i != 1 && value_source(g, w->args[i], NULL) >= data) return NO_VAL;
    ConvShape s = conv_shape(g, w, t->lanes);
    if (!wino_applies(&s, OP_CONV2D_BWD_DATA) || !wino_weights_applies(&s) || s.in_blocks != s.out_blocks) return NO_VAL;
    Plans p = plans_of(t, choice, g, data, weights);
    bool alike =
        p.data.bands == 1 && p.data.tiles.images == p.weights.tiles.images && p.data.tiles.block == p.weights.tiles.block;
    return alike && p.data.stage.copied && p.weights.x.copied ? weights : NO_VAL;
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

/* What both read is read once, and dY is never in memory. */
static double sweep_bytes(const ConvKernel *d, const ConvKernel *w) {
    double total = conv_bytes(d) + conv_bytes(w);
    for (uint32_t i = 0; i < w->v->nargs; i++) {
        bool shared = i == 1;
        for (uint32_t j = 0; j < d->v->nargs; j++) shared |= d->v->args[j] == w->v->args[i];
        if (shared) total -= place_bytes(w->places[i], w->arg_type[i]);
    }
    return total;
}

void lower_winograd_backward(Lowering *l, Val data, Val weights) {
    const Graph *g = lowering_graph(l);
    Plans p = plans_of(lowering_target(l), lowering_choice(l, data), g, data, weights);
    ConvKernel d = conv_kernel(l, data, false), w = conv_kernel(l, weights, true);
    w.places[1] = d.places[0]; /* dY is never in memory: nothing reads this buffer */
    w.places[w.workspace_buffer] = lowering_workspace(l, data);
    w.places[w.workspace_buffer].offset += wino_workspace(&p.data);
    wino_lower_filters(&d, &p.data);
    Place *places = ARENA_ARRAY(g->arena, Place, d.nplaces + w.nplaces);
    for (uint32_t i = 0; i < d.nplaces + w.nplaces; i++) places[i] = i < d.nplaces ? d.places[i] : w.places[i - d.nplaces];
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
                sweep_bytes(&d, &w));
    lower_sum_partials(&w, &p.weights.direct);
}
