/* Inside codegen/: a finished ProgramBuilder becomes a Jit. */
#ifndef NETC_CODEGEN_JIT_H
#define NETC_CODEGEN_JIT_H
#include "codegen/program/program.h"

/* Opens target and builder for code that will run here. False with a diagnostic. */
bool jit_open(Target *target, ProgramBuilder *p, const char *name, const CodegenOptions *options, Diag *diag);
/* Compiles and links what p holds. Takes p and the target over in any case. NULL with a diagnostic. `shape` gives the
 * Program's descriptive members (model, sizes of the input, recipe); tables and blocks are filled in. */
Jit *jit_finish(Target *target, ProgramBuilder *p, const RtProgram *shape, double started);
double jit_clock(void); /* seconds */
#endif
