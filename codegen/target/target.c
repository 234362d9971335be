/* Which machine code is made for. LLVM's C API tells a CPU's name but not what it can do, so target_open asks the code
 * generator itself: it compiles one fused multiply-add of sixteen floats, and their rounding to bf16, and looks which registers
 * and instructions the assembly uses. The answer is right for every CPU name that LLVM knows; what of it follows from the
 * architecture is a row of architectures.def. */
#include "codegen/target/target.h"
#include "codegen/codegen.h"
#include <dlfcn.h>
#include <llvm-c/Core.h>
#include <llvm-c/Support.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PROBE_LANES = 16 };

/* Level 1: the level above adds a second scheduling, after register allocation, that took a tenth of the compile time and made
 * kernels no faster. */
static LLVMTargetMachineRef new_machine(LLVMTargetRef target, const char *triple, const char *cpu, const char *features) {
    return LLVMCreateTargetMachine(target, triple, cpu, features, LLVMCodeGenLevelLess, LLVMRelocPIC, LLVMCodeModelDefault);
}

LLVMTargetMachineRef target_machine(const Target *t) {
    return new_machine(LLVMGetTargetMachineTarget(t->machine), t->triple, t->cpu, t->features);
}

static pthread_mutex_t catching_one = PTHREAD_MUTEX_INITIALIZER; /* stderr is the process's: one thread at a time catches it */
static int true_stderr = -1;                                     /* while LLVM's is caught */

/* Creates the machine. LLVM's only word on a CPU name that it does not know is a line on stderr, so that is caught. */
static LLVMTargetMachineRef create_machine(LLVMTargetRef target, const char *triple, const char *cpu, const char *features,
                                           bool *unknown) {
    pthread_mutex_lock(&catching_one);
    fflush(stderr);
    int saved = dup(STDERR_FILENO), caught = memfd_create("netc-stderr", MFD_CLOEXEC);
    bool catching = saved >= 0 && caught >= 0 && dup2(caught, STDERR_FILENO) >= 0;
    true_stderr = catching ? saved : -1;
    LLVMTargetMachineRef machine = new_machine(target, triple, cpu, features);
    true_stderr = -1;
    if (catching) {
        fflush(stderr);
        dup2(saved, STDERR_FILENO);
        char text[512] = "";
        ssize_t length = pread(caught, text, sizeof text - 1, 0);
        text[length > 0 ? length : 0] = '\0';
        *unknown = strstr(text, "not a recognized processor") != NULL;
    }
    if (saved >= 0) close(saved);
    if (caught >= 0) close(caught);
    pthread_mutex_unlock(&catching_one);
    return machine;
}

/* void probe(ptr a): a[0] = fma(a[0], a[1], a[2]) on sixteen lanes. */
static LLVMModuleRef probe_module(LLVMContextRef context, const Target *target) {
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("probe", context);
    LLVMSetTarget(module, target->triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(target->machine);
    LLVMSetModuleDataLayout(module, layout);
    LLVMDisposeTargetData(layout);
    LLVMTypeRef vec = LLVMVectorType(LLVMFloatTypeInContext(context), PROBE_LANES);
    LLVMTypeRef pointer = LLVMPointerTypeInContext(context, 0);
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(context), &pointer, 1, false);
    LLVMValueRef fn = LLVMAddFunction(module, "probe", type);
    LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(context, "prefer-vector-width", 19, "512", 3));
    LLVMBuilderRef b = LLVMCreateBuilderInContext(context);
    LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(context, fn, ""));
    LLVMValueRef operand[3], base = LLVMGetParam(fn, 0);
    for (unsigned i = 0; i < 3; i++) {
        LLVMValueRef index = LLVMConstInt(LLVMInt64TypeInContext(context), i, false);
        operand[i] = LLVMBuildLoad2(b, vec, LLVMBuildGEP2(b, vec, base, &index, 1, ""), "");
    }
    unsigned id = LLVMLookupIntrinsicID("llvm.fma", 8);
    LLVMTypeRef fma_type = LLVMIntrinsicGetType(context, id, &vec, 1);
    LLVMValueRef sum = LLVMBuildCall2(b, fma_type, LLVMGetIntrinsicDeclaration(module, id, &vec, 1), operand, 3, "");
    LLVMBuildStore(b, sum, base);
    LLVMBuildRetVoid(b);
    LLVMDisposeBuilder(b);
    return module;
}

/* void probe_bf16(ptr a): sixteen floats at a rounded to bf16. */
static void add_bf16_probe(LLVMModuleRef module) {
    LLVMContextRef context = LLVMGetModuleContext(module);
    LLVMTypeRef pointer = LLVMPointerTypeInContext(context, 0);
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(context), &pointer, 1, false);
    LLVMValueRef fn = LLVMAddFunction(module, "probe_bf16", type), base = LLVMGetParam(fn, 0);
    LLVMBuilderRef b = LLVMCreateBuilderInContext(context);
    LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(context, fn, ""));
    LLVMValueRef value = LLVMBuildLoad2(b, LLVMVectorType(LLVMFloatTypeInContext(context), PROBE_LANES), base, "");
    LLVMTypeRef bf16 = LLVMVectorType(LLVMBFloatTypeInContext(context), PROBE_LANES);
    LLVMBuildStore(b, LLVMBuildFPTrunc(b, value, bf16, ""), base);
    LLVMBuildRetVoid(b);
    LLVMDisposeBuilder(b);
}

static bool has_fma(const Architecture *a, const char *assembly) {
    return strstr(assembly, a->fma[0]) || (a->fma[1] && strstr(assembly, a->fma[1]));
}

static bool probe(Target *target, const Architecture *architecture, char *why, size_t why_size) {
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module = probe_module(context, target);
    if (architecture->vectors[0].bf16_shown) add_bf16_probe(module);
    LLVMMemoryBufferRef text = NULL;
    char *message = NULL;
    bool failed = LLVMTargetMachineEmitToMemoryBuffer(target->machine, module, LLVMAssemblyFile, &message, &text);
    if (failed) {
        snprintf(why, why_size, "LLVM cannot make code for CPU '%s': %s", target->cpu, message ? message : "no reason given");
    } else {
        const char *code = LLVMGetBufferStart(target_buffer(text)); /* ends with a 0 byte */
        target->fma = has_fma(architecture, code);
        target->vectors = architecture_vectors(architecture, code, target->fma);
        target->lanes = target->vectors->lanes;
        target->registers = target->vectors->registers;
        target->bf16 = target->vectors->bf16_shown && strstr(code, target->vectors->bf16_shown);
        target->map_bytes = sizeof(float);
        target->last_cache = LAST_CACHE;
        LLVMDisposeMemoryBuffer(text);
    }
    LLVMDisposeMessage(message);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    return !failed;
}

LLVMMemoryBufferRef target_buffer(LLVMMemoryBufferRef buffer) {
    if (!buffer) out_of_memory("LLVM needs more");
    return buffer;
}

static char *copy_text(const char *text) {
    char *copy = text ? strdup(text) : NULL; /* LLVM, whose texts are strdup's too, gives NULL where there is no memory */
    if (!copy) out_of_memory("no room for the name of a target");
    return copy;
}

static char *copy_message(char *message) {
    char *copy = copy_text(message);
    LLVMDisposeMessage(message);
    return copy;
}

/* ---- names ---- */

/* Loop strength reduction took a third of the compile time, and finds little to do where emitters keep an index's constant apart
 * (emit_add_int). The C API has no other way to leave a pass of the code generator out. LLVM takes each option once a process. */
static void set_options(void) {
    static const char *const arguments[] = {"netc", "-disable-lsr"};
    LLVMParseCommandLineOptions(2, arguments, NULL);
}

static void no_memory(void) {
    if (true_stderr >= 0) dup2(true_stderr, STDERR_FILENO);
    out_of_memory("LLVM needs more");
}

static void no_memory_for(void *context, const char *reason, bool trace) {
    (void)context, (void)reason, (void)trace;
    no_memory();
}

static void *find_symbol(const char *name) { return dlsym(RTLD_DEFAULT, name); }

/* Where C++'s new fails LLVM, which is built without exceptions, would end in std::terminate; where its own allocator does, in
 * abort, with words that are lost if stderr is caught just then. What tells them otherwise is C++, hence by linker names:
 * std::set_new_handler and llvm::install_bad_alloc_error_handler. */
static void say_no_memory(void) {
    typedef void (*Handler)(void);
    typedef void (*HandlerFor)(void *, const char *, bool);
    Handler (*set_new_handler)(Handler);
    void (*install_handler)(HandlerFor, void *);
    *(void **)(void *)&set_new_handler = find_symbol("_ZSt15set_new_handlerPFvvE");
    *(void **)(void *)&install_handler = find_symbol("_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_");
    if (set_new_handler) set_new_handler(no_memory);
    if (install_handler) install_handler(no_memory_for, NULL);
}

/* First of all what is said without memory, since the others allocate. */
static void initialise_once(void) {
    say_no_memory();
    set_options();
    architectures_initialise();
}

static void initialise(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialise_once);
}

static bool lacks_64_bits(const Architecture *architecture, const char *cpu) {
    for (const char *const *name = architecture->without_64_bits; name && *name; name++)
        if (!strcmp(*name, cpu)) return true;
    return false;
}

static void refuse_target(const char *name, char *why, size_t why_size) {
    char names[256];
    codegen_target_names(names, sizeof names);
    snprintf(why, why_size, "unknown target '%s'; netc knows %s", name, names);
}

/* Triple, CPU and features; the machine's own CPU is asked for what this very one can do. */
static bool set_names(Target *target, const char *name, const char *cpu, char *why, size_t why_size) {
    target->triple = copy_message(LLVMGetDefaultTargetTriple());
    bool foreign = name && architecture_of(name) != architecture_of(target->triple), native = !cpu || !strcmp(cpu, "native");
    if (name && !codegen_target(name)) {
        refuse_target(name, why, why_size);
        return false;
    }
    if (foreign && cpu && native) {
        snprintf(why, why_size, "CPU 'native' is this machine's, so it cannot go with target '%s'", name);
        return false;
    }
    if (foreign) {
        free(target->triple);
        target->triple = copy_message(LLVMNormalizeTargetTriple(name));
        native = false;
    }
    target->cpu = native ? copy_message(LLVMGetHostCPUName()) : copy_text(cpu ? cpu : codegen_target(name)->least);
    target->features = native ? copy_message(LLVMGetHostCPUFeatures()) : copy_text("");
    long cache = native ? sysconf(_SC_LEVEL3_CACHE_SIZE) : 0;
    target->kept = (cache > 0 ? cache : LAST_CACHE) / 2;
    return true;
}

static bool open_machine(Target *target, const Architecture *architecture, char *why, size_t why_size) {
    LLVMTargetRef found = NULL;
    char *message = NULL;
    bool unknown = false;
    if (LLVMGetTargetFromTriple(target->triple, &found, &message)) {
        snprintf(why, why_size, "LLVM has no target for '%s': %s", target->triple, message ? message : "no reason given");
    } else {
        target->machine = create_machine(found, target->triple, target->cpu, target->features, &unknown);
        if (!target->machine) snprintf(why, why_size, "LLVM cannot create a machine for '%s'", target->triple);
    }
    LLVMDisposeMessage(message);
    if (unknown)
        snprintf(why, why_size, "unknown CPU '%s'; 'llc-19 -mcpu=help -mtriple=%s' lists the names", target->cpu, target->triple);
    bool narrow = target->machine && !unknown && lacks_64_bits(architecture, target->cpu);
    if (narrow) snprintf(why, why_size, "CPU '%s' cannot run the 64-bit code that netc makes", target->cpu);
    return target->machine && !unknown && !narrow;
}

bool target_open(Target *target, const char *name, const char *cpu, char *why, size_t why_size) {
    *target = (Target){0};
    initialise();
    bool named = set_names(target, name, cpu, why, why_size);
    const Architecture *architecture = named ? architecture_of(target->triple) : NULL;
    if (named && !architecture) refuse_target(target->triple, why, why_size);
    if (architecture && open_machine(target, architecture, why, why_size) && probe(target, architecture, why, why_size))
        return true;
    target_close(target);
    return false;
}

void target_close(Target *target) {
    if (target->machine) LLVMDisposeTargetMachine(target->machine);
    free(target->triple);
    free(target->cpu);
    free(target->features);
    *target = (Target){0};
}
