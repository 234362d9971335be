/* Partial gradients of the filters (partials.h). */
#include "codegen/conv/shared/partials.h"
#include "codegen/emit/pieces.h"

enum { MAX_PARTIALS = 16, SUM_VECTORS = 64 };
static const int64_t partial_limit = 64 << 20; /* bytes of all partials */

int64_t weights_columns_of(const ConvShape *s, int64_t columns) {
    return (columns - 1) * s->stride[1] + (s->kernel[1] - 1) * s->dilation[1] + 1;
}

int64_t weights_columns(const ConvShape *s) { return weights_columns_of(s, s->out[1]); }

static int64_t staged_columns(const ConvShape *s, const WeightsNeeds *way) { return way->columns ? way->columns : s->out[1]; }

/* Bands of rows that both operands find room for. */
static void plan_bands(WeightsPlan *p, const WeightsNeeds *way) {
    const ConvShape *s = &p->s;
    const int64_t F = (int64_t)sizeof(float), halo = (s->kernel[0] - 1) * s->dilation[0] + 1 - s->stride[0];
    int64_t columns = staged_columns(s, way);
    int64_t x_row = s->in_blocks * weights_columns_of(s, columns) * s->V * F, dy_row = s->out_blocks * columns * s->V * F;
    int64_t row_bytes = s->stride[0] * x_row + dy_row + way->row_extra;
    int64_t most = max_i64(1, min_i64(s->out[0], (way->stage_bytes - max_i64(0, halo) * x_row) / row_bytes));
    p->band_rows = divide_up(s->out[0], divide_up(s->out[0], most));
    p->bands = divide_up(s->out[0], p->band_rows);
}

WeightsPlan weights_plan(const ConvProblem *problem, const WeightsNeeds *way) {
    WeightsPlan p = {.s = problem->s, .pair = way->pair};
    const ConvShape *s = &p.s;
    const int64_t F = (int64_t)sizeof(float), V = s->V, taps = s->kernel[0] * s->kernel[1];
    int64_t stored = s->out_blocks * divide_up(s->I / s->groups, V) * taps * V * V;
    p.dw_floats = divide_up(way->dw_floats ? way->dw_floats : stored, 16) * 16;
    plan_bands(&p, way);
    int64_t columns = staged_columns(s, way), rows = p.band_rows + (p.bands == 1 ? way->rows_more : 0);
    StageWindow xw = {
        .first = {-s->pad[0], -s->pad[1]},
        .lines = {(rows - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] + 1, weights_columns_of(s, columns)},
        .last_row = (s->out[0] - 1) * s->stride[0] + (s->kernel[0] - 1) * s->dilation[0] - s->pad[0],
        .advance = p.band_rows * s->stride[0],
        .bands = p.bands,
        .form = p.pair == 2 ? STAGE_IMAGES : stage_form(problem->t)};
    StageWindow dw = {.lines = {rows, columns},
                      .last_row = s->out[0] - 1,
                      .advance = p.band_rows,
                      .bands = p.bands,
                      .form = p.pair == 2 ? STAGE_IMAGES : STAGE_AS_IS};
    p.x = stage_plan(problem, 0, &xw);
    p.dy = stage_plan(problem, 1, &dw);
    int64_t most = conv_share(problem, p.dw_floats * F <= 128 * 1024 ? MAX_PARTIALS : MAX_PARTIALS / 2);
    if (way->most_groups) most = min_i64(most, way->most_groups);
    p.image_groups = min_i64(divide_up(s->N, p.pair), most);
    p.image_groups = max_i64(1, min_i64(p.image_groups, conv_share(problem, partial_limit) / (p.dw_floats * F)));
    p.block_groups = min_i64(s->out_blocks, divide_up(conv_share(problem, FEW_PIECES), p.image_groups));
    p.partial_bytes = (uint64_t)(p.image_groups * p.dw_floats * F);
    return p;
}

void weights_clear(ConvKernel *k, LLVMValueRef partial, LLVMValueRef lo, LLVMValueRef hi) {
    Emitter *e = k->e;
    Loop clear = loop_begin(e, lo, hi, e->V, 0, NULL);
    emit_store(e, emit_vec(e, 0), partial, clear.iv);
    loop_end(e, &clear, NULL);
}

WeightsPiece weights_piece(ConvKernel *k, const WeightsPlan *p, int64_t blocks) {
    Emitter *e = k->e;
    const ConvShape *s = &p->s;
    WeightsPiece piece = {.first_split = NULL};
    LLVMValueRef split = emit_int(e, 0), images = e->piece, one = emit_int(e, 1);
    if (p->block_groups > 1) {
        split = LLVMBuildURem(e->b, e->piece, emit_int(e, p->block_groups), "");
        images = LLVMBuildUDiv(e->b, e->piece, emit_int(e, p->block_groups), "");
        piece.first_split = LLVMBuildICmp(e->b, LLVMIntEQ, split, emit_int(e, 0), "");
    }
    int64_t cuts = s->out_blocks / blocks, pairs = divide_up(s->N, p->pair);
    piece.first_block = emit_mul_int(e, emit_share(e, split, cuts, p->block_groups), blocks);
    piece.end_block = emit_mul_int(e, emit_share(e, emit_add_int(e, split, one), cuts, p->block_groups), blocks);
    piece.partial = emit_address(e, emit_buffer(e, k->workspace_buffer), emit_mul_int(e, images, p->dw_floats));
    int64_t block_floats = divide_up(s->I / s->groups, s->V) * s->kernel[0] * s->kernel[1] * s->V * s->V;
    weights_clear(k, piece.partial, emit_mul_int(e, piece.first_block, block_floats),
                  emit_mul_int(e, piece.end_block, block_floats));
    piece.first = emit_share(e, images, pairs, p->image_groups);
    piece.end = emit_share(e, emit_add_int(e, images, one), pairs, p->image_groups);
    return piece;
}

LLVMValueRef weights_rows(Emitter *e, const WeightsPlan *p, LLVMValueRef band) {
    if (p->s.out[0] % p->band_rows == 0) return emit_int(e, p->band_rows);
    LLVMValueRef left = LLVMBuildSub(e->b, emit_int(e, p->s.out[0]), emit_mul_int(e, band, p->band_rows), "");
    return emit_min_int(e, left, emit_int(e, p->band_rows));
}

/* The partial gradients added up in a fixed tree, SUM_VECTORS vectors a piece. */
void lower_sum_partials_to(ConvKernel *k, const WeightsPlan *p, Place to) {
    Emitter *e = k->e;
    int64_t vectors = p->dw_floats / e->V;
    Kernel *kernel;
    char *key =
        arena_printf(lowering_arena(k->l), "sum-partials %lld of %lld", (long long)p->image_groups, (long long)p->dw_floats);
    if (kernel_begin(k->l, RT_KIND_REDUCTION, "conv_sum_partials", key, 2, &kernel)) {
        LLVMValueRef lo = emit_mul_int(e, e->piece, SUM_VECTORS), workspace = emit_buffer(e, 0);
        LLVMValueRef hi = emit_min_int(e, emit_add_int(e, lo, emit_int(e, SUM_VECTORS)), emit_int(e, vectors));
        Loop vector = loop_begin(e, lo, hi, 1, 0, NULL);
        LLVMValueRef sum[MAX_PARTIALS], element = emit_mul_int(e, vector.iv, e->V);
        for (int64_t i = 0; i < p->image_groups; i++)
            sum[i] = emit_load(e, workspace, emit_add_int(e, element, emit_int(e, i * p->dw_floats)));
        for (int64_t n = p->image_groups; n > 1; n = (n + 1) / 2)
            for (int64_t i = 0; i < n / 2; i++) sum[i] = LLVMBuildFAdd(e->b, sum[i], sum[n - 1 - i], "");
        emit_store(e, sum[0], emit_buffer(e, 1), element);
        loop_end(e, &vector, NULL);
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[k->workspace_buffer], to};
    kernel_call(k->l, kernel, k->id, places, 2, divide_up(vectors, SUM_VECTORS), (KernelCost){0, (double)p->partial_bytes});
}

void lower_sum_partials(ConvKernel *k, const WeightsPlan *p) {
    if (k->result_buffer[0] != NO_BUFFER) lower_sum_partials_to(k, p, k->places[k->result_buffer[0]]);
}
