/* Finished modules as machine code. */
#ifndef NETC_CODEGEN_OBJECT_H
#define NETC_CODEGEN_OBJECT_H
#include "codegen/program/program.h"

/* Verifies, optimises and compiles the emitter's module, whatever it holds. Writes the dumps that the options ask for. The object
 * is the caller's. False with a diagnostic. */
bool object_emit(ProgramBuilder *p, LLVMMemoryBufferRef *object);
/* Likewise every kernel that has a module of its own, on several threads if there are many: Kernel.object; new ones go into the
 * cache. */
bool kernels_compile(ProgramBuilder *p);
/* Writes a file whole, or none at all. False with a diagnostic. */
bool object_write(ProgramBuilder *p, const char *path, const void *bytes, size_t size);
#endif
