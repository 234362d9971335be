/* The archives that netc has for a target, and the system's tools that link with them. */
#ifndef NETC_DRIVER_LINKER_H
#define NETC_DRIVER_LINKER_H
#include <stdbool.h>

bool target_is_cross(const char *target);

/* A command line in the making. Zero-initialise; word[0], the program's name, is filled in by who runs it. words_free either way.
 */
enum { MAX_WORDS = 64 };
typedef struct Words {
    char *word[MAX_WORDS + 2]; /* malloc'd, but for word[0] */
    int count;
} Words;
void words_add(Words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void words_free(Words *w);

/* What every executable and shared library is linked with: nothing of it is writable and executable, nothing is bound late, and
 * what nobody calls is left out. */
#define LINK_FLAGS "-Wl,-z,relro,-z,now,-z,noexecstack,--gc-sections"

/* Adds the archive of the runtime for the target and, if the model calls OpenBLAS, the one that calls it. They stand beside
 * netc's own directory. A missing one is an exit status, after a sentence; `advice` says what else can be done without the
 * second. */
int words_add_runtime(Words *w, const char *target, bool needs_gemm, const char *advice);

/* Links by the first compiler driver for the target that is there, or without one. `hint` is said behind "linking by 'cc'
 * failed". Returns the exit status. */
int linker_run(const char *target, Words *w, const char *hint);
/* The same without a compiler driver, if the first word says that an executable is made (-pie or -static-pie): by ld.lld or ld
 * and the C library's files. PROGRAM_MISSING (process.h) where one of them is missing. linker_run falls back to it. */
int linker_run_directly(const char *target, const Words *w, const char *hint);
/* Runs the target's `tool` of binutils, or LLVM's. Returns the exit status. */
int target_tool_run(const char *target, const char *tool, Words *w);
#endif
