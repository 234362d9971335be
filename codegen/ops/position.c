/* position: 0, 1, 2, ... along one dimension, of channels in the lanes of vectors, of lines and columns in lane 0 of one each. A
 * piece is an image, or all channels. */
#include "codegen/ops/ops.h"

void lower_POSITION(Lowering *l, Val id) {
    const Value *v = &lowering_graph(l)->value[id];
    Emitter *e = lowering_emitter(l);
    bool channels = v->attrs.index == 1;
    int64_t count = v->type.dim[channels ? 0 : v->attrs.index], vectors = channels ? layout_pad(e->target, count) / e->V : count;
    Place places[] = {lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_MAP, "position", value_key(l, id), 1, &kernel)) {
        kernel_elements(l, 0, places, 1);
        Loop vector = loop_begin(e, emit_int(e, 0), emit_int(e, vectors), 1, 0, NULL);
        LLVMValueRef first = channels ? emit_mul_int(e, vector.iv, e->V) : vector.iv;
        LLVMValueRef place = emit_count(e, first, channels);
        LLVMValueRef at = emit_mul_int(e, emit_offset(e, e->piece, vectors, vector.iv), e->V);
        emit_store(e, channels ? emit_mask_channels(e, place, vector.iv, count) : emit_first_lane(e, place), emit_buffer(e, 0),
                   at);
        loop_end(e, &vector, NULL);
        kernel_end(l, 0);
    }
    kernel_call(l, kernel, id, places, 1, channels ? 1 : v->type.dim[0], (KernelCost){0, 4 * (double)type_elements(v->type)});
}
