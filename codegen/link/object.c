/* From modules to objects in memory. Emitters write vector code with the loop structure they want, so LLVM is asked for
 * cleaning up (common subexpressions, invariant code, addresses), not for restructuring: no vectoriser, no unroller, no
 * inliner, no loop strength reduction (target.c). That keeps compilation fast and the bits the emitters'.
 *
 * Kernels know nothing of each other. Where each is a module of its own, threads take them one after the other, the largest
 * first; each has an LLVM context, into which bitcode carries the kernel. */
#include "codegen/link/object.h"
#include "runtime/rt.h"
#include <errno.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KERNELS_PER_THREAD = 4, MAX_THREADS = 16 }; /* fewer kernels are not worth a thread */

static const char pipeline[] = "function(simplifycfg,early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm),"
                               "early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg)";

typedef struct Failure {
    char why[400];
} Failure;

static void explain(Failure *f, const char *what, const char *why) {
    snprintf(f->why, sizeof f->why, "%s: %s", what, why ? why : "no reason given");
}

static bool optimise(Failure *f, LLVMModuleRef module, LLVMTargetMachineRef machine) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(module, pipeline, machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error) return true;
    char *message = LLVMGetErrorMessage(error);
    explain(f, "LLVM's passes failed", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

static LLVMMemoryBufferRef emit(Failure *f, LLVMModuleRef module, LLVMTargetMachineRef machine) {
    char *message = NULL;
    LLVMMemoryBufferRef object = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, module, LLVMObjectFile, &message, &object)) {
        explain(f, "LLVM cannot make machine code", message);
        object = NULL;
    } else {
        target_buffer(object);
    }
    LLVMDisposeMessage(message);
    return object;
}

static bool verify(Failure *f, LLVMModuleRef module) {
    char *message = NULL;
    bool broken = LLVMVerifyModule(module, LLVMReturnStatusAction, &message);
    if (broken) explain(f, "internal: an emitted kernel is not sound", message);
    LLVMDisposeMessage(message);
    return !broken;
}

/* ---- the whole module ---- */

static bool fail(ProgramBuilder *p, const char *why) {
    diag_error(p->diag, (Span){0}, "internal: %s", why);
    p->failed = true;
    return false;
}

/* LLVM's own ways into a file end the program when the disk is full. Half a file would be taken for an object by who looks only
 * at its time. */
bool object_write(ProgramBuilder *p, const char *path, const void *bytes, size_t size) {
    struct stat info = {0};
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(bytes, 1, size, file) == size && !fflush(file);
    int reason = errno;
    if (file && !fstat(fileno(file), &info) && !written && S_ISREG(info.st_mode)) unlink(path);
    if (file && fclose(file) && written) written = false, reason = errno;
    if (written) return true;
    diag_cannot_write(p->diag, path, strerror(reason));
    p->failed = true;
    return false;
}

static bool dump_llvm(ProgramBuilder *p, const char *path) {
    char *text = LLVMPrintModuleToString(p->emitter->module);
    bool written = object_write(p, path, text, strlen(text));
    LLVMDisposeMessage(text);
    return written;
}

static bool dump_asm(ProgramBuilder *p, const char *path) {
    LLVMModuleRef copy = LLVMCloneModule(p->emitter->module); /* the code generator consumes what it prints */
    LLVMMemoryBufferRef text = NULL;
    char *message = NULL;
    bool failed = LLVMTargetMachineEmitToMemoryBuffer(p->target->machine, copy, LLVMAssemblyFile, &message, &text);
    bool written = failed ? fail(p, message ? message : "LLVM cannot make assembly")
                          : object_write(p, path, LLVMGetBufferStart(target_buffer(text)), LLVMGetBufferSize(text));
    if (!failed) LLVMDisposeMemoryBuffer(text);
    LLVMDisposeMessage(message);
    LLVMDisposeModule(copy);
    return written;
}

static bool dump(ProgramBuilder *p) {
    const CodegenOptions *o = p->options;
    return (!o->dump_llvm || dump_llvm(p, o->dump_llvm)) && (!o->dump_asm || dump_asm(p, o->dump_asm));
}

bool object_emit(ProgramBuilder *p, LLVMMemoryBufferRef *object) {
    Failure f;
    LLVMModuleRef module = p->emitter->module;
    if (!verify(&f, module) || !optimise(&f, module, p->target->machine)) return fail(p, f.why);
    if (!dump(p)) return false;
    *object = emit(&f, module, p->target->machine);
    return *object || fail(p, f.why);
}

/* ---- kernels as modules of their own ---- */

/* The work of all threads. */
typedef struct Queue {
    const Target *target;
    Kernel **kernel; /* largest first */
    uint32_t count;
    atomic_uint next;
} Queue;

typedef struct Worker {
    Queue *queue;
    pthread_t thread;
    bool started, failed;
    Failure failure;
} Worker;

static bool compile_kernel(Worker *w, Kernel *k, LLVMContextRef context, LLVMTargetMachineRef machine) {
    LLVMModuleRef module = NULL;
    if (LLVMParseBitcodeInContext2(context, k->bitcode, &module)) {
        explain(&w->failure, "internal: a kernel's module cannot be opened", NULL);
        return false;
    }
    if (verify(&w->failure, module) && optimise(&w->failure, module, machine)) k->object = emit(&w->failure, module, machine);
    LLVMDisposeModule(module);
    return k->object != NULL;
}

static void *compile_kernels(void *context) {
    Worker *w = context;
    LLVMContextRef llvm = LLVMContextCreate();
    LLVMTargetMachineRef machine = target_machine(w->queue->target);
    if (!machine) explain(&w->failure, "internal: LLVM refuses another machine", NULL);
    w->failed = !machine;
    for (uint32_t i; !w->failed && (i = atomic_fetch_add(&w->queue->next, 1)) < w->queue->count;)
        w->failed = !compile_kernel(w, w->queue->kernel[i], llvm, machine);
    if (machine) LLVMDisposeTargetMachine(machine);
    LLVMContextDispose(llvm);
    return NULL;
}

static int largest_first(const void *a, const void *b) {
    const Kernel *x = *(Kernel *const *)a, *y = *(Kernel *const *)b;
    size_t m = LLVMGetBufferSize(x->bitcode), n = LLVMGetBufferSize(y->bitcode);
    return m != n ? (m < n) - (m > n) : (x->index > y->index) - (x->index < y->index);
}

static bool compile_all(ProgramBuilder *p, Queue *queue) {
    Worker worker[MAX_THREADS];
    uint32_t wanted = queue->count / KERNELS_PER_THREAD, n = (uint32_t)rt_processors();
    if (n > wanted) n = wanted ? wanted : 1;
    for (uint32_t i = 0; i < n; i++) worker[i] = (Worker){.queue = queue};
    for (uint32_t i = 1; i < n; i++) worker[i].started = !pthread_create(&worker[i].thread, NULL, compile_kernels, &worker[i]);
    compile_kernels(&worker[0]);
    bool done = true;
    for (uint32_t i = 0; i < n; i++) {
        if (worker[i].started) pthread_join(worker[i].thread, NULL);
        if (worker[i].failed && done) done = fail(p, worker[i].failure.why);
    }
    return done;
}

static void keep(const char *directory, const Kernel *k) {
    CachedKernel cached = {k->scratch_bytes, k->gemm, (void *)(uintptr_t)LLVMGetBufferStart(k->object),
                           LLVMGetBufferSize(k->object)};
    kernel_cache_write(directory, k->cache_name, &cached);
}

bool kernels_compile(ProgramBuilder *p) {
    Kernel **all = program_kernels(p);
    Queue queue = {.target = p->target, .kernel = ARENA_ARRAY(p->arena, Kernel *, p->nkernels + 1)};
    for (uint32_t i = 0; i < p->nkernels; i++)
        if (all[i]->bitcode) queue.kernel[queue.count++] = all[i];
    if (!queue.count) return true;
    qsort(queue.kernel, queue.count, sizeof *queue.kernel, largest_first);
    if (!compile_all(p, &queue)) return false;
    for (uint32_t i = 0; i < queue.count && p->caches; i++) keep(p->options->cache, queue.kernel[i]);
    if (p->caches) kernel_cache_trim(p->options->cache, KERNEL_CACHE_BYTES);
    return true;
}
