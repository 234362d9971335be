/* Exit statuses and the one voice of failures, for netc and for the executables that it builds. */
#ifndef NETC_CLI_REPORT_H
#define NETC_CLI_REPORT_H
#include "runtime/rt.h"
#include <stdio.h>

enum { EXIT_OK = 0, EXIT_INPUT = 1, EXIT_USAGE = 2, EXIT_IO = 3, EXIT_INTERNAL = 70 };

/* "netc: error: ..." on stderr; returns status. Every failure outside a .net file is said through here. */
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
int fail_rt(RtStatus status, const RtError *error);
void say(RtSaying kind, const char *text); /* "netc: warning: ..." or "netc: note: ..." on stderr */
/* For a model that calls OpenBLAS, before it runs: says what in the environment changes its speed, and takes its memory by
 * `reserve` (rt_gemm_reserve). Exit status. */
int prepare_openblas(bool (*reserve)(int threads), int threads);
bool use_color(FILE *stream);                                              /* a terminal, and NO_COLOR is not set */
char *join(const char *format, ...) __attribute__((format(printf, 1, 2))); /* malloc'd text; ends the program if memory is out */
/* Whole file into malloc'd memory with a zero behind it; NULL with the sentence already printed and *status set. */
char *read_file(const char *path, size_t *length, int *status);
/* The same of up to `limit` bytes. */
char *read_large_file(const char *path, int64_t limit, size_t *length, int *status);
#endif
