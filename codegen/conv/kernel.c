/* A convolution kernel's buffers: its arguments, the results somebody reads, its workspace, its filters in another order. */
#include "codegen/conv/conv.h"

ConvKernel conv_kernel(Lowering *l, Val id, bool workspace) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    uint32_t results = value_results(g, id);
    ConvKernel k = {
        .l = l, .e = lowering_emitter(l), .v = v, .id = id, .workspace_buffer = NO_BUFFER, .filters_buffer = NO_BUFFER};
    k.places = ARENA_ARRAY(g->arena, Place, v->nargs + results + 2);
    k.result_buffer = ARENA_ARRAY(g->arena, uint32_t, results);
    k.arg_type = ARENA_ARRAY(g->arena, Type, v->nargs);
    k.arg_base = ARENA_ARRAY(g->arena, LLVMValueRef, v->nargs);
    k.preloaded = ARENA_ARRAY(g->arena, LLVMValueRef, v->nargs);
    for (uint32_t i = 0; i < v->nargs; i++) {
        k.places[i] = lowering_place(l, v->args[i]);
        k.arg_type[i] = g->value[v->args[i]].type;
    }
    k.nplaces = v->nargs;
    for (uint32_t r = 0; r < results; r++) {
        Place place = lowering_result_place(l, id, r);
        k.result_buffer[r] = place.space == RT_SPACE_COUNT ? NO_BUFFER : k.nplaces;
        if (place.space != RT_SPACE_COUNT) k.places[k.nplaces++] = place;
    }
    if (workspace) {
        k.workspace_buffer = k.nplaces;
        k.places[k.nplaces++] = lowering_workspace(l, id);
    }
    return k;
}

void conv_kernel_bind(ConvKernel *k) {
    kernel_elements(k->l, k->first_buffer, k->places, k->nplaces);
    for (uint32_t i = 0; i < k->v->nargs; i++) k->arg_base[i] = emit_buffer(k->e, k->first_buffer + i);
}

void conv_kernel_filters(ConvKernel *k, uint64_t offset, uint64_t bytes) {
    Place workspace = place_behind(lowering_workspace(k->l, k->id), offset);
    k->filters_buffer = k->nplaces;
    k->places[k->nplaces++] = lowering_make_once(k->l, k->v->args[1], bytes, workspace);
}

ConvKernel conv_kernel_behind(ConvKernel k, uint32_t first) {
    const Graph *g = lowering_graph(k.l);
    uint32_t results = value_results(g, k.id), *buffer = ARENA_ARRAY(g->arena, uint32_t, results);
    for (uint32_t r = 0; r < results; r++) buffer[r] = k.result_buffer[r] == NO_BUFFER ? NO_BUFFER : first + k.result_buffer[r];
    k.result_buffer = buffer;
    if (k.workspace_buffer != NO_BUFFER) k.workspace_buffer += first;
    if (k.filters_buffer != NO_BUFFER) k.filters_buffer += first;
    k.first_buffer = first;
    return k;
}

char *conv_key(const ConvKernel *k, const char *what) {
    const Graph *g = lowering_graph(k->l);
    const char *mode = g->mode == MODE_INFER ? "infer" : "train", /* it shapes the pieces: conv_few_pieces */
        *choice = choice_text(g->arena, lowering_choice(k->l, k->id));
    return arena_printf(g->arena, "%s|%s|%s|%s", value_key(k->l, k->id), what, choice, mode);
}

ElementSite conv_site(const ConvKernel *k, Type space) {
    for (uint32_t i = 0; i < k->v->nargs; i++) k->preloaded[i] = NULL;
    return (ElementSite){.channel_blocks = divide_up(space.dim[1], k->e->V),
                         .pixels = space.dim[2] * space.dim[3],
                         .arg_type = k->arg_type,
                         .arg_base = k->arg_base,
                         .preloaded = k->preloaded};
}

enum { LINE_BYTES = 64, STREAM_BYTES = 2 << 20, MAX_BURST = 16 };

void conv_store(ConvKernel *k, Type t, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    bool large =
        t.dim[0] * divide_up(t.dim[1], k->e->V) * t.dim[2] * t.dim[3] * k->e->V * k->e->target->map_bytes >= STREAM_BYTES;
    large ? emit_store_stream(k->e, value, base, element) : emit_store(k->e, value, base, element);
}

/* Feature maps that the value's loops read: an operand that is not the filters, or an argument of a region. */
static bool streamed(const ConvKernel *k, uint32_t arg) {
    if (k->arg_type[arg].rank != 4 || layout_of(lowering_graph(k->l), k->v->args[arg]) == LAYOUT_IMAGES) return false;
    if (arg == 1) return k->v->op == OP_CONV2D_BWD_WEIGHTS && !k->first_buffer; /* behind others: a sweep's, whose dY is staged */
    return true;
}

static int64_t image_lines(const ConvKernel *k, Type t) {
    return divide_up(t.dim[1], k->e->V) * t.dim[2] * t.dim[3] * k->e->V * k->e->target->map_bytes / LINE_BYTES;
}

int64_t prefetch_lines(const ConvKernel *k) {
    int64_t lines = 0;
    for (uint32_t i = 0; i < k->v->nargs; i++)
        if (streamed(k, i)) lines += image_lines(k, k->arg_type[i]);
    return lines;
}

bool prefetch_bursts(const ConvKernel *k, int64_t steps) { return prefetch_lines(k) > MAX_BURST * steps; }

void prefetch_part(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps, LLVMValueRef part, int64_t parts) {
    Emitter *e = k->e;
    const int64_t line = LINE_BYTES / e->target->map_bytes;
    for (uint32_t i = 0; i < k->v->nargs; i++) {
        if (!streamed(k, i)) continue;
        int64_t lines = image_lines(k, k->arg_type[i]), share = divide_up(lines, steps), some = divide_up(share, parts);
        LLVMValueRef next = emit_mul_int(e, emit_add_int(e, n, emit_int(e, 1)), lines * line);
        LLVMValueRef first = emit_mul_int(e, part, some);
        if (some * parts > share) first = emit_min_int(e, first, emit_int(e, share - some)); /* again is better than too far */
        LLVMValueRef start = emit_offset(e, step, share * line, next);
        LLVMValueRef from = emit_address(e, k->arg_base[i], emit_offset(e, first, line, start));
        for (int64_t j = 0; j < some; j++) emit_prefetch(e, from, emit_int(e, j * line), 2);
    }
}

void prefetch_step(ConvKernel *k, LLVMValueRef n, LLVMValueRef step, int64_t steps) {
    prefetch_part(k, n, step, steps, emit_int(k->e, 0), 1);
}

void prefetch_rows(ConvKernel *k, LLVMValueRef n, LLVMValueRef row, int64_t rows, LLVMValueRef step, int64_t steps) {
    Emitter *e = k->e;
    const int64_t line = LINE_BYTES / e->target->map_bytes;
    for (uint32_t i = 0; i < k->v->nargs; i++) {
        if (!streamed(k, i)) continue;
        Type t = k->arg_type[i];
        int64_t blocks = divide_up(t.dim[1], e->V), row_floats = t.dim[3] * e->V;
        int64_t part = t.dim[2] <= divide_up(k->arg_type[0].dim[2], 2) ? 2 : 1;
        int64_t share = divide_up(divide_up(rows / part * row_floats, line), steps);
        LLVMValueRef first = part == 1 ? row : LLVMBuildUDiv(e->b, row, emit_int(e, part), "");
        LLVMValueRef start = emit_offset(e, first, row_floats, emit_mul_int(e, n, blocks * t.dim[2] * row_floats));
        LLVMValueRef from = emit_address(e, k->arg_base[i], emit_offset(e, step, share * line, start));
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t j = 0; j < share; j++) emit_prefetch(e, from, emit_int(e, b * t.dim[2] * row_floats + j * line), 2);
    }
}
