/* What code for a CPU may use. LLVM's C API does not tell a CPU's features, but its inliner compares them: a function is inlined
 * only where its caller has every feature that it has itself. So a function for this CPU calls, for each feature that we can
 * look for at run time, one for "this CPU and that feature"; the inliner runs; a call that is left names a feature that the CPU
 * is without. */
#include "codegen/codegen.h"
#include "codegen/target/target.h"
#include <llvm-c/Core.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An architecture, by LLVM's name of it, and one of its features. */
typedef struct Candidate {
    const char *llvm, *feature;
} Candidate;
static const Candidate candidates[] = {
#define X86(name, ...) {"X86", name},
#define ARM(name, ...) {"AArch64", name},
#include "runtime/cpu_features.def"
};
enum { COUNT = sizeof candidates / sizeof candidates[0] };

/* Name of the i-th candidate; NULL: it is another architecture's, or of no use. */
static const char *candidate(const Target *t, size_t i) {
    bool other = strcmp(candidates[i].llvm, architecture_of(t->triple)->llvm) != 0;
    bool unused = !t->amx && !strncmp(candidates[i].feature, "amx", 3);
    return other || unused ? NULL : candidates[i].feature;
}

static void set_attribute(LLVMValueRef fn, const char *key, const char *value) {
    LLVMAttributeRef attribute = LLVMCreateStringAttribute(LLVMGetModuleContext(LLVMGetGlobalParent(fn)), key,
                                                           (unsigned)strlen(key), value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, attribute);
}

/* void name(void) for this CPU, and one more feature unless it is NULL; the builder stands before its return. */
static LLVMValueRef add_function(const Target *t, LLVMModuleRef module, LLVMBuilderRef b, const char *name, const char *feature) {
    LLVMContextRef context = LLVMGetModuleContext(module);
    LLVMValueRef fn = LLVMAddFunction(module, name, LLVMFunctionType(LLVMVoidTypeInContext(context), NULL, 0, false));
    char features[8192];
    snprintf(features, sizeof features, "%s%s%s%s", t->features, *t->features && feature ? "," : "", feature ? "+" : "",
             feature ? feature : "");
    set_attribute(fn, "target-cpu", t->cpu);
    set_attribute(fn, "target-features", features);
    LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(context, fn, ""));
    LLVMPositionBuilderBefore(b, LLVMBuildRetVoid(b));
    return fn;
}

/* The caller of one function for each candidate. */
static LLVMValueRef add_functions(const Target *t, LLVMModuleRef module) {
    LLVMBuilderRef b = LLVMCreateBuilderInContext(LLVMGetModuleContext(module));
    LLVMValueRef caller = add_function(t, module, b, "", NULL);
    for (size_t i = 0; i < COUNT; i++) {
        const char *feature = candidate(t, i);
        if (!feature) continue;
        LLVMValueRef callee = add_function(t, module, b, feature, feature);
        LLVMPositionBuilderBefore(b, LLVMGetBasicBlockTerminator(LLVMGetEntryBasicBlock(caller)));
        LLVMBuildCall2(b, LLVMGlobalGetValueType(callee), callee, NULL, 0, "");
    }
    LLVMDisposeBuilder(b);
    return caller;
}

static bool calls(LLVMValueRef caller, const char *name) {
    for (LLVMValueRef i = LLVMGetFirstInstruction(LLVMGetEntryBasicBlock(caller)); i; i = LLVMGetNextInstruction(i)) {
        size_t length;
        if (LLVMIsACallInst(i) && !strcmp(LLVMGetValueName2(LLVMGetCalledValue(i), &length), name)) return true;
    }
    return false;
}

/* The candidates that the inliner did away with. */
static char *list_inlined(const Target *t, LLVMValueRef caller) {
    size_t size = 1;
    for (size_t i = 0; i < COUNT; i++) size += strlen(candidates[i].feature) + 1;
    char *list = calloc(size, 1), *end = list;
    if (!list) out_of_memory("no room for the features of a CPU");
    for (size_t i = 0; i < COUNT; i++)
        if (candidate(t, i) && !calls(caller, candidate(t, i)))
            end = stpcpy(stpcpy(end, end == list ? "" : " "), candidate(t, i));
    return list;
}

char *target_features(const Target *t) {
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef module = LLVMModuleCreateWithNameInContext("features", context);
    LLVMSetTarget(module, t->triple);
    LLVMValueRef caller = add_functions(t, module);
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(module, "cgscc(inline)", t->machine, options);
    char *list = error ? NULL : list_inlined(t, caller);
    if (error) LLVMConsumeError(error);
    LLVMDisposePassBuilderOptions(options);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
    return list;
}

bool target_has_amx(const Target *target) {
    Target with = *target;
    with.amx = true;
    char *features = target_features(&with);
    bool has = features && strstr(features, TARGET_AMX);
    free(features);
    return has;
}

char *codegen_features(const char *name, const char *cpu, Precision precision, Diag *diag) {
    Target target;
    char why[512], *features = NULL;
    if (target_open(&target, name, cpu, why, sizeof why)) {
        target.amx = precision == PRECISION_BF16 && target_has_amx(&target);
        features = target_features(&target);
        if (!features) snprintf(why, sizeof why, "internal: LLVM does not tell what CPU '%s' can do", target.cpu);
        target_close(&target);
    }
    if (!features) diag_error(diag, (Span){0}, "%s", why);
    return features;
}
