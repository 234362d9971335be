/* Tiles by the intrinsics that name registers (amx.h): nothing is left to a register allocator, and none of them moves. */
#include "codegen/emit/amx.h"
#include "codegen/emit/arith.h"

static LLVMValueRef tile_number(Emitter *e, int tile) { return LLVMConstInt(e->i8, (uint64_t)tile, false); }

static int64_t rows_of(const Emitter *e, int tile) { return tile >= AMX_B ? e->tile_words : e->tile_rows; }

static int64_t row_bytes(const Emitter *e, int tile) {
    bool a = tile >= AMX_A && tile < AMX_A + AMX_NA;
    return (a ? e->tile_words : e->V) * (int64_t)sizeof(float);
}

int64_t amx_bytes(const Emitter *e, int tile, int64_t stride) { return (rows_of(e, tile) - 1) * stride + row_bytes(e, tile); }

/* LDTILECFG's operand: palette 1; from byte 16 on the bytes of a row, 16 bits a tile; from byte 48 on the rows, 8 bits a tile. */
void amx_begin(Emitter *e, int64_t rows, int64_t words, LLVMValueRef scratch) {
    uint8_t shape[AMX_CONFIG_BYTES] = {1};
    e->tile_rows = rows;
    e->tile_words = words;
    for (int t = AMX_C; t < AMX_B + AMX_NB; t++) {
        shape[16 + 2 * t] = (uint8_t)row_bytes(e, t);
        shape[48 + t] = (uint8_t)rows_of(e, t);
    }
    LLVMValueRef byte[AMX_CONFIG_BYTES];
    for (int i = 0; i < AMX_CONFIG_BYTES; i++) byte[i] = LLVMConstInt(e->i8, shape[i], false);
    LLVMSetAlignment(LLVMBuildStore(e->b, LLVMConstVector(byte, AMX_CONFIG_BYTES), scratch), AMX_CONFIG_BYTES);
    emit_fixed_intrinsic(e, "llvm.x86.ldtilecfg", &scratch, 1);
}

void amx_end(Emitter *e) { emit_fixed_intrinsic(e, "llvm.x86.tilerelease", NULL, 0); }

void amx_zero(Emitter *e, int tile) {
    LLVMValueRef number = tile_number(e, tile);
    emit_fixed_intrinsic(e, "llvm.x86.tilezero", &number, 1);
}

static void move(Emitter *e, const char *name, int tile, LLVMValueRef at, int64_t stride) {
    LLVMValueRef args[3] = {tile_number(e, tile), at, emit_int(e, stride * (int64_t)sizeof(float))};
    emit_fixed_intrinsic(e, name, args, 3);
}

void amx_load(Emitter *e, int tile, LLVMValueRef at, int64_t stride) { move(e, "llvm.x86.tileloadd64", tile, at, stride); }
void amx_store(Emitter *e, int tile, LLVMValueRef at, int64_t stride) { move(e, "llvm.x86.tilestored64", tile, at, stride); }

void amx_dot(Emitter *e, int c, int a, int b) {
    LLVMValueRef args[3] = {tile_number(e, c), tile_number(e, a), tile_number(e, b)};
    emit_fixed_intrinsic(e, "llvm.x86.tdpbf16ps", args, 3);
}
