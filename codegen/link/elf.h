/* Machine code from ELF objects in memory, ready to run: what a linker does, for the few things that kernels need. */
#ifndef NETC_CODEGEN_ELF_H
#define NETC_CODEGEN_ELF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct CodeObject {
    const void *data; /* an ELF64 relocatable object for this machine */
    size_t size;
} CodeObject;

typedef struct LoadedCode {
    char *memory; /* code and read-only data, executable */
    size_t bytes;
} LoadedCode;

typedef struct CodeSymbols {
    const char *const *wanted; /* distinct, each defined in one of the objects */
    uint32_t count;
    void *(*resolve)(const char *name); /* of symbols that objects do not define; NULL for what it does not know */
} CodeSymbols;

/* Loads the objects and finds the symbols that are wanted: address[i]. False with a sentence in why. */
bool code_load(const CodeObject *object, uint32_t nobjects, const CodeSymbols *symbols, void **address, LoadedCode *code,
               char *why, size_t why_size);
void code_unload(LoadedCode *code);
#endif
