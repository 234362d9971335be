/* Maps that reduce over channels, or over lines or columns (regions SUM_TO, MAX_TO and INDEX_TO), and what shares their sweep.
 * Units:
 *     over channels   one line of an image: block by block, with the sum or maximum so far of each of its pixels in scratch;
 *     over pixels     one channel block of an image: line by line, with that of each column in scratch, of the line and of all
 *                     lines in registers. So REDUCE, OUTPUT and all of these are made in one loop over what they read.
 * Each result is one chain, or one of lines, in a fixed order. An INDEX_TO has two parts, the maximum so far and where it is. */
#include "codegen/ops/map_reduce.h"
#include <math.h>

bool map_reduces(const Value *v) {
    for (uint32_t r = 0; r < v->nregions; r++)
        if (region_reduces(v->regions[r].role)) return true;
    return false;
}

static int mask_of(const MapKernel *k, uint32_t r) {
    const Region *region = &k->v->regions[r];
    if (region->role == REGION_REDUCE) return OVER_HEIGHT | OVER_WIDTH;
    return region_reduces(region->role) ? region->operand : 0;
}

/* One loop reduces over channels or over pixels (region_shares_loop). */
static bool over_channels(const MapKernel *k) {
    for (uint32_t r = 0; r < k->v->nregions; r++)
        if (mask_of(k, r) == OVER_CHANNELS) return true;
    return false;
}

int64_t map_reduce_units(const MapKernel *k) {
    const int64_t *dim = k->v->space.dim;
    return dim[0] * (over_channels(k) ? dim[2] : k->blocks);
}

/* Whose reduction goes over what the innermost loop does not: it is kept for each column. */
static bool in_scratch(const MapKernel *k, uint32_t r) {
    return map_wants(k, r) && (mask_of(k, r) == OVER_CHANNELS || mask_of(k, r) == OVER_HEIGHT);
}

static bool maximum(const MapKernel *k, uint32_t r) { return region_greatest(k->v->regions[r].role); }

static bool indexes(const MapKernel *k, uint32_t r) { return k->v->regions[r].role == REGION_INDEX_TO; }

/* What is kept of a reduction while it is made: vectors, of which the first is the sum or the maximum so far, the second where
 * that is. */
enum { MAX_PARTS = 2 };
static int parts(const MapKernel *k, uint32_t r) { return indexes(k, r) ? 2 : 1; }

uint64_t map_reduce_scratch(const MapKernel *k) {
    uint64_t vectors = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) vectors += in_scratch(k, r) ? (uint64_t)parts(k, r) : 0;
    return vectors * (uint64_t)(k->v->space.dim[3] * k->e->V) * sizeof(float);
}

/* What a reduction begins with. */
static double nothing(const MapKernel *k, uint32_t r) { return maximum(k, r) ? -INFINITY : 0; }

static void start(const MapKernel *k, uint32_t r, LLVMValueRef *so_far) {
    so_far[0] = emit_vec(k->e, nothing(k, r));
    if (indexes(k, r)) so_far[1] = emit_vec(k->e, 0);
}

/* In place: the next of so_far, which stands in front of `value`. */
static void join(const MapKernel *k, uint32_t r, LLVMValueRef *so_far, const LLVMValueRef *value) {
    LLVMBuilderRef b = k->e->b;
    if (indexes(k, r)) {
        LLVMValueRef greater = LLVMBuildFCmp(b, LLVMRealOGT, value[0], so_far[0], "");
        LLVMValueRef takes = LLVMBuildOr(b, greater, LLVMBuildFCmp(b, LLVMRealUNO, value[0], value[0], ""), "");
        so_far[0] = LLVMBuildSelect(b, takes, value[0], so_far[0], "");
        so_far[1] = LLVMBuildSelect(b, takes, value[1], so_far[1], "");
        return;
    }
    so_far[0] = maximum(k, r) ? emit_greatest(k->e, so_far[0], value[0]) : LLVMBuildFAdd(b, so_far[0], value[0], "");
}

/* The place in scratch of a column; regions and their parts stand one behind the other. */
static LLVMValueRef column_at(const MapKernel *k, uint32_t region, int part, LLVMValueRef column) {
    int64_t before = part;
    for (uint32_t r = 0; r < region; r++) before += in_scratch(k, r) ? parts(k, r) : 0;
    return emit_mul_int(k->e, emit_add_int(k->e, column, emit_int(k->e, before * k->v->space.dim[3])), k->e->V);
}

static void load_column(const MapKernel *k, uint32_t r, LLVMValueRef column, LLVMValueRef *so_far) {
    for (int i = 0; i < parts(k, r); i++) so_far[i] = emit_load(k->e, k->e->scratch, column_at(k, r, i, column));
}

static void store_column(const MapKernel *k, uint32_t r, LLVMValueRef column, const LLVMValueRef *so_far) {
    for (int i = 0; i < parts(k, r); i++) emit_store(k->e, so_far[i], k->e->scratch, column_at(k, r, i, column));
}

static Loop columns(const MapKernel *k, int carry, const LLVMValueRef *initial) {
    return loop_begin(k->e, emit_int(k->e, 0), emit_int(k->e, k->v->space.dim[3]), 1, carry, initial);
}

static void clear_columns(const MapKernel *k) {
    LLVMValueRef first[MAX_PARTS];
    Loop column = columns(k, 0, NULL);
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!in_scratch(k, r)) continue;
        start(k, r, first);
        store_column(k, r, column.iv, first);
    }
    loop_end(k->e, &column, NULL);
}

/* Where a site is along what region r goes over, in each lane. */
static LLVMValueRef place_of(const MapKernel *k, uint32_t r, const ElementSite *site, LLVMValueRef row, LLVMValueRef column) {
    Emitter *e = k->e;
    int mask = mask_of(k, r);
    LLVMValueRef first = mask == OVER_CHANNELS ? emit_mul_int(e, site->cb, e->V)
                         : mask == OVER_HEIGHT ? row
                         : mask == OVER_WIDTH  ? column
                                               : site->pixel;
    return emit_count(e, first, mask == OVER_CHANNELS);
}

/* One site: OUTPUTs are stored, columns in scratch go on, and the others' reductions in carry. */
static void visit(MapKernel *k, ElementSite *site, LLVMValueRef row, LLVMValueRef column, LLVMValueRef *carry) {
    LLVMValueRef value[MAX_REGIONS];
    site->pixel = emit_offset(k->e, row, k->v->space.dim[3], column);
    map_evaluate(k, site, value);
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!map_wants(k, r)) continue;
        if (!mask_of(k, r)) {
            map_store(k, site, r, value[r]);
            continue;
        }
        LLVMValueRef next[MAX_PARTS] = {value[r]}, so_far[MAX_PARTS];
        if (indexes(k, r)) next[1] = place_of(k, r, site, row, column);
        if (in_scratch(k, r)) {
            if (mask_of(k, r) == OVER_CHANNELS)
                next[0] = emit_channels_or(k->e, value[r], site->cb, k->channels, nothing(k, r)); /* other lanes do not count */
            load_column(k, r, column, so_far);
            join(k, r, so_far, next);
            store_column(k, r, column, so_far);
        } else {
            join(k, r, carry, next);
            carry += parts(k, r);
        }
    }
}

/* ---- over channels ---- */

/* Of the lanes' reductions that of them all, in each lane. Of equal maxima the first, of NaNs the last. */
static LLVMValueRef join_lanes(const MapKernel *k, uint32_t r, const LLVMValueRef *so_far) {
    Emitter *e = k->e;
    LLVMValueRef all = emit_splat(e, maximum(k, r) ? emit_reduce_greatest(e, so_far[0]) : emit_reduce_add(e, so_far[0]));
    if (!indexes(k, r)) return all;
    LLVMValueRef nan = LLVMBuildFCmp(e->b, LLVMRealUNO, all, all, "");
    LLVMValueRef order = LLVMBuildSelect(e->b, nan, so_far[1], LLVMBuildFNeg(e->b, so_far[1], ""), "");
    LLVMValueRef has = LLVMBuildSelect(e->b, nan, LLVMBuildFCmp(e->b, LLVMRealUNO, so_far[0], so_far[0], ""),
                                       LLVMBuildFCmp(e->b, LLVMRealOEQ, so_far[0], all, ""), "");
    LLVMValueRef most = emit_reduce_greatest(e, LLVMBuildSelect(e->b, has, order, emit_vec(e, -INFINITY), ""));
    LLVMValueRef splat = emit_splat(e, most);
    return emit_intrinsic(e, "llvm.fabs", e->vec, &splat, 1);
}

static void emit_line(MapKernel *k, LLVMValueRef unit) {
    Emitter *e = k->e;
    const int64_t *dim = k->v->space.dim;
    ElementSite site = map_site(k);
    LLVMValueRef row = LLVMBuildURem(e->b, unit, emit_int(e, dim[2]), "row");
    site.n = LLVMBuildUDiv(e->b, unit, emit_int(e, dim[2]), "n");
    clear_columns(k);
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, k->blocks), 1, 0, NULL);
    site.cb = block.iv;
    map_preload(k, &site);
    Loop column = columns(k, 0, NULL);
    visit(k, &site, row, column.iv, NULL);
    loop_end(e, &column, NULL);
    loop_end(e, &block, NULL);
    Loop result = columns(k, 0, NULL);
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!in_scratch(k, r)) continue;
        LLVMValueRef so_far[MAX_PARTS];
        load_column(k, r, result.iv, so_far);
        LLVMValueRef all = join_lanes(k, r, so_far);
        LLVMValueRef at = emit_mul_int(e, emit_offset(e, unit, dim[3], result.iv), e->V);
        emit_store(e, emit_first_lane(e, all), emit_buffer(e, k->buffer[r]), at);
    }
    loop_end(e, &result, NULL);
}

/* ---- over pixels ---- */

static bool in_registers(const MapKernel *k, uint32_t r) { return map_wants(k, r) && mask_of(k, r) && !in_scratch(k, r); }

static int start_all(const MapKernel *k, LLVMValueRef *carry) {
    int n = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!in_registers(k, r)) continue;
        start(k, r, carry + n);
        n += parts(k, r);
    }
    return n;
}

/* A result at a vector of its tensor, without the lanes that are no channels. */
static void store_result(const MapKernel *k, uint32_t r, LLVMValueRef cb, LLVMValueRef vector, LLVMValueRef value) {
    value = emit_mask_channels(k->e, value, cb, k->channels);
    emit_store(k->e, value, emit_buffer(k->e, k->buffer[r]), emit_mul_int(k->e, vector, k->e->V));
}

/* A line is done: what is over lines is stored, what is over all goes into `total`. */
static void end_line(const MapKernel *k, LLVMValueRef plane, LLVMValueRef cb, LLVMValueRef row, const LLVMValueRef *line,
                     LLVMValueRef *total) {
    int n = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!in_registers(k, r)) continue;
        if (mask_of(k, r) == OVER_WIDTH)
            store_result(k, r, cb, emit_offset(k->e, plane, k->v->space.dim[2], row), line[n + parts(k, r) - 1]);
        else
            join(k, r, total + n, line + n);
        n += parts(k, r);
    }
}

static void emit_block(MapKernel *k, LLVMValueRef unit) {
    Emitter *e = k->e;
    ElementSite site = map_site(k);
    LLVMValueRef line[MAX_PARTS * MAX_REGIONS], total[MAX_PARTS * MAX_REGIONS];
    site.n = LLVMBuildUDiv(e->b, unit, emit_int(e, k->blocks), "n");
    site.cb = LLVMBuildURem(e->b, unit, emit_int(e, k->blocks), "cb");
    map_preload(k, &site);
    clear_columns(k);
    int n = start_all(k, total);
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, k->v->space.dim[2]), 1, n, total);
    for (int i = 0; i < n; i++) total[i] = row.carry[i];
    start_all(k, line);
    Loop column = columns(k, n, line);
    for (int i = 0; i < n; i++) line[i] = column.carry[i];
    visit(k, &site, row.iv, column.iv, line);
    loop_end(e, &column, line);
    end_line(k, unit, site.cb, row.iv, column.carry, total);
    loop_end(e, &row, total);
    Loop result = columns(k, 0, NULL);
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        LLVMValueRef so_far[MAX_PARTS];
        if (!in_scratch(k, r)) continue;
        load_column(k, r, result.iv, so_far);
        store_result(k, r, site.cb, emit_offset(e, unit, k->v->space.dim[3], result.iv), so_far[parts(k, r) - 1]);
    }
    loop_end(e, &result, NULL);
    n = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!in_registers(k, r)) continue;
        n += parts(k, r);
        if (mask_of(k, r) != OVER_WIDTH) store_result(k, r, site.cb, unit, row.carry[n - 1]);
    }
}

void emit_reduce_unit(MapKernel *k, LLVMValueRef unit) { (over_channels(k) ? emit_line : emit_block)(k, unit); }
