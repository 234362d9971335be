/* A graph becomes calls: every value that somebody reads gets a place and is handed to its op's emitter.
 *
 * Places. Parameters, states, labels and constants have their own blocks. A value that is an output is made directly where
 * the output belongs (gradients in RT_GRADS, running statistics in RT_STATE, loss in RT_METRICS), unless that is unsafe or
 * taken: then it is copied there at the end. In inference, what depends on parameters and states alone goes to RT_FOLDED, made
 * by prepare_eval. All else lives in the arena at planned offsets. */
#include "codegen/conv/choose.h"
#include "codegen/program/key.h"
#include "codegen/program/lowering.h"
#include "passes/passes.h"
#include <stdlib.h>
#include <string.h>

struct Lowering {
    ProgramBuilder *p;
    const Graph *g;
    CallList *entry;       /* where calls go */
    CallList *prepare;     /* where calls go that need to be made once; NULL */
    CallList *interrupted; /* the entry to return to */
    Place *place;          /* by value id; RT_SPACE_COUNT: none */
    uint64_t *workspace;   /* arena offsets by value id */
    bool *read;            /* by value id: does anybody read this very result? */
    bool *fixed;           /* by value id: depends on parameters and states alone */
    Val *partner;          /* of a convolution's backward data and weights that share a kernel: each other; NO_VAL */
    ConvSites convs;
    uint64_t filter_bytes; /* of weight-shaped intermediates, which stand behind the planned arena */
    bool whole;            /* codegen_run_graph */
};

static const Place nowhere = {RT_SPACE_COUNT, 0, false, 0};

static uint64_t plan_workspace(void *context, const Graph *g, Val v);

/* ---- what emitters ask ---- */

ProgramBuilder *lowering_program(Lowering *l) { return l->p; }
Emitter *lowering_emitter(Lowering *l) { return l->p->emitter; }
const Graph *lowering_graph(const Lowering *l) { return l->g; }
const Target *lowering_target(const Lowering *l) { return l->p->target; }
const ConvChoice *lowering_choice(const Lowering *l, Val v) { return &conv_sites_find(&l->convs, v)->choice; }
Place lowering_place(const Lowering *l, Val v) { return l->place[v]; }
Place lowering_workspace(const Lowering *l, Val v) {
    bool checked = l->p->options->check_bounds; /* nobody else asks how large it is */
    return (Place){RT_ARENA, l->workspace[v], false, checked ? plan_workspace((void *)(uintptr_t)l, l->g, v) : 0};
}
bool lowering_is_fixed(const Lowering *l, Val v) { return l->prepare && l->fixed[v]; }

Place lowering_make_once(Lowering *l, Val v, uint64_t bytes, Place otherwise) {
    l->interrupted = l->entry;
    otherwise.bytes = bytes;
    if (!lowering_is_fixed(l, v)) return otherwise;
    l->entry = l->prepare;
    Place place = {RT_FOLDED, l->p->folded_bytes, false, bytes};
    l->p->folded_bytes += (bytes + RT_ALIGN - 1) / RT_ALIGN * RT_ALIGN;
    return place;
}

void lowering_resume(Lowering *l) { l->entry = l->interrupted; }

static Val result_value(const Graph *g, Val v, uint32_t result) {
    if (result == 0) return v;
    for (Val r = g->value[v].results; r; r = g->value[r].results)
        if (g->value[r].attrs.index == (int64_t)result) return r;
    return NO_VAL;
}

Place lowering_result_place(const Lowering *l, Val v, uint32_t result) {
    Val r = result_value(l->g, v, result);
    return r != NO_VAL && l->read[r] ? l->place[r] : nowhere;
}

char *value_key(Lowering *l, Val v) {
    uint32_t n = value_results(l->g, v);
    bool *wanted = ARENA_ARRAY(l->p->arena, bool, n);
    for (uint32_t i = 0; i < n; i++) wanted[i] = lowering_result_place(l, v, i).space != RT_SPACE_COUNT;
    return key_of_value(l->p->arena, l->g, v, wanted);
}

bool kernel_begin(Lowering *l, const char *base, const char *key, uint32_t nbuffers, Kernel **kernel) {
    return program_kernel(l->p, base, key, nbuffers, kernel);
}
void kernel_elements(Lowering *l, uint32_t first, const Place *places, uint32_t nplaces) {
    for (uint32_t i = 0; i < nplaces; i++) {
        if (!places[i].bf16) continue;
        l->p->open->bf16[first + i] = true;
        emit_declare_bf16(l->p->emitter, emit_buffer(l->p->emitter, first + i));
    }
}

void kernel_end(Lowering *l, uint64_t scratch_bytes) { program_kernel_end(l->p, scratch_bytes); }

void kernel_call_named(Lowering *l, Kernel *kernel, const char *label, const Place *places, uint32_t nplaces, int64_t pieces,
                       double flops, double bytes) {
    RtRef *refs = ARENA_ARRAY(l->p->arena, RtRef, 2 * nplaces);
    for (uint32_t i = 0; i < nplaces; i++) {
        if (kernel->bf16 && places[i].bf16 != kernel->bf16[i]) abort(); /* an emitter forgot kernel_elements */
        refs[i] = (RtRef){places[i].space, places[i].offset};
        refs[nplaces + i] = (RtRef){places[i].space, places[i].offset + places[i].bytes};
    }
    program_call(l->p, l->entry, kernel,
                 (RtCall){.label = arena_strdup(l->p->arena, label),
                          .refs = refs,
                          .nrefs = l->p->options->check_bounds ? 2 * nplaces : nplaces,
                          .pieces = pieces,
                          .flops = flops,
                          .bytes = bytes});
}

void kernel_call(Lowering *l, Kernel *kernel, Val v, const Place *places, uint32_t nplaces, int64_t pieces, double flops,
                 double bytes) {
    const Value *value = &l->g->value[v];
    kernel_call_named(l, kernel, value->name ? value->name : op_text(value->op), places, nplaces, pieces, flops, bytes);
}

void lowering_error(Lowering *l, Val v, const char *format, ...) {
    Span none = {0};
    va_list args;
    va_start(args, format);
    diag_vreport(l->p->diag, SEV_ERROR, v == NO_VAL ? none : l->g->value[v].span, format, args);
    va_end(args);
    l->p->failed = true;
}

/* ---- analysis ---- */

static bool is_leaf(Op op) { return op == OP_INPUT || op == OP_PARAM || op == OP_STATE || op == OP_CONSTANT; }

static void find_fixed(Lowering *l) {
    for (Val v = 0; v < l->g->count; v++) {
        const Value *value = &l->g->value[v];
        l->fixed[v] = value->op != OP_INPUT && value->op != OP_DROPOUT_MASK;
        for (uint32_t i = 0; i < value->nargs; i++) l->fixed[v] &= l->fixed[value->args[i]];
    }
}

/* Backward data and weights that are lowered together; the dY between them then is mostly nobody's to read. */
static void find_partners(Lowering *l) {
    for (Val v = 0; v < l->g->count; v++) l->partner[v] = NO_VAL;
    for (uint32_t i = 0; i < l->convs.count; i++) {
        const ConvSite *site = &l->convs.site[i];
        if (!site->choice.sweep) continue;
        l->partner[site->value] = site->partner;
        if (l->g->value[site->value].op == OP_CONV2D_BWD_WEIGHTS)
            l->read[l->g->value[site->value].args[1]] = conv_backward_keeps_dy(l->g, site->value);
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

static uint64_t value_bytes(const Lowering *l, Val v) {
    return layout_bytes(l->p->target, layout_of(l->g, v), l->g->value[v].type);
}

static void place_leaf(Lowering *l, Val v) {
    const Value *value = &l->g->value[v];
    if (value->op == OP_CONSTANT) {
        l->place[v] = program_constant(l->p, value->attrs.constant);
    } else if (l->whole || value->op != OP_INPUT) {
        const TensorList *list = value->op == OP_STATE && !l->whole ? &l->p->state : &l->p->params;
        const RtTensor *t = program_find_tensor(list, value->attrs.param.name);
        l->place[v] = (Place){list == &l->p->state ? RT_STATE : RT_PARAMS, t->offset, false, t->bytes};
    } else if (value->type.dtype == DT_I32) {
        l->place[v] = (Place){RT_LABELS, 0, false, (uint64_t)type_elements(value->type) * sizeof(int32_t)};
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
    if (is_leaf(l->g->value[source].op) || l->place[out->value].space != RT_SPACE_COUNT) return false;
    if (out->kind != OUT_STATE || l->whole) return true;
    Val last = last_reader(l->g, out->name);
    return last < source || (last == source && l->g->value[source].op == OP_MAP);
}

static bool same_place(Place a, Place b) { return a.space == b.space && a.offset == b.offset; }

static void place_outputs(Lowering *l, Place *target) {
    for (uint32_t i = 0; i < l->g->noutputs; i++) {
        const Output *out = &l->g->output[i];
        if (l->whole) {
            target[i] = (Place){RT_FOLDED, l->p->folded_bytes, false, value_bytes(l, out->value)};
            l->p->folded_bytes += value_bytes(l, out->value);
        } else {
            target[i] = output_target(l, out);
        }
        if (target[i].space != RT_SPACE_COUNT && may_place_directly(l, out)) l->place[out->value] = target[i];
    }
}

static void place_fixed(Lowering *l) {
    for (Val v = 0; v < l->g->count; v++) {
        if (!l->fixed[v] || !l->read[v] || l->place[v].space != RT_SPACE_COUNT) continue;
        l->place[v] = (Place){RT_FOLDED, l->p->folded_bytes, false, value_bytes(l, v)};
        l->p->folded_bytes += value_bytes(l, v);
    }
}

static uint64_t plan_bytes(void *context, Type type) {
    const Lowering *l = context;
    LayoutKind kind = type.dtype != DT_F32 ? LAYOUT_LABELS
                      : type.rank == 4     ? LAYOUT_FEATURE
                      : type.rank >= 2     ? LAYOUT_ROWS
                                           : LAYOUT_VECTOR;
    return layout_bytes(l->p->target, kind, type);
}

static uint64_t plan_workspace(void *context, const Graph *g, Val v) {
    const Lowering *l = context;
    Op op = g->value[v].op;
    if (l->partner[v] != NO_VAL && op == OP_CONV2D_BWD_WEIGHTS) return 0;
    if (l->partner[v] != NO_VAL) return conv_backward_workspace(l->p->target, lowering_choice(l, v), g, v, l->partner[v]);
    if (op != OP_CONV2D && op != OP_CONV2D_BWD_DATA && op != OP_CONV2D_BWD_WEIGHTS) return 0;
    bool fixed_filters = op == OP_CONV2D && lowering_is_fixed(l, g->value[v].args[1]);
    return workspace_conv(l->p->target, lowering_choice(l, v), g, v, fixed_filters);
}

static bool plan_external(void *context, const Graph *g, Val v, uint32_t result) {
    const Lowering *l = context;
    Val r = g->value[v].op == OP_RESULT ? v : result_value(g, v, result);
    return r == NO_VAL || !l->read[r] || l->place[r].space != RT_SPACE_COUNT;
}

/* The plan knows types only, and a rank-4 type does not tell filters from feature maps; so filters stay outside of it. */
static void place_filters(Lowering *l) {
    for (Val v = 0; v < l->g->count; v++) {
        if (!l->read[v] || l->place[v].space != RT_SPACE_COUNT || layout_of(l->g, v) != LAYOUT_FILTERS) continue;
        l->place[v] = (Place){RT_ARENA, l->filter_bytes, false, value_bytes(l, v)};
        l->filter_bytes += value_bytes(l, v);
    }
}

static void place_in_arena(Lowering *l) {
    place_filters(l);
    PlanTarget target = {l, plan_bytes, plan_workspace, plan_external};
    Plan plan = plan_memory(l->g, &target);
    for (Val v = 0; v < l->g->count; v++) {
        l->workspace[v] = plan.workspace[v] == PLAN_NONE ? 0 : l->filter_bytes + plan.workspace[v];
        if (l->place[v].space != RT_SPACE_COUNT || !l->read[v]) continue;
        if (plan.offset[v] == PLAN_NONE) lowering_error(l, v, "internal: the memory plan has no room for %%%u", v);
        l->place[v] = (Place){RT_ARENA, l->filter_bytes + plan.offset[v], false, value_bytes(l, v)};
    }
    if (l->filter_bytes + plan.bytes > l->p->arena_bytes) l->p->arena_bytes = l->filter_bytes + plan.bytes;
    plan_free(&plan);
}

static void find_elements(Lowering *l) {
    for (Val v = 0; v < l->g->count && l->p->target->map_bytes == 2; v++)
        l->place[v].bf16 = l->place[v].space != RT_SPACE_COUNT && layout_of(l->g, v) == LAYOUT_FEATURE;
}

/* ---- calls ---- */

static const LowerFunction emitters[OP_COUNT] = {
    [OP_CONV2D] = lower_conv2d,
    [OP_CONV2D_BWD_DATA] = lower_conv2d_bwd_data,
    [OP_CONV2D_BWD_WEIGHTS] = lower_conv2d_bwd_weights,
    [OP_DENSE] = lower_dense,
    [OP_DENSE_BWD_DATA] = lower_dense_bwd_data,
    [OP_DENSE_BWD_WEIGHTS] = lower_dense_bwd_weights,
    [OP_MAP] = lower_map,
    [OP_IMAGE_SUM] = lower_image_sum,
    [OP_BATCH_SUM] = lower_batch_sum,
    [OP_CHANNEL_SUM] = lower_channel_sum,
    [OP_MOMENTS] = lower_moments,
    [OP_SOFTMAX] = lower_softmax,
    [OP_SOFTMAX_BWD] = lower_softmax_bwd,
    [OP_CROSS_ENTROPY] = lower_cross_entropy,
    [OP_CROSS_ENTROPY_BWD] = lower_cross_entropy_bwd,
    [OP_CORRECT] = lower_correct,
    [OP_MAX_POOL] = lower_max_pool,
    [OP_MAX_POOL_BWD] = lower_max_pool_bwd,
    [OP_AVG_POOL] = lower_avg_pool,
    [OP_AVG_POOL_BWD] = lower_avg_pool_bwd,
    [OP_CONCAT] = lower_concat,
    [OP_SLICE_CHANNELS] = lower_slice_channels,
    [OP_PAD_CHANNELS] = lower_pad_channels,
    [OP_PAD_CHANNELS_BWD] = lower_pad_channels_bwd,
    [OP_FLATTEN] = lower_flatten,
    [OP_UNFLATTEN] = lower_unflatten,
    [OP_DROPOUT_MASK] = lower_dropout_mask,
    [OP_SCALE_FILTERS] = lower_scale_filters,
};

static bool anybody_reads(const Lowering *l, Val v) {
    for (uint32_t i = 0; i < value_results(l->g, v); i++)
        if (lowering_result_place(l, v, i).space != RT_SPACE_COUNT) return true;
    return false;
}

/* Calls from here on belong to convolution v, or to none. */
static void enter_convolution(Lowering *l, Val v) {
    const ConvSite *site = conv_sites_find(&l->convs, v);
    const ChoiceEntry *entry = site ? choices_find(l->p->choices, choice_cpu(l->p->arena, l->p->target), site->key) : NULL;
    l->p->choice = entry ? (uint32_t)(entry - l->p->choices->entry) : NO_CHOICE;
}

static void record_choices(Lowering *l) {
    for (uint32_t i = 0; i < l->convs.count; i++) {
        const ConvSite *site = &l->convs.site[i];
        choices_put(l->p->choices, choice_cpu(l->p->arena, l->p->target), site->key, &site->choice, 0);
    }
}

static void lower_value(Lowering *l, Val v) {
    const Value *value = &l->g->value[v];
    if (value->op == OP_RESULT || !anybody_reads(l, v)) return;
    enter_convolution(l, v);
    if (value->op == OP_INPUT && l->place[v].space == RT_ARENA) {
        lower_pack_images(l, v);
    } else if (!is_leaf(value->op)) {
        if (value->type.rank && value->type.dtype != DT_F32)
            lowering_error(l, v, "only f32 is compiled so far; '%s' is another type", op_text(value->op));
        else if (l->partner[v] != NO_VAL && value->op == OP_CONV2D_BWD_DATA)
            lower_conv2d_backward(l, v, l->partner[v]);
        else if (l->partner[v] == NO_VAL && emitters[value->op])
            emitters[value->op](l, v);
        else if (l->partner[v] == NO_VAL)
            lowering_error(l, v, "internal: '%s' should have been lowered before code generation", op_text(value->op));
    }
}

static void copy_outputs(Lowering *l, const Place *target) {
    for (uint32_t i = 0; i < l->g->noutputs; i++) {
        const Output *out = &l->g->output[i];
        Place from = l->place[out->value];
        Type type = l->g->value[out->value].type;
        if (out->kind == OUT_LOGITS && !l->whole)
            lower_unpad_rows(l, "logits", from, (Place){RT_LOGITS, 0, false, (uint64_t)type_elements(type) * sizeof(float)},
                             type);
        else if (target[i].space != RT_SPACE_COUNT && !same_place(from, target[i]))
            lower_copy(l, out->name ? out->name : "output", (Place){from.space, from.offset, false, from.bytes}, target[i],
                       type.rank ? value_bytes(l, out->value) : sizeof(float));
    }
}

/* Everything up to the calls: algorithms, and a place for each value; outputs get `target`. False after a diagnostic. Takes what
 * l is initialised with: program, graph, entries. */
static bool place_graph(Lowering *l, Place *target) {
    ProgramBuilder *p = l->p;
    const Graph *g = l->g;
    l->place = ARENA_ARRAY(p->arena, Place, g->count);
    l->workspace = ARENA_ARRAY(p->arena, uint64_t, g->count);
    l->read = graph_reads(p->arena, g);
    l->fixed = ARENA_ARRAY(p->arena, bool, g->count);
    l->partner = ARENA_ARRAY(p->arena, Val, g->count);
    p->failed |= !choose_convolutions(p->arena, p->target, p->options, g, p->diag, &l->convs);
    record_choices(l);
    find_partners(l);
    for (Val v = 0; v < g->count; v++) {
        l->place[v] = nowhere;
        if (is_leaf(g->value[v].op)) place_leaf(l, v);
    }
    if (p->failed) return false;
    place_outputs(l, target);
    if (l->prepare) {
        find_fixed(l);
        place_fixed(l);
    }
    place_in_arena(l);
    find_elements(l);
    return !p->failed;
}

uint64_t lower_arena_bytes(ProgramBuilder *p, const Graph *g) {
    Lowering l = {.p = p, .g = g};
    return place_graph(&l, ARENA_ARRAY(p->arena, Place, g->noutputs)) ? p->arena_bytes : 0;
}

void lower_graph(ProgramBuilder *p, const Graph *g, CallList *dynamic, CallList *prepare, Place *output_place) {
    Lowering l = {.p = p, .g = g, .entry = dynamic, .prepare = prepare, .whole = output_place != NULL};
    Place *target = output_place ? output_place : ARENA_ARRAY(p->arena, Place, g->noutputs);
    if (!place_graph(&l, target)) return;
    for (Val v = 0; v < g->count && !p->failed; v++) {
        l.entry = prepare && l.fixed[v] ? prepare : dynamic;
        lower_value(&l, v);
    }
    l.entry = dynamic;
    p->choice = NO_CHOICE;
    if (!p->failed) copy_outputs(&l, target);
}
