/* A Program in memory: its blocks allocated once, every reference of every call resolved to an address once, so that running
 * an entry is a walk over an array. */
#include "runtime/rt.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { ENTRIES = 4, HUGE_PAGE = 2 << 20, PAGE = 4096 };

struct RtMachine {
    const RtProgram *program;
    RtPool *pool;
    void *space[RT_SPACE_COUNT];
    char **scratch;        /* per thread */
    char **address;        /* of every reference of every call, entry after entry */
    size_t first[ENTRIES]; /* of the entry in `address` */
    RtStepEnv env;
};

static const RtEntry *entry_at(const RtProgram *p, int i) {
    const RtEntry *entries[ENTRIES] = {&p->train_step, &p->apply_update, &p->prepare_eval, &p->eval_step};
    return entries[i];
}

/* Zeroed; large blocks on huge pages where the system has them. */
static void *block_new(uint64_t bytes) {
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : PAGE;
    if (bytes > SIZE_MAX - align) return NULL;
    size_t size = ((size_t)bytes + align - 1) / align * align;
    if (size == 0) size = align;
    void *block = aligned_alloc(align, size);
    if (!block) return NULL;
    if (align == HUGE_PAGE) madvise(block, size, MADV_HUGEPAGE);
    memset(block, 0, size);
    return block;
}

static uint64_t space_bytes(const RtProgram *p, RtSpace space) {
    uint64_t n = (uint64_t)p->batch;
    switch (space) {
    case RT_ARENA: return p->arena_bytes;
    case RT_PARAMS:
    case RT_GRADS:
    case RT_MOMENT1:
    case RT_MOMENT2: return p->params_bytes;
    case RT_STATE: return p->state_bytes;
    case RT_FOLDED: return p->folded_bytes;
    case RT_IMAGES: return n * (uint64_t)(p->channels * p->height * p->width) * sizeof(float);
    case RT_LABELS: return n * sizeof(int32_t);
    case RT_LOGITS: return n * (uint64_t)p->classes * sizeof(float);
    case RT_METRICS: return 2 * sizeof(float);
    case RT_CONSTANT:
    case RT_SPACE_COUNT: break;
    }
    return 0;
}

static bool allocate(RtMachine *m) {
    const RtProgram *p = m->program;
    for (int s = 0; s < RT_SPACE_COUNT; s++) {
        bool training_only = s == RT_GRADS || s == RT_MOMENT1 || s == RT_MOMENT2;
        if (s == RT_CONSTANT) {
            m->space[s] = (void *)(uintptr_t)p->constant;
            continue;
        }
        m->space[s] = block_new(training_only && p->train_step.ncalls == 0 ? 0 : space_bytes(p, (RtSpace)s));
        if (!m->space[s]) return false;
    }
    m->scratch = calloc((size_t)rt_pool_threads(m->pool), sizeof *m->scratch);
    if (!m->scratch) return false;
    for (int t = 0; t < rt_pool_threads(m->pool); t++)
        if (!(m->scratch[t] = block_new(p->scratch_bytes))) return false;
    return true;
}

static bool resolve(RtMachine *m) {
    size_t total = 0;
    for (int i = 0; i < ENTRIES; i++) {
        const RtEntry *entry = entry_at(m->program, i);
        m->first[i] = total;
        for (uint32_t c = 0; c < entry->ncalls; c++) total += entry->calls[c].nrefs;
    }
    m->address = calloc(total ? total : 1, sizeof *m->address);
    if (!m->address) return false;
    size_t at = 0;
    for (int i = 0; i < ENTRIES; i++) {
        const RtEntry *entry = entry_at(m->program, i);
        for (uint32_t c = 0; c < entry->ncalls; c++)
            for (uint32_t r = 0; r < entry->calls[c].nrefs; r++) {
                RtRef ref = entry->calls[c].refs[r];
                m->address[at++] = (char *)m->space[ref.space] + ref.offset;
            }
    }
    return true;
}

RtMachine *rt_machine_new(const RtProgram *program, RtPool *pool, RtError *error) {
    if (program->abi_version != RT_ABI_VERSION) {
        snprintf(error->text, sizeof error->text, "the program was made for runtime version %u, this is version %d",
                 program->abi_version, RT_ABI_VERSION);
        return NULL;
    }
    RtMachine *m = calloc(1, sizeof *m);
    if (m) {
        m->program = program;
        m->pool = pool;
        if (allocate(m) && resolve(m)) return m;
    }
    rt_machine_free(m);
    snprintf(error->text, sizeof error->text, "not enough memory: the model needs %.1f MB for activations alone",
             (double)program->arena_bytes / 1e6);
    return NULL;
}

void rt_machine_free(RtMachine *m) {
    if (!m) return;
    for (int s = 0; s < RT_SPACE_COUNT; s++)
        if (s != RT_CONSTANT) free(m->space[s]);
    for (int t = 0; m->scratch && t < rt_pool_threads(m->pool); t++) free(m->scratch[t]);
    free(m->scratch);
    free(m->address);
    free(m);
}

const RtProgram *rt_machine_program(const RtMachine *m) { return m->program; }
RtPool *rt_machine_pool(const RtMachine *m) { return m->pool; }
void *rt_machine_space(RtMachine *m, RtSpace space) { return m->space[space]; }
RtStepEnv *rt_machine_env(RtMachine *m) { return &m->env; }

typedef struct Running {
    RtMachine *m;
    const RtCall *call;
    char *const *buf;
} Running;

static void run_piece(void *context, int64_t piece, int thread) {
    const Running *r = context;
    r->call->kernel(r->buf, &r->m->env, piece, r->m->scratch[thread]);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void rt_machine_run_timed(RtMachine *m, const RtEntry *entry, double *seconds) {
    size_t at = 0;
    for (int i = 0; i < ENTRIES; i++)
        if (entry_at(m->program, i) == entry) at = m->first[i];
    for (uint32_t c = 0; c < entry->ncalls; c++) {
        Running r = {m, &entry->calls[c], m->address + at};
        double start = seconds ? now() : 0;
        rt_pool_run(m->pool, run_piece, &r, r.call->pieces);
        if (seconds) seconds[c] += now() - start;
        at += r.call->nrefs;
    }
}

void rt_machine_run(RtMachine *m, const RtEntry *entry) { rt_machine_run_timed(m, entry, NULL); }

/* ---- tensors ---- */

/* Calls visit(context, physical float, logical float) for every element. */
static void walk(const RtProgram *p, const RtTensor *t, char *block, float *logical, bool pack) {
    float *physical = (float *)(void *)(block + t->offset);
    int64_t V = p->block, d[4] = {1, 1, 1, 1};
    for (uint32_t i = 0; i < t->rank; i++) d[i] = t->dim[i];
    if (pack) memset(physical, 0, t->bytes);
    int64_t in_blocks = (d[1] + V - 1) / V, row = in_blocks * V, taps = d[2] * d[3], count = d[0] * d[1] * taps;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = i;
        if (t->layout == RT_LAYOUT_ROWS) at = i / d[1] * row + i % d[1];
        if (t->layout == RT_LAYOUT_FILTERS) {
            int64_t tap = i % taps, in = i / taps % d[1], out = i / taps / d[1];
            at = ((((out / V) * in_blocks + in / V) * taps + tap) * V + in % V) * V + out % V;
        }
        if (pack)
            physical[at] = logical[i];
        else
            logical[i] = physical[at];
    }
}

void rt_tensor_pack(const RtProgram *p, const RtTensor *t, const float *logical, char *block) {
    walk(p, t, block, (float *)(uintptr_t)logical, true);
}
void rt_tensor_unpack(const RtProgram *p, const RtTensor *t, const char *block, float *logical) {
    walk(p, t, (char *)(uintptr_t)block, logical, false);
}

static int64_t elements(const RtTensor *t) {
    int64_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

static void init_tensors(RtMachine *m, const RtTensor *tensors, uint32_t count, RtSpace space, uint64_t seed) {
    for (uint32_t i = 0; i < count; i++) {
        const RtTensor *t = &tensors[i];
        int64_t n = elements(t);
        float *logical = malloc((size_t)n * sizeof *logical + 1);
        if (!logical) abort();
        for (int64_t k = 0; k < n; k++) {
            double value = t->init_value;
            if (t->init == RT_INIT_NORMAL) value *= rt_normal(seed, RT_STREAM_INIT, (uint64_t)k, i);
            if (t->init == RT_INIT_UNIFORM) value *= 2 * rt_uniform(seed, RT_STREAM_INIT, (uint64_t)k, i) - 1;
            logical[k] = (float)value;
        }
        rt_tensor_pack(m->program, t, logical, m->space[space]);
        free(logical);
    }
}

void rt_machine_init_params(RtMachine *m, uint64_t seed) {
    init_tensors(m, m->program->params, m->program->nparams, RT_PARAMS, seed);
    init_tensors(m, m->program->state, m->program->nstate, RT_STATE, seed);
}
