/* See decoded.h. A file: the head, the numbers of bad pictures, a checksum of each image, one of all that, then the images. */
#include "cli/decoded.h"
#include "cli/report.h"
#include "runtime/file.h"
#include "runtime/sha256.h"
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

enum { NAME = 33 };
/* The number changes with what decodes and fits (picture_read, picture_fit): old files are not looked at then. */
static const char magic[8] = "netcpic1", ending[] = ".pictures", begun[] = ".new";

struct Decoded {
    char *directory, *path;
    uint64_t image; /* bytes of one */
    uint32_t count; /* of both splits */
    bool settled;   /* no picture was changed so lately that its times may not tell another change */
};

typedef struct Head {
    char magic[8];
    uint64_t image, count, bad;
} Head;

/* ---- directory ---- */

char *decoded_directory(void) { return rt_kept_directory("pictures", true); }

static bool has_ending(const char *name, const char *end) {
    size_t n = strlen(name), e = strlen(end);
    return n > e && !strcmp(name + n - e, end);
}

static RtKeptFile kind_of(const char *name) {
    return has_ending(name, ending) ? RT_KEPT_ONE : has_ending(name, begun) ? RT_KEPT_BEGUN : RT_KEPT_NOT;
}

RtKept decoded_info(const char *directory) { return rt_kept_info(directory, kind_of); }
void decoded_trim(const char *directory, uint64_t bytes) { rt_kept_trim(directory, kind_of, bytes); }

/* ---- names ---- */

/* A clock that stamps files may stand still for some milliseconds, or seconds where it counts these alone. */
static bool is_settled(const struct stat *s, const struct timespec *now) {
    double age = (double)(now->tv_sec - s->st_ctim.tv_sec) + 1e-9 * (double)(now->tv_nsec - s->st_ctim.tv_nsec);
    return age > (s->st_ctim.tv_nsec ? 0.05 : 2.1);
}

static bool add_picture(RtSha256 *sum, const char *path, const struct timespec *now, bool *settled) {
    struct stat s;
    char text[256];
    if (stat(path, &s)) return false;
    snprintf(text, sizeof text, "%" PRIdMAX " %" PRIuMAX " %" PRIuMAX " %" PRIdMAX ".%09ld %" PRIdMAX ".%09ld",
             (intmax_t)s.st_size, (uintmax_t)s.st_dev, (uintmax_t)s.st_ino, (intmax_t)s.st_mtim.tv_sec, s.st_mtim.tv_nsec,
             (intmax_t)s.st_ctim.tv_sec, s.st_ctim.tv_nsec);
    rt_sha256_update(sum, text, strlen(text) + 1);
    *settled &= is_settled(&s, now);
    return true;
}

Decoded *decoded_open(const DecodedPart part[2], const PictureShape *shape) {
    RtSha256 sum;
    char text[160], libraries[160], hex[65];
    struct timespec now;
    char *directory = decoded_directory();
    Decoded *d = directory ? calloc(1, sizeof *d) : NULL;
    bool known = d != NULL;
    rt_sha256_init(&sum);
    clock_gettime(CLOCK_REALTIME, &now);
    if (d) *d = (Decoded){.image = (uint64_t)(shape->channels * shape->height * shape->width), .settled = true};
    snprintf(text, sizeof text, "%.8s %" PRId64 " %" PRId64 " %" PRId64 " %d %" PRIu32 " %" PRIu32, magic, shape->channels,
             shape->height, shape->width, (int)shape->fit, part[0].count, part[1].count);
    rt_sha256_update(&sum, text, strlen(text) + 1);
    picture_libraries(libraries, sizeof libraries);
    rt_sha256_update(&sum, libraries, strlen(libraries) + 1);
    for (int k = 0; k < 2 && known; k++)
        for (uint32_t i = 0; i < part[k].count && known; i++) known = add_picture(&sum, part[k].path[i], &now, &d->settled);
    rt_sha256_final(&sum, hex);
    if (!known) {
        free(directory);
        free(d);
        return NULL;
    }
    d->count = part[0].count + part[1].count;
    d->directory = directory;
    d->path = join("%s/%.*s%s", directory, NAME - 1, hex, ending);
    return d;
}

void decoded_close(Decoded *d) {
    if (!d) return;
    free(d->directory);
    free(d->path);
    free(d);
}

/* ---- files ---- */

/* Images of a file being read, each to its place. */
typedef struct Reading {
    const DecodedPart *part;
    const uint64_t *sum;
    uint64_t image;
    int file;
    int64_t begin; /* of the images in the file */
    bool damaged;
} Reading;

static bool read_whole(int file, uint8_t *to, uint64_t n, int64_t at) {
    while (n > 0) {
        ssize_t got = pread(file, to, n, at);
        if (got <= 0) return false;
        to += got, at += got, n -= (uint64_t)got;
    }
    return true;
}

static void read_image(void *context, int64_t i, int thread) {
    Reading *r = context;
    int64_t first = r->part[0].count;
    uint8_t *to = i < first ? r->part[0].images + (uint64_t)i * r->image : r->part[1].images + (uint64_t)(i - first) * r->image;
    (void)thread;
    if (!read_whole(r->file, to, r->image, r->begin + i * (int64_t)r->image) || rt_checksum(0, to, r->image) != r->sum[i])
        __atomic_store_n(&r->damaged, true, __ATOMIC_RELAXED);
}

static char *reason_of(const DecodedPart part[2], uint64_t i) {
    return i < part[0].count ? part[0].reason[i] : part[1].reason[i - part[0].count];
}

/* All in front of the images; *sums is malloc'd. */
static bool read_head(const Decoded *d, FILE *file, int64_t size, const DecodedPart part[2], uint64_t **sums) {
    Head h;
    uint64_t sum = 0, kept;
    *sums = malloc(((size_t)d->count + 1) * sizeof **sums);
    if (!*sums || fread(&h, sizeof h, 1, file) != 1 || memcmp(h.magic, magic, sizeof magic) != 0) return false;
    if (h.image != d->image || h.count != d->count || h.bad > h.count) return false;
    uint64_t front = sizeof h + h.bad * sizeof h.bad + (h.count + 1) * sizeof **sums;
    if ((uint64_t)size != front + h.count * h.image) return false;
    sum = rt_checksum(sum, &h, sizeof h);
    for (uint64_t i = 0; i < h.bad; i++) {
        uint64_t index;
        if (fread(&index, sizeof index, 1, file) != 1 || index >= h.count) return false;
        sum = rt_checksum(sum, &index, sizeof index);
        strcpy(reason_of(part, index), "bad");
    }
    if (fread(*sums, sizeof **sums, d->count, file) != d->count || fread(&kept, sizeof kept, 1, file) != 1) return false;
    return rt_checksum(sum, *sums, d->count * sizeof **sums) == kept;
}

bool decoded_read(const Decoded *d, const DecodedPart part[2], RtPool *pool) {
    int64_t size;
    const char *why;
    uint64_t *sums = NULL;
    FILE *file = d ? file_open(d->path, &size, &why) : NULL;
    if (!file) return false;
    bool ok = read_head(d, file, size, part, &sums);
    Reading r = {part, sums, d->image, fileno(file), ftello(file), false};
    if (ok) rt_pool_run(pool, read_image, &r, d->count);
    ok &= !r.damaged;
    if (ok) futimens(fileno(file), NULL); /* used now */
    fclose(file);
    free(sums);
    if (ok) return true;
    char *text = join("'%s', which keeps decoded pictures, is damaged: they are decoded again", d->path);
    say(RT_WARNING, text);
    free(text);
    for (int k = 0; k < 2; k++) memset(part[k].reason, 0, (size_t)part[k].count * sizeof *part[k].reason);
    return false;
}

static bool write_parts(const Decoded *d, const DecodedPart part[2], FILE *file) {
    Head h = {.image = d->image, .count = d->count};
    memcpy(h.magic, magic, sizeof magic);
    for (uint64_t i = 0; i < h.count; i++) h.bad += *reason_of(part, i) != 0;
    uint64_t sum = rt_checksum(0, &h, sizeof h), *sums = malloc(((size_t)h.count + 1) * sizeof *sums);
    bool ok = sums && fwrite(&h, sizeof h, 1, file) == 1;
    for (uint64_t i = 0; i < h.count && ok; i++) {
        if (!*reason_of(part, i)) continue;
        sum = rt_checksum(sum, &i, sizeof i);
        ok = fwrite(&i, sizeof i, 1, file) == 1;
    }
    for (uint64_t i = 0, at = 0; i < 2 && ok; i++)
        for (uint64_t k = 0; k < part[i].count; k++) sums[at++] = rt_checksum(0, part[i].images + k * d->image, d->image);
    if (ok) sums[h.count] = rt_checksum(sum, sums, h.count * sizeof *sums);
    ok = ok && fwrite(sums, sizeof *sums, h.count + 1, file) == h.count + 1;
    for (int k = 0; k < 2 && ok; k++) ok = fwrite(part[k].images, d->image, part[k].count, file) == part[k].count;
    free(sums);
    return ok;
}

void decoded_write(const Decoded *d, const DecodedPart part[2]) {
    if (!d || !d->settled || (double)d->count * (double)d->image > DECODED_BYTES || !rt_make_directories(d->directory)) return;
    char *fresh = join("%s.%ld%s", d->path, (long)getpid(), begun);
    FILE *file = fopen(fresh, "wb");
    bool ok = file && write_parts(d, part, file);
    ok = file && !fclose(file) && ok;
    if (!ok || rename(fresh, d->path)) unlink(fresh);
    decoded_trim(d->directory, (uint64_t)DECODED_BYTES);
    free(fresh);
}
