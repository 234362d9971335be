/* What emitters ask (lowering.h). */
#include "codegen/program/key.h"
#include "codegen/program/lowering_state.h"
#include <stdlib.h>

ProgramBuilder *lowering_program(Lowering *l) { return l->p; }
Emitter *lowering_emitter(Lowering *l) { return l->p->emitter; }
const Graph *lowering_graph(const Lowering *l) { return l->g; }
const Target *lowering_target(const Lowering *l) { return l->p->target; }
Arena *lowering_arena(const Lowering *l) { return l->p->arena; }
const ConvSite *lowering_site(const Lowering *l, Val v) { return l->site[v]; }
Place lowering_place(const Lowering *l, Val v) { return l->place[v]; }
Place lowering_workspace(const Lowering *l, Val v) { return l->workspace[v]; }
int64_t lowering_shards(const Lowering *l) { return l->shards; }
void lowering_set_once(Lowering *l, bool once) { l->once = once; }
bool lowering_is_fixed(const Lowering *l, Val v) { return l->prepare && l->fixed[v]; }

Place lowering_make_once(Lowering *l, Val v, uint64_t bytes, Place otherwise) {
    l->interrupted = l->entry;
    l->interrupted_once = l->once;
    otherwise.bytes = bytes;
    if (l->per_image && !l->per_image[v]) l->once = otherwise.shared = true; /* of the same filters, for all shards */
    if (!lowering_is_fixed(l, v)) return otherwise;
    l->entry = l->prepare;
    Place place = {RT_FOLDED, l->p->folded_bytes, false, bytes};
    l->p->folded_bytes += align_bytes(bytes);
    return place;
}

void lowering_uses_tiles(Lowering *l) { l->p->tiles = true; }

void lowering_resume(Lowering *l) {
    l->entry = l->interrupted;
    l->once = l->interrupted_once;
}

Val lowering_result_value(const Graph *g, Val v, uint32_t result) {
    if (result == 0) return v;
    for (Val r = g->value[v].results; r; r = g->value[r].results)
        if (g->value[r].attrs.index == (int64_t)result) return r;
    return NO_VAL;
}

Place lowering_result_place(const Lowering *l, Val v, uint32_t result) {
    Val r = lowering_result_value(l->g, v, result);
    return r != NO_VAL && l->read[r] ? l->place[r] : nowhere;
}

char *value_key(Lowering *l, Val v) {
    uint32_t n = value_results(l->g, v);
    bool *wanted = ARENA_ARRAY(l->p->arena, bool, n);
    for (uint32_t i = 0; i < n; i++) wanted[i] = lowering_result_place(l, v, i).space != RT_SPACE_COUNT;
    return key_of_value(l->p->arena, l->g, v, wanted);
}

bool kernel_begin(Lowering *l, RtKind kind, const char *base, const char *key, uint32_t nbuffers, Kernel **kernel) {
    return program_kernel(l->p, kind, base, key, nbuffers, kernel);
}
void kernel_elements(Lowering *l, uint32_t first, const Place *places, uint32_t nplaces) {
    for (uint32_t i = 0; i < nplaces; i++) {
        if (!places[i].bf16) continue;
        l->p->open->bf16[first + i] = true;
        emit_declare_bf16(l->p->emitter, emit_buffer(l->p->emitter, first + i));
    }
}

void kernel_end(Lowering *l, uint64_t scratch_bytes) { program_kernel_end(l->p, scratch_bytes); }

static void call(Lowering *l, Kernel *kernel, const char *label, const Place *places, uint32_t nplaces, int64_t first,
                 int64_t pieces, KernelCost cost) {
    RtRef *refs = ARENA_ARRAY(l->p->arena, RtRef, 2 * nplaces);
    for (uint32_t i = 0; i < nplaces; i++) {
        if (kernel->bf16 && places[i].bf16 != kernel->bf16[i]) abort(); /* an emitter forgot kernel_elements */
        refs[i] = (RtRef){places[i].space, places[i].shared, places[i].offset};
        refs[nplaces + i] = (RtRef){places[i].space, places[i].shared, places[i].offset + places[i].bytes};
    }
    program_call(l->p, l->entry, kernel,
                 (RtCall){.label = arena_strdup(l->p->arena, label),
                          .refs = refs,
                          .nrefs = l->p->options->check_bounds ? 2 * nplaces : nplaces,
                          .once = l->once,
                          .first = first,
                          .pieces = pieces,
                          .flops = cost.flops,
                          .bytes = cost.bytes,
                          .until = l->until});
}

void kernel_call_named(Lowering *l, Kernel *kernel, const char *label, const Place *places, uint32_t nplaces, int64_t pieces,
                       KernelCost cost) {
    call(l, kernel, label, places, nplaces, 0, pieces, cost);
}

void kernel_call_part(Lowering *l, Kernel *kernel, Val v, const Place *places, uint32_t nplaces, int64_t first, int64_t pieces,
                      KernelCost cost) {
    const Value *value = &l->g->value[v];
    call(l, kernel, value->name ? value->name : op_text(value->op), places, nplaces, first, pieces, cost);
}

void kernel_call(Lowering *l, Kernel *kernel, Val v, const Place *places, uint32_t nplaces, int64_t pieces, KernelCost cost) {
    kernel_call_part(l, kernel, v, places, nplaces, 0, pieces, cost);
}

Place lowering_combine(Lowering *l, Val v, Place place, RtCombine how, uint64_t bytes) {
    const Value *value = &l->g->value[v];
    int64_t elements = (int64_t)(bytes / (how == RT_COMBINE_F64 ? sizeof(double) : sizeof(float)));
    RtRef ref = {place.space, false, place.offset};
    program_combine(l->p, l->entry,
                    (RtCall){.label = arena_strdup(l->p->arena, value->name ? value->name : op_text(value->op)),
                             .refs = &ref,
                             .nrefs = 1,
                             .combine = how,
                             .pieces = 1,
                             .elements = elements,
                             .flops = (double)elements * (double)(l->shards - 1),
                             .bytes = (double)bytes * (double)l->shards,
                             .until = l->until});
    place.shared = true;
    return place;
}

void lowering_error(Lowering *l, Val v, const char *format, ...) {
    Span none = {0};
    va_list args;
    va_start(args, format);
    diag_vreport(l->p->diag, SEV_ERROR, v == NO_VAL ? none : l->g->value[v].span, format, args);
    va_end(args);
    l->p->failed = true;
}
