/* A file: header, object code. The header holds a magic number, the length, and a checksum of all that follows it. */
#include "codegen/program/cache.h"
#include "runtime/file.h"
#include "runtime/kept.h"
#include "runtime/sha256.h"
#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <time.h>

typedef struct FileHeader {
    char magic[8];
    uint64_t checksum; /* of the rest of the header and the code */
    uint64_t size, scratch_bytes, gemm;
} FileHeader;

static const char magic[8] = "netc-k1";

enum { MAX_OBJECT = 64 << 20, USED_SECONDS = 3600 };

/* ---- names ---- */

/* The linker's build ID of the program that this code is part of. */
static int find_build(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    char *text = context;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_NOTE) continue;
        const char *at = (const char *)info->dlpi_addr + segment->p_vaddr, *end = at + segment->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            const char *name = at + sizeof note, *id = name + (note.n_namesz + 3) / 4 * 4;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !memcmp(name, "GNU", 4) && note.n_descsz <= 32)
                for (uint32_t k = 0; k < note.n_descsz; k++) sprintf(text + 2 * k, "%02x", (unsigned char)id[k]);
            at = id + (note.n_descsz + 3) / 4 * 4;
        }
    }
    return 1; /* the first object is the program itself */
}

void kernel_cache_build(char build[CACHE_BUILD]) {
    *build = 0;
    dl_iterate_phdr(find_build, build);
}

void kernel_cache_name(const char *decides, char name[CACHE_NAME]) {
    char hex[65];
    rt_sha256_hex(decides, strlen(decides), hex);
    snprintf(name, CACHE_NAME, "%.32s", hex);
}

static bool is_name(const char *text) {
    return strlen(text) == CACHE_NAME - 1 && strspn(text, "0123456789abcdef") == CACHE_NAME - 1;
}

/* A file, or what a killed process left of one being written. */
static RtKeptFile kind_of(const char *name) {
    return is_name(name) || (strlen(name) == 10 && !strncmp(name, "new-", 4)) ? RT_KEPT_ONE : RT_KEPT_NOT;
}

static void path_of(char path[4096], const char *directory, const char *name) { snprintf(path, 4096, "%s/%s", directory, name); }

/* ---- reading and writing ---- */

static uint64_t file_checksum(const FileHeader *h, const void *object) {
    uint64_t hash = rt_checksum(0, &h->size, sizeof *h - offsetof(FileHeader, size));
    return rt_checksum(hash, object, h->size);
}

/* Code that another user can have written is not run. */
static bool is_trusted(const struct stat *status) {
    return (status->st_uid == geteuid() || status->st_uid == 0) && !(status->st_mode & (S_IWGRP | S_IWOTH));
}

bool kernel_cache_read(const char *directory, const char *name, CachedKernel *kernel) {
    char path[4096];
    path_of(path, directory, name);
    int64_t size;
    const char *why;
    FILE *file = file_open(path, &size, &why);
    if (!file) return false;
    FileHeader h;
    struct stat status;
    bool whole = !fstat(fileno(file), &status) && is_trusted(&status) && fread(&h, sizeof h, 1, file) == 1 &&
                 !memcmp(h.magic, magic, sizeof magic) && h.size <= MAX_OBJECT && (uint64_t)size == sizeof h + h.size;
    void *object = whole ? malloc(h.size + 1) : NULL;
    whole = object && fread(object, 1, h.size, file) == h.size && file_checksum(&h, object) == h.checksum;
    if (whole && time(NULL) - status.st_mtime > USED_SECONDS) futimens(fileno(file), NULL); /* what is used is trimmed last */
    fclose(file);
    if (!whole) {
        free(object);
        return false;
    }
    *kernel = (CachedKernel){h.scratch_bytes, (uint32_t)h.gemm, object, h.size};
    return true;
}

void kernel_cache_write(const char *directory, const char *name, const CachedKernel *kernel) {
    char path[4096], temporary[4096];
    path_of(path, directory, name);
    if ((size_t)snprintf(temporary, sizeof temporary, "%s/new-XXXXXX", directory) >= sizeof temporary) return;
    int file = mkstemp(temporary);
    if (file < 0) return;
    FileHeader h = {.size = kernel->size, .scratch_bytes = kernel->scratch_bytes, .gemm = kernel->gemm};
    memcpy(h.magic, magic, sizeof magic);
    h.checksum = file_checksum(&h, kernel->object);
    bool written =
        write(file, &h, sizeof h) == (ssize_t)sizeof h && write(file, kernel->object, kernel->size) == (ssize_t)kernel->size;
    if (close(file) || !written || rename(temporary, path)) unlink(temporary);
}

RtKept kernel_cache_info(const char *directory) { return rt_kept_info(directory, kind_of); }
void kernel_cache_trim(const char *directory, uint64_t bytes) { rt_kept_trim(directory, kind_of, bytes); }
