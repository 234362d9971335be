/* A square of vectors, transposed in registers. */
#ifndef NETC_CODEGEN_EMIT_TRANSPOSE_H
#define NETC_CODEGEN_EMIT_TRANSPOSE_H
#include "codegen/emit/module.h"

/* The vectors row[0..V-1] as a V x V matrix, transposed in place. */
void emit_transpose(Emitter *e, LLVMValueRef *row);
#endif
