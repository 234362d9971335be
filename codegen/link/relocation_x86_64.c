/* Relocations of x86-64. */
#include "codegen/link/relocation.h"

static void write_stub(char *at, void *target) {
    static const unsigned char jump[] = {0xff, 0x25, 2, 0, 0, 0, 0x90, 0x90}; /* jmp *2(%rip); the address follows */
    memcpy(at, jump, sizeof jump);
    memcpy(at + sizeof jump, (const char *)&target, sizeof target);
}

static size_t patched_bytes(uint32_t type) { return type == R_X86_64_64 ? sizeof(uint64_t) : sizeof(uint32_t); }

static bool apply(uint32_t type, char *at, uint64_t value) {
    switch (type) {
    case R_X86_64_PC32:
    case R_X86_64_PLT32: relocation_patch32(at, 0, (uint32_t)(value - (uint64_t)(uintptr_t)at)); return true;
    case R_X86_64_64: memcpy(at, &value, sizeof value); return true;
    default: return false;
    }
}

const Relocations relocations_x86_64 = {EM_X86_64, write_stub, patched_bytes, apply};
