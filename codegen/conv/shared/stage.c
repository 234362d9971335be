/* Staging: one operand's rows, its prologue applied and its padding filled with zeros, copied into the thread's scratch.
 *
 *      staged line 0 ─► ┌───────────────┐
 *                       │ 0 0 0 0 0 0 0 │  rows above the image (first band only)
 *                       │ 0 x x x x x 0 │  prologue(x)
 *                       │ 0 x x x x x 0 │
 *                       └───────────────┘  row_stride = columns * V; the blocks of channels one after the other
 *
 * The loops behind it then need no bounds checks. It costs a few per cent, and the prologue comes free with it.
 */
#include "codegen/conv/shared/stage.h"
#include "codegen/emit/bf16.h"

enum { STAGE_UNROLL = 4 };

StageForm stage_form(const Target *t) { return t->map_bytes == sizeof(float) ? STAGE_AS_IS : STAGE_COPY; }

StagePlan stage_plan(const ConvProblem *problem, int operand, const StageWindow *w) {
    const Graph *g = problem->g;
    const Value *v = problem->v;
    const int64_t V = problem->s.V;
    Type type = g->value[v->args[operand]].type;
    StagePlan p = {.store = value_region(v, REGION_STORE, operand) != NULL,
                   .planar = layout_of(g, v->args[operand]) == LAYOUT_IMAGES,
                   .form = w->form,
                   .together = max_i64(1, w->together),
                   .channels = type.dim[1],
                   .blocks = divide_up(type.dim[1], V),
                   .in = {type.dim[2], type.dim[3]},
                   .advance = w->advance,
                   .bands = w->bands};
    for (int axis = 0; axis < 2; axis++) {
        p.origin[axis] = w->first[axis];
        p.lines[axis] = w->lines[axis];
    }
    bool inside = w->first[0] >= 0 && w->first[1] >= 0 && w->last_row < p.in[0] && w->first[1] + w->lines[1] <= p.in[1];
    p.copied = w->copy || p.together > 1 || w->form == STAGE_COPY || w->form == STAGE_IMAGES || p.store || p.planar || !inside ||
               value_region(v, REGION_PROLOGUE, operand);
    if (p.store) { /* every element must pass through, also those that no tap reads */
        int64_t rows = max_i64(p.origin[0] + p.lines[0], max_i64(p.advance, p.in[0] - (p.bands - 1) * p.advance));
        int64_t columns = max_i64(p.origin[1] + p.lines[1], p.in[1]);
        for (int axis = 0; axis < 2; axis++) p.origin[axis] = min_i64(p.origin[axis], 0);
        p.lines[0] = rows - p.origin[0];
        p.lines[1] = columns - p.origin[1];
    }
    p.row_stride = (p.copied ? p.lines[1] : p.in[1]) * p.together * V;
    p.block_stride = (p.copied ? p.lines[0] : p.in[0]) * p.row_stride;
    p.bytes = p.copied
                  ? (uint64_t)(divide_up(p.blocks, p.together) * p.block_stride) * (w->form == STAGE_CHANNELS ? 2 : sizeof(float))
                  : 0;
    p.bytes = align_bytes(p.bytes);
    return p;
}

/* The copy of one operand while it is emitted. */
typedef struct Copy {
    ConvKernel *k;
    const StagePlan *p;
    Type type;            /* of the operand */
    const Expr *prologue; /* NULL: plain copy */
    int images;           /* 2: STAGE_IMAGES */
    ElementSite site[2];
    LLVMValueRef plane[2];                          /* first element of the channel block, in the tensor */
    LLVMValueRef block;                             /* of the copy */
    LLVMValueRef second;                            /* is there a second image? NULL: yes */
    LLVMValueRef source, scratch, stored, store_if; /* stored: where STORE writes, or NULL */
    LLVMValueRef from, to;                          /* the staged lines that are wanted now */
} Copy;

static LLVMValueRef clamp(Emitter *e, LLVMValueRef v, LLVMValueRef lo, int64_t hi) {
    return emit_min_int(e, emit_max_int(e, v, lo), emit_int(e, hi));
}

static int64_t pixel_elements(const Copy *c) { return c->p->together * c->k->e->V; }

/* Element of the copy at which c->block begins. */
static LLVMValueRef block_start(const Copy *c) {
    Emitter *e = c->k->e;
    if (c->p->together == 1) return emit_mul_int(e, c->block, c->p->block_stride);
    LLVMValueRef count = emit_int(e, c->p->together), first = LLVMBuildUDiv(e->b, c->block, count, "");
    return emit_offset(e, first, c->p->block_stride, emit_mul_int(e, LLVMBuildURem(e->b, c->block, count, ""), e->V));
}

/* Zeroes the block in `count` pixels from `element` of the copy on. */
static void zero_run(Copy *c, LLVMValueRef element, int64_t count) {
    Emitter *e = c->k->e;
    LLVMValueRef base = emit_address(e, c->scratch, element), zero = emit_vec(e, 0);
    if (count <= STAGE_UNROLL) {
        for (int64_t i = 0; i < count; i++) emit_store(e, zero, base, emit_int(e, i * pixel_elements(c)));
        return;
    }
    Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, count), 1, 0, NULL);
    emit_store(e, zero, base, emit_mul_int(e, loop.iv, pixel_elements(c)));
    loop_end(e, &loop, NULL);
}

static void zero_rows(Copy *c, LLVMValueRef lo, LLVMValueRef hi) {
    Emitter *e = c->k->e;
    if (LLVMIsConstant(lo) && LLVMIsConstant(hi) && LLVMConstIntGetSExtValue(lo) >= LLVMConstIntGetSExtValue(hi)) return;
    Loop row = loop_begin(e, lo, hi, 1, 0, NULL);
    zero_run(c, emit_offset(e, row.iv, c->p->row_stride, block_start(c)), c->p->lines[1]);
    loop_end(e, &row, NULL);
}

static LLVMValueRef both(Emitter *e, LLVMValueRef a, LLVMValueRef b) { return a && b ? LLVMBuildAnd(e->b, a, b, "") : a ? a : b; }

static void store_prologue(Copy *c, LLVMValueRef value, LLVMValueRef element, LLVMValueRef owned) {
    if (!owned) {
        conv_store(c->k, c->type, value, c->stored, element);
        return;
    }
    Guard guard = guard_begin(c->k->e, owned);
    conv_store(c->k, c->type, value, c->stored, element);
    guard_end(c->k->e, &guard);
}

static LLVMValueRef load_planar(const Copy *c, const ElementSite *site) {
    int64_t plane = c->p->in[0] * c->p->in[1], channels = c->p->channels;
    return emit_load_planes(c->k->e, c->source, emit_offset(c->k->e, site->n, channels * plane, site->pixel), plane, channels);
}

/* One vector: pixel `x` (i64) of the row that starts at pixel `row_pixel` of the tensor's plane, to `column` of the copy. */
static void copy_vector(Copy *c, LLVMValueRef row_pixel, LLVMValueRef x, LLVMValueRef to, LLVMValueRef column,
                        LLVMValueRef owned) {
    Emitter *e = c->k->e;
    LLVMValueRef pixel = emit_add_int(e, row_pixel, x), from[2], value[2] = {NULL, NULL};
    for (int i = 0; i < c->images; i++) {
        ElementSite *site = &c->site[i];
        site->pixel = pixel;
        from[i] = emit_offset(e, pixel, e->V, c->plane[i]);
        value[i] = c->prologue    ? emit_mask_channels(e, emit_expr(e, c->prologue, site), site->cb, c->p->channels)
                   : c->p->planar ? load_planar(c, site)
                                  : emit_load(e, c->source, from[i]);
    }
    if (c->second) value[1] = LLVMBuildSelect(e->b, c->second, value[1], emit_vec(e, 0), "");
    LLVMValueRef copy = c->images == 2 ? bf16_pair(e, value[0], value[1]) : value[0];
    emit_store(e, copy, c->scratch, emit_offset(e, column, pixel_elements(c), to));
    for (int i = 0; i < c->images && c->stored; i++)
        store_prologue(c, value[i], from[i], i == 0 ? owned : both(e, owned, c->second));
}

/* Does this band write the stored prologue value of tensor row y? Rows in the halo belong to one band only. */
static LLVMValueRef row_owned(const Copy *c, LLVMValueRef band, LLVMValueRef y) {
    Emitter *e = c->k->e;
    if (c->p->bands == 1) return c->store_if;
    LLVMValueRef lo = emit_mul_int(e, band, c->p->advance), hi = emit_add_int(e, lo, emit_int(e, c->p->advance));
    LLVMValueRef last = LLVMBuildICmp(e->b, LLVMIntEQ, band, emit_int(e, c->p->bands - 1), "");
    LLVMValueRef below = LLVMBuildOr(e->b, LLVMBuildICmp(e->b, LLVMIntSLT, y, hi, ""), last, "");
    LLVMValueRef owned = LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntSGE, y, lo, ""), below, "");
    return c->store_if ? LLVMBuildAnd(e->b, owned, c->store_if, "") : owned;
}

static void copy_row(Copy *c, LLVMValueRef row, LLVMValueRef band, LLVMValueRef first_y) {
    Emitter *e = c->k->e;
    const StagePlan *p = c->p;
    int64_t left = min_i64(max_i64(0, -p->origin[1]), p->lines[1]), x0 = p->origin[1] + left;
    int64_t count = max_i64(0, min_i64(p->in[1] - x0, p->lines[1] - left)), right = p->lines[1] - left - count;
    LLVMValueRef to = emit_offset(e, row, p->row_stride, block_start(c));
    LLVMValueRef y = emit_add_int(e, first_y, row), row_pixel = emit_mul_int(e, y, p->in[1]);
    for (int i = 0; i < c->images; i++)
        c->plane[i] = emit_mul_int(e, emit_offset(e, c->site[i].n, p->blocks, c->site[i].cb), p->in[0] * p->in[1] * e->V);
    LLVMValueRef owned = c->stored ? row_owned(c, band, y) : NULL;
    zero_run(c, to, left);
    int64_t unrolled = count - count % STAGE_UNROLL;
    if (unrolled) {
        Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, unrolled), STAGE_UNROLL, 0, NULL);
        for (int64_t i = 0; i < STAGE_UNROLL; i++)
            copy_vector(c, row_pixel, emit_add_int(e, loop.iv, emit_int(e, x0 + i)), to,
                        emit_add_int(e, loop.iv, emit_int(e, left + i)), owned);
        loop_end(e, &loop, NULL);
    }
    for (int64_t i = unrolled; i < count; i++) copy_vector(c, row_pixel, emit_int(e, x0 + i), to, emit_int(e, left + i), owned);
    if (right) zero_run(c, emit_add_int(e, to, emit_int(e, (left + count) * pixel_elements(c))), right);
}

static void copy_block(Copy *c, LLVMValueRef band) {
    Emitter *e = c->k->e;
    const StagePlan *p = c->p;
    for (int i = 0; i < c->images && c->prologue; i++) emit_preload(e, c->prologue, &c->site[i], c->k->v->nargs);
    LLVMValueRef first_y = emit_offset(e, band, p->advance, emit_int(e, p->origin[0]));
    LLVMValueRef above = clamp(e, LLVMBuildSub(e->b, emit_int(e, 0), first_y, ""), emit_int(e, 0), p->lines[0]);
    LLVMValueRef below = clamp(e, LLVMBuildSub(e->b, emit_int(e, p->in[0]), first_y, ""), above, p->lines[0]);
    zero_rows(c, c->from, emit_min_int(e, above, c->to));
    Loop row = loop_begin(e, emit_max_int(e, above, c->from), emit_min_int(e, below, c->to), 1, 0, NULL);
    copy_row(c, row.iv, band, first_y);
    loop_end(e, &row, NULL);
    zero_rows(c, emit_max_int(e, below, c->from), c->to);
}

/* The site of the second image, which may be none: then the first is read again. */
static void add_second_image(Copy *c) {
    Emitter *e = c->k->e;
    int64_t N = c->type.dim[0];
    LLVMValueRef n = emit_add_int(e, c->site[0].n, emit_int(e, 1));
    c->images = 2;
    c->site[1] = c->site[0];
    c->site[1].preloaded = ARENA_ARRAY(lowering_arena(c->k->l), LLVMValueRef, c->k->v->nargs);
    if (N % 2) c->second = LLVMBuildICmp(e->b, LLVMIntSLT, n, emit_int(e, N), "");
    c->site[1].n = N % 2 ? emit_min_int(e, n, emit_int(e, N - 1)) : n;
}

/* Where the operand lies in its tensor, for a plan that copies nothing. */
static LLVMValueRef in_place(const ConvKernel *k, const Staging *s, LLVMValueRef block) {
    Emitter *e = k->e;
    const StagePlan *p = s->plan;
    LLVMValueRef row = emit_offset(e, s->band, p->advance, emit_int(e, p->origin[0]));
    LLVMValueRef start = emit_offset(e, row, p->row_stride, emit_int(e, p->origin[1] * e->V));
    LLVMValueRef plane = emit_offset(e, s->n, p->blocks * p->block_stride, start);
    return emit_address(e, k->arg_base[s->operand], block ? emit_offset(e, block, p->block_stride, plane) : plane);
}

static Copy copy_of(ConvKernel *k, const Staging *s, LLVMValueRef store_if) {
    Emitter *e = k->e;
    const Region *prologue = value_region(k->v, REGION_PROLOGUE, s->operand);
    Copy c = {.k = k,
              .p = s->plan,
              .type = k->arg_type[s->operand],
              .prologue = prologue ? prologue->expr : NULL,
              .images = 1,
              .site = {conv_elements(k, k->arg_type[s->operand])},
              .source = k->arg_base[s->operand],
              .scratch = s->plan->form == STAGE_CHANNELS ? emit_view(e, s->scratch, true) : s->scratch,
              .store_if = store_if};
    for (uint32_t i = 0; i < k->v->nregions; i++) {
        const Region *r = &k->v->regions[i];
        uint32_t buffer =
            r->role == REGION_STORE && r->operand == s->operand ? k->result_buffer[region_result(k->v, i)] : NO_BUFFER;
        if (buffer != NO_BUFFER) c.stored = emit_buffer(e, buffer);
    }
    c.site[0].n = s->n;
    if (s->plan->form == STAGE_IMAGES) add_second_image(&c);
    return c;
}

static LLVMValueRef copy_lines(ConvKernel *k, const Staging *s, LLVMValueRef from, LLVMValueRef to, LLVMValueRef store_if) {
    Emitter *e = k->e;
    if (!s->plan->copied) return in_place(k, s, NULL);
    Copy c = copy_of(k, s, store_if);
    c.from = from;
    c.to = to;
    Loop block = loop_begin(e, emit_int(e, 0), emit_int(e, s->plan->blocks), 1, 0, NULL);
    c.block = c.site[0].cb = c.site[1].cb = block.iv;
    copy_block(&c, s->band);
    loop_end(e, &block, NULL);
    return c.scratch;
}

LLVMValueRef stage_emit(ConvKernel *k, const Staging *s, LLVMValueRef store_if) {
    return copy_lines(k, s, emit_int(k->e, 0), emit_int(k->e, s->plan->lines[0]), store_if);
}

LLVMValueRef stage_lines(ConvKernel *k, const Staging *s, LLVMValueRef from, LLVMValueRef to) {
    return copy_lines(k, s, from, to, NULL);
}

uint64_t stage_block_bytes(const StagePlan *p) { return p->copied ? align_bytes(p->bytes / (uint64_t)p->blocks) : 0; }

LLVMValueRef stage_block(ConvKernel *k, const Staging *s, LLVMValueRef block) {
    return s->plan->copied ? s->scratch : in_place(k, s, block);
}

void stage_block_lines(ConvKernel *k, const Staging *s, LLVMValueRef block, LLVMValueRef from, LLVMValueRef to,
                       LLVMValueRef store_if) {
    if (!s->plan->copied) return;
    Copy c = copy_of(k, s, store_if);
    c.from = from;
    c.to = to;
    c.block = emit_int(k->e, 0);
    c.site[0].cb = c.site[1].cb = block;
    copy_block(&c, s->band);
}
