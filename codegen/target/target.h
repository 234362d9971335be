/* The machine that code is made for, as far as kernels care. Everything follows from LLVM's target description; no #if. */
#ifndef NETC_CODEGEN_TARGET_H
#define NETC_CODEGEN_TARGET_H
#include "codegen/target/architecture.h"
#include "ir/ir.h"
#include <llvm-c/TargetMachine.h>
#include <stdbool.h>

typedef struct Target {
    LLVMTargetMachineRef machine;
    char *triple, *cpu, *features;
    int lanes;                  /* V: f32 lanes of a vector register = the channel block: 16 (AVX-512), 8 (AVX2), 4 (NEON, SSE) */
    int registers;              /* vector registers: 32 (AVX-512, AArch64) or 16 */
    bool fma;                   /* fused multiply-add in hardware */
    bool bf16;                  /* conversions and products of bf16 pairs (AVX512_BF16): vectors->bf16_dot */
    bool amx;                   /* code may have tiles of bf16 (emit/amx.h): target_set_options says, of bf16 only */
    const VectorLevel *vectors; /* what else can be done with vectors of this width */
    int map_bytes; /* of an element of a feature map in memory: 4 (f32), or 2 (bf16) under --precision=bf16; target_open says 4 */
    int64_t last_cache; /* bytes that all threads together keep in the last cache: CodegenOptions.last_cache; target_open:
                           LAST_CACHE */
    int64_t kept;       /* bytes of a step that are still in the last cache when they are read again; no bits depend on it.
                           CodegenOptions.last_cache; target_open: half of what this machine has, or of LAST_CACHE */
} Target;

/* Bytes. A line's, of every machine that code is made for; of the last cache what a machine of two cores or more may be hoped to
 * have: bits must not depend on the machine that compiles. */
enum { CACHE_LINE = 64, CACHE_LINE_FLOATS = CACHE_LINE / sizeof(float), LAST_CACHE = 32 << 20 };

/* `name` is the name of a CodegenTarget, or NULL for this machine's; `cpu` as in CodegenOptions. False with a sentence in why. */
bool target_open(Target *target, const char *name, const char *cpu, char *why, size_t why_size);
void target_close(Target *target);
/* Which of the names in runtime/cpu_features.def code for this CPU may use, split by blanks; those of AMX if target->amx.
 * malloc'd; NULL if LLVM fails. */
char *target_features(const Target *target);
#define TARGET_AMX "amx-tile amx-bf16"
bool target_has_amx(const Target *target); /* the CPU has both, whatever target->amx says */
/* Another machine of the same kind, for another thread. NULL if LLVM refuses. */
LLVMTargetMachineRef target_machine(const Target *target);
/* A buffer that LLVM was asked for, and made without a word about memory: NULL ends the process (out_of_memory). */
LLVMMemoryBufferRef target_buffer(LLVMMemoryBufferRef buffer);

/* ---- layout: logical types in memory ----
 * [N,C,H,W] f32   [N][ceil(C/V)][H][W][V] of map_bytes channels padded with zeros, always kept zero by whoever stores
 *                 images of few channels that only convolutions read: [N][C][H][W] f32, as the runtime has them
 * [N,C] f32       rows of C padded to a multiple of V  ([N][Cp]), zeros
 * [C] f32         padded to a multiple of V, zeros
 * [] f32          one V-wide line
 * [O,I,kh,kw] filters and [O,K] dense weights: see RtLayout in runtime/abi.h (FILTERS and ROWS). Whether a rank-4 or rank-2
 * value is a feature map or a weight follows from the value (PARAM, gradient of one, what op_makes_filters), see layout_of. */
typedef enum LayoutKind { LAYOUT_FEATURE, LAYOUT_ROWS, LAYOUT_VECTOR, LAYOUT_FILTERS, LAYOUT_LABELS, LAYOUT_IMAGES } LayoutKind;
LayoutKind layout_of(const Graph *g, Val v);                        /* of result 0 of v, or of a RESULT value */
int64_t layout_pad(const Target *t, int64_t channels);              /* up to a multiple of V */
uint64_t layout_bytes(const Target *t, LayoutKind kind, Type type); /* physical, a multiple of RT_ALIGN */
/* Of an index (value_is_index) with f32 elements. */
uint64_t layout_value_bytes(const Target *t, LayoutKind kind, const Graph *g, Val v);
static inline uint64_t align_bytes(uint64_t bytes) { return (bytes + RT_ALIGN - 1) / RT_ALIGN * RT_ALIGN; }
#endif
