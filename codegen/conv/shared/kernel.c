/* A convolution kernel's buffers: its arguments, the results somebody reads, its workspace, its filters in another order. */
#include "codegen/conv/shared/kernel.h"
#include "codegen/conv/shared/sites.h"

ConvKernel conv_kernel(Lowering *l, Val id, bool workspace) {
    const Graph *g = lowering_graph(l);
    const Value *v = &g->value[id];
    uint32_t results = value_results(g, id);
    ConvKernel k = {
        .l = l, .e = lowering_emitter(l), .v = v, .id = id, .workspace_buffer = NO_BUFFER, .filters_buffer = NO_BUFFER};
    k.places = ARENA_ARRAY(lowering_arena(l), Place, v->nargs + results + 2);
    k.result_buffer = ARENA_ARRAY(lowering_arena(l), uint32_t, results);
    k.arg_type = ARENA_ARRAY(lowering_arena(l), Type, v->nargs);
    k.arg_base = ARENA_ARRAY(lowering_arena(l), LLVMValueRef, v->nargs);
    k.preloaded = ARENA_ARRAY(lowering_arena(l), LLVMValueRef, v->nargs);
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
    uint32_t results = value_results(lowering_graph(k.l), k.id), *buffer = ARENA_ARRAY(lowering_arena(k.l), uint32_t, results);
    for (uint32_t r = 0; r < results; r++) buffer[r] = k.result_buffer[r] == NO_BUFFER ? NO_BUFFER : first + k.result_buffer[r];
    k.result_buffer = buffer;
    if (k.workspace_buffer != NO_BUFFER) k.workspace_buffer += first;
    if (k.filters_buffer != NO_BUFFER) k.filters_buffer += first;
    k.first_buffer = first;
    return k;
}

/* Of a feature map: smaller ones may still be in a core's own cache when they are read. */
enum { STREAM_BYTES = 2 << 20 };

static bool is_large(const Target *t, Type map) {
    int64_t bytes = map.dim[0] * layout_pad(t, map.dim[1]) * map.dim[2] * map.dim[3] * t->map_bytes;
    return map.rank == 4 && bytes >= min_i64(STREAM_BYTES, t->kept);
}

/* May it store a map past the caches? Then it is another kernel than that of a step that keeps less. */
static bool streams(const ConvKernel *k) {
    const Target *t = k->e->target;
    bool large = false;
    for (uint32_t i = 0; i < k->v->nargs; i++) large |= is_large(t, k->arg_type[i]);
    for (uint32_t r = 0; r < value_results(lowering_graph(k->l), k->id); r++)
        large |= is_large(t, value_result_type(lowering_graph(k->l), k->id, r));
    return large && k->e->past_caches;
}

char *conv_key(const ConvKernel *k, const char *what) {
    Arena *arena = lowering_arena(k->l);
    const char *mode = mode_text(lowering_graph(k->l)->mode); /* it shapes the pieces: conv_few_pieces */
    const char *choice = choice_text(arena, &lowering_site(k->l, k->id)->choice);
    char *key = arena_printf(arena, "%s|%s|%s|%s%s", value_key(k->l, k->id), what, choice, mode, streams(k) ? "|past" : "");
    int64_t shards = lowering_shards(k->l); /* they decide about pieces and partial sums */
    return shards > 1 ? arena_printf(arena, "%s|one of %lld", key, (long long)shards) : key;
}

RtKind conv_kind(const ConvKernel *k) {
    return k->v->op == OP_CONV2D            ? RT_KIND_FORWARD
           : k->v->op == OP_CONV2D_BWD_DATA ? RT_KIND_BACKWARD_DATA
                                            : RT_KIND_BACKWARD_WEIGHTS;
}

double conv_flops(const ConvShape *s) {
    double taps = (double)s->kernel[0] * (double)s->kernel[1], pixels = (double)s->out[0] * (double)s->out[1];
    return 2.0 * (double)s->N * (double)s->O * (double)s->I / (double)s->groups * taps * pixels;
}

double conv_bytes(const ConvKernel *k) {
    const Graph *g = lowering_graph(k->l);
    double total = 0;
    for (uint32_t i = 0; i < k->v->nargs; i++) total += place_bytes(k->places[i], k->arg_type[i]);
    uint32_t results = value_results(g, k->id);
    for (uint32_t r = 0; r < results; r++)
        if (k->result_buffer[r] != NO_BUFFER)
            total += place_bytes(k->places[k->result_buffer[r]], value_result_type(g, k->id, r));
    return total;
}

char *conv_name(const ConvKernel *k, const ConvShape *s, const char *suffix) {
    return arena_printf(lowering_arena(k->l), "%s_%dx%d_c%d_%d%s", op_text(k->v->op), (int)s->kernel[0], (int)s->kernel[1],
                        (int)s->I, (int)s->O, suffix);
}

ElementSite conv_elements(const ConvKernel *k, Type space) {
    for (uint32_t i = 0; i < k->v->nargs; i++) k->preloaded[i] = NULL;
    return (ElementSite){.channels = space.dim[1],
                         .channel_blocks = divide_up(space.dim[1], k->e->V),
                         .pixels = space.dim[2] * space.dim[3],
                         .arg_type = k->arg_type,
                         .arg_base = k->arg_base,
                         .preloaded = k->preloaded};
}

void conv_store(ConvKernel *k, Type t, LLVMValueRef value, LLVMValueRef base, LLVMValueRef element) {
    is_large(k->e->target, t) ? emit_store_stream(k->e, value, base, element) : emit_store(k->e, value, base, element);
}
