/* From the module to objects in memory. Emitters write vector code with the loop structure they want, so LLVM is asked for
 * cleaning up (common subexpressions, invariant code, addresses), not for restructuring: no vectoriser, no unroller, no
 * inliner. That keeps compilation fast and the bits the emitters'.
 *
 * Kernels know nothing of each other, so a large module is compiled in parts, each on a thread with an LLVM context of its
 * own; bitcode carries the kernels there. A kernel's code does not depend on its part. */
#include "codegen/object.h"
#include <errno.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/BitReader.h>
#include <llvm-c/BitWriter.h>
#include <llvm-c/Object.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KERNELS_PER_PART = 16 }; /* fewer are not worth a thread */

static const char pipeline[] = "function(simplifycfg,early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm),"
                               "early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg)";

/* One part of the module on its way to an object. */
typedef struct Part {
    const Target *target;
    LLVMMemoryBufferRef bitcode; /* of the whole module */
    const uint32_t *part_of;     /* of each function, in module order */
    uint32_t index;
    LLVMMemoryBufferRef object; /* NULL: failed, for this reason: */
    char why[400];
} Part;

static void explain(Part *part, const char *what, const char *why) {
    snprintf(part->why, sizeof part->why, "%s: %s", what, why ? why : "no reason given");
}

static bool optimise(Part *part, LLVMModuleRef module, LLVMTargetMachineRef machine) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(module, pipeline, machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error) return true;
    char *message = LLVMGetErrorMessage(error);
    explain(part, "LLVM's passes failed", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

static void emit(Part *part, LLVMModuleRef module, LLVMTargetMachineRef machine) {
    char *message = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine, module, LLVMObjectFile, &message, &part->object)) {
        explain(part, "LLVM cannot make machine code", message);
        part->object = NULL;
    }
    LLVMDisposeMessage(message);
}

/* ---- one part, from a thread ---- */

static void keep_own_kernels(const Part *part, LLVMModuleRef module) {
    uint32_t i = 0;
    for (LLVMValueRef fn = LLVMGetFirstFunction(module), next; fn; fn = next, i++) {
        next = LLVMGetNextFunction(fn);
        if (!LLVMIsDeclaration(fn) && part->part_of[i] != part->index) LLVMDeleteFunction(fn);
    }
}

static void *compile_part(void *context) {
    Part *part = context;
    LLVMContextRef llvm = LLVMContextCreate();
    LLVMTargetMachineRef machine = target_machine(part->target);
    LLVMModuleRef module = NULL;
    if (!machine || LLVMParseBitcodeInContext2(llvm, part->bitcode, &module)) {
        explain(part, "internal: a part of the module cannot be opened", NULL);
    } else {
        keep_own_kernels(part, module);
        if (optimise(part, module, machine)) emit(part, module, machine);
        LLVMDisposeModule(module);
    }
    if (machine) LLVMDisposeTargetMachine(machine);
    LLVMContextDispose(llvm);
    return NULL;
}

/* ---- the whole module ---- */

static bool fail(ProgramBuilder *p, const char *why) {
    diag_error(p->diag, (Span){0}, "internal: %s", why);
    p->failed = true;
    return false;
}

static bool verify(ProgramBuilder *p) {
    char *message = NULL;
    bool broken = LLVMVerifyModule(p->emitter->module, LLVMReturnStatusAction, &message);
    if (broken) fail(p, message);
    LLVMDisposeMessage(message);
    return !broken;
}

/* A dump that cannot be written is the user's mistake: a path in an option. */
static bool dump_failed(ProgramBuilder *p, const char *path, const char *why) {
    diag_error(p->diag, (Span){0}, "cannot write '%s': %s", path, why && *why ? why : strerror(errno));
    p->failed = true;
    return false;
}

static bool dump(ProgramBuilder *p) {
    const CodegenOptions *o = p->options;
    char *message = NULL;
    bool failed = o->dump_llvm && LLVMPrintModuleToFile(p->emitter->module, o->dump_llvm, &message);
    if (failed) dump_failed(p, o->dump_llvm, message);
    LLVMDisposeMessage(message);
    if (failed || !o->dump_asm) return !failed;
    message = NULL;
    LLVMModuleRef copy = LLVMCloneModule(p->emitter->module); /* the code generator consumes what it prints */
    failed = LLVMTargetMachineEmitToFile(p->target->machine, copy, o->dump_asm, LLVMAssemblyFile, &message);
    if (failed) dump_failed(p, o->dump_asm, message);
    LLVMDisposeMessage(message);
    LLVMDisposeModule(copy);
    return !failed;
}

/* In one piece: small modules, and those that are dumped. */
static bool emit_whole(ProgramBuilder *p, LLVMMemoryBufferRef *object) {
    Part part = {.target = p->target};
    LLVMModuleRef module = p->emitter->module;
    if (!optimise(&part, module, p->target->machine)) return fail(p, part.why);
    if (!dump(p)) return false;
    emit(&part, module, p->target->machine);
    *object = part.object;
    return part.object || fail(p, part.why);
}

static uint64_t function_size(LLVMValueRef fn) {
    uint64_t n = 0;
    for (LLVMBasicBlockRef block = LLVMGetFirstBasicBlock(fn); block; block = LLVMGetNextBasicBlock(block))
        for (LLVMValueRef i = LLVMGetFirstInstruction(block); i; i = LLVMGetNextInstruction(i)) n++;
    return n;
}

/* Each function goes to the part that has least so far. */
static uint32_t *divide(ProgramBuilder *p, uint32_t nparts) {
    uint32_t nfunctions = 0, i = 0;
    uint64_t load[OBJECT_MAX_PARTS] = {0};
    for (LLVMValueRef fn = LLVMGetFirstFunction(p->emitter->module); fn; fn = LLVMGetNextFunction(fn)) nfunctions++;
    uint32_t *part_of = ARENA_ARRAY(p->arena, uint32_t, nfunctions);
    for (LLVMValueRef fn = LLVMGetFirstFunction(p->emitter->module); fn; fn = LLVMGetNextFunction(fn), i++) {
        uint32_t least = 0;
        for (uint32_t k = 1; k < nparts; k++)
            if (load[k] < load[least]) least = k;
        part_of[i] = least;
        load[least] += function_size(fn);
    }
    return part_of;
}

static uint32_t choose_parts(const ProgramBuilder *p) {
    if (p->options->dump_llvm || p->options->dump_asm) return 1;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t parts = p->nkernels / KERNELS_PER_PART;
    if (cpus < 1) cpus = 1;
    if (parts > (uint32_t)cpus) parts = (uint32_t)cpus;
    return parts < 1 ? 1 : parts > OBJECT_MAX_PARTS ? OBJECT_MAX_PARTS : parts;
}

static bool emit_parts(ProgramBuilder *p, LLVMMemoryBufferRef *object, uint32_t nparts) {
    LLVMMemoryBufferRef bitcode = LLVMWriteBitcodeToMemoryBuffer(p->emitter->module);
    const uint32_t *part_of = divide(p, nparts);
    Part part[OBJECT_MAX_PARTS];
    pthread_t thread[OBJECT_MAX_PARTS];
    bool started[OBJECT_MAX_PARTS] = {false}, done = true;
    for (uint32_t i = 0; i < nparts; i++) {
        part[i] = (Part){.target = p->target, .bitcode = bitcode, .part_of = part_of, .index = i};
        started[i] = i > 0 && pthread_create(&thread[i], NULL, compile_part, &part[i]) == 0;
    }
    for (uint32_t i = 0; i < nparts; i++)
        if (!started[i]) compile_part(&part[i]);
    for (uint32_t i = 0; i < nparts; i++) {
        if (started[i]) pthread_join(thread[i], NULL);
        object[i] = part[i].object;
        if (!object[i] && done) done = fail(p, part[i].why);
    }
    LLVMDisposeMemoryBuffer(bitcode);
    for (uint32_t i = 0; i < nparts && !done; i++)
        if (object[i]) LLVMDisposeMemoryBuffer(object[i]);
    return done;
}

bool objects_emit(ProgramBuilder *p, LLVMMemoryBufferRef object[OBJECT_MAX_PARTS], uint32_t *count) {
    if (!verify(p)) return false;
    *count = choose_parts(p);
    return *count == 1 ? emit_whole(p, object) : emit_parts(p, object, *count);
}

bool object_emit(ProgramBuilder *p, LLVMMemoryBufferRef *object) { return verify(p) && emit_whole(p, object); }

uint64_t object_code_bytes(LLVMMemoryBufferRef object) {
    char *message = NULL;
    LLVMBinaryRef binary = LLVMCreateBinary(object, NULL, &message);
    LLVMDisposeMessage(message);
    if (!binary) return 0;
    uint64_t bytes = 0;
    LLVMSectionIteratorRef section = LLVMObjectFileCopySectionIterator(binary);
    for (; !LLVMObjectFileIsSectionIteratorAtEnd(binary, section); LLVMMoveToNextSection(section)) {
        const char *name = LLVMGetSectionName(section);
        if (name && strstr(name, "text")) bytes += LLVMGetSectionSize(section);
    }
    LLVMDisposeSectionIterator(section);
    LLVMDisposeBinary(binary);
    return bytes;
}
