/* Tensors of a safetensors file into a machine's memory. Loading is all or nothing. */
#include "runtime/weights.h"
#include "runtime/machine.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void describe(char *text, size_t size, uint32_t rank, const int64_t *dim) {
    size_t n = (size_t)snprintf(text, size, "[");
    for (uint32_t i = 0; i < rank && i < ST_RANK && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%lld", i ? "," : "", (long long)dim[i]);
    if (n < size) snprintf(text + n, size - n, rank > ST_RANK ? ",...]" : "]");
}

/* One shape but for ones at its end: a dense layer's [o,i] is a convolution's [o,i,1,1], as others write gates. */
static bool same_shape(uint32_t arank, const int64_t *a, uint32_t brank, const int64_t *b) {
    if (arank > ST_RANK || brank > ST_RANK) return false;
    for (uint32_t i = 0; i < arank || i < brank; i++)
        if ((i < arank ? a[i] : 1) != (i < brank ? b[i] : 1)) return false;
    return true;
}

bool rt_tensor_takes(const StFile *f, const StTensor *found, const RtTensor *t, float *logical, char *why, size_t size) {
    char want[128], have[256];
    if (!found) return snprintf(why, size, "not there"), false;
    describe(want, sizeof want, t->rank, t->dim);
    describe(have, sizeof have, found->rank, found->dim);
    if (!same_shape(found->rank, found->dim, t->rank, t->dim)) return snprintf(why, size, "%s there, %s here", have, want), false;
    if (!st_read(f, found, logical)) return snprintf(why, size, "of type %s", found->dtype), false;
    return true;
}

/* Reads one tensor of the model into `block`. */
static RtStatus load_tensor(const StFile *f, const RtProgram *p, const RtTensor *t, const char *prefix, char *block,
                            RtError *error) {
    char name[ST_NAME], want[128], have[256];
    snprintf(name, sizeof name, "%s%s", prefix, t->name);
    describe(want, sizeof want, t->rank, t->dim);
    const StTensor *found = st_find(f, name);
    if (!found) return rt_fail(error, RT_INPUT, "%s has no tensor '%s' %s, which %s needs", f->path, name, want, p->model);
    if (!same_shape(found->rank, found->dim, t->rank, t->dim)) {
        describe(have, sizeof have, found->rank, found->dim);
        return rt_fail(error, RT_INPUT, "%s: tensor '%s' has the shape %s, %s needs %s", f->path, name, have, p->model, want);
    }
    float *logical = malloc((size_t)rt_tensor_elements(t) * sizeof *logical + 1);
    if (!logical) return rt_fail(error, RT_MEMORY, "out of memory: cannot read %s", f->path);
    RtStatus status = RT_OK;
    if (st_read(f, found, logical))
        rt_tensor_pack(p, t, logical, block);
    else
        status = rt_fail(error, RT_INPUT, "%s: tensor '%s' is of type %s; F32, F16, BF16 and F64 can be read", f->path, name,
                         found->dtype);
    free(logical);
    return status;
}

void rt_parts_settle(const RtPart *parts, int nparts, char *const *copy, RtStatus status) {
    for (int i = 0; i < nparts; i++) {
        if (status == RT_OK && parts[i].block) memcpy(parts[i].block, copy[i], parts[i].bytes);
        free(copy[i]);
    }
}

/* Into copies first. */
RtStatus rt_parts_load(const StFile *f, const RtProgram *p, const RtPart *parts, int nparts, RtError *error) {
    char *copy[RT_MAX_PARTS] = {0};
    RtStatus status = RT_OK;
    for (int i = 0; status == RT_OK && i < nparts; i++) {
        copy[i] = calloc(1, parts[i].bytes + 1);
        if (!copy[i]) status = rt_fail(error, RT_MEMORY, "out of memory: cannot read %s", f->path);
        for (uint32_t k = 0; status == RT_OK && k < parts[i].count; k++)
            status = load_tensor(f, p, &parts[i].tensors[k], parts[i].prefix, copy[i], error);
    }
    rt_parts_settle(parts, nparts, copy, status);
    return status;
}

/* Padding is zero. */
static int64_t count_not_finite(const RtPart *part, const RtTensor *t) {
    const float *number = (const float *)(const void *)(part->block + t->offset);
    int64_t count = 0;
    for (uint64_t i = 0; i < t->bytes / sizeof *number; i++) count += !isfinite(number[i]);
    return count;
}

void rt_parts_warn(const char *path, const RtPart *parts, int nparts, RtSay say) {
    enum { NAMED = 5 };
    int64_t bad = 0;
    char text[1024];
    for (int i = 0; say && i < nparts; i++)
        for (uint32_t k = 0; k < parts[i].count; k++) {
            const RtTensor *t = &parts[i].tensors[k];
            int64_t count = count_not_finite(&parts[i], t), all = rt_tensor_elements(t);
            if (!count || ++bad > NAMED) continue;
            snprintf(text, sizeof text, "%s: %lld of the %lld numbers of tensor '%s%s' %s NaN or infinite", path,
                     (long long)count, (long long)all, parts[i].prefix, t->name, count == 1 ? "is" : "are");
            say(RT_WARNING, text);
        }
    if (bad <= NAMED) return;
    snprintf(text, sizeof text, "%s: %lld more tensors hold numbers that are NaN or infinite", path, (long long)(bad - NAMED));
    say(RT_WARNING, text);
}

int rt_weights_parts(const RtProgram *p, RtMachine *m, RtPart parts[RT_MAX_PARTS]) {
    char *params = m ? rt_machine_space(m, RT_PARAMS) : NULL, *state = m ? rt_machine_space(m, RT_STATE) : NULL;
    parts[0] = (RtPart){"", p->params, p->nparams, params, p->params_bytes};
    parts[1] = (RtPart){"", p->state, p->nstate, state, p->state_bytes};
    return 2;
}

RtStatus rt_weights_read(const StFile *file, RtMachine *m, RtError *error) {
    const RtProgram *p = rt_machine_program(m);
    RtPart parts[RT_MAX_PARTS];
    return rt_parts_load(file, p, parts, rt_weights_parts(p, m, parts), error);
}

RtStatus rt_weights_load(const char *path, RtMachine *m, RtSay say, RtError *error) {
    StFile f;
    RtPart parts[RT_MAX_PARTS];
    RtStatus status = st_open(path, &f, error);
    if (status == RT_OK) status = rt_weights_read(&f, m, error);
    if (status == RT_OK) rt_parts_warn(path, parts, rt_weights_parts(rt_machine_program(m), m, parts), say);
    st_close(&f);
    return status;
}

RtStatus rt_weights_check(const char *path, const RtProgram *p, RtError *error) {
    StFile f;
    RtPart parts[RT_MAX_PARTS];
    RtStatus status = st_open(path, &f, error);
    if (status == RT_OK) status = rt_parts_load(&f, p, parts, rt_weights_parts(p, NULL, parts), error);
    st_close(&f);
    return status;
}
