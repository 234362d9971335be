/* scale_filters: w[O,I,kh,kw] * a[O], how batch norm's scale enters the weights in inference. Output channels are the lanes of
 * a filter vector, so each block of output channels is scaled by one vector. */
#include "codegen/ops/ops.h"

void lower_SCALE_FILTERS(Lowering *l, Val id) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    Emitter *e = lowering_emitter(l);
    int64_t blocks = layout_pad(e->target, v->type.dim[0]) / e->V;
    int64_t rows = layout_pad(e->target, v->type.dim[1]) * v->type.dim[2] * v->type.dim[3]; /* vectors per output block */
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_FILTERS, "scale_filters", value_key(l, id), 3, &kernel)) {
        LLVMValueRef scale = emit_load(e, emit_buffer(e, 1), emit_mul_int(e, e->piece, e->V));
        LLVMValueRef first = emit_mul_int(e, e->piece, rows * e->V);
        Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, rows), 1, 0, NULL);
        LLVMValueRef at = emit_offset(e, row.iv, e->V, first);
        emit_store(e, LLVMBuildFMul(e->b, emit_load(e, emit_buffer(e, 0), at), scale, ""), emit_buffer(e, 2), at);
        loop_end(e, &row, NULL);
        kernel_end(l, 0);
    }
    Place places[] = {lowering_place(l, v->args[0]), lowering_place(l, v->args[1]), lowering_place(l, id)};
    double n = (double)type_elements(v->type);
    kernel_call(l, kernel, id, places, 3, blocks, (KernelCost){n, 2 * sizeof(float) * n});
}
