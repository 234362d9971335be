/* What a machine's relocations mean: a file per architecture, all of them compiled everywhere. */
#ifndef NETC_CODEGEN_RELOCATION_H
#define NETC_CODEGEN_RELOCATION_H
#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { STUB_BYTES = 24 };

typedef struct Relocations {
    uint16_t machine; /* EM_X86_64 */
    /* A jump to any address, of up to STUB_BYTES. */
    void (*write_stub)(char *at, void *target);
    size_t (*patched_bytes)(uint32_t type);
    /* One relocation: what the ABI calls S + A, and P. The mapping is far smaller than any reach within it. Addresses wrap
     * around, as the ABI says: a damaged addend gives a wrong address, never undefined arithmetic. False: of an unknown type. */
    bool (*apply)(uint32_t type, char *at, uint64_t value);
} Relocations;
extern const Relocations relocations_x86_64, relocations_aarch64;

/* The word at `at`, of which the bits in `keep` stay. */
static inline void relocation_patch32(char *at, uint32_t keep, uint32_t bits) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    word = (word & keep) | bits;
    memcpy(at, &word, sizeof word);
}
#endif
