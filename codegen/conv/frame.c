/* What the direct and the matrix-product correlation kernels share: the meaning of a piece, where a pixel of a phase lies, and
 * the call. Piece = (image group * bands + band) * splits + split; groups of more than one image
 * come with one band and one split only. */
#include "codegen/conv/conv.h"

LLVMValueRef correlation_images(Emitter *e, const CorrelationPlan *p) {
    if (p->c.N % p->images == 0) return emit_int(e, p->images);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, p->c.N), emit_mul_int(e, e->piece, p->images), "");
    return emit_min_int(e, left, emit_int(e, p->images));
}

CorrelationSite correlation_site(Emitter *e, const CorrelationPlan *p, LLVMValueRef image) {
    CorrelationSite s = {.split = emit_int(e, 0), .band = emit_int(e, 0), .n = emit_offset(e, e->piece, p->images, image)};
    if (p->splits > 1) {
        s.split = LLVMBuildURem(e->b, s.n, emit_int(e, p->splits), "");
        s.n = LLVMBuildUDiv(e->b, s.n, emit_int(e, p->splits), "");
    }
    s.sums_row = s.n;
    if (p->bands > 1) {
        s.band = LLVMBuildURem(e->b, s.n, emit_int(e, p->bands), "");
        s.n = LLVMBuildUDiv(e->b, s.n, emit_int(e, p->bands), "");
    }
    return s;
}

LLVMValueRef emit_cut(Emitter *e, LLVMValueRef part, int64_t total, int64_t parts) {
    LLVMValueRef scaled = emit_mul_int(e, part, total);
    return parts == 1 ? scaled : LLVMBuildUDiv(e->b, scaled, emit_int(e, parts), "");
}

LLVMValueRef correlation_rows(Emitter *e, const CorrelationPlan *p, const CorrelationSite *s, int64_t phase) {
    int64_t lines = correlation_lines(&p->c, 0, phase);
    if (p->bands == 1) return emit_int(e, lines);
    /* bands follow phase 0, which has the most rows: the last one may have fewer of another phase, or none */
    if (lines == p->bands * p->band_rows) return emit_int(e, p->band_rows);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, lines), emit_mul_int(e, s->band, p->band_rows), "");
    return emit_max_int(e, emit_min_int(e, left, emit_int(e, p->band_rows)), emit_int(e, 0));
}

LLVMValueRef correlation_pixel(Emitter *e, const CorrelationPlan *p, const CorrelationSite *s, const int64_t phase[2],
                               LLVMValueRef row, LLVMValueRef column) {
    const Correlation *c = &p->c;
    LLVMValueRef line = emit_offset(e, s->band, p->band_rows, row);
    LLVMValueRef y = emit_offset(e, line, c->phases[0], emit_int(e, phase[0]));
    LLVMValueRef x = emit_offset(e, column, c->phases[1], emit_int(e, phase[1]));
    return emit_offset(e, y, c->out[1], x);
}

Finish correlation_finish(const CorrelationPlan *p, const CorrelationSite *s, LLVMValueRef cb) {
    return (Finish){.n = s->n,
                    .cb = cb,
                    .channels = p->c.channels_out,
                    .sums_row = s->sums_row,
                    .banded = p->bands > 1,
                    .sums_rows = p->c.N * p->bands};
}

double conv_flops(const ConvShape *s) {
    double taps = (double)s->kernel[0] * (double)s->kernel[1], pixels = (double)s->out[0] * (double)s->out[1];
    return 2.0 * (double)s->N * (double)s->O * (double)s->I / (double)s->groups * taps * pixels;
}

double conv_bytes(const ConvKernel *k) {
    const Graph *g = lowering_graph(k->l);
    double total = 0;
    for (uint32_t i = 0; i < k->v->nargs; i++) total += place_bytes(k->places[i], k->arg_type[i]);
    uint32_t results = value_results(g, k->id);
    for (uint32_t r = 0; r < results; r++)
        if (k->result_buffer[r] != NO_BUFFER)
            total += place_bytes(k->places[k->result_buffer[r]], value_result_type(g, k->id, r));
    return total;
}

char *conv_name(const ConvKernel *k, const ConvShape *s, const char *suffix) {
    return arena_printf(lowering_graph(k->l)->arena, "%s_%dx%d_c%d_%d%s", op_text(k->v->op), (int)s->kernel[0], (int)s->kernel[1],
                        (int)s->I, (int)s->O, suffix);
}

int64_t correlation_pieces(const CorrelationPlan *p) { return divide_up(p->c.N, p->images) * p->bands * p->splits; }

void correlation_call(ConvKernel *k, Kernel *kernel, const CorrelationPlan *p) {
    int64_t pieces = correlation_pieces(p);
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, pieces, conv_flops(&p->s), conv_bytes(k));
    if (p->bands > 1 && value_region(k->v, REGION_REDUCE, 0)) finish_combine_sums(k, p->c.N, p->c.channels_out, p->bands);
}
