/* The row of the method of products (product.h), and its plans. */
#include "codegen/conv/product/product.h"
#include "codegen/conv/shared/pack.h"
#include "codegen/emit/arith.h"
#include "codegen/emit/pieces.h"

enum {
    CHUNK_BYTES = 384 * 1024, /* of L2: staged pixels of all input channels */
    LEAST_PIXELS = 80,        /* for which it pays to read all filters: a chunk of fewer takes its channels in parts, */
    PART_PIXELS = 256,        /* and so has as many as this, and one part of it lies in L2 at a time; */
    PART_CHANNELS = 128,      /* of a part: its filters for a register tile lie in L1 */
    SUM_BYTES = 256 * 1024,   /* of L2: what sums wait there for the next part */
    BLOCK_BYTES = 24 * 1024,  /* of L1: dY of a register tile's output blocks */
    PART_BLOCKS = 32,         /* input blocks of a piece of the gradient, whose pixels lie in L2 */
    MIN_PIECES = 16,
    PIECE_WORK = 1 << 17, /* multiply-adds worth handing to a thread */
    MAX_BANDS = 16,       /* of one image, each of which reads all filters */
    MAX_TURNS = 8,
    MAX_PARTIALS = 16,
    SPLIT_BLOCKS = 4 /* output blocks that are worth staging the input anew */
};
static const int64_t partial_limit = 64 << 20;                   /* bytes of all partial gradients */
static const double rate = 0.92, gradient_rate = 0.9;            /* of what register tiles could do */
static const double kept_filters = 1 << 20, last_cache_cost = 4; /* as the direct method's */
/* Cycles of a vector: of x, once more staged; of a partial gradient, cleared, added to and added up; of the gradient itself. */
static const double stage_again = 3, partial_cost = 16, gradient_cost = 8;

static bool applies(const ConvProblem *p) {
    const ConvShape *s = &p->s;
    for (int axis = 0; axis < 2; axis++)
        if (s->kernel[axis] != 1 || s->stride[axis] != 1 || s->pad[axis] != 0 || s->out[axis] != s->in[axis]) return false;
    return conv_fills_blocks(s);
}

ProductChunks product_chunks(const ConvShape *s, int64_t most) {
    ProductChunks c = {.N = s->N, .images = 1, .bands = 1, .band_rows = s->out[0]};
    int64_t pixels = s->out[0] * s->out[1];
    if (most >= pixels)
        c.images = divide_up(s->N, divide_up(s->N, most / pixels));
    else
        c.band_rows = max_i64(1, most / s->out[1]);
    while (s->out[0] % c.band_rows) c.band_rows--;
    c.bands = s->out[0] / c.band_rows;
    c.pixels = c.band_rows * s->out[1];
    c.count = divide_up(s->N, c.images) * c.bands;
    return c;
}

static StagePlan stage_of(const ConvProblem *p, int operand, const ProductChunks *c, bool together) {
    const ConvShape *s = &p->s;
    StageWindow w = {.lines = {c->band_rows, s->out[1]},
                     .last_row = s->out[0] - 1,
                     .advance = c->band_rows,
                     .bands = c->bands,
                     .form = together ? STAGE_COPY : stage_form(p->t)};
    return stage_plan(p, operand, &w);
}

/* ---- forward and data ---- */

/* Of one image that has too few output blocks to cut those for all threads, and work enough: the pixels of a band, of those that
 * cut its rows evenly. 0: it is not cut. */
static int64_t band_of_one(const ConvProblem *p, const Correlation *c) {
    int64_t few = conv_share(p, conv_few_pieces(p)), rows = p->s.out[0], pixels = rows * p->s.out[1];
    if (c->N > 1 || few == 1 || c->out_blocks >= few * SPLIT_BLOCKS) return 0;
    if (pixels * c->channels_in / c->groups * c->out_blocks * c->V < few * PIECE_WORK) return 0;
    for (int64_t bands = few; bands <= MAX_BANDS && bands <= rows; bands++)
        if (rows % bands == 0) return pixels / bands;
    return 0;
}

ProductPlan product_plan(const ConvProblem *problem) {
    ProductPlan p = {.s = problem->s, .c = correlation_of(problem)};
    const Correlation *c = &p.c;
    const int64_t F = (int64_t)sizeof(float);
    int64_t pixels = CHUNK_BYTES / (c->in_blocks * c->V * F), band = band_of_one(problem, &p.c);
    p.part = c->in_blocks;
    if (band && band <= pixels) {
        pixels = band;
    } else if (c->groups == 1 && pixels < min_i64(LEAST_PIXELS, c->N * p.s.out[0] * p.s.out[1])) {
        p.part = PART_CHANNELS / c->V;
        pixels = PART_PIXELS;
    }
    p.parts = divide_up(c->in_blocks, p.part);
    p.chunks = product_chunks(&p.s, pixels);
    int64_t wanted = conv_few_pieces(problem) > 1 ? MIN_PIECES : 1;
    p.tile = tile_best(problem->t, p.chunks.pixels, c->group_out_blocks, c->groups > 1 ? TILE_COLUMNS : 0);
    p.tile.a_row = p.tile.b_step = c->V;
    p.tile.a_step = 1;
    p.tile.b_column = c->group_in_blocks * c->V * c->V;
    p.held = max_i64(1, SUM_BYTES / (p.chunks.images * p.chunks.pixels * p.tile.columns * c->V * F));
    p.turns = max_i64(1, min_i64(MAX_TURNS, p.chunks.count / MIN_PIECES));
    int64_t groups = divide_up(c->out_blocks, p.tile.columns),
            ranges = max_i64(1, c->out_blocks / max_i64(SPLIT_BLOCKS, p.tile.columns));
    p.splits = min_i64(divide_up(wanted, divide_up(p.chunks.count, p.turns)), min_i64(groups, ranges));
    p.held = min_i64(p.held, divide_up(groups, p.splits));
    p.stage = stage_of(problem, 0, &p.chunks, false);
    p.sums_bytes = finish_sums_bytes(problem->v, c, p.chunks.bands);
    if (c->transposed) p.packed_bytes = pack_tiles_bytes(c, 1);
    return p;
}

static const void *correlation_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    ProductPlan plan = product_plan(p);
    return CONV_PLAN(arena, plan);
}

static ConvWork work(const ConvProblem *p, const void *plan) {
    const ProductPlan *f = plan;
    const Correlation *c = &f->c;
    double images = (double)(c->N * f->chunks.bands * c->groups);
    double filters = (double)pack_tiles_bytes(c, 1), again = filters > kept_filters ? last_cache_cost : 1;
    double staged = (double)(f->stage.copied ? 2 : 1) * (double)(c->N * f->chunks.pixels * f->chunks.bands * c->in_blocks * c->V);
    ConvWork w = {.copied = staged * sizeof(float) * (double)f->splits + 2 * (double)f->packed_bytes};
    w.fma_cycles = images * (double)(c->channels_in / c->groups) *
                   tile_step_cycles(p->t, &f->tile, f->chunks.pixels, c->group_out_blocks) / rate;
    w.copied += filters * again * (double)f->chunks.count;
    w.copied += 2.0 * sizeof(float) * (double)(f->parts - 1) * images * (double)(f->chunks.pixels * c->out_blocks * c->V);
    return w;
}

static uint64_t workspace(const void *plan, bool fixed_filters) {
    const ProductPlan *f = plan;
    return f->sums_bytes + (fixed_filters ? 0 : f->packed_bytes);
}

/* ---- weights ---- */

/* Cuts into pieces enough: ranges of output blocks, each of which stages x, or groups of chunks, each of which has a partial
 * gradient. What that costs, in cycles. */
static double cut(ProductWeightsPlan *p) {
    const ConvShape *s = &p->s;
    int64_t units = divide_up(divide_up(s->O / s->groups, s->V), p->tile.columns);
    double x = (double)(s->N * s->out[0] * s->out[1] * s->in_blocks), filters = (double)(p->dw_floats / s->V), best = 0;
    for (int64_t cuts = 1; cuts <= units; cuts++) {
        int64_t ranges = s->groups * cuts, groups = min_i64(divide_up(MIN_PIECES, ranges * p->parts), p->chunks.count);
        groups = max_i64(1, min_i64(min_i64(groups, MAX_PARTIALS), partial_limit / (p->dw_floats * (int64_t)sizeof(float))));
        double cost = stage_again * x * (double)cuts + filters * (groups > 1 ? partial_cost * (double)groups : gradient_cost);
        if (best != 0 && cost >= best) continue;
        best = cost;
        p->ranges = ranges;
        p->image_groups = groups;
    }
    return best;
}

ProductWeightsPlan product_weights_plan(const ConvProblem *problem) {
    ProductWeightsPlan p = {.s = problem->s};
    const ConvShape *s = &p.s;
    const int64_t F = (int64_t)sizeof(float), V = s->V, blocks = divide_up(s->I / s->groups, V);
    p.tile = tile_best(problem->t, V, divide_up(s->O / s->groups, V), s->groups > 1 ? TILE_ROWS | TILE_COLUMNS : TILE_ROWS);
    p.chunks = product_chunks(s, BLOCK_BYTES / (p.tile.columns * V * F));
    p.tile.a_row = 1;
    p.tile.a_step = p.tile.b_step = V;
    p.x = stage_of(problem, 0, &p.chunks, false);
    /* images whose dY lie powers of two apart would share a set of L1 */
    p.dy = stage_of(problem, 1, &p.chunks, p.chunks.images > 1);
    p.tile.b_column = p.dy.copied ? p.chunks.images * p.chunks.pixels * V : p.dy.block_stride;
    p.parts = divide_up(blocks, PART_BLOCKS);
    p.part = divide_up(blocks, p.parts);
    p.dw_floats = s->out_blocks * blocks * V * V;
    cut(&p);
    p.partial_bytes = p.image_groups > 1 ? (uint64_t)(p.image_groups * p.dw_floats * F) : 0;
    return p;
}

static const void *gradient_plan(Arena *arena, const ConvProblem *p, const ConvChoice *choice) {
    (void)choice;
    ProductWeightsPlan plan = product_weights_plan(p);
    return CONV_PLAN(arena, plan);
}

static ConvWork gradient_work(const ConvProblem *p, const void *plan) {
    const ProductWeightsPlan *w = plan;
    const ConvShape *s = &w->s;
    ProductWeightsPlan copy = *w;
    double pixels = (double)(s->N * s->out[0] * s->out[1]), vector = (double)s->V * sizeof(float);
    double cycles = tile_step_cycles(p->t, &w->tile, s->V, divide_up(s->O / s->groups, s->V));
    ConvWork work = {.fma_cycles = pixels * (double)s->I / (double)s->V * cycles / gradient_rate};
    work.fma_cycles += cut(&copy);
    work.copied = 2 * vector * pixels * (double)(s->out_blocks * w->parts);
    return work;
}

static uint64_t gradient_workspace(const void *plan, bool fixed_filters) {
    (void)fixed_filters;
    return ((const ProductWeightsPlan *)plan)->partial_bytes;
}

/* ---- what emitters and tests ask ---- */

ProductChunk product_chunk(Emitter *e, const ProductChunks *c, LLVMValueRef index) {
    ProductChunk at = {.band = emit_int(e, 0), .images = emit_int(e, c->images)};
    if (c->bands > 1) {
        at.band = LLVMBuildURem(e->b, index, emit_int(e, c->bands), "");
        index = LLVMBuildUDiv(e->b, index, emit_int(e, c->bands), "");
    }
    at.first = emit_mul_int(e, index, c->images);
    if (c->N % c->images) at.images = emit_min_int(e, at.images, LLVMBuildSub(e->b, emit_int(e, c->N), at.first, ""));
    return at;
}

int64_t product_pieces(const ProductPlan *p) { return divide_up(p->chunks.count, p->turns) * p->splits; }

ProductPiece product_piece(Emitter *e, const ProductPlan *p) {
    ProductPiece at = {.split = emit_int(e, 0)};
    LLVMValueRef turn = e->piece;
    if (p->splits > 1) {
        at.split = LLVMBuildURem(e->b, e->piece, emit_int(e, p->splits), "");
        turn = LLVMBuildUDiv(e->b, e->piece, emit_int(e, p->splits), "");
    }
    int64_t groups = divide_up(p->c.out_blocks, p->tile.columns);
    at.lo = emit_mul_int(e, turn, p->turns);
    at.hi = emit_min_int(e, emit_add_int(e, at.lo, emit_int(e, p->turns)), emit_int(e, p->chunks.count));
    at.first_group = emit_share(e, at.split, groups, p->splits);
    at.end_group = emit_share(e, emit_add_int(e, at.split, emit_int(e, 1)), groups, p->splits);
    return at;
}

int64_t product_weights_pieces(const ProductWeightsPlan *p) { return p->image_groups * p->parts * p->ranges; }

ProductWeightsPiece product_weights_piece(Emitter *e, const ProductWeightsPlan *p) {
    LLVMValueRef one = emit_int(e, 1), ranges = emit_int(e, p->ranges), parts = emit_int(e, p->parts);
    LLVMValueRef rest = LLVMBuildUDiv(e->b, e->piece, ranges, "");
    ProductWeightsPiece at = {.range = LLVMBuildURem(e->b, e->piece, ranges, ""),
                              .part = LLVMBuildURem(e->b, rest, parts, ""),
                              .images = LLVMBuildUDiv(e->b, rest, parts, "")};
    int64_t groups = divide_up(p->s.out_blocks, p->tile.columns), blocks = divide_up(p->s.I / p->s.groups, p->s.V);
    at.lo = emit_share(e, at.images, p->chunks.count, p->image_groups);
    at.hi = emit_share(e, emit_add_int(e, at.images, one), p->chunks.count, p->image_groups);
    at.first_group = emit_share(e, at.range, groups, p->ranges);
    at.end_group = emit_share(e, emit_add_int(e, at.range, one), groups, p->ranges);
    at.first_in = emit_mul_int(e, at.part, p->part);
    at.end_in = emit_min_int(e, emit_add_int(e, at.first_in, emit_int(e, p->part)), emit_int(e, blocks));
    return at;
}

const ConvMethod conv_product = {
    .name = "product",
    .correlation = {.applies = applies, .plan = correlation_plan, .work = work, .workspace = workspace, .lower = product_lower},
    .weights = {.applies = applies,
                .plan = gradient_plan,
                .work = gradient_work,
                .workspace = gradient_workspace,
                .lower = product_lower_weights}};
