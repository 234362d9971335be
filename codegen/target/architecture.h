/* What of a machine follows from its architecture: rows of architectures.def. Private to target/ but for the vectors, of which
 * Target carries those that its CPU has. */
#ifndef NETC_CODEGEN_ARCHITECTURE_H
#define NETC_CODEGEN_ARCHITECTURE_H
#include "codegen/codegen.h"

/* Vectors of one width, and what can be done with them; where a capability is NULL, emitters do without. */
typedef struct VectorLevel {
    const char *shown;       /* in assembly of a CPU that has them: what the registers are called there */
    bool with_fma;           /* taken only where they have fused multiply-add */
    int lanes, registers;    /* f32; how many */
    const char *tuning;      /* bits, for CPUs whose tuning prefers narrower ones */
    const char *store_fence; /* intrinsic that orders whole vectors stored past the caches; NULL: no such stores */
    const char *bf16_shown;  /* in assembly of a CPU with bf16 */
    const char *bf16_dot;    /* intrinsic: acc + products of pairs of bf16, in f32 */
    const char *pinned_fma;  /* assembly: $0 += $1 * (f32 at $2 + constant $4, to all lanes), which LLVM keeps in order */
    const char *pinned_dot;  /* the same of pairs of bf16 */
    const char *pinned_constraints;
} VectorLevel;

enum { MAX_VECTOR_LEVELS = 4, MAX_LANES = 16 }; /* of a row; of vectors */
typedef struct Architecture {
    CodegenTarget target;
    const char *llvm;                   /* "X86" */
    const char *fma[2];                 /* mnemonics of fused multiply-adds begin so */
    const char *const *without_64_bits; /* LLVM's names of CPUs that cannot run 64-bit code; NULL: none */
    VectorLevel vectors[MAX_VECTOR_LEVELS];
} Architecture;

/* LLVM's code generators of all rows; with the assemblers, for inline assembly. LLVM's list of them has no lock: once
 * in a process, before anybody reads it. */
void architectures_initialise(void);
/* Of a triple, which may name a vendor too: "x86_64-pc-linux-gnu" is "x86_64-linux-gnu". NULL: none that netc knows. */
const Architecture *architecture_of(const char *triple);
/* The vectors of a CPU by assembly that uses the widest it has. */
const VectorLevel *architecture_vectors(const Architecture *a, const char *assembly, bool fma);
#endif
