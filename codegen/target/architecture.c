/* The table of architectures (architectures.def). */
#include "codegen/target/architecture.h"
#include <llvm-c/Target.h>
#include <stdio.h>
#include <string.h>

/* LLVM's names of x86 CPUs without a 64-bit mode. It ends the process when it is to make 64-bit code for one of them, and its C
 * API tells of none beforehand (the inliner, which features.c asks, leaves this feature out of account). There will be no more.
 */
static const char *const x86_without_64_bits[] = {"i386",
                                                  "i486",
                                                  "i586",
                                                  "i686",
                                                  "pentium",
                                                  "pentium-mmx",
                                                  "pentium_mmx",
                                                  "pentiumpro",
                                                  "pentium_pro",
                                                  "pentium2",
                                                  "pentium_ii",
                                                  "pentium3",
                                                  "pentium3m",
                                                  "pentium_iii",
                                                  "pentium-m",
                                                  "pentium_m",
                                                  "pentium4",
                                                  "pentium4m",
                                                  "pentium_4",
                                                  "prescott",
                                                  "pentium_4_sse3",
                                                  "yonah",
                                                  "lakemont",
                                                  "k6",
                                                  "k6-2",
                                                  "k6-3",
                                                  "athlon",
                                                  "athlon-4",
                                                  "athlon-tbird",
                                                  "athlon-xp",
                                                  "athlon-mp",
                                                  "geode",
                                                  "winchip-c6",
                                                  "winchip2",
                                                  "c3",
                                                  "c3-2",
                                                  "pentium_iii_no_xmm_regs",
                                                  NULL};

static const Architecture table[] = {
#define ARCHITECTURE(LLVM, ...) {.llvm = #LLVM, __VA_ARGS__},
#include "codegen/target/architectures.def"
};
enum { COUNT = sizeof table / sizeof table[0] };

void architectures_initialise(void) {
#define ARCHITECTURE(LLVM, ...)                                                                                                  \
    LLVMInitialize##LLVM##TargetInfo();                                                                                          \
    LLVMInitialize##LLVM##Target();                                                                                              \
    LLVMInitialize##LLVM##TargetMC();                                                                                            \
    LLVMInitialize##LLVM##AsmPrinter();                                                                                          \
    LLVMInitialize##LLVM##AsmParser();
#include "codegen/target/architectures.def"
}

const CodegenTarget *codegen_target_at(uint32_t i) { return i < COUNT ? &table[i].target : NULL; }

const CodegenTarget *codegen_target(const char *name) {
    for (uint32_t i = 0; i < COUNT; i++)
        if (!strcmp(table[i].target.name, name)) return &table[i].target;
    return NULL;
}

void codegen_target_names(char *text, size_t size) {
    size_t used = 0;
    for (uint32_t i = 0; i < COUNT && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s",
                                 i == 0           ? ""
                                 : i + 1 == COUNT ? " and "
                                                  : ", ",
                                 table[i].target.name);
}

const Architecture *architecture_of(const char *triple) {
    size_t length = strcspn(triple, "-");
    for (uint32_t i = 0; i < COUNT; i++) {
        const char *name = table[i].target.name;
        if (strcspn(name, "-") == length && !strncmp(name, triple, length)) return &table[i];
    }
    return NULL;
}

const VectorLevel *architecture_vectors(const Architecture *a, const char *assembly, bool fma) {
    const VectorLevel *v = a->vectors;
    while (*v->shown && (!strstr(assembly, v->shown) || (v->with_fma && !fma))) v++;
    return v;
}
