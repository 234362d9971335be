/* A Program in memory: its blocks allocated once, so that running an entry is a walk over an array. References are resolved call
 * by call, which costs nothing beside a kernel, since a group of images in inference has its own place in some blocks. */
#include "runtime/machine.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { ENTRIES = 4, HUGE_PAGE = 2 << 20, PAGE = 4096, LINE = 64 };
static const uint64_t max_block = (uint64_t)1 << 39; /* whoever asks for more has computed it wrongly */

struct RtMachine {
    const RtProgram *program;
    RtPool *pool;
    RtSummer summer; /* of shards; without a function: the batch is whole */
    bool lent;       /* RT_GRADS is the summer's */
    void *space[RT_SPACE_COUNT];
    char **scratch;            /* per thread */
    char **arena;              /* RT_ARENA of eval_step: per group, if there are no more than threads, else per thread */
    char ***buffer;            /* per thread: the resolved references of one call */
    RtStepEnv env, *shard_env; /* shard_env: env of each shard of ours */
    char *room;                /* of the caller's memory, what is left; NULL: blocks come from the heap */
};

static const RtEntry *entry_at(const RtProgram *p, int i) {
    const RtEntry *entries[ENTRIES] = {&p->train_step, &p->apply_update, &p->prepare_eval, &p->eval_step};
    return entries[i];
}

static bool in_training(const RtProgram *p, const RtEntry *entry) { return entry == &p->train_step || entry == &p->apply_update; }

void *rt_block(uint64_t bytes) {
    if (bytes > max_block) return NULL;
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : PAGE, size = ((size_t)bytes + align - 1) / align * align;
    void *block = aligned_alloc(align, size ? size : align); /* what is not touched takes no memory */
    if (block && align == HUGE_PAGE) madvise(block, (size_t)bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return block;
}

static uint64_t rounded(uint64_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

static void *take(RtMachine *m, uint64_t bytes) {
    if (!m->room) {
        void *block = rt_block(bytes);
        return block ? memset(block, 0, (size_t)bytes) : NULL;
    }
    char *block = m->room;
    m->room += rounded(bytes);
    return block;
}

/* Bytes of f32 or i32 [a, b, c, d]; UINT64_MAX if that is no size. */
static uint64_t array_bytes(int64_t a, int64_t b, int64_t c, int64_t d) {
    uint64_t bytes = 4, size;
    const int64_t dim[] = {a, b, c, d};
    for (int i = 0; i < 4; i++) {
        if (dim[i] < 0 || __builtin_mul_overflow(bytes, (uint64_t)dim[i], &size)) return UINT64_MAX;
        bytes = size;
    }
    return bytes;
}

/* Images that eval_step takes at once, and how many times that is for `count` images. */
static int64_t group_images(const RtProgram *p) { return p->eval_batch > 0 ? p->eval_batch : p->batch; }
static int64_t group_count(const RtProgram *p, int64_t count) {
    int64_t group = group_images(p);
    return group > 0 ? count / group + (count % group != 0) : 0;
}

uint64_t rt_space_bytes(const RtProgram *p, RtSpace space) {
    switch (space) {
    case RT_ARENA: return p->arena_bytes;
    case RT_PARAMS:
    case RT_GRADS:
    case RT_MOMENT1: return p->params_bytes;
    case RT_MOMENT2: return p->recipe.optimizer.kind == RT_SGD ? 0 : p->params_bytes;
    case RT_STATE: return p->state_bytes;
    case RT_FOLDED: return p->folded_bytes;
    case RT_IMAGES: return array_bytes(group_count(p, p->batch) * group_images(p), p->channels, p->height, p->width);
    case RT_LABELS: return array_bytes(2, p->batch, 1, 1);
    case RT_MIX: return RT_ALIGN;
    case RT_LOGITS: return array_bytes(group_count(p, p->batch) * group_images(p), p->classes, 1, 1);
    case RT_METRICS: return array_bytes(2, 1, 1, 1);
    case RT_CONSTANT: return p->constant_bytes;
    case RT_SPACE_COUNT: break;
    }
    return 0;
}

/* Of a space of which each shard has its own, bytes from one to the next; images, labels and scores stand in it by their place in
 * the batch, whoever has them. 0: all have it in common. */
static uint64_t shard_stride(const RtProgram *p, RtSpace space) {
    int64_t images = p->batch / rt_shards(p);
    switch (space) {
    case RT_ARENA:
    case RT_GRADS:
    case RT_METRICS: return rounded(rt_space_bytes(p, space));
    case RT_IMAGES: return array_bytes(images, p->channels, p->height, p->width);
    case RT_LABELS: return array_bytes(images, 1, 1, 1);
    case RT_LOGITS: return array_bytes(images, p->classes, 1, 1);
    default: return 0;
    }
}

/* What is allocated for a space: none for what only training uses in a program without it, nor for what is in the program. */
static uint64_t block_bytes(const RtProgram *p, RtSpace space, int64_t shards) {
    bool training_only = space == RT_GRADS || space == RT_MOMENT1 || space == RT_MOMENT2 || space == RT_MIX;
    if (space == RT_CONSTANT || (training_only && p->train_step.ncalls == 0)) return 0;
    bool each = space == RT_ARENA || space == RT_GRADS || space == RT_METRICS;
    return each && shards > 1 ? (uint64_t)shards * shard_stride(p, space) : rt_space_bytes(p, space);
}

void rt_machine_clear_moments(RtMachine *m) {
    for (RtSpace s = RT_MOMENT1; s <= RT_MOMENT2; s++) memset(m->space[s], 0, block_bytes(m->program, s, 1));
}

static uint64_t most_references(const RtProgram *p) {
    uint64_t most = 1;
    for (int i = 0; i < ENTRIES; i++)
        for (uint32_t c = 0; c < entry_at(p, i)->ncalls; c++)
            if (entry_at(p, i)->calls[c].nrefs > most) most = entry_at(p, i)->calls[c].nrefs;
    return most;
}

/* As many as groups that are computed at once. */
static int arena_count(const RtProgram *p, int threads) {
    int64_t groups = group_count(p, p->batch);
    return groups < 1 ? 1 : groups < threads ? (int)groups : threads;
}

uint64_t rt_eval_bytes(const RtProgram *p, int threads) {
    return (uint64_t)arena_count(p, threads) * rounded(p->eval_arena_bytes);
}

uint64_t rt_machine_bytes(const RtProgram *p, int threads) {
    uint64_t each = rounded(p->scratch_bytes) + rounded(most_references(p) * sizeof(char *));
    uint64_t total = rounded(sizeof(RtMachine)) + (uint64_t)threads * each;
    for (int s = 0; s < RT_SPACE_COUNT; s++) total += rounded(block_bytes(p, (RtSpace)s, 1));
    total += rt_eval_bytes(p, threads);
    return total + 3 * rounded((uint64_t)threads * sizeof(char *));
}

static bool allocate(RtMachine *m) {
    const RtProgram *p = m->program;
    int threads = rt_pool_threads(m->pool);
    for (int s = 0; s < RT_SPACE_COUNT; s++) {
        uint64_t bytes = block_bytes(p, (RtSpace)s, m->summer.share.count);
        if (s == RT_GRADS && bytes && m->summer.memory) m->space[s] = m->summer.memory(m->summer.context, bytes);
        if (m->space[s]) m->lent = true;
        if (!m->space[s]) m->space[s] = s == RT_CONSTANT ? (void *)(uintptr_t)p->constant : take(m, bytes);
        if (!m->space[s]) return false;
    }
    m->scratch = take(m, (uint64_t)threads * sizeof *m->scratch);
    m->arena = take(m, (uint64_t)threads * sizeof *m->arena);
    m->buffer = take(m, (uint64_t)threads * sizeof *m->buffer);
    if (!m->scratch || !m->arena || !m->buffer) return false;
    for (int t = 0; t < threads; t++) {
        m->scratch[t] = take(m, p->scratch_bytes);
        m->arena[t] = t < arena_count(p, threads) ? take(m, p->eval_arena_bytes) : m->arena[0];
        m->buffer[t] = take(m, (t ? 1 : (uint64_t)m->summer.share.count) * most_references(p) * sizeof(char *));
        if (!m->scratch[t] || !m->arena[t] || !m->buffer[t]) return false;
    }
    return true;
}

/* Does every reference lie in its block? What a kernel reads from there on is the compiler's affair. */
static bool references_fit(const RtProgram *p) {
    for (int i = 0; i < ENTRIES; i++) {
        const RtEntry *entry = entry_at(p, i);
        uint64_t arena = in_training(p, entry) ? p->arena_bytes : p->eval_arena_bytes;
        for (uint32_t c = 0; c < entry->ncalls; c++)
            for (uint32_t r = 0; r < entry->calls[c].nrefs; r++) {
                RtRef ref = entry->calls[c].refs[r];
                if ((unsigned)ref.space >= RT_SPACE_COUNT) return false;
                if (ref.offset > (ref.space == RT_ARENA ? arena : rt_space_bytes(p, ref.space))) return false;
            }
    }
    return true;
}

static bool is_whole(const RtProgram *program, RtError *error) {
    if (program->abi_version != RT_ABI_VERSION) {
        rt_fail(error, RT_INPUT, "the program was made for runtime version %u, this is version %d", program->abi_version,
                RT_ABI_VERSION);
        return false;
    }
    if (!references_fit(program)) {
        rt_fail(error, RT_INTERNAL, "the program of %s is damaged: a kernel's operand lies outside its memory", program->model);
        return false;
    }
    return true;
}

RtMachine *rt_machine_new_summing(const RtProgram *program, RtPool *pool, const RtSummer *summer, RtError *error) {
    if (!is_whole(program, error)) return NULL;
    RtMachine *m = calloc(1, sizeof *m);
    if (m) {
        m->program = program;
        m->pool = pool;
        m->summer = *summer;
        m->shard_env = calloc((size_t)summer->share.count, sizeof *m->shard_env);
        if (m->shard_env && allocate(m)) return m;
    }
    if (m) m->summer = (RtSummer){.share = summer->share}; /* the caller's still */
    rt_machine_free(m);
    rt_fail(error, RT_MEMORY, "out of memory: the model needs %.1f MB for activations alone",
            (double)((uint64_t)summer->share.count * program->arena_bytes + rt_eval_bytes(program, rt_pool_threads(pool))) / 1e6);
    return NULL;
}

RtMachine *rt_machine_place(const RtProgram *program, RtPool *pool, void *memory, RtError *error) {
    if (!is_whole(program, error)) return NULL;
    memset(memory, 0, rt_machine_bytes(program, rt_pool_threads(pool)));
    RtMachine *m = memory;
    *m = (RtMachine){.program = program, .pool = pool, .summer = {.share = {0, 1}}, .room = (char *)memory + rounded(sizeof *m)};
    allocate(m);
    return m;
}

void rt_machine_free(RtMachine *m) {
    if (!m) return;
    for (int s = 0; s < RT_SPACE_COUNT; s++)
        if (s != RT_CONSTANT && !(s == RT_GRADS && m->lent)) free(m->space[s]);
    int threads = rt_pool_threads(m->pool), arenas = arena_count(m->program, threads);
    for (int t = 0; t < threads; t++) {
        if (m->scratch) free(m->scratch[t]);
        if (m->arena && t < arenas) free(m->arena[t]);
        if (m->buffer) free(m->buffer[t]);
    }
    if (m->summer.free) m->summer.free(m->summer.context);
    free(m->shard_env);
    free(m->scratch);
    free(m->arena);
    free(m->buffer);
    free(m);
}

const RtProgram *rt_machine_program(const RtMachine *m) { return m->program; }
RtPool *rt_machine_pool(const RtMachine *m) { return m->pool; }
void *rt_machine_space(RtMachine *m, RtSpace space) { return m->space[space]; }
RtStepEnv *rt_machine_env(RtMachine *m) { return &m->env; }
RtRanks *rt_machine_ranks(const RtMachine *m) { return m->summer.ranks; }
RtShare rt_machine_share(const RtMachine *m) { return m->summer.share; }

typedef struct Running {
    RtMachine *m;
    const RtCall *call;
    char *const *buf;
} Running;

static void run_piece(void *context, int64_t piece, int thread) {
    const Running *r = context;
    r->call->kernel(r->buf, &r->m->env, r->call->first + piece, r->m->scratch[thread]);
}

/* Of all shards, one after the other. */
static void run_shard_piece(void *context, int64_t piece, int thread) {
    const Running *r = context;
    int64_t shard = piece / r->call->pieces;
    r->call->kernel(r->buf + shard * r->call->nrefs, &r->m->shard_env[shard], r->call->first + piece % r->call->pieces,
                    r->m->scratch[thread]);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The blocks as thread `thread` sees them when it runs group `group` of inference; of other entries, 0. */
typedef struct View {
    char *base[RT_SPACE_COUNT];
    char **buffer;
} View;

static View view_of(RtMachine *m, bool training, int64_t group, int thread) {
    const RtProgram *p = m->program;
    View v = {.buffer = m->buffer[thread]};
    for (int s = 0; s < RT_SPACE_COUNT; s++) v.base[s] = m->space[s];
    uint64_t first = (uint64_t)(group * group_images(p));
    v.base[RT_IMAGES] += first * array_bytes(1, p->channels, p->height, p->width);
    v.base[RT_LOGITS] += first * array_bytes(1, p->classes, 1, 1);
    bool by_group = group_count(p, p->batch) <= rt_pool_threads(m->pool); /* none is computed at the same time in either */
    if (!training) v.base[RT_ARENA] = m->arena[by_group ? group : thread];
    return v;
}

static char *const *resolve(const View *v, const RtCall *call) {
    for (uint32_t r = 0; r < call->nrefs; r++) v->buffer[r] = v->base[call->refs[r].space] + call->refs[r].offset;
    return v->buffer;
}

/* ---- a step of all shards of ours, call by call ---- */

static char *shard_at(const RtMachine *m, const RtRef *ref, int64_t shard) {
    bool own = ref->space == RT_ARENA || ref->space == RT_GRADS || ref->space == RT_METRICS;
    int64_t at = ref->shared ? 0 : shard;
    return (char *)m->space[ref->space] + ref->offset +
           (uint64_t)(own ? at : m->summer.share.first + at) * shard_stride(m->program, ref->space);
}

static void run_call_of_shards(RtMachine *m, const RtCall *call) {
    char **buffer = m->buffer[0];
    int64_t shards = call->once ? 1 : m->summer.share.count;
    if (call->combine) {
        uint64_t stride = shard_stride(m->program, call->refs[0].space);
        m->summer.sum(m->summer.context, shard_at(m, &call->refs[0], 0), stride, call->combine, call->elements);
        return;
    }
    for (int64_t s = 0; s < shards; s++)
        for (uint32_t r = 0; r < call->nrefs; r++) buffer[s * call->nrefs + r] = shard_at(m, &call->refs[r], s);
    rt_pool_run(m->pool, run_shard_piece, &(Running){m, call, buffer}, shards * call->pieces);
}

/* Does what it computes serve parameters alone that are frozen by now? */
static bool is_over(const RtMachine *m, const RtCall *call) { return call->until > 0 && m->env.epoch >= call->until; }

static void run_shards(RtMachine *m, double *seconds) {
    const RtEntry *entry = &m->program->train_step;
    int64_t images = m->program->batch / rt_shards(m->program);
    for (int64_t s = 0; s < m->summer.share.count; s++) {
        m->shard_env[s] = m->env;
        m->shard_env[s].image = (uint64_t)((m->summer.share.first + s) * images);
    }
    for (uint32_t c = 0; c < entry->ncalls; c++) {
        double start = seconds ? now() : 0;
        if (!is_over(m, &entry->calls[c])) run_call_of_shards(m, &entry->calls[c]);
        if (c + 1 == entry->ncalls)
            m->summer.finish(m->summer.context);
        else
            m->summer.proceed(m->summer.context);
        if (seconds) seconds[c] += now() - start;
    }
}

enum { ALL_THREADS = -1 };
/* Call after call, all pieces of each by this thread, the caller, or by all. */
static void run_calls(RtMachine *m, const RtEntry *entry, const View *view, int thread, double *seconds) {
    for (uint32_t c = 0; c < entry->ncalls; c++) {
        if (is_over(m, &entry->calls[c])) continue;
        Running r = {m, &entry->calls[c], resolve(view, &entry->calls[c])};
        double start = seconds ? now() : 0;
        if (thread == ALL_THREADS)
            rt_pool_run(m->pool, run_piece, &r, r.call->pieces);
        else
            for (int64_t piece = 0; piece < r.call->pieces; piece++) run_piece(&r, piece, thread);
        if (seconds) seconds[c] += now() - start;
    }
}

void rt_machine_run_timed(RtMachine *m, const RtEntry *entry, double *seconds) {
    if (m->summer.sum && entry == &m->program->train_step) {
        run_shards(m, seconds);
        return;
    }
    bool alone = seconds && entry == &m->program->eval_step && group_count(m->program, m->program->batch) > 1;
    View view = view_of(m, in_training(m->program, entry), 0, 0);
    run_calls(m, entry, &view, alone ? 0 : ALL_THREADS, seconds);
}

void rt_machine_run(RtMachine *m, const RtEntry *entry) { rt_machine_run_timed(m, entry, NULL); }

/* Depth first: one group through the whole list by one thread. */
static void run_group(void *context, int64_t group, int thread) {
    RtMachine *m = context;
    View view = view_of(m, false, group, thread);
    run_calls(m, &m->program->eval_step, &view, thread, NULL);
}

int64_t rt_machine_group(const RtMachine *m) { return group_images(m->program); }

/* A last group that would leave all threads but one idle goes through the list on all of them. */
void rt_machine_infer(RtMachine *m, int64_t count) {
    int64_t groups = group_count(m->program, count), threads = rt_pool_threads(m->pool);
    bool last = threads > 1 && groups % threads == 1;
    if (groups > last) rt_pool_run(m->pool, run_group, m, groups - last);
    if (!last) return;
    View view = view_of(m, false, groups - 1, 0);
    run_calls(m, &m->program->eval_step, &view, ALL_THREADS, NULL);
}

/* ---- tensors ---- */

int64_t rt_tensor_elements(const RtTensor *t) {
    int64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

/* Where the logical element i lies, in floats from the tensor's start. */
static int64_t place(const RtTensor *t, int64_t V, int64_t i) {
    int64_t d[4] = {1, 1, 1, 1};
    for (uint32_t k = 0; k < t->rank; k++) d[k] = t->dim[k];
    int64_t blocks = (d[1] + V - 1) / V, taps = d[2] * d[3];
    switch (t->layout) {
    case RT_LAYOUT_VECTOR:
    case RT_LAYOUT_DENSE: break;
    case RT_LAYOUT_ROWS: return i / d[1] * blocks * V + i % d[1];
    case RT_LAYOUT_FILTERS: {
        int64_t tap = i % taps, in = i / taps % d[1], out = i / taps / d[1];
        return ((((out / V) * blocks + in / V) * taps + tap) * V + in % V) * V + out % V;
    }
    }
    return i;
}

void rt_tensor_pack(const RtProgram *p, const RtTensor *t, const float *logical, char *block) {
    float *physical = (float *)(void *)(block + t->offset);
    memset(physical, 0, t->bytes);
    for (int64_t i = 0, n = rt_tensor_elements(t); i < n; i++) physical[place(t, p->block, i)] = logical[i];
}

void rt_tensor_unpack(const RtProgram *p, const RtTensor *t, const char *block, float *logical) {
    rt_tensor_slice(p, t, block, 0, rt_tensor_elements(t), logical);
}

void rt_tensor_slice(const RtProgram *p, const RtTensor *t, const char *block, int64_t first, int64_t count, float *logical) {
    const float *physical = (const float *)(const void *)(block + t->offset);
    for (int64_t i = 0; i < count; i++) logical[i] = physical[place(t, p->block, first + i)];
}

/* One tensor being initialised by all threads, CHUNK elements a piece. */
enum { CHUNK = 1 << 14 };
typedef struct Init {
    const RtTensor *tensor;
    float *physical;
    uint64_t seed;
    int64_t block, elements;
    uint32_t stream;
} Init;

/* Of filters [O, I, kh, kw]: does output channel o pass on input channel o? Then it is 1 at the middle of that and 0 elsewhere.
 */
static double dirac(const RtTensor *t, int64_t i, double otherwise) {
    int64_t taps = t->dim[2] * t->dim[3], in = i / taps % t->dim[1], out = i / taps / t->dim[1];
    int64_t middle = t->dim[2] / 2 * t->dim[3] + t->dim[3] / 2;
    if (t->init != RT_INIT_DIRAC || out >= t->dim[1]) return otherwise;
    return in == out && i % taps == middle;
}

static double filters_start(const Init *c, int64_t i) {
    const RtTensor *t = c->tensor;
    double bound = 1 / sqrt((double)(t->dim[1] * t->dim[2] * t->dim[3]));
    return dirac(t, i, bound * (2 * rt_uniform(c->seed, RT_STREAM_INIT, (uint64_t)i, c->stream) - 1));
}

static void init_chunk(void *context, int64_t piece, int thread) {
    const Init *c = context;
    const RtTensor *t = c->tensor;
    int64_t end = (piece + 1) * CHUNK < c->elements ? (piece + 1) * CHUNK : c->elements;
    (void)thread;
    for (int64_t i = piece * CHUNK; i < end; i++) {
        double value = t->init_value;
        if (t->init == RT_INIT_NORMAL) value *= rt_normal(c->seed, RT_STREAM_INIT, (uint64_t)i, c->stream);
        if (t->init == RT_INIT_UNIFORM) value *= 2 * rt_uniform(c->seed, RT_STREAM_INIT, (uint64_t)i, c->stream) - 1;
        if (t->init == RT_INIT_DIRAC || t->init == RT_INIT_WHITEN) value = filters_start(c, i);
        c->physical[place(t, c->block, i)] = (float)value;
    }
}

static void init_tensors(RtMachine *m, const RtTensor *tensors, uint32_t count, RtSpace space, uint64_t seed) {
    for (uint32_t i = 0; i < count; i++) {
        float *physical = (float *)(void *)((char *)m->space[space] + tensors[i].offset);
        Init init = {&tensors[i], physical, seed, m->program->block, rt_tensor_elements(&tensors[i]), tensors[i].position - 1};
        memset(physical, 0, tensors[i].bytes);
        rt_pool_run(m->pool, init_chunk, &init, (init.elements + CHUNK - 1) / CHUNK);
    }
}

void rt_machine_init_params(RtMachine *m, uint64_t seed) {
    init_tensors(m, m->program->params, m->program->nparams, RT_PARAMS, seed);
    init_tensors(m, m->program->state, m->program->nstate, RT_STATE, seed);
}
