/* netc cache: what is kept, and its removal. */
#include "driver/cache.h"
#include "codegen/codegen.h"
#include "codegen/program/cache.h"
#include "driver/driver.h"
#include "driver/process.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *cache_directory(void) {
    const char *chosen = getenv("NETC_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (chosen && *chosen) return strcmp(chosen, "off") ? join("%s", chosen) : NULL;
    if (cache && *cache == '/') return join("%s/netc/kernels", cache);
    return home && *home ? join("%s/.cache/netc/kernels", home) : NULL;
}

char *cache_open(const Options *options) {
    char *directory = options->no_cache ? NULL : cache_directory();
    if (directory && !access(directory, R_OK | W_OK | X_OK)) return directory;
    if (directory && directory_make(directory)) return directory;
    free(directory);
    return NULL;
}

int command_cache(const Options *options) {
    const char *action = options->noperands == 1 ? options->operand[0] : "";
    bool info = !strcmp(action, "info"), clear = !strcmp(action, "clear");
    if (!info && !clear) return usage_error("cache", "what to do: info or clear");
    char *directory = cache_directory();
    if (!directory) {
        puts("no compiled kernels are kept (NETC_CACHE=off)");
        return EXIT_OK;
    }
    CacheInfo before = kernel_cache_info(directory);
    if (clear) kernel_cache_trim(directory, 0);
    CacheInfo left = kernel_cache_info(directory);
    if (info)
        printf("%s: %" PRIu64 " compiled kernels, %.1f MB of at most %.0f\n", directory, left.files, 1e-6 * (double)left.bytes,
               1e-6 * KERNEL_CACHE_BYTES);
    else
        printf("%s: %" PRIu64 " compiled kernels removed\n", directory, before.files - left.files);
    int status =
        clear && left.files ? fail(EXIT_IO, "cannot remove %" PRIu64 " files from '%s'", left.files, directory) : EXIT_OK;
    free(directory);
    return status;
}
