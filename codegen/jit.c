/* A Program in memory: the object goes through ORC LLJIT, kernels are looked up by name, tables are filled with their
 * addresses. The Jit owns everything that its RtProgram points to. */
#include "codegen/jit.h"
#include "codegen/build.h"
#include "codegen/object.h"
#include "runtime/cpu.h"
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct Jit {
    Arena *arena; /* the builder's */
    LLVMOrcLLJITRef lljit;
    RtProgram program;
    CodegenStats stats;
    void *constant; /* RT_CONSTANT, aligned */
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
    if (!opened || !runs_here(target, options, why, sizeof why)) {
        diag_error(diag, (Span){0}, "%s", why);
    } else {
        target_set_precision(target, options);
        if (program_open(p, target, options, name, diag)) return true;
        diag_error(diag, (Span){0}, "out of memory");
    }
    if (opened) target_close(target);
    return false;
}

/* ---- linking ---- */

static bool refuse(ProgramBuilder *p, LLVMErrorRef error) {
    if (!error) return true;
    char *message = LLVMGetErrorMessage(error);
    diag_error(p->diag, (Span){0}, "internal: linking the compiled kernels failed: %s", message);
    LLVMDisposeErrorMessage(message);
    p->failed = true;
    return false;
}

/* rt_sgemm by address; the C library's memory functions, which the code generator may call, from this process. */
static bool define_symbols(Jit *jit, ProgramBuilder *p) {
    LLVMOrcJITDylibRef dylib = LLVMOrcLLJITGetMainJITDylib(jit->lljit);
    LLVMOrcCSymbolMapPair sgemm = {.Name = LLVMOrcLLJITMangleAndIntern(jit->lljit, "rt_sgemm"),
                                   .Sym = {.Address = (LLVMOrcJITTargetAddress)(uintptr_t)&rt_sgemm,
                                           .Flags = {.GenericFlags = LLVMJITSymbolGenericFlagsExported}}};
    LLVMErrorRef error = LLVMOrcJITDylibDefine(dylib, LLVMOrcAbsoluteSymbols(&sgemm, 1));
    if (!refuse(p, error)) return false;
    LLVMOrcDefinitionGeneratorRef process = NULL;
    char prefix = LLVMOrcLLJITGetGlobalPrefix(jit->lljit);
    error = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, prefix, NULL, NULL);
    if (!refuse(p, error)) return false;
    LLVMOrcJITDylibAddGenerator(dylib, process);
    return true;
}

/* Takes the objects over. */
static bool link_objects(Jit *jit, ProgramBuilder *p, LLVMMemoryBufferRef *object, uint32_t count) {
    LLVMErrorRef error = LLVMOrcCreateLLJIT(&jit->lljit, LLVMOrcCreateLLJITBuilder());
    if (error) jit->lljit = NULL;
    bool linked = refuse(p, error) && define_symbols(jit, p);
    for (uint32_t i = 0; i < count; i++) {
        if (linked)
            linked = refuse(p, LLVMOrcLLJITAddObjectFile(jit->lljit, LLVMOrcLLJITGetMainJITDylib(jit->lljit), object[i]));
        else
            LLVMDisposeMemoryBuffer(object[i]);
    }
    return linked;
}

static bool look_up(Jit *jit, ProgramBuilder *p, RtKernel *address) {
    for (int b = 0; b < KERNEL_BUCKETS; b++)
        for (const Kernel *k = p->bucket[b]; k; k = k->next) {
            LLVMOrcExecutorAddress found = 0;
            if (!refuse(p, LLVMOrcLLJITLookup(jit->lljit, &found, k->name))) return false;
            address[k->index] = (RtKernel)(uintptr_t)found;
        }
    return true;
}

/* ---- tables ---- */

static RtEntry finish_entry(ProgramBuilder *p, const CallList *list, const RtKernel *address) {
    RtCall *calls = ARENA_ARRAY(p->arena, RtCall, list->count);
    for (uint32_t i = 0; i < list->count; i++) {
        calls[i] = list->call[i].call;
        calls[i].kernel = address[list->call[i].kernel->index];
    }
    return (RtEntry){calls, list->count};
}

static bool fill_program(Jit *jit, ProgramBuilder *p, const RtProgram *shape) {
    RtKernel *address = ARENA_ARRAY(p->arena, RtKernel, p->nkernels);
    if (!look_up(jit, p, address)) return false;
    uint64_t constant_bytes = (uint64_t)p->nconstants * RT_ALIGN;
    jit->constant = aligned_alloc(RT_ALIGN, constant_bytes ? constant_bytes : RT_ALIGN);
    if (!jit->constant) {
        diag_error(p->diag, (Span){0}, "out of memory");
        return false;
    }
    if (constant_bytes) memcpy(jit->constant, p->constant, constant_bytes);
    RtProgram *program = &jit->program;
    program_fill(p, shape, program);
    program->constant = jit->constant;
    program->train_step = finish_entry(p, &p->train_step, address);
    program->apply_update = finish_entry(p, &p->apply_update, address);
    program->prepare_eval = finish_entry(p, &p->prepare_eval, address);
    program->eval_step = finish_entry(p, &p->eval_step, address);
    return true;
}

static Jit *link_program(ProgramBuilder *p, const RtProgram *shape, double started) {
    double llvm_started = jit_clock();
    LLVMMemoryBufferRef object[OBJECT_MAX_PARTS];
    uint32_t nobjects;
    Jit *jit = calloc(1, sizeof *jit);
    if (!jit) {
        diag_error(p->diag, (Span){0}, "out of memory");
        return NULL;
    }
    if (!objects_emit(p, object, &nobjects)) {
        free(jit);
        return NULL;
    }
    jit->stats = (CodegenStats){
        .kernels = p->nkernels,
        .kernels_requested = p->nrequested,
        .calls = p->train_step.count + p->apply_update.count + p->prepare_eval.count + p->eval_step.count,
    };
    for (uint32_t i = 0; i < nobjects; i++) jit->stats.code_bytes += object_code_bytes(object[i]);
    if (!link_objects(jit, p, object, nobjects) || !fill_program(jit, p, shape)) {
        jit_free(jit);
        return NULL;
    }
    jit->stats.llvm_seconds = jit_clock() - llvm_started;
    jit->stats.seconds = jit_clock() - started;
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

void jit_free(Jit *jit) {
    if (!jit) return;
    if (jit->lljit) LLVMConsumeError(LLVMOrcDisposeLLJIT(jit->lljit));
    free(jit->constant);
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
