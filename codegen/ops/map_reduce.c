/* Maps that reduce over channels, or over lines or columns (regions SUM_TO and MAX_TO), and what shares their sweep. A unit is
 *     over channels   one line of an image: block by block, with the sum or maximum so far of each of its pixels in scratch;
 *     over pixels     one channel block of an image: line by line, with that of each column in scratch, of the line and of all
 *                     lines in registers. So REDUCE, OUTPUT and all of these are made in one loop over what they read.
 * Each result is one chain, or one of lines, in a fixed order. */
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

uint64_t map_reduce_scratch(const MapKernel *k) {
    uint64_t regions = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) regions += in_scratch(k, r);
    return regions * (uint64_t)(k->v->space.dim[3] * k->e->V) * sizeof(float);
}

static bool maximum(const MapKernel *k, uint32_t r) { return k->v->regions[r].role == REGION_MAX_TO; }

/* What a reduction begins with. */
static double nothing(const MapKernel *k, uint32_t r) { return maximum(k, r) ? -INFINITY : 0; }

static LLVMValueRef start(const MapKernel *k, uint32_t r) { return emit_vec(k->e, nothing(k, r)); }

static LLVMValueRef join(const MapKernel *k, uint32_t r, LLVMValueRef before, LLVMValueRef value) {
    return maximum(k, r) ? emit_greatest(k->e, before, value) : LLVMBuildFAdd(k->e->b, before, value, "");
}

/* The place in scratch of a column; regions stand one behind the other. */
static LLVMValueRef column_at(const MapKernel *k, uint32_t region, LLVMValueRef column) {
    int64_t before = 0;
    for (uint32_t r = 0; r < region; r++) before += in_scratch(k, r);
    return emit_mul_int(k->e, emit_add_int(k->e, column, emit_int(k->e, before * k->v->space.dim[3])), k->e->V);
}

static Loop columns(const MapKernel *k, int carry, const LLVMValueRef *initial) {
    return loop_begin(k->e, emit_int(k->e, 0), emit_int(k->e, k->v->space.dim[3]), 1, carry, initial);
}

static void clear_columns(const MapKernel *k) {
    Loop column = columns(k, 0, NULL);
    for (uint32_t r = 0; r < k->v->nregions; r++)
        if (in_scratch(k, r)) emit_store(k->e, start(k, r), k->e->scratch, column_at(k, r, column.iv));
    loop_end(k->e, &column, NULL);
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
        } else if (in_scratch(k, r)) {
            LLVMValueRef at = column_at(k, r, column);
            if (mask_of(k, r) == OVER_CHANNELS)
                value[r] = emit_channels_or(k->e, value[r], site->cb, k->channels, nothing(k, r)); /* other lanes do not count */
            emit_store(k->e, join(k, r, emit_load(k->e, k->e->scratch, at), value[r]), k->e->scratch, at);
        } else {
            *carry = join(k, r, *carry, value[r]);
            carry++;
        }
    }
}

/* ---- over channels ---- */

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
        LLVMValueRef all = emit_load(e, e->scratch, column_at(k, r, result.iv));
        all = emit_splat(e, maximum(k, r) ? emit_reduce_greatest(e, all) : emit_reduce_add(e, all));
        LLVMValueRef at = emit_mul_int(e, emit_offset(e, unit, dim[3], result.iv), e->V);
        emit_store(e, emit_first_lane(e, all), emit_buffer(e, k->buffer[r]), at);
    }
    loop_end(e, &result, NULL);
}

/* ---- over pixels ---- */

static bool in_registers(const MapKernel *k, uint32_t r) { return map_wants(k, r) && mask_of(k, r) && !in_scratch(k, r); }

static int start_all(const MapKernel *k, LLVMValueRef *carry) {
    int n = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++)
        if (in_registers(k, r)) carry[n++] = start(k, r);
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
            store_result(k, r, cb, emit_offset(k->e, plane, k->v->space.dim[2], row), line[n]);
        else
            total[n] = join(k, r, total[n], line[n]);
        n++;
    }
}

static void emit_block(MapKernel *k, LLVMValueRef unit) {
    Emitter *e = k->e;
    ElementSite site = map_site(k);
    LLVMValueRef line[MAX_REGIONS], total[MAX_REGIONS];
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
    for (uint32_t r = 0; r < k->v->nregions; r++)
        if (in_scratch(k, r))
            store_result(k, r, site.cb, emit_offset(e, unit, k->v->space.dim[3], result.iv),
                         emit_load(e, e->scratch, column_at(k, r, result.iv)));
    loop_end(e, &result, NULL);
    n = 0;
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        if (!in_registers(k, r)) continue;
        if (mask_of(k, r) != OVER_WIDTH) store_result(k, r, site.cb, unit, row.carry[n]);
        n++;
    }
}

void emit_reduce_unit(MapKernel *k, LLVMValueRef unit) { (over_channels(k) ? emit_line : emit_block)(k, unit); }
