/* The finished module as machine code. */
#ifndef NETC_CODEGEN_OBJECT_H
#define NETC_CODEGEN_OBJECT_H
#include "codegen/lowering.h"

enum { OBJECT_MAX_PARTS = 8 };

/* Verifies, optimises and compiles p's module, on several threads if it is large: object[0..*count) are the caller's. Writes
 * the dumps that the options ask for. False with a diagnostic on failure. */
bool objects_emit(ProgramBuilder *p, LLVMMemoryBufferRef object[OBJECT_MAX_PARTS], uint32_t *count);
/* The same as one object, whatever else the module holds besides kernels. */
bool object_emit(ProgramBuilder *p, LLVMMemoryBufferRef *object);
uint64_t object_code_bytes(LLVMMemoryBufferRef object); /* of its text section */
#endif
