/* The frame of a correlation kernel (frame.h). Everything follows from the problem and the target, nothing from the number of
 * threads. */
#include "codegen/conv/shared/frame.h"

enum { MIN_PIECES = 16 };

/* All numbers of rows per band equal but the last. */
static int64_t balanced(int64_t rows, int64_t most) { return divide_up(rows, divide_up(rows, most)); }

CorrelationPlan frame_open(const ConvProblem *p, int64_t pair) {
    CorrelationPlan f = {.s = p->s, .c = correlation_of(p), .pair = pair, .images = 1, .bands = 1, .splits = 1};
    const Correlation *c = &f.c;
    for (int axis = 0; axis < 2; axis++) correlation_reach(c, axis, &f.first[axis], &f.last[axis]);
    f.columns = (correlation_lines(c, 1, 0) - 1) * c->in_stride[1] + f.last[1] - f.first[1] + 1;
    f.row_bytes = c->in_blocks * f.columns * c->V * (int64_t)sizeof(float) / pair;
    f.band_rows = correlation_lines(c, 0, 0);
    return f;
}

void frame_bands(CorrelationPlan *f, int64_t bytes, int64_t row_extra) {
    const Correlation *c = &f->c;
    int64_t rows = correlation_lines(c, 0, 0), halo = f->last[0] - f->first[0];
    int64_t fixed = max_i64(0, halo + 1 - c->in_stride[0]) * f->row_bytes, row = c->in_stride[0] * f->row_bytes + row_extra;
    f->band_rows = balanced(rows, max_i64(1, min_i64(rows, (bytes - fixed) / row)));
    f->bands = divide_up(rows, f->band_rows);
}

void frame_narrow(CorrelationPlan *f, int64_t parts) {
    int64_t rows = correlation_lines(&f->c, 0, 0);
    f->band_rows = balanced(rows, divide_up(f->band_rows, min_i64(parts, f->band_rows)));
    f->bands = divide_up(rows, f->band_rows);
}

int64_t frame_wanted(const CorrelationPlan *f, const ConvProblem *p) { return divide_up(conv_few_pieces(p), f->c.N * f->bands); }

void frame_pieces(CorrelationPlan *f, const ConvProblem *p, int64_t filters) {
    const Correlation *c = &f->c;
    f->images = f->bands > 1 ? 1 : max_i64(1, min_i64(FRAME_MAX_IMAGES, c->N / MIN_PIECES));
    int64_t wanted = frame_wanted(f, p), rows = correlation_lines(c, 0, 0);
    if (wanted <= 1) return;
    if (filters > f->row_bytes * c->in[0] || rows < wanted)
        f->splits = min_i64(wanted, c->out_blocks);
    else if (rows >= 2)
        frame_narrow(f, wanted);
}

void frame_stage(CorrelationPlan *f, const ConvProblem *p) {
    const Correlation *c = &f->c;
    StageWindow w = {.first = {f->first[0], f->first[1]},
                     .lines = {(f->band_rows - 1) * c->in_stride[0] + f->last[0] - f->first[0] + 1, f->columns},
                     .last_row = (correlation_lines(c, 0, 0) - 1) * c->in_stride[0] + f->last[0],
                     .advance = f->band_rows * c->in_stride[0],
                     .bands = f->bands,
                     .form = f->pair == 2 ? STAGE_CHANNELS : stage_form(p->t),
                     .together = f->together,
                     .copy = f->copy};
    f->stage = stage_plan(p, 0, &w);
    f->sums_bytes = finish_sums_bytes(p->v, c, f->bands);
}

LLVMValueRef correlation_images(Emitter *e, const CorrelationPlan *p) {
    if (p->c.N % p->images == 0) return emit_int(e, p->images);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, p->c.N), emit_mul_int(e, e->piece, p->images), "");
    return emit_min_int(e, left, emit_int(e, p->images));
}

CorrelationPiece correlation_piece(Emitter *e, const CorrelationPlan *p, LLVMValueRef image) {
    CorrelationPiece s = {.split = emit_int(e, 0), .band = emit_int(e, 0), .n = emit_offset(e, e->piece, p->images, image)};
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

LLVMValueRef correlation_rows(Emitter *e, const CorrelationPlan *p, const CorrelationPiece *s, int64_t phase) {
    int64_t lines = correlation_lines(&p->c, 0, phase);
    if (p->bands == 1) return emit_int(e, lines);
    /* bands follow phase 0, which has the most rows: the last one may have fewer of another phase, or none */
    if (lines == p->bands * p->band_rows) return emit_int(e, p->band_rows);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, lines), emit_mul_int(e, s->band, p->band_rows), "");
    return emit_max_int(e, emit_min_int(e, left, emit_int(e, p->band_rows)), emit_int(e, 0));
}

LLVMValueRef correlation_pixel(Emitter *e, const CorrelationPlan *p, const CorrelationPiece *s, const int64_t phase[2],
                               LLVMValueRef row, LLVMValueRef column) {
    const Correlation *c = &p->c;
    LLVMValueRef line = emit_offset(e, s->band, p->band_rows, row);
    LLVMValueRef y = emit_offset(e, line, c->phases[0], emit_int(e, phase[0]));
    LLVMValueRef x = emit_offset(e, column, c->phases[1], emit_int(e, phase[1]));
    return emit_offset(e, y, c->out[1], x);
}

Finish correlation_finish(const CorrelationPlan *p, const CorrelationPiece *s, LLVMValueRef cb) {
    return (Finish){.n = s->n,
                    .cb = cb,
                    .channels = p->c.channels_out,
                    .sums_row = s->sums_row,
                    .banded = p->bands > 1,
                    .sums_rows = p->c.N * p->bands};
}

int64_t correlation_pieces(const CorrelationPlan *p) { return divide_up(p->c.N, p->images) * p->bands * p->splits; }

void correlation_call(ConvKernel *k, Kernel *kernel, const CorrelationPlan *p) {
    int64_t pieces = correlation_pieces(p);
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, pieces, (KernelCost){conv_flops(&p->s), conv_bytes(k)});
    if (p->bands > 1) finish_combine_sums(k, p->c.N, p->c.channels_out, p->bands);
}
