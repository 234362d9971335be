/* The finished module as machine code. */
#ifndef NETC_CODEGEN_OBJECT_H
#define NETC_CODEGEN_OBJECT_H
#include "codegen/lowering.h"

/* Verifies, optimises and compiles p's module; writes the dumps that the options ask for. NULL with a diagnostic on failure.
 * The buffer is the caller's. */
LLVMMemoryBufferRef object_emit(ProgramBuilder *p);
uint64_t object_code_bytes(LLVMMemoryBufferRef object); /* of its text section */
#endif
