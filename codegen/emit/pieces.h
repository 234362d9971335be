/* Work cut into pieces: `units` equal units, enough of them in a piece to be worth a thread's while. */
#ifndef NETC_CODEGEN_PIECES_H
#define NETC_CODEGEN_PIECES_H
#include "codegen/emit/loop.h"
#include "ir/ir.h"

enum { PIECE_BYTES = 64 * 1024 }; /* of memory traffic: worth handing to a thread */
/* The least pieces worth having of so many images: two cores, two pieces each; but an inference graph of several images is run by
 * one thread (runtime/abi.h). */
enum { FEW_PIECES = 4 };
static inline int64_t few_pieces(Mode mode, int64_t images) { return mode == MODE_INFER && images > 1 ? 1 : FEW_PIECES; }

typedef struct Split {
    int64_t units, per_piece, pieces;
} Split;
Split split_units(int64_t units, double unit_bytes);
Loop split_begin(Emitter *e, const Split *split); /* over the units of this piece; ends with loop_end */
LLVMValueRef emit_share(Emitter *e, LLVMValueRef part, int64_t total,
                        int64_t parts); /* where the part-th of `parts` nearly equal shares of `total` begins */
/* `cuts` pieces share a whole, such as an image: which one e->piece is of, and its share, first .. end - 1, of `total`. */
typedef struct Cut {
    LLVMValueRef whole, first, end;
} Cut;
Cut emit_cut(Emitter *e, int64_t cuts, int64_t total);
#endif
