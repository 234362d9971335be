/* Running other programs (curl, npm, tar), without a shell. */
#ifndef NETC_DRIVER_PROCESS_H
#define NETC_DRIVER_PROCESS_H
#include <stdbool.h>
#include <stdint.h>

/* A directory that fills while a program runs, for the progress line. */
typedef struct Watch {
    const char *label, *directory;
    int64_t expected; /* bytes when done; 0: unknown */
} Watch;

enum { PROGRAM_MISSING = -1, PROGRAM_KILLED = -2 };

/* Runs argv[0] (looked up in PATH) to its end; standard output is discarded unless `output` names a file for it, standard
 * error is passed through unless `quiet`. Returns its exit status, PROGRAM_MISSING or PROGRAM_KILLED. watch may be NULL. */
int process_run(char *const argv[], const char *output, bool quiet, const Watch *watch);

/* The body in a process of its own, which ends with what it returns; without standard output, and standard error only if `loud`.
 * It may take so many seconds (0: any), else SIGALRM ends it, and whatever it has started ends with it. *status is waitpid's.
 * False after a sentence. */
bool process_fork(int (*body)(void *context), void *context, bool loud, unsigned seconds, int *status);

/* Bytes of all files under a directory; and its removal with everything in it. */
int64_t directory_bytes(const char *directory);
bool directory_remove(const char *directory);
/* A new one under $TMPDIR or /tmp, malloc'd; NULL after a sentence. However this program ends, it does not outlive it. */
char *directory_temporary(void);
#endif
