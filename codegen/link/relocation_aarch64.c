/* Relocations of AArch64. */
#include "codegen/link/relocation.h"

static void write_stub(char *at, void *target) {
    static const uint32_t jump[] = {0x58000050, 0xd61f0200}; /* ldr x16, .+8; br x16; the address follows */
    memcpy(at, (const char *)jump, sizeof jump);
    memcpy(at + sizeof jump, (const char *)&target, sizeof target);
}

static size_t patched_bytes(uint32_t type) { return type == R_AARCH64_ABS64 ? sizeof(uint64_t) : sizeof(uint32_t); }

/* The low 12 bits of an address, as an instruction counts them in units of 1 << scale. */
static bool patch_low12(char *at, uint64_t value, int scale) {
    relocation_patch32(at, 0xffc003ff, (uint32_t)(value & 0xfff) >> scale << 10);
    return true;
}

static bool apply(uint32_t type, char *at, uint64_t value) {
    int64_t distance = (int64_t)(value - (uint64_t)(uintptr_t)at);
    switch (type) {
    case R_AARCH64_PREL32: relocation_patch32(at, 0, (uint32_t)distance); return true;
    case R_AARCH64_ABS64: memcpy(at, &value, sizeof value); return true;
    case R_AARCH64_JUMP26:
    case R_AARCH64_CALL26: relocation_patch32(at, 0xfc000000, (uint32_t)(distance >> 2) & 0x03ffffff); return true;
    case R_AARCH64_ADR_PREL_PG_HI21: {
        int64_t pages = ((int64_t)value >> 12) - ((int64_t)(intptr_t)at >> 12);
        relocation_patch32(at, 0x9f00001f, (uint32_t)(pages & 3) << 29 | (uint32_t)(pages >> 2 & 0x7ffff) << 5);
        return true;
    }
    case R_AARCH64_ADD_ABS_LO12_NC:
    case R_AARCH64_LDST8_ABS_LO12_NC: return patch_low12(at, value, 0);
    case R_AARCH64_LDST16_ABS_LO12_NC: return patch_low12(at, value, 1);
    case R_AARCH64_LDST32_ABS_LO12_NC: return patch_low12(at, value, 2);
    case R_AARCH64_LDST64_ABS_LO12_NC: return patch_low12(at, value, 3);
    case R_AARCH64_LDST128_ABS_LO12_NC: return patch_low12(at, value, 4);
    default: return false;
    }
}

const Relocations relocations_aarch64 = {EM_AARCH64, write_stub, patched_bytes, apply};
