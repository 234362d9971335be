/* Finishing accumulators: epilogue, further outputs and per-image channel sums, while the values are still in registers.
 *
 * A row of a REDUCE's sums is one f32 vector per channel block; one of MOMENTS is two of doubles, Σe and Σe*e, in rows 2r and
 * 2r + 1. Squares of f32 are exact in double, and so is what their difference leaves of a variance (see emit_moments). */
#include "codegen/conv/shared/finish.h"
#include <math.h>

enum { SUM_CHAINS = 4 };

/* Floats that the first `regions` regions' sums of one row, channel block and lane take. */
static int64_t sums_words(const Value *v, uint32_t regions) {
    int64_t words = 0;
    for (uint32_t i = 0; i < regions; i++)
        words += v->regions[i].role == REGION_REDUCE ? 1 : v->regions[i].role == REGION_MOMENTS ? 4 : 0;
    return words;
}

static bool wanted(const ConvKernel *k, uint32_t region) { return k->result_buffer[region_result(k->v, region)] != NO_BUFFER; }

/* Where the sums of a region for this channel block are: `first` in f32, or `first` and `second` in double. */
typedef struct Sums {
    LLVMValueRef base, first, second;
} Sums;

static Sums sums_of(ConvKernel *k, const Finish *f, uint32_t region) {
    Emitter *e = k->e;
    int64_t blocks = divide_up(f->channels, e->V), row = blocks * e->V;
    LLVMValueRef base = emit_buffer(e, f->banded ? k->workspace_buffer : k->result_buffer[region_result(k->v, region)]);
    if (f->banded) base = emit_address(e, base, emit_int(e, sums_words(k->v, region) * f->sums_rows * row));
    int64_t rows = k->v->regions[region].role == REGION_MOMENTS ? 2 : 1;
    LLVMValueRef first = emit_offset(e, f->sums_row, rows * row, emit_mul_int(e, f->cb, e->V));
    return (Sums){base, first, emit_add_int(e, first, emit_int(e, row))};
}

void finish_clear_sums(ConvKernel *k, const Finish *f) {
    for (uint32_t i = 0; i < k->v->nregions; i++) {
        if (!region_sums(k->v->regions[i].role) || !wanted(k, i)) continue;
        Sums to = sums_of(k, f, i);
        if (k->v->regions[i].role == REGION_REDUCE) {
            emit_store(k->e, emit_vec(k->e, 0), to.base, to.first);
        } else {
            emit_store_wide(k->e, emit_wide_vec(k->e, 0), to.base, to.first);
            emit_store_wide(k->e, emit_wide_vec(k->e, 0), to.base, to.second);
        }
    }
}

/* The value of a region at pixel i, padding lanes zero. */
static LLVMValueRef region_value(ConvKernel *k, const Finish *f, ElementSite *site, const Expr *expr, LLVMValueRef acc,
                                 LLVMValueRef out, LLVMValueRef pixel) {
    site->acc = acc;
    site->out = out;
    site->pixel = pixel;
    return emit_mask_channels(k->e, emit_expr(k->e, expr, site), f->cb, f->channels);
}

/* The sum of `count` vectors, or of their squares: SUM_CHAINS of them side by side, then a tree. */
static LLVMValueRef sum_of(Emitter *e, const LLVMValueRef *v, int count, bool squares) {
    LLVMValueRef chain[SUM_CHAINS];
    for (int i = 0; i < count; i++) {
        LLVMValueRef *sum = &chain[i % SUM_CHAINS];
        if (i < SUM_CHAINS)
            *sum = squares ? emit_arith(e, LLVMFMul, v[i], v[i]) : v[i];
        else
            *sum = squares ? emit_fma(e, v[i], v[i], *sum) : emit_arith(e, LLVMFAdd, *sum, v[i]);
    }
    for (int n = count < SUM_CHAINS ? count : SUM_CHAINS; n > 1; n = (n + 1) / 2)
        for (int i = 0; i < n / 2; i++) chain[i] = LLVMBuildFAdd(e->b, chain[i], chain[n - 1 - i], "");
    return chain[0];
}

/* Adds Σv and Σv*v of `count` vectors v to doubles. To widen each would cost more than the sums themselves; instead they are
 * taken of d = v - p, p being the first, in f32. Neighbours differ by little, so nothing cancels, and with s = Σd, q = Σd*d
 *
 *     Σv = count*p + s,    Σv*v = p*(count*p + 2*s) + q
 *
 * in double. What f32 rounds away of s is as if the vs themselves differed by it, since both sums have the same s. */
static void emit_moments(ConvKernel *k, const Finish *f, uint32_t region, int count, const LLVMValueRef *value) {
    Emitter *e = k->e;
    LLVMBuilderRef b = e->b;
    LLVMValueRef d[LOOP_MAX_CARRY], sum, squares;
    Sums to = sums_of(k, f, region);
    if (count == 1) {
        sum = emit_widen(e, value[0]);
        squares = LLVMBuildFMul(b, sum, sum, "");
    } else {
        LLVMValueRef size = emit_intrinsic(e, "llvm.fabs", e->vec, (LLVMValueRef[]){value[0]}, 1);
        LLVMValueRef finite = LLVMBuildFCmp(b, LLVMRealOLT, size, emit_vec(e, INFINITY), "");
        LLVMValueRef p = LLVMBuildSelect(b, finite, value[0], emit_vec(e, 0), ""); /* or an infinite sum were NaN */
        for (int i = 0; i < count; i++) d[i] = LLVMBuildFSub(b, value[i], p, "");
        LLVMValueRef wide = emit_widen(e, p), s = emit_widen(e, sum_of(e, d, count, false));
        sum = emit_fma(e, emit_wide_vec(e, count), wide, s);
        squares = emit_fma(e, wide, LLVMBuildFAdd(b, sum, s, ""), emit_widen(e, sum_of(e, d, count, true)));
    }
    emit_store_wide(e, LLVMBuildFAdd(b, emit_load_wide(e, to.base, to.first), sum, ""), to.base, to.first);
    emit_store_wide(e, LLVMBuildFAdd(b, emit_load_wide(e, to.base, to.second), squares, ""), to.base, to.second);
}

static void emit_sums(ConvKernel *k, const Finish *f, ElementSite *site, uint32_t region, int count, const LLVMValueRef *acc,
                      const LLVMValueRef *out, const LLVMValueRef *pixel) {
    Emitter *e = k->e;
    const Region *r = &k->v->regions[region];
    LLVMValueRef value[LOOP_MAX_CARRY];
    for (int i = 0; i < count; i++) value[i] = region_value(k, f, site, r->expr, acc[i], out[i], pixel[i]);
    if (r->role == REGION_MOMENTS) {
        emit_moments(k, f, region, count, value);
        return;
    }
    Sums to = sums_of(k, f, region);
    emit_store(e, LLVMBuildFAdd(e->b, emit_load(e, to.base, to.first), sum_of(e, value, count, false), ""), to.base, to.first);
}

void finish_emit(ConvKernel *k, const Finish *f, int count, const LLVMValueRef *acc, const LLVMValueRef *pixel) {
    Emitter *e = k->e;
    ElementSite site = conv_elements(k, k->v->type);
    site.n = f->n;
    site.cb = f->cb;
    LLVMValueRef plane = emit_mul_int(e, emit_offset(e, f->n, site.channel_blocks, f->cb), site.pixels), out[LOOP_MAX_CARRY];
    const Region *epilogue = value_region(k->v, REGION_EPILOGUE, 0);
    for (uint32_t i = 0; i < k->v->nregions; i++)
        if (k->v->regions[i].role >= REGION_EPILOGUE) emit_preload(e, k->v->regions[i].expr, &site, k->v->nargs);
    for (int i = 0; i < count; i++) {
        out[i] = epilogue ? region_value(k, f, &site, epilogue->expr, acc[i], NULL, pixel[i])
                          : emit_mask_channels(e, acc[i], f->cb, f->channels);
        if (k->result_buffer[0] != NO_BUFFER)
            conv_store(k, k->v->type, out[i], emit_buffer(e, k->result_buffer[0]),
                       emit_mul_int(e, emit_add_int(e, plane, pixel[i]), e->V));
    }
    for (uint32_t r = 0; r < k->v->nregions; r++) {
        const Region *region = &k->v->regions[r];
        if (region_sums(region->role) && wanted(k, r)) emit_sums(k, f, &site, r, count, acc, out, pixel);
        if (region->role != REGION_OUTPUT || !wanted(k, r)) continue;
        LLVMValueRef base = emit_buffer(e, k->result_buffer[region_result(k->v, r)]);
        for (int i = 0; i < count; i++)
            conv_store(k, k->v->type, region_value(k, f, &site, region->expr, acc[i], out[i], pixel[i]), base,
                       emit_mul_int(e, emit_add_int(e, plane, pixel[i]), e->V));
    }
}

/* Adds up the bands' sums of one region and channel block of the image that the piece is. */
static void combine_bands(ConvKernel *k, Finish f, uint32_t region, int64_t bands) {
    Emitter *e = k->e;
    bool wide = k->v->regions[region].role == REGION_MOMENTS;
    LLVMValueRef zero[2] = {wide ? emit_wide_vec(e, 0) : emit_vec(e, 0), emit_wide_vec(e, 0)}, next[2];
    Loop band = loop_begin(e, emit_int(e, 0), emit_int(e, bands), 1, wide ? 2 : 1, zero);
    f.sums_row = emit_offset(e, e->piece, bands, band.iv);
    Sums from = sums_of(k, &f, region);
    next[0] = wide ? emit_load_wide(e, from.base, from.first) : emit_load(e, from.base, from.first);
    next[0] = LLVMBuildFAdd(e->b, band.carry[0], next[0], "");
    if (wide) next[1] = LLVMBuildFAdd(e->b, band.carry[1], emit_load_wide(e, from.base, from.second), "");
    loop_end(e, &band, next);
    Finish whole = {.channels = f.channels, .sums_row = e->piece, .cb = f.cb};
    Sums to = sums_of(k, &whole, region);
    if (wide) {
        emit_store_wide(e, band.carry[0], to.base, to.first);
        emit_store_wide(e, band.carry[1], to.base, to.second);
    } else {
        emit_store(e, band.carry[0], to.base, to.first);
    }
}

void finish_combine_sums(ConvKernel *k, int64_t N, int64_t channels, int64_t bands) {
    Emitter *e = k->e;
    Kernel *kernel;
    if (!sums_words(k->v, k->v->nregions)) return;
    char *key = conv_key(k, "combine");
    if (kernel_begin(k->l, RT_KIND_STATISTICS, "conv_sums", key, k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        Finish f = {.channels = channels, .banded = true, .sums_rows = N * bands};
        for (uint32_t i = 0; i < k->v->nregions; i++) {
            if (!region_sums(k->v->regions[i].role) || !wanted(k, i)) continue;
            Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, divide_up(channels, e->V)), 1, 0, NULL);
            f.cb = block.iv;
            combine_bands(k, f, i, bands);
            loop_end(e, &block, NULL);
        }
        kernel_end(k->l, 0);
    }
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, N, (KernelCost){0, 0});
}

uint64_t finish_sums_bytes(const Value *v, const Correlation *c, int64_t bands) {
    int64_t words = bands > 1 ? sums_words(v, v->nregions) : 0;
    return (uint64_t)(words * c->N * bands * c->out_blocks * c->V) * sizeof(float);
}
