/* A Program in memory: kernels are compiled or found in the cache, loaded (elf.h), and tables are filled with their
 * addresses. The Jit owns everything that its RtProgram points to. */
#include "codegen/link/jit.h"
#include "codegen/link/elf.h"
#include "codegen/link/object.h"
#include "codegen/lower/build.h"
#include "runtime/cpu.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct Jit {
    Arena *arena; /* the builder's */
    LoadedCode code;
    RtProgram program;
    CodegenStats stats;
    void *constant; /* RT_CONSTANT, aligned */
    ChoiceTable *choices;
    uint32_t *train_choice, *eval_choice; /* by call */
    Val *train_value, *eval_value;        /* likewise */
};

double jit_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- opening ---- */

/* What the machine lacks would end in an illegal instruction. */
static bool runs_here(const Target *target, const CodegenOptions *options, char *why, size_t why_size) {
    if (!options->cpu || !strcmp(options->cpu, "native")) return true;
    char missing[256], *features = target_features(target);
    bool fits = features && !rt_cpu_lacks(features, missing, sizeof missing);
    if (!features)
        snprintf(why, why_size, "internal: LLVM does not tell what CPU '%s' can do", target->cpu);
    else if (!fits)
        snprintf(why, why_size, "code for CPU '%s' cannot run on this machine, which lacks %s", target->cpu, missing);
    free(features);
    return fits;
}

bool jit_open(Target *target, ProgramBuilder *p, const char *name, const CodegenOptions *options, Diag *diag) {
    static const CodegenOptions defaults = {0};
    if (!options) options = &defaults;
    char why[512];
    bool opened = target_open(target, NULL, options->cpu, why, sizeof why);
    if (opened) target_set_options(target, options);
    if (!opened || !runs_here(target, options, why, sizeof why)) {
        diag_error(diag, (Span){0}, "%s", why);
    } else {
        bool separate = !options->dump_llvm && !options->dump_asm;
        if (program_open(p, target, options, separate ? "kernel" : name, diag)) {
            p->separate = separate;
            return true;
        }
        out_of_memory("no room for code");
    }
    if (opened) target_close(target);
    return false;
}

/* ---- linking ---- */

/* What kernels may call: rt_sgemm, rt_check_access, and the C library's memory functions, which the code generator uses. */
static void *resolve(const char *name) {
    if (!strcmp(name, "rt_check_access")) return (void *)(uintptr_t)&rt_check_access;
    return strcmp(name, "rt_sgemm") ? dlsym(RTLD_DEFAULT, name) : (void *)(uintptr_t)&rt_sgemm;
}

static bool needs_openblas(ProgramBuilder *p) {
    Kernel **kernel = program_kernels(p);
    for (uint32_t i = 0; i < p->nkernels; i++)
        if (kernel[i]->gemm == GEMM_OPENBLAS) return true;
    return false;
}

static bool load_openblas(ProgramBuilder *p) {
    char why[400];
    if (!needs_openblas(p) || rt_gemm_load(why, sizeof why)) return true;
    diag_error(p->diag, (Span){0}, "OpenBLAS cannot be loaded: %s; without --gemm=openblas it is not needed", why);
    p->failed = true;
    return false;
}

static bool load_objects(Jit *jit, ProgramBuilder *p, const CodeObject *object, uint32_t count, void **address) {
    char why[400];
    Kernel **kernel = program_kernels(p);
    if (!load_openblas(p)) return false;
    const char **symbol = arena_array(p->arena, (size_t)p->nkernels + 1, sizeof *symbol);
    for (uint32_t i = 0; i < p->nkernels; i++) symbol[i] = kernel[i]->symbol;
    if (code_load(object, count, &(CodeSymbols){symbol, p->nkernels, resolve}, address, &jit->code, why, sizeof why)) return true;
    diag_error(p->diag, (Span){0}, "internal: %s", why);
    p->failed = true;
    return false;
}

static CodeObject code_object(LLVMMemoryBufferRef buffer) {
    return (CodeObject){LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer)};
}

/* Everything in one module: dumps were asked for. */
static bool load_whole(Jit *jit, ProgramBuilder *p, void **address) {
    LLVMMemoryBufferRef buffer = NULL;
    if (!object_emit(p, &buffer)) return false;
    CodeObject object = code_object(buffer);
    bool loaded = load_objects(jit, p, &object, 1, address);
    LLVMDisposeMemoryBuffer(buffer);
    return loaded;
}

static bool load_kernels(Jit *jit, ProgramBuilder *p, void **address) {
    if (!kernels_compile(p)) return false;
    Kernel **kernel = program_kernels(p);
    CodeObject *object = arena_array(p->arena, (size_t)p->nkernels + 1, sizeof *object);
    for (uint32_t i = 0; i < p->nkernels; i++) object[i] = code_object(kernel[i]->object);
    return load_objects(jit, p, object, p->nkernels, address);
}

/* ---- tables ---- */

static RtEntry finish_entry(ProgramBuilder *p, const CallList *list, void *const *address) {
    RtCall *calls = ARENA_ARRAY(p->arena, RtCall, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        calls[i] = list->call[i].call;
        const Kernel *kernel = list->call[i].kernel;
        if (kernel) calls[i].kernel = (RtKernel)(uintptr_t)address[kernel->index];
    }
    return (RtEntry){calls, list->count};
}

static uint32_t *call_choices(ProgramBuilder *p, const CallList *list) {
    uint32_t *choice = ARENA_ARRAY(p->arena, uint32_t, list->count);
    for (uint32_t i = 0; i < list->count; i++) choice[i] = list->call[i].choice;
    return choice;
}

static Val *call_values(ProgramBuilder *p, const CallList *list) {
    Val *value = ARENA_ARRAY(p->arena, Val, list->count);
    for (uint32_t i = 0; i < list->count; i++) value[i] = list->call[i].value;
    return value;
}

static bool fill_program(Jit *jit, ProgramBuilder *p, const RtProgram *shape, void *const *address) {
    uint64_t constant_bytes = (uint64_t)p->nconstants * RT_ALIGN;
    jit->constant = aligned_alloc(RT_ALIGN, constant_bytes ? constant_bytes : RT_ALIGN);
    if (!jit->constant) out_of_memory("no room for code");
    if (constant_bytes) memcpy(jit->constant, p->constant, constant_bytes);
    RtProgram *program = &jit->program;
    program_fill(p, shape, program);
    program->constant = jit->constant;
    program->train_step = finish_entry(p, &p->train_step, address);
    program->apply_update = finish_entry(p, &p->apply_update, address);
    program->prepare_eval = finish_entry(p, &p->prepare_eval, address);
    program->eval_step = finish_entry(p, &p->eval_step, address);
    jit->train_choice = call_choices(p, &p->train_step);
    jit->eval_choice = call_choices(p, &p->eval_step);
    jit->train_value = call_values(p, &p->train_step);
    jit->eval_value = call_values(p, &p->eval_step);
    jit->choices = p->choices;
    p->choices = NULL;
    return true;
}

static Jit *link_program(ProgramBuilder *p, const RtProgram *shape, double started) {
    double llvm_started = jit_clock();
    Jit *jit = calloc(1, sizeof *jit);
    if (!jit) out_of_memory("no room for code");
    void **address = arena_array(p->arena, (size_t)p->nkernels + 1, sizeof *address);
    bool loaded = p->separate ? load_kernels(jit, p, address) : load_whole(jit, p, address);
    if (!loaded || !fill_program(jit, p, shape, address)) {
        jit_free(jit);
        return NULL;
    }
    double now = jit_clock();
    jit->stats = (CodegenStats){
        .seconds = now - started,
        .llvm_seconds = now - llvm_started,
        .kernels = p->nkernels,
        .kernels_requested = p->nrequested,
        .kernels_cached = p->ncached,
        .calls = p->train_step.count + p->apply_update.count + p->prepare_eval.count + p->eval_step.count,
        .code_bytes = jit->code.bytes,
        .openblas = needs_openblas(p),
    };
    jit->arena = p->arena; /* names and references live on */
    p->arena = NULL;
    return jit;
}

Jit *jit_finish(Target *target, ProgramBuilder *p, const RtProgram *shape, double started) {
    Jit *jit = p->failed ? NULL : link_program(p, shape, started);
    program_close(p);
    target_close(target);
    return jit;
}

/* ---- the public face ---- */

const RtProgram *jit_program(const Jit *jit) { return &jit->program; }
const CodegenStats *jit_stats(const Jit *jit) { return &jit->stats; }
const ChoiceTable *jit_choices(const Jit *jit) { return jit->choices; }
const uint32_t *jit_call_choices(const Jit *jit, const RtEntry *entry) {
    return entry == &jit->program.eval_step ? jit->eval_choice : jit->train_choice;
}

const Val *jit_call_values(const Jit *jit, const RtEntry *entry) {
    return entry == &jit->program.eval_step ? jit->eval_value : jit->train_value;
}

void jit_free(Jit *jit) {
    if (!jit) return;
    code_unload(&jit->code);
    free(jit->constant);
    choices_free(jit->choices);
    arena_free(jit->arena);
    free(jit);
}

Jit *codegen_jit(const CodegenInput *input, const CodegenOptions *options, Diag *diag) {
    double started = jit_clock();
    Target target;
    ProgramBuilder p;
    if (!jit_open(&target, &p, input->name, options, diag)) return NULL;
    RtProgram shape;
    program_build(&p, input, &shape);
    return jit_finish(&target, &p, &shape, started);
}
