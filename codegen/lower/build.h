/* Inside codegen/: from the compiler's input to a finished ProgramBuilder, for whoever links it (jit.c, aot.c). */
#ifndef NETC_CODEGEN_BUILD_H
#define NETC_CODEGEN_BUILD_H
#include "codegen/program/program.h"

/* Lowers both graphs. `shape` receives the Program's descriptive members: model, sizes of the input, recipe. */
void program_build(ProgramBuilder *p, const CodegenInput *input, RtProgram *shape);
/* Everything of the Program but what only linking knows: entries and constants are left empty. Texts are copied into p's arena.
 */
void program_fill(ProgramBuilder *p, const RtProgram *shape, RtProgram *program);
#endif
