/* Matrix tiles of AMX, for targets that have them (Target.amx): registers of up to 16 rows of 64 bytes, and
 *
 *     C[row][lane] += sum over w of A[row][w] . B[w][lane]
 *
 * where the elements of A and B are 32-bit words of two bf16, whose products are both added, and those of C are f32. The even
 * halves and the odd ones are summed apart, then together, and that is added to C: the order is the instruction's, the same on
 * every machine that has it; denormals are taken for zeros. A dot takes 16 cycles whatever the tiles' sizes.
 *
 * Addresses are of 32-bit words or f32, never of bf16 (emit_view). */
#ifndef NETC_CODEGEN_EMIT_AMX_H
#define NETC_CODEGEN_EMIT_AMX_H
#include "codegen/emit/module.h"

/* The registers, as amx_begin shapes them. */
enum { AMX_C = 0, AMX_NC = 4, AMX_A = 4, AMX_NA = 2, AMX_B = 6, AMX_NB = 2 };
enum { AMX_ROWS = 16, AMX_WORDS = 16, AMX_DOT_CYCLES = 16, AMX_TILE_FLOATS = 256, AMX_CONFIG_BYTES = 64 };

/* C: `rows` rows of V floats; A: `rows` rows of `words`; B: `words` rows of V words. `scratch`: 64 bytes to say so, aligned to as
 * many. The kernel must end with amx_end, and nothing that it calls may use tiles. */
void amx_begin(Emitter *e, int64_t rows, int64_t words, LLVMValueRef scratch);
void amx_end(Emitter *e);

void amx_zero(Emitter *e, int tile);
/* From or to `at`, where row 0 is; stride: words from a row to the next. */
void amx_load(Emitter *e, int tile, LLVMValueRef at, int64_t stride);
void amx_store(Emitter *e, int tile, LLVMValueRef at, int64_t stride);
/* Bytes from row 0 on that a load or store of a register touches, whose rows are so many bytes apart: for bounds.h. */
int64_t amx_bytes(const Emitter *e, int tile, int64_t stride);
void amx_dot(Emitter *e, int c, int a, int b);
#endif
