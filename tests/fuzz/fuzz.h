/* What the harnesses share. Each is one function of libFuzzer's kind; replay.c calls the same function on files. */
#ifndef NETC_TESTS_FUZZ_H
#define NETC_TESTS_FUZZ_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise of the reader is broken. */
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))

/* The bytes as a file: a path to one in memory, the same at every call. */
static inline const char *fuzz_file(const void *data, size_t size) {
    static char path[64];
    static int file = -1;
    if (file < 0) {
        file = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    FUZZ_CHECK(file >= 0 && !ftruncate(file, 0) && pwrite(file, data, size, 0) == (ssize_t)size);
    return path;
}

/* The bytes as text: a copy with a zero behind it. Free it. */
static inline char *fuzz_text(const void *data, size_t size) {
    char *text = malloc(size + 1);
    FUZZ_CHECK(text);
    if (size) memcpy(text, data, size);
    text[size] = 0;
    return text;
}
#endif
