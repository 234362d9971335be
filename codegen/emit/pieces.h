/* Work cut into pieces: `units` equal units, enough of them in a piece to be worth a thread's while. */
#ifndef NETC_CODEGEN_PIECES_H
#define NETC_CODEGEN_PIECES_H
#include "codegen/emit/emit.h"

typedef struct Split {
    int64_t units, per_piece, pieces;
} Split;
Split split_units(int64_t units, double unit_bytes);
Loop split_begin(Emitter *e, const Split *split); /* over the units of this piece; ends with loop_end */
LLVMValueRef emit_cut(Emitter *e, LLVMValueRef part, int64_t total, int64_t parts); /* part * total / parts */
#endif
