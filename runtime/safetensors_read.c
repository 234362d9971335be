/* Reading safetensors: every byte of the header is distrusted. See safetensors.h. */
#include "runtime/file.h"
#include "runtime/json.h"
#include "runtime/safetensors.h"
#include "runtime/sha256.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const int64_t max_header = 64 << 20, max_file = (int64_t)64 << 30;
enum { MAX_TENSORS = 200000 };

static int dtype_bytes(const char *dtype) {
    static const struct {
        const char *name;
        int bytes;
    } known[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8},
                 {"I32", 4}, {"I16", 2}, {"I8", 1},   {"U8", 1},  {"BOOL", 1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(dtype, known[i].name)) return known[i].bytes;
    return 0;
}

static bool read_shape(Json *j, StTensor *t) {
    char key[1];
    if (!json_begin(j, '[')) return false;
    for (bool first = true; json_next(j, '[', first, key, 0); first = false)
        if (t->rank == ST_RANK || !json_integer(j, &t->dim[t->rank++])) return false;
    return !j->failed;
}

static bool read_offsets(Json *j, StTensor *t) {
    char key[1];
    int n = 0;
    if (!json_begin(j, '[')) return false;
    for (bool first = true; json_next(j, '[', first, key, 0); first = false, n++)
        if (n == 2 || !json_integer(j, n ? &t->end : &t->begin)) return false;
    return !j->failed && n == 2;
}

static bool read_tensor(Json *j, StTensor *t) {
    char key[32];
    unsigned seen = 0;
    if (!json_begin(j, '{')) return false;
    for (bool first = true; json_next(j, '{', first, key, sizeof key); first = false) {
        bool ok;
        if (!strcmp(key, "dtype"))
            ok = json_string(j, t->dtype, sizeof t->dtype), seen |= 1;
        else if (!strcmp(key, "shape"))
            ok = !(seen & 2) && read_shape(j, t), seen |= 2;
        else if (!strcmp(key, "data_offsets"))
            ok = read_offsets(j, t), seen |= 4;
        else
            ok = json_skip(j);
        if (!ok) return false;
    }
    return !j->failed && seen == 7;
}

static bool read_metadata(Json *j, StFile *f) {
    char key[64], *value = malloc(ST_VALUE);
    bool ok = value && json_begin(j, '{');
    for (bool first = true; ok && json_next(j, '{', first, key, sizeof key); first = false) {
        StPair *pair = realloc(f->pair, (f->npairs + 1) * sizeof *pair);
        ok = pair && f->npairs < 256 && json_string(j, value, ST_VALUE);
        if (pair) f->pair = pair;
        if (!ok) break;
        memcpy(f->pair[f->npairs].key, key, sizeof key);
        ok = (f->pair[f->npairs++].value = strdup(value)) != NULL;
    }
    free(value);
    return ok && !j->failed;
}

/* Does the range lie in the data and hold exactly the elements of the shape? */
static bool range_fits(const StFile *f, const StTensor *t) {
    int64_t bytes = dtype_bytes(t->dtype);
    for (uint32_t i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(bytes, t->dim[i], &bytes)) return false;
    return dtype_bytes(t->dtype) && t->begin <= t->end && t->end <= f->data_length && t->end - t->begin == bytes;
}

static RtStatus read_header(StFile *f, int64_t length, RtError *error) {
    Json j = json_open(f->bytes + 8, (size_t)length);
    uint32_t capacity = 0;
    char name[ST_NAME];
    json_begin(&j, '{');
    for (bool first = true; json_next(&j, '{', first, name, sizeof name); first = false) {
        if (!strcmp(name, "__metadata__")) {
            if (!read_metadata(&j, f)) break;
            continue;
        }
        if (f->ntensors == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            StTensor *larger = capacity > MAX_TENSORS ? NULL : realloc(f->tensor, capacity * sizeof *larger);
            if (!larger) return rt_fail(error, RT_INPUT, "%s names too many tensors", f->path);
            f->tensor = larger;
        }
        StTensor *t = &f->tensor[f->ntensors];
        *t = (StTensor){0};
        memcpy(t->name, name, sizeof name);
        if (!read_tensor(&j, t)) break;
        f->ntensors++;
        if (t->end > f->data_length)
            return rt_fail(error, RT_INPUT, "%s is truncated: tensor '%s' ends at byte %lld of the data, but there are %lld",
                           f->path, name, (long long)t->end, (long long)f->data_length);
        if (!range_fits(f, t))
            return rt_fail(error, RT_INPUT, "%s: the data of tensor '%s' do not fit its type and shape", f->path, name);
    }
    if (j.failed || !json_end(&j))
        return rt_fail(error, RT_INPUT, "%s is damaged: its header is not a safetensors header", f->path);
    return RT_OK;
}

static int by_begin(const void *a, const void *b) {
    const StTensor *x = *(const StTensor *const *)a, *y = *(const StTensor *const *)b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const StTensor *const *)a)->name, (*(const StTensor *const *)b)->name);
}

/* No two tensors share a name or a byte. */
static RtStatus check_tensors(const StFile *f, RtError *error) {
    const StTensor **sorted = malloc((f->ntensors + 1) * sizeof *sorted);
    if (!sorted) return rt_fail(error, RT_INPUT, "not enough memory to read %s", f->path);
    RtStatus status = RT_OK;
    for (uint32_t i = 0; i < f->ntensors; i++) sorted[i] = &f->tensor[i];
    qsort(sorted, f->ntensors, sizeof *sorted, by_begin);
    for (uint32_t i = 1; status == RT_OK && i < f->ntensors; i++)
        if (sorted[i]->begin < sorted[i - 1]->end)
            status = rt_fail(error, RT_INPUT, "%s: tensors '%s' and '%s' overlap", f->path, sorted[i - 1]->name, sorted[i]->name);
    qsort(sorted, f->ntensors, sizeof *sorted, by_name);
    for (uint32_t i = 1; status == RT_OK && i < f->ntensors; i++)
        if (!strcmp(sorted[i]->name, sorted[i - 1]->name))
            status = rt_fail(error, RT_INPUT, "%s: two tensors are called '%s'", f->path, sorted[i]->name);
    free(sorted);
    return status;
}

static RtStatus check_sum(const StFile *f, RtError *error) {
    const char *expected = st_metadata(f, "data_sha256");
    char found[65];
    if (!expected) return RT_OK;
    rt_sha256_hex(f->data, (size_t)f->data_length, found);
    return strcmp(found, expected) ? rt_fail(error, RT_INPUT, "%s is damaged: its data do not match their SHA-256", f->path)
                                   : RT_OK;
}

static RtStatus read_whole(const char *path, StFile *file, int64_t *size, RtError *error) {
    const char *why;
    FILE *f = file_open(path, size, &why);
    if (!f) return rt_fail(error, file_misnamed() ? RT_INPUT : RT_IO, "cannot open %s: %s", path, why);
    RtStatus status = RT_OK;
    if (*size < 8 || *size > max_file)
        status = rt_fail(error, RT_INPUT, "%s is not a safetensors file: it has %lld bytes", path, (long long)*size);
    else if (!(file->bytes = file->owned = malloc((size_t)*size)))
        status = rt_fail(error, RT_INPUT, "not enough memory to read %s", path);
    else if (fread(file->owned, (size_t)*size, 1, f) != 1)
        status = rt_fail(error, RT_IO, "cannot read %s: %s", path, ferror(f) ? strerror(errno) : "it ends early");
    fclose(f);
    return status;
}

static RtStatus parse(StFile *file, int64_t size, RtError *error) {
    int64_t length = 0;
    for (int i = 7; i >= 0; i--) {
        if (length >> 55) return rt_fail(error, RT_INPUT, "%s is not a safetensors file", file->path);
        length = length << 8 | (uint8_t)file->bytes[i];
    }
    if (length < 2 || length > max_header) return rt_fail(error, RT_INPUT, "%s is not a safetensors file", file->path);
    if (length > size - 8)
        return rt_fail(error, RT_INPUT, "%s is truncated: its header needs %lld bytes", file->path, (long long)length);
    file->data = file->bytes + 8 + length;
    file->data_length = size - 8 - length;
    RtStatus status = read_header(file, length, error);
    if (status == RT_OK) status = check_tensors(file, error);
    return status == RT_OK ? check_sum(file, error) : status;
}

RtStatus st_open(const char *path, StFile *file, RtError *error) {
    *file = (StFile){.path = path};
    int64_t size = 0;
    RtStatus status = read_whole(path, file, &size, error);
    return status == RT_OK ? parse(file, size, error) : status;
}

RtStatus st_open_bytes(const void *bytes, size_t size, StFile *file, RtError *error) {
    *file = (StFile){.path = "the safetensors file in memory", .bytes = bytes};
    if (size < 8 || size > (size_t)max_file) return rt_fail(error, RT_INPUT, "%s is not one: it has %zu bytes", file->path, size);
    return parse(file, (int64_t)size, error);
}

void st_close(StFile *f) {
    for (uint32_t i = 0; i < f->npairs; i++) free(f->pair[i].value);
    free(f->pair);
    free(f->tensor);
    free(f->owned);
    *f = (StFile){0};
}

const StTensor *st_find(const StFile *f, const char *name) {
    for (uint32_t i = 0; i < f->ntensors; i++)
        if (!strcmp(f->tensor[i].name, name)) return &f->tensor[i];
    return NULL;
}

const char *st_metadata(const StFile *f, const char *key) {
    for (uint32_t i = 0; i < f->npairs; i++)
        if (!strcmp(f->pair[i].key, key)) return f->pair[i].value;
    return NULL;
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 31) return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float value = (float)fraction * 0x1p-24f;
    return sign ? -value : value;
}

bool st_read(const StFile *f, const StTensor *t, float *out) {
    const char *from = f->data + t->begin;
    int width = dtype_bytes(t->dtype);
    int64_t count = (t->end - t->begin) / width;
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        double wide;
        if (!strcmp(t->dtype, "F32")) {
            memcpy(out, from, (size_t)(t->end - t->begin));
            return true;
        }
        if (!strcmp(t->dtype, "F64")) {
            memcpy(&wide, from + i * 8, 8);
            out[i] = (float)wide;
        } else if (!strcmp(t->dtype, "F16") || !strcmp(t->dtype, "BF16")) {
            memcpy(&half, from + i * 2, 2);
            out[i] = t->dtype[0] == 'B' ? from_bits((uint32_t)half << 16) : from_half(half);
        } else {
            return false;
        }
    }
    return true;
}
