/* Reading safetensors: every byte of the header is distrusted. See safetensors.h. */
#include "runtime/file.h"
#include "runtime/grow.h"
#include "runtime/json.h"
#include "runtime/safetensors.h"
#include "runtime/sha256.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const int64_t max_header = 64 << 20, max_file = (int64_t)64 << 30;
enum { MAX_TENSORS = 200000 };

/* Bits of an element; 0 for a type that is not known. */
static int dtype_bits(const char *dtype) {
    static const struct {
        const char *name;
        int bits;
    } known[] = {{"F32", 32}, {"F16", 16}, {"BF16", 16},   {"F64", 64},    {"I64", 64},    {"I32", 32},
                 {"I16", 16}, {"I8", 8},   {"U8", 8},      {"U16", 16},    {"U32", 32},    {"U64", 64},
                 {"C64", 64}, {"BOOL", 8}, {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F4", 4}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(dtype, known[i].name)) return known[i].bits;
    return 0;
}

/* *elements: how many the shape has; -1 if the number does not fit. */
static bool read_shape(Json *j, StTensor *t, int64_t *elements) {
    char key[1];
    int64_t size;
    *elements = 1;
    t->rank = 0;
    if (!json_begin(j, '[')) return false;
    for (bool first = true; json_next(j, '[', first, key, 0); first = false) {
        if (!json_integer(j, &size)) return false;
        if (t->rank < ST_RANK) t->dim[t->rank] = size;
        t->rank++;
        if (*elements >= 0 && __builtin_mul_overflow(*elements, size, elements)) *elements = -1;
    }
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

static bool read_dtype(Json *j, StTensor *t) {
    size_t length;
    char *text = json_copy(j, &length);
    if (text) snprintf(t->dtype, sizeof t->dtype, "%s", text);
    free(text);
    return text != NULL;
}

static bool read_tensor(Json *j, StTensor *t, int64_t *elements) {
    char key[32];
    unsigned seen = 0;
    if (!json_begin(j, '{')) return false;
    for (bool first = true; json_next(j, '{', first, key, sizeof key); first = false) {
        bool ok;
        if (!strcmp(key, "dtype"))
            ok = read_dtype(j, t), seen |= 1;
        else if (!strcmp(key, "shape"))
            ok = read_shape(j, t, elements), seen |= 2;
        else if (!strcmp(key, "data_offsets"))
            ok = read_offsets(j, t), seen |= 4;
        else
            ok = json_skip(j);
        if (!ok) return false;
    }
    return !j->failed && seen == 7;
}

/* Pairs with a zero byte in them are none of ours. */
static bool read_metadata(Json *j, StFile *f) {
    StPair pair;
    size_t key_length, length;
    if (!json_begin(j, '{')) return false;
    for (bool first = true; json_member(j, first, &pair.key, &key_length); first = false) {
        pair.value = json_copy(j, &length);
        bool ours = pair.value && strlen(pair.key) == key_length && strlen(pair.value) == length;
        StPair *pairs = ours ? rt_grow(f->pair, f->npairs + 1u, &f->pair_capacity, sizeof pair) : NULL;
        if (pairs) {
            f->pair = pairs;
            f->pair[f->npairs++] = pair;
        } else {
            bool bad = ours || !pair.value;
            free(pair.key);
            free(pair.value);
            if (bad) return false;
        }
    }
    return !j->failed;
}

/* Does the range lie in the data, and hold exactly the elements of the shape, if their type is known? */
static RtStatus check_range(const StFile *f, const StTensor *t, int64_t elements, RtError *error) {
    int64_t bits = dtype_bits(t->dtype), all = 0;
    if (t->end > f->data_length)
        return rt_fail(error, RT_INPUT, "%s is truncated: tensor '%s' ends at byte %lld of the data, but there are %lld", f->path,
                       t->name, (long long)t->end, (long long)f->data_length);
    bool fits = t->begin <= t->end;
    if (bits)
        fits = fits && elements >= 0 && !__builtin_mul_overflow(bits, elements, &all) &&
               t->end - t->begin == all / 8 + (all % 8 != 0);
    return fits ? RT_OK : rt_fail(error, RT_INPUT, "%s: the data of tensor '%s' do not fit its type and shape", f->path, t->name);
}

static RtStatus read_entry(StFile *f, Json *j, char *name, size_t length, RtError *error) {
    int64_t elements = -1;
    StTensor *tensors =
        f->ntensors < MAX_TENSORS ? rt_grow(f->tensor, f->ntensors + 1u, &f->tensor_capacity, sizeof *tensors) : NULL;
    if (!tensors) {
        free(name);
        return rt_fail(error, RT_INPUT, "%s names too many tensors", f->path);
    }
    f->tensor = tensors;
    StTensor *t = &f->tensor[f->ntensors++];
    *t = (StTensor){.name = name};
    if (strlen(name) != length)
        return rt_fail(error, RT_INPUT, "%s: the name of a tensor, '%.100s', goes on behind a zero byte", f->path, name);
    if (read_tensor(j, t, &elements)) return check_range(f, t, elements, error);
    return rt_fail(error, RT_INPUT,
                   "%s is damaged: what its header says of tensor '%.100s' is not a dtype, a shape and data_offsets", f->path,
                   name);
}

static RtStatus read_header(StFile *f, int64_t length, RtError *error) {
    Json j = json_open(f->bytes + 8, (size_t)length);
    char *name;
    size_t name_length;
    json_begin(&j, '{');
    for (bool first = true; json_member(&j, first, &name, &name_length); first = false) {
        if (strcmp(name, "__metadata__") != 0) {
            RtStatus status = read_entry(f, &j, name, name_length, error);
            if (status != RT_OK) return status;
            continue;
        }
        free(name);
        if (!read_metadata(&j, f))
            return rt_fail(error, RT_INPUT, "%s is damaged: the metadata in its header are not strings", f->path);
    }
    if (!j.failed && json_end(&j)) return RT_OK;
    return rt_fail(error, RT_INPUT, "%s is damaged: its header is no JSON object from byte %lld on", f->path,
                   (long long)(j.at - f->bytes));
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
    if (!sorted) return rt_fail(error, RT_MEMORY, "out of memory: cannot read %s", f->path);
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
        status = rt_fail(error, RT_MEMORY, "out of memory: cannot read %s", path);
    else if (fread(file->owned, (size_t)*size, 1, f) != 1)
        status = rt_fail(error, RT_IO, "cannot read %s: %s", path, ferror(f) ? strerror(errno) : "it ends early");
    fclose(f);
    return status;
}

static RtStatus parse_header(StFile *file, int64_t size, RtError *error) {
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

/* A header whose parts find no memory is not read, but not damaged either. */
static RtStatus parse(StFile *file, int64_t size, RtError *error) {
    errno = 0;
    RtStatus status = parse_header(file, size, error);
    if (status == RT_OK || errno != ENOMEM) return status;
    return rt_fail(error, RT_MEMORY, "out of memory: cannot read %s", file->path);
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
    for (uint32_t i = 0; i < f->npairs; i++) free(f->pair[i].key), free(f->pair[i].value);
    for (uint32_t i = 0; i < f->ntensors; i++) free(f->tensor[i].name);
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
    int64_t bytes = t->end - t->begin;
    uint16_t half;
    double wide;
    if (!strcmp(t->dtype, "F32"))
        memcpy(out, from, (size_t)bytes);
    else if (!strcmp(t->dtype, "F64"))
        for (int64_t i = 0; i < bytes / 8; i++) memcpy(&wide, from + i * 8, 8), out[i] = (float)wide;
    else if (!strcmp(t->dtype, "F16"))
        for (int64_t i = 0; i < bytes / 2; i++) memcpy(&half, from + i * 2, 2), out[i] = from_half(half);
    else if (!strcmp(t->dtype, "BF16"))
        for (int64_t i = 0; i < bytes / 2; i++) memcpy(&half, from + i * 2, 2), out[i] = from_bits((uint32_t)half << 16);
    else
        return false;
    return true;
}
