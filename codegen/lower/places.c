/* A place for every value that somebody reads.
 *
 * Parameters, states, labels and constants have their own blocks. A value that is an output is made directly where
 * the output belongs (gradients in RT_GRADS, running statistics in RT_STATE, loss in RT_METRICS), unless that is unsafe or
 * taken: then it is copied there at the end. In inference, what depends on parameters and states alone goes to RT_FOLDED, made
 * by prepare_eval. All else lives in the arena at planned offsets. */
#include "codegen/lower/places.h"
#include "codegen/conv/conv.h"
#include "codegen/conv/shared/method.h"
#include "codegen/conv/shared/sites.h"
#include "codegen/ops/ops.h"
#include "passes/passes.h"
#include <stdlib.h>
#include <string.h>

/* ---- analysis ---- */

static void find_fixed(Lowering *l) {
    for (Val v = 0; v < l->g->count; v++) {
        const Value *value = &l->g->value[v];
        l->fixed[v] = value->op != OP_INPUT && value->op != OP_DROPOUT_MASK && value->op != OP_POSITION;
        for (uint32_t i = 0; i < value->nargs; i++) l->fixed[v] &= l->fixed[value->args[i]];
    }
}

/* The dY between backward data and weights that share a kernel is mostly nobody's to read. */
static void find_reads(Lowering *l) {
    l->read = graph_reads(l->p->arena, l->g);
    for (Val v = 0; v < l->g->count; v++) {
        const ConvSite *site = l->site[v];
        if (site && site->choice.pair && site->problem->direction == CONV_WEIGHTS)
            l->read[l->g->value[v].args[1]] = site->keeps_dy;
    }
}

/* The last value that reads the state named `name`; 0 if none does. */
static Val last_reader(const Graph *g, const char *name) {
    Val last = 0;
    for (Val v = 0; v < g->count; v++)
        for (uint32_t i = 0; i < g->value[v].nargs; i++) {
            const Value *arg = &g->value[g->value[v].args[i]];
            if (arg->op == OP_STATE && !strcmp(arg->attrs.param.name, name)) last = v;
        }
    return last;
}

/* ---- places ---- */

uint64_t places_bytes(const Lowering *l, Val v) { return layout_value_bytes(l->p->target, layout_of(l->g, v), l->g, v); }

static void place_leaf(Lowering *l, Val v) {
    const Value *value = &l->g->value[v];
    if (value->op == OP_CONSTANT) {
        l->place[v] = program_constant(l->p, value->attrs.constant);
    } else if (l->whole || value->op != OP_INPUT) {
        const TensorList *list = value->op == OP_STATE && !l->whole ? &l->p->state : &l->p->params;
        const RtTensor *t = program_find_tensor(list, value->attrs.param.name);
        l->place[v] = (Place){list == &l->p->state ? RT_STATE : RT_PARAMS, t->offset, false, t->bytes};
    } else if (value->type.dtype == DT_I32) {
        uint64_t bytes = (uint64_t)type_elements(value->type) * sizeof(int32_t);
        bool second = !strcmp(value->attrs.param.name, INPUT_LABELS_MIXED);
        l->place[v] = (Place){RT_LABELS, second ? bytes * (uint64_t)l->shards : 0, false, bytes};
    } else if (value->type.rank == 0) {
        l->place[v] = (Place){RT_MIX, 0, false, RT_ALIGN};
    } else if (value->type.rank != 4) {
        lowering_error(l, v, "input '%s' must be images f32[N,C,H,W] or labels i32[N]", value->attrs.param.name);
    } else if (layout_of(l->g, v) == LAYOUT_IMAGES) {
        l->place[v] = (Place){RT_IMAGES, 0, false, (uint64_t)type_elements(value->type) * sizeof(float)};
    }
}

/* Where output i belongs; nowhere if it needs more than a plain copy or has no place in a Program. */
static Place output_target(const Lowering *l, const Output *out) {
    const RtTensor *t;
    switch (out->kind) {
    case OUT_LOGITS: break;
    case OUT_LOSS: return (Place){RT_METRICS, 0, false, sizeof(float)};
    case OUT_CORRECT: return (Place){RT_METRICS, sizeof(float), false, sizeof(float)};
    case OUT_STATE:
        if ((t = program_find_tensor(&l->p->state, out->name))) return (Place){RT_STATE, t->offset, false, t->bytes};
        break;
    case OUT_GRAD:
        if ((t = program_find_tensor(&l->p->params, out->name))) return (Place){RT_GRADS, t->offset, false, t->bytes};
        break;
    }
    return nowhere;
}

/* May the value be made in its output's place at once? A state's new value must not be written while somebody still reads
 * the old one; a map may, at the same element. */
static bool may_place_directly(const Lowering *l, const Output *out) {
    Val source = value_source(l->g, out->value, NULL);
    if (op_is_leaf(l->g->value[source].op) || l->place[out->value].space != RT_SPACE_COUNT) return false;
    if (out->kind != OUT_STATE || l->whole) return true;
    Val last = last_reader(l->g, out->name);
    return last < source || (last == source && l->g->value[source].op == OP_MAP);
}

static void place_outputs(Lowering *l, Place *target) {
    for (uint32_t i = 0; i < l->g->noutputs; i++) {
        const Output *out = &l->g->output[i];
        if (l->whole) {
            target[i] = (Place){RT_FOLDED, l->p->folded_bytes, false, places_bytes(l, out->value)};
            l->p->folded_bytes += places_bytes(l, out->value);
        } else {
            target[i] = output_target(l, out);
        }
        if (target[i].space != RT_SPACE_COUNT && may_place_directly(l, out)) l->place[out->value] = target[i];
    }
}

static void place_fixed(Lowering *l) {
    for (Val v = 0; v < l->g->count; v++) {
        if (!l->fixed[v] || !l->read[v] || l->place[v].space != RT_SPACE_COUNT) continue;
        l->place[v] = (Place){RT_FOLDED, l->p->folded_bytes, false, places_bytes(l, v)};
        l->p->folded_bytes += places_bytes(l, v);
    }
}

static uint64_t plan_bytes(void *context, const Graph *g, Val v) {
    (void)g; /* the lowering's */
    return places_bytes(context, v);
}

static uint64_t plan_workspace(void *context, const Graph *g, Val v) {
    const Lowering *l = context;
    if (g->value[v].op == OP_MOMENTS) return moments_workspace(l, v);
    if (g->value[v].op == OP_DENSE) return dense_workspace(context, v);
    return op_is_convolution(g->value[v].op) ? conv_workspace(context, v) : 0;
}

static bool plan_external(void *context, const Graph *g, Val v, uint32_t result) {
    const Lowering *l = context;
    Val r = g->value[v].op == OP_RESULT ? v : lowering_result_value(g, v, result);
    return r == NO_VAL || !l->read[r] || l->place[r].space != RT_SPACE_COUNT;
}

/* Filters stay outside of the plan, before it. Their bytes. */
static uint64_t place_filters(Lowering *l) {
    uint64_t bytes = 0;
    for (Val v = 0; v < l->g->count; v++) {
        if (!l->read[v] || l->place[v].space != RT_SPACE_COUNT || layout_of(l->g, v) != LAYOUT_FILTERS) continue;
        l->place[v] = (Place){RT_ARENA, bytes, false, places_bytes(l, v)};
        bytes += places_bytes(l, v);
    }
    return bytes;
}

static void place_in_arena(Lowering *l) {
    uint64_t filters = place_filters(l);
    PlanTarget target = {l, plan_bytes, plan_workspace, plan_external};
    Plan plan = plan_memory(l->g, &target);
    for (Val v = 0; v < l->g->count; v++) {
        uint64_t offset = plan.workspace[v] == PLAN_NONE ? 0 : filters + plan.workspace[v];
        l->workspace[v] = (Place){RT_ARENA, offset, false, plan_workspace(l, l->g, v)};
        if (l->place[v].space != RT_SPACE_COUNT || !l->read[v]) continue;
        if (plan.offset[v] == PLAN_NONE) lowering_error(l, v, "internal: the memory plan has no room for %%%u", v);
        l->place[v] = (Place){RT_ARENA, filters + plan.offset[v], false, places_bytes(l, v)};
    }
    if (filters + plan.bytes > l->p->arena_bytes) l->p->arena_bytes = filters + plan.bytes;
    l->p->emitter->past_caches = (int64_t)(filters + plan.bytes) * l->shards > l->p->target->kept;
    l->planned = filters + plan.total;
    plan_free(&plan);
}

static void find_elements(Lowering *l) {
    for (Val v = 0; v < l->g->count && l->p->target->map_bytes == 2; v++)
        l->place[v].bf16 =
            l->place[v].space != RT_SPACE_COUNT && layout_of(l->g, v) == LAYOUT_FEATURE && !value_is_index(l->g, v);
}

bool places_find(Lowering *l, Place *target) {
    Arena *arena = l->p->arena;
    const Graph *g = l->g;
    l->place = ARENA_ARRAY(arena, Place, g->count);
    l->workspace = ARENA_ARRAY(arena, Place, g->count);
    l->fixed = ARENA_ARRAY(arena, bool, g->count);
    find_reads(l);
    for (Val v = 0; v < g->count; v++) {
        l->place[v] = nowhere;
        if (op_is_leaf(g->value[v].op)) place_leaf(l, v);
    }
    if (l->p->failed) return false;
    place_outputs(l, target);
    if (l->prepare) {
        find_fixed(l);
        place_fixed(l);
    }
    place_in_arena(l);
    find_elements(l);
    return !l->p->failed;
}

/* ---- what is where ---- */

static void list_place(StepMemory *m, Place place, StepBuffer buffer) {
    if (place.space != RT_ARENA || !place.bytes) return;
    buffer.offset = place.offset;
    buffer.bytes = align_bytes(place.bytes);
    m->buffer[m->count++] = buffer;
}

void places_list(const Lowering *l, Arena *arena, StepMemory *memory) {
    const Graph *g = l->g;
    Val *last = plan_last_uses(g);
    *memory = (StepMemory){.buffer = ARENA_ARRAY(arena, StepBuffer, 2 * (size_t)g->count),
                           .arena_bytes = l->p->arena_bytes,
                           .total_bytes = l->planned};
    for (Val v = 0; v < g->count; v++) {
        LayoutKind kind = layout_of(g, v);
        bool filters = kind == LAYOUT_FILTERS; /* not planned: they have their place all the time */
        Val first = value_source(g, v, NULL);
        list_place(
            memory, l->place[v],
            (StepBuffer){
                .value = v, .map = kind == LAYOUT_FEATURE, .first = filters ? 0 : first, .last = filters ? g->count : last[v]});
        list_place(memory, l->workspace[v], (StepBuffer){.value = v, .workspace = true, .first = v, .last = v});
    }
    free(last);
}
