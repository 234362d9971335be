/* sum_to and max_to: a feature map summed, or its maximum, over channels, height or width. A unit is one channel block of an
 * image where channels stay, else one row of what comes out; each element of it is one chain over what goes away, in a fixed
 * order. */
#include "codegen/emit/pieces.h"
#include "codegen/ops/ops.h"
#include <math.h>

typedef struct Reduction {
    Emitter *e;
    Type x, y;
    bool maximum, channels;             /* channels: they go away */
    int64_t blocks;                     /* of x */
    LLVMValueRef n, block, row, column; /* of the element of y; block NULL where channels go away */
} Reduction;

/* x at a place. Lanes beyond the channels are zero, which no maximum over channels may see. */
static LLVMValueRef load(const Reduction *r, LLVMValueRef block, LLVMValueRef row, LLVMValueRef column) {
    Emitter *e = r->e;
    LLVMValueRef plane = emit_offset(e, r->n, r->blocks, block);
    LLVMValueRef pixel = emit_offset(e, emit_offset(e, plane, r->x.dim[2], row), r->x.dim[3], column);
    LLVMValueRef v = emit_load(e, emit_buffer(e, 0), emit_mul_int(e, pixel, e->V));
    return r->maximum && r->channels ? emit_channels_or(e, v, block, r->x.dim[1], -INFINITY) : v;
}

/* From `one` on, one turn; or from 0 to `count`, where the dimension goes away. */
static Loop over(Emitter *e, LLVMValueRef one, int64_t count, LLVMValueRef *carry) {
    LLVMValueRef first = one ? one : emit_int(e, 0), end = one ? emit_add_int(e, one, emit_int(e, 1)) : emit_int(e, count);
    return loop_begin(e, first, end, 1, 1, carry);
}

/* What goes along the chain of one element of y: the next of `before`, at a place of x. */
typedef LLVMValueRef Step(const Reduction *r, LLVMValueRef before, LLVMValueRef block, LLVMValueRef row, LLVMValueRef column);

static LLVMValueRef chain(const Reduction *r, Step *step, LLVMValueRef first) {
    Emitter *e = r->e;
    Loop block = over(e, r->block, r->blocks, &first);
    Loop row = over(e, r->y.dim[2] == r->x.dim[2] ? r->row : NULL, r->x.dim[2], &block.carry[0]);
    Loop column = over(e, r->y.dim[3] == r->x.dim[3] ? r->column : NULL, r->x.dim[3], &row.carry[0]);
    LLVMValueRef next = step(r, column.carry[0], block.iv, row.iv, column.iv);
    loop_end(e, &column, &next);
    loop_end(e, &row, &column.carry[0]);
    loop_end(e, &block, &row.carry[0]);
    return block.carry[0];
}

static LLVMValueRef add(const Reduction *r, LLVMValueRef before, LLVMValueRef block, LLVMValueRef row, LLVMValueRef column) {
    return LLVMBuildFAdd(r->e->b, before, load(r, block, row, column), "");
}

static LLVMValueRef greater(const Reduction *r, LLVMValueRef before, LLVMValueRef block, LLVMValueRef row, LLVMValueRef column) {
    return emit_greatest(r->e, before, load(r, block, row, column));
}

/* In all lanes if channels go away. */
static LLVMValueRef whole_chain(const Reduction *r) {
    Emitter *e = r->e;
    LLVMValueRef all = chain(r, r->maximum ? greater : add, emit_vec(e, r->maximum ? -INFINITY : 0));
    if (!r->channels) return all;
    return emit_splat(e, r->maximum ? emit_reduce_greatest(e, all) : emit_reduce_add(e, all));
}

static void emit_element(const Reduction *r, LLVMValueRef at) {
    Emitter *e = r->e;
    LLVMValueRef all = whole_chain(r);
    emit_store(e, r->channels ? emit_first_lane(e, all) : all, emit_buffer(e, 1), at);
}

static void emit_unit(Reduction *r, LLVMValueRef unit) {
    Emitter *e = r->e;
    int64_t per_image = r->channels ? r->y.dim[2] : r->blocks;
    LLVMValueRef within = LLVMBuildURem(e->b, unit, emit_int(e, per_image), "");
    r->n = LLVMBuildUDiv(e->b, unit, emit_int(e, per_image), "n");
    r->block = r->channels ? NULL : within;
    Loop row = loop_begin(e, r->channels ? within : emit_int(e, 0),
                          r->channels ? emit_add_int(e, within, emit_int(e, 1)) : emit_int(e, r->y.dim[2]), 1, 0, NULL);
    Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, r->y.dim[3]), 1, 0, NULL);
    r->row = row.iv;
    r->column = column.iv;
    LLVMValueRef plane = r->channels ? r->n : emit_offset(e, r->n, r->blocks, r->block);
    LLVMValueRef pixel = emit_offset(e, emit_offset(e, plane, r->y.dim[2], row.iv), r->y.dim[3], column.iv);
    emit_element(r, emit_mul_int(e, pixel, e->V));
    loop_end(e, &column, NULL);
    loop_end(e, &row, NULL);
}

static void lower_reduction(Lowering *l, Val id, const char *name, bool maximum) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Emitter *e = lowering_emitter(l);
    Reduction r = {.e = e, .x = g->value[v->args[0]].type, .y = v->type, .maximum = maximum};
    r.channels = r.y.dim[1] != r.x.dim[1];
    r.blocks = layout_pad(e->target, r.x.dim[1]) / e->V;
    double elements = (double)type_elements(r.x);
    int64_t units = r.x.dim[0] * (r.channels ? r.y.dim[2] : r.blocks);
    Split split = split_units(units, 4 * elements / (double)units);
    Place places[] = {lowering_place(l, v->args[0]), lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_POOLING, name, value_key(l, id), 2, &kernel)) {
        kernel_elements(l, 0, places, 2);
        Loop unit = split_begin(e, &split);
        emit_unit(&r, unit.iv);
        loop_end(e, &unit, NULL);
        kernel_end(l, 0);
    }
    kernel_call(l, kernel, id, places, 2, split.pieces, (KernelCost){elements, 4 * elements});
}

void lower_SUM_TO(Lowering *l, Val v) { lower_reduction(l, v, "sum_to", false); }
void lower_MAX_TO(Lowering *l, Val v) { lower_reduction(l, v, "max_to", true); }
