/* See kept.h. */
#include "runtime/kept.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NAME = 64, DAY = 24 * 60 * 60 };

/* ---- directories ---- */

static char *text(const char *root, const char *middle, const char *kind) {
    char *path;
    return asprintf(&path, "%s%s%s", root, middle, kind) < 0 ? NULL : path;
}

char *rt_kept_directory(const char *kind, bool folder) {
    const char *chosen = getenv("NETC_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (chosen && !strcmp(chosen, "off")) return NULL;
    if (chosen && *chosen) return folder ? text(chosen, "/", kind) : strdup(chosen);
    if (cache && *cache == '/') return text(cache, "/netc/", kind);
    return home && *home ? text(home, "/.cache/netc/", kind) : NULL;
}

static bool make_directory(const char *path) {
    struct stat s;
    if (!mkdir(path, 0777)) return true;
    if (errno != EEXIST) return false;
    if (!stat(path, &s) && S_ISDIR(s.st_mode)) return true;
    errno = ENOTDIR;
    return false;
}

bool rt_make_directories(const char *directory) {
    char *path = strdup(directory);
    bool made = path != NULL;
    for (char *c = path; made && *c; c++) {
        if (*c != '/' || c == path) continue;
        *c = 0;
        made = make_directory(path);
        *c = '/';
    }
    made = made && make_directory(path);
    free(path);
    return made;
}

/* ---- files ---- */

typedef struct File {
    char name[NAME];
    uint64_t bytes;
    struct timespec used;
} File;

/* All of them, malloc'd; without memory, some. */
static File *list_files(const char *directory, RtKeptKind *kind, RtKept *kept) {
    DIR *d = opendir(directory);
    File *all = NULL;
    uint64_t room = 0;
    *kept = (RtKept){0};
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat s;
        RtKeptFile is = kind(e->d_name);
        if (is == RT_KEPT_NOT || fstatat(dirfd(d), e->d_name, &s, 0) || !S_ISREG(s.st_mode)) continue;
        if (is == RT_KEPT_BEGUN && time(NULL) - s.st_mtim.tv_sec > DAY) unlinkat(dirfd(d), e->d_name, 0);
        if (is == RT_KEPT_BEGUN || strlen(e->d_name) >= NAME) continue;
        if (kept->files == room) {
            room = 2 * room + 64;
            File *more = realloc(all, room * sizeof *all);
            if (!more) break;
            all = more;
        }
        File *f = &all[kept->files++];
        *f = (File){.bytes = (uint64_t)s.st_size, .used = s.st_mtim};
        strcpy(f->name, e->d_name);
        kept->bytes += f->bytes;
    }
    if (d) closedir(d);
    return all;
}

RtKept rt_kept_info(const char *directory, RtKeptKind *kind) {
    RtKept kept;
    free(list_files(directory, kind, &kept));
    return kept;
}

static int oldest_first(const void *a, const void *b) {
    const struct timespec *x = &((const File *)a)->used, *y = &((const File *)b)->used;
    if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

void rt_kept_trim(const char *directory, RtKeptKind *kind, uint64_t bytes) {
    RtKept kept;
    File *all = list_files(directory, kind, &kept);
    if (kept.files && kept.bytes > bytes) qsort(all, kept.files, sizeof *all, oldest_first);
    for (uint64_t i = 0; i < kept.files && (kept.bytes > bytes || bytes == 0); i++) {
        char *path = text(directory, "/", all[i].name);
        /* one that is gone may have been removed by another process that trims */
        if (path && (!unlink(path) || errno == ENOENT)) kept.bytes -= all[i].bytes;
        free(path);
    }
    free(all);
}

uint64_t rt_checksum(uint64_t sum, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    for (uint64_t word; n >= sizeof word; n -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15U;
        sum ^= sum >> 29;
    }
    for (; n > 0; n--) sum = (sum ^ *p++) * 0x100000001b3U;
    return sum;
}
