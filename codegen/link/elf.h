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

/* Loads the objects and finds symbol[i] (distinct, defined in one of them): address[i]. Other undefined symbols are looked up
 * by `resolve`, which returns NULL for what it does not know. False with a sentence in why. */
bool code_load(const CodeObject *object, uint32_t nobjects, void *(*resolve)(const char *name), const char *const *symbol,
               uint32_t nsymbols, void **address, LoadedCode *code, char *why, size_t why_size);
void code_unload(LoadedCode *code);
#endif
