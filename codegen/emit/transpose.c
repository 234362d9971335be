/* Transposing (transpose.h). */
#include "codegen/emit/transpose.h"

/* The V x V matrix of the rows transposed, in log2(V) rounds of interleaving row i with row i + V/2. */
void emit_transpose(Emitter *e, LLVMValueRef *row) {
    LLVMValueRef next[MAX_LANES], low[MAX_LANES], high[MAX_LANES];
    int V = e->V;
    for (int i = 0; i < V; i++) {
        low[i] = LLVMConstInt(e->i32, (uint64_t)(i / 2 + i % 2 * V), false);
        high[i] = LLVMConstInt(e->i32, (uint64_t)(V / 2 + i / 2 + i % 2 * V), false);
    }
    for (int round = 1; round < V; round *= 2) {
        for (int i = 0; i < V / 2; i++) {
            next[2 * i] = LLVMBuildShuffleVector(e->b, row[i], row[i + V / 2], LLVMConstVector(low, (unsigned)V), "");
            next[2 * i + 1] = LLVMBuildShuffleVector(e->b, row[i], row[i + V / 2], LLVMConstVector(high, (unsigned)V), "");
        }
        for (int i = 0; i < V; i++) row[i] = next[i];
    }
}
