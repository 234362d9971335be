/* The tables of a Program in the making: kernels deduplicated by structural key, calls, tensors with their offsets and
 * initial values, constants. */
#include "codegen/program/program.h"
#include "codegen/emit/bounds.h"
#include "codegen/program/key.h"
#include "ir/pattern.h"
#include "runtime/cpu.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)MAX_WHITENED == (int)RT_MAX_WHITENED, "what the language accepts the runtime can do");

/* Whether code for the target may have AMX's tiles, which only bf16 is multiplied by: its CPU has them, and if the code is to run
 * here, so does the system. */
static bool may_have_amx(const Target *t, const CodegenOptions *options) {
    char missing[32];
    bool here = !options->target || !options->cpu || !strcmp(options->cpu, "native");
    return t->map_bytes == 2 && t->bf16 && target_has_amx(t) && !(here && rt_cpu_lacks(TARGET_AMX, missing, sizeof missing));
}

void target_set_options(Target *target, const CodegenOptions *options) {
    target->map_bytes = options->precision == PRECISION_BF16 ? 2 : sizeof(float);
    target->amx = may_have_amx(target, options);
    if (options->last_cache) target->last_cache = target->kept = options->last_cache;
    if (options->shards > 1) target->last_cache /= options->shards; /* they go through a call together */
}

bool program_open(ProgramBuilder *p, const Target *target, const CodegenOptions *options, const char *name, Diag *diag) {
    *p = (ProgramBuilder){.arena = arena_new(), .target = target, .options = options, .diag = diag};
    p->choice = NO_CHOICE;
    p->value = NO_VAL;
    p->emitter = emitter_open(target, name);
    if (p->emitter) {
        p->emitter->openblas = options->openblas;
        p->emitter->check_bounds = options->check_bounds;
        p->choices = choices_new();
        return true;
    }
    arena_free(p->arena);
    return false;
}

void program_close(ProgramBuilder *p) {
    for (int b = 0; b < KERNEL_BUCKETS; b++)
        for (Kernel *k = p->bucket[b]; k; k = k->next) {
            if (k->bitcode) LLVMDisposeMemoryBuffer(k->bitcode);
            if (k->object) LLVMDisposeMemoryBuffer(k->object);
        }
    emitter_close(p->emitter);
    choices_free(p->choices);
    arena_free(p->arena);
    *p = (ProgramBuilder){0};
}

/* ---- tensors ---- */

RtLayout program_layout(LayoutKind kind, Type type) {
    switch (kind) {
    case LAYOUT_FILTERS: return RT_LAYOUT_FILTERS;
    case LAYOUT_ROWS: return RT_LAYOUT_ROWS;
    case LAYOUT_VECTOR: return type.rank ? RT_LAYOUT_VECTOR : RT_LAYOUT_DENSE;
    case LAYOUT_FEATURE:
    case LAYOUT_IMAGES:
    case LAYOUT_LABELS: break;
    }
    return RT_LAYOUT_DENSE;
}

const RtTensor *program_find_tensor(const TensorList *list, const char *name) {
    for (uint32_t i = 0; i < list->count; i++)
        if (!strcmp(list->tensor[i].name, name)) return &list->tensor[i];
    return NULL;
}

/* The initialisers of the language as a distribution with numbers (fans as PyTorch counts them). */
static void reduce_init(RtTensor *t, Init init, Type type) {
    double area = type.rank == 4 ? (double)(type.dim[2] * type.dim[3]) : 1;
    double fan_out = type.rank ? (double)type.dim[0] * area : 1;
    double fan_in = type.rank >= 2 ? (double)type.dim[1] * area : fan_out;
    switch (init.kind) {
    case INIT_CONSTANT:
        t->init = RT_INIT_CONSTANT;
        t->init_value = init.value;
        break;
    case INIT_UNIFORM:
        t->init = RT_INIT_UNIFORM;
        t->init_value = init.value;
        break;
    case INIT_HE_NORMAL:
        t->init = RT_INIT_NORMAL;
        t->init_value = sqrt(2 / (init.value == 1 ? fan_out : fan_in));
        break;
    case INIT_XAVIER_UNIFORM:
        t->init = RT_INIT_UNIFORM;
        t->init_value = sqrt(6 / (fan_in + fan_out));
        break;
    case INIT_DIRAC: t->init = RT_INIT_DIRAC; break;
    case INIT_WHITEN:
        t->init = RT_INIT_WHITEN;
        t->init_value = init.value;
        break;
    }
}

/* How the recipe has this parameter updated. */
static void read_groups(RtTensor *t, const RtRecipe *recipe) {
    t->lr_factor = t->decay_factor = 1;
    for (uint32_t i = 0; recipe && i < recipe->ngroups; i++) {
        const RtGroup *group = &recipe->group[i];
        if (!pattern_matches(group->pattern, t->name)) continue;
        t->lr_factor = group->lr;
        t->decay_factor = group->weight_decay;
        t->until = group->frozen ? -1 : group->frozen_from;
        return;
    }
}

static bool updated_alike(const RtTensor *a, const RtTensor *b) {
    return a->decay == b->decay && a->lr_factor == b->lr_factor && a->decay_factor == b->decay_factor && a->until == b->until;
}

static void add_tensor(ProgramBuilder *p, TensorList *list, const Graph *g, Val v) {
    const Value *value = &g->value[v];
    if (program_find_tensor(list, value->attrs.param.name)) return;
    ARENA_GROW(p->arena, list->tensor, list->count, &list->capacity);
    RtTensor *t = &list->tensor[list->count++];
    LayoutKind kind = layout_of(g, v);
    *t = (RtTensor){.name = arena_strdup(p->arena, value->attrs.param.name), .rank = (uint32_t)value->type.rank};
    t->position = (uint32_t)value->attrs.param.position;
    memcpy(t->dim, value->type.dim, sizeof t->dim);
    t->layout = program_layout(kind, value->type);
    t->bytes = layout_bytes(p->target, kind, value->type);
    t->decay = value->attrs.param.decay || (p->recipe && p->recipe->optimizer.decay_bn);
    read_groups(t, p->recipe);
    if (value->attrs.param.frozen) t->until = -1;
    reduce_init(t, value->attrs.param.init, value->type);
}

void program_add_tensors(ProgramBuilder *p, const Graph *g) {
    for (Val v = 0; v < g->count; v++) {
        if (g->value[v].op == OP_PARAM) add_tensor(p, &p->params, g, v);
        if (g->value[v].op == OP_STATE) add_tensor(p, &p->state, g, v);
    }
}

void program_add_leaves(ProgramBuilder *p, const Graph *g) {
    for (Val v = 0; v < g->count; v++) {
        Op op = g->value[v].op;
        if (op == OP_INPUT || op == OP_PARAM || op == OP_STATE) add_tensor(p, &p->params, g, v);
    }
}

static int by_position(const void *a, const void *b) {
    const RtTensor *l = a, *r = b;
    if (l->position != r->position) return l->position < r->position ? -1 : 1;
    return strcmp(l->name, r->name);
}

/* As the source has them: passes leave values in another order, and must not be seen in checkpoints. */
static void order_tensors(TensorList *list) {
    if (list->count) qsort(list->tensor, list->count, sizeof *list->tensor, by_position);
}

/* The tensors that are updated as the first one not placed yet: one range of the block. */
static void place_alike(ProgramBuilder *p, bool *placed, uint32_t first) {
    UpdateRange range = {.begin = p->params.bytes, .like = p->params.tensor[first]};
    for (uint32_t i = first; i < p->params.count; i++) {
        RtTensor *t = &p->params.tensor[i];
        if (placed[i] || !updated_alike(t, &range.like)) continue;
        placed[i] = true;
        t->offset = p->params.bytes;
        p->params.bytes += t->bytes;
    }
    range.end = p->params.bytes;
    ARENA_GROW(p->arena, p->update, p->nupdates, &p->update_capacity);
    p->update[p->nupdates++] = range;
}

void program_place_tensors(ProgramBuilder *p) {
    order_tensors(&p->params);
    order_tensors(&p->state);
    p->params.bytes = p->state.bytes = 0;
    p->nupdates = 0;
    bool *placed = arena_array(p->arena, (size_t)p->params.count + 1, sizeof *placed);
    for (int decay = 1; decay >= 0; decay--)
        for (uint32_t i = 0; i < p->params.count; i++)
            if (!placed[i] && p->params.tensor[i].decay == (bool)decay) place_alike(p, placed, i);
    for (uint32_t i = 0; i < p->state.count; i++) {
        p->state.tensor[i].offset = p->state.bytes;
        p->state.bytes += p->state.tensor[i].bytes;
    }
}

Place program_constant(ProgramBuilder *p, double value) {
    float number = (float)value;
    for (uint32_t i = 0; i < p->nconstants; i++)
        if (!memcmp(&p->constant[i * LINE_FLOATS], &number, sizeof number))
            return (Place){RT_CONSTANT, (uint64_t)i * RT_ALIGN, false, RT_ALIGN};
    p->constant = arena_grow(p->arena, p->constant, p->nconstants, &p->constant_capacity, RT_ALIGN);
    for (uint32_t k = 0; k < LINE_FLOATS; k++) p->constant[p->nconstants * LINE_FLOATS + k] = number;
    return (Place){RT_CONSTANT, (uint64_t)p->nconstants++ * RT_ALIGN, false, RT_ALIGN};
}

/* ---- kernels and calls ---- */

Kernel **program_kernels(ProgramBuilder *p) {
    Kernel **list = arena_array(p->arena, (size_t)p->nkernels + 1, sizeof(Kernel *));
    for (int b = 0; b < KERNEL_BUCKETS; b++)
        for (Kernel *k = p->bucket[b]; k; k = k->next) list[k->index] = k;
    return list;
}

static bool name_is_taken(const ProgramBuilder *p, const char *name) {
    for (int b = 0; b < KERNEL_BUCKETS; b++)
        for (const Kernel *k = p->bucket[b]; k; k = k->next)
            if (k->name && !strcmp(k->name, name)) return true;
    return false;
}

/* What the code of a kernel follows from, besides its key. */
static char *decides(ProgramBuilder *p, const char *key) {
    if (!p->build) {
        char build[CACHE_BUILD];
        unsigned major, minor, patch;
        kernel_cache_build(build);
        LLVMGetVersion(&major, &minor, &patch);
        p->build = arena_printf(p->arena, "%s LLVM %u.%u.%u", build, major, minor, patch);
        p->caches = p->options->cache && *build;
    }
    const Target *t = p->target;
    return arena_printf(p->arena, "%s\n%s %s %s\n%d %d%s\n%s", p->build, t->triple, t->cpu, t->features, t->map_bytes,
                        p->options->openblas, p->options->check_bounds ? " checked" : "", key);
}

/* A finished kernel from the cache. */
static bool find_cached(ProgramBuilder *p, Kernel *k) {
    CachedKernel cached;
    if (!p->caches || !kernel_cache_read(p->options->cache, k->cache_name, &cached)) return false;
    k->object = target_buffer(LLVMCreateMemoryBufferWithMemoryRangeCopy(cached.object, cached.size, k->name));
    free(cached.object);
    k->gemm = (GemmUse)cached.gemm;
    p->ncached++;
    if (cached.scratch_bytes > p->scratch_bytes) p->scratch_bytes = cached.scratch_bytes;
    return true;
}

bool program_kernel(ProgramBuilder *p, RtKind kind, const char *base, const char *key, uint32_t nbuffers, Kernel **kernel) {
    char *full = arena_printf(p->arena, "%s/%u/%s", base, nbuffers, key);
    uint64_t hash = key_hash(full);
    p->nrequested++;
    Kernel **bucket = &p->bucket[hash % KERNEL_BUCKETS];
    for (Kernel *k = *bucket; k; k = k->next) {
        if (strcmp(k->key, full)) continue;
        *kernel = k;
        return false;
    }
    Kernel *k = ARENA_NEW(p->arena, Kernel);
    char *name = arena_printf(p->arena, "%s_%08x", base, (unsigned)(hash >> 32));
    while (name_is_taken(p, name)) name = arena_printf(p->arena, "%s_", name);
    *k = (Kernel){
        .next = *bucket, .key = full, .name = name, .symbol = name, .nbuffers = nbuffers, .index = p->nkernels++, .kind = kind};
    *bucket = *kernel = k;
    if (p->separate) {
        kernel_cache_name(decides(p, full), k->cache_name);
        k->symbol = arena_printf(p->arena, "netc_%s", k->cache_name);
        if (find_cached(p, k)) return false;
    }
    k->bf16 = ARENA_ARRAY(p->arena, bool, nbuffers);
    p->open = k;
    p->emitter->gemm = GEMM_NONE;
    emitter_begin_kernel(p->emitter, k->symbol, nbuffers);
    return true;
}

void program_kernel_end(ProgramBuilder *p, uint64_t scratch_bytes) {
    Kernel *k = p->open;
    if (p->emitter->check_bounds) emit_bounds_checks(p->emitter, k->name, scratch_bytes);
    emitter_end_kernel(p->emitter);
    if (scratch_bytes > p->scratch_bytes) p->scratch_bytes = scratch_bytes;
    k->scratch_bytes = scratch_bytes;
    k->gemm = p->emitter->gemm;
    if (p->separate) k->bitcode = emitter_take_bitcode(p->emitter);
}

static void add_call(ProgramBuilder *p, CallList *list, Kernel *kernel, RtCall call) {
    ARENA_GROW(p->arena, list->call, list->count, &list->capacity);
    RtRef *refs = ARENA_ARRAY(p->arena, RtRef, call.nrefs);
    for (uint32_t i = 0; i < call.nrefs; i++) {
        refs[i].space = call.refs[i].space;
        refs[i].shared = call.refs[i].shared;
        refs[i].offset = call.refs[i].offset;
    }
    call.refs = refs;
    list->call[list->count++] = (Call){kernel, call, p->choice, p->value};
}

void program_call(ProgramBuilder *p, CallList *list, Kernel *kernel, RtCall call) {
    uint32_t expected = kernel->nbuffers * (p->options->check_bounds ? 2 : 1);
    if (call.nrefs != expected || call.pieces < 1) abort(); /* an emitter broke its own kernel's contract */
    call.name = kernel->name;
    call.kind = kernel->kind;
    add_call(p, list, kernel, call);
}

void program_combine(ProgramBuilder *p, CallList *list, RtCall call) {
    call.name = "sum_shards";
    call.kind = RT_KIND_REDUCTION;
    add_call(p, list, NULL, call);
}
