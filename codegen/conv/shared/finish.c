/* Finishing accumulators: epilogue, further outputs and per-image channel sums, while the values are still in registers. */
#include "codegen/conv/shared/finish.h"

enum { SUM_CHAINS = 4 };

/* Which of the bands' sums region `region` is. */
static int64_t reduce_ordinal(const Value *v, uint32_t region) {
    int64_t ordinal = 0;
    for (uint32_t i = 0; i < region; i++) ordinal += v->regions[i].role == REGION_REDUCE;
    return ordinal;
}

static bool wanted(const ConvKernel *k, uint32_t region) { return k->result_buffer[region_result(k->v, region)] != NO_BUFFER; }

/* Base and element of the vector that the sums of a REDUCE region for this channel block are added to. */
static LLVMValueRef sums_vector(ConvKernel *k, const Finish *f, uint32_t region, LLVMValueRef *base) {
    Emitter *e = k->e;
    int64_t blocks = divide_up(f->channels, e->V);
    int64_t offset = f->banded ? reduce_ordinal(k->v, region) * f->sums_rows * blocks * e->V : 0;
    *base = emit_buffer(e, f->banded ? k->workspace_buffer : k->result_buffer[region_result(k->v, region)]);
    return emit_offset(e, emit_offset(e, f->sums_row, blocks, f->cb), e->V, emit_int(e, offset));
}

void finish_clear_sums(ConvKernel *k, const Finish *f) {
    for (uint32_t i = 0; i < k->v->nregions; i++) {
        if (k->v->regions[i].role != REGION_REDUCE || !wanted(k, i)) continue;
        LLVMValueRef base, element = sums_vector(k, f, i, &base);
        emit_store(k->e, emit_vec(k->e, 0), base, element);
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

static void emit_sums(ConvKernel *k, const Finish *f, ElementSite *site, uint32_t region, int count, const LLVMValueRef *acc,
                      const LLVMValueRef *out, const LLVMValueRef *pixel) {
    Emitter *e = k->e;
    const Expr *expr = k->v->regions[region].expr;
    LLVMValueRef chain[SUM_CHAINS], base, element = sums_vector(k, f, region, &base);
    for (int i = 0; i < count; i++) {
        LLVMValueRef value = region_value(k, f, site, expr, acc[i], out[i], pixel[i]);
        chain[i % SUM_CHAINS] = i < SUM_CHAINS ? value : LLVMBuildFAdd(e->b, chain[i % SUM_CHAINS], value, "");
    }
    for (int n = count < SUM_CHAINS ? count : SUM_CHAINS; n > 1; n = (n + 1) / 2)
        for (int i = 0; i < n / 2; i++) chain[i] = LLVMBuildFAdd(e->b, chain[i], chain[n - 1 - i], "");
    emit_store(e, LLVMBuildFAdd(e->b, emit_load(e, base, element), chain[0], ""), base, element);
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
        if (region->role == REGION_REDUCE && wanted(k, r)) emit_sums(k, f, &site, r, count, acc, out, pixel);
        if (region->role != REGION_OUTPUT || !wanted(k, r)) continue;
        LLVMValueRef base = emit_buffer(e, k->result_buffer[region_result(k->v, r)]);
        for (int i = 0; i < count; i++)
            conv_store(k, k->v->type, region_value(k, f, &site, region->expr, acc[i], out[i], pixel[i]), base,
                       emit_mul_int(e, emit_add_int(e, plane, pixel[i]), e->V));
    }
}

void finish_combine_sums(ConvKernel *k, int64_t N, int64_t channels, int64_t bands) {
    Emitter *e = k->e;
    Kernel *kernel;
    char *key = conv_key(k, "combine");
    if (kernel_begin(k->l, "conv_sums", key, k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        Finish f = {.channels = channels, .banded = true, .sums_rows = N * bands};
        for (uint32_t i = 0; i < k->v->nregions; i++) {
            if (k->v->regions[i].role != REGION_REDUCE || !wanted(k, i)) continue;
            Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, divide_up(channels, e->V)), 1, 0, NULL);
            f.cb = block.iv;
            LLVMValueRef sum = emit_vec(e, 0), base;
            Loop band = loop_begin(e, emit_int(e, 0), emit_int(e, bands), 1, 1, &sum);
            f.sums_row = emit_offset(e, e->piece, bands, band.iv);
            LLVMValueRef element = sums_vector(k, &f, i, &base);
            LLVMValueRef next = LLVMBuildFAdd(e->b, band.carry[0], emit_load(e, base, element), "");
            loop_end(e, &band, &next);
            Finish whole = {.channels = channels, .sums_row = e->piece, .cb = block.iv};
            element = sums_vector(k, &whole, i, &base);
            emit_store(e, band.carry[0], base, element);
            loop_end(e, &block, NULL);
        }
        kernel_end(k->l, 0);
    }
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, N, 0, 0);
}

uint64_t finish_sums_bytes(const Value *v, const Correlation *c, int64_t bands) {
    int64_t sums = 0;
    for (uint32_t i = 0; i < v->nregions && bands > 1; i++) sums += v->regions[i].role == REGION_REDUCE;
    return (uint64_t)(sums * c->N * bands * c->out_blocks * c->V) * sizeof(float);
}
