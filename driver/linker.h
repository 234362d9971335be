/* The archives that netc has for a target, and the system's tools that link with them. */
#ifndef NETC_DRIVER_LINKER_H
#define NETC_DRIVER_LINKER_H
#include <stdbool.h>

bool target_is_cross(const char *target);
/* lib<name>.a among the target's archives, beside netc's own directory; malloc'd. */
char *target_archive(const char *target, const char *name);
/* The sentence for an archive that is not there; returns the exit status. */
int target_archive_missing(const char *target, const char *path);

/* Links by the first compiler driver for the target that is there, or without one. It fills in argument[0] and argument[n];
 * argument[n + 1] is NULL. `hint` is said behind "linking by 'cc' failed". Returns the exit status. */
int linker_run(const char *target, char **argument, int n, const char *hint);
/* The same without a compiler driver, if argument[1] says that an executable is made (-pie or -static-pie): by ld.lld or ld and
 * the C library's files. PROGRAM_MISSING (process.h) where one of them is missing. linker_run falls back to it. */
int linker_run_directly(const char *target, char *const *argument, const char *hint);
/* Runs the target's `tool` of binutils, or LLVM's; argument[0] is filled in. Returns the exit status. */
int target_tool_run(const char *target, const char *tool, char **argument);
#endif
