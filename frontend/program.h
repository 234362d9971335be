/* A .net file with everything that it imports, and the library: parsed, declarations entered into their names. */
#ifndef NETC_FRONTEND_PROGRAM_H
#define NETC_FRONTEND_PROGRAM_H
#include "frontend/ast.h"

enum { MAX_FILES = 256, MAX_IMPORT_DEPTH = 64 };

typedef struct Program {
    Arena *arena;
    Names names;
    Diag *diag;
    const AstFile *root;
    uint32_t root_file;   /* its id in diag */
    const AstFile **file; /* imported files before the ones that import them; root last */
    uint32_t nfiles;
} Program;

/* Reads `path` and its imports into the arena. False after a report; a program with mistakes is not to be evaluated. */
bool program_load(Program *program, Arena *arena, Diag *diag, const char *path);
#endif
