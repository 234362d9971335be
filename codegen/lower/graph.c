/* A graph becomes calls: how its convolutions are computed is chosen, every value that somebody reads gets a place, and each is
 * handed to its op's emitter. */
#include "codegen/conv/choose.h"
#include "codegen/lower/lower.h"
#include "codegen/lower/needed.h"
#include "codegen/lower/places.h"
#include "codegen/ops/ops.h"
#include "codegen/program/shards.h"

/* NULL: `lower` has taken it away. An op without an emitter does not link. */
#define EMITTER_SOURCE(ID) NULL
#define EMITTER_NET(ID) lower_##ID
#define EMITTER_BACKWARD(ID) lower_##ID
#define EMITTER_FUSED(ID) lower_##ID
static void (*const emitters[OP_COUNT])(Lowering *l, Val v) = {
#define OP(ID, text, lo, hi, attr, tier, results, type, grad) [OP_##ID] = EMITTER_##tier(ID),
#include "ir/ops.def"
#undef OP
};

/* Others have made these. */
void lower_PARAM(Lowering *l, Val v) { (void)l, (void)v; }
void lower_STATE(Lowering *l, Val v) { (void)l, (void)v; }
void lower_CONSTANT(Lowering *l, Val v) { (void)l, (void)v; }
void lower_RESULT(Lowering *l, Val v) { (void)l, (void)v; }

static bool anybody_reads(const Lowering *l, Val v) {
    for (uint32_t i = 0; i < value_results(l->g, v); i++)
        if (lowering_result_place(l, v, i).space != RT_SPACE_COUNT) return true;
    return false;
}

/* Calls from here on belong to convolution v, or to none. */
static void enter_convolution(Lowering *l, Val v) {
    const ConvSite *site = l->site[v];
    const ChoiceEntry *entry = site ? choices_find(l->p->choices, choice_cpu(l->p->arena, l->p->target), site->key) : NULL;
    l->p->choice = entry ? (uint32_t)(entry - l->p->choices->entry) : NO_CHOICE;
}

/* Sites and plans are of no use once all is lowered: they have an arena of their own. */
static void choose(Lowering *l, Arena *arena) {
    ProgramBuilder *p = l->p;
    ConvSites convs;
    p->failed |= !choose_convolutions(arena, p->target, p->options, l->g, p->diag, &convs);
    l->site = ARENA_ARRAY(arena, const ConvSite *, l->g->count);
    for (uint32_t i = 0; i < convs.count; i++) {
        const ConvSite *site = &convs.site[i];
        l->site[site->value] = site;
        choices_put(p->choices, choice_cpu(arena, p->target), site->key, &site->choice, 0);
    }
}

/* ---- shards ---- */

/* Cuts the graph, and says what is each shard's own. */
static void cut(Lowering *l) {
    ProgramBuilder *p = l->p;
    l->shards = l->whole ? 1 : shards_of(l->g, p->options);
    if (l->g->mode == MODE_TRAIN) p->shards = l->shards;
    if (l->shards == 1) return;
    const Graph *one = shards_graph(p->arena, l->g, l->shards);
    if (one)
        l->g = one;
    else
        lowering_error(l, NO_VAL, "a batch of %lld images cannot be cut into %lld equal shards ('train.shards')",
                       (long long)graph_batch(l->g), (long long)l->shards);
    l->per_image = shards_per_image(p->arena, l->g);
}

/* Is v about nothing but what shards have in common? */
static bool is_common(const Lowering *l, Val v) {
    bool common = l->per_image && !l->per_image[v];
    for (uint32_t i = 0; common && i < l->g->value[v].nargs; i++) common = !l->per_image[l->g->value[v].args[i]];
    return common;
}

/* Does a call read v, rather than the optimiser alone? An output that is not made in its place is copied by one. */
static bool is_read(const Lowering *l, Val v) {
    if (l->place[v].space != RT_GRADS) return true;
    for (uint32_t i = 0; i < l->g->noutputs; i++)
        for (uint32_t k = 0; k < i; k++)
            if (l->g->output[i].value == v && l->g->output[k].value == v) return true;
    for (Val r = v + 1; r < l->g->count; r++)
        for (uint32_t i = 0; i < l->g->value[r].nargs; i++)
            if (l->g->value[r].args[i] == v && l->g->value[r].op != OP_RESULT) return true;
    return false;
}

/* Behind v's calls: partial sums are added up, and what is no image's is one value for all from here on. `moments` has combined
 * its sums itself. */
static void share_results(Lowering *l, Val v) {
    if (!l->per_image) return;
    uint64_t bytes = l->g->value[v].type.rank ? places_bytes(l, v) : sizeof(float); /* loss and hits stand side by side */
    if (shards_reduce(l->g, l->per_image, v) && l->g->value[v].op != OP_MOMENTS)
        lowering_combine(l, v, l->place[v], is_read(l, v) ? RT_COMBINE_F32 : RT_COMBINE_LATER, bytes);
    l->place[v].shared = !l->per_image[v];
    for (Val r = l->g->value[v].results; r; r = l->g->value[r].results) l->place[r].shared = !l->per_image[r];
}

static void lower_value(Lowering *l, Val v) {
    const Value *value = &l->g->value[v];
    if (value->op == OP_RESULT || !anybody_reads(l, v)) return;
    enter_convolution(l, v);
    l->p->value = v;
    l->once = is_common(l, v);
    l->until = needed_until(l, v);
    if (!op_is_leaf(value->op) && value->type.rank && value->type.dtype != DT_F32 && value->type.dtype != DT_F64)
        lowering_error(l, v, "only f32 is compiled so far; '%s' is another type", op_text(value->op));
    else if (emitters[value->op])
        emitters[value->op](l, v);
    else
        lowering_error(l, v, "internal: '%s' should have been lowered before code generation", op_text(value->op));
    if (!op_is_leaf(value->op)) share_results(l, v);
}

static void copy_outputs(Lowering *l, const Place *target) {
    for (uint32_t i = 0; i < l->g->noutputs; i++) {
        const Output *out = &l->g->output[i];
        Place from = l->place[out->value];
        Type type = l->g->value[out->value].type;
        l->once = is_common(l, out->value);
        l->until = needed_until_output(l, out);
        if (out->kind == OUT_LOGITS && !l->whole)
            lower_unpad_rows(l, "logits", from, (Place){RT_LOGITS, 0, false, (uint64_t)type_elements(type) * sizeof(float)},
                             type);
        else if (target[i].space != RT_SPACE_COUNT && !(from.space == target[i].space && from.offset == target[i].offset))
            lower_copy(l, out->name ? out->name : "output",
                       (Place){.space = from.space, .offset = from.offset, .bytes = from.bytes, .shared = from.shared}, target[i],
                       type.rank ? places_bytes(l, out->value) : sizeof(float));
    }
}

bool lower_memory(ProgramBuilder *p, const Graph *g, Arena *arena, StepMemory *memory) {
    CallList once = {0};
    Lowering l = {.p = p, .g = g, .prepare = g->mode == MODE_INFER ? &once : NULL};
    Arena *chosen = arena_new();
    cut(&l);
    choose(&l, chosen);
    bool placed = !p->failed && places_find(&l, ARENA_ARRAY(p->arena, Place, g->noutputs));
    if (placed) places_list(&l, arena, memory);
    arena_free(chosen);
    return placed;
}

static void lower_values(Lowering *l, const Place *target) {
    for (Val v = 0; v < l->g->count && !l->p->failed; v++) {
        CallList *dynamic = l->entry;
        if (l->prepare && l->fixed[v]) l->entry = l->prepare;
        lower_value(l, v);
        l->entry = dynamic;
    }
    l->p->choice = NO_CHOICE;
    l->p->value = NO_VAL;
    if (!l->p->failed) copy_outputs(l, target);
}

void lower_graph(ProgramBuilder *p, const Graph *g, CallList *dynamic, CallList *prepare, Place *output_place) {
    Lowering l = {.p = p, .g = g, .entry = dynamic, .prepare = prepare, .whole = output_place != NULL};
    Place *target = output_place ? output_place : ARENA_ARRAY(p->arena, Place, g->noutputs);
    Arena *arena = arena_new();
    cut(&l);
    choose(&l, arena);
    if (!p->failed) needed_find(&l);
    if (!p->failed && places_find(&l, target)) lower_values(&l, target);
    arena_free(arena);
}
