/* Moving tensors between places and layouts: images into channel blocks, padded rows into dense ones, plain copies. */
#include "codegen/emit/pieces.h"
#include "codegen/ops/ops.h"

/* f32[N,C,H,W] dense -> [N][C/V][H][W][V]. A unit is one row of one channel block: for each pixel the lanes are gathered from
 * their planes, and lanes beyond the channels are zero. */
void lower_INPUT(Lowering *l, Val id) {
    if (lowering_place(l, id).space != RT_ARENA) return; /* it is read as the runtime makes it */
    Emitter *e = lowering_emitter(l);
    Type x = lowering_graph(l)->value[id].type;
    int64_t C = x.dim[1], H = x.dim[2], W = x.dim[3], blocks = layout_pad(e->target, C) / e->V;
    Split split = split_units(x.dim[0] * H, 8.0 * (double)(W * blocks * e->V));
    char *key = arena_printf(lowering_program(l)->arena, "%lldx%lldx%lldx%lld", (long long)x.dim[0], (long long)C, (long long)H,
                             (long long)W);
    Place places[] = {{RT_IMAGES, 0, false, (uint64_t)type_elements(x) * sizeof(float)}, lowering_place(l, id)};
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_LAYOUT, "pack_images", key, 2, &kernel)) {
        kernel_elements(l, 0, places, 2);
        Loop unit = split_begin(e, &split);
        LLVMValueRef n = LLVMBuildUDiv(e->b, unit.iv, emit_int(e, H), "n"), y = LLVMBuildURem(e->b, unit.iv, emit_int(e, H), "y");
        for (int64_t cb = 0; cb < blocks; cb++) {
            Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, W), 1, 0, NULL);
            LLVMValueRef pixel = emit_offset(e, y, W, column.iv), first = emit_offset(e, n, C, emit_int(e, cb * e->V));
            int64_t lanes = C - cb * e->V < e->V ? C - cb * e->V : e->V;
            LLVMValueRef vec = emit_load_planes(e, emit_buffer(e, 0), emit_offset(e, first, H * W, pixel), H * W, lanes);
            LLVMValueRef block = emit_offset(e, n, blocks, emit_int(e, cb));
            emit_store(e, vec, emit_buffer(e, 1), emit_mul_int(e, emit_offset(e, block, H * W, pixel), e->V));
            loop_end(e, &column, NULL);
        }
        loop_end(e, &unit, NULL);
        kernel_end(l, 0);
    }
    kernel_call(l, kernel, id, places, 2, split.pieces, (KernelCost){0, sizeof(float) * (double)type_elements(x)});
}

/* Bytes, whatever they mean: as words. */
void lower_copy(Lowering *l, const char *label, Place from, Place to, uint64_t bytes) {
    Emitter *e = lowering_emitter(l);
    bool scalar = bytes == sizeof(float);
    int64_t vectors = scalar ? 1 : (int64_t)(bytes / ((uint64_t)e->V * sizeof(float)));
    Split split = split_units(vectors, 2 * (double)bytes / (double)vectors);
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_LAYOUT, "copy", arena_printf(lowering_program(l)->arena, "%llu", (unsigned long long)bytes), 2,
                     &kernel)) {
        Loop unit = split_begin(e, &split);
        LLVMValueRef at = emit_mul_int(e, unit.iv, e->V);
        if (scalar)
            emit_store_scalar(e, emit_load_scalar(e, emit_buffer(e, 0), at), emit_buffer(e, 1), at);
        else
            emit_store(e, emit_load(e, emit_buffer(e, 0), at), emit_buffer(e, 1), at);
        loop_end(e, &unit, NULL);
        kernel_end(l, 0);
    }
    kernel_call_named(l, kernel, label, (Place[]){from, to}, 2, split.pieces, (KernelCost){0, 2 * (double)bytes});
}

/* One row a unit: whole vectors (unaligned in the dense rows), then the rest element by element. */
void lower_unpad_rows(Lowering *l, const char *label, Place from, Place to, Type rows) {
    Emitter *e = lowering_emitter(l);
    int64_t N = rows.dim[0], C = rows.dim[1], whole = C - C % e->V, padded = layout_pad(e->target, C);
    Split split = split_units(N, 8.0 * (double)C);
    char *key = arena_printf(lowering_program(l)->arena, "%lldx%lld", (long long)N, (long long)C);
    Kernel *kernel;
    if (kernel_begin(l, RT_KIND_LAYOUT, "unpad_rows", key, 2, &kernel)) {
        Loop row = split_begin(e, &split);
        LLVMValueRef in = emit_address(e, emit_buffer(e, 0), emit_mul_int(e, row.iv, padded));
        LLVMValueRef out = emit_address(e, emit_buffer(e, 1), emit_mul_int(e, row.iv, C));
        if (whole) {
            Loop c = loop_begin(e, emit_int(e, 0), emit_int(e, whole), e->V, 0, NULL);
            LLVMSetAlignment(LLVMBuildStore(e->b, emit_load(e, in, c.iv), emit_address(e, out, c.iv)), sizeof(float));
            loop_end(e, &c, NULL);
        }
        for (int64_t c = whole; c < C; c++) emit_store_scalar(e, emit_load_scalar(e, in, emit_int(e, c)), out, emit_int(e, c));
        loop_end(e, &row, NULL);
        kernel_end(l, 0);
    }
    kernel_call_named(l, kernel, label, (Place[]){from, to}, 2, split.pieces, (KernelCost){0, 8 * (double)(N * C)});
}
