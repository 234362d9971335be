/* netc cache: what is kept, kernels and decoded pictures, and its removal. */
#include "driver/cache.h"
#include "cli/decoded.h"
#include "codegen/codegen.h"
#include "codegen/program/cache.h"
#include "driver/driver.h"
#include "runtime/json.h"
#include "runtime/kept.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *cache_directory(void) { return rt_kept_directory("kernels", false); }

char *cache_open(const Options *options) {
    char *directory = options->no_cache ? NULL : cache_directory();
    if (directory && !access(directory, R_OK | W_OK | X_OK)) return directory;
    if (directory && rt_make_directories(directory)) return directory;
    free(directory);
    return NULL;
}

/* What is kept in one of the caches, as words (of one, of several) or JSON. */
static void print_kept(const char *one, const char *what, const char *directory, RtKept kept, double most, bool json) {
    if (!json) {
        printf("%s: %" PRIu64 " %s, %.1f MB of at most %.0f\n", directory, kept.files, kept.files == 1 ? one : what,
               1e-6 * (double)kept.bytes, 1e-6 * most);
        return;
    }
    printf("{\"directory\": ");
    json_write_string(stdout, directory);
    printf(", \"files\": %" PRIu64 ", \"bytes\": %" PRIu64, kept.files, kept.bytes);
    json_write_member(stdout, "most", most);
    putchar('}');
}

static int info(const char *kernels, const char *pictures, bool json) {
    RtKept k = kernel_cache_info(kernels), p = decoded_info(pictures);
    if (json) printf("{\"kernels\": ");
    print_kept("compiled kernel", "compiled kernels", kernels, k, KERNEL_CACHE_BYTES, json);
    if (json) printf(", \"pictures\": ");
    print_kept("set of decoded pictures", "sets of decoded pictures", pictures, p, DECODED_BYTES, json);
    if (json) puts("}");
    return EXIT_OK;
}

static int cannot_remove(uint64_t files, const char *directory) {
    return fail(EXIT_IO, "cannot remove %" PRIu64 " file%s from '%s'", files, files == 1 ? "" : "s", directory);
}

static int clear(const char *kernels, const char *pictures, bool json) {
    uint64_t before = kernel_cache_info(kernels).files, sets = decoded_info(pictures).files;
    kernel_cache_trim(kernels, 0);
    decoded_trim(pictures, 0);
    uint64_t left = kernel_cache_info(kernels).files, sets_left = decoded_info(pictures).files;
    before -= left, sets -= sets_left;
    if (json)
        printf("{\"kernels_removed\": %" PRIu64 ", \"pictures_removed\": %" PRIu64 "}\n", before, sets);
    else
        printf("%" PRIu64 " compiled kernel%s and %" PRIu64 " set%s of decoded pictures removed\n", before,
               before == 1 ? "" : "s", sets, sets == 1 ? "" : "s");
    if (left) return cannot_remove(left, kernels);
    return sets_left ? cannot_remove(sets_left, pictures) : EXIT_OK;
}

int command_cache(const Options *options) {
    const char *action = options->noperands == 1 ? options->operand[0] : "";
    bool informs = !strcmp(action, "info"), clears = !strcmp(action, "clear");
    if (!informs && !clears) return usage_error("cache", "what to do: info or clear");
    char *kernels = cache_directory(), *pictures = decoded_directory();
    int status = EXIT_OK;
    if (!kernels || !pictures)
        puts(options->json ? "{}" : "nothing is kept (NETC_CACHE=off)");
    else
        status = informs ? info(kernels, pictures, options->json) : clear(kernels, pictures, options->json);
    free(kernels);
    free(pictures);
    return status;
}
