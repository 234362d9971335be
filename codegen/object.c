/* From the module to an object in memory. Emitters write vector code with the loop structure they want, so LLVM is asked for
 * cleaning up (common subexpressions, invariant code, addresses), not for restructuring: no vectoriser, no unroller, no
 * inliner. That keeps compilation fast and the bits the emitters'. */
#include "codegen/object.h"
#include <errno.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Object.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

static const char pipeline[] = "function(simplifycfg,early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-mssa(licm),"
                               "early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg)";

static bool fail(ProgramBuilder *p, const char *what, const char *why) {
    diag_error(p->diag, (Span){0}, "internal: %s: %s", what, why ? why : "no reason given");
    p->failed = true;
    return false;
}

static bool verify(ProgramBuilder *p) {
    char *message = NULL;
    bool broken = LLVMVerifyModule(p->emitter->module, LLVMReturnStatusAction, &message);
    if (broken) fail(p, "LLVM refuses the emitted code", message);
    LLVMDisposeMessage(message);
    return !broken;
}

static bool optimise(ProgramBuilder *p) {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(p->emitter->module, pipeline, p->target->machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!error) return true;
    char *message = LLVMGetErrorMessage(error);
    fail(p, "LLVM's passes failed", message);
    LLVMDisposeErrorMessage(message);
    return false;
}

/* A dump that cannot be written is the user's mistake: a path in an option. */
static bool dump_failed(ProgramBuilder *p, const char *path, const char *why) {
    diag_error(p->diag, (Span){0}, "cannot write '%s': %s", path, why ? why : strerror(errno));
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

LLVMMemoryBufferRef object_emit(ProgramBuilder *p) {
    if (!verify(p) || !optimise(p) || !dump(p)) return NULL;
    char *message = NULL;
    LLVMMemoryBufferRef object = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(p->target->machine, p->emitter->module, LLVMObjectFile, &message, &object)) {
        fail(p, "LLVM cannot make machine code", message);
        object = NULL;
    }
    LLVMDisposeMessage(message);
    return object;
}

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
