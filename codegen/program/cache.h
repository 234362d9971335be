/* Finished kernels kept on disk, one file each, so that nothing is compiled twice.
 *
 * A file's name is a hash of everything that decides the code (kernel_cache_name). What is read is checked; a file that is
 * damaged or of another kind counts as absent and is replaced. Files appear whole or not at all, so several processes may share
 * a directory. Failure to write is silent: a cache only saves time. */
#ifndef NETC_CODEGEN_CACHE_H
#define NETC_CODEGEN_CACHE_H
#include "runtime/kept.h"

enum { CACHE_NAME = 33 };

typedef struct CachedKernel {
    uint64_t scratch_bytes;
    uint32_t gemm; /* GemmUse */
    void *object;  /* malloc'd */
    size_t size;
} CachedKernel;

enum { CACHE_BUILD = 65 };
/* Which netc this is: changes with its code. Empty if that cannot be told; then nothing may be kept. */
void kernel_cache_build(char build[CACHE_BUILD]);
void kernel_cache_name(const char *decides, char name[CACHE_NAME]);
bool kernel_cache_read(const char *directory, const char *name, CachedKernel *kernel);
void kernel_cache_write(const char *directory, const char *name, const CachedKernel *kernel);

RtKept kernel_cache_info(const char *directory);
/* Removes the files that were written or used least recently until at most `bytes` are left. */
void kernel_cache_trim(const char *directory, uint64_t bytes);
#endif
