/* Work cut into pieces: `units` equal units, enough of them in a piece to be worth a thread's while. */
#ifndef NETC_CODEGEN_PIECES_H
#define NETC_CODEGEN_PIECES_H
#include "codegen/emit/loop.h"

enum { PIECE_BYTES = 64 * 1024 }; /* of memory traffic: worth handing to a thread */

typedef struct Split {
    int64_t units, per_piece, pieces;
} Split;
Split split_units(int64_t units, double unit_bytes);
Loop split_begin(Emitter *e, const Split *split); /* over the units of this piece; ends with loop_end */
LLVMValueRef emit_share(Emitter *e, LLVMValueRef part, int64_t total,
                        int64_t parts); /* where the part-th of `parts` nearly equal shares of `total` begins */
#endif
