/* Filters as dense matrices, and gradients back (gemm.h). Stored: [O block][I block][kh][kw][I in V][O in V], I per group. */
#include "codegen/conv/gemm/gemm.h"

/* Element of the stored filters: o of all output channels, i of the group's input channels. */
static LLVMValueRef filter_element(Emitter *e, const ConvShape *s, LLVMValueRef o, LLVMValueRef i, LLVMValueRef ky,
                                   LLVMValueRef kx) {
    int64_t V = s->V, group_blocks = divide_up(s->I / s->groups, V);
    LLVMValueRef lanes = emit_int(e, V);
    LLVMValueRef block = emit_offset(e, LLVMBuildUDiv(e->b, o, lanes, ""), group_blocks, LLVMBuildUDiv(e->b, i, lanes, ""));
    LLVMValueRef tap = emit_offset(e, emit_offset(e, block, s->kernel[0], ky), s->kernel[1], kx);
    return emit_offset(e, emit_offset(e, tap, V, LLVMBuildURem(e->b, i, lanes, "")), V, LLVMBuildURem(e->b, o, lanes, ""));
}

int64_t gemm_phase_floats(const Correlation *c, const int64_t phase[2]) {
    return correlation_taps(c, 0, phase[0]).count * correlation_taps(c, 1, phase[1]).count * (c->channels_in / c->groups) *
           c->channels_out;
}

/* One phase's matrices [group][tap row][tap column][channel in][channel out], the row of channel `in` of group `group`. */
static void pack_phase(ConvKernel *k, const CorrelationPlan *p, const int64_t phase[2], int64_t base, LLVMValueRef group,
                       LLVMValueRef in) {
    Emitter *e = k->e;
    const Correlation *c = &p->c;
    Taps rows = correlation_taps(c, 0, phase[0]), columns = correlation_taps(c, 1, phase[1]);
    int64_t ins = c->channels_in / c->groups, outs = c->channels_out / c->groups;
    if (rows.count * columns.count == 0) return;
    Loop row = loop_begin(e, emit_int(e, 0), emit_int(e, rows.count), 1, 0, NULL);
    Loop column = loop_begin(e, emit_int(e, 0), emit_int(e, columns.count), 1, 0, NULL);
    Loop out = loop_begin(e, emit_int(e, 0), emit_int(e, outs), 1, 0, NULL);
    LLVMValueRef ky = emit_offset(e, row.iv, rows.index_step, emit_int(e, rows.index));
    LLVMValueRef kx = emit_offset(e, column.iv, columns.index_step, emit_int(e, columns.index));
    LLVMValueRef o = c->transposed ? emit_offset(e, group, ins, in) : emit_offset(e, group, outs, out.iv);
    LLVMValueRef value = emit_load_scalar(e, emit_buffer(e, 0), filter_element(e, &p->s, o, c->transposed ? out.iv : in, ky, kx));
    LLVMValueRef tap = emit_offset(e, emit_offset(e, group, rows.count, row.iv), columns.count, column.iv);
    LLVMValueRef to = emit_offset(e, emit_offset(e, emit_offset(e, tap, ins, in), outs, out.iv), 1, emit_int(e, base));
    emit_store_scalar(e, value, emit_buffer(e, 1), to);
    loop_end(e, &out, NULL);
    loop_end(e, &column, NULL);
    loop_end(e, &row, NULL);
}

void gemm_pack(ConvKernel *k, const CorrelationPlan *p) {
    Emitter *e = k->e;
    const Correlation *c = &p->c;
    int64_t ins = c->channels_in / c->groups, base = 0;
    Kernel *kernel;
    if (kernel_begin(k->l, RT_KIND_FILTERS, "conv_pack_dense", conv_key(k, "pack-dense"), 2, &kernel)) {
        LLVMValueRef group = LLVMBuildUDiv(e->b, e->piece, emit_int(e, ins), "");
        LLVMValueRef in = LLVMBuildURem(e->b, e->piece, emit_int(e, ins), "");
        int64_t phase[2];
        for (phase[0] = 0; phase[0] < c->phases[0]; phase[0]++)
            for (phase[1] = 0; phase[1] < c->phases[1]; phase[1]++) {
                pack_phase(k, p, phase, base, group, in);
                base += gemm_phase_floats(c, phase);
            }
        kernel_end(k->l, 0);
    }
    Place places[] = {k->places[1], k->places[k->filters_buffer]};
    kernel_call(k->l, kernel, k->id, places, 2, c->channels_in, (KernelCost){0, 2.0 * (double)p->packed_bytes});
}

/* The inverse: sums dense partial gradients [group][kh][kw][I][O] and scatters them into filters; one (O block, I block) a piece.
 */
void gemm_scatter(ConvKernel *k, const WeightsPlan *p) {
    Emitter *e = k->e;
    const ConvShape *s = &p->s;
    int64_t V = s->V, group_in = s->I / s->groups, group_out = s->O / s->groups, in_blocks = divide_up(group_in, V);
    Kernel *kernel;
    if (kernel_begin(k->l, RT_KIND_REDUCTION, "conv_scatter_dense", conv_key(k, "scatter-dense"), k->nplaces, &kernel)) {
        conv_kernel_bind(k);
        LLVMValueRef lanes = emit_int(e, V), zero = emit_int(e, 0), blocks = emit_int(e, in_blocks);
        LLVMValueRef ob = LLVMBuildUDiv(e->b, e->piece, blocks, ""), ib = LLVMBuildURem(e->b, e->piece, blocks, "");
        LLVMValueRef result = emit_buffer(e, k->result_buffer[0]), partials = emit_buffer(e, k->workspace_buffer);
        int64_t taps = s->kernel[0] * s->kernel[1];
        Loop clear = loop_begin(e, zero, emit_int(e, taps * V), 1, 0, NULL);
        emit_store(e, emit_vec(e, 0), result, emit_mul_int(e, emit_offset(e, e->piece, taps * V, clear.iv), V));
        loop_end(e, &clear, NULL);
        LLVMValueRef i0 = emit_mul_int(e, ib, V), o0 = emit_mul_int(e, ob, V);
        LLVMValueRef i_end = emit_min_int(e, emit_add_int(e, i0, lanes), emit_int(e, group_in));
        LLVMValueRef o_end = emit_min_int(e, emit_add_int(e, o0, lanes), emit_int(e, s->O));
        Loop tap = loop_begin(e, zero, emit_int(e, taps), 1, 0, NULL);
        Loop in = loop_begin(e, i0, i_end, 1, 0, NULL);
        Loop out = loop_begin(e, o0, o_end, 1, 0, NULL);
        LLVMValueRef group = LLVMBuildUDiv(e->b, out.iv, emit_int(e, group_out), "");
        LLVMValueRef o = LLVMBuildURem(e->b, out.iv, emit_int(e, group_out), "");
        LLVMValueRef from = emit_offset(e, emit_offset(e, emit_offset(e, group, taps, tap.iv), group_in, in.iv), group_out, o);
        LLVMValueRef sum = emit_float(e, 0);
        Loop part = loop_begin(e, zero, emit_int(e, p->image_groups), 1, 1, &sum);
        LLVMValueRef next =
            LLVMBuildFAdd(e->b, part.carry[0], emit_load_scalar(e, partials, emit_offset(e, part.iv, p->dw_floats, from)), "");
        loop_end(e, &part, &next);
        LLVMValueRef to = emit_offset(e, emit_offset(e, e->piece, taps, tap.iv), V, LLVMBuildURem(e->b, in.iv, lanes, ""));
        emit_store_scalar(e, part.carry[0], result, emit_offset(e, to, V, LLVMBuildURem(e->b, out.iv, lanes, "")));
        loop_end(e, &out, NULL);
        loop_end(e, &in, NULL);
        loop_end(e, &tap, NULL);
        kernel_end(k->l, 0);
    }
    kernel_call(k->l, kernel, k->id, k->places, k->nplaces, s->out_blocks * in_blocks, (KernelCost){0, (double)p->partial_bytes});
}
