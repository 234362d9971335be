/* Writing safetensors: in memory first, then to disk so that no moment leaves a half-written file under the final name. */
#include "runtime/grow.h"
#include "runtime/json.h"
#include "runtime/safetensors.h"
#include "runtime/sha256.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

float *st_add(StOut *o, const char *name, uint32_t rank, const int64_t *dim) {
    size_t bytes = sizeof(float);
    for (uint32_t i = 0; i < rank; i++) bytes *= (size_t)dim[i];
    StTensor *tensors = rt_grow(o->tensor, o->ntensors + 1u, &o->capacity, sizeof *tensors);
    if (tensors) o->tensor = tensors;
    char *data = rt_grow(o->data, o->length + bytes, &o->data_capacity, 1);
    if (data) o->data = data;
    if (!tensors || !data) return o->failed = true, NULL;
    StTensor *t = &o->tensor[o->ntensors++];
    *t = (StTensor){.dtype = "F32", .rank = rank, .begin = (int64_t)o->length, .end = (int64_t)(o->length + bytes)};
    t->name = strdup(name);
    if (!t->name) o->failed = true;
    for (uint32_t i = 0; i < rank; i++) t->dim[i] = dim[i];
    o->length += bytes;
    return (float *)(void *)(o->data + t->begin);
}

void st_add_metadata(StOut *o, const char *key, const char *format, ...) {
    StPair *pairs = rt_grow(o->pair, o->npairs + 1u, &o->pair_capacity, sizeof *pairs);
    va_list args;
    char *value = NULL;
    if (!pairs) {
        o->failed = true;
        return;
    }
    o->pair = pairs;
    va_start(args, format);
    if (vasprintf(&value, format, args) < 0) value = NULL;
    va_end(args);
    StPair pair = {.key = strdup(key), .value = value};
    o->pair[o->npairs++] = pair;
    if (!pair.key || !pair.value) o->failed = true;
}

void st_free(StOut *o) {
    for (uint32_t i = 0; i < o->npairs; i++) free(o->pair[i].key), free(o->pair[i].value);
    for (uint32_t i = 0; i < o->ntensors; i++) free(o->tensor[i].name);
    free(o->pair);
    free(o->tensor);
    free(o->data);
    *o = (StOut){0};
}

static void write_header(const StOut *o, FILE *h) {
    fputs("{\"__metadata__\":{", h);
    for (uint32_t i = 0; i < o->npairs; i++) {
        if (i) fputc(',', h);
        json_write_string(h, o->pair[i].key);
        fputc(':', h);
        json_write_string(h, o->pair[i].value);
    }
    fputc('}', h);
    for (uint32_t i = 0; i < o->ntensors; i++) {
        const StTensor *t = &o->tensor[i];
        fputc(',', h);
        json_write_string(h, t->name);
        fputs(":{\"dtype\":\"F32\",\"shape\":[", h);
        for (uint32_t d = 0; d < t->rank; d++) fprintf(h, "%s%lld", d ? "," : "", (long long)t->dim[d]);
        fprintf(h, "],\"data_offsets\":[%lld,%lld]}", (long long)t->begin, (long long)t->end);
    }
    fputc('}', h);
}

/* The header's length stands before it, and is known, and written, last. */
static bool write_file(const StOut *o, FILE *f) {
    char key[] = "data_sha256", hex[65], size[8] = {0};
    StOut with_sum = *o;
    StPair *pairs = malloc((o->npairs + 1) * sizeof *pairs);
    if (!pairs) return errno = ENOMEM, false;
    if (o->npairs) memcpy(pairs, o->pair, o->npairs * sizeof *pairs);
    rt_sha256_hex(o->data, o->length, hex);
    pairs[o->npairs] = (StPair){.key = key, .value = hex};
    with_sum.pair = pairs;
    with_sum.npairs++;
    fwrite(size, sizeof size, 1, f);
    write_header(&with_sum, f);
    while (ftell(f) % 8 > 0) fputc(' ', f); /* tensors start at multiples of 8 */
    long end = ftell(f);
    if (o->length) fwrite(o->data, o->length, 1, f);
    for (int i = 0; i < 8; i++) size[i] = (char)((uint64_t)(end - 8) >> (8 * i));
    free(pairs);
    return end > 8 && fseek(f, 0, SEEK_SET) == 0 && fwrite(size, sizeof size, 1, f) == 1 && !ferror(f);
}

void rt_sync_directory(const char *path) {
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

RtStatus st_write(StOut *o, const char *path, RtError *error) {
    char *temporary = NULL;
    struct stat info;
    if (!stat(path, &info) && !S_ISREG(info.st_mode)) /* renaming would put a file in a device's place */
        return rt_fail(error, RT_IO, "cannot write %s: it is not a regular file", path);
    if (o->failed || asprintf(&temporary, "%s.tmp-%ld", path, (long)getpid()) < 0)
        return rt_fail(error, RT_IO, "cannot write %s: out of memory", path);
    FILE *f = fopen(temporary, "wb");
    errno = f ? 0 : errno;
    bool ok = f && write_file(o, f) && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int reason = errno;
    if (f && fclose(f) != 0 && ok) ok = false, reason = errno;
    if (ok && rename(temporary, path) != 0) ok = false, reason = errno;
    RtStatus status = RT_OK;
    if (!ok) {
        status = rt_fail(error, RT_IO, "cannot write %s: %s", path, reason ? strerror(reason) : "the disk is full");
        if (f) unlink(temporary);
    } else {
        rt_sync_directory(path);
    }
    free(temporary);
    return status;
}
