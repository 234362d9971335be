/* What netc keeps from one run to the next so as not to make it twice, compiled kernels and decoded pictures: the directories,
 * how they are held to a size, and the checksum that files carry. What a file is and what it is called is the business of who
 * writes it. Nothing here says anything: a cache only saves time. */
#ifndef NETC_RUNTIME_KEPT_H
#define NETC_RUNTIME_KEPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where things of this kind are: netc/KIND in the user's cache directory, $XDG_CACHE_HOME or ~/.cache; malloc'd. $NETC_CACHE is a
 * directory instead, with the things in it, or in a folder KIND of it. NULL if it is "off", if there is no home, and without
 * memory. */
char *rt_kept_directory(const char *kind, bool folder);
/* A directory with those above it. False: it is not there, and errno says why. */
bool rt_make_directories(const char *directory);

typedef enum RtKeptFile {
    RT_KEPT_NOT,   /* another's: left alone */
    RT_KEPT_ONE,   /* counted, and removed by its age */
    RT_KEPT_BEGUN, /* being written, or left by a process that was killed: removed when it is a day old, by either function */
} RtKeptFile;
typedef RtKeptFile RtKeptKind(const char *name);

typedef struct RtKept {
    uint64_t files, bytes;
} RtKept;
RtKept rt_kept_info(const char *directory, RtKeptKind *kind);
/* Removes the files that were written or used (their time is that of their last use) least recently until at most `bytes` are
 * left; 0: all. */
void rt_kept_trim(const char *directory, RtKeptKind *kind, uint64_t bytes);

/* Continues the sum `sum`, whatever it begins with, over these bytes. Changes with every change of one word: each step is one to
 * one in what it takes. Fast, since whole data sets go through it; kept in checkpoints (identity.c), so it stays as it is. */
uint64_t rt_checksum(uint64_t sum, const void *bytes, size_t n);
#endif
