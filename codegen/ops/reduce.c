/* Reductions: image_sum over the pixels of a channel block, in runs whose sums are added up, as in maps; batch_sum, channel_sum
 * and moments, which add few numbers from many places and therefore do so in double, images in order. */
#include "codegen/ops/ops.h"

/* Elements below which a reduction is one piece; independent partial sums; the shortest and longest runs, in steps. */
enum { SMALL_WORK = 32768, SUM_WAYS = 4, MIN_RUN = 8, MAX_RUN = 64 };

int64_t sum_run(int64_t steps) {
    for (int64_t run = MAX_RUN; steps > MAX_RUN && run >= MIN_RUN; run--)
        if (steps % run == 0) return run;
    return steps;
}

/* Of `count` pixels from `first` on, in SUM_WAYS chains. */
static LLVMValueRef sum_pixels(Emitter *e, LLVMValueRef plane, LLVMValueRef first, int64_t count) {
    LLVMValueRef sum[SUM_WAYS], next[SUM_WAYS];
    for (int i = 0; i < SUM_WAYS; i++) sum[i] = emit_vec(e, 0);
    Loop loop = loop_begin(e, first, emit_add_int(e, first, emit_int(e, count)), SUM_WAYS, SUM_WAYS, sum);
    for (int i = 0; i < SUM_WAYS; i++)
        next[i] =
            LLVMBuildFAdd(e->b, loop.carry[i], emit_load(e, plane, emit_offset(e, loop.iv, e->V, emit_int(e, i * e->V))), "");
    loop_end(e, &loop, next);
    LLVMValueRef pair0 = LLVMBuildFAdd(e->b, loop.carry[0], loop.carry[1], "");
    return LLVMBuildFAdd(e->b, pair0, LLVMBuildFAdd(e->b, loop.carry[2], loop.carry[3], ""), "");
}

void lower_IMAGE_SUM(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Emitter *e = lowering_emitter(l);
    Type x = g->value[v->args[0]].type;
    int64_t blocks = layout_pad(e->target, x.dim[1]) / e->V, pixels = x.dim[2] * x.dim[3], whole = pixels - pixels % SUM_WAYS;
    Place places[] = {lowering_place(l, v->args[0]), lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_POOLING, "image_sum", value_key(l, id), 2, &kernel)) {
        kernel_elements(l, 0, places, 2);
        LLVMValueRef plane = emit_address(e, emit_buffer(e, 0), emit_mul_int(e, e->piece, pixels * e->V));
        LLVMValueRef sum = emit_vec(e, 0);
        if (whole) {
            int64_t run = sum_run(whole / SUM_WAYS) * SUM_WAYS;
            Loop loop = loop_begin(e, emit_int(e, 0), emit_int(e, whole), run, 1, &sum);
            sum = LLVMBuildFAdd(e->b, loop.carry[0], sum_pixels(e, plane, loop.iv, run), "");
            loop_end(e, &loop, &sum);
            sum = loop.carry[0];
        }
        for (int64_t p = whole; p < pixels; p++) sum = LLVMBuildFAdd(e->b, sum, emit_load(e, plane, emit_int(e, p * e->V)), "");
        emit_store(e, sum, emit_buffer(e, 1), emit_mul_int(e, e->piece, e->V));
        kernel_end(l, 0);
    }
    double n = (double)type_elements(x);
    kernel_call(l, kernel, id, places, 2, x.dim[0] * blocks, (KernelCost){n, 4 * n});
}

/* Sum over the images of channel block `cb` of rows [N][blocks * V], in double. */
static LLVMValueRef sum_images(Emitter *e, LLVMValueRef rows, LLVMValueRef cb, int64_t images, int64_t blocks) {
    LLVMValueRef zero = emit_wide_vec(e, 0), next;
    Loop n = loop_begin(e, emit_int(e, 0), emit_int(e, images), 1, 1, &zero);
    LLVMValueRef row = emit_load(e, rows, emit_mul_int(e, emit_offset(e, n.iv, blocks, cb), e->V));
    next = LLVMBuildFAdd(e->b, n.carry[0], emit_widen(e, row), "");
    loop_end(e, &n, &next);
    return n.carry[0];
}

/* The channel blocks of this piece: all of them in one piece, or one each. */
static Loop block_loop(Emitter *e, int64_t blocks, int64_t pieces) {
    if (pieces == 1) return loop_begin(e, emit_int(e, 0), emit_int(e, blocks), 1, 0, NULL);
    return loop_begin(e, e->piece, emit_add_int(e, e->piece, emit_int(e, 1)), 1, 0, NULL);
}

void lower_BATCH_SUM(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Emitter *e = lowering_emitter(l);
    Type x = g->value[v->args[0]].type;
    int64_t blocks = layout_pad(e->target, x.dim[1]) / e->V, pieces = x.dim[0] * blocks * e->V >= SMALL_WORK ? blocks : 1;
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_STATISTICS, "batch_sum", value_key(l, id), 2, &kernel)) {
        Loop block = block_loop(e, blocks, pieces);
        LLVMValueRef sum = sum_images(e, emit_buffer(e, 0), block.iv, x.dim[0], blocks);
        emit_store(e, emit_narrow(e, sum), emit_buffer(e, 1), emit_mul_int(e, block.iv, e->V));
        loop_end(e, &block, NULL);
        kernel_end(l, 0);
    }
    Place places[] = {lowering_place(l, v->args[0]), lowering_place(l, id)};
    double n = (double)type_elements(x);
    kernel_call(l, kernel, id, places, 2, pieces, (KernelCost){n, 4 * n});
}

void lower_CHANNEL_SUM(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Emitter *e = lowering_emitter(l);
    int64_t C = g->value[v->args[0]].type.dim[0];
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_STATISTICS, "channel_sum", value_key(l, id), 2, &kernel)) {
        LLVMValueRef zero = LLVMConstReal(e->f64, 0), next;
        Loop c = loop_begin(e, emit_int(e, 0), emit_int(e, C), 1, 1, &zero);
        next =
            LLVMBuildFAdd(e->b, c.carry[0], LLVMBuildFPExt(e->b, emit_load_scalar(e, emit_buffer(e, 0), c.iv), e->f64, ""), "");
        loop_end(e, &c, &next);
        emit_store_scalar(e, LLVMBuildFPTrunc(e->b, c.carry[0], e->f32, ""), emit_buffer(e, 1), emit_int(e, 0));
        kernel_end(l, 0);
    }
    Place places[] = {lowering_place(l, v->args[0]), lowering_place(l, id)};
    kernel_call(l, kernel, id, places, 2, 1, (KernelCost){(double)C, 4 * (double)C});
}

/* The images' sums of channel block `at` / V: Σe in rows 2n, Σe*e in rows 2n + 1. */
static LLVMValueRef load_sums(Emitter *e, LLVMValueRef n, int64_t row, LLVMValueRef at, int64_t which) {
    return emit_load_wide(e, emit_buffer(e, 0), emit_offset(e, n, 2 * row, emit_add_int(e, at, emit_int(e, which * row))));
}

/* sum[0] = Σe, sum[1] = Σe*e over the batch. */
static void sum_moments(Emitter *e, int64_t images, int64_t row, LLVMValueRef at, LLVMValueRef *sum) {
    LLVMValueRef zero[2] = {emit_wide_vec(e, 0), emit_wide_vec(e, 0)}, next[2];
    Loop n = loop_begin(e, emit_int(e, 0), emit_int(e, images), 1, 2, zero);
    for (int i = 0; i < 2; i++) next[i] = LLVMBuildFAdd(e->b, n.carry[i], load_sums(e, n.iv, row, at, i), "");
    loop_end(e, &n, next);
    for (int i = 0; i < 2; i++) sum[i] = n.carry[i];
}

/* Each image's Σ(e - mean), with the mean that others read, which is an f32. */
static void store_deviations(Emitter *e, int64_t images, int64_t row, LLVMValueRef at, LLVMValueRef mean, double pixels,
                             LLVMValueRef to) {
    LLVMValueRef share = LLVMBuildFMul(e->b, emit_widen(e, mean), emit_wide_vec(e, pixels), "");
    Loop n = loop_begin(e, emit_int(e, 0), emit_int(e, images), 1, 0, NULL);
    LLVMValueRef deviation = LLVMBuildFSub(e->b, load_sums(e, n.iv, row, at, 0), share, "");
    emit_store(e, emit_narrow(e, deviation), to, emit_offset(e, n.iv, row, at));
    loop_end(e, &n, NULL);
}

/* Σ(e - k)^2 = Σe*e - k*(Σe + Σ(e - k)) and Σ(e - k) = Σe - count*k, in double: of f32 values whose mean is R deviations the
 * difference keeps 2^-53 * R^2 of the spread. */
void lower_IMAGE_MOMENTS(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Emitter *e = lowering_emitter(l);
    int64_t images = v->type.dim[0], row = layout_pad(e->target, v->type.dim[1]), blocks = row / e->V;
    int64_t pieces = images * row >= SMALL_WORK ? blocks : 1;
    Place places[4] = {lowering_place(l, v->args[0])};
    uint32_t nplaces = 1, buffer[2];
    if (v->nargs == 2) places[nplaces++] = lowering_place(l, v->args[1]);
    for (uint32_t i = 0; i < 2; i++) {
        Place p = lowering_result_place(l, id, i);
        buffer[i] = p.space == RT_SPACE_COUNT ? 0 : nplaces; /* 0 is the sums */
        if (buffer[i]) places[nplaces++] = p;
    }
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_STATISTICS, "image_moments", value_key(l, id), nplaces, &kernel)) {
        Loop block = block_loop(e, blocks, pieces);
        LLVMValueRef at = emit_mul_int(e, block.iv, e->V), count = emit_wide_vec(e, v->attrs.constant);
        Loop n = loop_begin(e, emit_int(e, 0), emit_int(e, images), 1, 0, NULL);
        LLVMValueRef place = emit_offset(e, n.iv, row, at);
        LLVMValueRef k = v->nargs == 2 ? emit_widen(e, emit_load(e, emit_buffer(e, 1), place)) : emit_wide_vec(e, 0);
        LLVMValueRef sum = load_sums(e, n.iv, row, at, 0), squares = load_sums(e, n.iv, row, at, 1);
        LLVMValueRef deviation = LLVMBuildFSub(e->b, sum, LLVMBuildFMul(e->b, count, k, ""), "");
        LLVMValueRef cross = LLVMBuildFMul(e->b, k, LLVMBuildFAdd(e->b, sum, deviation, ""), "");
        LLVMValueRef spread = LLVMBuildFSub(e->b, squares, cross, "");
        LLVMValueRef negative =
            LLVMBuildFCmp(e->b, LLVMRealOLT, spread, emit_wide_vec(e, 0), ""); /* false for NaN, which stays */
        spread = LLVMBuildSelect(e->b, negative, emit_wide_vec(e, 0), spread, "");
        if (buffer[0]) emit_store(e, emit_narrow(e, spread), emit_buffer(e, buffer[0]), place);
        if (buffer[1]) emit_store(e, emit_narrow(e, deviation), emit_buffer(e, buffer[1]), place);
        loop_end(e, &n, NULL);
        loop_end(e, &block, NULL);
        kernel_end(l, 0);
    }
    double n = (double)type_elements(v->type);
    kernel_call(l, kernel, id, places, nplaces, pieces, (KernelCost){4 * n, 24 * n});
}

/* mean = Σe / count, variance = Σe*e / count - mean^2, clamped at zero: a constant channel can come out a rounding below. Of a
 * batch in shards the sums are combined between kernels: each shard's into the workspace, there over all shards, and from there
 * into what was asked for. */
typedef struct Moments {
    Lowering *l;
    Emitter *e;
    Val id;
    int64_t images, row, blocks, pieces;
    double count; /* values per channel, in the batch */
} Moments;
enum { MEAN, VARIANCE, DEVIATIONS, MOMENTS_RESULTS };

static Moments moments_of(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Type sums = g->value[v->args[0]].type;
    Moments m = {.l = l, .e = lowering_emitter(l), .id = id, .images = sums.dim[0] / 2, .count = v->attrs.constant};
    m.row = layout_pad(lowering_target(l), sums.dim[1]);
    m.blocks = m.row / lowering_target(l)->lanes;
    m.pieces = m.images * m.row >= SMALL_WORK ? m.blocks : 1;
    return m;
}

uint64_t moments_workspace(const Lowering *l, Val v) {
    const Graph *g = lowering_graph(l);
    int64_t row = layout_pad(lowering_target(l), g->value[g->value[v].args[0]].type.dim[1]);
    return lowering_shards(l) > 1 ? 2 * (uint64_t)row * sizeof(double) : 0;
}

/* From the batch's sums; the mean as an f32, what others read. */
static LLVMValueRef emit_mean(const Moments *m, LLVMValueRef sum) {
    return LLVMBuildFMul(m->e->b, sum, emit_wide_vec(m->e, 1 / m->count), "");
}

static LLVMValueRef emit_variance(const Moments *m, LLVMValueRef mean, LLVMValueRef squares) {
    Emitter *e = m->e;
    LLVMValueRef square = LLVMBuildFMul(e->b, squares, emit_wide_vec(e, 1 / m->count), "");
    LLVMValueRef variance = LLVMBuildFSub(e->b, square, LLVMBuildFMul(e->b, mean, mean, ""), "");
    LLVMValueRef negative = LLVMBuildFCmp(e->b, LLVMRealOLT, variance, emit_wide_vec(e, 0), ""); /* false for NaN, which stays */
    return LLVMBuildSelect(e->b, negative, emit_wide_vec(e, 0), variance, "");
}

/* The buffers of the results that are wanted, behind those before them; 0: nobody reads it. */
static uint32_t add_results(const Moments *m, unsigned wanted, Place *places, uint32_t n, uint32_t *buffer) {
    for (uint32_t i = 0; i < MOMENTS_RESULTS; i++) {
        Place p = lowering_result_place(m->l, m->id, i);
        buffer[i] = p.space == RT_SPACE_COUNT || !(wanted >> i & 1) ? 0 : n;
        if (buffer[i]) places[n++] = p;
    }
    return n;
}

/* A kernel that has each channel block's sums over the batch, from each image's in buffer 0 or, of shards, from buffer `from`. */
static void emit_results(const Moments *m, uint32_t from, const uint32_t *buffer) {
    Emitter *e = m->e;
    LLVMValueRef sum[2];
    Loop block = block_loop(e, m->blocks, m->pieces);
    LLVMValueRef at = emit_mul_int(e, block.iv, e->V);
    if (from == NO_BUFFER) sum_moments(e, m->images, m->row, at, sum);
    for (int i = 0; i < 2 && from != NO_BUFFER; i++)
        sum[i] = emit_load_wide(e, emit_buffer(e, from), emit_add_int(e, at, emit_int(e, i * m->row)));
    LLVMValueRef exact = emit_mean(m, sum[0]), variance = emit_variance(m, exact, sum[1]), mean = emit_narrow(e, exact);
    if (buffer[MEAN]) emit_store(e, mean, emit_buffer(e, buffer[MEAN]), at);
    if (buffer[VARIANCE]) emit_store(e, emit_narrow(e, variance), emit_buffer(e, buffer[VARIANCE]), at);
    double pixels = m->count / (double)(m->images * lowering_shards(m->l));
    if (buffer[DEVIATIONS]) store_deviations(e, m->images, m->row, at, mean, pixels, emit_buffer(e, buffer[DEVIATIONS]));
    loop_end(e, &block, NULL);
}

static char *moments_key(const Moments *m, const char *part) {
    return arena_printf(lowering_arena(m->l), "%s|%s", value_key(m->l, m->id), part);
}

static KernelCost moments_cost(const Moments *m) {
    double n = 2 * (double)(m->images * m->row);
    return (KernelCost){n, 8 * n};
}

/* A shard's sums, and the batch's. Returns where these are. */
static Place lower_sums(const Moments *m) {
    Emitter *e = m->e;
    Kernel *kernel;
    Place places[] = {lowering_place(m->l, lowering_graph(m->l)->value[m->id].args[0]), lowering_workspace(m->l, m->id)};
    if (kernel_begin(m->l, RT_KIND_STATISTICS, "moments_sums", moments_key(m, "sums"), 2, &kernel)) {
        LLVMValueRef sum[2];
        Loop block = block_loop(e, m->blocks, m->pieces);
        LLVMValueRef at = emit_mul_int(e, block.iv, e->V);
        sum_moments(e, m->images, m->row, at, sum);
        for (int i = 0; i < 2; i++) emit_store_wide(e, sum[i], emit_buffer(e, 1), emit_add_int(e, at, emit_int(e, i * m->row)));
        loop_end(e, &block, NULL);
        kernel_end(m->l, 0);
    }
    kernel_call(m->l, kernel, m->id, places, 2, m->pieces, moments_cost(m));
    return lowering_combine(m->l, m->id, places[1], RT_COMBINE_F64, moments_workspace(m->l, m->id));
}

/* `wanted`: bits of results; `sums`: of shards, where the batch's are. */
static void lower_results(const Moments *m, unsigned wanted, const Place *sums) {
    Place places[2 + MOMENTS_RESULTS] = {lowering_place(m->l, lowering_graph(m->l)->value[m->id].args[0])};
    uint32_t buffer[MOMENTS_RESULTS], n = 1;
    if (sums) places[n++] = *sums;
    uint32_t nplaces = add_results(m, wanted, places, n, buffer);
    if (nplaces == n) return;
    Kernel *kernel;
    const char *part = "of shards";
    if (wanted & 1 << DEVIATIONS) /* the kernel has the number of a shard's pixels in it */
        part = arena_printf(lowering_arena(m->l), "one of %lld, deviations", (long long)lowering_shards(m->l));
    char *key = sums ? moments_key(m, part) : value_key(m->l, m->id);
    if (kernel_begin(m->l, RT_KIND_STATISTICS, "moments", key, nplaces, &kernel)) {
        emit_results(m, sums ? 1 : NO_BUFFER, buffer);
        kernel_end(m->l, 0);
    }
    kernel_call(m->l, kernel, m->id, places, nplaces, m->pieces, moments_cost(m));
}

void lower_MOMENTS(Lowering *l, Val id) {
    Moments m = moments_of(l, id);
    if (lowering_shards(l) == 1) {
        lower_results(&m, 1 << MEAN | 1 << VARIANCE | 1 << DEVIATIONS, NULL);
        return;
    }
    Place sums = lower_sums(&m);
    lower_results(&m, 1 << DEVIATIONS, &sums);
    lowering_set_once(l, true);
    lower_results(&m, 1 << MEAN | 1 << VARIANCE, &sums);
    lowering_set_once(l, false);
}
