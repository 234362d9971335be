/* Maps: any elementwise computation, all its OUTPUT and REDUCE regions in one sweep.
 *
 * A sweep goes over units, which split_units cuts into pieces:
 *     feature maps    one channel block of one image; inside, a loop over its pixels, UNROLL of them at a time
 *     rows, vectors   one vector of channels
 *     filters         one vector of output channels for one input channel and tap
 *
 * (Feature maps that reduce over channels, lines or columns: map_reduce.c.) Operands per channel or per image are loaded once per
 * unit. Each REDUCE has UNROLL partial sums, added as a tree, each MOMENTS twice as many in double. Where there are sums the loop
 * is cut into runs, whose sums are added up: so the error grows with their number and length, not with the product. At each site
 * all regions are computed before any is stored, so an operand may be updated in place. */
#include "codegen/ops/map_reduce.h"

enum { UNROLL = 4, UNROLL_MAX_NODES = 64, UNROLL_MAX_SUMS = 64 };

/* Adds v to the partial sums of a region, `to` and every unroll-th behind it; returns the next region's. */
static LLVMValueRef *add_to_sums(const MapKernel *k, LLVMValueRef cb, RegionRole role, LLVMValueRef v, LLVMValueRef *to) {
    if (role == REGION_MOMENTS) v = emit_widen(k->e, emit_mask_channels(k->e, v, cb, k->channels));
    to[0] = emit_arith(k->e, LLVMFAdd, to[0], v);
    if (role == REGION_REDUCE) return to + k->unroll;
    to[k->unroll] = emit_fma(k->e, v, v, to[k->unroll]);
    return to + 2 * k->unroll;
}

/* One step of the pixel loop: `count` pixels from `pixel` on. sum[] holds the partial sums, region by region. */
static void sweep_pixels(MapKernel *k, ElementSite *site, LLVMValueRef pixel, int count, LLVMValueRef *sum) {
    Emitter *e = k->e;
    for (int u = 0; u < count; u++) {
        LLVMValueRef value[MAX_REGIONS];
        site->pixel = emit_add_int(e, pixel, emit_int(e, u));
        map_evaluate(k, site, value);
        LLVMValueRef *to = &sum[u];
        for (uint32_t r = 0; r < k->v->nregions; r++) {
            if (!map_wants(k, r)) continue;
            if (region_sums(k->v->regions[r].role)) {
                to = add_to_sums(k, site->cb, k->v->regions[r].role, value[r], to);
                continue;
            }
            map_store(k, site, r, value[r]);
        }
    }
}

static LLVMValueRef add_partial(const MapKernel *k, LLVMValueRef *part) {
    for (int n = k->unroll / 2; n >= 1; n /= 2)
        for (int i = 0; i < n; i++) part[i] = LLVMBuildFAdd(k->e->b, part[i], part[i + n], "");
    return part[0];
}

/* The sums of a whole unit, one each for REDUCE, two for MOMENTS. */
static void store_sums(MapKernel *k, const ElementSite *site, const LLVMValueRef *total) {
    Emitter *e = k->e;
    LLVMValueRef block = emit_mul_int(e, site->cb, e->V);
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!map_wants(k, r) || !region_sums(k->v->regions[r].role)) continue;
        LLVMValueRef base = emit_buffer(e, k->buffer[r]), sum = *total++;
        if (k->v->regions[r].role == REGION_REDUCE) {
            sum = emit_mask_channels(e, sum, site->cb, k->channels);
            emit_store(e, sum, base, emit_offset(e, site->n, k->blocks * e->V, block));
            continue;
        }
        LLVMValueRef row = emit_offset(e, site->n, 2 * k->blocks * e->V, block);
        emit_store_wide(e, sum, base, row);
        emit_store_wide(e, *total++, base, emit_add_int(e, row, emit_int(e, k->blocks * e->V)));
    }
}

/* All sums at the start, `copies` of each; returns how many there are. */
static int clear_sums(const MapKernel *k, int copies, LLVMValueRef *sum) {
    int n = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        RegionRole role = k->v->regions[r].role;
        if (!map_wants(k, r) || !region_sums(role)) continue;
        bool wide = role == REGION_MOMENTS;
        for (int i = 0; i < (wide ? 2 : 1) * copies; i++) sum[n++] = wide ? emit_wide_vec(k->e, 0) : emit_vec(k->e, 0);
    }
    return n;
}

/* Pixels first to first + count, a multiple of unroll; their sums are added to total. */
static void sweep_run(MapKernel *k, ElementSite *site, LLVMValueRef first, int64_t count, LLVMValueRef *total) {
    Emitter *e = k->e;
    LLVMValueRef sum[LOOP_MAX_CARRY], next[LOOP_MAX_CARRY];
    int nsums = clear_sums(k, k->unroll, sum);
    Loop pixel = loop_begin(e, first, emit_add_int(e, first, emit_int(e, count)), k->unroll, nsums, sum);
    for (int i = 0; i < nsums; i++) next[i] = pixel.carry[i];
    sweep_pixels(k, site, pixel.iv, k->unroll, next);
    loop_end(e, &pixel, next);
    for (int i = 0; i < nsums; i++) sum[i] = pixel.carry[i];
    for (int i = 0; i * k->unroll < nsums; i++)
        total[i] = LLVMBuildFAdd(e->b, total[i], add_partial(k, sum + (ptrdiff_t)i * k->unroll), "");
}

/* The pixels behind `whole`, fewer than unroll. */
static void sweep_rest(MapKernel *k, ElementSite *site, int64_t whole, LLVMValueRef *total) {
    LLVMValueRef sum[LOOP_MAX_CARRY];
    int nsums = clear_sums(k, k->unroll, sum);
    sweep_pixels(k, site, emit_int(k->e, whole), (int)(k->pixels - whole), sum);
    for (int i = 0; i * k->unroll < nsums; i++)
        total[i] = LLVMBuildFAdd(k->e->b, total[i], add_partial(k, sum + (ptrdiff_t)i * k->unroll), "");
}

static void emit_feature_unit(MapKernel *k, LLVMValueRef unit) {
    Emitter *e = k->e;
    ElementSite site = map_site(k);
    site.n = LLVMBuildUDiv(e->b, unit, emit_int(e, k->blocks), "n");
    site.cb = LLVMBuildURem(e->b, unit, emit_int(e, k->blocks), "cb");
    map_preload(k, &site);
    LLVMValueRef total[LOOP_MAX_CARRY];
    int ntotals = clear_sums(k, 1, total);
    int64_t whole = k->pixels - k->pixels % k->unroll, run = k->nsums ? sum_run(whole / k->unroll) * k->unroll : whole;
    if (run < whole) {
        Loop runs = loop_begin(e, emit_int(e, 0), emit_int(e, whole), run, ntotals, total);
        for (int i = 0; i < ntotals; i++) total[i] = runs.carry[i];
        sweep_run(k, &site, runs.iv, run, total);
        loop_end(e, &runs, total);
        for (int i = 0; i < ntotals; i++) total[i] = runs.carry[i];
    } else if (whole) {
        sweep_run(k, &site, emit_int(e, 0), whole, total);
    }
    if (whole < k->pixels) sweep_rest(k, &site, whole, total);
    store_sums(k, &site, total);
}

/* One vector of channels of [N,C], [C] or a scalar. */
static void emit_vector_unit(MapKernel *k, LLVMValueRef unit) {
    Emitter *e = k->e;
    ElementSite site = map_site(k);
    site.cb = unit;
    if (k->layout == LAYOUT_ROWS) {
        site.n = LLVMBuildUDiv(e->b, unit, emit_int(e, k->blocks), "n");
        site.cb = LLVMBuildURem(e->b, unit, emit_int(e, k->blocks), "cb");
    }
    LLVMValueRef value[MAX_REGIONS];
    map_evaluate(k, &site, value);
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!map_wants(k, r)) continue;
        LLVMValueRef base = emit_buffer(e, k->buffer[r]);
        if (k->v->space.rank == 0) {
            LLVMValueRef first = LLVMBuildExtractElement(e->b, value[r], LLVMConstInt(e->i32, 0, false), "");
            emit_store_scalar(e, first, base, emit_int(e, 0));
        } else {
            emit_store(e, emit_mask_channels(e, value[r], site.cb, k->channels), base, emit_mul_int(e, unit, e->V));
        }
    }
}

/* One vector of output channels of [O/V][I/V][kh][kw][I in V][O in V]; the padding of both channels stays zero. */
static void emit_filter_unit(MapKernel *k, LLVMValueRef unit) {
    Emitter *e = k->e;
    ElementSite site = map_site(k);
    LLVMValueRef at = emit_mul_int(e, unit, e->V), value[MAX_REGIONS];
    for (uint32_t i = 0; i < k->v->nargs; i++)
        if (k->arg_type[i].rank == 4) k->preloaded[i] = emit_load(e, k->arg_base[i], at);
    map_evaluate(k, &site, value);
    const int64_t *dim = k->v->space.dim;
    int64_t taps = dim[2] * dim[3], inputs = layout_pad(e->target, dim[1]);
    LLVMValueRef ob = LLVMBuildUDiv(e->b, unit, emit_int(e, inputs * taps), "ob");
    LLVMValueRef row = LLVMBuildURem(e->b, unit, emit_int(e, inputs * taps), "");
    LLVMValueRef ib = LLVMBuildUDiv(e->b, row, emit_int(e, taps * e->V), "");
    LLVMValueRef input = emit_offset(e, ib, e->V, LLVMBuildURem(e->b, row, emit_int(e, e->V), ""));
    LLVMValueRef inside = LLVMBuildICmp(e->b, LLVMIntSLT, input, emit_int(e, dim[1]), "");
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!map_wants(k, r)) continue;
        LLVMValueRef masked = emit_mask_channels(e, value[r], ob, dim[0]);
        if (dim[1] % e->V) masked = LLVMBuildSelect(e->b, inside, masked, emit_vec(e, 0), "");
        emit_store(e, masked, emit_buffer(e, k->buffer[r]), at);
    }
}

static void emit_map(MapKernel *k) {
    for (uint32_t i = 0; i < k->v->nargs; i++) k->arg_base[i] = emit_buffer(k->e, i);
    Loop unit = split_begin(k->e, &k->split);
    switch (k->layout) {
    case LAYOUT_FEATURE: (map_reduces(k->v) ? emit_reduce_unit : emit_feature_unit)(k, unit.iv); break;
    case LAYOUT_FILTERS: emit_filter_unit(k, unit.iv); break;
    case LAYOUT_ROWS:
    case LAYOUT_VECTOR:
    case LAYOUT_LABELS:
    case LAYOUT_IMAGES: emit_vector_unit(k, unit.iv); break; /* no map makes such */
    }
    loop_end(k->e, &unit, NULL);
}

/* Filters have no channels that a gate or a per-channel vector could belong to. */
static bool filters_supported(const MapKernel *k) {
    for (uint32_t i = 0; i < k->v->nargs; i++)
        if (k->arg_type[i].rank != 4 && k->arg_type[i].rank != 0) return false;
    return k->nsums == 0;
}

/* Sizes, unrolling and pieces; flops and bytes of one run. */
static void plan_map(MapKernel *k, double *flops, double *bytes) {
    Type space = k->v->space;
    int V = k->e->V;
    double nodes = 0, tensors = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!map_wants(k, r)) continue;
        nodes += k->v->regions[r].expr->count;
        k->nsums += k->v->regions[r].role == REGION_REDUCE ? 1 : k->v->regions[r].role == REGION_MOMENTS ? 2 : 0;
        tensors += k->v->regions[r].role == REGION_OUTPUT;
    }
    for (uint32_t i = 0; i < k->v->nargs; i++) tensors += k->arg_type[i].rank == space.rank;
    k->channels = space.rank == 0 ? 1 : space.dim[space.rank >= 2 ? 1 : 0];
    k->blocks = layout_pad(k->e->target, k->channels) / V;
    k->pixels = space.rank == 4 ? space.dim[2] * space.dim[3] : 1;
    k->unroll = nodes > UNROLL_MAX_NODES || k->nsums * UNROLL > UNROLL_MAX_SUMS ? 1 : UNROLL;
    int64_t images = space.rank >= 2 ? space.dim[0] : 1, units = images * k->blocks;
    double unit_bytes = (double)k->pixels * V * sizeof(float) * tensors;
    if (k->layout == LAYOUT_FILTERS) {
        units = layout_pad(k->e->target, space.dim[0]) / V * layout_pad(k->e->target, space.dim[1]) * k->pixels;
        unit_bytes = V * sizeof(float) * tensors;
    }
    if (map_reduces(k->v)) {
        unit_bytes *= (double)units / (double)map_reduce_units(k);
        units = map_reduce_units(k);
    }
    k->split = split_units(units, unit_bytes);
    *flops = nodes * (double)type_elements(space);
    *bytes = tensors * sizeof(float) * (double)type_elements(space);
}

/* The layout of the iteration space: that of an element result or of a full-rank operand; sums need feature maps. */
static LayoutKind space_layout(const Graph *g, Val id) {
    const Value *v = &g->value[id];
    if (v->space.rank < 2) return LAYOUT_VECTOR;
    if (v->space.rank < 4) return LAYOUT_ROWS;
    return v->regions[0].role == REGION_OUTPUT ? layout_of(g, id) : LAYOUT_FEATURE;
}

void lower_MAP(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    MapKernel k = {.l = l, .e = lowering_emitter(l), .v = v, .layout = space_layout(g, id)};
    Place places[MAX_ARGS + MAX_REGIONS];
    if (v->nargs > MAX_ARGS || v->nregions > MAX_REGIONS || v->space.rank == 3) {
        lowering_error(l, id, "a map of this size or rank is not compiled");
        return;
    }
    uint32_t nplaces = 0;
    for (uint32_t i = 0; i < v->nargs; i++) {
        k.arg_type[i] = g->value[v->args[i]].type;
        places[nplaces++] = lowering_place(l, v->args[i]);
    }
    for (uint32_t r = 0; r < v->nregions; r++) {
        Place p = lowering_result_place(l, id, r);
        k.buffer[r] = p.space == RT_SPACE_COUNT ? NO_BUFFER : nplaces;
        if (map_wants(&k, r)) places[nplaces++] = p;
    }
    double flops, bytes;
    plan_map(&k, &flops, &bytes);
    if (k.layout == LAYOUT_FILTERS && !filters_supported(&k)) {
        lowering_error(l, id, "elementwise work on convolution weights takes whole weights and scalars only");
        return;
    }
    Kernel *kernel;
    bool sums = k.nsums || map_reduces(v);
    if (kernel_begin(l, sums ? RT_KIND_POOLING : RT_KIND_MAP, sums ? "map_reduce" : "map", value_key(l, id), nplaces, &kernel)) {
        kernel_elements(l, 0, places, nplaces);
        emit_map(&k);
        kernel_end(l, map_reduce_scratch(&k));
    }
    kernel_call(l, kernel, id, places, nplaces, k.split.pieces, (KernelCost){flops, bytes});
}
