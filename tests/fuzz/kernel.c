/* Any bytes as a file of the kernel cache, and as the object in one whose checksum is right: refused, or loaded as far as to run.
 */
#include "codegen/link/elf.h"
#include "codegen/program/cache.h"
#include "tests/fuzz/fuzz.h"
#include <sys/stat.h>

static void *resolve(const char *name) { return strcmp(name, "memset") ? NULL : (void *)(uintptr_t)&memset; }

static void load(const CachedKernel *kernel) {
    static const char *const symbol[] = {"netc_kernel"};
    CodeObject object = {kernel->object, kernel->size};
    LoadedCode code;
    void *address[1];
    char why[400] = "";
    bool loaded = code_load(&object, 1, &(CodeSymbols){symbol, 1, resolve}, address, &code, why, sizeof why);
    FUZZ_CHECK(loaded ? (char *)address[0] >= code.memory && (char *)address[0] <= code.memory + code.bytes : *why != 0);
    code_unload(&code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char directory[64], path[128], name[CACHE_NAME];
    CachedKernel kernel = {.object = (void *)(uintptr_t)data, .size = size}, read;
    if (!*directory) {
        snprintf(directory, sizeof directory, "/dev/shm/netc-fuzz-%d", (int)getpid());
        FUZZ_CHECK(!mkdir(directory, 0700));
        kernel_cache_name("fuzz", name);
        snprintf(path, sizeof path, "%s/%s", directory, name);
    }
    kernel_cache_write(directory, name, &kernel);
    FUZZ_CHECK(kernel_cache_read(directory, name, &read) && read.size == size);
    load(&read);
    free(read.object);
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file && fwrite(data, 1, size, file) == size && !fclose(file));
    if (kernel_cache_read(directory, name, &read)) {
        load(&read);
        free(read.object);
    }
    kernel_cache_trim(directory, 0);
    return 0;
}
