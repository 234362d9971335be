/* How work is cut into pieces: by its size alone, never by the number of threads, so that the bits do not depend on them. A
 * piece is large enough (PIECE_BYTES of memory traffic) that handing it to a thread costs little beside it. */
#include "codegen/emit/pieces.h"
#include "codegen/emit/arith.h"

Split split_units(int64_t units, double unit_bytes) {
    int64_t per_piece = (int64_t)(PIECE_BYTES / (unit_bytes > 1 ? unit_bytes : 1));
    if (per_piece < 1) per_piece = 1;
    if (per_piece > units) per_piece = units;
    return (Split){units, per_piece, (units + per_piece - 1) / per_piece};
}

Loop split_begin(Emitter *e, const Split *split) {
    if (split->pieces == 1) return loop_begin(e, emit_int(e, 0), emit_int(e, split->units), 1, 0, NULL);
    LLVMValueRef lo = emit_mul_int(e, e->piece, split->per_piece);
    LLVMValueRef hi = emit_add_int(e, lo, emit_int(e, split->per_piece));
    if (split->units % split->per_piece) hi = emit_min_int(e, hi, emit_int(e, split->units));
    return loop_begin(e, lo, hi, 1, 0, NULL);
}

LLVMValueRef emit_share(Emitter *e, LLVMValueRef part, int64_t total, int64_t parts) {
    LLVMValueRef scaled = emit_mul_int(e, part, total);
    return parts == 1 ? scaled : LLVMBuildUDiv(e->b, scaled, emit_int(e, parts), "");
}

Cut emit_cut(Emitter *e, int64_t cuts, int64_t total) {
    if (cuts == 1) return (Cut){e->piece, emit_int(e, 0), emit_int(e, total)};
    LLVMValueRef n = emit_int(e, cuts), cut = LLVMBuildURem(e->b, e->piece, n, "");
    return (Cut){LLVMBuildUDiv(e->b, e->piece, n, ""), emit_share(e, cut, total, cuts),
                 emit_share(e, emit_add_int(e, cut, emit_int(e, 1)), total, cuts)};
}
